"""The page, table and figure of a study of ``compare.py``, from its records alone."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from compare_records import broken_distances, read_records
from compare_study import BLACK_BOX_SAMPLES, NOISE, RULE, WHITE_BOX, Study
from monai_ima.results.statistics import bootstrap_intervals
from monai_ima.visualize import robustness_curves
from studies import cells, named_values, replace_figure, table, write_page, write_whole

WITHIN = 0.03
TIE = 1e-9

Records = Mapping[str, Mapping[str, Any]]


def write_study(study: Study, records: Records, pages: Path) -> Path:
    """Write ``paper_NAME_NORM.md``, ``.csv`` and ``.png``; returns the page.

    Args:
        study: whose records these are.
        records: one of every method.
        pages: folder.
    """
    pages.mkdir(parents=True, exist_ok=True)
    page = pages / f"paper_{study.key}.md"
    results = {attack: _accuracies(study, records, [attack]) for attack in [*study.strongest, NOISE]}
    results["strongest"] = _accuracies(study, records, study.strongest)
    count = records["ce"]["samples"]["count"]
    figure = robustness_curves(
        [0.0, *study.levels],
        {study.methods[method].label: values for method, values in results["strongest"].items()},
        study.norm,
        f"{_data_title(study)}, {count} test samples, strongest of the attacks",
    )
    replace_figure(figure, page.with_suffix(".png"))
    write_page(page, _paragraphs(study, records, results))
    _write_csv(study, results, page.with_suffix(".csv"))
    return page


def robust(study: Study, record: Mapping[str, Any], attacks: list[str]) -> np.ndarray:
    """Is a sample correct without an attack and at every level, under all the attacks: bool ``[N, 1 + L]``."""
    broken = np.min([broken_distances(record, attack) for attack in attacks], axis=0)
    return broken[:, None] > np.array([0.0, *study.levels])


def _accuracies(study: Study, records: Records, attacks: list[str]) -> dict[str, list[float]]:
    return {method: robust(study, records[method], attacks).mean(axis=0).tolist() for method in study.methods}


def _paragraphs(study: Study, records: Records, results: Mapping[str, Mapping[str, list[float]]]) -> list[str]:
    head = ["training", *study.level_titles]
    strongest = results["strongest"]
    least = strongest["ce"][0] - WITHIN - TIE
    rows = [
        [study.methods[method].title, *cells([*values, fmean(values)]), "yes" if values[0] >= least else "no"]
        for method, values in strongest.items()
    ]
    paragraphs = [
        *_head(study, records),
        f"## Under the strongest of {len(study.strongest)} attacks",
        f"A sample counts as robust if it is correct under all of: {', '.join(study.strongest)}.",
        table([*head, "mean", "clean within 3 points of ce"], rows),
        f"![Accuracy against ε](paper_{study.key}.png)",
        *_order(study, records),
        *_seeds(study, records),
        "## Attack by attack",
    ]
    for attack in [*study.strongest, NOISE]:
        what = f"{attack}, uniform noise" if attack == NOISE else attack
        rows = [[study.methods[method].title, *cells(values)] for method, values in results[attack].items()]
        paragraphs += [f"### {what}", table(head, rows)]
    paragraphs += _black_box(study, records)
    if study.norm == "l2":
        paragraphs += _ddn(study, records)
    return [*paragraphs, *_margins(study, records)]


def _head(study: Study, records: Records) -> list[str]:
    first = records["ce"]
    hours = sum(sum(record["seconds"].values()) for record in records.values()) / 3600
    return [
        f"# {_data_title(study)} with the paper's network: every method side by side, {study.norm_title}",
        f"{study.data_title}; {first['samples']['count']} test samples. ε in units of intensity, samples scaled to "
        "[0, 1].",
        f"    {_command(study)}",
        f"{first['note']['network'].rpartition('.')[2]} ({first['parameters']} parameters), section 3 of the paper; "
        f"{first['note']['optimizer'].rpartition('.')[2]}; the same start and batch order for all methods, the weights "
        f"after the last epoch. Config ids: {named_values(first['note']['training'])}. Seed {study.seed}.",
        f"{RULE} Here ε_n = {study.eps_n:g}{study.eps_source}.",
        f"{hours:.1f} hours of all processes' wall time. A record of each training is in "
        f"`docs/results/records/{study.key}`; from these the command rewrites this page, without `--data` too.",
    ]


def _command(study: Study) -> str:
    command = f"python benchmarks/compare.py --bundle {study.name} --norm {study.norm}"
    options = {"epochs": study.epochs, "subset": study.subset, "test_subset": study.test_subset}
    options["seed"] = study.seed or None
    command += "".join(f" --{name} {value}" for name, value in options.items() if value is not None)
    return command if study.synthetic else f"{command} --data DIR"


def _order(study: Study, records: Records) -> list[str]:
    """How far every method's mean is from IMA's, sample by sample, with intervals."""
    differences = _minus_ima(study, records)
    rows = [[own.title, *differences[method]] for method, own in study.methods.items() if method != "ima"]
    return [
        "## How sure is the order?",
        "The mean of clean and robust accuracy minus IMA's, paired by sample, with 95 % bootstrap intervals over the "
        "test samples. They say what other test samples may change, not what another seed may.",
        table(["training", "minus IMA's", "95 %"], rows),
    ]


def _minus_ima(study: Study, records: Records) -> dict[str, tuple[str, str]]:
    """The mean of each method minus IMA's, and its interval."""
    means = {method: robust(study, record, study.strongest).mean(axis=1) for method, record in records.items()}
    found = {}
    for method in means if "ima" in means else ():
        difference = means[method] - means["ima"]
        low, high = bootstrap_intervals(difference[:, None].tolist())[0]
        found[method] = (f"{difference.mean():+.3f}", f"{low:+.3f} to {high:+.3f}")
    return found


