"""Claims about DDN, Auto-PGD, DLR and SPSA, checked against closed forms and independent one-sample loops."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from attack_problems import (
    NORMS,
    SHAPES,
    Recorder,
    assert_alone_as_in_the_batch,
    fit,
    labelled_batch,
    length,
    segmentation_problem,
    smooth_network,
    streams,
    two_classes,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from monai_ima.attacks import (
    APGD,
    DDN,
    FGSM,
    IFGSM,
    PGD,
    SPSA,
    AdaptiveNormPGD,
    BoundaryPGD,
    MinimumNorm,
    UniformNoise,
    WorstOf,
    attack_from_name,
    dlr_loss,
)
from monai_ima.attacks.apgd import checkpoints
from monai_ima.attacks.spsa import estimate_gradient
from monai_ima.criteria import BinaryCriterion, ClassificationCriterion, Criterion, DiceCriterion
from monai_ima.losses import SegmentationLoss
from monai_ima.utils.errors import SampleError


def linear_problem(shape: tuple[int, ...], classes: int, scale: float, batch: int = 16):
    """A linear network of orthogonal weight vectors, its images and labels, and their distances from the boundary.

    With K > 2 the nearest boundary lies towards the class of the second largest logit only if all pairs of weight
    vectors are as far apart, and cross-entropy leads there only if softmax is sharp: hence orthogonal, and ``scale``.
    """
    torch.manual_seed(3)
    size = math.prod(shape)
    network = nn.Sequential(nn.Flatten(), nn.Linear(size, classes)).double()
    weight = scale * torch.linalg.qr(torch.randn(size, classes, dtype=torch.float64))[0].T
    network[1].weight.data = weight
    image = torch.randn(4 * batch, *shape, dtype=torch.float64)
    two = network(image).topk(2, dim=1).values
    image = image[two[:, 0] - two[:, 1] > 0.05 * scale][:batch]
    logits = network(image).detach()
    label = logits.argmax(1)
    distance = torch.full((batch,), math.inf, dtype=torch.float64)
    for i, y in enumerate(label.tolist()):
        for j in range(classes):
            if j != y:
                distance[i] = min(distance[i], (logits[i, y] - logits[i, j]) / (weight[y] - weight[j]).norm())
    return network, image, label, distance


def trained_problem(seed: int) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A small convolutional network trained on noisy prototypes in [0, 1], with images and labels."""
    torch.manual_seed(seed)
    prototypes, label = torch.rand(4, 1, 8, 9), torch.randint(4, (128,))
    image = (0.25 + 0.5 * prototypes[label] + 0.25 * torch.randn(128, 1, 8, 9)).clamp(0, 1)
    features = nn.Sequential(nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten())
    network = nn.Sequential(features, nn.Linear(160, 24), nn.ReLU(), nn.Linear(24, 4))
    fit(network, image, label, 0.005, 80)
    return network, image[:64], label[:64]


# --- DDN


@pytest.mark.parametrize("dims", SHAPES)
@pytest.mark.parametrize(("classes", "scale"), [(2, 1.0), (2, 30.0), (4, 30.0)])
def test_ddn_finds_the_closed_form_minimum_distance_of_a_linear_classifier(dims, classes, scale):
    network, image, label, distance = linear_problem(SHAPES[dims], classes, scale)
    assert distance.min() > 0.02, "100 steps of 5 % from radius 1 do not get nearer than 0.006"
    result = DDN()(network, image, label, 100.0)
    assert result.success.all()
    assert (result.distance >= distance * (1 - 1e-9)).all()
    assert (result.distance <= distance * 1.02).all()
    assert (network(result.image).argmax(1) != label).all()
    torch.testing.assert_close(result.distance, length(result.image - image, "l2"))


def test_ddn_works_alike_in_any_unit_of_intensity():
    network, image, label, _ = linear_problem(SHAPES[2], 2, 1.0)
    plain = DDN(60)(network, image, label, 100.0)
    scaled = DDN(60, init_eps=255.0)(lambda x: network(x / 255), image * 255, label, 25500.0)
    torch.testing.assert_close(scaled.image / 255, plain.image)


