from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.inferers import Inferer, SimpleInferer
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type, convert_to_tensor
from torch import nn

from monai_ima.attacks import BoundaryPGD, attack_mode
from monai_ima.attacks.base import check_eps
from monai_ima.criteria import Criterion
from monai_ima.inferers import gradient_inferer
from monai_ima.margins import MarginTable
from monai_ima.utils.checks import check_instance
from monai_ima.utils.errors import SampleError
from monai_ima.utils.generators import per_sample_generators
from monai_ima.utils.outputs import Output
from monai_ima.utils.predictor import Predictor, unwrap
from monai_ima.utils.sample_ids import SAMPLE_ID, batch_files

__all__ = ["BoundaryNoised"]


class BoundaryNoised(MapTransform):
    """Replaces a scan by its boundary sample under a network, for offline augmentation or to look at.

    The image becomes the point that B-PGD finds inside the ball of radius ε (:class:`monai_ima.attacks.BoundaryPGD`,
    Algorithm 3 of arXiv 2005.09147): on the decision boundary, or the attack's last iterate where none was met. Its
    metadata stay. The item also gets ``boundary_distance``, the perturbation's norm, and ``on_boundary``. Put it after
    every transform that the network's input needs; with a network on a GPU use a data loader without workers.

    Args:
        keys: key of the image.
        network: the trained network; it is attacked in evaluation mode on the device that it is on.
        eps: ε, radius of the ball, > 0, in the units that the network sees; or a :class:`MarginTable` that gives every
            scan its own.
        norm: ``"l2"`` or ``"linf"``.
        label_key: key of the label, class index or ``[1 or K, *spatial]``.
        criterion: says when a prediction is correct; None means :class:`monai_ima.criteria.ClassificationCriterion`.
        steps: N_PGD, >= 1.
        binary_steps: N_binary, >= 0.
        alpha: α; a step is α ε / N_PGD long, > 0.
        bounds: valid intensities ``(lo, hi)``; None for no limit.
        inferer: how the network is run; None means ``SimpleInferer``.
        seed: of the random directions that are taken where a gradient is exactly zero.
        allow_wrong: leave a misclassified image as it is; else that is an error.
        channels: of the image that noise may change; None means all.
        output: index or key of the network's output that counts, where it returns several; None: the first.

    Raises:
        ValueError: if an argument is out of its range, or there is not exactly one key.

    Example:
        >>> network = torch.nn.Linear(2, 2, bias=False)
        >>> network.weight.data = torch.eye(2)
        >>> noised = BoundaryNoised("image", network, eps=2.0, binary_steps=20)
        >>> item = noised({"image": torch.tensor([1.0, 0.0]), "label": 0})
        >>> round(item["boundary_distance"], 3), item["on_boundary"]  # the decision boundary is x = y
        (0.707, True)
    """

    def __init__(
        self,
        keys: KeysCollection,
        network: nn.Module,
        eps: float | MarginTable,
        norm: str = "l2",
        label_key: str = "label",
        criterion: Criterion | None = None,
        steps: int = 20,
        binary_steps: int = 10,
        alpha: float = 4.0,
        bounds: Sequence[float] | None = None,
        inferer: Inferer | None = None,
        seed: int = 0,
        allow_wrong: bool = False,
        channels: Sequence[int] | None = None,
        output: Output = None,
    ) -> None:
        super().__init__(keys)
        if len(self.keys) != 1:
            raise ValueError(f"BoundaryNoised got the keys {self.keys}, expected one, of the network's input.")
        if not isinstance(eps, MarginTable) and not check_eps(eps, torch.zeros(1, 1)).item() > 0:
            raise ValueError(f"BoundaryNoised got eps {eps}, expected a number > 0 or a MarginTable.")
        self.network = unwrap(check_instance("network", network, nn.Module, "a torch.nn.Module"))
        self.eps = eps
        self.label_key = label_key
        self.attack = BoundaryPGD(
            norm,
            steps,
            binary_steps,
            alpha=alpha,
            bounds=bounds,
            criterion=criterion,
            channels=channels,
            output=output,
        )
        self.inferer = gradient_inferer(SimpleInferer() if inferer is None else inferer)
        self.seed = int(seed)
        self.allow_wrong = allow_wrong

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the image of one item.

        Raises:
            ValueError: when the item has no label, its scan has no margin, or the network misclassifies the clean image
                (no boundary can exist) and ``allow_wrong`` is False; the sentence names the scan.
        """
        item = dict(data)
        (key,) = self.keys
        image = item[key]
        sample_id = str(item.get(SAMPLE_ID) or (batch_files(image[None]) or ["without a name"])[0])
        if item.get(self.label_key) is None:
            raise ValueError(
                f"Sample {sample_id!r} has no label under {self.label_key!r}, expected one: a boundary is where the "
                "prediction ceases to be correct."
            )
        device = next(self.network.parameters()).device
        batch = convert_to_tensor(image, device=device, track_meta=False)[None]
        label = convert_to_tensor(torch.as_tensor(item[self.label_key]), device=device, track_meta=False)[None]
        forward = Predictor(self.inferer, self.network, 1)
        streams = per_sample_generators(f"{self.seed}", [sample_id])
        try:
            with attack_mode(self.network):
                found = self.attack(forward, batch, label, self._radius(sample_id), streams)
        except SampleError as error:
            raise error.named([sample_id]) from None
        if not found.clean_correct and not self.allow_wrong:
            raise ValueError(
                f"Sample {sample_id!r} is misclassified before the attack (score {float(found.clean_score):.3g}), so "
                "it has no boundary; expected a lower threshold, a better network, or allow_wrong=True to leave it."
            )
        item[key] = convert_to_dst_type(found.image[0], image)[0]
        item["boundary_distance"] = float(found.distance)
        item["on_boundary"] = bool(found.success)
        return item

    def _radius(self, sample_id: str) -> float:
        if not isinstance(self.eps, MarginTable):
            return self.eps
        if sample_id not in self.eps:
            raise ValueError(f"Sample {sample_id!r} has no margin in the table, expected one of {len(self.eps)} ids.")
        return self.eps[sample_id]
