"""An honest network passes every check; one that hides its gradients fails at least one, for each way of hiding."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from monai_ima.attacks import PGD
from monai_ima.criteria import DiceCriterion
from monai_ima.evaluation import EvaluationBatch, GradientMaskingChecks, gradient_masking
from monai_ima.inferers import AveragedInferer
from monai_ima.utils.predictor import Predictor

SIDE, CLASSES, COUNT = 8, 3, 60


def batch(
    network: nn.Module, image: torch.Tensor, label: torch.Tensor, inferer=lambda x, net: net(x)
) -> EvaluationBatch:
    ids = [f"s{k}" for k in range(len(image))]
    return EvaluationBatch(Predictor(inferer, network, len(image)), image, label, ids, [None] * len(ids))


@pytest.fixture(scope="module")
def problem():
    """Images of three blurred patterns, and a network trained to tell them apart."""
    generator = torch.Generator().manual_seed(0)
    patterns = F.avg_pool2d(torch.rand(CLASSES, 1, SIDE + 2, SIDE + 2, generator=generator), 3, 1)
    patterns = (patterns - patterns.mean((1, 2, 3), keepdim=True)) * 2 + 0.5
    label = torch.arange(600) % CLASSES
    image = (patterns[label] + 0.1 * torch.randn(600, 1, SIDE, SIDE, generator=generator)).clamp(0, 1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 64, CLASSES))
    optimizer = torch.optim.Adam(network.parameters(), 0.003)
    for _ in range(80):
        optimizer.zero_grad()
        F.cross_entropy(network(image[COUNT:]), label[COUNT:]).backward()
        optimizer.step()
    network.requires_grad_(False)
    assert (network(image[:COUNT]).argmax(1) == label[:COUNT]).float().mean() > 0.95
    return network, image[:COUNT], label[:COUNT]


@pytest.fixture(autouse=True)
def _fewer_steps(monkeypatch):
    """Small networks need half of the steps and restarts."""
    monkeypatch.setattr(gradient_masking, "STEPS", (10, 25, 50, 100))
    monkeypatch.setattr(gradient_masking, "RESTARTS", (1, 2, 5))


def checks(network, image, label, norm="l2", eps=0.8, inferer=lambda x, net: net(x), passes=1, attack=None):
    attack = attack or PGD(norm, 25, 2, bounds=(0, 1))
    return GradientMaskingChecks(network, [batch(network, image, label, inferer)], [attack], eps, passes)


def failed(found) -> set[str]:
    return {check.name for check in found if check.status == "failed"}


class Rounded(nn.Module):
    """Grey levels are rounded: no gradient comes back through it."""

    def __init__(self, network, steps=20):
        super().__init__()
        self.network, self.steps = network, steps

    def forward(self, image):
        return self.network((image * self.steps).round() / self.steps)


class Rippled(nn.Module):
    """A fast ripple on the intensities turns the gradient this way and that."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, image):
        return self.network(image + 0.02 * torch.sin(image * 2000))


class Confident(nn.Module):
    """Huge logits: their softmax is exactly 0 or 1, and cross-entropy has no gradient left."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, image):
        return 1e4 * self.network(image)


class Saturated(Confident):
    """Probabilities that are exactly 0 or 1 in place of logits."""

    def forward(self, image):
        return super().forward(image).softmax(dim=1)


class Resized(nn.Module):
    """Every pass sees the image at another size and place."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, image):
        side = int(torch.randint(SIDE - 3, SIDE + 1, ()))
        small = F.interpolate(image, (side, side), mode="bilinear", antialias=True)
        left = int(torch.randint(0, SIDE - side + 1, ()))
        top = int(torch.randint(0, SIDE - side + 1, ()))
        return self.network(F.pad(small, (left, SIDE - side - left, top, SIDE - side - top)))


