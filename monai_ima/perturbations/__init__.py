"""What ε measures: noise added pixel by pixel, or the parameters of changes that scanners and patients make."""

from .additive import Additive
from .base import Fitted, InMillimetres, Perturbation
from .blur import Blur
from .chain import Chain as Compose
from .frequency import Frequency
from .geometry import Elastic, Rotation, Translation
from .intensity import BaselineWander, BiasField, Gain, GammaContrast, IntensityShift
from .kspace import Ghosting, Gibbs, Motion, MotionRotation, Spike
from .named import PERTURBATIONS, perturbation_from_name
from .noise_level import CTDose, NoiseLevel, RicianNoise, Speckle
from .norms import L2, BlockNorm, Linf, Norm, get_norm
from .signals import Powerline

__all__ = [
    "L2",
    "PERTURBATIONS",
    "Additive",
    "BaselineWander",
    "BiasField",
    "BlockNorm",
    "Blur",
    "CTDose",
    "Compose",
    "Elastic",
    "Fitted",
    "Frequency",
    "Gain",
    "GammaContrast",
    "Ghosting",
    "Gibbs",
    "InMillimetres",
    "IntensityShift",
    "Linf",
    "Motion",
    "MotionRotation",
    "NoiseLevel",
    "Norm",
    "Perturbation",
    "Powerline",
    "RicianNoise",
    "Rotation",
    "Speckle",
    "Spike",
    "Translation",
    "get_norm",
    "perturbation_from_name",
]
