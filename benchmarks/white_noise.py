"""How often uniform noise makes a network misclassify an OCT image that it classifies correctly without noise.

The paper (arXiv 2005.09147, section 1) found it for about 3 % of the noisy images at an L-infinity level of 0.05, with
ResNet-18. Here the share is measured for the OCT bundle's network, plain-trained and trained by IMA: of all noisy
images whose clean image is classified correctly, with a 95 % interval over images, and of these images those that are
misclassified with at least one draw. Both networks see the same noise.

    python benchmarks/white_noise.py --data DIR --plain PLAIN.pt --ima IMA.pt
    python benchmarks/white_noise.py --epochs 10

Without weights both networks are trained first: small ones, on images of 64 x 64 pixels. Without ``--data`` all images
are the bundle's SYNTHETIC phantom. Writes docs/results/white_noise.md; weights and counts stay in ``runs/white_noise``,
and the same command resumes what was interrupted there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from compare_run import fingerprints
from monai_ima.attacks import UniformNoise
from monai_ima.evaluation.classification import ClassificationEvaluator
from monai_ima.evaluation.loaded import LoadedBundle
from monai_ima.harden.loading import load_bundle
from monai_ima.results.records import SampleRecord
from monai_ima.results.run_folder import RecordFile
from monai_ima.results.statistics import score_intervals
from monai_ima.utils.errors import one_line, root_cause
from monai_ima.utils.weights import load_network
from studies import REPO, RESULTS, CommandLine, integer, number, setting, table, train_bundle, write_page, write_whole

BUNDLE = REPO / "bundles" / "oct_classification_ima"
NORM = "linf"
TITLES = {"plain": "plain training", "ima": "IMA"}
EPOCHS = 10
NETWORK = {"network_def#channels": [16, 32, 64, 64], "network_def#blocks": [1, 1, 1, 1]}
DATA = {"image_size": 64, "phantom_per_class": {"train": 200, "val": 40, "test": 50}}
TRAINING = {"batch_size": 32, "learning_rate": 0.002, "norm": NORM}
IMA = {"eps_max": 0.03, "beta": 0.5, "steps": 7, "update": "online"}
"""Small trainings, for the phantom and two cores; δ is ε_max / epochs."""


@dataclass(frozen=True)
class NoiseStudy:
    """What is measured.

    Attributes:
        data: folder with OCT images in the bundle's layout; None for the SYNTHETIC phantom.
        weights: a file for each of :data:`TITLES`; empty where small networks are trained.
        eps: L∞ level of the noise, > 0, in the units that the network sees (0..1).
        draws: of noise for each image, >= 1.
        seed: of noise, start and batch order.
        epochs: of each training.
        out: folder for weights and counts.
    """

    data: Path | None
    weights: dict[str, Path]
    eps: float
    draws: int
    seed: int
    epochs: int
    out: Path

    @property
    def settings(self) -> dict[str, Any]:
        """Config ids of data and network."""
        small = {} if self.weights else {**DATA, **NETWORK}
        return {"dataset_dir": None if self.data is None else str(self.data.resolve()), **small}

    @property
    def phantom_dir(self) -> str:
        """Where the phantom is drawn to; one folder for each size."""
        return str(self.out / f"synthetic_oct_{self.settings.get('image_size', 'bundle')}")


@dataclass(frozen=True)
class Measured:
    """What was counted for one network.

    Attributes:
        loaded: the bundle with its weights.
        prints: SHA-256 of weights and images.
        counts: of :func:`misclassified_draws`.
    """

    loaded: LoadedBundle
    prints: dict[str, Any]
    counts: list[int | None]


@dataclass(frozen=True)
class Share:
    """A share with its 95 % interval; all NaN where no image is classified correctly without noise."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "no image is correct"
        interval = "" if math.isnan(self.low) else f" ({100 * self.low:.2f} to {100 * self.high:.2f})"
        return f"{100 * self.value:.2f} %{interval}"


def share_of_draws(counts: Sequence[int | None], draws: int, seed: int = 0) -> Share:
    """The share of the noisy images that are misclassified, of the images classified correctly without noise.

    The interval is over images: all noisy images of one clean image count together.

    Args:
        counts: for each image the number of misclassified draws; None where it is misclassified without noise.
        draws: of each image.
        seed: of the intervals.

    Example:
        >>> share_of_draws([0, 5, None], 10).value
        0.25
    """
    return _share([None if count is None else count / draws for count in counts], seed)


def share_of_images(counts: Sequence[int | None], seed: int = 0) -> Share:
    """As :func:`share_of_draws`, the share of the images that are misclassified with at least one draw.

    Example:
        >>> share_of_images([0, 5, None]).value
        0.5
    """
    return _share([None if count is None else float(count > 0) for count in counts], seed)


