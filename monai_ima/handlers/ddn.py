from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.engines import SupervisedTrainer

from monai_ima.attacks import DDN
from monai_ima.criteria import Criterion
from monai_ima.utils.batch import Batch
from monai_ima.utils.checks import check_positive

from .base import AdversarialTrainingHandler

__all__ = ["DDNHandler"]


class DDNHandler(AdversarialTrainingHandler):
    """Adversarial training on the closest wrong points, Rony et al. 2019 (arXiv 1811.09600).

    For every sample the decoupled-direction-and-norm attack (:class:`DDN`, their Algorithm 1) looks for the nearest
    wrong image x̃, no further than ε_max in L2. The loss is ``J(x̃, y)``: in this method clean images do not enter,
    except where the clean prediction is wrong already, when x̃ is the clean image.

    Scalars in ``engine.state.metrics``: ``ddn/loss_clean``, ``ddn/loss_noisy``, ``ddn/distance_mean`` (of x̃ from x, in
    the units that the network sees) and ``ddn/found_fraction`` (of the rightly predicted samples).

    Args:
        eps_max: largest distance, > 0, in the units that the network sees.
        steps: of the attack, >= 1.
        gamma: γ, by which factor the attack's norm shrinks and grows, in (0, 1).
        init_eps: first norm of the attack, > 0.
        criterion: see :class:`AdversarialTrainingHandler`.
        bounds: see :class:`AdversarialTrainingHandler`.
        sample_key: see :class:`AdversarialTrainingHandler`.
        start_epoch: see :class:`AdversarialTrainingHandler`.
        attack_mode: see :class:`AdversarialTrainingHandler`.
        seed: see :class:`AdversarialTrainingHandler`.

    Raises:
        ValueError: when an argument is not as above.
    """

    name = "ddn"

    def __init__(
        self,
        eps_max: float,
        steps: int = 100,
        gamma: float = 0.05,
        init_eps: float = 1.0,
        criterion: Criterion | None = None,
        bounds: Sequence[float] | None = None,
        sample_key: str | None = None,
        start_epoch: int = 0,
        attack_mode: str = "eval",
        seed: int = 0,
    ) -> None:
        super().__init__(criterion, bounds, sample_key, start_epoch, attack_mode, seed)
        self.eps_max = check_positive("eps_max", eps_max)
        self.attack = DDN(steps, gamma, init_eps, self.bounds, self.criterion)

    def adversarial_loss(self, engine: SupervisedTrainer, batch: Batch, loss: torch.Tensor) -> torch.Tensor:
        generators = self.generators(engine, batch.sample_ids, "training")
        with self.under_attack(batch):
            result = self.attack(batch.predict, batch.image, batch.label, self.eps_max, generators)
        noisy_loss = engine.loss_function(batch.predict(result.image), batch.label).mean()
        self.note("loss_clean", loss.item(), 1)
        self.note("loss_noisy", noisy_loss.item(), 1)
        self.note("distance_mean", float(result.distance.sum()), len(result.distance))
        self.note("found_fraction", int((result.success & result.clean_correct).sum()), int(result.clean_correct.sum()))
        return noisy_loss
