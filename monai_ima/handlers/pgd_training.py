from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.engines import SupervisedTrainer

from monai_ima.attacks import PGD
from monai_ima.criteria import Criterion
from monai_ima.losses import IMALoss
from monai_ima.utils.batch import Batch
from monai_ima.utils.checks import check_fraction, check_positive

from .base import AdversarialTrainingHandler

__all__ = ["PGDTrainingHandler"]


class PGDTrainingHandler(AdversarialTrainingHandler):
    """Adversarial training at one fixed ε ("adv ε"; Madry et al. 2018, mixed loss of Goodfellow et al. 2015).

    Every sample of a batch, right or wrong, is attacked by PGD with a random start in the whole ball (the inner
    maximum of Madry et al., eq. 2.1); the last iterate enters ``(1 - β) clean + β noisy``, the mixed loss of
    Goodfellow et al., section 6. With β = 1 only noisy samples are trained on, as by Madry et al.

    Scalars in ``engine.state.metrics``: ``pgd/loss_clean`` and ``pgd/loss_noisy``.

    Args:
        eps: ε, radius of every sample's ball, > 0, in the units that the network sees.
        norm: ``"l2"`` or ``"linf"``.
        beta: β, weight of the noisy samples, in [0, 1].
        steps: N_PGD, >= 1.
        alpha: α; a PGD step is α ε / N_PGD long, > 0.
        criterion: names the loss that is climbed; see :class:`AdversarialTrainingHandler`.
        bounds: see :class:`AdversarialTrainingHandler`.
        sample_key: see :class:`AdversarialTrainingHandler`.
        start_epoch: see :class:`AdversarialTrainingHandler`.
        attack_mode: see :class:`AdversarialTrainingHandler`.
        seed: see :class:`AdversarialTrainingHandler`.

    Raises:
        ValueError: when an argument is not as above.
    """

    name = "pgd"

    def __init__(
        self,
        eps: float,
        norm: str = "l2",
        beta: float = 0.5,
        steps: int = 20,
        alpha: float = 4.0,
        criterion: Criterion | None = None,
        bounds: Sequence[float] | None = None,
        sample_key: str | None = None,
        start_epoch: int = 0,
        attack_mode: str = "eval",
        seed: int = 0,
    ) -> None:
        super().__init__(criterion, bounds, sample_key, start_epoch, attack_mode, seed)
        self.eps = check_positive("eps", eps)
        self.beta = check_fraction("beta", beta)
        self.attack = PGD(
            norm, steps, restarts=1, alpha=alpha, bounds=self.bounds, criterion=self.criterion, early_stop=False
        )

    def adversarial_loss(self, engine: SupervisedTrainer, batch: Batch, loss: torch.Tensor) -> torch.Tensor:
        generators = self.generators(engine, batch.sample_ids, "training")
        with self.under_attack(batch):
            noisy = self.attack(batch.predict, batch.image, batch.label, self.eps, generators).image
        criterion = IMALoss(engine.loss_function, self.beta)
        noisy_loss = criterion.noisy(batch.predict(noisy), batch.label, len(noisy))
        self.note("loss_clean", loss.item(), 1)
        self.note("loss_noisy", noisy_loss.item(), 1)
        return criterion.combine(loss, noisy_loss)
