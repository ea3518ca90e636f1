"""What the command line calls: ``python -m monai_ima VERB ...``."""

from .attack import attack
from .evaluate import evaluate
from .harden import harden
from .margins import margins
from .report import report

__all__ = ["attack", "evaluate", "harden", "margins", "report"]