def test_ddn_goes_no_further_than_the_radius_of_the_call():
    network, image, label, distance = linear_problem(SHAPES[2], 2, 1.0)
    cap = distance * torch.where(torch.arange(16) % 2 == 0, 0.98, 1.03)
    result = DDN()(network, image, label, cap)
    assert torch.equal(result.success, torch.arange(16) % 2 == 1)
    assert (result.distance <= cap * (1 + 1e-9)).all()
    weight = network[1].weight.detach()
    for i in range(0, 16, 2):
        to_other = weight[1 - label[i]] - weight[label[i]]
        lowest = image[i] + (cap[i] * to_other / to_other.norm()).view(SHAPES[2])
        torch.testing.assert_close(result.image[i], lowest, atol=1e-6, rtol=0)


def test_ddn_leaves_samples_alone_that_are_wrong_or_have_no_room():
    network, image, label, distance = linear_problem(SHAPES[2], 3, 30.0)
    label[1] = (label[1] + 1) % 3
    eps = torch.full_like(distance, 9.0)
    eps[2] = 0
    recorder = Recorder(network)
    result = DDN(5)(recorder, image, label, eps)
    by_pgd = PGD("l2", 5)(network, image, label, eps)
    assert torch.equal(result.image[1:3], image[1:3])
    assert result.distance[1:3].tolist() == [0, 0]
    assert result.success[1:3].tolist() == by_pgd.success[1:3].tolist() == [True, False]
    assert recorder.sizes == [16] + [14] * 6


def test_ddn_leaves_a_point_without_gradient_in_a_random_direction():
    """z_0 - z_1 = 1 - 4 max(0, r^2 - 1/4), flat for r < 1/2, is zero on the sphere of radius sqrt(1/2)."""

    def plateau(image):
        rise = (image.flatten(1).pow(2).sum(1) - 0.25).relu()
        return torch.stack([1 - 4 * rise, torch.zeros_like(rise)], 1)

    image, label = torch.zeros(3, 1, 4, 5, dtype=torch.float64), torch.zeros(3, dtype=torch.long)
    result = DDN(100)(plateau, image, label, 10.0, streams(range(3)))
    assert result.success.all()
    torch.testing.assert_close(result.distance, torch.full_like(result.distance, math.sqrt(0.5)), rtol=0.02, atol=0)
    assert (result.image[0] - result.image[1]).abs().max() > 0.01
    alone = DDN(100)(plateau, image[1:2], label[1:2], 10.0, streams([1]))
    torch.testing.assert_close(alone.image[0], result.image[1])


# --- Auto-PGD


def test_checkpoints_are_the_papers():
    assert checkpoints(100) == [0, 22, 41, 57, 70, 80, 87, 93, 99]
    for steps in (1, 7, 20, 33, 1000):
        p = [Fraction(0), Fraction(22, 100)]
        while p[-1] <= 1:
            p.append(p[-1] + max(p[-1] - p[-2] - Fraction(3, 100), Fraction(6, 100)))
        assert checkpoints(steps) == sorted({math.ceil(value * steps) for value in p[:-1]})


class NeverMisclassified(ClassificationCriterion):
    def decide(self, score):
        return torch.ones_like(score, dtype=torch.bool)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("bounds", "rho"), [(None, 0.75), ((0.1, 0.9), 0.75), (None, 0.2), ((0.1, 0.9), 0.2)])