@pytest.mark.parametrize(("norm", "eps"), [("l2", 0.8), ("linf", 0.12)])
def test_an_honest_network_passes_all(problem, norm, eps):
    network, image, label = problem
    found = checks(network, image, label, norm, eps).run(network, progress=False)
    assert len(found) == 11
    assert {check.status for check in found} == {"passed"}
    by_name = {check.name: check for check in found}
    assert by_name["large_eps"].numbers["epsilon"] == pytest.approx(0.5 * (SIDE if norm == "l2" else 1))
    assert by_name["large_eps"].numbers["score"] == 0
    assert 0.2 < by_name["more_steps"].numbers["attacks used"] < 0.9
    assert (
        by_name["uniform_noise"].numbers["100 draws of uniform noise"] > by_name["more_steps"].numbers["attacks used"]
    )
    assert by_name["randomness"].numbers["largest difference of two passes"] == 0
    assert all(math.isfinite(value) for check in found for value in check.numbers.values())
    correct = int((network(image).argmax(1) == label).sum())
    used = {check.name: check.samples for check in found}
    assert used == {
        **dict.fromkeys(used, COUNT),
        "batch_independence": 8,
        "black_box": 20,
        "gradients": correct,
        "loss_surface": correct,
    }


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (Rounded, {"gradients", "large_eps", "black_box", "loss_surface"}),
        (Rippled, {"loss_surface"}),
        (Saturated, {"logits", "gradients", "large_eps"}),
        (Resized, {"batch_independence", "randomness"}),
    ],
)
def test_a_masked_network_fails(problem, mask, expected):
    network, image, label = problem
    masked = mask(network)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        found = checks(masked, image, label).run(progress=False)
    assert expected <= failed(found)


def test_huge_logits_mask_nothing(problem):
    network, image, label = problem
    confident = Confident(network)
    leaf = image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(confident(leaf), label, reduction="sum"), leaf)
    assert (gradient == 0).flatten(1).all(dim=1).float().mean() > 0.5
    assert failed(checks(confident, image, label).run(network, progress=False)) == set()


def test_noise_from_the_network_beneath_shows_a_masked_one(problem):
    network, image, label = problem
    own = checks(Rounded(network), image, label)
    assert own.transfer(None).status == "not run"
    found = own.transfer(network)
    assert found.status == "failed"
    assert found.numbers["made for another model"] < found.numbers["attacks used"] - 0.1
    assert checks(network, image, label).transfer(Rounded(network)).status == "passed"


def test_averaged_passes_are_what_handles_randomness(problem):
    network, image, label = problem
    with torch.random.fork_rng():
        torch.manual_seed(2)
        averaged = AveragedInferer(lambda x, net: net(x), 16)
        found = checks(Resized(network), image, label, inferer=averaged, passes=16).randomness()
    assert found.status == "passed"
    assert found.numbers["largest difference of two passes"] > 0
    assert "mean of 16 passes" in found.summary


def test_averaged_logits_are_the_mean_of_the_passes():
    calls = iter(torch.arange(12.0).view(4, 1, 3))
    averaged = AveragedInferer(lambda x, net: (next(calls), "another output"), 4)
    assert averaged(torch.zeros(1), nn.Identity()).tolist() == [[4.5, 5.5, 6.5]]
    with pytest.raises(ValueError, match="Got passes 0"):
        AveragedInferer(lambda x, net: x, 0)


def test_dropout_is_switched_off_and_counted(problem):
    network, image, label = problem
    dropped = nn.Sequential(nn.Dropout(0.5), network).train()
    found = {check.name: check for check in checks(dropped, image, label).run(progress=False)}
    assert found["randomness"].status == "passed"
    assert found["randomness"].numbers["random layers"] == 1
    assert dropped.training


def test_an_attack_that_is_too_weak_is_found_out(problem):
    network, image, label = problem
    weak = checks(network, image, label, attack=PGD("l2", 1, 1, alpha=0.01, bounds=(0, 1)))
    assert {"more_steps", "more_restarts", "black_box"} <= failed(weak.run(progress=False))


