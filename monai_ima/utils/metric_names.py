"""How a metric is called that is measured under attack."""

from __future__ import annotations

__all__ = ["robust_name"]


def robust_name(name: str) -> str:
    """The name under attack of a clean evaluator's metric, so that TensorBoard and MLflow tell the two apart.

    Args:
        name: of the metric; one that says robust already stays.

    Example:
        >>> [robust_name(name) for name in ("val_mean_dice", "accuracy", "val_robust_accuracy")]
        ['val_robust_mean_dice', 'robust_accuracy', 'val_robust_accuracy']
    """
    if "robust" in name:
        return name
    return f"val_robust_{name.removeprefix('val_')}" if name.startswith("val_") else f"robust_{name}"
