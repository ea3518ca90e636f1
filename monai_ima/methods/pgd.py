from __future__ import annotations

from typing import Any, Unpack

import torch

from monai_ima.attacks import PGD
from monai_ima.criteria import AlwaysCorrect
from monai_ima.losses import IMALoss
from monai_ima.utils.batch import Batch
from monai_ima.utils.checks import check_fraction, check_positive

from .base import LossFunction, MethodSettings, TrainingMethod

__all__ = ["PGDTraining"]


class PGDTraining(TrainingMethod):
    """Adversarial training at one fixed ε ("adv ε"; Madry et al. 2018, mixed loss of Goodfellow et al. 2015).

    Every sample of a batch, correct or misclassified, is attacked by PGD with a random start in the whole ball (the
    inner maximum of Madry et al., eq. 2.1); the last iterate enters ``(1 - β) clean + β noisy``, the mixed loss of
    Goodfellow et al., section 6. With β = 1 only noisy samples are trained on, as by Madry et al.

    Scalars: ``loss_clean`` and ``loss_noisy``.

    Args:
        eps: ε, radius of every sample's ball, > 0, in the units that the network sees.
        norm: ``"l2"`` or ``"linf"``.
        beta: β, weight of the noisy samples, in [0, 1].
        steps: N_PGD, >= 1.
        alpha: α; a constant PGD step is α ε / N_PGD long, > 0; None: 4.
        schedule: of the steps' lengths, ``"cosine"`` or ``"constant"`` (:class:`PGD`); 8 cosine steps reach the loss of
            20 constant ones (``docs/results/schedule.md``).
        settings: see :class:`TrainingMethod`; the criterion gives the attack objective.

    Raises:
        ValueError: if a number is out of its range or ``norm`` is another name.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> batch = Batch.of(network, torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 0]), ["a", "b", "c"])
        >>> method = PGDTraining(eps=0.1, norm="linf")
        >>> method.begin_epoch(1, 10)
        >>> loss = method.loss(batch, network(batch.image), torch.nn.functional.cross_entropy)
        >>> sorted(method.end_epoch())
        ['loss_clean', 'loss_noisy']
    """

    name = "pgd"

    def __init__(
        self,
        eps: float,
        norm: str = "l2",
        beta: float = 0.5,
        steps: int = 8,
        alpha: float | None = None,
        schedule: str = "cosine",
        **settings: Unpack[MethodSettings],
    ) -> None:
        super().__init__(**settings)
        self.eps = check_positive("eps", eps)
        self.beta = check_fraction("beta", beta)
        settings_of_attack = self.attack_settings | {"criterion": AlwaysCorrect(self.criterion)}
        self.attack = PGD(norm, steps, 1, alpha, early_stop=False, schedule=schedule, **settings_of_attack)

    def adversarial_loss(
        self, batch: Batch, prediction: Any, loss_function: LossFunction, clean_loss: torch.Tensor
    ) -> torch.Tensor:
        noisy = self.noisy(batch, self.attack_batch(self.attack, batch, self.eps))
        ima_loss = IMALoss(loss_function, self.beta)
        noisy_loss = ima_loss.noisy(batch.predict(noisy.image), noisy.label, len(noisy.image))
        self.note_loss("loss_noisy", noisy_loss)
        return ima_loss.combine(clean_loss, noisy_loss)
