"""The folder for ``nnUNet_extTrainer``: nnU-Net imports its modules by their file names, each for one class."""
