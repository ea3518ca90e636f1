"""Evaluation under attack."""

from .prepare_batch import AdversarialPrepareBatch

__all__ = ["AdversarialPrepareBatch"]
