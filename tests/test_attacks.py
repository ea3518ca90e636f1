"""Claims about the attacks, checked against closed forms and against independent one-sample loops."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from attack_problems import labelled_batch, length, smooth_network
from torch import nn

from monai_ima.attacks import FGSM, IFGSM, PGD, BoundaryPGD, UniformNoise
from monai_ima.criteria import BinaryCriterion
from monai_ima.utils.errors import SampleError

SHAPES = {1: (2, 17), 2: (1, 6, 7), 3: (2, 4, 3, 5)}
NORMS = ("l2", "linf")


def linear_problem() -> tuple[nn.Module, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A two-class linear network with images, labels and logit differences z_1 - z_0."""
    torch.manual_seed(3)
    network = nn.Sequential(nn.Flatten(), nn.Linear(20, 2)).double()
    image = torch.randn(32, 1, 4, 5, dtype=torch.float64)
    difference = network(image)[:, 1] - network(image)[:, 0]
    return network, image, (difference > 0).long(), difference.detach()


def closed_form_margin(network: nn.Module, difference: torch.Tensor, norm: str) -> torch.Tensor:
    """|w x + b| / dual norm of w, for the difference of the two logits."""
    w = (network[1].weight[1] - network[1].weight[0]).detach()
    return difference.abs() / (w.norm() if norm == "l2" else w.abs().sum())


@pytest.mark.parametrize("dims", SHAPES)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("bounds", [None, (0.0, 1.0)])
def test_every_attack_stays_inside_ball_and_bounds(dims, norm, bounds):
    network = smooth_network(SHAPES[dims])
    image, label = labelled_batch(network, SHAPES[dims])
    eps = torch.linspace(0.0, 1.5, len(image), dtype=torch.float64)
    attacks = [
        PGD(norm, steps=7, bounds=bounds),
        BoundaryPGD(norm, steps=7, bounds=bounds),
        BoundaryPGD(norm, steps=7, start="ball", bounds=bounds, delta=0.1, restarts=2),
        FGSM(norm, bounds=bounds),
        IFGSM(norm, steps=4, bounds=bounds),
        UniformNoise(norm, draws=5, bounds=bounds),
    ]
    for attack in attacks:
        result = attack(network, image, label, eps)
        assert result.image.shape == image.shape
        assert (length(result.image - image, norm) <= eps + 1e-9).all(), type(attack).__name__
        torch.testing.assert_close(result.distance, length(result.image - image, norm))
        if bounds is not None:
            assert result.image.min() >= 0
            assert result.image.max() <= 1


@pytest.mark.parametrize("norm", NORMS)
def test_boundary_points_are_right_and_a_little_further_along_wrong(norm):
    """Redo each sample's path alone, in plain code, and look at both sides of the boundary."""
    network = smooth_network(SHAPES[2])
    image, label = labelled_batch(network, SHAPES[2], 24)
    eps, steps, halvings = (0.2 if norm == "l2" else 0.04), 9, 6
    attack = BoundaryPGD(norm, steps=steps, binary_steps=halvings)
    result = attack(network, image, label, eps)
    assert 5 < result.success.sum() < len(image) - 5, "the test needs samples of both cases"
    for i in range(len(image)):
        x, y = image[i : i + 1], label[i : i + 1]
        path = [x]
        for _ in range(steps):
            leaf = path[-1].clone().requires_grad_()
            (g,) = torch.autograd.grad(F.cross_entropy(network(leaf), y), leaf)
            v = path[-1] + 4 * eps / steps * (g / g.norm() if norm == "l2" else g.sign()) - x
            v = v * min(1.0, eps / float(v.norm())) if norm == "l2" else v.clamp(-eps, eps)
            path.append(x + v)
        wrong = [int(network(p).argmax(1)) != int(y) for p in path]
        assert bool(result.success[i]) == any(wrong)
        if not any(wrong):
            torch.testing.assert_close(result.image[i : i + 1], path[-1])
            continue
        k = wrong.index(True)
        last_step = path[k] - path[k - 1]
        point = result.image[i : i + 1]
        assert int(network(point).argmax(1)) == int(y)
        assert int(network(point + last_step * 2**-halvings * (1 + 1e-9)).argmax(1)) != int(y)
        along = float(((point - path[k - 1]) * last_step).sum() / last_step.pow(2).sum())
        torch.testing.assert_close(point, path[k - 1] + along * last_step)
        assert (along * 2**halvings) == pytest.approx(round(along * 2**halvings), abs=1e-6)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("start", ["clean", "ball"])
def test_boundary_distance_is_the_closed_form_margin_of_a_linear_classifier(norm, start):
    network, image, label, difference = linear_problem()
    margin = closed_form_margin(network, difference, norm)
    attack = BoundaryPGD(norm, steps=100, start=start)
    result = attack(network, image, label, margin * 1.005)
    assert result.success.all()
    assert ((result.distance / margin - 1).abs() < 0.01).all()
    assert not attack(network, image, label, margin * 0.999).success.any()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("attack", [PGD(steps=20), FGSM(), IFGSM()], ids=lambda a: type(a).__name__)
