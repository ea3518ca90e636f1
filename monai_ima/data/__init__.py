"""Dataset readers and synthetic phantoms."""

from .cifar10 import CIFAR10_CLASSES, CIFAR100_CLASSES, cifar10_datalist, cifar_classes, read_cifar10, read_cifar100
from .ecg import ecg_datalist
from .ecg_phantom import ecg_phantom, ecg_phantom_datalist
from .fashion_mnist import FASHION_MNIST_CLASSES, fashion_mnist_datalist, read_fashion_mnist
from .heartbeat import BEAT_CLASSES, balanced, beat_datalist, heartbeat_datalist, summarize_beats
from .identified import identified
from .idx import read_idx
from .kermany import CLASSES, DamagedImageError, kermany_datalist, scan_datalist, summarize
from .labelled_images import LabelledImages
from .msd import check_volumes, msd_datalist, volume_scans
from .oct import oct_datalist
from .oct_phantom import oct_phantom, write_oct_phantom
from .shapes_phantom import shapes_datalist, shapes_phantom
from .splits import split_images
from .svhn import SVHN_CLASSES, read_svhn, svhn_datalist
from .volume_phantom import volume_phantom, write_volume_phantom
from .volumes import volume_datalist

__all__ = [
    "BEAT_CLASSES",
    "CIFAR10_CLASSES",
    "CIFAR100_CLASSES",
    "CLASSES",
    "FASHION_MNIST_CLASSES",
    "SVHN_CLASSES",
    "DamagedImageError",
    "LabelledImages",
    "balanced",
    "beat_datalist",
    "check_volumes",
    "cifar10_datalist",
    "cifar_classes",
    "ecg_datalist",
    "ecg_phantom",
    "ecg_phantom_datalist",
    "fashion_mnist_datalist",
    "heartbeat_datalist",
    "identified",
    "kermany_datalist",
    "msd_datalist",
    "oct_datalist",
    "oct_phantom",
    "read_cifar10",
    "read_cifar100",
    "read_fashion_mnist",
    "read_idx",
    "read_svhn",
    "scan_datalist",
    "shapes_datalist",
    "shapes_phantom",
    "split_images",
    "summarize",
    "summarize_beats",
    "svhn_datalist",
    "volume_datalist",
    "volume_phantom",
    "volume_scans",
    "write_oct_phantom",
    "write_volume_phantom",
]
