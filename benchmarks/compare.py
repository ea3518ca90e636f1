"""Every training method side by side on a data set of the paper: its network, its settings, the same attacks for all.

Plain training ("ce"), PGD training at three fixed ε ("adv ε"), TRADES, DDN (L2), IAAT, MMA, and IMA with the paper's
settings, its B-PGD starting at the clean image or in the ball.

Nothing is chosen. One rule, fixed before any result was seen, gives every setting. With ε_n the paper's value for data
set and norm, training at a fixed ε takes ε_n/10, ε_n/5 and 2ε_n/5 (SVHN in L∞: the paper's 2/255, 6/255 and 10/255);
TRADES takes ε_n/5 with its paper's β of 6; IAAT goes up to ε_n after a warm-up at ε_n/5; DDN, MMA and IMA go up to ε_n.
The training attacks of all methods have 20 steps; IMA's margin pass has 50 and 10 bisections, as in the paper. Whatever
else a method has is its handler's default.

The weights after the last epoch are attacked by 100-step PGD with 2 restarts, APGD on the soft logit margin (``ce``)
and on the difference of logits ratio, and DDN (L2): a sample counts as robust if it is correct under all of them
("strongest"). Uniform noise, and SPSA on the first 100 samples, are shown beside.

    python benchmarks/compare.py --bundle fashion_mnist --norm l2 --data DIR
    python benchmarks/compare.py --bundle ecg --norm linf --data DIR --methods ce,ima --minutes 50
    python benchmarks/compare.py --bundle svhn --norm l2 --epochs 2        # SYNTHETIC phantom

Each finished training leaves one small record, ``docs/results/records/NAME_NORM/METHOD.json``. A method whose record is
there is not trained again, whatever machine it was made on; with all of them only the page is written, which needs
no data. Weights and checkpoints are in ``runs/compare``, where an interrupted training is resumed. A record that was
made with other settings is refused (exit code 2). Uses the GPU when there is one; several trainings share it.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from compare_page import write_study
from compare_records import RecordError, check_samples, read_records, recorded_as_synthetic, sample_fingerprint
from compare_run import finish, open_run_folder, test_items
from compare_study import Study
from monai_ima.utils.errors import one_line
from studies import RESULTS, CommandLine, chosen, integer, minutes, run_one, threads_each

GPU_WORKERS = 8


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, attack and write records; the page when all of them are there.

    Args:
        arguments: of the command line; ``--help`` lists them.

    Raises:
        SystemExit: with code 2 if an argument or a record cannot be used, 1 if a training fails.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        study = _study(options)
        methods = chosen("method", options.methods, study.methods)
        records = read_records(study)
        waiting = [method for method in study.methods if method in methods and method not in records]
        if waiting:
            _prepare(study, waiting, records)
    except (OSError, ValueError) as error:
        parser.error(one_line(error))
    failures = train_all(study, waiting, options.minutes, options.workers or _default_workers()) if waiting else []
    _report(study, options.pages, failures)


def train_all(study: Study, methods: list[str], minutes: float | None, workers: int) -> list[str]:
    """Train and attack, each method in a process of its own, those that take longest first.

    Args:
        study: whose methods they are.
        methods: at least one.
        minutes: after these no training starts; None for no limit.
        workers: processes at a time.

    Returns:
        a sentence for each that failed.
    """
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    threads = threads_each(workers)

    def work(method: str) -> str | None:
        if time.monotonic() > deadline:
            return None
        log = study.run_folder(method) / "log.txt"
        code = run_one(__file__, [json.dumps(asdict(study)), method, threads, workers], log, threads, check=False)
        bar.update()
        return None if code == 0 else f"Training {method} ended with exit code {code}, see {log}."

    with tqdm(total=len(methods), desc="trainings") as bar, ThreadPoolExecutor(workers) as pool:
        return [sentence for sentence in pool.map(work, reversed(methods)) if sentence is not None]


def _default_workers() -> int:
    """With a GPU half as many as there are cores, at most 8, else one a core."""
    cores = os.cpu_count() or 1
    return max(1, min(GPU_WORKERS, cores // 2)) if torch.cuda.is_available() else cores


def one(text: str, method: str, threads: str, workers: str) -> None:
    """A training and its attacks in a process of its own."""
    torch.set_num_threads(int(threads))
    logging.disable(logging.INFO)
    finish(Study(**json.loads(text)), method, f"{threads} thread(s) a training, {workers} at a time")


def _study(options: argparse.Namespace) -> Study:
    """The study of the arguments; without data one of real data where its records are all there.

    Raises:
        ValueError: if ``compare.json`` has no such study.
        RecordError: if records of real data are there, others are missing, and no data were given.
    """
    study = Study.of_options(options, seed=options.seed, epochs=options.epochs)
    study.check()
    there = [method for method in study.methods if study.record_file(method).is_file()]
    if not study.synthetic or all(recorded_as_synthetic(study.record_file(method)) for method in there):
        return study
    missing = [method for method in study.methods if method not in there]
    if missing:
        folder = study.record_file("ce").parent
        raise RecordError(
            f"Records in {folder} are of real data, those of {', '.join(missing)} are missing: give --data."
        )
    return replace(study, synthetic=False)


def _prepare(study: Study, methods: list[str], records: dict[str, Any]) -> None:
    """Find out before the long work what would stop it: data, records of other samples, folders of other settings."""
    study.record_file("ce").parent.mkdir(parents=True, exist_ok=True)
    samples = sample_fingerprint(test_items(study))
    for method, record in records.items():
        check_samples(study.record_file(method), record["samples"], samples, study.data or "the phantom")
    for method in methods:
        open_run_folder(study, method)


def _report(study: Study, pages: Path, failures: list[str]) -> None:
    for sentence in failures:
        print(sentence, file=sys.stderr)
    records = read_records(study)
    missing = [method for method in study.methods if method not in records]
    if missing:
        print(f"No page yet: records of {', '.join(missing)} are missing in {study.record_file('ce').parent}.")
    else:
        print(f"Page: {write_study(study, records, pages)}")
    if failures:
        sys.exit(1)


def _parser() -> CommandLine:
    parser = CommandLine(__doc__)
    parser.add_argument("--bundle", required=True, help="fashion_mnist, ecg, svhn or oct")
    parser.add_argument("--norm", default="l2", help="l2 or linf; default l2")
    parser.add_argument("--data", type=Path, help="folder of the data; without it the bundle's SYNTHETIC phantom")
    parser.add_argument("--methods", help="only these, separated by commas, such as ce,pgd_0.5,ima")
    parser.add_argument("--seed", type=integer(0), default=0, help="of start, subset, batch order and attacks")
    parser.add_argument("--epochs", type=integer(1), help="default: those of compare.json, else of the bundle")
    parser.add_argument("--subset", type=integer(1), help="number of training images")
    parser.add_argument("--test_subset", type=integer(1), help="number of test images")
    parser.add_argument("--minutes", type=minutes, help="no training starts after these; those that run are finished")
    parser.add_argument("--workers", type=integer(1), help="trainings at a time; default: min(8, cores/2) on a GPU")
    parser.add_argument("--out", type=Path, default=Path("runs/compare"), help="folder for weights and checkpoints")
    parser.add_argument("--records", type=Path, default=RESULTS / "records", help="folder for records")
    parser.add_argument("--pages", type=Path, default=RESULTS, help="folder for the page, table and figure")
    return parser


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        one(*sys.argv[2:])
    else:
        main()
