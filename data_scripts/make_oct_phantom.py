"""Write the SYNTHETIC OCT phantom in Kermany's folder layout."""

from __future__ import annotations

import sys

import fire

from monai_ima.data import kermany_datalist, summarize, write_oct_phantom


def make(out: str = "", per_class: int = 100, size: int = 224, seed: int = 0, **unknown: object) -> None:
    """Write a synthetic data set; prints how many scans it holds.

    Args:
        out: folder to write to, empty or missing; required.
        per_class: training scans of each class; val gets a fifth and test a half of that number.
        size: side of the images in pixels.
        seed: of everything random.
        unknown: refused.
    """
    try:
        if unknown:
            raise ValueError(f"Unknown option --{next(iter(unknown))}, expected out, per_class, size or seed.")
        if out == "":
            raise ValueError("Option --out is missing, expected the folder to write to.")
        root = write_oct_phantom(str(out), per_class, size, seed)
        datalist = kermany_datalist(root, check_images=False)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(f"SYNTHETIC OCT phantom in {root}:")
    print(summarize(datalist))


if __name__ == "__main__":
    fire.Fire(make, ["--", "--help"] if {"--help", "-h"} & set(sys.argv[1:]) else None)
