"""What ``monai-ima evaluate`` does with its settings, and prints."""

from __future__ import annotations

import logging

from monai_ima.evaluation.classification_task import MAX_CLASSES
from monai_ima.evaluation.loaded import LoadedBundle
from monai_ima.evaluation.pipeline import evaluate_loaded
from monai_ima.harden.loading import bundle_channels, load_bundle
from monai_ima.harden.settings import Stated
from monai_ima.harden.units import bundle_units
from monai_ima.results.base import as_numbers
from monai_ima.results.parts import Units
from monai_ima.results.run_folder import check_folder
from monai_ima.results.schema import ClassificationResults, Results, SegmentationResults
from monai_ima.results.settings import EvaluationSettings
from monai_ima.utils.attack_names import passes
from monai_ima.utils.workers import workers

__all__ = ["print_verdicts", "run"]

logger = logging.getLogger(__name__)


def run(settings: EvaluationSettings) -> None:
    """Evaluate a bundle, and print a table; of several processes one does."""
    if settings.channels is None:
        channels = bundle_channels(str(settings.bundle), settings.config, settings.overrides)
        settings = settings.model_copy(update={"channels": channels})
    if workers().leader:
        check_folder(settings.folder, settings.arguments())
    units = _units(settings)
    loaded = load_bundle(
        str(settings.bundle), settings.config, settings.checkpoint, Stated.of(settings), **settings.overrides
    )
    print(_announcement(settings, loaded))
    results = evaluate_loaded(settings, loaded, units)
    if not workers().leader:
        return
    print(
        _scan_table(results, settings.tolerance) if isinstance(results, SegmentationResults) else _sample_table(results)
    )
    print_verdicts(results)
    names = sorted(path.name for path in settings.folder.iterdir() if not path.name.startswith("."))
    print(f"Written to {settings.folder}: {', '.join(names)}")


def _announcement(settings: EvaluationSettings, loaded: LoadedBundle) -> str:
    """What is going to be done, and how much that is."""
    names = settings.attack_names(loaded.segments)
    levels = ", ".join(f"{level:g}" for level in settings.levels if level > 0)
    work = f" at ε {levels} ({settings.norm}), each up to about {passes(names) * settings.eot} passes of every image"
    return f"Weights {loaded.checkpoint}, {names}{work if levels else ': without noise only'}."


def print_verdicts(results: Results) -> None:
    """Print what the checks for gradient masking and independent verification found."""
    for result in results.checks or ():
        print(f"{result.status:>8}  {result.title}: {result.summary}")
    for row in results.crosscheck.rows if results.crosscheck else ():
        print(f"{'agrees' if row.agrees else 'DIFFERS':>8}  {row.by}: {row.theirs:.3f}, ours {row.ours:.3f}")


def _sample_table(results: ClassificationResults) -> str:
    """The accuracy at every ε, of all samples and by class where there are few."""
    classes = results.accuracy_by_class if len(results.classes) <= MAX_CLASSES else {}
    columns = [results.accuracy, *map(as_numbers, classes.values())]
    lines = [f"{'epsilon':>8}{'accuracy':>10}" + "".join(f"{name:>10}" for name in classes)]
    for k, eps in enumerate(results.levels):
        lines.append(f"{eps:>8g}" + "".join(f"{values[k]:>10.3f}" for values in columns))
    return "\n".join(lines)


def _scan_table(results: SegmentationResults, tolerance: float) -> str:
    """The mean metrics at every ε."""
    unit = results.distance_unit
    names = ("epsilon", "Dice", f"surface Dice ({tolerance:g} {unit})", f"HD95 ({unit})", "HD95 undefined")
    widths = (8, 8, max(24, len(names[2]) + 2), max(12, len(names[3]) + 2), 17)
    lines = ["".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True))]
    columns = map(as_numbers, (results.dice, results.surface_dice, results.hd95))
    for k, (eps, dice, surface, distance) in enumerate(zip(results.levels, *columns, strict=True)):
        cells = (f"{eps:g}", f"{dice:.3f}", f"{surface:.3f}", f"{distance:.2f}", results.hd95_undefined[k])
        lines.append("".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)))
    return "\n".join(lines)


def _units(settings: EvaluationSettings) -> Units | None:
    needed = settings.units == "raw"
    try:
        units = bundle_units(str(settings.bundle), settings.config, settings.overrides)
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
