"""What true margins do to IMA on real hippocampus scans: B-PGD from the clean image and from the ball, beside fixed ε.

The bundle's small network from its plain-trained weights (``models/model_ce.pt``), 15 epochs of each training as in
``hippocampus.py``: IMA with τ 0.7 and 0.8, ε_max 20 and 40 (δ a fifth of it), both starts. Mean foreground Dice of the
40 test scans under 20-step PGD; the last epoch's weights are attacked. The fixed ε, and two of the rows that start in
the ball, are those of ``docs/results/hippocampus.md``, with the same settings, seed and attack; one row is in both.

    python benchmarks/hippocampus_starts.py --data DIR      (folder in MSD layout: Task04_Hippocampus)

Each finished training leaves a record in docs/results/records/hippocampus_starts; with all of them only the page,
docs/results/hippocampus_starts.md, is written, which needs no data. Weights stay in ``runs/hippocampus_starts``, where
an interrupted training is resumed. Uses the GPU when there is one.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch

from compare_records import kept_records, write_record
from compare_run import margin_summary
from hippocampus import BALL, BUNDLE, COMMON, EPOCHS, LEVELS, QUICK, Model, crossed, measure, train
from studies import (
    RESULTS,
    CommandLine,
    cells,
    chosen,
    integer,
    level_titles,
    run_one,
    setting,
    side_by_side,
    table,
    threads_each,
    total_time,
    write_page,
)

NETWORK, SEED = "small", 0
STARTS: dict[str, dict[str, Any]] = {"clean": {}, "ball": BALL}
TAKEN_OVER = {
    "fixed ε = 5": "fixed ε = 5",
    "fixed ε = 10": "fixed ε = 10",
    "fixed ε = 15": "fixed ε = 15",
    "IMA, ε_max 20, τ 0.8": "IMA, τ 0.8, ε_max 20, from the ball",
    "IMA, ε_max 40, δ 8, τ 0.8": "IMA, τ 0.8, ε_max 40, from the ball",
    "IMA, ε_max 20, τ 0.7": "IMA, τ 0.7, ε_max 20, from the ball",
}
"""Rows of the earlier page by the titles that they have here."""


def _ima(start: str, threshold: float, eps_max: float) -> Model:
    settings = {"eps_max": eps_max, "delta": eps_max / 5, "threshold": threshold, **STARTS[start]}
    where = "the clean image" if start == "clean" else "the ball"
    return Model(f"IMA, τ {threshold:g}, ε_max {eps_max:g}, from {where}", settings=settings, strong=False)


ROWS = {
    f"ima_{start}_{threshold:g}_{eps_max:g}": _ima(start, threshold, eps_max)
    for threshold, eps_max, start in (
        *product((0.8, 0.7), (20.0, 40.0), ("clean",)),
        *product((0.7,), (20.0, 40.0), ("ball",)),
    )
}


def note(model: Model) -> dict[str, Any]:
    """What a record is of."""
    return {
        "overlay": model.overlay,
        "settings": {**COMMON, **model.settings},
        "epochs": EPOCHS,
        "seed": SEED,
        "levels": LEVELS,
        "attack": QUICK,
    }


def one(name: str, data: str, out: str, records: str, threads: str) -> None:
    """Train and attack one row, in a process of its own, and write its record."""
    torch.set_num_threads(int(threads))
    logging.getLogger().setLevel(logging.WARNING)
    model, folder = ROWS[name], Path(out) / name
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = train(model, NETWORK, data, folder, BUNDLE / "models" / "model_ce.pt", SEED)
    result = measure(checkpoint, NETWORK, QUICK, data, folder, SEED)
    record = {
        "note": note(model),
        "where": setting(int(threads), "training"),
        "seconds": round(total_time(folder), 1),
        "dice": {scan.sample_id: [round(scores.mean("dice"), 4) for scores in scan.scores] for scan in result.records},
        "margins": {**margin_summary(checkpoint), "crossed": crossed(folder)},
    }
    write_record(Path(records) / f"{name}.json", record)


def read(records: Path) -> dict[str, dict[str, Any]]:
    """The records that are there.

    Raises:
        RecordError: if one was made with other settings.
    """
    return kept_records(records, {name: note(model) for name, model in ROWS.items()})


def write(records: dict[str, dict[str, Any]]) -> None:
    """docs/results/hippocampus_starts.md."""
    rows, margins = [], []
    for name, record in records.items():
        columns = torch.tensor(list(record["dice"].values()), dtype=torch.float64).mean(dim=0).tolist()
        rows.append([ROWS[name].title, *cells([*columns, sum(columns) / len(columns)])])
        own = record["margins"]
        margins.append([ROWS[name].title, f"{own['mean']:.1f}", f"{own['share_at_eps_max']:.0%}", own["crossed"]])
    first = next(iter(records.values()))
    seconds = sum(record["seconds"] for record in records.values())
    paragraphs = [
        "# Hippocampus: IMA with true margins",
        f"Mean foreground Dice of {len(first['dice'])} real test scans (MSD Task04, CC-BY-SA 4.0) under 20-step PGD on "
        "soft Dice and cross-entropy, one start, at L2 noise ε in units of z-scored volumes.",
        f"    python benchmarks/hippocampus_starts.py --data Task04_Hippocampus        (seed {SEED})",
        f"{', '.join(sorted({record['where'] for record in records.values()}))}; {seconds / 60:.0f} minutes of all "
        "processes' wall time, other work beside them.",
        f"All rows: the bundle's small network from its plain-trained weights, {EPOCHS} epochs of the training in the "
        f"row's name, training attacks of {COMMON['steps']} steps, margins moved online.",
        table(["training", *level_titles(LEVELS), "mean"], [*rows, *_earlier_rows()]),
        "Rows with a † are those of [hippocampus.md](hippocampus.md), with the same settings, seed and attack; "
        "one row was trained for both pages, as a check.",
        table(["IMA", "margins: mean", "at ε_max", "crossed τ, by epoch"], margins),
    ]
    write_page(RESULTS / "hippocampus_starts.md", paragraphs)


def _earlier_rows() -> list[list[str]]:
    """Of the quick attack's table."""
    page = (RESULTS / "hippocampus.md").read_text(encoding="utf-8").split("under a quick attack")[1]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    found = {title: list(map(float, dice)) for title, *dice in lines if title in TAKEN_OVER and len(dice) > 6}
    return [
        [f"{title} †", *cells([*found[earlier], sum(found[earlier]) / len(found[earlier])])]
        for earlier, title in TAKEN_OVER.items()
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and attack what has no record yet; the page when all of them are there.

    Args:
        arguments: of the command line; ``--help`` lists them.

    Raises:
        SystemExit: with code 2 if an argument or a record cannot be used.
    """
    parser = CommandLine(__doc__)
    parser.add_argument("--data", type=Path, help="folder of the scans in MSD layout")
    parser.add_argument("--out", type=Path, default=Path("runs/hippocampus_starts"), help="folder for weights")
    parser.add_argument("--records", type=Path, default=RESULTS / "records" / "hippocampus_starts")
    parser.add_argument("--workers", type=integer(1), default=2, help="trainings at a time")
    parser.add_argument("--rows", help="only these, separated by commas")
    options = parser.parse_args(arguments)
    try:
        names = chosen("row", options.rows, ROWS)
        there = read(options.records)
    except ValueError as error:
        parser.error(str(error))
    waiting = [name for name in names if name not in there]
    if waiting and (options.data is None or not options.data.is_dir()):
        parser.error(f"Records of {', '.join(waiting)} are missing: give --data, the folder Task04_Hippocampus.")
    threads = threads_each(options.workers)

    def run(name: str) -> None:
        folder = options.out / name
        folder.mkdir(parents=True, exist_ok=True)
        run_one(__file__, [name, options.data, options.out, options.records, threads], folder / "log.txt", threads)

    side_by_side(waiting, run, options.workers, "trainings")
    records = read(options.records)
    missing = [name for name in ROWS if name not in records]
    if missing:
        print(f"No page yet: records of {', '.join(missing)} are missing in {options.records}.")
    else:
        write(records)


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        one(*sys.argv[2:])
    else:
        main()
