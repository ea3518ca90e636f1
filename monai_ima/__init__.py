"""Increasing-Margin Adversarial training (IMA, Ma & Liang, arXiv 2005.09147) for MONAI."""

from importlib.metadata import version

__version__ = version("monai-ima")
