"""The pictures of docs/concepts.md: the growing ball, B-PGD and the equilibrium, drawn from SYNTHETIC two moons.

``make docs`` draws them; nothing here is drawn by hand. Networks, points and the traced boundary are those of
``benchmarks/moons.py``, with fewer points so that the training takes seconds.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import nn

from monai_ima.attacks import BoundaryPGD
from monai_ima.methods import IMA, Batch
from moons import balance, boundary, moons

COLOURS = ("#0072b2", "#d55e00")
COUNT, BATCH, EPOCHS, RATE, EPS_MAX = 600, 100, 30, 0.005, 0.2
WHOLE = (-0.1, -0.1, 1.2)
"""The window of all points: its lower left corner and its side."""


@dataclass(frozen=True)
class Snapshot:
    """A network after an epoch, and the radius of every training point's ball, ``[COUNT]``; 0 in plain training."""

    epoch: int
    network: nn.Module
    radii: torch.Tensor


def train(epochs_kept: tuple[int, ...], hardened: bool, seed: int = 0) -> list[Snapshot]:
    """A plain loop on the moons, with IMA or without.

    Args:
        epochs_kept: epochs, from 1 on, after which a snapshot is kept.
        hardened: with IMA.
        seed: of the points, the start and the order of the batches.
    """
    torch.manual_seed(seed)
    point, label = moons(COUNT, seed)
    ids = [f"{k:04d}" for k in range(COUNT)]
    network = nn.Sequential(nn.Linear(2, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 2))
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    ima = IMA(EPS_MAX, norm="l2", seed=seed) if hardened else None
    everything = Batch.of(network, point, label, ids)
    kept = []
    for epoch in range(1, EPOCHS + 1):
        if ima:
            ima.begin_epoch(epoch, EPOCHS, [everything])
        for rows in torch.randperm(COUNT).split(BATCH):
            batch = Batch.of(network, point[rows], label[rows], [ids[k] for k in rows.tolist()])
            prediction, cross_entropy = network(batch.image), nn.functional.cross_entropy
            loss = ima.loss(batch, prediction, cross_entropy) if ima else cross_entropy(prediction, batch.label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if ima:
            ima.end_epoch([everything])
        if epoch in epochs_kept:
            radii = ima.margins.lookup(ids).clone() if ima else torch.zeros(COUNT)
            kept.append(Snapshot(epoch, copy.deepcopy(network).eval(), radii))
    return kept


def figures() -> dict[str, Figure]:
    """All pictures, by name."""
    hardened = train((2, 10, 30), hardened=True)
    (plain,) = train((30,), hardened=False)
    return {
        "growing_ball": growing_ball(hardened),
        "path_to_boundary": path_to_boundary(hardened[-1].network),
        "equilibrium": equilibrium({"plain training": plain.network, "IMA": hardened[-1].network}),
    }


def growing_ball(snapshots: list[Snapshot]) -> Figure:
    """Points, decision boundary and the balls of every 11th point, one panel an epoch."""
    figure = Figure(figsize=(4 * len(snapshots), 4), layout="constrained")
    point, label = moons(COUNT, 0)
    for axes, snapshot in zip(np.atleast_1d(figure.subplots(1, len(snapshots))), snapshots, strict=True):
        for k in range(0, COUNT, 11):
            x, y = point[k].tolist()
            colour = COLOURS[int(label[k])]
            axes.add_patch(Circle((x, y), float(snapshot.radii[k]), facecolor=f"{colour}18", edgecolor=colour))
        _draw(axes, snapshot.network, WHOLE)
        axes.set(title=f"after epoch {snapshot.epoch}: mean ε = {float(snapshot.radii.mean()):.2f}")
    return figure


def path_to_boundary(network: nn.Module, eps: float = EPS_MAX) -> Figure:
    """B-PGD on one point, some two thirds of its radius from the boundary: its steps, and the search on the last one.

    Args:
        network: from points ``[B, 2]`` to logits.
        eps: radius of the point's ball.
    """
    point, label = moons(COUNT, 0)
    attack = BoundaryPGD(steps=12, schedule="cosine", binary_steps=10)
    everywhere = attack(network, point, label, eps)
    k = int((everywhere.distance - eps * 2 / 3).abs().masked_fill(~everywhere.success, torch.inf).argmin())
    asked: list[torch.Tensor] = []

    def recorded(x: torch.Tensor) -> torch.Tensor:
        asked.append(x.detach().clone())
        return network(x)

    found = attack(recorded, point[k : k + 1], label[k : k + 1], eps).image[0].numpy()
    places = torch.cat(asked)  # the clean point comes first
    with torch.no_grad():
        first = int((network(places).argmax(dim=1) != label[k]).int().argmax())
    path, search = places[: first + 1].numpy(), places[first + 1 :].numpy()
    figure = Figure(figsize=(10, 5), layout="constrained")
    centre, reach = (path[-1] + path[-2]) / 2, float(np.linalg.norm(path[-1] - path[-2]))
    near = (*(centre - reach), 2 * reach)
    for axes, window, title in zip(
        figure.subplots(1, 2), (WHOLE, near), ("path", "search on its last step"), strict=True
    ):
        x, y = point[k].tolist()
        axes.add_patch(Circle((x, y), eps, fill=False, linestyle="--", edgecolor="#555555"))
        axes.plot(*path.T, "o-", color="black", markersize=5, label="steps of PGD")
        axes.plot(*search.T, "x", color="#cc79a7", markersize=8, label="points of the search")
        axes.plot(*found, "*", color="#009e73", markersize=12, label="what B-PGD returns")
        _draw(axes, network, window)
        axes.set(title=title)
    figure.axes[0].annotate("clean", path[0], textcoords="offset points", xytext=(6, -12))
    figure.axes[0].legend(loc="lower left")
    return figure


def equilibrium(networks: dict[str, nn.Module]) -> Figure:
    """How densely both classes' boundary samples press on the decision boundary, one panel a network."""
    figure = Figure(figsize=(5 * len(networks), 4), layout="constrained")
    point, label = moons(COUNT, 0)
    panels = np.atleast_1d(figure.subplots(1, len(networks), sharey=True))
    for axes, (title, network) in zip(panels, networks.items(), strict=True):
        result = BoundaryPGD(steps=50, binary_steps=20)(network, point, label, EPS_MAX)
        line = boundary(network)
        density = balance(line, result.image[result.success], label[result.success])
        for group, colour in enumerate(COLOURS):
            axes.plot(line[:, 0], density[:, group], ".", markersize=2, color=colour, label=f"class {group}")
        imbalance = np.abs(density[:, 0] - density[:, 1]).sum() / density.sum()
        axes.set(title=f"{title}: imbalance {imbalance:.2f}", xlabel="boundary, first coordinate")
    panels[0].set(ylabel="boundary samples per unit of area")
    panels[0].legend(markerscale=6)
    return figure


def _draw(axes: Axes, network: nn.Module, window: tuple[float, float, float]) -> None:
    """Points and decision boundary in a square window: its lower left corner and its side."""
    left, low, side = window
    point, label = moons(COUNT, 0)
    for group, colour in enumerate(COLOURS):
        x, y = point[label == group].numpy().T
        axes.scatter(x, y, color=colour, s=3)
    xs, ys = (np.linspace(start, start + side, 400, dtype=np.float32) for start in (left, low))
    with torch.no_grad():
        logits = network(torch.tensor(np.stack(np.meshgrid(xs, ys), axis=-1)))
    axes.contour(xs, ys, (logits[..., 1] - logits[..., 0]).numpy(), [0.0], colors="black", linewidths=1.5)
    axes.set(aspect="equal", xlim=(left, left + side), ylim=(low, low + side), xticks=[], yticks=[])
