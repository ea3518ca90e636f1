"""What the command line calls: ``python -m monai_ima VERB ...``."""

from monai_ima.cli.attack import attack
from monai_ima.cli.evaluate import evaluate
from monai_ima.cli.harden import harden
from monai_ima.cli.margins import margins
from monai_ima.cli.report import report

__all__ = ["attack", "evaluate", "harden", "margins", "report"]
