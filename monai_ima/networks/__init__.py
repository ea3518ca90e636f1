"""The networks of the papers' experiments, layer by layer."""

from .ecg import ECGNet
from .fashion_mnist import FashionMNISTNet
from .oct import OCTNet
from .svhn import SVHNNet
from .wide_resnet import WideResNet

__all__ = ["ECGNet", "FashionMNISTNet", "OCTNet", "SVHNNet", "WideResNet"]
