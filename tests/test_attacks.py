"""Claims about the attacks, checked against closed forms and against independent one-sample loops."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from attack_problems import (
    NORMS,
    SHAPES,
    Recorder,
    assert_alone_as_in_the_batch,
    b_pgd_alone,
    labelled_batch,
    smooth_network,
    two_classes,
)
from monai.data import MetaTensor
from torch import nn
from training_runs import assert_same_weights

from monai_ima.attacks import FGSM, IFGSM, PGD, BoundaryPGD, UniformNoise
from monai_ima.criteria import BinaryCriterion
from monai_ima.perturbations.norms import L2, Linf
from monai_ima.utils.errors import SampleError


@pytest.mark.parametrize("norm", NORMS)
def test_boundary_points_are_right_and_a_little_further_along_wrong(norm):
    """Against each sample's path alone, in plain code; 2^-halvings of its last step further, a point is wrong."""
    network = smooth_network(SHAPES[2])
    image, label = labelled_batch(network, SHAPES[2], 24)
    eps, steps, halvings = (0.2 if norm == "l2" else 0.04), 9, 6
    attack = BoundaryPGD(norm, steps=steps, binary_steps=halvings)
    result = attack(network, image, label, eps)
    assert 5 < result.success.sum() < len(image) - 5, "the test needs samples of both cases"
    for i in range(len(image)):
        x, y, point = image[i : i + 1], label[i : i + 1], result.image[i : i + 1]
        expected, beyond, case = b_pgd_alone(network, x, y, eps, steps, halvings, norm)
        assert bool(result.success[i]) == (case == 1)
        torch.testing.assert_close(point, expected)
        if case == 1:
            assert int(network(point).argmax(1)) == int(y)
            assert int(network(point + (beyond - expected) * (1 + 1e-6)).argmax(1)) != int(y)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("start", ["clean", "ball"])
def test_boundary_distance_is_the_closed_form_margin_of_a_linear_classifier(norm, start):
    network, image, label, margins = two_classes()
    margin = margins[norm]
    attack = BoundaryPGD(norm, steps=100, start=start)
    result = attack(network, image, label, margin * 1.005)
    assert result.success.all()
    assert ((result.distance / margin - 1).abs() < 0.01).all()
    assert not attack(network, image, label, margin * 0.999).success.any()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("attack", [PGD(steps=20), FGSM(), IFGSM()], ids=lambda a: type(a).__name__)
def test_attacks_break_a_linear_classifier_exactly_beyond_its_margin(attack, norm):
    network, image, label, margins = two_classes()
    margin = margins[norm]
    attack = type(attack)(norm)
    assert attack(network, image, label, margin * 1.005).success.all()
    assert not attack(network, image, label, margin * 0.999).success.any()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", [PGD, BoundaryPGD, UniformNoise])
def test_a_sample_in_a_batch_ends_as_it_does_alone(kind, norm):
    network = smooth_network(SHAPES[2])
    image, label = labelled_batch(network, SHAPES[2])
    label[3] = (label[3] + 1) % 3
    eps = torch.linspace(0.05, 1.0, len(image), dtype=torch.float64)
    together = assert_alone_as_in_the_batch(kind(norm, 8), network, image, label, eps, atol=1e-12)
    assert 0 < together.success.sum() < len(image)


def test_crossed_samples_leave_the_batch_at_once():
    network, image, label, margins = two_classes()
    margin, recorder = margins["l2"], Recorder(network)
    eps = torch.where(torch.arange(32) < 24, margin * 3, margin * 0.9)
    BoundaryPGD("l2", steps=12, binary_steps=3)(recorder, image, label, eps)
    # α ε / N = ε / 3: a margin of ε / 3 is crossed by iterate 2 at the latest, so that 8 samples go on from there.
    assert recorder.sizes[:2] == [32, 32]
    assert recorder.sizes[4:14] == [8] * 10
    assert recorder.sizes[14:] == [24] * 3


def test_restarts_only_attack_unbroken_samples_again():
    network, image, label, margins = two_classes()
    margin, recorder = margins["l2"], Recorder(network)
    eps = torch.where(torch.arange(32) < 24, margin * 5, margin * 0.5)
    PGD("l2", steps=5, restarts=3)(recorder, image, label, eps)
    assert recorder.sizes[-12:] == [8] * 12
    assert recorder.sizes[:2] == [32, 32]


def test_pgd_returns_the_point_of_lowest_score_of_a_sample_that_stands_firm():
    network, image, label, margins = two_classes()
    radius = 0.8 * margins["l2"]
    result = PGD("l2", steps=30, restarts=1, random_start=False)(network, image, label, radius)
    w = network[1].weight.detach().diff(dim=0)
    best = image.flatten(1) - ((label * 2 - 1) * radius)[:, None] * w / w.norm()
    torch.testing.assert_close(result.image.flatten(1), best, atol=1e-6, rtol=0)


def test_attacks_leave_no_trace():
    """Parameters' .grad, training modes, running statistics, inputs and the global random state stay as they were."""
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(80, 3)
    )
    network.train()
    network[1].eval()
    network[5].weight.grad = torch.ones_like(network[5].weight)
    image, label = torch.rand(8, 1, 6, 7), torch.randint(3, (8,))
    eps = torch.rand(8)
    before = copy.deepcopy((network.state_dict(), [m.training for m in network.modules()], image, label, eps))
    state = torch.get_rng_state()
    for norm in NORMS:
        for attack in (PGD(norm, 5), BoundaryPGD(norm, 5), FGSM(norm), IFGSM(norm, 3), UniformNoise(norm, 4)):
            result = attack(network, image, label, eps)
            assert not result.image.requires_grad
    after = (network.state_dict(), [m.training for m in network.modules()], image, label, eps)
    assert_same_weights(before[0], after[0])
    assert before[1] == after[1]
    assert all(torch.equal(a, b) for a, b in zip(before[2:], after[2:], strict=True))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(network[5].weight.grad, torch.ones_like(network[5].weight))
    assert all(p.grad is None for p in (*network[0].parameters(), network[5].bias))