def test_auto_pgd_goes_the_way_of_the_papers_algorithm(norm, bounds, rho):
    """Redo a sample's way alone, in plain code from Algorithm 1, from the start that the attack drew."""
    network = smooth_network(SHAPES[2])
    network[1].weight.data *= 4
    image, label = labelled_batch(network, SHAPES[2], 6)
    eps, steps, alpha = (0.6 if norm == "l2" else 0.15), 40, 0.75
    recorder = Recorder(network)
    attack = APGD(norm, steps, rho=rho, bounds=bounds, criterion=NeverMisclassified())
    attack(recorder, image, label, eps)
    way = torch.stack(recorder.shown[1:])
    assert len(way) == steps + 1
    reasons = set()

    def project(point, x):
        v = point - x
        v = v * min(1.0, eps / float(v.norm())) if norm == "l2" else v.clamp(-eps, eps)
        return x + v if bounds is None else (x + v).clamp(*bounds)

    def climb(point, y):
        leaf = point.clone().requires_grad_()
        loss = F.cross_entropy(network(leaf), y)
        (g,) = torch.autograd.grad(loss, leaf)
        return loss.item(), g / g.norm() if norm == "l2" else g.sign()

    for i in range(len(image)):
        x, y = image[i : i + 1], label[i : i + 1]
        marks = [0, 9, 17, 23, 28, 32, 35, 38, 40]
        points, values, eta = [way[0, i : i + 1]], [], 2 * eps
        best, best_point, risen, last_best, last_halved = -math.inf, None, 0, None, False
        for k in range(steps):
            value, direction = climb(points[k], y)
            torch.testing.assert_close(points[k], way[k, i : i + 1], rtol=0, atol=1e-7)
            risen += k > 0 and value > values[-1]
            values.append(value)
            if value > best:
                best, best_point = value, points[k]
            if k == 0:
                last_best = best
            elif k in marks:
                few = risen < rho * (k - marks[marks.index(k) - 1])
                stalled = not last_halved and best == last_best
                reasons.add((few, stalled))
                risen, last_best, last_halved = 0, best, few or stalled
                if last_halved:
                    eta, points[k], values[k] = eta / 2, best_point, best
                    direction = climb(best_point, y)[1]
            z = project(points[k] + eta * direction, x)
            if k > 0:
                z = points[k] + alpha * (z - points[k]) + (1 - alpha) * (points[k] - points[k - 1])
            points.append(project(z, x))
        torch.testing.assert_close(points[-1], way[-1, i : i + 1], rtol=0, atol=1e-7)
    expected = {(True, False)} if rho == 0.75 else {(False, True), (False, False)}
    assert expected <= reasons


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("steps", "restarts", "luck"), [(10, 1, 1), (50, 1, 0), (50, 2, 0)])
def test_auto_pgd_is_not_weaker_than_pgd(norm, steps, restarts, luck):
    """At no radius more samples stand; with 10 steps, too few for its schedule, one may, though not in all."""
    problems = [(*trained_problem(seed), (0.0, 1.0)) for seed in (0, 1)]
    for shape in SHAPES.values():
        network = smooth_network(shape, seed=len(shape))
        problems.append((network, *labelled_batch(network, shape, 48), None))
    by_pgd, by_auto = [], []
    for network, image, label, bounds in problems:
        for eps in (0.3, 0.5, 0.75) if norm == "l2" else (0.05, 0.08, 0.1):
            by_pgd.append(int(PGD(norm, steps, restarts, bounds=bounds)(network, image, label, eps).success.sum()))
            by_auto.append(int(APGD(norm, steps, restarts, bounds=bounds)(network, image, label, eps).success.sum()))
    assert sum(by_auto) >= sum(by_pgd)
    assert all(auto >= plain - luck for auto, plain in zip(by_auto, by_pgd, strict=True))
    assert sum(5 < fallen < 45 for fallen in by_auto) >= 5, "radii at which nothing or everything falls tell nothing"


def test_auto_pgd_breaks_a_linear_classifier_exactly_beyond_its_margin():
    network, image, label, distance = linear_problem(SHAPES[3], 3, 30.0)
    for objective in ("ce", "dlr"):
        attack = APGD("l2", 50, 3, objective=objective)
        assert attack(network, image, label, distance * 1.01).success.all()
        assert not attack(network, image, label, distance * 0.999).success.any()


def test_a_loss_of_ones_own_is_climbed():
    network, image, label, distance = linear_problem(SHAPES[1], 2, 1.0)

    def margin(logits, label):
        return -ClassificationCriterion().score(logits, label)

    attack = APGD("l2", 30, objective=None, loss=margin)
    assert attack(network, image, label, distance * 1.01).success.all()


# --- DLR


def test_dlr_equals_a_calculation_by_hand():
    logits = torch.tensor([[5.0, 3.0, 1.0, -2.0]]).repeat(4, 1)
    # (z_y - largest other) / (5 - 1): (5 - 3) / 4, (3 - 5) / 4, (1 - 5) / 4, (-2 - 5) / 4
    torch.testing.assert_close(dlr_loss(logits, torch.arange(4)), torch.tensor([-0.5, 0.5, 1.0, 1.75]))
    assert dlr_loss(logits.half(), torch.zeros(4, 1, dtype=torch.long)).tolist() == [-0.5] * 4


