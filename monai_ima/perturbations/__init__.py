"""What ε measures: noise added pixel by pixel, or the parameters of changes that scanners and patients make."""

from .additive import Additive
from .base import Fitted, InMillimetres, Perturbation
from .chain import Chain as Compose
from .intensity import BaselineWander, BiasField, Gain, GammaContrast, IntensityShift
from .named import PERTURBATIONS, perturbation_from_name
from .noise_level import CTDose, NoiseLevel, RicianNoise, Speckle
from .norms import L2, BlockNorm, Linf, Norm, get_norm

__all__ = [
    "L2",
    "PERTURBATIONS",
    "Additive",
    "BaselineWander",
    "BiasField",
    "BlockNorm",
    "CTDose",
    "Compose",
    "Fitted",
    "Gain",
    "GammaContrast",
    "InMillimetres",
    "IntensityShift",
    "Linf",
    "NoiseLevel",
    "Norm",
    "Perturbation",
    "RicianNoise",
    "Speckle",
    "get_norm",
    "perturbation_from_name",
]
