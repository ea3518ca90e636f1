"""Two moons: where plain, fixed-ε, TRADES, MMA and IMA training put the decision boundary, and what drives IMA's.

SYNTHETIC points in the unit square, 2000 to train and 2000 to test; a perceptron with two hidden layers of 128; the
same start and batch order for every training, three seeds. In the plane everything can be checked against geometry: the
decision boundary is traced as a polyline, and a point's true margin is its distance from it.

    python benchmarks/moons.py

Writes docs/results/moons.md with two figures; records stay in ``runs/moons``, and a broken-off run goes on there.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import fire
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from monai.utils import set_determinism
from scipy.spatial import cKDTree
from scipy.stats import gaussian_kde
from skimage.measure import find_contours
from torch import nn
from tqdm import tqdm

from monai_ima.attacks import PGD, BoundaryPGD
from monai_ima.handlers import (
    AdversarialTrainingHandler,
    EpochSeed,
    IMAHandler,
    MMAHandler,
    PGDTrainingHandler,
    TRADESHandler,
)
from monai_ima.margins import AttackOutcome, epoch_rule
from monai_ima.methods import IMA
from monai_ima.utils.batch import Batch
from studies import RESULTS, cells, kept, level_titles, replace_figure, setting, table, write_page

COUNT, NOISE = 2000, 0.1
EPOCHS, BATCH, RATE = 30, 256, 0.005
CORNER, SIDES = np.array([-1.25, -0.75]), np.array([3.5, 2.0])
"""The rectangle that holds the moons before they are scaled to the unit square."""
EPS_MAX = 0.3
LEVELS = [0.05, 0.1, 0.15, 0.2]
WINDOW = ((-0.3, 1.3), (-0.3, 1.3))
CELL = 0.002
REGION = 0.25
"""Boundary points farther than this from both curves are in nobody's way and are left out."""

Trained = tuple[nn.Module, AdversarialTrainingHandler | None]


@dataclass(frozen=True)
class Outcome:
    """What one training led to.

    Attributes:
        accuracy: of test points, clean and at every level.
        off_middle: mean distance of the boundary from the middle between the moons.
        imbalance: of the two classes' boundary samples along the boundary, in [0, 1] (:func:`balance`).
        margin_ratio: quartiles of estimated over true margin of the rightly classified training points below ε_max;
            empty for methods without margins.
    """

    accuracy: list[float]
    off_middle: float
    imbalance: float
    margin_ratio: list[float] = field(default_factory=list)


class KeepsWrong(IMA):
    """IMA whose misclassified samples keep their margin instead of falling back to δ."""

    def update_margins(self, training_set: Iterable[Batch]) -> None:
        def rule(eps: float, seen: AttackOutcome, delta: float) -> float:
            return epoch_rule(eps, seen, delta) if seen.distances or seen.survived else eps

        self.margins.update(self.margin_pass(training_set).merged(), rule)


class KeepsWrongHandler(AdversarialTrainingHandler, method=KeepsWrong):
    """:class:`KeepsWrong` in a trainer."""


Method = tuple[type[AdversarialTrainingHandler] | None, dict[str, Any]]
"""A handler and its settings; None for plain training."""


PAPER = {"schedule": "constant", "steps": 20}


def _ima(handler: type[AdversarialTrainingHandler] = IMAHandler, **settings: Any) -> Method:
    return handler, {"eps_max": EPS_MAX, **PAPER, "margin_steps": 50, **settings}