def test_dlr_is_the_same_for_shifted_and_scaled_logits():
    logits, label = torch.randn(20, 5, dtype=torch.float64), torch.randint(5, (20,))
    expected = dlr_loss(logits, label)
    for scale, shift in ((1e-3, 0.0), (1.0, -70.0), (1e4, 3.0)):
        torch.testing.assert_close(dlr_loss(logits * scale + shift, label), expected)
    assert torch.isfinite(dlr_loss(torch.zeros(2, 3), torch.tensor([0, 1]))).all()


def test_dlr_and_the_soft_logit_margin_break_a_network_whose_cross_entropy_has_no_gradient_left():
    network, image, label, distance = linear_problem(SHAPES[2], 3, 30.0)
    network, image, radius = network.float(), image.float(), distance.float() * 1.05

    def confident(batch):
        return network(batch) * 1e5

    leaf = image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(confident(leaf), label, reduction="sum"), leaf)
    sure = (gradient == 0).flatten(1).all(1)
    assert sure.sum() > 10
    assert APGD("l2", 40, 3, "dlr")(confident, image, label, radius).success.all()
    assert APGD("l2", 40, 3, "ce")(confident, image, label, radius).success.all()

    def cross_entropy(logits, label):
        return F.cross_entropy(logits, label, reduction="none")

    assert not APGD("l2", 40, 3, None, loss=cross_entropy)(confident, image, label, radius).success[sure].any()


@pytest.mark.parametrize("logits", [torch.zeros(2, 2), torch.zeros(2), torch.zeros(2, 3, 4, 4)])
def test_dlr_needs_three_classes(logits):
    with pytest.raises(ValueError, match=r"K >= 3 .*use 'ce'"):
        dlr_loss(logits, torch.zeros(2, dtype=torch.long))


def test_auto_pgd_on_two_classes_says_to_use_cross_entropy():
    network, image, label, _ = linear_problem(SHAPES[2], 2, 1.0)
    with pytest.raises(ValueError, match="use 'ce'"):
        APGD("l2", 5, objective="dlr")(network, image, label, 1.0)


# --- SPSA


@pytest.mark.parametrize("dims", SHAPES)
def test_spsas_estimate_points_along_autograds_gradient(dims):
    network = smooth_network(SHAPES[dims])
    image, label = labelled_batch(network, SHAPES[dims], 5)

    def value(probes, index):
        return F.cross_entropy(network(probes), label[index], reduction="none").detach()

    estimate = estimate_gradient(value, image, 2000, 1e-3, streams(range(5)), 512)
    leaf = image.clone().requires_grad_()
    (exact,) = torch.autograd.grad(F.cross_entropy(network(leaf), label, reduction="sum"), leaf)
    assert (F.cosine_similarity(estimate.flatten(1), exact.flatten(1)) > 0.95).all()
    torch.testing.assert_close(length(estimate, "l2"), length(exact, "l2"), rtol=0.1, atol=0)


def test_the_estimates_error_is_the_one_in_its_docstring():
    torch.manual_seed(0)
    size, samples = 30, 25
    slope = torch.randn(1, size, dtype=torch.float64)
    image = torch.zeros(3000, 1, size, dtype=torch.float64)
    estimate = estimate_gradient(
        lambda probes, _: (probes * slope).sum((1, 2)), image, samples, 0.1, torch.Generator().manual_seed(1), 10**6
    )
    error = (estimate - slope).pow(2).sum((1, 2)).mean() / slope.pow(2).sum()
    assert error == pytest.approx((size - 1) / samples, rel=0.05)
    assert (estimate.mean(0) - slope).abs().max() < 0.15


def test_spsas_estimate_is_the_same_however_few_probes_go_at_once():
    shown = []

    def value(probes, index):
        shown.append(len(probes))
        return probes.flatten(1).sin().sum(1) * (1 + index)

    image = torch.randn(3, 2, 5, dtype=torch.float64)
    together = estimate_gradient(value, image, 10, 0.01, streams(range(3)), 1000)
    assert shown == [60]
    for batch_size in (1, 4, 13):
        shown.clear()
        torch.testing.assert_close(estimate_gradient(value, image, 10, 0.01, streams(range(3)), batch_size), together)
        assert max(shown) <= batch_size
        assert sum(shown) == 60
    single = estimate_gradient(value, image[:1], 10, 0.01, streams([0]), 1000)
    torch.testing.assert_close(single, together[:1])


