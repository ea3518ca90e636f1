"""Independent verification: third-party attacks and a brute-force search against closed forms."""

from __future__ import annotations

import itertools
import random
import sys

import numpy as np
import pytest
import torch
from torch import nn

from monai_ima.criteria import ClassificationCriterion, DiceCriterion
from monai_ima.evaluation import brute_force, third_party
from monai_ima.evaluation.brute_force import verify_segmentation
from monai_ima.evaluation.third_party import verify_classifier
from monai_ima.results.records import VerificationRow

WIDE = (-10.0, 10.0)


@pytest.fixture
def _other_tools():
    pytest.importorskip("art", reason="the Adversarial Robustness Toolbox is not installed (extra crosscheck)")
    pytest.importorskip("foolbox", reason="foolbox is not installed (extra crosscheck)")


class Linear(nn.Module):
    """Logits ``scale (W x + b)`` of the flattened image; when asked with a gradient that points the other way."""

    def __init__(self, pixels: int, classes: int, scale: float = 1.0, misleading: bool = False) -> None:
        super().__init__()
        self.layer = nn.Linear(pixels, classes)
        self.scale, self.misleading = scale, misleading
        draws = torch.Generator().manual_seed(3)
        with torch.no_grad():
            self.layer.weight.copy_(torch.randn(classes, pixels, generator=draws))
            self.layer.bias.copy_(0.1 * torch.randn(classes, generator=draws))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        flat = image.flatten(1)
        return self.scale * self.layer(2 * flat.detach() - flat if self.misleading else flat)


def distances(network: Linear, image: torch.Tensor, label: torch.Tensor, norm: str) -> torch.Tensor:
    """Of each image to the nearest other class: ``min_j (z_y - z_j) / ‖w_y - w_j‖`` (dual norm), < 0 when wrong."""
    weight, bias = network.layer.weight.detach().double(), network.layer.bias.detach().double()
    logits = image.flatten(1).double() @ weight.T + bias
    order = 2 if norm == "l2" else 1
    nearest = []
    for row, y in enumerate(label.tolist()):
        others = [j for j in range(len(bias)) if j != y]
        nearest.append(min(float(logits[row, y] - logits[row, j]) / gap(weight, y, j, order) for j in others))
    return torch.tensor(nearest)


def gap(weight: torch.Tensor, one: int, other: int, order: int) -> float:
    return float(torch.linalg.vector_norm(weight[one] - weight[other], ord=order))