def _share(values: Sequence[float | None], seed: int) -> Share:
    known = [value for value in values if value is not None]
    if not known:
        return Share(math.nan, math.nan, math.nan)
    ((low, high),) = score_intervals([[value] for value in known], seed=seed)
    return Share(sum(known) / len(known), low, high)


def misclassified_draws(loaded: LoadedBundle, eps: float, draws: int, seed: int, file: Path) -> list[int | None]:
    """Draw uniform noise for every image, and count.

    Every pixel's noise is uniform in [-eps, eps] and independent of the others'; the noisy image is clipped to the
    bundle's bounds. The draws of an image are given by ``seed``, ``eps`` and its id, whatever the network.

    Args:
        loaded: the bundle with a network's weights.
        eps: > 0, in the units that the network sees.
        draws: for each image, >= 1.
        seed: of the draws.
        file: records of an interrupted call, which are taken over; new ones are added.

    Returns:
        for each image the number of draws that are misclassified; None where it is misclassified without noise.
    """
    noise = UniformNoise(NORM, 1, loaded.bounds, loaded.criterion)
    evaluator = ClassificationEvaluator.of_bundle(loaded, noise, seed, noise_draws=draws)
    records = RecordFile(file, SampleRecord)
    result = evaluator.run(loaded.data_loader, [eps], done=records.read(), on_records=records.append)
    return [None if record.noise_failures is None else record.noise_failures[1] for record in result.records]


def trained(study: NoiseStudy, name: str) -> Path:
    """Train a small network, or resume an interrupted training; returns the last epoch's weights."""
    plain = name == "plain"
    settings: dict[str, Any] = {"seed": study.seed, "epochs": study.epochs, **study.settings, **TRAINING}
    if not plain:
        settings |= IMA
    folder = _folder(study.out / name, settings)
    last = folder / ("model_ce_last.pt" if plain else "model_last.pt")
    if not last.is_file():
        print(f"{TITLES[name]}: {study.epochs} epochs", flush=True)
    settings |= {"phantom_dir": study.phantom_dir, "val_interval": study.epochs + 1}
    return train_bundle(BUNDLE, last, ["train_ce.json"] if plain else [], **settings)


def measured(study: NoiseStudy, name: str, loaded: LoadedBundle) -> Measured:
    """:func:`misclassified_draws` of one network; the records in ``study.out`` are of these weights and images only."""
    print(f"{TITLES[name]}: {study.draws} draws of each test image", flush=True)
    prints = fingerprints(loaded)
    folder = _folder(study.out / "noise", {"eps": study.eps, "draws": study.draws, "seed": study.seed, **prints})
    counts = misclassified_draws(loaded, study.eps, study.draws, study.seed, folder / "records.jsonl")
    return Measured(loaded, prints, counts)


def _folder(parent: Path, settings: dict[str, Any]) -> Path:
    """A folder for these settings alone, with a note of them."""
    text = json.dumps(settings, indent=1, sort_keys=True)
    folder = parent / hashlib.sha256(text.encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "settings.json", text)
    return folder


def page(study: NoiseStudy, found: dict[str, Measured]) -> list[str]:
    """Paragraphs of the page.

    Args:
        study: what was measured.
        found: for each of :data:`TITLES`.
    """
    rows = [
        [
            TITLES[name],
            f"{sum(count is not None for count in one.counts)} of {len(one.counts)}",
            str(share_of_draws(one.counts, study.draws, study.seed)),
            str(share_of_images(one.counts, study.seed)),
        ]
        for name, one in found.items()
    ]
    head = ["training", "correct without noise", "noisy images misclassified"]
    weights = ", ".join(f"{one.prints['weights_sha256'][:12]} ({TITLES[name]})" for name, one in found.items())
    return [
        "# Uniform noise on OCT images",
        _origin(study, found),
        f"For each image {study.draws} draws of noise, uniform in [-{study.eps:g}, {study.eps:g}] in every pixel and "
        "clipped to valid intensities (0 to 1); the same draws for both networks. Shares are of the images that the "
        "network classifies correctly without noise, with 95 % intervals over these images (Wilson's where no image "
        "differs from the others, else a bootstrap's).",
        f"    {_command(study)}",
        f"{setting(torch.get_num_threads(), 'network')}. SHA-256 of the weights {weights}, of the test images "
        f"{found['plain'].prints['samples']['sha256'][:12]}.",
        table([*head, "images misclassified with at least one draw"], rows),
        "To compare with, not a result of this run: the paper reports about 3 % of the noisy images for ResNet-18 on "
        "OCT images at 0.05 (section 1)."
        + (" Synthetic images neither confirm nor contradict it." if found["plain"].loaded.synthetic else ""),
    ]


