from monai_ima.nnunet.training import nnUNetTrainerIMA

__all__ = ["nnUNetTrainerIMA"]
