"""The networks of the papers' experiments, layer by layer."""

from .convnets import ECGNet, FashionMNISTNet, SVHNNet
from .resnets import OCTNet, ResNet2d, WideResNet

__all__ = ["ECGNet", "FashionMNISTNet", "OCTNet", "ResNet2d", "SVHNNet", "WideResNet"]
