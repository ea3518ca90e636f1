"""Classifiers' labels as the field has them: integers, whole numbers as floats, one-hot rows."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from monai_ima.criteria import ClassificationCriterion
from monai_ima.evaluation import evaluate
from monai_ima.losses import TRADESLoss
from monai_ima.methods import IMA
from monai_ima.utils.batch import Batch
from monai_ima.utils.class_labels import class_indices
from monai_ima.utils.errors import SampleError

INDEX = torch.tensor([2, 0, 1, 2])
LOGITS = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
SAME = {
    "float": INDEX.float(),
    "double column": INDEX.double()[:, None],
    "bytes": INDEX.to(torch.uint8),
    "interpolated": INDEX + torch.tensor([7e-7, -0.004, 0.009, 0.0]),
    "one-hot": torch.eye(3)[INDEX],
    "one-hot integers": torch.eye(3)[INDEX].long(),
    "one-hot truths": torch.eye(3)[INDEX].bool(),
    "one-hot, interpolated": torch.eye(3)[INDEX] * 0.995 + 0.001,
}


@pytest.mark.parametrize("form", SAME)
def test_a_label_means_the_same_in_every_form(form):
    for criterion in (ClassificationCriterion(), ClassificationCriterion(ignore_index=1)):
        for what in (criterion.score, criterion.loss, criterion, criterion.labelled):
            torch.testing.assert_close(what(LOGITS, SAME[form]), what(LOGITS, INDEX), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("form", ["float", "one-hot", "interpolated"])
def test_trades_leaves_out_the_same_samples_in_every_form(form):
    noisy = LOGITS.flip(0)
    found, expected = (
        TRADESLoss(nn.CrossEntropyLoss(), ignore_index=1).robust(LOGITS, label, noisy) for label in (SAME[form], INDEX)
    )
    kept = INDEX != 1
    by_hand = TRADESLoss(nn.CrossEntropyLoss()).robust(LOGITS[kept], INDEX[kept], noisy[kept])
    assert float(found) == float(expected) == pytest.approx(float(by_hand))


@pytest.mark.parametrize(
    ("rows", "ignore_index", "counted"),
    [
        ([[0, 1, 0], [-1, -1, -1], [0, 0, 0]], -1, [True, False, False]),
        ([[0, 1, 0], [255, 0, 0], [0, 0, 1]], 255, [True, False, True]),
        ([[0, 1, 0], [1, 0, 0], [0, 0, 1]], 0, [True, False, True]),
        ([[0, 1, 0], [1, 0, 0], [0, 0, 1]], 1, [False, True, True]),
        ([[0, 1, 0], [1, 0, 0], [0, 0, 1]], 2, [True, True, False]),
    ],
)
def test_one_hot_rows_of_no_label_count_nowhere(rows, ignore_index, counted):
    assert class_indices(torch.tensor(rows), 3, ignore_index)[1].tolist() == counted


@pytest.mark.parametrize(
    ("label", "ignore_index", "sentence"),
    [
        (
            [[1, 0, 0], [0.3, 0.7, 0]],
            None,
            r"Sample 1 of the batch has label \[0\.3.*\], expected one class as an index or",
        ),
        ([[1, 0, 0], [1, 1, 0]], None, r"Sample 1 of the batch has label \[1.*\], expected one class"),
        ([[0, 0, 0], [1, 0, 0]], None, r"Sample 0 of the batch has label \[0.*\], expected one class"),
        ([[0, 0, 0], [1, 0, 0]], 0, r"Sample 0 of the batch has label \[0.*\], expected one class"),
        ([[math.nan] * 3, [1, 0, 0]], -1, r"Sample 0 of the batch has label \[nan.*\], expected one class"),
        ([0.0, 0.5], None, r"Sample 1 of the batch has label 0\.5, expected a class in 0\.\.2"),
        ([0.0, math.nan], -1, r"Sample 1 of the batch has label nan, expected a class in 0\.\.2"),
        ([0.0, 3.0], None, r"Sample 1 of the batch has label 3, expected a class in 0\.\.2"),
        ([-1.0, -2.0], -1, r"Sample 1 of the batch has label -2, expected a class in 0\.\.2"),
    ],
)
def test_labels_of_no_one_class_are_refused_in_one_sentence(label, ignore_index, sentence):
    with pytest.raises(SampleError, match=sentence) as error:
        ClassificationCriterion(ignore_index=ignore_index)(torch.zeros(2, 3), torch.tensor(label))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(2, 2), (2, 3, 1), (2, 1, 1), (2, 4)])
def test_labels_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected class indices, \[B\] or \[B, 1\], or one-hot \[B, K\]"):
        ClassificationCriterion()(torch.zeros(2, 3), torch.zeros(shape))


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3))


@pytest.mark.parametrize("form", ["float", "one-hot", "one-hot integers"])
def test_an_evaluation_is_the_same_in_every_form(form, tmp_path):
    image = torch.rand(4, 1, 2, 2, generator=torch.Generator().manual_seed(2))

    def results(label: torch.Tensor, out: str) -> list:
        batch = {"image": image, "label": label, "sample_id": list("abcd")}
        found = evaluate(
            network(),
            [batch],
            levels=[0.1],
            norm="linf",
            attack="pgd3x1+apgd5-dlr",
            out=tmp_path / str(label.shape) / str(label.dtype),
        )
        return [(sample.label, sample.predicted, sample.broken_at) for sample in found.samples]

    found = results(SAME[form], "found")
    assert found == results(INDEX, "expected")
    assert [label for label, *_ in found] == INDEX.tolist()


def test_a_method_trains_on_one_hot_labels_as_on_indices():
    """Cross-entropy of torch takes one-hot rows as probabilities: the same number."""

    def loss(label: torch.Tensor) -> float:
        model = network()
        batch = Batch.of(model, torch.rand(4, 1, 2, 2, generator=torch.Generator().manual_seed(2)), label, list("abcd"))
        method = IMA(0.5, "linf", delta=0.2, steps=3, criterion=ClassificationCriterion())
        method.begin_epoch(1, 1)
        return float(method.loss(batch, model(batch.image), nn.functional.cross_entropy))

    assert loss(SAME["one-hot"]) == pytest.approx(loss(INDEX), abs=1e-6)