def samples(network: Linear, count: int, shape: tuple[int, ...], norm: str) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Images, labels of which every tenth is wrong, and an ε in the widest gap near the median distance."""
    image = torch.randn(count, *shape, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        label = network(image).argmax(dim=1)
    label[::10] = (label[::10] + 1) % network.layer.out_features
    found = distances(network, image, label, norm).clamp_min(0).sort().values
    middle = found[count // 3 : 2 * count // 3]
    widest = int((middle[1:] - middle[:-1]).argmax())
    return image, label, float(middle[widest] + middle[widest + 1]) / 2


@pytest.mark.usefixtures("_other_tools")
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_all_find_the_closed_form_of_a_linear_classifier(norm, classes):
    network = Linear(6, classes)
    image, label, eps = samples(network, 40, (1, 6), norm)
    expected = float((distances(network, image, label, norm) > eps).double().mean())
    rows = verify_classifier(network, image, label, norm, eps, WIDE, classes)
    assert [row.by.split()[0] for row in rows] == ["ART", "ART", "foolbox"]
    assert "AutoAttack without " + ("APGD-DLR and Square" if classes == 2 else "Square") in rows[0].by
    assert 0.3 < expected < 0.7
    for row in rows:
        assert (row.theirs, row.ours, row.agrees) == (pytest.approx(expected), pytest.approx(expected), True)


@pytest.mark.usefixtures("_other_tools")
def test_gradients_that_mislead_show_as_a_disagreement():
    """Steepest ascent goes away from the boundary, but Square needs no gradient."""
    network = Linear(256, 3, misleading=True)
    image = torch.rand(200, 1, 16, 16, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        label = network(image).argmax(dim=1)
    far = distances(network, image, label, "linf")
    rows = far.argsort()[-10:]
    image, label, eps = image[rows], label[rows], 2 * float(far.max())
    (row,) = verify_classifier(network, image, label, "linf", eps, (0.0, 1.0), 3, ["art-autoattack"])
    assert row.theirs <= 0.2
    assert row.ours >= row.theirs + 0.3
    assert not row.agrees


@pytest.mark.usefixtures("_other_tools")
def test_ours_being_stronger_agrees():
    """Logits so far apart that cross-entropy is 0 in float32 stop foolbox; the difference of logits ratio does not."""
    network = Linear(6, 3, scale=1e4)
    image, label, eps = samples(network, 40, (1, 6), "linf")
    expected = float((distances(network, image, label, "linf") > eps).double().mean())
    (row,) = verify_classifier(network, image, label, "linf", eps, WIDE, 3, ["foolbox-pgd"])
    assert row.ours == pytest.approx(expected)
    assert row.theirs > expected + 0.1
    assert row.agrees


@pytest.mark.usefixtures("_other_tools")
def test_bounds_none_limits_nobody():
    network = Linear(6, 3)
    image, label, eps = samples(network, 40, (1, 6), "linf")
    expected = float((distances(network, image, label, "linf") > eps).double().mean())
    for row in verify_classifier(network, image, label, "linf", eps, None, 3, ["art-autopgd", "foolbox-pgd"]):
        assert (row.theirs, row.ours) == (pytest.approx(expected), pytest.approx(expected))


@pytest.mark.usefixtures("_other_tools")
@pytest.mark.parametrize("far", [0.0, 1.01, float("nan")])
def test_images_outside_the_ball_do_not_count(monkeypatch, far):
    """A tool that returns the far side of the ball: at 1.01 ε, though turned, no image counts."""
    network = Linear(6, 3)
    image, label, eps = samples(network, 40, (1, 6), "linf")
    limits = (-20.0, 20.0)

    def cheat(task):
        best = torch.zeros_like(task.image)
        for row in range(len(image)):
            others = [j for j in range(3) if j != label[row]]
            weight = network.layer.weight.detach().double()
            logits = image[row].flatten().double() @ weight.T + network.layer.bias.detach().double()
            j = min(others, key=lambda j: float(logits[label[row]] - logits[j]) / gap(weight, int(label[row]), j, 1))
            best[row] = (weight[j] - weight[label[row]]).sign().view(1, 6)
        return "cheat", task.image + (1.0 if far == 0 else far) * task.eps * best

    monkeypatch.setitem(third_party.CLASSIFIER_ATTACKS, "cheat", cheat)
    (row,) = verify_classifier(network, image, label, "linf", eps, limits, 3, ["cheat"])
    found = distances(network, image, label, "linf")
    expected = (found > eps) if far == 0 else (found > 0)
    assert row.theirs == pytest.approx(float(expected.double().mean()))


@pytest.mark.usefixtures("_other_tools")
def test_the_networks_state_and_the_random_states_stay():
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(6), nn.Dropout(), nn.Linear(6, 3)).train()
    network[3].weight.grad = torch.ones(3, 6)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    image = torch.rand(4, 1, 6)
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    verify_classifier(network, image, torch.tensor([0, 1, 2, 0]), "l2", 0.1, (0, 1), 3)
    assert all(module.training for module in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert torch.equal(network[3].weight.grad, torch.ones(3, 6))
    assert network[3].bias.grad is None
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert random.getstate() == states[0]
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])


@pytest.mark.usefixtures("_other_tools")
def test_the_same_seed_gives_the_same_rows():
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 3))
    image = torch.rand(30, 1, 6)
    label = network(image).argmax(dim=1)
    arguments = (image, label[:, None], "l2", 0.1, (0, 1), 3, ["art-autopgd", "foolbox-pgd"])
    one = verify_classifier(network, *arguments)
    two = verify_classifier(lambda x: (network(x), None), *arguments)
    assert one == two


def test_a_missing_extra_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "foolbox", None)
    with pytest.raises(ImportError, match=r"pip install 'monai-ima\[crosscheck\]'"):
        verify_classifier(Linear(6, 3), torch.zeros(1, 1, 6), torch.tensor([0]), "l2", 0.1, None, 3)


def test_a_row_disagrees_only_when_ours_is_above_by_more_than_a_point():
    assert VerificationRow.compare("x", 0.50, 0.51).agrees
    assert not VerificationRow.compare("x", 0.50, 0.511).agrees
    assert VerificationRow.compare("x", 0.90, 0.1).agrees
    row = VerificationRow.compare("x", 0.5, 0.75)
    assert row.model_dump() == {"by": "x", "theirs": 0.5, "ours": 0.75, "agrees": False}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attacks": ["square"]}, "Unknown attack 'square', expected one of art-autoattack"),
        ({"norm": "l1"}, "Unknown norm 'l1'"),
        ({"eps": 0.0}, "Got eps 0.0, expected a finite number > 0"),
        ({"bounds": (1, 0)}, "Got bounds"),
        (
            {"bounds": (0, 0.5)},
            "Sample 1 of the batch has intensities 1 to 1, expected them inside the bounds 0 to 0.5",
        ),
        ({"num_classes": 1}, "Got num_classes 1, expected an integer >= 2"),
        ({"ours": 1.5}, r"Got ours 1\.5, expected a number in \[0, 1\]"),
        ({"num_classes": 4}, r"returned shape \(1, 3\) for one image, expected logits \(1, 4\)"),
        ({"labels": torch.tensor([0, 3])}, r"Sample 1 of the batch has label 3, expected a class in 0\.\.2"),
        ({"labels": torch.tensor([0.0, 0.5])}, r"Sample 1 of the batch has label 0\.5, expected a class in 0\.\.2"),
        ({"labels": torch.tensor([0])}, "Got labels of shape .1,. and type torch.int64 for 2 images"),
        ({"images": torch.zeros(2, 6)}, "expected float32 or float64"),
        ({"images": torch.zeros(2, 1, 6, dtype=torch.float16)}, "expected float32 or float64"),
        ({"images": torch.full((2, 1, 6), torch.inf)}, "Sample 0 of the batch has an image with NaN or infinity"),
    ],
)
def test_wrong_arguments_are_named(changes, message):
    pytest.importorskip("art")
    image = torch.zeros(2, 1, 6)
    image[1] = 1
    arguments = {"images": image, "labels": torch.tensor([0, 1]), "norm": "l2", "eps": 0.1, "bounds": (0, 1)}
    with pytest.raises(ValueError, match=message):
        verify_classifier(Linear(6, 3), **{**arguments, "num_classes": 3, **changes})


class Pixels(nn.Module):
    """A voxel is foreground when it is above 0.5, twice as steep for every second column."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        slope = torch.tensor([4.0, 8.0]).repeat(image.shape[-1] // 2)
        logit = slope * (image - 0.5)
        return torch.cat([-logit, logit], dim=1)


