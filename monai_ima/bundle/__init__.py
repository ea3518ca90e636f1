"""What the command line calls: ``python -m monai_ima VERB ...``."""

from .evaluate import evaluate
from .margins import margins

__all__ = ["evaluate", "margins"]
