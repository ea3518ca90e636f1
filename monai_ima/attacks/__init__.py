"""Attacks: given a network, images, labels and a radius ε per sample, find a noisy image inside the ball."""

from .adaptive_norm import AdaptiveNormPGD
from .apgd import APGD, dlr_loss
from .base import Attack, AttackResult, AttackSettings
from .boundary import BoundaryPGD
from .ddn import DDN
from .minimum import MinimumNorm
from .mode import allow_single_value_batchnorm, attack_mode
from .named import attack_from_name
from .noise import UniformNoise
from .pgd import FGSM, IFGSM, PGD
from .spsa import SPSA
from .worst_of import WorstOf

__all__ = [
    "APGD",
    "DDN",
    "FGSM",
    "IFGSM",
    "PGD",
    "SPSA",
    "AdaptiveNormPGD",
    "Attack",
    "AttackResult",
    "AttackSettings",
    "BoundaryPGD",
    "MinimumNorm",
    "UniformNoise",
    "WorstOf",
    "allow_single_value_batchnorm",
    "attack_from_name",
    "attack_mode",
    "dlr_loss",
]