@pytest.mark.parametrize("norm", NORMS)
def test_spsa_breaks_a_linear_classifier_beyond_its_margin_only(norm):
    network, image, label, margins = two_classes()
    image, label, margin = image[:10], label[:10], margins[norm][:10]
    attack = SPSA(norm, 60, 64, learning_rate=0.05)
    assert attack(network, image, label, margin * 1.1).success.all()
    assert not attack(network, image, label, margin * 0.999).success.any()


def test_spsa_steps_as_torchs_adam_does_where_the_estimate_is_exact():
    """Of a parabola over images of one voxel symmetric differences are the derivative itself."""
    image, label = torch.tensor([[[0.3]], [[-0.7]]], dtype=torch.float64), torch.zeros(2, dtype=torch.long)
    recorder = Recorder(lambda batch: torch.cat([9 - batch[:, 0], torch.zeros_like(batch[:, 0])], 1))

    def parabola(logits, label):
        return -((logits[:, 0] - 8.5) ** 2)

    SPSA("l2", 30, 1, learning_rate=0.08, loss=parabola)(recorder, image, label, 100.0)
    iterates = torch.stack(recorder.shown[2::2])
    x = image.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], 0.08, maximize=True)
    for iterate in iterates:
        optimizer.zero_grad()
        (-((0.5 - x) ** 2)).sum().backward()
        optimizer.step()
        torch.testing.assert_close(iterate, x.detach(), rtol=0, atol=1e-6)
    assert len(iterates) == 30


def test_spsa_counts_every_image_that_the_network_is_shown():
    """A second channel of value 10 i tells whose image the network is looking at."""
    torch.manual_seed(5)
    weight = torch.randn(12, dtype=torch.float64)
    image = torch.cat([torch.randn(8, 1, 12), 10 * torch.arange(8.0).view(8, 1, 1).repeat(1, 1, 12)], 1).double()
    counts = torch.zeros(8, dtype=torch.long)

    def counting(batch):
        counts.add_(torch.bincount((batch[:, 1].mean(1) / 10).round().long(), minlength=8))
        difference = batch[:, 0] @ weight
        return torch.stack([difference, -difference], 1)

    label = (image[:, 0] @ weight < 0).long()
    label[3] = 1 - label[3]
    margin = (image[:, 0] @ weight).abs() / weight.abs().sum()
    eps = torch.where(torch.arange(8) < 6, margin * 2, margin / 2)
    eps[4] = 0
    result = SPSA("linf", 30, 16, learning_rate=0.1, batch_size=50)(counting, image, label, eps)
    assert result.queries.dtype == torch.int64
    assert torch.equal(result.queries, counts)
    assert result.queries[[3, 4]].tolist() == [1, 1]
    assert result.queries[[6, 7]].tolist() == [1 + 30 * 33] * 2
    assert ((result.queries - 1) % 33 == 0).all()
    assert (result.queries[[0, 1, 2, 5]] < 1 + 30 * 33).all()
    assert result.success.tolist() == [True] * 4 + [False, True, False, False]
    assert PGD("linf", 2)(counting, image, label, eps).queries is None


def test_spsa_never_asks_for_a_gradient():
    class Opaque(torch.autograd.Function):
        @staticmethod
        def forward(ctx, logits):
            return logits.clone()

        @staticmethod
        def backward(ctx, gradient):
            raise AssertionError("a gradient was asked for")

    network = smooth_network(SHAPES[2])
    image, label = labelled_batch(network, SHAPES[2], 4)

    def opaque(batch):
        assert not torch.is_grad_enabled()
        return Opaque.apply(network(batch))

    assert SPSA("linf", 20, 32)(opaque, image, label, 0.3).success.any()
    by_loss = SPSA("linf", 20, 32, loss=ClassificationCriterion().loss)(opaque, image, label, 0.3)
    assert by_loss.success.any()
    with pytest.raises(AssertionError, match="a gradient was asked for"):
        PGD("linf", 2)(lambda batch: Opaque.apply(network(batch)), image, label, 0.3)


# --- all of them


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    "attack",
    [
        lambda norm: APGD(norm, 12, 2),
        lambda norm: APGD(norm, 12, 2, "dlr"),
        lambda norm: SPSA(norm, 6, 10, learning_rate=0.02),
        lambda norm: DDN(15),
    ],
    ids=["ce", "dlr", "spsa", "ddn"],
)
def test_a_sample_in_a_batch_ends_as_it_does_alone(attack, norm):
    network = smooth_network(SHAPES[2])
    image, label = labelled_batch(network, SHAPES[2])
    label[3] = (label[3] + 1) % 3
    eps = torch.linspace(0.05, 1.0, len(image), dtype=torch.float64) / (1 if norm == "l2" else 4)
    together = assert_alone_as_in_the_batch(attack(norm), network, image, label, eps, atol=1e-9)
    assert 1 < together.success.sum() < len(image)