def dice(predicted: torch.Tensor, truth: torch.Tensor) -> float:
    return 2 * float((predicted & truth).sum()) / float(predicted.sum() + truth.sum())


def test_the_search_finds_the_lowest_dice_in_linf():
    """Every voxel within ε of 0.5 can be turned, whatever the others do; foreground goes, background comes."""
    image = torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(6))
    truth = image > 0.45
    eps = 0.1
    worst = torch.where(truth, image - eps > 0.5, image + eps > 0.5)
    expected = np.mean([dice(worst[row], truth[row]) for row in range(2)])
    assert expected < np.mean([dice(image[row] > 0.5, truth[row]) for row in range(2)]) - 0.1
    (row,) = verify_segmentation(
        Pixels(), image, truth.long(), "linf", eps, (0, 1), DiceCriterion("lowest"), restarts=6
    )
    assert row.by == "brute force, 6 restarts x 3 losses"
    assert row.theirs == pytest.approx(expected, abs=1e-6)
    assert row.ours == pytest.approx(expected, abs=1e-6)
    assert row.agrees


@pytest.mark.parametrize("eps", [0.13, 0.22])
def test_the_search_finds_the_lowest_dice_in_l2(eps):
    """Voxels can be turned together when the squares of their distances from 0.5 sum to less than ε squared."""
    image = torch.tensor([[0.56, 0.62, 0.44, 0.75], [0.30, 0.70, 0.42, 0.58]])[None, None]
    truth = image > 0.5
    away = (image - 0.5).flatten()
    lowest = 1.0
    for size in range(9):
        for turned in itertools.combinations(range(8), size):
            if float((away[list(turned)] ** 2).sum()) < eps**2:
                predicted = truth.clone().flatten()
                predicted[list(turned)] ^= True
                lowest = min(lowest, dice(predicted, truth.flatten()))
    (row,) = verify_segmentation(Pixels(), image, truth.long(), "l2", eps, None, DiceCriterion("lowest"))
    assert row.theirs == pytest.approx(lowest)
    assert lowest - 1e-6 <= row.ours < 1


