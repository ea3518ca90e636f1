from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.engines import PrepareBatch, default_prepare_batch
from monai.inferers import Inferer, SimpleInferer
from monai.utils import convert_to_dst_type
from torch import nn

from monai_ima.attacks import Attack, attack_mode
from monai_ima.inferers import gradient_inferer
from monai_ima.utils.checks import check_callable, check_instance, check_not_negative
from monai_ima.utils.errors import SampleError
from monai_ima.utils.generators import per_sample_generators
from monai_ima.utils.predictor import Predictor, unwrap
from monai_ima.utils.sample_ids import SAMPLE_ID, batch_files, check_labels

__all__ = ["AdversarialPrepareBatch"]


class AdversarialPrepareBatch(PrepareBatch):
    """Turns any ``SupervisedEvaluator`` into an evaluation under attack: its network sees noisy images.

    Every run draws the same noise for a sample, which is given by the sample's id, else its place in the batch.
    Give it as the evaluator's ``prepare_batch``. Metrics, postprocessing and savers then work on the noisy images,
    which keep the clean ones' metadata.

    Args:
        network: the network that is evaluated; it is attacked in evaluation mode.
        attack: an attack, for results worth reporting :class:`monai_ima.attacks.PGD` with 100 steps and 2 restarts; on
            segmentations with ``DiceCriterion("lowest")``, since with a threshold it ends as soon as that is passed.
        eps: radius of the ball, >= 0, in the units that the network sees, or of the attack's perturbation, whose labels
            move where voxels do; 0 leaves the images as they are.
        prepare_batch: how image, label and extra network inputs are got from a batch; None means MONAI's default.
        inferer: the evaluator's inferer; None means ``SimpleInferer``.

    Raises:
        TypeError: if an argument is an object of another kind.
        ValueError: if ``eps`` is not a finite number >= 0.

    Example:
        >>> from monai_ima.attacks import PGD
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> prepare_batch = AdversarialPrepareBatch(network, PGD("linf", steps=5, bounds=(0, 1)), eps=0.1)
        >>> batch = {"image": torch.full((1, 1, 2, 2), 0.5), "label": torch.tensor([0])}
        >>> noisy, label = prepare_batch(batch)
        >>> bool((noisy - batch["image"]).abs().max() <= 0.1 + 1e-6)
        True
    """

    def __init__(
        self,
        network: nn.Module,
        attack: Attack,
        eps: float,
        prepare_batch: Callable | None = None,
        inferer: Inferer | None = None,
    ) -> None:
        self.network = check_instance("network", network, nn.Module, "a torch.nn.Module")
        self.attack = check_instance("attack", attack, Attack, "an attack such as PGD()")
        self.eps = check_not_negative("eps", eps)
        self.prepare_batch = (
            default_prepare_batch
            if prepare_batch is None
            else check_callable("prepare_batch", prepare_batch, "a function (batch, device) -> image and label")
        )
        self.inferer = SimpleInferer() if inferer is None else gradient_inferer(inferer)

    def __call__(
        self,
        batchdata: dict[str, torch.Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Image under attack, label and extra inputs, as the inner ``prepare_batch`` gives them.

        Raises:
            ValueError: when the batch has no labels, or a sample is not as expected; the sentence names it.
        """
        image, label, *extra = self.prepare_batch(batchdata, device, non_blocking, **kwargs)
        label = check_labels(label, batchdata, image)
        if self.eps == 0:
            return (image, label, *extra)
        network = unwrap(self.network)
        forward = Predictor.prepared(self.inferer, network, len(image), extra)
        sample_ids = list(map(str, batchdata[SAMPLE_ID] if SAMPLE_ID in batchdata else range(len(image))))
        streams = per_sample_generators("validation", sample_ids)
        try:
            with attack_mode(network):
                result = self.attack(forward, image, label, self.eps, streams)
        except SampleError as error:
            names = sample_ids if SAMPLE_ID in batchdata else batch_files(image)
            raise error if names is None else error.named(names) from None
        moved = label if result.label is None else convert_to_dst_type(result.label, label)[0]
        return (result.image, moved, *extra)
