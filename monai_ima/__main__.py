"""``python -m monai_ima VERB ...``, the same as ``monai-ima VERB ...``."""

import sys

from monai_ima.cli.app import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
