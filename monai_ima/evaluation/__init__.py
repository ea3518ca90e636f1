"""Robustness of a network on a data loader, and whether the figures can be trusted."""

from __future__ import annotations

from importlib import import_module
from typing import Any

MODULES = {
    "ClassificationEvaluator": "classification",
    "ClassificationOutcome": "classification",
    "EvaluationBatch": "batch",
    "EvaluationSettings": "settings",
    "GradientMaskingChecks": "gradient_masking",
    "SegmentationEvaluator": "segmentation",
    "SegmentationOutcome": "segmentation",
    "evaluate": "api",
    "evaluation_batch": "batch",
}

__all__ = list(MODULES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: settings are checked without torch."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{MODULES[name]}", __name__), name)
