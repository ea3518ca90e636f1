"""Dataset readers and synthetic phantoms: ``ecg_*`` beats, ``image_*`` small images, ``oct_*`` scans, ``volume_*``."""

from .class_files import class_files, table_classes
from .class_folders import class_folder_datalist
from .class_layout import folder_classes
from .class_names import check_class_names, class_names, keep_class_names, kept_class_names
from .datalists import (
    cifar10_datalist,
    ecg_datalist,
    fashion_mnist_datalist,
    image_folder_datalist,
    oct_datalist,
    svhn_datalist,
    volume_datalist,
)
from .ecg_heartbeat import BEAT_CLASSES, balanced, beat_datalist, heartbeat_datalist, summarize_beats
from .ecg_phantom import ecg_phantom, ecg_phantom_datalist
from .folders import DamagedImageError
from .grouped_split import grouped_split
from .image_cifar import CIFAR10_CLASSES, CIFAR100_CLASSES, cifar_classes, read_cifar10, read_cifar100
from .image_fashion_mnist import FASHION_MNIST_CLASSES, read_fashion_mnist, read_idx
from .image_files import IMAGE_SUFFIXES, ImageFileReader
from .image_labelled import image_classes, labelled_image_datalist
from .image_phantom import SHAPE_CLASSES, shapes_datalist, shapes_phantom, write_shapes_phantom
from .image_plan import ImagePlan, kept_image_plan
from .image_svhn import SVHN_CLASSES, read_svhn
from .kept_plan import keep_plan
from .kept_split import keep_split, kept_split
from .labelled_images import LabelledImages, split_images
from .oct_kermany import CLASSES, kermany_datalist, scan_datalist, summarize
from .oct_phantom import oct_phantom, write_oct_phantom
from .pairs import check_grids, image_label_pairs
from .pictures import PictureReader
from .sample_ids import add_sample_ids
from .volume_msd import check_volumes, msd_datalist, volume_scans
from .volume_own import own_scans, own_volumes
from .volume_phantom import volume_phantom, write_volume_phantom
from .volume_plan import VolumePlan, kept_plan, msd_class_names, volume_plan

__all__ = [
    "BEAT_CLASSES",
    "CIFAR10_CLASSES",
    "CIFAR100_CLASSES",
    "CLASSES",
    "FASHION_MNIST_CLASSES",
    "IMAGE_SUFFIXES",
    "SHAPE_CLASSES",
    "SVHN_CLASSES",
    "DamagedImageError",
    "ImageFileReader",
    "ImagePlan",
    "LabelledImages",
    "PictureReader",
    "VolumePlan",
    "add_sample_ids",
    "balanced",
    "beat_datalist",
    "check_class_names",
    "check_grids",
    "check_volumes",
    "cifar10_datalist",
    "cifar_classes",
    "class_files",
    "class_folder_datalist",
    "class_names",
    "ecg_datalist",
    "ecg_phantom",
    "ecg_phantom_datalist",
    "fashion_mnist_datalist",
    "folder_classes",
    "grouped_split",
    "heartbeat_datalist",
    "image_classes",
    "image_folder_datalist",
    "image_label_pairs",
    "keep_class_names",
    "keep_plan",
    "keep_split",
    "kept_class_names",
    "kept_image_plan",
    "kept_plan",
    "kept_split",
    "kermany_datalist",
    "labelled_image_datalist",
    "msd_class_names",
    "msd_datalist",
    "oct_datalist",
    "oct_phantom",
    "own_scans",
    "own_volumes",
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
    "table_classes",
    "volume_datalist",
    "volume_phantom",
    "volume_plan",
    "volume_scans",
    "write_oct_phantom",
    "write_shapes_phantom",
    "write_volume_phantom",
]
