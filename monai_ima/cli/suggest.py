from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from monai_ima.from_files.settings import (
    CLASSES,
    FILE_OPTIONS,
    NETWORK,
    NETWORK_ARGS,
    ORIENTATION,
    SCALE,
    SPACING,
    WINDOW,
    FileSettings,
)
from monai_ima.results.settings import CHANNELS, CONFIG
from monai_ima.utils.checks import check_count, check_path

from .arguments import unknown_option
from .options import config_overrides, option_names

__all__ = ["SuggestOptions", "suggest"]

MODEL = "Model file, as for evaluate: only repeated in the commands that are printed."
LABELS = "Folder of label maps, or CSV file: only images that have a label are looked at. No label is read."
ONLY_REPEATED = "Only repeated in the commands that are printed. "


@dataclass(frozen=True, kw_only=True)
class SuggestOptions:
    """The options of ``monai-ima suggest``; those of files are the ones of ``monai-ima evaluate``."""

    bundle: Annotated[str | None, "Folder of the bundle, whose evaluation loads the images."] = None
    images: Annotated[str | None, "In place of --bundle: folder of NIfTI, NRRD, MetaImage or picture files."] = None
    labels: Annotated[str | None, LABELS] = None
    scale: Annotated[str | None, SCALE] = None
    spacing: Annotated[Sequence[float] | None, SPACING] = None
    orientation: Annotated[str | None, ORIENTATION] = None
    model: Annotated[str | None, MODEL] = None
    network: Annotated[str | None, ONLY_REPEATED + NETWORK] = None
    network_args: Annotated[str | None, ONLY_REPEATED + NETWORK_ARGS] = None
    classes: Annotated[str | None, ONLY_REPEATED + CLASSES] = None
    window: Annotated[Sequence[int] | None, ONLY_REPEATED + WINDOW] = None
    limit: Annotated[int, "Look at that many images, >= 1; the first of a bundle, of a folder taken evenly."] = 20
    channels: Annotated[Sequence[int] | None, CHANNELS] = None
    config: Annotated[str | None, CONFIG] = None
    seed: Annotated[int, "Of the random bias fields."] = 0
    out: Annotated[str | None, "New folder for suggest.json, suggest.csv and levels.png; default: only print."] = None

    def __post_init__(self) -> None:
        check_count("limit", self.limit, 1)
        if self.out is not None:
            check_path("out", self.out)

    def settings(self, overrides: Mapping[str, Any]) -> FileSettings:
        """Those of an evaluation of the same data, which checks them.

        Raises:
            ValueError: if one is not as stated, or they do not go together.
        """
        common: dict[str, Any] = {"levels": 0.0, "channels": self.channels, "config": self.config, "seed": self.seed}
        files: dict[str, Any] = {name: getattr(self, name) for name in FILE_OPTIONS if name != "save_bundle"}
        if self.images is None:
            return FileSettings(bundle=self.bundle, model=self.model, overrides=dict(overrides), **common, **files)
        model = "MODEL" if self.model is None else self.model
        out = f"{self.images.rstrip('/')}_suggest" if self.out is None else self.out
        return FileSettings(bundle=self.bundle, model=model, out=out, **common, **files)


def suggest(options: SuggestOptions, further: Mapping[str, Any]) -> None:
    """Measure what a scanner's noise and bias fields amount to in your images, and suggest --eps_max and --levels.

    Needs images only, no network and no labels: those that a bundle's evaluation loads (--bundle; runs its expressions,
    any id of its config can be set, such as --dataset_dir DIR), or a folder of files (--images), as the network sees
    them. Prints the noise that the images have themselves, what 1, 2, 5 and 10 % bias field, half the dose and a
    repeat scan's noise are in L2, L∞ and RMS a pixel, and the commands that go with that.

    \b
    Example: monai-ima suggest --bundle BUNDLE --out suggested
    """
    if options.images is not None:
        for name in further:
            raise unknown_option(
                name, option_names(options), "an option of suggest (see --help): --images has no config"
            )
        overrides = {}
    else:
        overrides = config_overrides("suggest", options, further)
    from .suggest_run import run_suggestion

    run_suggestion(options, options.settings(overrides))
