from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.losses import DiceLoss

from monai_ima.utils.checks import check_bool, check_ignore_index, check_not_negative
from monai_ima.utils.ignored_labels import counted_mean, counted_voxels
from monai_ima.utils.label_maps import first_head, target_maps
from monai_ima.utils.tensors import at_least_float32, check_tensor

__all__ = ["SegmentationLoss"]


class SegmentationLoss:
    """Soft Dice plus cross-entropy of each sample by itself: what attacks on segmentations maximise.

    Soft Dice is the mean over the classes that count, cross-entropy the mean over voxels (with ``sigmoid=True``: over
    voxels and channels, binary). Computed in float32 or better.

    Args:
        dice_weight: weight of soft Dice, >= 0.
        ce_weight: weight of cross-entropy, >= 0.
        include_background: channel 0 counts in soft Dice.
        sigmoid: channels are independent of each other.
        ignore_index: voxels of this label are left out of both, as if cut out of logits and label
            (:func:`~monai_ima.utils.ignored_labels.counted_voxels`); None: all count.

    Raises:
        ValueError: when a weight is negative or both are 0, or ``ignore_index`` is no integer.

    Example:
        >>> label = torch.tensor([1, 1, 0, 0]).view(1, 1, 2, 2)
        >>> SegmentationLoss(dice_weight=0)(torch.zeros(1, 2, 2, 2), label)  # cross-entropy of a coin
        tensor([0.6931])
    """

    def __init__(
        self,
        dice_weight: float = 1.0,
        ce_weight: float = 1.0,
        include_background: bool = False,
        sigmoid: bool = False,
        ignore_index: int | None = None,
    ) -> None:
        self.dice_weight = check_not_negative("dice_weight", dice_weight)
        self.ce_weight = check_not_negative("ce_weight", ce_weight)
        if dice_weight + ce_weight == 0:
            raise ValueError("Got dice_weight and ce_weight 0, expected one of them larger than 0.")
        self.sigmoid = check_bool("sigmoid", sigmoid)
        self.ignore_index = check_ignore_index(ignore_index)
        self._first = 0 if check_bool("include_background", include_background) else 1
        self._dice = DiceLoss(reduction="none")

    def __call__(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """The loss of each sample: float ``[B]``; without a gradient where no voxel counts.

        Args:
            logits: ``[B, K, *spatial]``; of stacked deep-supervision heads the first counts.
            label: class indices ``[B, 1, *spatial]`` or one-hot ``[B, K, *spatial]``.

        Raises:
            TypeError: when an argument is no tensor.
            ValueError: when shapes do not fit.
            SampleError: when a label's values do not.
        """
        check_tensor("logits", logits)
        check_tensor("label", label)
        logits = at_least_float32(first_head(logits, label))
        counted = None
        if self.ignore_index is not None:
            counted = counted_voxels(label, logits, self.sigmoid, self.ignore_index)
        target = target_maps(label, logits, self.sigmoid, counted).to(logits.dtype)
        total = torch.zeros(len(logits), dtype=logits.dtype, device=logits.device)
        log_probability = F.logsigmoid(logits) if self.sigmoid else logits.log_softmax(dim=1)
        if self.dice_weight:
            probability = log_probability.exp()
            probability = probability if counted is None else probability.masked_fill(~counted, 0)
            dice = self._dice(probability[:, self._first :], target[:, self._first :])
            total = total + self.dice_weight * dice.flatten(1).mean(dim=1)
        if self.ce_weight:
            if self.sigmoid:
                entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
            else:
                entropy = -(target * log_probability).sum(dim=1, keepdim=True)
            total = total + self.ce_weight * counted_mean(entropy, counted)
        return total
