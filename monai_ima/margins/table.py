"""One radius ε per training sample."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from monai_ima.perturbations import Perturbation
from monai_ima.utils.checks import check_positive, is_number, shown

from .rules import AttackOutcome, Rule

__all__ = ["MarginTable"]

logger = logging.getLogger(__name__)


class MarginTable:
    """One margin ε per training sample, keyed by sample id.

    ``table[sample_id]`` is a float in the units that the network sees; ``len(table)``, ``sample_id in table`` and
    :meth:`ids` work as expected. The table can go into the ``save_dict`` of MONAI's ``CheckpointSaver`` and the
    ``load_dict`` of ``CheckpointLoader``.

    Args:
        eps_max: upper limit of every margin, > 0.
        delta: δ, lower limit and first value of every margin, in (0, eps_max]; None: to be set before use.

    Attributes:
        norm: that margins are measured in; None in tables of older versions.
        perturbation: what they measure, with its unit, such as ``"bias field, %"``; None: noise, in the units that the
            network sees.

    Raises:
        ValueError: if ``eps_max`` <= 0, or δ is not in (0, eps_max].

    Example:
        >>> table = MarginTable(eps_max=2.0, delta=0.25)
        >>> table["scan_1"] = 3.0
        >>> table["scan_1"], "scan_2" in table, table.lookup(["scan_1", "scan_2"]).tolist()
        (2.0, False, [2.0, 0.25])
    """

    def __init__(self, eps_max: float, delta: float | None = None) -> None:
        self.eps_max = check_positive("eps_max", eps_max)
        self.norm: str | None = None
        self.perturbation: str | None = None
        self._sizes: set[int] = set()
        self._delta: float | None = None
        self._margins: dict[str, float] = {}
        if delta is not None:
            self.delta = delta

    @property
    def delta(self) -> float:
        """δ; raises ``ValueError`` when it has not been set."""
        if self._delta is None:
            raise ValueError("The margin table has no delta yet, expected it to be set before margins are read.")
        return self._delta

    @delta.setter
    def delta(self, delta: float) -> None:
        if not is_number(delta) or not 0 < delta <= self.eps_max:
            raise ValueError(f"Got delta {delta!r}, expected a number in (0, eps_max = {self.eps_max:g}].")
        self._delta = float(delta)
        self._margins = {sample_id: self._clip(eps) for sample_id, eps in self._margins.items()}

    @property
    def has_delta(self) -> bool:
        """δ has been set, by the user or by a checkpoint."""
        return self._delta is not None

    @property
    def image_values(self) -> int | None:
        """How many values of an image the attacks change; None where that differs from image to image or is unknown."""
        return next(iter(self._sizes)) if len(self._sizes) == 1 else None

    def note_attack(self, norm: str, values: int, perturbation: Perturbation | None = None) -> None:
        """Remember what the margins are measured in, and how many values of an image change.

        Raises:
            ValueError: if margins that were loaded measure something else.
        """
        measured = None if perturbation is None else perturbation.label
        if self._margins and (self.norm or norm, self.perturbation) != (norm, measured):
            was, now = (what or "noise" for what in (self.perturbation, measured))
            raise ValueError(
                f"The margins measure {was} ({self.norm}), but attacks {now} ({norm}), expected the same: start "
                "without these margins."
            )
        self.norm, self.perturbation = norm, measured
        self._sizes = {min(self._sizes | {values}), max(self._sizes | {values})} if perturbation is None else set()

    def __getitem__(self, sample_id: str) -> float:
        if sample_id not in self._margins:
            raise KeyError(f"No margin is known for sample {sample_id!r}, expected one of {len(self)} known ids.")
        return self._margins[sample_id]

    def __setitem__(self, sample_id: str, eps: float) -> None:
        _check_margin(sample_id, eps)
        self._margins[sample_id] = self._clip(eps)

    def __contains__(self, sample_id: object) -> bool:
        return sample_id in self._margins

    def __len__(self) -> int:
        return len(self._margins)

    def ids(self) -> list[str]:
        """All sample ids, sorted."""
        return sorted(self._margins)

    def lookup(self, sample_ids: Sequence[str], unknown: float | None = None) -> torch.Tensor:
        """Margins of a batch, ``unknown`` (None: δ) for samples not yet known: float32 ``[B]``."""
        first = self.delta if unknown is None else unknown
        return torch.tensor([self._margins.get(sample_id, first) for sample_id in sample_ids])

    def values(self) -> torch.Tensor:
        """All margins in the order of :meth:`ids`: float64 ``[N]``."""
        return torch.tensor([self._margins[sample_id] for sample_id in self.ids()], dtype=torch.float64)

    def register(self, sample_ids: Iterable[str]) -> None:
        """Give δ to those of these samples that have no margin yet."""
        for sample_id in sample_ids:
            self._margins.setdefault(sample_id, self.delta)

    def update(self, seen: dict[str, AttackOutcome], rule: Rule) -> None:
        """Algorithm 2: move the margin of every sample in ``seen`` by ``rule``, clipped to [δ, ε_max] (line 14)."""
        self.register(seen)
        for sample_id, what in seen.items():
            self[sample_id] = rule(self._margins[sample_id], what, self.delta)

    def state_dict(self) -> dict[str, Any]:
        """Ids, margins and limits; loads with ``torch.load(..., weights_only=True)``."""
        return {
            "ids": self.ids(),
            "margins": self.values(),
            "eps_max": self.eps_max,
            "delta": self._delta,
            "norm": self.norm,
            "image_values": sorted(self._sizes),
            "perturbation": self.perturbation,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over saved margins, clipped to this table's ``eps_max``; a δ that is not set is taken over too.

        A warning says so where they were saved with another ``eps_max``.

        Raises:
            ValueError: when ``state`` is not the state of a margin table.
        """
        try:
            sample_ids, margins, delta = list(state["ids"]), list(state["margins"].tolist()), state["delta"]
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError("The checkpoint's margins are damaged, expected a MarginTable's state.") from error
        if len(set(sample_ids)) != len(sample_ids) or len(sample_ids) != len(margins):
            raise ValueError(
                f"The checkpoint has {len(margins)} margins for {len(set(sample_ids))} different sample ids, "
                "expected one for each."
            )
        for sample_id, eps in zip(sample_ids, margins, strict=True):
            _check_margin(sample_id, eps)
        if delta is not None:
            check_positive("delta", delta)
        before = state.get("eps_max")
        if len(margins) and before is not None and before != self.eps_max:
            what = "those above it are cut to it" if self.eps_max < before else "they may grow further"
            logger.warning(
                "Margins with eps_max %g are loaded into a training with eps_max %g: %s.", before, self.eps_max, what
            )
        if self._delta is None and delta is not None:
            self.delta = min(delta, self.eps_max)
        self.norm, self._sizes = state.get("norm"), set(state.get("image_values", ()))
        self.perturbation = state.get("perturbation")
        self._margins = {sample_id: self._clip(eps) for sample_id, eps in zip(sample_ids, margins, strict=True)}

    def save_csv(self, path: str | Path) -> None:
        """Write ``sample_id,margin`` rows, sorted by id.

        Raises:
            FileExistsError: when ``path`` exists.
        """
        with open(path, "x", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["sample_id", "margin"])
            writer.writerows([sample_id, repr(self._margins[sample_id])] for sample_id in self.ids())

    def _clip(self, eps: float) -> float:
        return min(max(float(eps), self._delta or 0.0), self.eps_max)


def _check_margin(sample_id: Any, eps: Any) -> None:
    if not isinstance(sample_id, str) or not is_number(eps) or not math.isfinite(eps):
        raise ValueError(
            f"Got margin {shown(eps)} for sample {shown(sample_id)}, expected a finite number and a string id."
        )
