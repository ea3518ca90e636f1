"""B-PGD on segmentations: the boundary is where the score crosses the threshold; nothing else changes."""

from __future__ import annotations

import pytest
import torch
from attack_problems import NORMS, segmentation_problem

from monai_ima.attacks import PGD, BoundaryPGD, UniformNoise, WorstOf
from monai_ima.criteria import DiceCriterion, SurfaceDiceCriterion
from monai_ima.losses import SegmentationLoss
from monai_ima.utils.generators import per_sample_generators


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("spatial", [(12, 10), (12, 10, 8)])
@pytest.mark.parametrize("threshold", [0.8, "relative:0.9"])
@pytest.mark.parametrize("start", ["clean", "ball"])
def test_case_1_is_just_on_the_right_side_of_the_threshold(norm, spatial, threshold, start):
    network, image, label = segmentation_problem(spatial)
    criterion = DiceCriterion(threshold)
    clean = criterion.score(network(image), label)
    limit = clean * 0.9 if threshold == "relative:0.9" else torch.full_like(clean, 0.8)
    assert (clean >= limit).all()
    eps = (4.0 if norm == "l2" else 0.5) * len(spatial) / 2
    streams = per_sample_generators("a", [str(k) for k in range(6)])
    attack = BoundaryPGD(norm, steps=20, binary_steps=25, start=start, criterion=criterion)
    result = attack(network, image, label, eps, streams)
    assert result.success.sum() >= 3
    assert (result.distance <= eps * (1 + 1e-9)).all()
    score = criterion.score(network(result.image), label)
    assert (score >= limit).all()
    coarse = BoundaryPGD(norm, steps=20, binary_steps=0, start=start, criterion=criterion)
    streams = per_sample_generators("a", [str(k) for k in range(6)])
    before = coarse(network, image, label, eps, streams).image
    for row in result.success.nonzero().flatten().tolist():
        way = _next_iterate(network, image, label, eps, norm, start, row, limit[row]) - before[row]
        further = result.image[row] + way * 2.0**-24
        assert criterion.score(network(further[None]), label[row : row + 1]).item() < limit[row]


def _next_iterate(network, image, label, eps, norm, start, row, limit):
    """The first iterate with a score below the limit, by a loop over one sample."""
    (stream,) = per_sample_generators("a", [str(row)])
    x, y = image[row : row + 1], label[row : row + 1]
    loss, score = SegmentationLoss(), DiceCriterion().score
    noise = torch.zeros_like(x)
    if start == "clean":
        pass
    elif norm == "l2":
        noise.normal_(generator=stream)
        uniform = torch.empty(1, dtype=x.dtype).uniform_(generator=stream)
        noise = noise / noise.norm() * eps * uniform ** (1 / x.numel())
    else:
        noise = (2 * noise.uniform_(generator=stream) - 1) * eps
    for _ in range(21):
        point = (x + noise).requires_grad_()
        if score(network(point).detach(), y).item() < limit:
            return point.detach()[0]
        (gradient,) = torch.autograd.grad(loss(network(point), y).sum(), point)
        step = gradient / gradient.norm() if norm == "l2" else gradient.sign()
        noise = noise + 4.0 / 20 * eps * step
        noise = noise * min(1.0, float(eps / noise.norm())) if norm == "l2" else noise.clamp(-eps, eps)
    raise AssertionError("the sample did not cross")


@pytest.mark.parametrize("attack", ["boundary", "pgd", "noise", "worst"])
def test_a_samples_attack_does_not_change_with_the_rest_of_the_batch(attack):
    network, image, label = segmentation_problem()
    for threshold in (0.85, "relative:0.95"):
        criterion = DiceCriterion(threshold)
        made = {
            "boundary": BoundaryPGD("l2", 8, criterion=criterion),
            "pgd": PGD("l2", 8, 2, criterion=criterion),
            "noise": UniformNoise("l2", 5, criterion=criterion),
            "worst": WorstOf([PGD("l2", 5, 1, criterion=criterion), PGD("l2", 5, 1, criterion=criterion)]),
        }[attack]
        names = [str(k) for k in range(6)]
        together = made(network, image, label, 3.0, per_sample_generators("s", names))
        others = image.clone()
        others[[0, 1, 3, 4, 5]] = torch.randn_like(others[[0, 1, 3, 4, 5]])
        replaced = made(network, others, label, 3.0, per_sample_generators("s", names))
        alone = made(network, image[2:3], label[2:3], 3.0, per_sample_generators("s", names[2:3]))
        for result, row in ((replaced, 2), (alone, 0)):
            torch.testing.assert_close(result.image[row], together.image[2], atol=1e-12, rtol=0)
            assert bool(result.success[row]) == bool(together.success[2])