@st.composite
def problems(draw):
    shape = (draw(st.integers(1, 2)), *draw(st.lists(st.integers(2, 4), min_size=1, max_size=3)))
    batch = draw(st.integers(1, 4))
    eps = draw(st.lists(st.sampled_from([0.0, 1e-6, 0.01, 0.3]) | st.floats(0, 3), min_size=batch, max_size=batch))
    return shape, eps, draw(st.sampled_from(NORMS)), draw(st.sampled_from([None, (0.0, 1.0)])), draw(st.integers(0, 99))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(problems())
def test_every_attack_stays_inside_ball_and_bounds(problem):
    shape, eps, norm, bounds, seed = problem
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 8), nn.ReLU(), nn.Linear(8, 3)).double()
    image, label = torch.rand(len(eps), *shape, dtype=torch.float64), torch.randint(3, (len(eps),))
    radius = torch.tensor(eps, dtype=torch.float64)
    attacks = [
        PGD(norm, 4, bounds=bounds),
        FGSM(norm, bounds=bounds),
        IFGSM(norm, 3, bounds=bounds),
        BoundaryPGD(norm, 4, 4, bounds=bounds),
        BoundaryPGD(norm, 4, 4, start="ball", bounds=bounds, delta=0.1, restarts=2),
        APGD(norm, 6, 2, bounds=bounds),
        APGD(norm, 6, objective="dlr", bounds=bounds),
        SPSA(norm, 3, 4, learning_rate=0.3, bounds=bounds),
        UniformNoise(norm, 3, bounds=bounds),
    ]
    for attack in [*attacks, DDN(8, bounds=bounds)] if norm == "l2" else attacks:
        before = image.clone()
        result = attack(network, image, label, radius)
        name = type(attack).__name__
        assert torch.equal(image, before), name
        assert result.image.shape == image.shape, name
        assert (length(result.image - image, norm) <= radius * (1 + 1e-9) + 1e-12).all(), name
        torch.testing.assert_close(result.distance, length(result.image - image, norm))
        if bounds is not None:
            assert result.image.min() >= bounds[0], name
            assert result.image.max() <= bounds[1], name
        wrong = network(result.image).argmax(1) != label
        if name != "BoundaryPGD":
            assert torch.equal(result.success, wrong), name
        assert torch.equal(result.clean_correct, network(image).argmax(1) == label), name
    along = AdaptiveNormPGD(0.5, norm, 4, 4, bounds=bounds)(network, image, label, radius)
    assert (length(along.image - image, norm) <= 0.5 * (1 + 1e-9)).all()
    assert (network(along.image).argmax(1) == label)[along.clean_correct].all()
    if bounds is not None:
        assert bounds[0] <= along.image.min()
        assert along.image.max() <= bounds[1]


@pytest.mark.parametrize("spatial", [(8, 8), (8, 8, 4)])
@pytest.mark.parametrize("threshold", [0.85, "relative:0.9"])
def test_segmentations_are_attacked_by_auto_pgd_and_spsa(spatial, threshold):
    network, image, label = segmentation_problem(spatial, 4)
    criterion = DiceCriterion(threshold)
    clean = criterion.score(network(image), label)
    limit = clean * 0.9 if threshold == "relative:0.9" else torch.full_like(clean, 0.85)
    assert (clean >= limit).all()
    for attack in (
        APGD("linf", 15, criterion=criterion),
        APGD("linf", 15, objective=None, loss=SegmentationLoss(1, 0), criterion=criterion),
        SPSA("linf", 15, 60, delta=0.3, learning_rate=0.1, criterion=criterion),
        SPSA("linf", 15, 60, delta=0.1, learning_rate=0.1, criterion=criterion, loss=SegmentationLoss()),
    ):
        eps = torch.tensor([0.05, 0.4, 0.6, 0.8], dtype=torch.float64)
        together = attack(network, image, label, eps, streams(range(4)))
        score = criterion.score(network(together.image), label)
        assert (score <= clean).all()
        assert torch.equal(together.success, score < limit)
        assert together.success[3]
        assert (length(together.image - image, "linf") <= eps + 1e-9).all()
        alone = attack(network, image[1:2], label[1:2], eps[1:2], streams([1]))
        torch.testing.assert_close(alone.image[0], together.image[1], rtol=0, atol=1e-9)


