"""What ``monai-ima evaluate`` does with its settings, and prints."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from monai_ima.evaluation.classification_task import MAX_CLASSES
from monai_ima.evaluation.loaded import LoadedBundle
from monai_ima.evaluation.pipeline import evaluate_loaded
from monai_ima.evaluation.torchio_draws import has_transform
from monai_ima.from_files.bundle import bundle_of_files
from monai_ima.from_files.settings import FileSettings
from monai_ima.harden.loading import bundle_channels, load_bundle
from monai_ima.harden.settings import Stated
from monai_ima.harden.units import bundle_units
from monai_ima.results.base import as_numbers
from monai_ima.results.parts import Units
from monai_ima.results.perturbed import CaseCurve
from monai_ima.results.records import tally
from monai_ima.results.run_folder import check_folder
from monai_ima.results.schema import ClassificationResults, Results, SegmentationResults
from monai_ima.results.settings import EvaluationSettings
from monai_ima.utils.attack_names import passes
from monai_ima.utils.workers import workers

__all__ = ["print_verdicts", "run_evaluation"]

logger = logging.getLogger(__name__)


def run_evaluation(settings: EvaluationSettings) -> None:
    """Evaluate a bundle, or a model file and images, and print a table; of several processes one does."""
    if isinstance(settings, FileSettings) and settings.model is not None:
        check_folder(settings.folder, settings.arguments())
        with bundle_of_files(settings) as files:
            if workers().leader:
                print(files.description())
            stated = replace(Stated.of(settings), task=None, sigmoid=None, ignore_index=None)
            units = _units(settings, str(files.folder))
            loaded = files.adapted(load_bundle(files.folder, stated=stated))
            if loaded.bounds is None and workers().leader:
                print("The attack has no bounds: give --scale lo:hi or --bounds lo,hi where intensities have some.")
            _evaluate(settings, loaded, units)
        if workers().leader and settings.save_bundle is not None:
            print(f"Bundle written to {settings.save_bundle}.")
        return
    if settings.channels is None:
        channels = bundle_channels(str(settings.bundle), settings.config, settings.overrides)
        settings = settings.model_copy(update={"channels": channels})
    check_folder(settings.folder, settings.arguments())
    units = _units(settings, str(settings.bundle))
    loaded = load_bundle(
        str(settings.bundle), settings.config, settings.checkpoint, Stated.of(settings), **settings.overrides
    )
    _evaluate(settings, loaded, units)


def _evaluate(settings: EvaluationSettings, loaded: LoadedBundle, units: Units | None) -> None:
    print(_announcement(settings, loaded))
    results = evaluate_loaded(settings, loaded, units)
    if not workers().leader:
        return
    print(
        _scan_table(results, settings.tolerance) if isinstance(results, SegmentationResults) else _sample_table(results)
    )
    if results.perturbations:
        print(_perturbation_table(results))
    print_verdicts(results)
    names = sorted(path.name for path in settings.folder.iterdir() if not path.name.startswith("."))
    print(f"Written to {settings.folder}: {', '.join(names)}")


def _announcement(settings: EvaluationSettings, loaded: LoadedBundle) -> str:
    """What is going to be done, and how much that is."""
    names = settings.attack_names(loaded.segments)
    levels = ", ".join(f"{level:g}" for level in settings.levels if level > 0)
    work = f" at ε {levels} ({settings.norm}), each up to about {passes(names) * settings.eot} passes of every image"
    line = f"Weights {loaded.checkpoint}, {names}{work if levels else ': without noise only'}."
    for one in settings.perturbations:
        sizes = ", ".join(f"{size:g}" for size in one.levels if size > 0)
        more = ", and as many of TorchIO" if settings.torchio and has_transform(one.perturbation) else ""
        line += f"\nThen {one.title}, {sizes} {one.perturbation.unit}: these attacks and {settings.draws} random draws"
        line += f"{more}."
    if settings.minimum:
        line += "\nThen each sample's smallest perturbation; that search counts as one of the attacks."
    if loaded.validation:
        line += (
            "\nThe samples are those that the bundle's training validates on: where they chose the weights, new "
            "samples may score lower."
        )
    return line


def print_verdicts(results: Results) -> None:
    """Print what the checks for gradient masking and independent verification found."""
    for check in results.checks or ():
        used = "" if check.samples is None else f" (n = {check.samples})"
        print(f"{check.status:>8}  {check.title}{used}: {check.summary}")
    if results.checks:
        print(f"Checks for gradient masking: {tally(results.checks)}.")
    if results.crosscheck is not None:
        for row in results.crosscheck.rows:
            scores = f"{row.theirs:.3f}, ours {row.ours:.3f}"
            print(f"{'agrees' if row.agrees else 'DIFFERS':>8}  {row.by} (n = {results.crosscheck.samples}): {scores}")


def _sample_table(results: ClassificationResults) -> str:
    """The accuracy at every ε, of all samples and by class where there are few; n heads each column."""
    classes = results.accuracy_by_class if len(results.classes) <= MAX_CLASSES else {}
    of_class = [results.labelled(k) for k in range(len(results.classes))] if classes else []
    columns = [results.accuracy, *map(as_numbers, classes.values())]
    counts = ["n", *_no_size(results), str(results.data.samples), *map(str, of_class)]
    rows = [
        [f"{eps:g}", *_size(results, eps), *(f"{values[k]:.3f}" for values in columns)]
        for k, eps in enumerate(results.levels)
    ]
    return _aligned([["epsilon", *_size_name(results), "accuracy", *classes], counts, *rows])


def _scan_table(results: SegmentationResults, tolerance: float) -> str:
    """The mean metrics at every ε, over all scans; n heads each column."""
    columns = [as_numbers(curve) for curve in (results.dice, results.surface_dice, results.hd95)]
    unit = results.distance_unit
    header = ["Dice", f"surface Dice ({tolerance:g} {unit})", f"HD95 ({unit})", "HD95 undefined"]
    counts = ["n", *_no_size(results), *[str(results.data.samples)] * len(header)]
    rows = [
        [f"{eps:g}", *_size(results, eps), f"{dice:.3f}", f"{surface:.3f}", f"{distance:.2f}", str(undefined)]
        for eps, dice, surface, distance, undefined in zip(
            results.levels, *columns, results.hd95_undefined, strict=True
        )
    ]
    return _aligned([["epsilon", *_size_name(results), *header], counts, *rows])


def _perturbation_table(results: Results) -> str:
    """Worst and average case of every perturbation, and the mean degradation of each."""
    cases = ["worst", "average"] + ["torchio"] * any(one.torchio is not None for one in results.perturbations)
    rows = [["perturbation", "size", *cases]]
    for one in results.perturbations:
        undefined = CaseCurve(values=[None] * len(one.levels), intervals=[])
        curves = [as_numbers((getattr(one, case) or undefined).values) for case in cases]
        for k, size in enumerate(one.levels):
            rows.append([one.title, f"{size:g} {one.unit}", *(f"{curve[k]:.3f}" for curve in curves)])
        lost = as_numbers([getattr(one.degradation, case) for case in cases])
        rows.append([one.title, "mean degradation", *(f"{value:.3f}" for value in lost)])
    return _aligned(rows)


def _size_name(results: Results) -> list[str]:
    return [] if results.pixel_size.factor is None else [results.pixel_size.name]


def _no_size(results: Results) -> list[str]:
    return [""] * len(_size_name(results))


def _size(results: Results, eps: float) -> list[str]:
    return [] if results.pixel_size.factor is None else [results.pixel_size.number(eps)]


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells, each column as wide as its widest."""
    widths = [max(8, *map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)


def _units(settings: EvaluationSettings, bundle: str) -> Units | None:
    needed = settings.units == "raw"
    try:
        units = bundle_units(bundle, settings.config, settings.overrides, of_files=needed)
    except ValueError as error:
        if needed:
            raise
        logger.warning("Results are in the network's units only: %s", error)
        return None
    if units is None and needed:
        raise ValueError(
            f"Bundle {settings.bundle} does not say how it scales intensities, or scales each image on its own: levels "
            "in raw intensities are not defined; expected --units network."
        )
    return units
