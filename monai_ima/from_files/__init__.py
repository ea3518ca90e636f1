"""A model file and folders of images as a MONAI bundle."""