def test_ddn_finds_the_near_side_of_a_dice_threshold():
    network, image, label = segmentation_problem((8, 8), 4)
    criterion = DiceCriterion(0.85)
    near = DDN(60, criterion=criterion)(network, image, label, 20.0)
    assert near.success.all()
    assert (criterion.score(network(near.image), label) < 0.85).all()
    far = PGD("l2", 60, criterion=criterion)
    assert not far(network, image, label, near.distance * 0.7).success.any()


class Offset(Criterion):
    """Right while the first logit is above a limit of each sample's own, which ``select`` narrows."""

    def __init__(self, limits: torch.Tensor) -> None:
        self.limits = limits

    def score(self, logits, label):
        assert len(self.limits) == len(logits)
        return logits[:, 0] - self.limits

    def decide(self, score):
        return score > 0

    def loss(self, logits, label):
        return self.limits * -self.score(logits, label)

    def select(self, index):
        return Offset(self.limits[index])


def test_a_narrowed_criterion_uses_its_own_rows_in_the_loss():
    network, image, _, _ = linear_problem(SHAPES[2], 2, 1.0)
    label = torch.zeros(16, dtype=torch.long)
    network[1].bias.data[0] = 0.8
    value = network(image)[:, 0].detach()
    limits = value - torch.linspace(0.1, 1.6, 16)
    # The logit's slope is 1: with ε = 1 those within 1 of the limit fall, if the limit's sign sends them that way.
    expected = (limits > 0) & (value - limits < 1)
    assert 2 < expected.sum() < 7
    criterion = Offset(limits)
    for attack in (
        PGD("l2", 9, random_start=False, criterion=criterion),
        WorstOf([PGD("l2", 9, 1, random_start=False, criterion=criterion) for _ in range(2)]),
    ):
        assert torch.equal(attack(network, image, label, 1.0).success, expected)


@pytest.mark.parametrize(
    "attack",
    [PGD("l2", 20), APGD("l2", 20), SPSA("l2", 60, 64, learning_rate=0.05), DDN(5)],
    ids=lambda a: type(a).__name__,
)
def test_an_error_names_the_sample_though_others_have_left_the_batch(attack):
    """A second channel tells whose image it is; the network fails on sample 11 once it is alone."""
    network, image, label, distance = linear_problem(SHAPES[2], 2, 1.0)
    image = torch.cat([image, 10 * torch.arange(16.0).view(16, 1, 1, 1).expand_as(image)], 1)
    stands = torch.arange(16) == 11
    eps = torch.where(stands, 0.5 * distance, 0.0 if isinstance(attack, DDN) else 3 * distance)

    def failing(batch):
        whose = (batch[:, 1].mean((1, 2)) / 10).round()
        broken = (whose == 11) & (whose == 11).all()
        return torch.where(broken[:, None], math.nan, network(batch[:, :1]))

    with pytest.raises(SampleError, match=r"Sample 11 of the batch has a (prediction|loss) with NaN"):
        attack(failing, image, label, eps)


