from __future__ import annotations

from typing import Annotated

from monai_ima.utils.checks import check_choice, check_path, check_seed

from .arguments import new_folder

__all__ = ["demo"]


def demo(
    out: Annotated[str, "Folder to write to, empty or missing."] = "demo_output",
    seed: Annotated[int, "Of the order of the data and the start of both networks."] = 0,
    noisy_samples: Annotated[str, "Which of its noisy samples IMA trains on: all or boundary."] = "all",
    quick: Annotated[bool, "About a minute: shows that all runs; too short for figures that mean something."] = False,
) -> None:
    """Train a small network plainly and by IMA on SYNTHETIC scans, attack both, and write a report.

    It needs no data, no download and no GPU: about five minutes on two cores. Nothing in it comes from a patient.

    \b
    Example: monai-ima demo --out demo_output
    """
    check_seed(seed)
    check_choice("noisy_samples", noisy_samples, ("all", "boundary"))
    folder = new_folder(check_path("out", out))
    from .demo_run import Demo, run_demo

    run_demo(Demo(folder, seed, noisy_samples, quick))
