"""Attacks: given a network, images, labels and a radius ε per sample, find a noisy image inside the ball."""

from .base import Attack, AttackResult
from .boundary import BoundaryPGD
from .mode import attack_mode
from .named import attack_from_name
from .noise import UniformNoise
from .pgd import FGSM, IFGSM, PGD
from .worst_of import WorstOf

__all__ = [
    "FGSM",
    "IFGSM",
    "PGD",
    "Attack",
    "AttackResult",
    "BoundaryPGD",
    "UniformNoise",
    "WorstOf",
    "attack_from_name",
    "attack_mode",
]
