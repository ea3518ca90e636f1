"""Write a SYNTHETIC volume phantom in the layout of the Medical Segmentation Decathlon."""

from __future__ import annotations

from collections.abc import Sequence

from scripting import check_options, refusals, run

from monai_ima.data import write_volume_phantom


def make(
    out: str = "",
    task: str = "",
    scans: int = 12,
    size: int | Sequence[int] | None = None,
    seed: int = 0,
    **unknown: object,
) -> None:
    """Write a synthetic data set; prints how many scans it holds.

    Args:
        out: folder to write to, empty or missing; required.
        task: hippocampus, heart or prostate; required.
        scans: number of scans.
        size: voxels along each axis, one number or three such as 36,50,36; None for the task's own.
        seed: of everything random.
        unknown: refused.
    """
    with refusals():
        check_options(unknown, "out, task, scans, size or seed", out)
        if task == "":
            raise ValueError("Option --task is missing, expected hippocampus, heart or prostate.")
        root = write_volume_phantom(str(out), task, scans, size, seed)
    print(f"SYNTHETIC {task} phantom in {root}: {scans} scans.")


if __name__ == "__main__":
    run(make)
