"""Hardening in physical units beside pixel noise, on real hippocampus scans under the changes that scanners make.

Four trainings of the bundle's small network from its shipped plain-trained weights, as many epochs each: plain; plain
with random draws of a chain of bias field, noise level and contrast; IMA with L2 noise; IMA in the chain's parameters.
Dice of the bundle's 40 test scans under every perturbation: the worst case (PGD in its parameters) and the average case
(random draws of the same size).

    python benchmarks/perturbations.py --data DIR      (folder in MSD layout: Task04_Hippocampus)

Each part leaves a record in docs/results/records/perturbations; with all of them only the page,
docs/results/perturbations.md, is written, which needs no data. Weights stay in ``runs/perturbations``, where an
interrupted part is resumed. At most two hours on two cores.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from compare_records import kept_records, write_record
from compare_run import margin_summary
from hippocampus import BUNDLE, COMMON, EPOCHS, Model, train
from monai_ima.evaluation.pipeline import evaluate_loaded
from monai_ima.harden.loading import load_bundle
from monai_ima.perturbations import perturbation_from_name
from monai_ima.results.schema import SegmentationResults
from monai_ima.results.settings import EvaluationSettings
from monai_ima.results.statistics import bootstrap_intervals
from studies import (
    RESULTS,
    CommandLine,
    integer,
    run_one,
    setting,
    side_by_side,
    table,
    threads_each,
    total_time,
    write_page,
)

SEED, NETWORK, DRAWS = 0, "small", 10
ATTACK, ATTACK_TITLE = "pgd20", "20-step PGD"
CHAIN = "bias_field:40+noise:10+gamma:40"
IN_CHAIN = {"_target_": "monai_ima.perturbations.perturbation_from_name", "text": CHAIN}
LEVELS = [0.0, 5.0, 10.0, 20.0]
SIZES = {
    "bias_field": (10, 20, 40),
    "noise": (2, 5, 10),
    "gamma": (10, 20, 40),
    "intensity_shift": (5, 10, 20),
    "rician": (2, 5, 10),
    "blur": (0.5, 1, 1.5),
    "ghosting": (5, 10, 20),
    "motion": (0.5, 1, 2),
    "gibbs": (20, 40, 60),
    "rotation": (5, 10, 20),
    "elastic": (1, 2, 3),
}
TRAINED = ("bias_field", "noise", "gamma")
SETTINGS = {"threshold": 0.8, "train#handlers#0#start": "clean"}
ROWS = {
    "plain": Model("plain training", "train_ce.json"),
    "random": Model(
        "random draws of the chain",
        "train_pgd.json",
        {"eps": 1.0, "train#handlers#0#perturbation": IN_CHAIN, "steps": 1, "train#handlers#0#alpha": 1e-6},
    ),
    "ima_l2": Model("IMA, L2 noise, ε_max 20", settings={"eps_max": 20.0, "delta": 4.0, **SETTINGS}),
    "ima_chain": Model(
        "IMA, chain, ε_max 1",
        settings={"eps_max": 1.0, "delta": 0.1, "train#handlers#0#perturbation": IN_CHAIN, **SETTINGS},
    ),
}


def note(model: Model) -> dict[str, Any]:
    """What a record is of."""
    return {
        "overlay": model.overlay,
        "settings": {**COMMON, **model.settings},
        "epochs": EPOCHS,
        "seed": SEED,
        "levels": LEVELS,
        "sizes": {name: list(sizes) for name, sizes in SIZES.items()},
        "attack": ATTACK,
        "draws": DRAWS,
    }


def one(name: str, data: Path, folder: Path, records: Path, threads: int) -> None:
    """Train and measure one row, in a process of its own, and write its record."""
    torch.set_num_threads(threads)
    logging.getLogger().setLevel(logging.WARNING)
    model, place = ROWS[name], folder / name
    place.mkdir(parents=True, exist_ok=True)
    checkpoint = train(model, NETWORK, str(data), place, BUNDLE / "models" / "model_ce.pt", SEED)
    results = measure(checkpoint, data, place)
    record = {
        "note": note(model),
        "where": setting(threads, "training"),
        "seconds": round(total_time(place), 1),
        "clean": {scan.sample_id: round(scan.scores[0].mean("dice"), 4) for scan in results.samples},
        "noise": {
            scan.sample_id: [round(scores.mean("dice"), 4) for scores in scan.scores] for scan in results.samples
        },
        "perturbations": {
            found.name.split("@")[0]: {
                sample.sample_id: {
                    case: [round(score, 4) for score in getattr(sample, case)] for case in ("worst", "average")
                }
                for sample in found.samples
            }
            for found in results.perturbations
        },
        "margins": margin_summary(checkpoint) if model.overlay is None else None,
    }
    write_record(records / f"{name}.json", record)


def measure(checkpoint: Path, data: Path, folder: Path) -> SegmentationResults:
    """Dice of the test scans under noise and under every perturbation; what was broken off goes on."""
    asked = ",".join(f"{name}@{':'.join(map(str, sizes))}" for name, sizes in SIZES.items())
    settings = EvaluationSettings(
        levels=LEVELS, norm="l2", attack=ATTACK, out=folder / "robustness", perturbation=asked, draws=DRAWS, seed=SEED
    )
    loaded = load_bundle(BUNDLE, checkpoint=checkpoint, dataset_dir=str(data), network=NETWORK, check_files=False)
    results: Any = evaluate_loaded(settings, loaded)
    return results


def read(records: Path) -> dict[str, dict[str, Any]]:
    """The records that are there, by row.

    Raises:
        RecordError: if one was made with other settings.
    """
    return kept_records(records, {name: note(model) for name, model in ROWS.items()})


def scores(record: Mapping[str, Any], names: Sequence[str], case: str) -> np.ndarray:
    """Each scan's mean Dice over these perturbations and their sizes > 0: float64 ``[scans]``.

    Args:
        record: of a row.
        names: of perturbations; ``"l2"`` for pixel noise.
        case: ``"worst"`` or ``"average"``.
    """
    found = []
    for scan in record["clean"]:
        curves = [
            record["noise"][scan] if name == "l2" else record["perturbations"][name][scan][case] for name in names
        ]
        found.append(fmean(fmean(curve[1:]) for curve in curves))
    return np.array(found)


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """The mean over scans and its 95 % bootstrap interval (percentiles)."""
    ((low, high),) = bootstrap_intervals([[value] for value in values.tolist()], seed=SEED)
    return float(values.mean()), low, high


def with_interval(values: np.ndarray, signed: bool = False) -> str:
    """``+0.021 (+0.010 to +0.033)``."""
    form = "{:+.3f}" if signed else "{:.3f}"
    mean, low, high = (form.format(value) for value in interval(values))
    return f"{mean} ({low} to {high})"


def sizes_table(records: Mapping[str, Mapping[str, Any]], case: str) -> str:
    """Mean Dice at every size of every perturbation."""
    rows = []
    for name, sizes in SIZES.items():
        unit = perturbation_from_name(name).unit
        for k, size in enumerate(sizes, start=1):
            cells = [
                f"{fmean(own[case][k] for own in record['perturbations'][name].values()):.3f}"
                for record in records.values()
            ]
            rows.append([f"{perturbation_from_name(name).title} {size:g} {unit}", *cells])
    if case == "worst":
        for k, level in enumerate(LEVELS[1:], start=1):
            cells = [f"{fmean(curve[k] for curve in record['noise'].values()):.3f}" for record in records.values()]
            rows.append([f"pixel noise, L2 ε = {level:g}", *cells])
    return table(["change", *(ROWS[name].title for name in records)], rows)


def groups() -> dict[str, tuple[str, ...]]:
    """What is averaged over, by its title."""
    return {
        "links of the chain (bias field, noise, contrast)": TRAINED,
        "other changes, in no training": tuple(name for name in SIZES if name not in TRAINED),
        "all changes": tuple(SIZES),
    }


def group_table(records: Mapping[str, Mapping[str, Any]], case: str) -> str:
    """Mean Dice of every group with its interval."""
    named = {**groups(), "pixel noise (L2)": ("l2",)} if case == "worst" else groups()
    rows = [
        [title, *(with_interval(scores(record, names, case)) for record in records.values())]
        for title, names in named.items()
    ]
    return table([f"{case} case", *(ROWS[name].title for name in records)], rows)


def difference_table(records: Mapping[str, Mapping[str, Any]]) -> str:
    """IMA in the chain minus each other row, of the same scans."""
    ours, rows = records["ima_chain"], []
    for case in ("worst", "average"):
        named = {**groups(), "pixel noise (L2)": ("l2",)} if case == "worst" else groups()
        for title, names in named.items():
            cells = [
                with_interval(scores(ours, names, case) - scores(record, names, case), signed=True)
                for name, record in records.items()
                if name != "ima_chain"
            ]
            rows.append([f"{title}, {case} case", *cells])
    clean = np.array(list(ours["clean"].values()))
    cells = [
        with_interval(clean - np.array([record["clean"][scan] for scan in ours["clean"]]), signed=True)
        for name, record in records.items()
        if name != "ima_chain"
    ]
    rows.append(["without any change", *cells])
    return table([f"{ROWS['ima_chain'].title} minus", *(ROWS[n].title for n in records if n != "ima_chain")], rows)


def answer(records: Mapping[str, Mapping[str, Any]]) -> str:
    """The question's answer in one paragraph, with paired differences and their intervals."""
    everything, ours = tuple(SIZES), records["ima_chain"]

    def gain(name: str, names: Sequence[str], case: str) -> str:
        return with_interval(scores(ours, names, case) - scores(records[name], names, case), signed=True)

    def cost(name: str) -> str:
        own = np.array([records[name]["clean"][scan] - records["plain"]["clean"][scan] for scan in ours["clean"]])
        return with_interval(own, signed=True)

    return (
        "**Does hardening in physical units protect better against scanner-like changes than pixel noise does, and "
        f"what does each cost?** Mean Dice over all changes and sizes, IMA in the chain minus IMA with pixel noise: "
        f"{gain('ima_l2', everything, 'worst')} in the worst case and {gain('ima_l2', everything, 'average')} on "
        f"average; minus training on random draws of the same chain: {gain('random', everything, 'worst')} and "
        f"{gain('random', everything, 'average')}. Against pixel noise itself it is the other way round: "
        f"{gain('ima_l2', ('l2',), 'worst')}. Cost without any change, beside plain training: the chain "
        f"{cost('ima_chain')}, pixel noise {cost('ima_l2')}."
    )


