"""What the studies share: trainings that are resumed where they were interrupted, and the pages they write."""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import torch
from matplotlib.figure import Figure
from monai.bundle import ConfigWorkflow
from tqdm import tqdm

from monai_ima.handlers.checkpoints import Checkpoints
from monai_ima.results.provenance import machine
from monai_ima.utils.files import whole_file
from monai_ima.utils.weights import load_checkpoint
from monai_ima.visualize import save_figure

REPO = Path(__file__).resolve().parent.parent
RESULTS = REPO / "docs" / "results"


def bundle_training(bundle: Path, folder: Path, overlays: Iterable[str] = (), **settings: Any) -> ConfigWorkflow:
    """A bundle's training, not started, that keeps checkpoints in a folder and logs below it.

    Args:
        bundle: its folder.
        folder: for checkpoints.
        overlays: names of configs on top of ``train.json``.
        settings: config ids, and arguments of MONAI's workflow; they come before those given here.
    """
    files = [str(bundle / "configs" / name) for name in ("train.json", *overlays)]
    places: dict[str, Any] = {"bundle_root": str(bundle), "output_dir": str(folder / "log"), "ckpt_dir": str(folder)}
    return ConfigWorkflow(files, **{**places, "logging_file": False, **settings})


def train_bundle(
    bundle: Path,
    last: Path,
    overlays: Iterable[str] = (),
    prepare: Callable[[ConfigWorkflow], None] | None = None,
    **settings: Any,
) -> Path:
    """Train, or resume what was interrupted; nothing is done where the last epoch's checkpoint is there.

    Args:
        bundle: its folder.
        last: the last epoch's checkpoint, ``MODEL_last.pt``; the others, logs and the time taken go to its folder.
        overlays: names of configs on top of ``train.json``.
        prepare: called with the initialised workflow, before it runs.
        settings: as those of :func:`bundle_training`.

    Returns:
        ``last``.

    Raises:
        ValueError: if that is there and is none.
    """
    if last.is_file():
        load_checkpoint(last)
    else:
        begin = time.perf_counter()
        workflow = bundle_training(bundle, last.parent, overlays, resume="last", **settings)
        workflow.initialize()
        if prepare is not None:
            prepare(workflow)
        workflow.run()
        workflow.finalize()
        add_time(last.parent, time.perf_counter() - begin)
    return last


def last_epoch(folder: Path, model: str) -> Path | None:
    """The checkpoint that an interrupted training left last, None without one."""
    return next(iter(Checkpoints(folder, model).epochs()), None)


def run_one(script: str, arguments: Iterable[object], log: Path, threads: int, check: bool = True) -> int:
    """Call a script's ``one`` in a process of its own; returns its exit code.

    Args:
        script: its file.
        arguments: of ``one``.
        log: what the process prints is added to this file.
        threads: of the process.
        check: another exit code than 0 is an error.

    Raises:
        subprocess.CalledProcessError: if it is.
    """
    command = [sys.executable, script, "one", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with open(log, "ab") as lines:
        return subprocess.run(command, stdout=lines, stderr=lines, check=check, env=environment).returncode


def side_by_side(
    names: Sequence[str], run: Callable[[str], None], workers: int, title: str, first: Sequence[str] = ()
) -> None:
    """Make the parts of a study, several at a time, with a bar.

    Args:
        names: of the parts.
        run: makes one.
        workers: parts at a time.
        title: of the bar.
        first: parts that the others start from, made before them, one after the other.
    """

    def step(name: str) -> None:
        run(name)
        bar.update()

    with tqdm(total=len(first) + len(names), desc=title) as bar, ThreadPoolExecutor(workers) as pool:
        for name in first:
            step(name)
        list(pool.map(step, names))


def threads_each(workers: int) -> int:
    """How many threads each of the processes has that run at a time."""
    return max(1, (os.cpu_count() or 1) // workers)


def add_time(folder: Path, seconds: float) -> None:
    """Note what a part of a run took."""
    with open(folder / "seconds.txt", "a", encoding="utf-8") as file:
        file.write(f"{seconds:.1f}\n")


def total_time(folder: Path) -> float:
    """Seconds of a run's parts; those that were interrupted are not among them."""
    return sum(float(line) for line in (folder / "seconds.txt").read_text(encoding="utf-8").splitlines())


def kept(file: Path, make: Callable[[], Any]) -> Any:
    """What a JSON file holds; where there is none, it is made first."""
    if not file.is_file():
        write_whole(file, json.dumps(make()))
    return read_json(file)


def read_json(file: Path) -> Any:
    """What a JSON file holds."""
    return json.loads(file.read_text(encoding="utf-8"))


def setting(threads: int, each: str) -> str:
    """Machine and versions, for a page: ``setting(1, "training")``."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return f"{machine(device)}, {threads} thread(s) a {each}; torch {version('torch')}, monai {version('monai')}"


def replace_figure(figure: Figure, file: Path) -> None:
    """Save a figure in the place of an older one."""
    file.unlink(missing_ok=True)
    save_figure(figure, file)


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """A markdown table."""
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def cells(values: Iterable[float]) -> list[str]:
    """Accuracies and Dice with three digits."""
    return [f"{value:.3f}" for value in values]


def named_values(values: Mapping[str, Any]) -> str:
    """Names with their values, such as ``epochs 5, batch_size 64``."""
    return ", ".join(f"{name} {value}" for name, value in values.items())


def level_titles(levels: Iterable[float]) -> list[str]:
    """Heads of a table's columns, one for each ε."""
    return [f"ε = {level:g}" if level else "clean" for level in levels]


def write_page(file: Path, paragraphs: Iterable[str]) -> None:
    """Write a page's paragraphs, a blank line between them."""
    write_whole(file, "\n\n".join(paragraphs) + "\n")


def replace_tree(folder: Path) -> Path:
    """An empty folder, in the place of an older one."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def write_whole(file: Path, text: str) -> None:
    """Write a file as a whole or not at all, whatever interrupts it."""
    with whole_file(file) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


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


def number(expected: str, accepts: Callable[[float], bool]) -> Callable[[str], float]:
    """The type of an argument that is a finite number, and accepted."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and accepts(value)):
            raise argparse.ArgumentTypeError(f"got {text!r}, expected {expected}")
        return value

    return parse


minutes = number("minutes, a number >= 0", lambda value: value >= 0)


def chosen(kind: str, text: str | None, known: Collection[str]) -> list[str]:
    """The names in a text, separated by commas; None stands for all.

    Raises:
        ValueError: if one is not known.
    """
    names = list(known) if text is None else text.split(",")
    for name in names:
        if name not in known:
            raise ValueError(f"Got {kind} {name!r}, expected some of {', '.join(known)}.")
    return names
