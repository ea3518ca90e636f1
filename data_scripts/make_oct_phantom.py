"""Write the SYNTHETIC OCT phantom in Kermany's folder layout."""

from __future__ import annotations

import sys

import fire

from monai_ima.data import kermany_datalist, summarize, write_oct_phantom


def make(out: str, per_class: int = 100, size: int = 224, seed: int = 0) -> None:
    """Write a synthetic data set.

    Args:
        out: folder to write to, empty or missing.
        per_class: training scans of each class; validation gets a fifth and test half of that.
        size: side of the images in pixels.
        seed: of everything random.
    """
    try:
        root = write_oct_phantom(out, per_class, size, seed)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(f"SYNTHETIC OCT phantom in {root}:")
    print(summarize(kermany_datalist(root, check_images=False)))


if __name__ == "__main__":
    fire.Fire(make)
