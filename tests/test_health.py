"""What was not finite in an attack: found in every value, told of with its first cause, and nothing else is."""

from __future__ import annotations

import math

import pytest
import torch

from monai_ima.attacks.health import Health
from monai_ima.utils.errors import SampleError


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_largest_and_smallest_finite_values_are_healthy(dtype):
    limits = torch.finfo(dtype)
    value = torch.tensor([limits.max, limits.min, limits.tiny, -0.0], dtype=dtype).expand(3, 64, 4)
    health = Health(3, "cpu")
    health.note(torch.arange(3), prediction=value, loss=value[:, 0, 0], gradient=value)
    health.check()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [(0, 0), (1, 3), (2, 6)])
@pytest.mark.parametrize("kind", ["prediction", "loss", "gradient"])
def test_one_value_anywhere_is_found_in_whose_row_it_is(kind, place, bad):
    value = torch.ones(3) if kind == "loss" else torch.ones(3, 7)
    value[place[: value.ndim]] = bad
    health = Health(6, "cpu")
    health.note(torch.tensor([5, 1, 3]), **{kind: value})
    health.note(torch.tensor([0, 2]), prediction=torch.ones(2, 7))
    with pytest.raises(SampleError, match=f"^Sample {(5, 1, 3)[place[0]]} of the batch has a {kind} with NaN"):
        health.check()


def test_the_first_sample_is_named_with_the_cause_of_its_other_values():
    health, bad, good = Health(3, "cpu"), torch.tensor([math.inf]), torch.zeros(1)
    health.note(torch.tensor([2]), prediction=bad, loss=bad, gradient=bad)
    health.note(torch.tensor([1]), prediction=good, loss=bad, gradient=bad)
    with pytest.raises(SampleError, match="Sample 1 of the batch has a loss"):
        health.check()
    health.note(torch.tensor([0]), gradient=bad)
    with pytest.raises(SampleError, match="Sample 0 of the batch has a gradient"):
        health.check()


def test_what_was_noted_is_read_in_place_of_an_error_that_it_led_to_and_no_other():
    health = Health(1, "cpu")
    with pytest.raises(KeyError), health.told_of():
        raise KeyError
    health.note(torch.tensor([0]), loss=torch.tensor([math.nan]))
    with pytest.raises(SampleError), health.told_of():
        raise KeyError


def test_notes_take_no_part_in_gradients():
    health, logits = Health(1, "cpu"), torch.ones(1, 2, requires_grad=True)
    health.note(torch.tensor([0]), prediction=logits * 2)
    health.note(torch.tensor([0]), prediction=logits * 3)
    assert not any(found.requires_grad for found in health._found)
    assert not torch.stack(health._found).isnan().any()
