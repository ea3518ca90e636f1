"""Parts of a model's section that are about single samples: smallest noise, worst cases."""

from __future__ import annotations

import math
from collections.abc import Iterator

from monai_ima.results.schema import Minimum, Results

from .blocks import Block, Command, Figures, Picture, Pictures, Table, Text
from .charts import Bars, Histogram
from .wording import NOTHING, axis, epsilon, level, level_cells, level_header, second_axis

__all__ = ["distances", "worst_cases"]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def distances(results: Results) -> Iterator[Block]:
    """How little noise turns each sample; where it was not searched for, the first level that does."""
    if results.task == "segmentation":
        yield Text("Not measured for segmentations.")
    elif results.minimum is not None:
        yield from _found_distances(results, results.minimum)
    else:
        yield from _first_levels(results)


def _found_distances(results: Results, minimum: Minimum) -> Iterator[Block]:
    units = results.units
    found = sorted(one.distance for one in results.samples if one.right and one.distance is not None)
    left = minimum.of - minimum.found
    if minimum.median is None:
        half = f"Fewer than half were turned: the median is above {epsilon(minimum.up_to, units)}."
    else:
        half = f"The median is {epsilon(minimum.median, units)}: noise of this norm turns half of them."
    yield Text(
        f"Of {minimum.of} rightly predicted samples, {minimum.found} were turned by noise of at most "
        f"{epsilon(minimum.up_to, units)}. {half} A better search could find smaller noise, never larger: read the "
        "distances as upper limits."
    )
    histogram = Histogram(
        "Smallest noise found, by sample",
        axis(results.norm, units),
        "samples",
        found,
        minimum.up_to,
        None if minimum.median is None else (minimum.median, f"median {level(minimum.median)}"),
        (left, "none found") if left else None,
        second_axis(units),
    )
    rows = []
    for quantile in QUANTILES:
        place = math.ceil(quantile * minimum.of) - 1
        value = minimum.median if quantile == 0.5 else found[place] if 0 <= place < len(found) else None
        cells = level_cells(value, units) if value is not None else [f"> {level(minimum.up_to)}"]
        if value is None and units:
            cells.append(f"> {level(minimum.up_to * units.per_unit)}")
        rows.append([f"{quantile:.0%}", *cells])
    header = ["samples turned", *level_header(units)]
    yield Figures([histogram], Table("Noise that turns a given share of the rightly predicted samples", header, rows))


def _first_levels(results: Results) -> Iterator[Block]:
    yield Text(
        "Distances were not searched for; this is the first measured level at which any of the attacks turns a sample. "
        "The smallest noise of every sample comes from this, with a new --out:"
    )
    yield Command(f"{results.command} --minimum")
    names = ["wrong", *(level(value) for value in results.levels if value > 0), "none"]
    right = [one for one in results.samples if one.right]
    counts = [
        len(results.samples) - len(right),
        *(sum(one.broken_at == value for one in right) for value in results.levels if value > 0),
        sum(one.broken_at is None for one in right),
    ]
    bars = Bars("First level that turns a sample", axis(results.norm, results.units), "samples", names, counts)
    cells = [
        ["wrong without noise"] + [NOTHING] * bool(results.units),
        *(level_cells(value, results.units) for value in results.levels if value > 0),
        ["none of the levels"] + [NOTHING] * bool(results.units),
    ]
    rows = [[*cell, str(count)] for cell, count in zip(cells, counts, strict=True)]
    header = [*level_header(results.units), "samples"]
    yield Figures([bars], Table("Samples by the first level that turns them", header, rows))


def worst_cases(results: Results) -> Iterator[Block]:
    """The pictures."""
    if not results.cases:
        yield Text("The results hold no pictures.")
        return
    yield Text(
        "Those that fell to the least noise come first. Images: clean, noise times 10, noisy. Signals: "
        "clean and, dashed, noisy. Volumes: three planes with the contours of label and predictions."
    )
    yield Pictures(
        [
            Picture(f"{case.sample_id}, {epsilon(case.epsilon, results.units)}", case.says, case.picture)
            for case in results.cases
        ]
    )