def test_modes_are_restored_when_the_network_fails():
    class Failing(nn.Module):
        def forward(self, x):
            raise RuntimeError("boom")

    network = nn.Sequential(Failing())
    with pytest.raises(RuntimeError, match="boom"):
        PGD()(network, torch.rand(1, 1, 3, 3), torch.zeros(1, dtype=torch.long), 0.1)
    assert all(m.training for m in network.modules())


def test_a_tiny_gradient_still_gives_a_full_l2_step():
    network, image, label, margins = two_classes()

    def faint(logits, label):
        return F.cross_entropy(logits, label, reduction="none") * 1e-30

    attack = PGD("l2", 10, loss=faint, random_start=False)
    assert attack(network.float(), image.float(), label, margins["l2"].float() * 1.01).success.all()


def test_binary_criterion_attacks_a_single_logit_and_multi_label_network():
    torch.manual_seed(0)
    for outputs in (1, 3):
        network = nn.Sequential(nn.Flatten(), nn.Linear(12, outputs)).double()
        image = torch.randn(16, 1, 3, 4, dtype=torch.float64)
        logits = network(image).detach()
        label = (logits > 0).long()
        margins = logits.abs() / network[1].weight.detach().norm(dim=1)
        weakest = margins.gather(1, logits.abs().argmin(1, keepdim=True)).squeeze(1)
        attack = PGD("l2", 200, criterion=BinaryCriterion())
        assert attack(network, image, label, weakest * 1.01).success.all()
        assert not attack(network, image, label, margins.amin(1) * 0.99).success.any()


def test_metadata_survive_an_attack():
    network = smooth_network(SHAPES[2])
    image, label = labelled_batch(network, SHAPES[2], 2)
    image = MetaTensor(image, affine=torch.diag(torch.tensor([2.0, 2.0, 1.0, 1.0])))
    result = PGD("l2", 2)(network, image, label, 0.3)
    assert isinstance(result.image, MetaTensor)
    assert torch.equal(result.image.affine, image.affine)


def test_noise_is_uniform_in_the_ball():
    """Closed-form moments: E r^2 = d / (d + 2) in the L2 ball; variance 1/3 per coordinate in the Linf ball."""
    like, radius = torch.empty(40000, 1, 3, dtype=torch.float64), torch.full((40000,), 2.0, dtype=torch.float64)
    drawn = L2().draw(like, radius, torch.Generator().manual_seed(0)) / 2
    assert drawn.pow(2).sum((1, 2)).mean() == pytest.approx(3 / 5, rel=0.02)
    assert drawn.pow(2).mean((0, 1)).tolist() == pytest.approx([0.2] * 3, rel=0.05)
    assert drawn.flatten(1).norm(dim=1).max() <= 1
    drawn = Linf().draw(like, radius, torch.Generator().manual_seed(0)) / 2
    assert drawn.pow(2).mean((0, 1)).tolist() == pytest.approx([1 / 3] * 3, rel=0.05)
    assert drawn.abs().max() <= 1


def test_bad_batches_are_refused_by_sample():
    network = smooth_network(SHAPES[2])
    image, label = labelled_batch(network, SHAPES[2], 4)
    attack = PGD("l2", 2, bounds=(0, 1))
    broken = image.clone()
    broken[2, 0, 0, 0] = math.nan
    with pytest.raises(SampleError, match="Sample 2 of the batch has an image with NaN"):
        attack(network, broken, label, 0.1)
    with pytest.raises(SampleError, match="Sample 1 of the batch has label 3"):
        attack(network, image, torch.tensor([0, 3, 0, 0]), 0.1)
    with pytest.raises(SampleError, match="Sample 3 of the batch has eps -1"):
        attack(network, image, label, torch.tensor([0.1, 0.1, 0.1, -1.0]))
    with pytest.raises(SampleError, match="Sample 0 of the batch has intensities"):
        attack(network, image + 1, label, 0.1)
    with pytest.raises(ValueError, match="3 values of eps for 4 samples"):
        attack(network, image, label, torch.ones(3))
    with pytest.raises(ValueError, match="one value per sample"):
        PGD("l2", 2, loss=F.cross_entropy)(network, image, label, 0.1)
    with pytest.raises(ValueError, match="floating point"):
        attack(network, (image * 255).int(), label, 0.1)

    def exploding(batch):
        return network(batch) * torch.where(batch.sum((1, 2, 3)) == batch.sum((1, 2, 3))[1], math.inf, 1.0)[:, None]

    with pytest.raises(SampleError, match="Sample 1 of the batch has a"):
        PGD("l2", 2, random_start=False)(exploding, image, label, 0.1)


@pytest.mark.parametrize("attack", [PGD("l2", 3), BoundaryPGD("linf", 3)])
def test_attacks_find_gradients_inside_inference_mode(attack):
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    image, label = torch.rand(5, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1])
    expected = attack(network, image, label, 0.5, torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = attack(network, image * 1.0, label + 0, 0.5, torch.Generator().manual_seed(0))
    assert torch.equal(found.image, expected.image)
    assert torch.equal(found.success, expected.success)
