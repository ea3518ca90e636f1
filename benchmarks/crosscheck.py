"""Our attacks beside those of other libraries: robust accuracy, and time.

The Fashion-MNIST bundle's network, trained here with IMA on 4000 images. Robust accuracy on test images under our
strongest attack, ART's AutoAttack and AutoPGD and foolbox's PGD, in L2 and in L∞. Then the time of 100-step PGD with 2
restarts, side by side with ART's, foolbox's and torchattacks' PGD: same network, images, batches, ε and step size, one
thread, the four in turn.

    pip install 'monai-ima[crosscheck]'
    pip install --no-deps torchattacks        (its pins on other packages are not needed here)
    python benchmarks/crosscheck.py --data DIR

Writes docs/results/crosscheck.md; weights, robust accuracies and times stay in ``runs/crosscheck``, and what is there
is not computed again; an interrupted training is resumed there.
"""

from __future__ import annotations

import logging
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import fire
import torch
from torch import nn

from monai_ima.attacks import attack_from_name
from monai_ima.evaluation.third_party import strongest, verify_classifier
from monai_ima.harden.loading import load_bundle
from monai_ima.results.records import VerificationRow
from pgd_tools import PACKAGES, TITLES, TOOLS, Run, by_batches
from studies import REPO, RESULTS, cells, kept, setting, table, total_time, train_bundle, write_page

BUNDLE = REPO / "bundles" / "fashion_mnist_classification_ima"
SUBSET, VAL_COUNT, EPOCHS = 4000, 1000, 12
TRAINING: dict[str, Any] = {"batch_size": 64, "eps_max": 5.0, "update": "online", "steps": 10}
TRAINING["train#handlers#0#noisy_samples"] = "boundary"
BATCH = 250
TIMED = 250
"""Images that times are measured with."""
LEVELS = {"l2": 1.0, "linf": 0.05}
STEPS, RESTARTS, STEP = 100, 2, 0.04
"""Of the attacks that are timed; the step in units of ε."""
TARGETS = {"art": 0.5, "foolbox": 1.0, "torchattacks": 1.0}
"""At most this share of the other's time."""
VERSIONS = {name: version(package) for name, package in PACKAGES.items()}

WARM_UP = 8


def train(folder: Path, data: str | None, seed: int) -> Path:
    """Train, or go on with it; returns the last epoch's checkpoint."""
    return train_bundle(
        BUNDLE,
        folder / "model_last.pt",
        dataset_dir=data,
        seed=seed,
        epochs=EPOCHS,
        val_interval=EPOCHS + 1,
        val_count=VAL_COUNT,
        subset=SUBSET if data else None,
        **TRAINING,
    )


def load(checkpoint: Path, data: str | None, images: int, seed: int) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """The trained network and test images with labels."""
    loaded = load_bundle(
        BUNDLE,
        checkpoint=checkpoint,
        dataset_dir=data,
        device=torch.device("cpu"),
        val_count=VAL_COUNT,
        subset=SUBSET if data else None,
        test_subset=images if data else None,
        seed=seed,
    )
    batches = [loaded.prepare_batch(batch, loaded.device)[:2] for batch in loaded.data_loader]
    image, label = (torch.cat(parts)[:images] for parts in zip(*batches, strict=True))
    return loaded.network.eval(), image.float(), label


def verification(
    folder: Path, network: nn.Module, image: torch.Tensor, label: torch.Tensor, norm: str, seed: int
) -> list[VerificationRow]:
    """The rows of one norm, from the disk where they have been found before."""
    eps = LEVELS[norm]

    def verify() -> list[dict[str, Any]]:
        print(f"verification, {norm} ...", flush=True)
        rows = verify_classifier(network, image, label, norm, eps, (0.0, 1.0), 10, seed=seed, batch_size=BATCH)
        return [row.model_dump() for row in rows]

    return [VerificationRow(**row) for row in kept(folder / f"{norm}_{eps:g}_{len(image)}_{seed}.json", verify)]