def _origin(study: NoiseStudy, found: dict[str, Measured]) -> str:
    """Images and networks."""
    loaded = found["plain"].loaded
    images: Any = loaded.data_loader
    kind = "SYNTHETIC images (OCT phantom, nothing measured on a patient)" if loaded.synthetic else loaded.data_name
    training = f"each trained for {study.epochs} epochs, IMA in L∞ up to {IMA['eps_max']:g}; last weights"
    if study.weights:
        training = ", ".join(f"{TITLES[name]}: `{file.name}`" for name, file in study.weights.items())
    return (
        f"{kind}: {len(images.dataset)} test images of {' x '.join(map(str, images.dataset[0]['image'].shape[1:]))} "
        f"pixels. {loaded.model.network} with {loaded.model.parameters} parameters; {training}."
    )


def _command(study: NoiseStudy) -> str:
    words = ["python benchmarks/white_noise.py"]
    words += ["--data DIR"] if study.data else []
    words += [f"--{name} {file.name}" for name, file in study.weights.items()] or [f"--epochs {study.epochs}"]
    return " ".join([*words, f"--eps {study.eps:g} --draws {study.draws} --seed {study.seed}"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Train where there are no weights, measure, and write the page.

    Args:
        arguments: of the command line; ``--help`` lists them.

    Raises:
        SystemExit: with code 2 if an argument or a file cannot be used.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    logging.disable(logging.INFO)
    try:
        study = _study(options)
        loaded = _networks(study)
    except (OSError, ValueError) as error:
        parser.error(one_line(error))
    except RuntimeError as error:  # MONAI wraps what a component raises
        cause = root_cause(error)
        if not isinstance(cause, (OSError, ValueError)):
            raise
        parser.error(one_line(cause))
    found = {name: measured(study, name, bundle) for name, bundle in loaded.items()}
    file = options.pages / "white_noise.md"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_page(file, page(study, found))
    print(f"Page: {file}")


def _study(options: argparse.Namespace) -> NoiseStudy:
    weights = {name: getattr(options, name) for name in TITLES if getattr(options, name) is not None}
    if len(weights) == 1:
        raise ValueError(f"Got --{next(iter(weights))} alone, expected both --plain and --ima, or neither.")
    if weights and options.epochs is not None:
        raise ValueError("Got --epochs with weights, expected it for networks that are trained here.")
    for name, file in weights.items():
        if not file.is_file():
            raise FileNotFoundError(f"File {file} of --{name} does not exist, expected a checkpoint.")
    if options.data is not None and not options.data.is_dir():
        raise FileNotFoundError(f"Folder {options.data} of --data does not exist, expected one with OCT images.")
    return NoiseStudy(
        options.data, weights, options.eps, options.draws, options.seed, options.epochs or EPOCHS, options.out
    )


def _networks(study: NoiseStudy) -> dict[str, LoadedBundle]:
    """The bundle with each network's weights; its images are read once."""
    weights = study.weights or {name: trained(study, name) for name in TITLES}
    plain = load_bundle(BUNDLE, checkpoint=weights["plain"], phantom_dir=study.phantom_dir, **study.settings)
    ima = replace(plain, network=deepcopy(plain.network), checkpoint=weights["ima"])
    load_network(ima.network, weights["ima"])
    return {"plain": plain, "ima": ima}


def _parser() -> CommandLine:
    parser = CommandLine(__doc__)
    level = number("a number > 0", lambda value: value > 0)
    parser.add_argument("--data", type=Path, help="folder of OCT images; without it the bundle's SYNTHETIC phantom")
    parser.add_argument("--plain", type=Path, help="plain-trained weights; without --plain and --ima both are trained")
    parser.add_argument("--ima", type=Path, help="weights of IMA")
    parser.add_argument("--eps", type=level, default=0.05, help="L-infinity level of the noise; default 0.05")
    parser.add_argument("--draws", type=integer(1), default=100, help="of noise for each image; default 100")
    parser.add_argument("--seed", type=integer(0), default=0, help="of noise, start and batch order")
    parser.add_argument("--epochs", type=integer(1), help=f"of a training where there are no weights; default {EPOCHS}")
    parser.add_argument("--out", type=Path, default=Path("runs/white_noise"), help="folder for weights and counts")
    parser.add_argument("--pages", type=Path, default=RESULTS, help="folder for the page")
    return parser


if __name__ == "__main__":
    main()
