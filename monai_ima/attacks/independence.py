"""Whether a network predicts a sample without regard to the others in its batch, which attacks rely on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from monai_ima.utils.generators import kept_random_states
from monai_ima.utils.outputs import Output, choose_output
from monai_ima.utils.predictor import Predictor

from .mode import attack_mode, kept_buffers

__all__ = ["allowed_difference", "largest_difference", "predicted_rows", "refuse_batch_dependence"]

SAME = 1e-3
"""How far equal predictions may lie apart, relative to the largest: convolutions are summed in another order."""


def predicted_rows(predict: Predictor, image: torch.Tensor, rows: Sequence[int], output: Output = None) -> torch.Tensor:
    """What is predicted for some samples of a batch, as a batch of their own.

    Args:
        predict: of the whole batch.
        image: ``[B, C, *spatial]``.
        rows: which samples, in which order.
        output: index or key of the output that counts; None: the first.
    """
    index = torch.tensor(rows, device=image.device)
    return choose_output(predict.select(index)(image[index]), output)


def largest_difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest absolute difference of two predictions; NaN where one has a NaN."""
    return float((one.double() - other.double()).abs().max())


def allowed_difference(predictions: Sequence[torch.Tensor]) -> float:
    """How far predictions of the same samples may lie apart and still be called equal: the rounding of their type."""
    largest = max(float(prediction.double().abs().max()) for prediction in predictions)
    rounding = [8 * torch.finfo(p.dtype).eps for p in predictions if p.is_floating_point()]
    tolerance = max(SAME, *rounding)
    return tolerance * max(largest, torch.finfo(torch.float32).tiny)


def refuse_batch_dependence(predict: Predictor, image: torch.Tensor, output: Output = None) -> bool:
    """Refuse a network that predicts one of two samples differently alone and beside the other.

    It is asked in evaluation mode and full precision, without a trace in it or in the random states. Of a network
    whose predictions of one batch differ from call to call nothing can be said.

    Args:
        predict: of the whole batch.
        image: ``[B, C, *spatial]``; its first two samples are taken.
        output: index or key of the output that counts; None: the first.

    Returns:
        Whether there were two samples.

    Raises:
        ValueError: if it does, or predicts no single sample.

    Example:
        >>> image = torch.rand(4, 1, 2, 2)
        >>> refuse_batch_dependence(Predictor.of(lambda x: x.flatten(1), 4), image)
        True
        >>> refuse_batch_dependence(Predictor.of(lambda x: x.flatten(1) - x.mean(), 4), image)
        Traceback (most recent call last):
        ...
        ValueError: The network predicts a sample differently alone and in a batch of two (by ...), ...
    """
    if len(image) < 2:
        return False
    with _without_trace(predict.network, image.device):
        together, again = (predicted_rows(predict, image, [0, 1], output) for _ in range(2))
        if torch.equal(together, again):
            alone = _alone(predict, image, output, together.shape)
            apart = largest_difference(together, alone)
            if apart > allowed_difference([together, alone]):
                raise _refusal(f"differently alone and in a batch of two (by {apart:.3g})")
    return True


def _alone(predict: Predictor, image: torch.Tensor, output: Output, shape: torch.Size) -> torch.Tensor:
    try:
        rows = [predicted_rows(predict, image, [row], output).flatten() for row in (0, 1)]
        return torch.cat(rows).reshape(shape)
    except (RuntimeError, ValueError) as error:
        raise _refusal(f"in a batch of two and not alone ({str(error).splitlines()[0]})") from error


def _refusal(how: str) -> ValueError:
    return ValueError(
        f"The network predicts a sample {how}, expected a prediction that does not depend on the other samples, such "
        "as with running statistics, or instance or group normalisation: attacks on it would report false successes."
    )


@contextmanager
def _without_trace(network: Any, device: torch.device) -> Iterator[None]:
    """Evaluation mode and full precision; afterwards everything is as it was."""
    with kept_random_states(device), torch.no_grad(), torch.autocast(device.type, enabled=False):
        if isinstance(network, nn.Module):
            with attack_mode(network), kept_buffers(network):
                yield
        else:
            yield
