"""``monai-ima demo``, as a script of a source tree.

python benchmarks/demo.py --out demo_output
"""

import sys

from monai_ima.cli.app import main

if __name__ == "__main__":
    sys.exit(main(["demo", *sys.argv[1:]]))
