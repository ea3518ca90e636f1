"""What the studies share: runs that are resumed where they were interrupted, and the pages they write."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

import torch
from matplotlib.figure import Figure

from monai_ima.results.provenance import machine
from monai_ima.visualize import save_figure

REPO = Path(__file__).resolve().parent.parent
RESULTS = REPO / "docs" / "results"


def last_epoch(folder: Path, name: str = "*") -> str | None:
    """The checkpoint that an interrupted training left last, None before its first epoch's end."""
    files = folder.glob(f"{name}_checkpoint_epoch=*.pt")
    return max(map(str, files), key=lambda file: int(Path(file).stem.split("=")[1]), default=None)


def add_time(folder: Path, seconds: float) -> None:
    """Note what a part of a run took."""
    with open(folder / "seconds.txt", "a", encoding="utf-8") as file:
        file.write(f"{seconds:.1f}\n")


def total_time(folder: Path) -> float:
    """Seconds of a run's parts; those that were interrupted are not among them."""
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
    write_whole(file, "\n".join(lines) + "\n")


def write_whole(file: Path, text: str) -> None:
    """Write a file as a whole or not at all, whatever interrupts it."""
    unfinished = file.with_name(f"{file.name}.{os.getpid()}")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(file)


class CommandLine(argparse.ArgumentParser):
    """Arguments of a program; bad use is one line on stderr and exit code 2."""

    def __init__(self, doc: str | None) -> None:
        super().__init__(description=(doc or "").partition("\n")[0], allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Say what cannot be used, and leave."""
        print(message, file=sys.stderr)
        sys.exit(2)


def integer(least: int) -> Callable[[str], int]:
    """The type of an argument that is an integer of at least ``least``."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"got {text!r}, expected an integer >= {least}")
        return int(text)

    return parse


def minutes(text: str) -> float:
    """The type of an argument that is a number of minutes, >= 0."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected minutes, a number >= 0")
    return number
