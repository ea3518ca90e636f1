"""Small networks for the papers' data sets."""

from .ecg import ECGNet
from .fashion_mnist import FashionMNISTNet
from .svhn import SVHNNet
from .wide_resnet import WideResNet

__all__ = ["ECGNet", "FashionMNISTNet", "SVHNNet", "WideResNet"]