def attacks(network: nn.Module, eps: float, seed: int) -> dict[str, Run]:
    """The same L2 attack by each library: 2 starts in the ball, from each 100 steps of 0.04 ε."""
    own = attack_from_name(f"pgd{STEPS}x{RESTARTS}", "l2", (0.0, 1.0))
    generator = torch.Generator()

    def ours(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return own(network, x, y, eps, generator).image

    def seeded(image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        generator.manual_seed(seed)
        return by_batches(ours, BATCH)(image, label)

    others = {name: make(network, eps, STEPS, STEP * eps, RESTARTS, BATCH) for name, make in TOOLS.items()}
    return {"ours": seeded, **others}


def measure(network: nn.Module, image: torch.Tensor, label: torch.Tensor, rounds: int, seed: int) -> dict[str, Any]:
    """CPU seconds and robust accuracies of the three tables."""
    runs = attacks(network, LEVELS["l2"], seed)
    firm = correct(network, runs["ours"](image, label), label)
    found: dict[str, Any] = {"images": len(image), "firm_images": int(firm.sum())}
    found["all"] = compare(runs, network, image, label, rounds)
    network.requires_grad_(False)
    found["frozen"] = compare(runs, network, image, label, rounds)
    found["firm"] = compare(runs, network, image[firm], label[firm], rounds)
    network.requires_grad_(True)
    return found


def compare(
    runs: dict[str, Run], network: nn.Module, image: torch.Tensor, label: torch.Tensor, rounds: int
) -> dict[str, list[tuple[float, float]]]:
    """CPU seconds and robust accuracy of every round, ``{name: [(seconds, accuracy), ...]}``, after a warm-up."""
    names = list(runs)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for name in names:
        runs[name](image[:WARM_UP], label[:WARM_UP])
    for k in range(rounds):
        for name in names[k % len(names) :] + names[: k % len(names)]:
            begin = time.process_time()
            noisy = runs[name](image, label)
            seconds = time.process_time() - begin
            found[name].append((seconds, float(correct(network, noisy, label).double().mean())))
            print(f"round {k}: {name} {seconds:.1f} s, {found[name][-1][1]:.3f}", flush=True)
    return found


@torch.no_grad()
def correct(network: nn.Module, noisy: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Which images are correct: bool ``[N]``."""
    return by_batches(lambda x, y: network(x).argmax(dim=1) == y, BATCH)(noisy, label)


def time_table(found: dict[str, list[tuple[float, float]]], targets: bool = True) -> str:
    """What :func:`compare` found."""
    head = ["", "CPU seconds, median", "ours / its time, median (range)", "target", "robust accuracy"]
    ours = [seconds for seconds, _ in found["ours"]]
    rows = []
    for name, measured in found.items():
        shares = [own / seconds for own, (seconds, _) in zip(ours, measured, strict=True)]
        accuracy = [value for _, value in measured]
        target = ""
        if targets and name in TARGETS:
            met = "met" if median(shares) <= TARGETS[name] else "not met"
            target = f"at most {TARGETS[name]:g}: {met}"
        title = TITLES[name] + (f" {VERSIONS[name]}" if name in VERSIONS else "")
        share = f"{median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})" if name in PACKAGES else "1"
        rows.append([title, f"{median(s for s, _ in measured):.1f}", share, target, *cells([median(accuracy)])])
    return table(head, rows)


def main(
    data: str | None = None, out: str = "runs/crosscheck", seed: int = 0, images: int = 500, rounds: int = 5
) -> None:
    """Train, verify with independent code, measure times, write the page.

    Args:
        data: folder with Fashion-MNIST; without one the bundle's SYNTHETIC shapes are used.
        out: folder for weights and records.
        seed: of training and attacks.
        images: how many test images.
        rounds: how often each library is timed.
    """
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = train(folder, data, seed)
    network, image, label = load(checkpoint, data, images, seed)
    opinions = {norm: verification(folder, network, image, label, norm, seed) for norm in LEVELS}
    image, label = image[:TIMED], label[:TIMED]
    file = folder / f"times_{len(image)}_{rounds}_{seed}.json"
    times = kept(file, lambda: measure(network, image, label, rounds, seed))
    report(folder, data, seed, images, rounds, opinions, times)


def report(
    folder: Path,
    data: str | None,
    seed: int,
    images: int,
    rounds: int,
    opinions: dict[str, list[VerificationRow]],
    times: dict[str, Any],
) -> None:
    """docs/results/crosscheck.md."""
    paragraphs = [
        "# Independent verification: our attacks beside other libraries'",
        f"{'Fashion-MNIST' if data else 'SYNTHETIC shapes'}: the bundle's network trained with IMA on "
        f"{SUBSET if data else 'all'} images for {EPOCHS} epochs ({total_time(folder) / 60:.1f} minutes), {images} "
        "test images in [0, 1].",
        f"    python benchmarks/crosscheck.py{' --data DIR' if data else ''}        (seed {seed})",
        f"{setting(1, 'process')}, Adversarial Robustness Toolbox (ART) {VERSIONS['art']}, foolbox "
        f"{VERSIONS['foolbox']}, torchattacks {VERSIONS['torchattacks']}.",
        "## Robust accuracy",
        "Another tool's word for its success does not count: each of its images was checked to be in the ball and the "
        "bounds and classified anew. Images misclassified without an attack count as broken. AutoAttack: APGD on "
        "cross-entropy and on the difference of logits ratio (100 steps, 5 starts each), DeepFool, Square (5000 "
        "queries). AutoPGD: cross-entropy, 100 steps, 5 starts. foolbox: 100 steps of 0.04 ε, 2 starts. "
        "*agrees*: ours is not above theirs by more than 0.01.",
    ]
    for norm, rows in opinions.items():
        paragraphs += [
            f"### {'L2' if norm == 'l2' else 'L∞'}, ε = {LEVELS[norm]:g}; ours: {strongest(norm, 10)}",
            table(
                ["by", "theirs", "ours", "agrees"],
                [[row.by, *cells([row.theirs, row.ours]), "yes" if row.agrees else "NO"] for row in rows],
            ),
        ]
    paragraphs += [
        "## Time",
        f"{STEPS} steps of {STEP:g} ε with {RESTARTS} starts, L2, ε = {LEVELS['l2']:g}, the first {times['images']} "
        f"test images in batches of {BATCH}; the four in turn in one process with one thread, {rounds} rounds after a "
        "warm-up. CPU seconds, so that other work on the machine counts less; ratios within a round. torchattacks' "
        "restarts are its `MultiAttack`, whose second run takes only the images that the first left unbroken; "
        "foolbox's `repeat` and ART's `num_random_init` run all images again.",
        "### As in an evaluation",
        "The network as it comes from training. Ours stops for an image as soon as it is broken, the others go all the "
        "steps; ART and foolbox compute the weights' gradients too, which nobody asked for.",
        time_table(times["all"]),
        "### Weights' gradients switched off",
        "`network.requires_grad_(False)` spares ART and foolbox that work; what is left is that ours stops early.",
        time_table(times["frozen"]),
        f"### The {times['firm_images']} images that are robust to ours, weights' gradients switched off",
        "Nobody stops early here (but for images that another start breaks): each computes as many gradients, and what "
        "is left is what a library does around them.",
        time_table(times["firm"], targets=False),
    ]
    write_page(RESULTS / "crosscheck.md", paragraphs)


if __name__ == "__main__":
    fire.Fire(main)
