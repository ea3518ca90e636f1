"""Parts of a model's section that are about single samples: smallest noise, worst cases."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from monai_ima.results.parts import Minimum
from monai_ima.results.schema import ClassificationResults, Results, SegmentationResults
from monai_ima.utils.plain_numbers import counted, plain_number

from .blocks import Block, Details, Figures, Picture, Pictures, Table, Text
from .charts import Bars, Histogram
from .wording import NOTHING, attacked, axis, epsilon, level, level_cells, level_header

__all__ = ["distances", "shown_first", "worst_cases"]

SHOWN = 3
"""Pictures that are not folded."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def distances(results: Results) -> Iterator[Block]:
    """The smallest perturbation that breaks each sample; where it was not searched for, the first ε that does."""
    if not isinstance(results, ClassificationResults) or not attacked(results):
        return
    if results.minimum is not None:
        yield from _found_distances(results, results.minimum)
    else:
        yield from _first_levels(results)


def _found_distances(results: ClassificationResults, minimum: Minimum) -> Iterator[Block]:
    size = results.pixel_size
    found = sorted(one.distance for one in results.samples if one.correct and one.distance is not None)
    left = minimum.of - minimum.found
    if minimum.median is None:
        half = f"Fewer than half were broken: the median is above {epsilon(minimum.up_to, size)}."
    else:
        half = f"The median is {epsilon(minimum.median, size)}: half of them are broken by less."
    yield Text(
        f"Of {counted(minimum.of, 'correctly classified sample')}, {minimum.found} were broken by a perturbation of at "
        "most "
        f"{epsilon(minimum.up_to, size)}. {half} A better search could find smaller ones, never larger: read "
        "the distances as upper limits."
    )
    histogram = Histogram(
        "Smallest perturbation found, by sample",
        axis(size),
        "samples",
        found,
        minimum.up_to,
        None if minimum.median is None else (minimum.median, f"median {level(minimum.median)}"),
        (left, "none found") if left else None,
        size.scale,
    )
    rows = []
    for quantile in QUANTILES:
        place = math.ceil(quantile * minimum.of) - 1
        value = minimum.median if quantile == 0.5 else found[place] if 0 <= place < len(found) else None
        beyond = [f"> {cell}" for cell in level_cells(minimum.up_to, size)]
        rows.append([f"{quantile:.0%}", *(beyond if value is None else level_cells(value, size))])
    header = ["samples broken", *level_header(size)]
    yield Figures(
        [histogram], Table("Perturbation that breaks a given share of the correctly classified samples", header, rows)
    )


def _first_levels(results: ClassificationResults) -> Iterator[Block]:
    yield Text(
        "The first measured ε at which any of the attacks breaks a sample; the smallest perturbation of each was not "
        "searched for. Those at 0 are misclassified without an attack, those at “none” hold at every ε."
    )
    above = [value for value in results.levels if value > 0]
    broken = Counter(one.broken for one in results.samples)
    counts = [broken[eps] for eps in (0, *above, None)]
    names = ["0", *map(level, above), "none"]
    bars = Bars("First ε that breaks a sample", axis(results.pixel_size), "samples", names, counts)
    no_size = [NOTHING] * (results.pixel_size.factor is not None)
    cells = [
        ["misclassified without attack", *no_size],
        *(level_cells(value, results.pixel_size) for value in above),
        ["none", *no_size],
    ]
    rows = [[*cell, str(count)] for cell, count in zip(cells, counts, strict=True)]
    header = [*level_header(results.pixel_size), "samples"]
    yield Figures([bars], Table("Samples by the first ε that breaks them", header, rows))


def worst_cases(results: Results) -> Iterator[Block]:
    """The pictures."""
    if not results.cases:
        return
    segments = isinstance(results, SegmentationResults)
    shown = (
        "Planes of clean image, image under attack and perturbation, with the contours of label (solid) and prediction "
        "(dashed)."
        if segments
        else "Images: clean, perturbation, under attack. Signals: clean and, dashed, under attack."
    )
    if results.noise_scale is not None:
        scale = plain_number(results.noise_scale, 2)
        shown += (
            f" Perturbations have one colour scale in all cases, from −{scale} (blue) over 0 (white) to {scale} (red)."
        )
    held = _held(results)
    order = "Those that are broken most easily come first."
    if all(case.sample_id in held for case in results.cases):
        order = "No attack broke any of these."
    yield Text(f"{order} {shown}")
    pictures = []
    for case, picture in zip(results.cases, results.source.pictures, strict=True):
        up_to = "not broken up to " if case.sample_id in held else ""
        caption = f"{case.sample_id}, {up_to}{epsilon(case.epsilon, results.pixel_size)}"
        pictures.append(Picture(caption, case.summary, picture))
    yield from shown_first(pictures)


def _held(results: Results) -> set[str]:
    """Ids of the classified samples that no attack broke."""
    if not isinstance(results, ClassificationResults):
        return set()
    return {one.sample_id for one in results.samples if one.broken is None}


def shown_first(pictures: Sequence[Picture], shown: int = SHOWN) -> Iterator[Block]:
    """The first pictures, the others folded."""
    yield Pictures(pictures[:shown])
    if len(pictures) > shown:
        yield Details(counted(len(pictures) - shown, "more picture"), [Pictures(pictures[shown:])])
