"""Write the SYNTHETIC OCT phantom in Kermany's folder layout."""

from __future__ import annotations

from scripting import check_options, refusals, run

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
    with refusals():
        check_options(unknown, "out, per_class, size or seed", out)
        root = write_oct_phantom(str(out), per_class, size, seed)
        datalist = kermany_datalist(root, check_images=False)
    print(f"SYNTHETIC OCT phantom in {root}:")
    print(summarize(datalist))


if __name__ == "__main__":
    run(make)
