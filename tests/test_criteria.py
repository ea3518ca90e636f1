from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from monai_ima.criteria import BinaryCriterion, ClassificationCriterion
from monai_ima.utils.errors import SampleError
from monai_ima.utils.tensors import first_output


def test_classification_is_right_exactly_where_argmax_is_the_label():
    logits, label = torch.randn(200, 5), torch.randint(5, (200,))
    criterion = ClassificationCriterion()
    assert torch.equal(criterion(logits, label), logits.argmax(1) == label)
    assert torch.equal(criterion(logits, label[:, None]), logits.argmax(1) == label)
    score = criterion.score(logits, label)
    for row in range(200):
        others = [float(z) for k, z in enumerate(logits[row]) if k != label[row]]
        assert float(score[row]) == pytest.approx(float(logits[row, label[row]]) - max(others), abs=1e-6)


def test_the_attack_objective_of_classifiers_has_cross_entropys_direction():
    """``CE = log(1 + exp L)``, so that the gradients are parallel; in float64, where neither is rounded away."""
    logits, label = 4 * torch.randn(200, 5, dtype=torch.float64), torch.randint(5, (200,))
    leaf = logits.clone().requires_grad_()
    ours = ClassificationCriterion().loss(leaf, label)
    torch.testing.assert_close(F.cross_entropy(logits, label, reduction="none"), F.softplus(ours.detach()))
    (gradient,) = torch.autograd.grad(ours.sum(), leaf)
    (other,) = torch.autograd.grad(F.cross_entropy(leaf, label, reduction="sum"), leaf)
    torch.testing.assert_close(F.cosine_similarity(gradient, other), torch.ones(200, dtype=torch.float64))


def test_a_tie_is_not_right():
    assert not ClassificationCriterion()(torch.zeros(1, 3), torch.tensor([0])).any()


def test_binary_is_right_where_every_label_is_on_its_side_of_the_threshold():
    logits, label = torch.randn(100, 4), torch.randint(2, (100, 4))
    for threshold in (0.5, 0.2):
        expected = ((logits.sigmoid() > threshold) == label.bool()).all(1)
        assert torch.equal(BinaryCriterion(threshold)(logits, label), expected)
    assert torch.equal(BinaryCriterion()(logits[:, 0], label[:, :1]), (logits[:, 0] > 0) == label[:, 0].bool())
    weakest = torch.where(label.bool(), logits, -logits).min(1).values
    torch.testing.assert_close(BinaryCriterion().loss(logits, label), -weakest)


def test_of_several_outputs_the_first_counts():
    main, other = torch.zeros(1), torch.ones(1)
    for output in (main, (main, other), [[main], other], {"out": main}):
        assert first_output(output) is main
    with pytest.raises(ValueError, match="expected a tensor"):
        first_output(["text"])
    with pytest.raises(ValueError, match="a dictionary with the keys 'out', 'aux', expected output="):
        first_output({"out": main, "aux": other})


def test_bad_labels_are_refused():
    criterion = ClassificationCriterion()
    with pytest.raises(SampleError, match=r"Sample 1 of the batch has label -1, expected a class in 0..2"):
        criterion(torch.zeros(2, 3), torch.tensor([0, -1]))
    with pytest.raises(ValueError, match="labels of shape"):
        criterion(torch.zeros(2, 3), torch.zeros(3, dtype=torch.long))
    with pytest.raises(
        ValueError, match=r"type torch.bool, expected class indices, \[B\] or \[B, 1\], or one-hot \[B, K\]"
    ):
        criterion(torch.zeros(2, 3), torch.zeros(2, dtype=torch.bool))
    with pytest.raises(ValueError, match="BinaryCriterion takes a single logit"):
        criterion(torch.zeros(2, 1), torch.zeros(2, dtype=torch.long))
    with pytest.raises(SampleError, match="Sample 0 of the batch has label"):
        BinaryCriterion()(torch.zeros(2, 1), torch.tensor([2, 0]))
    with pytest.raises(ValueError, match="threshold"):
        BinaryCriterion(1.0)
