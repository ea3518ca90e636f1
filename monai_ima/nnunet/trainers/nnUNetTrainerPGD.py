from monai_ima.nnunet.training import nnUNetTrainerPGD

__all__ = ["nnUNetTrainerPGD"]
