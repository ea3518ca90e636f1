"""Inferers around another inferer: padding that no attack reaches, averaged passes, one of the outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from monai.inferers import Inferer, SimpleInferer
from monai.utils import ensure_tuple_rep

from monai_ima.utils.checks import check_callable, check_count, check_output
from monai_ima.utils.outputs import Output, choose_output
from monai_ima.utils.tensors import first_output

__all__ = ["AveragedInferer", "OutputInferer", "PadInferer", "check_inferer"]


class PadInferer(Inferer):
    """Pads a volume for the network and cuts the prediction back to the volume's own size.

    Padded in the data, an image would be attacked in voxels that no scanner has seen, and be scored there too.

    Args:
        inferer: runs the network on the padded volume; None means ``SimpleInferer``.
        k: each axis is padded to a multiple of this, one number or one for each axis, >= 1.
        min_size: and to at least this, one number or one for each axis, >= 0.

    Raises:
        ValueError: if ``k`` holds a number < 1 or ``min_size`` one < 0, or one that is no integer.

    Example:
        >>> network = torch.nn.Conv2d(1, 2, 4, stride=4)  # works on multiples of 4 pixels only
        >>> upsampled = torch.nn.Sequential(network, torch.nn.Upsample(scale_factor=4))
        >>> PadInferer(k=4)(torch.rand(1, 1, 10, 7), upsampled).shape
        torch.Size([1, 2, 10, 7])
    """

    def __init__(
        self, inferer: Callable[..., Any] | None = None, k: int | Sequence[int] = 1, min_size: int | Sequence[int] = 0
    ) -> None:
        for name, value, least in (("k", k, 1), ("min_size", min_size, 0)):
            for size in value if isinstance(value, Sequence) and not isinstance(value, str) else [value]:
                check_count(name, size, least)
        self.inferer = SimpleInferer() if inferer is None else check_inferer(inferer)
        self.k = k
        self.min_size = min_size

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The prediction for ``inputs``, ``[B, C, *spatial]``; zeros are added on both sides.

        Outputs of the padded size are cut back, also inside tuples, lists and dictionaries; others are left alone.
        """
        size = tuple(inputs.shape[2:])
        k, least = ensure_tuple_rep(self.k, len(size)), ensure_tuple_rep(self.min_size, len(size))
        padded = [-(-max(n, m) // q) * q for n, m, q in zip(size, least, k, strict=True)]
        before = [(p - n) // 2 for p, n in zip(padded, size, strict=True)]
        widths = [w for p, n, b in zip(padded, size, before, strict=True) for w in (p - n - b, b)]
        output = self.inferer(F.pad(inputs, widths[::-1]), network, *args, **kwargs)
        places: tuple[Any, ...] = (..., *(slice(b, b + n) for b, n in zip(before, size, strict=True)))

        def cut(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                return value[places] if list(value.shape[-len(size) :]) == padded else value
            if isinstance(value, Mapping):
                return {key: cut(inner) for key, inner in value.items()}
            if isinstance(value, (tuple, list)):
                return type(value)(cut(inner) for inner in value)
            return value

        return cut(output)


class AveragedInferer(Inferer):
    """Expectation over transformation (Athalye et al. 2018): the mean logits of several passes.

    A network with random parts (random resizing, added noise, dropout that stays on) gives another answer at every
    pass, and an attack that follows the gradient of one pass is misled. Under this inferer both the attack and the
    decision see the mean of ``passes`` passes.

    Args:
        inferer: of each pass.
        passes: >= 1.

    Raises:
        ValueError: if ``passes`` < 1.

    Example:
        >>> from monai.inferers import SimpleInferer
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5))
        >>> AveragedInferer(SimpleInferer(), passes=1000)(torch.ones(1, 1, 2), network).round(decimals=1)
        tensor([[1., 1.]])
    """

    def __init__(self, inferer: Callable[..., Any], passes: int) -> None:
        super().__init__()
        self.inferer = check_inferer(inferer)
        self.passes = check_count("passes", passes, 1)

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """Mean logits, ``[B, K, ...]``; of several outputs the first counts."""
        passes = [first_output(self.inferer(inputs, network, *args, **kwargs)) for _ in range(self.passes)]
        return torch.stack(passes).mean(dim=0)


class OutputInferer(Inferer):
    """Gives one of a network's outputs, as if there were no others.

    Args:
        inferer: gives them all.
        output: index or key of the one that counts; None: the first.

    Raises:
        ValueError: if ``output`` can name none; when called, if there is no such output.

    Example:
        >>> from monai.inferers import SimpleInferer
        >>> OutputInferer(SimpleInferer(), "sum")(torch.ones(2, 3), lambda x: {"sum": x.sum(dim=1), "same": x})
        tensor([3., 3.])
    """

    def __init__(self, inferer: Callable[..., Any], output: Output) -> None:
        super().__init__()
        self.inferer = check_inferer(inferer)
        self.output = check_output(output)

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """The output that counts, ``[B, ...]``."""
        return choose_output(self.inferer(inputs, network, *args, **kwargs), self.output)


def check_inferer(inferer: Callable[..., Any]) -> Callable[..., Any]:
    """``inferer``, when it is one.

    Raises:
        TypeError: when it cannot be called, or is a class.
    """
    return check_callable("inferer", inferer, "an inferer such as SimpleInferer()")
