"""What ``monai-ima suggest`` does with its settings, prints and writes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from monai_ima.attacks.channels import attacked_channels
from monai_ima.evaluation.suggest import RULE, ChannelNoise, Suggestion, suggest
from monai_ima.evaluation.suggest_files import write_suggestion
from monai_ima.from_files.images import bundle_of_images
from monai_ima.from_files.settings import FileSettings
from monai_ima.harden.images import load_images
from monai_ima.harden.units import bundle_units
from monai_ima.results.parts import Units
from monai_ima.results.pixel_size import PixelSize
from monai_ima.utils.plain_numbers import counted

from .arguments import new_folder
from .suggest_commands import NORMS, commands, listed

if TYPE_CHECKING:
    from .suggest import SuggestOptions

__all__ = ["run_suggestion"]

logger = logging.getLogger(__name__)


def run_suggestion(options: SuggestOptions, settings: FileSettings) -> None:
    """Measure, print tables and commands, and write files where a folder is given."""
    folder = None if options.out is None else new_folder(options.out)
    with _bundle(settings, options.limit) as bundle:
        units = _units(settings, bundle)
        images = load_images(bundle, settings.config, settings.channels, **settings.overrides)
        first: list[tuple[str, torch.Tensor]] = []
        samples = tqdm(islice(_keeping(images, first), options.limit), desc="images", total=options.limit)
        suggestion = suggest(samples, units, images.channels, options.limit, options.seed)
        name, image = first[0]
        image = image[attacked_channels(None if images.channels is None else tuple(images.channels), image[None])]
    print("\n".join([*_noise_lines(suggestion), "", *_change_lines(suggestion), "", *_suggested(suggestion)]))
    print("\n".join(["", "Commands:", *commands(settings, suggestion)]))
    if folder is not None:
        write_suggestion(folder, suggestion, name, image, options.seed)
        print(f"Written to {folder}: levels.png, suggest.csv, suggest.json")


def _keeping(
    samples: Iterable[tuple[str, torch.Tensor]], first: list[tuple[str, torch.Tensor]]
) -> Iterator[tuple[str, torch.Tensor]]:
    for sample in samples:
        if not first:
            first.append(sample)
        yield sample


@contextmanager
def _bundle(settings: FileSettings, limit: int) -> Iterator[str]:
    if settings.images is None:
        yield str(settings.bundle)
        return
    with bundle_of_images(settings, limit) as folder:
        yield str(folder)


def _units(settings: FileSettings, bundle: str) -> Units | None:
    try:
        return bundle_units(bundle, settings.config, settings.overrides)
    except ValueError as error:
        logger.warning("Sizes are in the network's units only: %s", error)
        return None


def _noise_lines(suggestion: Suggestion) -> list[str]:
    """The images' own noise, a line a channel."""
    count = suggestion.images
    have = "has itself" if count == 1 else "have themselves"
    lines = [f"Noise that {counted(count, 'image')} {have}, SD as the network sees it (median, quartiles):"]
    return lines + [line for noise in suggestion.noise for line in _channel_lines(noise, count, suggestion.units)]


def _channel_lines(noise: ChannelNoise, count: int, units: Units | None) -> list[str]:
    wavelet = f"  channel {noise.channel}: {_quartiles(noise.wavelet, units)}, of the finest wavelet coefficients"
    if noise.background is None:
        return [f"{wavelet} (no dark and even background)"]
    skewed = noise.rayleigh
    how = f"; Rayleigh-like in {skewed}, corrected as of magnitude MR" if skewed else "; Gaussian"
    return [
        wavelet,
        f"  channel {noise.channel}: {_quartiles(noise.background, units)}, of the background of "
        f"{noise.with_background} of {count}{how}: used for these",
    ]


def _quartiles(values: Sequence[float], units: Units | None) -> str:
    low, middle, high = (f"{value:.3g}" for value in values)
    in_files = "" if units is None else f" = {values[1] * units.per_unit:.3g} {units.name}"
    return f"{middle} ({low} .. {high}){in_files}"


def _change_lines(suggestion: Suggestion) -> list[str]:
    units = suggestion.units
    header = ["L2", "L∞", "RMS a pixel", *([] if units is None else [f"L∞, {units.name}", f"RMS, {units.name}"])]
    rows: list[list[str]] = [["change", *header]]
    for change in suggestion.changes:
        in_files = [] if units is None else [change.linf * units.per_unit, change.rms * units.per_unit]
        rows.append([change.title, *(f"{size:.3g}" for size in (change.l2, change.linf, change.rms, *in_files))])
    values = suggestion.values
    varies = "" if values.fewest == values.most else f", {values.fewest} to {values.most} values each"
    return [f"What changes amount to (medians over images; {values.median:g} values{varies}):", *_table(rows)]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([f"  {first:<{widths[0]}}", *map(str.rjust, cells, widths[1:])]) for first, *cells in rows]


def _suggested(suggestion: Suggestion) -> list[str]:
    lines = [f"Suggested: {RULE}"]
    for norm, title in NORMS.items():
        eps = suggestion.eps_max[norm]
        size = PixelSize(norm, suggestion.units, suggestion.values).text(eps)
        options = f"--norm {norm} --eps_max {eps:g} --levels {listed(suggestion.levels[norm])}"
        lines.append(f"  {title}: {options}" + (f"   ({size})" if size else ""))
    return lines