METHODS: dict[str, Method] = {
    "plain training": (None, {}),
    "fixed ε = 0.15": (PGDTrainingHandler, {"eps": 0.15, **PAPER}),
    "fixed ε = 0.3": (PGDTrainingHandler, {"eps": 0.3, **PAPER}),
    "TRADES, ε = 0.15": (TRADESHandler, {"eps": 0.15}),
    "TRADES, ε = 0.3": (TRADESHandler, {"eps": 0.3}),
    "MMA, d_max 0.3": (MMAHandler, {"eps_max": EPS_MAX}),
    "IMA, defaults": _ima(),
    "IMA, β 0.2": _ima(beta=0.2),
    "IMA, β 0.8": _ima(beta=0.8),
    "IMA, boundary samples only": _ima(noisy_samples="boundary"),
    "IMA, boundary samples only, β 0.2": _ima(noisy_samples="boundary", beta=0.2),
    "IMA, boundary samples only, β 0.8": _ima(noisy_samples="boundary", beta=0.8),
    "IMA, online update": _ima(update="online"),
    "IMA, online update, boundary samples only": _ima(update="online", noisy_samples="boundary"),
    "IMA, margin pass of 10 steps": _ima(margin_steps=10),
    "IMA, margin pass of 200 steps": _ima(margin_steps=200),
    "IMA, training attack of 7 steps": _ima(steps=7),
    "IMA, B-PGD from a random point of the ball": _ima(start="ball"),
    "IMA, wrong samples keep their margin": _ima(KeepsWrongHandler),
    "IMA, δ 0.02": _ima(delta=0.02),
    "IMA, ε_max 0.2": _ima(eps_max=0.2),
}
DRAWN = ["plain training", "fixed ε = 0.15", "fixed ε = 0.3", "TRADES, ε = 0.15", "MMA, d_max 0.3", "IMA, defaults"]