class Threshold(nn.Module):
    """Voxels above 0 are foreground."""

    def forward(self, image):
        return torch.cat([-0.3 * image, 0.3 * image], dim=1)


def scans(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    image = torch.randn(count, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    return image, (image > 0).float()


def scan_checks(network: nn.Module, count: int, attack: PGD, eps: float = 6.0) -> GradientMaskingChecks:
    return GradientMaskingChecks(network, [batch(network, *scans(count))], [attack], eps)


LOWEST = DiceCriterion("lowest")


def test_a_segmentation_is_looked_at_through_its_dice():
    found = {
        check.name: check for check in scan_checks(Threshold(), 3, PGD("l2", 50, criterion=LOWEST)).run(progress=False)
    }
    assert {name for name, check in found.items() if check.status != "passed"} == {"transfer"}
    assert {check.samples for check in found.values()} == {3, None}
    assert 0.1 < found["more_steps"].numbers["attacks used"] < 0.9
    masked = scan_checks(Rounded(Threshold(), 4), 3, PGD("l2", 50, criterion=LOWEST))
    assert masked.gradients().status == masked.loss_surface().status == "failed"


def test_points_of_dice_that_a_weak_attack_leaves_are_not_taken_for_the_chance_of_one_scan():
    weak = scan_checks(Threshold(), 4, PGD("l2", 1, 1, alpha=0.5, random_start=False, criterion=LOWEST), 3.0)
    found = weak.more_steps()
    assert found.status == "failed"
    gap = found.numbers["attacks used"] - found.numbers["100 steps"]
    assert 0.02 < gap < 1.5 / 4, "less than a scan that falls from 1 to 0"


COMPARING = ("more_steps", "more_restarts", "large_eps", "black_box", "uniform_noise", "gradients", "loss_surface")


@pytest.mark.parametrize("count", [1, 9])
def test_no_check_passes_on_fewer_samples_than_it_needs(problem, count):
    network, image, label = problem
    correct = (network(image).argmax(1) == label).nonzero().squeeze(1)[:count]
    found = {
        check.name: check for check in checks(network, image[correct], label[correct]).run(network, progress=False)
    }
    for name in (*COMPARING, "transfer"):
        assert found[name].status == "not run", name
        assert found[name].samples is None
        assert found[name].summary.startswith(f"Needs 10 correctly classified samples, got {count}: ")
    assert found["logits"].status == found["randomness"].status == "passed"
    assert found["batch_independence"].status == ("not run" if count == 1 else "passed")


def test_ten_correct_samples_are_enough(problem):
    network, image, label = problem
    correct = (network(image).argmax(1) == label).nonzero().squeeze(1)[:10]
    found = checks(network, image[correct], label[correct])
    assert {getattr(found, name)().status for name in ("large_eps", "gradients", "loss_surface")} == {"passed"}


def test_samples_that_are_wrong_without_an_attack_do_not_count(problem):
    network, image, _ = problem
    wrong = (network(image).argmax(1) + 1) % CLASSES
    found = checks(network, image, wrong)
    for name in COMPARING:
        assert getattr(found, name)().summary.startswith("Needs 10 correctly classified samples, got 0: "), name


def test_fewer_than_three_scans_are_too_few():
    few = scan_checks(Threshold(), 2, PGD("l2", 5, criterion=LOWEST))
    for name in COMPARING:
        found = getattr(few, name)()
        assert found.status == "not run"
        assert found.summary.startswith("Needs 3 scans that are not missed altogether, got 2: ")
    assert few.batch_independence().status == few.logits().status == "passed"


def test_bad_settings_are_refused(problem):
    network, image, label = problem
    with pytest.raises(ValueError, match="0 batches and 1 attacks"):
        GradientMaskingChecks(network, [], [PGD()], 1.0)
    with pytest.raises(ValueError, match="Got eps 0"):
        checks(network, image, label, eps=0)