def test_attacks_break_a_linear_classifier_exactly_beyond_its_margin(attack, norm):
    network, image, label, difference = linear_problem()
    margin = closed_form_margin(network, difference, norm)
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
    attack = kind(norm, 8)

    def streams(rows):
        return [torch.Generator().manual_seed(100 + row) for row in rows]

    together = attack(network, image, label, eps, streams(range(len(image))))
    assert 0 < together.success.sum() < len(image)
    for i in range(len(image)):
        alone = attack(network, image[i : i + 1], label[i : i + 1], eps[i : i + 1], streams([i]))
        torch.testing.assert_close(together.image[i : i + 1], alone.image, rtol=0, atol=1e-12)
        assert bool(together.success[i]) == bool(alone.success)


def test_crossed_samples_leave_the_batch_at_once():
    network, image, label, difference = linear_problem()
    margin = closed_form_margin(network, difference, "l2")
    sizes: list[int] = []

    def counting(batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        return network(batch)

    eps = torch.where(torch.arange(32) < 24, margin * 3, margin * 0.9)
    BoundaryPGD("l2", steps=12, binary_steps=3)(counting, image, label, eps)
    # α ε / N = ε / 3: a margin of ε / 3 is crossed by iterate 2 at the latest, so that 8 samples go on from there.
    assert sizes[:2] == [32, 32]
    assert sizes[4:14] == [8] * 10
    assert sizes[14:] == [24] * 3


def test_restarts_only_attack_unbroken_samples_again():
    network, image, label, difference = linear_problem()
    margin = closed_form_margin(network, difference, "l2")
    sizes: list[int] = []

    def counting(batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        return network(batch)

    eps = torch.where(torch.arange(32) < 24, margin * 5, margin * 0.5)
    PGD("l2", steps=5, restarts=3)(counting, image, label, eps)
    assert sizes[-12:] == [8] * 12
    assert sizes[0] == sizes[1] == 32


def test_pgd_returns_the_point_of_lowest_score_of_a_sample_that_stands_firm():
    network, image, label, difference = linear_problem()
    margin = closed_form_margin(network, difference, "l2")
    result = PGD("l2", steps=30, restarts=1, random_start=False)(network, image, label, margin * 0.8)
    w = (network[1].weight[1] - network[1].weight[0]).detach()
    best = image - (label.double() * 2 - 1)[:, None, None, None] * (0.8 * margin)[:, None, None, None] * (
        w / w.norm()
    ).view(1, 1, 4, 5)
    torch.testing.assert_close(result.image, best, atol=1e-6, rtol=0)


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
    for a, b in zip(before[0].values(), after[0].values(), strict=True):
        assert torch.equal(a, b)
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
    network, image, label, difference = linear_problem()
    margin = closed_form_margin(network, difference, "l2").float()

    def faint(logits, label):
        return F.cross_entropy(logits, label, reduction="none") * 1e-30

    network, image = network.float(), image.float()
    result = PGD("l2", 10, loss=faint, random_start=False)(network, image, label, margin * 1.01)
    assert result.success.all()


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
    from monai.data import MetaTensor

    network = smooth_network(SHAPES[2])
    image, label = labelled_batch(network, SHAPES[2], 2)
    image = MetaTensor(image, affine=torch.diag(torch.tensor([2.0, 2.0, 1.0, 1.0])))
    result = PGD("l2", 2)(network, image, label, 0.3)
    assert isinstance(result.image, MetaTensor)
    assert torch.equal(result.image.affine, image.affine)


def test_noise_is_uniform_in_the_ball():
    """Closed-form moments: E r^2 = d / (d + 2) in the L2 ball; variance 1/3 per coordinate in the Linf ball."""
    from monai_ima.perturbations.norms import L2, Linf

    like, radius = torch.empty(40000, 1, 3, dtype=torch.float64), torch.full((40000,), 2.0, dtype=torch.float64)
    drawn = L2().draw(like, radius, torch.Generator().manual_seed(0)) / 2
    assert drawn.pow(2).sum((1, 2)).mean() == pytest.approx(3 / 5, rel=0.02)
    assert drawn.pow(2).mean((0, 1)).tolist() == pytest.approx([0.2] * 3, rel=0.05)
    assert drawn.flatten(1).norm(dim=1).max() <= 1
    drawn = Linf().draw(like, radius, torch.Generator().manual_seed(0)) / 2
    assert drawn.pow(2).mean((0, 1)).tolist() == pytest.approx([1 / 3] * 3, rel=0.05)
    assert drawn.abs().max() <= 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"norm": "l1"}, "Unknown norm 'l1'"),
        ({"steps": 0}, "Got steps 0"),
        ({"restarts": 0}, "Got restarts 0"),
        ({"alpha": 0.0}, "Got alpha 0"),
        ({"bounds": (1, 0)}, "Got bounds"),
    ],
)
def test_bad_settings_are_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        PGD(**{"norm": "l2", **change})


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