def write(records: Mapping[str, Mapping[str, Any]], page: Path) -> None:
    """The page."""
    first = next(iter(records.values()))
    clean = [
        [ROWS[name].title, with_interval(np.array(list(record["clean"].values())))] for name, record in records.items()
    ]
    margins = [
        [ROWS[name].title, f"{own['mean']:.2f}", f"{own['share_at_eps_max']:.0%}"]
        for name, record in records.items()
        if (own := record["margins"]) is not None
    ]
    paragraphs = [
        "# Hardening in physical units, and under the changes that scanners make",
        f"Mean foreground Dice of {len(first['clean'])} real test scans (MSD Task04, CC-BY-SA 4.0; list in the "
        "bundle's `configs/split.json`). Forward models work on the z-scored volumes that the network sees. Worst "
        f"case: {ATTACK_TITLE} in the perturbation's parameters on soft Dice and cross-entropy, one start, or a worse "
        f"one of {DRAWS} random draws; average case: the mean of these draws, each of exactly that size. Intervals: "
        "95 %, bootstrap over scans.",
        f"    python benchmarks/perturbations.py --data Task04_Hippocampus        (seed {SEED})",
        f"{', '.join(sorted({record['where'] for record in records.values()}))}; "
        f"{sum(record['seconds'] for record in records.values()) / 60:.0f} minutes of the trainings' wall time (a "
        "part that was broken off is not counted), other work beside them; the measurements took as long again.",
        f"All rows: the bundle's small network from its plain-trained weights, {EPOCHS} epochs of the training in the "
        f"row's name, training attacks of {COMMON['steps']} steps. The chain is `{CHAIN}`: at ε = 1 a bias field of "
        '40 %, noise of 10 % and a contrast of 40 %, each at most; "random draws" trains on uniform draws from it in '
        "place of attacks.",
        answer(records),
        "## What it costs: Dice without any change",
        table(["training", "Dice"], clean),
        "## Means over perturbations and sizes",
        group_table(records, "worst"),
        group_table(records, "average"),
        "## Does hardening in physical units protect better? Differences scan by scan",
        difference_table(records),
        "## Worst case at every size",
        sizes_table(records, "worst"),
        "## Average case at every size",
        sizes_table(records, "average"),
        "## Margins",
        table(["training", "mean margin", "at ε_max"], margins),
    ]
    write_page(page, paragraphs)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the rows that have no record yet; the page when all of them are there.

    Args:
        arguments: of the command line; ``--help`` lists them.

    Raises:
        SystemExit: with code 2 if an argument or a record cannot be used.
    """
    parser = CommandLine(__doc__)
    parser.add_argument("--data", type=Path, help="folder of the scans in MSD layout")
    parser.add_argument("--out", type=Path, default=Path("runs/perturbations"), help="folder for weights and results")
    parser.add_argument("--records", type=Path, default=RESULTS / "records" / "perturbations")
    parser.add_argument("--page", type=Path, default=RESULTS / "perturbations.md")
    parser.add_argument("--workers", type=integer(1), default=2, help="rows at a time")
    options = parser.parse_args(arguments)
    try:
        waiting = [name for name in ROWS if name not in read(options.records)]
    except ValueError as error:
        parser.error(str(error))
    if waiting:
        if options.data is None or not (options.data / "dataset.json").is_file():
            parser.error(f"Records of {', '.join(waiting)} are missing: give --data, the folder Task04_Hippocampus.")
        _make(waiting, options)
    write(read(options.records), options.page)


def _make(names: Sequence[str], options: Any) -> None:
    """The rows beside each other."""
    threads = threads_each(options.workers)
    options.out.mkdir(parents=True, exist_ok=True)

    def run(name: str) -> None:
        log = options.out / f"{name}.log"
        run_one(__file__, [name, options.data, options.out, options.records, threads], log, threads)

    side_by_side(names, run, options.workers, "rows")


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        name, data, folder, records, threads = sys.argv[2:7]
        one(name, Path(data), Path(folder), Path(records), int(threads))
    else:
        main()