@pytest.mark.parametrize(
    ("kind", "change", "sentence"),
    [
        (PGD, {"norm": "l1"}, "Unknown norm 'l1', expected 'l2' or 'linf'"),
        (PGD, {"steps": 0}, "Got steps 0"),
        (PGD, {"restarts": 0}, "Got restarts 0"),
        (PGD, {"alpha": 0.0}, "Got alpha 0"),
        (PGD, {"bounds": (1, 0)}, "Got bounds"),
        (PGD, {"early_stop": False}, "Got restarts 2 with early_stop=False, expected 1"),
        (MinimumNorm, {"steps": 0}, "Got steps 0"),
        (MinimumNorm, {"rounds": -1}, "Got rounds -1"),
        (DDN, {"steps": 0}, "Got steps 0"),
        (DDN, {"gamma": 0.0}, r"Got gamma 0.0, expected a number in \(0, 1\)"),
        (DDN, {"gamma": 1.0}, "Got gamma 1"),
        (DDN, {"init_eps": 0.0}, "Got init_eps 0.0, expected a finite number > 0"),
        (DDN, {"init_eps": math.inf}, "Got init_eps inf"),
        (APGD, {"norm": "l1"}, "Unknown norm 'l1'"),
        (APGD, {"restarts": 0}, "Got restarts 0"),
        (APGD, {"objective": "margin"}, "Got objective 'margin', expected 'ce', 'dlr' or None"),
        (APGD, {"loss": dlr_loss}, "expected one of them, the other None"),
        (APGD, {"objective": None}, "expected one of them, the other None"),
        (APGD, {"rho": 0.0}, r"Got rho 0.0, expected a number in \(0, 1\]"),
        (APGD, {"momentum": 1.5}, "Got momentum 1.5"),
        (SPSA, {"steps": 1.5}, "Got steps 1.5"),
        (SPSA, {"samples": 0}, "Got samples 0"),
        (SPSA, {"delta": 0.0}, "Got delta 0"),
        (SPSA, {"learning_rate": -1.0}, "Got learning_rate -1"),
        (SPSA, {"batch_size": 0}, "Got batch_size 0"),
        (SPSA, {"bounds": (1, 0)}, "Got bounds"),
    ],
)
def test_bad_settings_are_refused(kind, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        kind(**change)


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("pgd100x2", PGD, {"steps": 100, "restarts": 2}),
        ("pgd40", PGD, {"steps": 40, "restarts": 1}),
        ("ifgsm7", IFGSM, {"steps": 7}),
        ("fgsm", FGSM, {"steps": 1}),
        ("noise12", UniformNoise, {"draws": 12}),
        ("ddn100", DDN, {"steps": 100}),
        ("apgd100", APGD, {"steps": 100, "restarts": 1, "objective": "ce", "loss": None}),
        ("apgd100-ce", APGD, {"steps": 100, "restarts": 1, "objective": "ce", "loss": None}),
        ("apgd100x2-dlr", APGD, {"steps": 100, "restarts": 2, "objective": "dlr", "loss": dlr_loss}),
        ("spsa100x128", SPSA, {"steps": 100, "samples": 128}),
    ],
)
def test_the_attacks_have_short_names(name, kind, expected):
    criterion = BinaryCriterion()
    attack = attack_from_name(name, "l2", (0, 1), criterion)
    assert type(attack) is kind
    assert (attack.norm.name, attack.bounds, attack.criterion) == ("l2", (0.0, 1.0), criterion)
    assert {key: getattr(attack, key) for key in expected} == expected


def test_names_joined_by_plus_are_several_attacks_and_may_say_a_segmentations_loss():
    several: Any = attack_from_name("apgd50-ce+apgd50-dlr+pgd20+spsa10x16", "linf")
    assert [(type(a), a.norm.name) for a in several.attacks] == [(kind, "linf") for kind in (APGD, APGD, PGD, SPSA)]
    for family in ("pgd", "apgd"):
        name = f"{family}100x2+{family}50-dice+{family}7x3-ce"
        on_maps: Any = attack_from_name(name, "l2", None, DiceCriterion("lowest", sigmoid=True))
        assert [(a.steps, a.restarts) for a in on_maps.attacks] == [(100, 2), (50, 1), (7, 3)]
        weights = [a.loss and (a.loss.dice_weight, a.loss.ce_weight, a.loss.sigmoid) for a in on_maps.attacks]
        assert weights == [None, (1.0, 0.0, True), (0.0, 1.0, True)]


def test_bad_names_are_refused():
    with pytest.raises(ValueError, match="Got norm 'linf' for the attack ddn100, expected 'l2'"):
        attack_from_name("ddn100", "linf")
    for name in ("apgd10-dice", "pgd10-dice"):
        with pytest.raises(ValueError, match="for segmentations only"):
            attack_from_name(name, "l2", None, ClassificationCriterion())
    for bad in (
        *("pgd", "pgdx2", "pgd5-dlr", "apgd-ce", "apgd5-margin", "cw10", "fgsm3", "noise5x2", "noise5-ce"),
        *("ddn", "ddn5x2", "ddn5-ce", "spsa100", "spsa10x5-ce", "spsax5"),
    ):
        with pytest.raises(ValueError, match=r"Unknown attack .*, expected a name such as pgd100x2, apgd100x2-dlr"):
            attack_from_name(bad, "l2", None, DiceCriterion())