def moons(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points ``[count, 2]`` on two half circles with Gaussian noise, scaled to the unit square, and their classes."""
    generator = np.random.default_rng(seed)
    label = np.arange(count) % 2
    angle = generator.uniform(0, math.pi, count)
    point = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    point[label == 1] = np.array([1.0, 0.5]) - point[label == 1]
    point = (point + generator.normal(0, NOISE, point.shape) - CORNER) / SIDES
    return torch.tensor(point, dtype=torch.float32), torch.tensor(label)


def curve_distances(point: np.ndarray) -> np.ndarray:
    """Distances of points from the two scaled half circles without noise, ``[n, 2]``."""
    angle = np.linspace(0, math.pi, 4000)
    arc = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    curves = [(curve - CORNER) / SIDES for curve in (arc, np.array([1.0, 0.5]) - arc)]
    return np.stack([cKDTree(curve).query(point)[0] for curve in curves], axis=1)


def train(title: str, seed: int) -> Trained:
    """Train one of :data:`METHODS`; the handler comes back with its margins."""
    set_determinism(seed)
    torch.set_num_threads(1)
    network = nn.Sequential(nn.Linear(2, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 2))
    point, label = moons(COUNT, seed)
    items = [{"image": point[k], "label": label[k], "sample_id": f"{k:04d}"} for k in range(COUNT)]
    kind, settings = METHODS[title]
    handler = None if kind is None else kind(seed=seed, **settings)
    SupervisedTrainer(
        device="cpu",
        max_epochs=EPOCHS,
        train_data_loader=DataLoader(Dataset(items), batch_size=BATCH, shuffle=True),
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), RATE),
        loss_function=nn.CrossEntropyLoss(),
        train_handlers=[EpochSeed(seed), *([handler] if handler else [])],
    ).run()
    return network.eval(), handler


@torch.no_grad()
def boundary(network: nn.Module) -> np.ndarray:
    """The decision boundary as points ``[n, 2]`` at most a cell apart, where it is near the moons."""
    axes = [np.arange(low, high, CELL, dtype=np.float32) for low, high in WINDOW]
    grid = torch.tensor(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))
    logits = network(grid.reshape(-1, 2)).reshape(*grid.shape[:2], 2)
    contours = find_contours((logits[..., 1] - logits[..., 0]).double().numpy(), 0.0)
    if not contours:
        raise ValueError("The network has no decision boundary in the window, expected one between the moons.")
    point = np.concatenate(contours) * CELL + np.array([low for low, _ in WINDOW])
    return point[curve_distances(point).min(axis=1) < REGION]


def boundary_samples(network: nn.Module, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """B-PGD samples on the boundary, of the training points within ε_max of it, and their classes."""
    point, label = moons(COUNT, seed)
    result = BoundaryPGD(steps=50, binary_steps=20)(network, point, label, EPS_MAX)
    return result.image[result.success], label[result.success]


def balance(line: np.ndarray, sample: torch.Tensor, label: torch.Tensor) -> np.ndarray:
    """Density of each class's boundary samples at the boundary's points, ``[n, 2]``, in samples per unit of area."""
    densities = []
    for group in (0, 1):
        own = sample[label == group].double().numpy()
        densities.append(
            gaussian_kde(own.T, 0.03 / own.std())(line.T) * len(own) if len(own) > 2 else np.zeros(len(line))
        )
    return np.stack(densities, axis=1)


def study(title: str, seed: int) -> Outcome:
    """Train one of :data:`METHODS` and measure."""
    network, handler = train(title, seed)
    point, label = moons(COUNT, seed + 1000)
    accuracy = [float((network(point).argmax(dim=1) == label).float().mean())]
    for level in LEVELS:
        result = PGD(steps=100, restarts=2, generator=torch.Generator().manual_seed(seed))(network, point, label, level)
        accuracy.append(float((~result.success & result.clean_correct).float().mean()))
    line = boundary(network)
    distance = curve_distances(line)
    density = balance(line, *boundary_samples(network, seed))
    imbalance = float(np.abs(density[:, 0] - density[:, 1]).sum() / density.sum())
    ratio: list[float] = []
    if handler is not None and hasattr(handler, "margins"):
        point, label = moons(COUNT, seed)
        true = cKDTree(line).query(point.numpy())[0]
        estimate = handler.margins.lookup([f"{k:04d}" for k in range(COUNT)]).numpy()
        inside = (network(point).argmax(dim=1) == label).numpy() & (true < handler.margins.eps_max)
        ratio = np.percentile(estimate[inside] / true[inside], [25, 50, 75]).tolist()
    return Outcome(accuracy, float(np.abs(distance[:, 0] - distance[:, 1]).mean() / 2), imbalance, ratio)


def run_row(title: str, seed: int, file: Path) -> dict[str, Any]:
    """Study one row with one seed, unless its record is there; returns the record."""
    return kept(file, lambda: {"title": title, "seed": seed, **asdict(study(title, seed))})


def main(out: str = "runs/moons", seeds: int = 3, workers: int = 2) -> None:
    """Train every row with every seed, measure, write the page.

    Args:
        out: folder for the records; a broken-off run in it goes on.
        seeds: how many, from 0 on.
        workers: trainings at a time, one thread each.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(workers) as pool:
        futures = [
            pool.submit(run_row, title, seed, folder / f"{row:02d}-{seed}.json")
            for row, title in enumerate(METHODS)
            for seed in range(seeds)
        ]
        records = [future.result() for future in tqdm(futures, desc="trainings")]
    trained = {title: train(title, 0) for title in DRAWN}
    draw_boundaries(trained, RESULTS / "moons.png")
    draw_balance(trained, RESULTS / "moons_balance.png")
    report(records, seeds, RESULTS / "moons.md")


def draw_boundaries(trained: dict[str, Trained], file: Path) -> None:
    """Six methods: points, boundary, and the margins of every 15th point as circles."""
    figure = Figure(figsize=(12, 7.5), layout="constrained")
    point, label = moons(COUNT, 0)
    for axes, (title, (network, handler)) in zip(figure.subplots(2, 3).flat, trained.items(), strict=True):
        axes.scatter(*point.T, c=np.where(label == 0, "#0072b2", "#d55e00"), s=2)
        line = boundary(network)
        axes.scatter(*line.T, c="black", s=0.5)
        if handler is not None and hasattr(handler, "margins"):
            radius = handler.margins.lookup([f"{k:04d}" for k in range(COUNT)])
        else:
            radius = torch.tensor(cKDTree(line).query(point.numpy())[0])
        for k in range(0, COUNT, 15):
            axes.add_patch(_circle(point[k], float(radius[k]), "#0072b2" if label[k] == 0 else "#d55e00"))
        axes.set(title=title, aspect="equal", xlim=(-0.15, 1.15), ylim=(-0.15, 1.15))
    replace_figure(figure, file)


def _circle(centre: torch.Tensor, radius: float, colour: str) -> Circle:
    return Circle(tuple(centre.tolist()), radius, fill=False, edgecolor=colour, linewidth=0.6, alpha=0.6)


def draw_balance(trained: dict[str, Trained], file: Path) -> None:
    """IMA's equilibrium: density of each class's boundary samples along the boundary, and the boundary's place."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for title, colour in (("plain training", "#999999"), ("fixed ε = 0.3", "#cc79a7"), ("IMA, defaults", "#000000")):
        network, _ = trained[title]
        line = boundary(network)
        order = np.argsort(line[:, 0])
        distance = curve_distances(line)[order]
        right.plot(line[order, 0], (distance[:, 0] - distance[:, 1]) / 2, ".", ms=1, color=colour, label=title)
        if title == "IMA, defaults":
            density = balance(line, *boundary_samples(network, 0))[order]
            left.plot(line[order, 0], density[:, 0], ".", ms=1, color="#0072b2", label="class 0")
            left.plot(line[order, 0], density[:, 1], ".", ms=1, color="#d55e00", label="class 1")
    left.set(xlabel="boundary, first coordinate", ylabel="boundary samples per unit of area", title="IMA")
    right.set(xlabel="boundary, first coordinate", ylabel="distance from the middle")
    right.axhline(0, color="black", linewidth=0.5)
    for axes in (left, right):
        axes.legend(markerscale=8)
    replace_figure(figure, file)


def report(records: list[dict[str, Any]], seeds: int, file: Path) -> None:
    """docs/results/moons.md."""
    paragraphs = [
        "# Two moons",
        f"{COUNT} SYNTHETIC training points and as many test points (half circles with Gaussian noise {NOISE}, scaled "
        f"to the unit square), perceptron 2-128-128-2, {EPOCHS} epochs of Adam at {RATE:g}, batches of {BATCH}; means "
        f"over {seeds} seeds. L2; IMA and MMA up to {EPS_MAX:g}, δ = ε_max / {EPOCHS}. Robust accuracy under 100-step "
        "PGD, 2 restarts.",
        "    python benchmarks/moons.py",
        f"{setting(1, 'training')}.",
        "*Margin ratio*: a training point's margin as the method has it over its distance from the traced boundary "
        "(median, quartiles), where that is below ε_max and the point is classified rightly. *Off the middle*: mean "
        "distance of the boundary from the points that are equally far from both curves. *Imbalance*: how far "
        "the densities of the two classes' boundary samples differ along the boundary, from 0 (the equilibrium of the "
        "paper's section 2.2) to 1.",
    ]
    rows = []
    for title in METHODS:
        own = [record for record in records if record["title"] == title]
        accuracy = np.mean([record["accuracy"] for record in own], axis=0)
        ratio = np.mean([record["margin_ratio"] for record in own], axis=0)
        margins = f"{ratio[1]:.2f} ({ratio[0]:.2f}-{ratio[2]:.2f})" if np.size(ratio) else ""
        places = cells(np.mean([record[key] for record in own]) for key in ("off_middle", "imbalance"))
        rows.append([title, *cells([*accuracy, accuracy.mean()]), margins, *places])
    head = ["training", *level_titles([0, *LEVELS]), "mean", "margin ratio", "off the middle", "imbalance"]
    paragraphs += [
        table(head, rows),
        "![Boundaries, with margins as circles](moons.png)",
        "Circles: the margins of IMA and MMA; for the other methods the distance from the boundary.",
        "![Densities along the boundary, and its distance from the middle](moons_balance.png)",
    ]
    write_page(file, paragraphs)


if __name__ == "__main__":
    fire.Fire(main)
