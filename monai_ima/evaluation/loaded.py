"""What an evaluation needs of a bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from monai.inferers import Inferer
from torch import nn

from monai_ima.attacks import Attack, attack_from_name
from monai_ima.criteria import Criterion, SegmentationCriterion
from monai_ima.perturbations import Perturbation
from monai_ima.results.parts import Data, Model
from monai_ima.utils.outputs import Output
from monai_ima.utils.weights import weights_digest

from .batch import one_output

__all__ = ["LoadedBundle"]


@dataclass(frozen=True)
class LoadedBundle:
    """What an evaluation needs of a bundle, its weights loaded.

    Attributes:
        name: of the model, from the metadata, else the bundle's folder's.
        network: on ``device``.
        data_loader: the evaluator's.
        prepare_batch: the evaluator's.
        inferer: the evaluator's.
        device: the evaluator's.
        bounds: valid intensities ``(lo, hi)``; None where there are none.
        criterion: of the task; None for classes, one of which is correct, none of them ignored. It decides whether the
            network segments.
        classes: names of the classes.
        checkpoint: the file that the weights came from; None where it is not known.
        synthetic: no data were given and the bundle uses its synthetic phantom.
        data_folder: of the data, where the user named it (they need not be those of the metadata), or where the config
            does and the metadata have no ``data_source``. Else None.
        metadata: of the bundle, such as ``version``, ``data_source`` and ``data_license``.
        channels: of the image that noise may change; None means all.
        output: index or key of the network's output that counts, where it returns several; None: the first.
        validation: the evaluator is that of the training config, so that the data are its validation data.
    """

    name: str
    network: nn.Module
    data_loader: Iterable
    prepare_batch: Callable
    inferer: Inferer
    device: torch.device
    bounds: Sequence[float] | None
    criterion: Criterion | None
    classes: list[str]
    checkpoint: Path | None
    synthetic: bool
    metadata: dict[str, Any]
    channels: Sequence[int] | None = None
    output: Output = None
    data_folder: str | None = None
    validation: bool = False

    @property
    def segments(self) -> bool:
        """Its network segments."""
        return isinstance(self.criterion, SegmentationCriterion)

    def with_output(self, output: Output) -> LoadedBundle:
        """The bundle as if its network had one output alone, and its data the label of that.

        Args:
            output: which one; None: the bundle's own :attr:`output`.
        """
        chosen = self.output if output is None else output
        if chosen is None:
            return self
        inferer, prepare_batch = one_output(self.inferer, self.prepare_batch, chosen)
        return replace(self, inferer=inferer, prepare_batch=prepare_batch, output=chosen)

    @property
    def attack_criterion(self) -> Criterion | None:
        """The criterion of attacks: on segmentations the lowest Dice, whatever the bundle's threshold."""
        if isinstance(self.criterion, SegmentationCriterion):
            return self.criterion.lowest_dice()
        return self.criterion

    @cached_property
    def weights_sha256(self) -> str:
        """Of the network's weights, as they are when it is first asked for."""
        return weights_digest(self.network)

    @property
    def model(self) -> Model:
        """The network, for results.json."""
        return Model(
            name=self.name,
            version=self._metadata("version"),
            network=type(self.network).__name__,
            parameters=sum(parameter.numel() for parameter in self.network.parameters()),
            checkpoint=None if self.checkpoint is None else str(self.checkpoint),
            sha256=self.weights_sha256,
            output=self.output,
        )

    @property
    def data_name(self) -> str:
        """What kind of data is evaluated on; synthetic data is called synthetic, the user's own by their folder."""
        if self.synthetic:
            return "synthetic phantom"
        if self.data_folder is not None:
            return f"data in {self.data_folder}"
        return self._metadata("data_source") or "the data set of the bundle"

    def data(self, samples: int, patients: int | None) -> Data:
        """The data, for results.json.

        Args:
            samples: how many were evaluated.
            patients: whom they are of; None where the data do not say.
        """
        return Data(
            name=self.data_name,
            licence=self._metadata("data_license") if not self.synthetic and self.data_folder is None else None,
            synthetic=self.synthetic,
            samples=samples,
            patients=patients,
            validation=self.validation,
        )

    def attacks(self, names: str, norm: str, perturbation: Perturbation | None = None) -> dict[str, Attack]:
        """The attacks whose names are joined by ``+``, each on its own.

        Args:
            names: of the attacks.
            norm: ``"l2"`` or ``"linf"``.
            perturbation: in whose parameters they climb; None: noise that is added pixel by pixel, in ``norm``.

        Raises:
            ValueError: if a name is unknown, or does not go with the norm.
        """
        return {
            name: attack_from_name(
                name, norm, self.bounds, self.attack_criterion, self.channels, perturbation=perturbation
            )
            for name in names.split("+")
        }

    def _metadata(self, key: str) -> str | None:
        value = self.metadata.get(key)
        return str(value) if value not in (None, "") else None
