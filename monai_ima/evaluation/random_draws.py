"""Random changes of exactly one size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from monai_ima.attacks import Attack
from monai_ima.attacks.channels import FixedChannels, attacked_channels
from monai_ima.attacks.parameters import ParameterSpace
from monai_ima.utils.outputs import choose_label, choose_output

from .batch import EvaluationBatch

__all__ = ["RandomDraws"]


class RandomDraws:
    """Random changes of a batch's images, in the norm, perturbation, bounds and channels of an attack.

    What the perturbation takes from the clean images is taken once, for all draws of all sizes.

    Args:
        attack: whose settings count; it is not run.
        batch: clean, of one sample or more.

    Example:
        >>> from monai_ima.attacks import PGD
        >>> from monai_ima.perturbations import Gain
        >>> from monai_ima.utils.predictor import Predictor
        >>> image, label = torch.ones(1, 1, 2, 2), torch.tensor([0])
        >>> batch = EvaluationBatch(Predictor.of(torch.nn.Flatten(), 1), image, label, ["a"], [None])
        >>> changed, _ = RandomDraws(PGD(perturbation=Gain()), batch)(10.0, [torch.Generator().manual_seed(0)])
        >>> changed.shape
        torch.Size([1, 1, 2, 2])
    """

    def __init__(self, attack: Attack, batch: EvaluationBatch) -> None:
        self._label = choose_label(batch.label, attack.output)
        logits = choose_output(batch.predict(batch.image), attack.output, self._label)
        self._labelled = attack.criterion.labelled(logits, self._label)
        self._fixed = FixedChannels(batch.predict, batch.image, attacked_channels(attack.channels, batch.image))
        self._bounds = attack.bounds
        part, perturbation = self._fixed.part, attack.perturbation
        self._norm = attack.norm if perturbation is None else perturbation.norm_of(part)
        self._space: ParameterSpace | None = None
        self._moves = False
        self._clean = part
        if perturbation is not None:
            self._space = ParameterSpace(self._fixed, perturbation.fit(part, batch.spacing), attack.bounds)
            self._moves = perturbation.geometric
            self._clean = self._space.fitted.zero()

    def __call__(self, size: float, generators: Sequence[torch.Generator]) -> tuple[torch.Tensor, Any]:
        """Draw one change of every sample.

        Args:
            size: ε, of which every change is exactly; 0 of a sample without a label that counts.
            generators: one for each sample.

        Returns:
            images ``[B, C, *spatial]``, and the labels that hold for them where voxels move; else None.
        """
        radius = self._clean.new_full((len(self._clean),), size).masked_fill(~self._labelled, 0)
        drawn = self._norm.draw_of_length(self._clean, radius, generators)
        moved = self._clean + self._norm.project(drawn, radius)
        if self._space is None:
            return self._fixed.whole(moved if self._bounds is None else moved.clamp(*self._bounds)), None
        label = self._space.fitted.apply_label(self._label, moved) if self._moves else None
        return self._fixed.whole(self._space.image(moved)), label
