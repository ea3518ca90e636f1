"""Evaluators that validate under attack, and trainers with more handlers."""

from .prepare_batch import AdversarialPrepareBatch
from .with_handlers import with_handlers

__all__ = ["AdversarialPrepareBatch", "with_handlers"]
