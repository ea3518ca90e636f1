from __future__ import annotations

from typing import Any, Unpack

import torch

from monai_ima.attacks import DDN as DDNAttack
from monai_ima.utils.batch import Batch
from monai_ima.utils.checks import check_positive

from .base import LossFunction, MethodSettings, TrainingMethod

__all__ = ["DDN"]


class DDN(TrainingMethod):
    """Adversarial training on the closest misclassified points, Rony et al. 2019 (arXiv 1811.09600).

    For every sample the decoupled-direction-and-norm attack (:class:`monai_ima.attacks.DDN`, their Algorithm 1) looks
    for the nearest misclassified image x̃, no further than ε_max in L2. The loss is ``J(x̃, y)``: in this method clean
    images do not enter, except where the clean prediction is wrong already, when x̃ is the clean image.

    Scalars: ``loss_clean``, ``loss_noisy``, ``distance_mean`` (of x̃ from x, in the units that the network sees) and
    ``found_fraction`` (of the correctly predicted samples).

    Args:
        eps_max: largest distance, > 0, in the units that the network sees.
        steps: of the attack, >= 1.
        gamma: γ, by which factor the attack's norm shrinks and grows, in (0, 1).
        init_eps: first norm of the attack, > 0.
        settings: see :class:`TrainingMethod`.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> batch = Batch.of(network, torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 0]), ["a", "b", "c"])
        >>> method = DDN(eps_max=1.0, steps=10)
        >>> method.begin_epoch(1, 10)
        >>> loss = method.loss(batch, network(batch.image), torch.nn.functional.cross_entropy)
        >>> sorted(method.end_epoch())
        ['distance_mean', 'found_fraction', 'loss_clean', 'loss_noisy']
    """

    name = "ddn"

    def __init__(
        self,
        eps_max: float,
        steps: int = 100,
        gamma: float = 0.05,
        init_eps: float = 1.0,
        **settings: Unpack[MethodSettings],
    ) -> None:
        super().__init__(**settings)
        self.eps_max = check_positive("eps_max", eps_max)
        self.attack = DDNAttack(steps, gamma, init_eps, **self.attack_settings)

    def adversarial_loss(
        self, batch: Batch, prediction: Any, loss_function: LossFunction, clean_loss: torch.Tensor
    ) -> torch.Tensor:
        result = self.attack_batch(self.attack, batch, self.eps_max)
        noisy = self.noisy(batch, result)
        noisy_loss = loss_function(batch.predict(noisy.image), noisy.label).mean()
        self.note_loss("loss_noisy", noisy_loss)
        self.note("distance_mean", float(result.distance.sum()), int(self.labelled.sum()))
        self.note("found_fraction", int((result.success & result.clean_correct).sum()), int(result.clean_correct.sum()))
        return noisy_loss