def test_lowest_goes_on_to_the_lowest_score_and_beats_a_threshold():
    network, image, label = segmentation_problem()
    stopped = PGD("l2", 30, 1, criterion=DiceCriterion(0.8))(network, image, label, 9.0)
    lowest = PGD("l2", 30, 1, criterion=DiceCriterion("lowest"))(network, image, label, 9.0)
    score = DiceCriterion().score
    assert (score(network(lowest.image), label) <= score(network(stopped.image), label) + 1e-9).all()
    assert score(network(lowest.image), label).mean() < score(network(stopped.image), label).mean() - 0.05


def test_the_worst_of_several_attacks_counts():
    network, image, label = segmentation_problem()
    criterion = DiceCriterion("lowest")
    losses = [SegmentationLoss(1, 0), SegmentationLoss(0, 1), None]
    attacks = [PGD("l2", 10, 1, criterion=criterion, loss=loss) for loss in losses]
    names = [str(k) for k in range(6)]
    score = DiceCriterion().score
    streams = per_sample_generators("s", names)
    worst = score(network(WorstOf(attacks)(network, image, label, 2.0, streams).image), label)
    streams = per_sample_generators("s", names)
    each = torch.stack([score(network(a(network, image, label, 2.0, streams).image), label) for a in attacks])
    torch.testing.assert_close(worst, each.amin(dim=0))
    assert (each.argmin(dim=0).unique()).numel() > 1 or (each[0] != each[1]).any()
    for bad, match in (
        ([], "no attacks"),
        ([PGD("l2"), PGD("linf")], "different norm"),
        ([PGD("l2"), PGD("l2", bounds=(0, 1))], "different bounds"),
        ([PGD("l2"), attacks[0]], "different criterion"),
    ):
        with pytest.raises(ValueError, match=match):
            WorstOf(bad)


def test_wrong_scans_and_scans_without_foreground_have_no_boundary():
    network, image, label = segmentation_problem()
    label[1] = 0
    clean = DiceCriterion().score(network(image), label)
    threshold = float(clean.nan_to_num(1).topk(3).values[-1])
    result = BoundaryPGD("l2", 5, criterion=DiceCriterion(threshold))(network, image, label, 1.0)
    assert torch.equal(result.clean_correct, clean >= threshold)
    assert result.clean_score.isnan().tolist() == [False, True, False, False, False, False]
    assert torch.equal(result.image[~result.clean_correct], image[~result.clean_correct])


def test_surface_dice_can_be_the_boundary():
    network, image, label = segmentation_problem((12, 10))
    criterion = SurfaceDiceCriterion(0.7, tolerance=1)
    result = BoundaryPGD("l2", 10, 20, criterion=criterion)(network, image, label, 8.0)
    assert result.success.any()
    assert (criterion.score(network(result.image), label)[result.success] >= 0.7).all()


def test_a_prediction_that_is_not_finite_names_the_sample():
    network, image, label = segmentation_problem()

    def broken(x):
        return torch.where(torch.arange(len(x)).view(-1, 1, 1, 1, 1) == 4, torch.nan, network(x))

    with pytest.raises(ValueError, match="Sample 4 of the batch has a prediction with NaN"):
        PGD("l2", 3, criterion=DiceCriterion())(broken, image, label, 1.0)
    with pytest.raises(ValueError, match="expected floating point"):
        PGD("l2", 3, criterion=DiceCriterion())(network, image.to(torch.int16), label, 1.0)