def test_a_weak_attack_on_segmentations_shows(monkeypatch):
    monkeypatch.setattr(brute_force, "STRONGEST_SEGMENTATION", "noise1")
    image = torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(6))
    (row,) = verify_segmentation(
        Pixels(), image, (image > 0.45).long(), "linf", 0.1, (0, 1), DiceCriterion(0.5), restarts=3
    )
    assert row.ours > row.theirs + 0.1
    assert not row.agrees


def test_overlapping_channels_count_each_by_itself():
    """Two sigmoid channels of the same image with different labels: the mean of both Dice scores."""
    image = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(6))
    truth = torch.cat([image > 0.45, image > 0.6], dim=1)
    moved = torch.cat([torch.where(channel, image[0] - 0.1, image[0] + 0.1) for channel in truth.split(1, 1)], dim=1)
    least = np.mean([dice(moved[0, k] >= 0.5, truth[0, k]) for k in range(2)])
    (row,) = verify_segmentation(
        lambda x: 8 * (x - 0.5).repeat(1, 2, 1, 1),
        image,
        truth.float(),
        "linf",
        0.1,
        (0, 1),
        DiceCriterion(sigmoid=True),
        restarts=3,
    )
    clean = np.mean([dice(image[0, 0] >= 0.5, truth[0, k]) for k in range(2)])
    assert least - 1e-6 <= row.theirs < clean - 0.05


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"criterion": ClassificationCriterion()}, "Got criterion ClassificationCriterion, expected one for segment"),
        ({"restarts": 0}, "Got restarts 0, expected an integer >= 1"),
        ({"labels": torch.zeros(2, 1, 4, 4)}, "Sample 0 of the batch has a label without foreground"),
        ({"labels": torch.cat([torch.ones(1, 1, 4, 4), torch.full((1, 1, 4, 4), 2)])}, "Sample 1 of the batch has"),
        ({"labels": torch.ones(1, 1, 4, 4)}, "Got labels of shape .1, 1, 4, 4. for 2 images"),
        ({"labels": torch.ones(2, 1, 4, 5)}, "on one 2-D or 3-D grid"),
        ({"eps": -1.0}, "Got eps -1.0"),
    ],
)
def test_wrong_arguments_for_segmentations_are_named(changes, message):
    arguments = {"images": torch.rand(2, 1, 4, 4), "labels": torch.ones(2, 1, 4, 4), "norm": "l2", "eps": 0.1}
    arguments |= {"bounds": (0, 1), "criterion": DiceCriterion("lowest"), "restarts": 1, **changes}
    with pytest.raises(ValueError, match=message):
        verify_segmentation(Pixels(), **arguments)
