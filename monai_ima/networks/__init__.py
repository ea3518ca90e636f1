"""The networks of the papers' experiments, layer by layer."""

from .convnets import ECGNet, FashionMNISTNet, SVHNNet
from .resnets import OCTNet, WideResNet

__all__ = ["ECGNet", "FashionMNISTNet", "OCTNet", "SVHNNet", "WideResNet"]