def _seeds(study: Study, records: Records) -> list[str]:
    """Each method's clean accuracy and mean with every seed that has records, and how far the mean is from IMA's."""
    others = []
    for folder in sorted(Path(study.records).glob(f"{study.name}_{study.norm}_seed*")):
        seeded = replace(study, seed=int(folder.name.rpartition("_seed")[2]))
        others.append((seeded, read_records(seeded)))
    if study.seed or not others:
        return ["What another seed (start, subset, batch order) changes is not known from this page."]
    rows = []
    for seeded, found in [(study, records), *others]:
        differences = _minus_ima(seeded, found)
        for method, own in study.methods.items():
            if method in found:
                values = robust(seeded, found[method], seeded.strongest).mean(axis=0)
                minus = ("", "") if method == "ima" else differences.get(method, ("", ""))
                rows.append([str(seeded.seed), own.title, *cells([values[0], values.mean()]), *minus])
    return [
        "## Other seeds",
        "Another start, subset, batch order and other test samples, the same command with `--seed`: clean accuracy, "
        "the mean of clean and robust accuracy, and how far that is from IMA's with the same seed. What is not here "
        "was not trained.",
        table(["seed", "training", "clean", "mean", "minus IMA's", "95 %"], rows),
    ]


def _black_box(study: Study, records: Records) -> list[str]:
    levels = study.levels[1:3]
    rows = []
    for method, own in study.methods.items():
        blind = broken_distances(records[method], study.black_box)
        seeing = broken_distances(records[method], WHITE_BOX[0])[: len(blind)]
        values = [(broken > level).mean() for broken in (blind, seeing) for level in levels]
        rows.append([own.title, *cells(values)])
    head = [f"{attack}, ε = {study.eps_text(level)}" for attack in ("SPSA", "PGD") for level in levels]
    count = min(BLACK_BOX_SAMPLES, records["ce"]["samples"]["count"])
    title = f"### Black box: {study.black_box} beside {WHITE_BOX[0]}, the first {count} test samples"
    return [title, table(["training", *head], rows)]


def _ddn(study: Study, records: Records) -> list[str]:
    rows = [
        [own.title, f"{np.median(broken_distances(records[method], 'ddn')):.3f}"]
        for method, own in study.methods.items()
    ]
    return ["### Smallest perturbation that DDN finds, median", table(["training", "L2"], rows)]


def _margins(study: Study, records: Records) -> list[str]:
    machines = _machines(records)
    rows = []
    for method, own in study.methods.items():
        seconds, margins = records[method]["seconds"], records[method]["margins"]
        shown = ["", "", ""]
        if margins is not None:
            shown = [f"{margins['mean']:.4g}", f"{margins['median']:.4g}", f"{margins['share_at_eps_max']:.3f}"]
        times = [f"{seconds[part]:.0f}" for part in ("training", "attacks")]
        rows.append([own.title, *shown, *times, str(1 + machines.index(_machine(records[method])))])
    head = [
        "training",
        "margin, mean",
        "median",
        f"share at {study.eps_n:g}",
        "s of training",
        "s of attacks",
        "machine",
    ]
    return [
        "## Margins of the training samples, and time",
        "Seconds are wall time beside other processes; those of different machines cannot be compared. Machines: "
        + "; ".join(f"{k}: {name}" for k, name in enumerate(machines, 1))
        + ".",
        table(head, rows),
    ]


def _machines(records: Records) -> list[str]:
    """Where the trainings were made."""
    return list(dict.fromkeys(map(_machine, records.values())))


def _machine(record: Mapping[str, Any]) -> str:
    return f"{record['machine']} ({named_values(record['versions'])})"


def _data_title(study: Study) -> str:
    return f"SYNTHETIC {study.config['title']} phantom" if study.synthetic else study.config["title"]


def _write_csv(study: Study, results: Mapping[str, Mapping[str, list[float]]], file: Path) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["training", "attack", 0.0, *study.levels])
    for attack in ["strongest", *(name for name in results if name != "strongest")]:
        writer.writerows([study.methods[method].title, attack, *row] for method, row in results[attack].items())
    write_whole(file, text.getvalue())
