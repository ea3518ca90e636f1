"""What the studies share: runs that go on where they were broken off, and the pages they write."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import torch
from matplotlib.figure import Figure

from monai_ima.bundle.provenance import machine
from monai_ima.visualize import save_figure

REPO = Path(__file__).resolve().parent.parent
RESULTS = REPO / "docs" / "results"


def last_epoch(folder: Path, name: str = "*") -> str | None:
    """The checkpoint that a broken-off training left last, None before its first epoch's end."""
    files = folder.glob(f"{name}_checkpoint_epoch=*.pt")
    return max(map(str, files), key=lambda file: int(Path(file).stem.split("=")[1]), default=None)


def add_time(folder: Path, seconds: float) -> None:
    """Note what a part of a run took."""
    with open(folder / "seconds.txt", "a", encoding="utf-8") as file:
        file.write(f"{seconds:.1f}\n")


def total_time(folder: Path) -> float:
    """Seconds of a run's parts; those that were broken off are not among them."""
    return sum(float(line) for line in (folder / "seconds.txt").read_text(encoding="utf-8").splitlines())


def setting(threads: int, each: str) -> str:
    """Machine and versions, for a page: ``setting(1, "training")``."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return f"{machine(device)}, {threads} thread(s) a {each}; torch {version('torch')}, monai {version('monai')}"


def replace_figure(figure: Figure, file: Path) -> None:
    """Save a figure in the place of an older one."""
    file.unlink(missing_ok=True)
    save_figure(figure, file)


def table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    """Lines of a markdown table."""
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)]


def cells(values: Iterable[float]) -> list[str]:
    """Accuracies and Dice with three digits."""
    return [f"{value:.3f}" for value in values]


def write_page(file: Path, lines: list[str]) -> None:
    """Write a page's lines."""
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
