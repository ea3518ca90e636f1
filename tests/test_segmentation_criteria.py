"""Segmentation criteria against Dice, surface Dice and losses worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.data import MetaTensor, list_data_collate
from monai.losses import DiceLoss
from monai.networks import one_hot
from monai.transforms import RandZoomd

from monai_ima.criteria import DiceCriterion, SurfaceDiceCriterion
from monai_ima.losses import SegmentationLoss
from monai_ima.utils.errors import SampleError
from monai_ima.utils.label_maps import fraction_warning, label_maps


def random_case(spatial=(6, 7, 5), classes=3, batch=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, *spatial, generator=generator)
    label = torch.randint(classes, (batch, 1, *spatial), generator=generator)
    return logits, label


def dice_by_hand(prediction: np.ndarray, label: np.ndarray, classes: list[int]) -> float:
    """Mean over the classes in the label of 2 |A and B| / (|A| + |B|)."""
    values = []
    for k in classes:
        a, b = prediction == k, label == k
        if b.any():
            values.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    return float(np.mean(values)) if values else math.nan


@pytest.mark.parametrize("spatial", [(6, 7), (6, 7, 5)])
@pytest.mark.parametrize("background", [False, True])
def test_the_score_is_the_mean_dice_of_the_classes_present(spatial, background):
    logits, label = random_case(spatial)
    label[1][label[1] == 2] = 0
    criterion = DiceCriterion(0.3, include_background=background)
    expected = [
        dice_by_hand(logits[b].argmax(0).numpy(), label[b, 0].numpy(), [0, 1, 2] if background else [1, 2])
        for b in range(4)
    ]
    assert criterion.score(logits, label).tolist() == pytest.approx(expected, abs=1e-6)
    assert criterion(logits, label).tolist() == [value >= 0.3 for value in expected]
    one_hot = torch.nn.functional.one_hot(label[:, 0], 3).movedim(-1, 1)
    for same in (one_hot, one_hot.float(), label.float()):
        torch.testing.assert_close(criterion.score(logits, same), criterion.score(logits, label))


def test_sigmoid_channels_are_scored_one_by_one():
    logits, _ = random_case((5, 6), classes=2)
    label = (torch.rand(4, 2, 5, 6, generator=torch.Generator().manual_seed(1)) > 0.5).long()
    label[2, 1] = 0
    score = DiceCriterion(0.5, sigmoid=True).score(logits, label)
    for b in range(4):
        channels = []
        for k in range(2):
            a, y = (logits[b, k] >= 0).numpy(), label[b, k].numpy().astype(bool)
            if y.any():
                channels.append(2 * (a & y).sum() / (a.sum() + y.sum()))
        assert float(score[b]) == pytest.approx(np.mean(channels), abs=1e-6)
    single = DiceCriterion(0.5, sigmoid=True).score(logits[:, :1], label[:, :1])
    assert single.shape == (4,)


def test_surface_dice_of_shifted_cubes_is_known():
    """Two equal cubes, shifted by 2 voxels: within a tolerance of 2 all edge voxels match, within 0 the shared ones."""
    label = torch.zeros(1, 1, 20, 20, 20)
    label[..., 4:12, 4:12, 4:12] = 1
    moved = torch.zeros(1, 20, 20, 20)
    moved[:, 6:14, 4:12, 4:12] = 1
    logits = torch.stack([-moved, moved - 0.5], dim=1)
    assert SurfaceDiceCriterion(0.9, tolerance=2).score(logits, label).item() == pytest.approx(1.0)
    edge_a, edge_b = _edges(label[0, 0].bool().numpy()), _edges(moved[0].bool().numpy())
    shared = (edge_a & edge_b).sum()
    exact = SurfaceDiceCriterion(0.9, tolerance=0).score(logits, label).item()
    assert exact == pytest.approx(2 * shared / (edge_a.sum() + edge_b.sum()), abs=1e-6)
    assert SurfaceDiceCriterion(0.9, tolerance=2, spacing=1.5).score(logits, label).item() < 1
    nothing = torch.stack([torch.ones_like(moved), -torch.ones_like(moved)], dim=1)
    assert SurfaceDiceCriterion(0.9).score(nothing, label).item() == 0


def _edges(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1)
    inner = mask.copy()
    for axis in range(3):
        for step in (-1, 1):
            inner &= np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1]
    return mask & ~inner


def test_thresholds_are_a_number_relative_or_the_lowest_score():
    logits, label = random_case()
    score = DiceCriterion().score(logits, label)
    middle = float(score.median())
    assert torch.equal(DiceCriterion(middle)(logits, label), score >= middle)
    relative = DiceCriterion("relative:0.9").relative_to(torch.tensor([0.5, 0.8, 0.0, 1.0]))
    near = torch.tensor([0.4501, 0.7199, 0.0, 0.9])
    assert relative.decide(near).tolist() == [True, False, False, True]
    assert relative.select(torch.tensor([1, 3])).decide(torch.tensor([0.73, 0.89])).tolist() == [True, False]
    assert DiceCriterion("relative:0.9").decide(torch.tensor([0.1, 0.0])).tolist() == [True, False]
    assert DiceCriterion("lowest").decide(torch.tensor([1e-9, 0.0])).tolist() == [True, False]
    for bad in (0, -0.1, 1.1, "best", "relative:", "relative:0", "relative:2", True, float("nan")):
        with pytest.raises(ValueError, match="expected a number in"):
            DiceCriterion(bad)


def test_a_baseline_must_be_found_first_and_survives_a_checkpoint():
    criterion = DiceCriterion("baseline")
    assert criterion.awaits_baseline
    with pytest.raises(ValueError, match="BaselineThreshold"):
        criterion.decide(torch.tensor([0.5]))
    criterion.threshold = 0.75
    resumed, given = DiceCriterion("baseline"), DiceCriterion(0.6)
    for other in (resumed, given):
        other.load_state_dict(criterion.state_dict())
    assert resumed.decide(torch.tensor([0.74, 0.76])).tolist() == [False, True]
    assert given.threshold == 0.6


def test_a_label_without_foreground_has_no_score_and_is_not_right():
    logits, label = random_case()
    label[2] = 0
    criterion = DiceCriterion(0.1)
    assert criterion.score(logits, label).isnan().tolist() == [False, False, True, False]
    assert not criterion(logits, label)[2]


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 0.0), (0.0, 2.0)])
def test_the_attack_loss_is_soft_dice_plus_cross_entropy_of_each_sample_alone(weights):
    logits, label = random_case(classes=3)
    loss = SegmentationLoss(*weights)(logits.double(), label)
    for b in range(4):
        p = torch.softmax(logits[b].double(), dim=0)
        dice = []
        for k in (1, 2):
            y = (label[b, 0] == k).double()
            dice.append(1 - (2 * (p[k] * y).sum() + 1e-5) / (p[k].sum() + y.sum() + 1e-5))
        entropy = -torch.log(p.gather(0, label[b])).mean()
        expected = weights[0] * sum(dice) / 2 + weights[1] * entropy
        assert float(loss[b]) == pytest.approx(float(expected), abs=1e-9)
    others = logits.clone()
    others[1:] = torch.randn_like(others[1:])
    assert torch.equal(SegmentationLoss()(others, label)[0], SegmentationLoss()(logits, label)[0])


def test_the_binary_attack_loss_is_bce_plus_soft_dice():
    logits, _ = random_case((5, 6), classes=1)
    label = (torch.rand(4, 1, 5, 6) > 0.5).long()
    loss = SegmentationLoss(include_background=True, sigmoid=True)(logits.double(), label)
    p, y = torch.sigmoid(logits.double()), label.double()
    entropy = -(y * p.log() + (1 - y) * (1 - p).log()).mean(dim=(1, 2, 3))
    dice = 1 - (2 * (p * y).sum((1, 2, 3)) + 1e-5) / (p.sum((1, 2, 3)) + y.sum((1, 2, 3)) + 1e-5)
    torch.testing.assert_close(loss, entropy + dice)


def test_of_stacked_deep_supervision_heads_the_first_counts():
    logits, label = random_case()
    stacked = torch.stack([logits, torch.randn_like(logits)], dim=1)
    torch.testing.assert_close(DiceCriterion().score(stacked, label), DiceCriterion().score(logits, label))
    torch.testing.assert_close(DiceCriterion().loss(stacked, label), DiceCriterion().loss(logits, label))


def test_bad_labels_and_shapes_are_named():
    logits, label = random_case()
    criterion = DiceCriterion()
    label[3, 0, 0, 0, 0] = 3
    with pytest.raises(SampleError, match=r"Sample 3 .* value 3 .* expected integers in 0\.\.2"):
        criterion(logits, label)
    with pytest.raises(SampleError, match=r"Sample 1 .* value nan"):
        criterion(logits, torch.where(torch.arange(4).view(4, 1, 1, 1, 1) == 1, math.nan, 0.0).expand(4, 1, 6, 7, 5))
    with pytest.raises(ValueError, match=r"labels of shape \(4, 1, 6\)"):
        criterion(logits, label[:, :, :, 0, 0])
    with pytest.raises(ValueError, match="on one 2-D or 3-D grid"):
        criterion(logits[..., :4], label)
    with pytest.raises(ValueError, match=r"logits of shape \(2, 4\) and labels of shape \(2,\)"):
        criterion(torch.rand(2, 4), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="labels of 2 channels for logits of 3"):
        criterion(logits, label.repeat(1, 2, 1, 1, 1))
    with pytest.raises(ValueError, match="one channel, expected two"):
        criterion(logits[:, :1], label)
    with pytest.raises(SampleError, match="one class at every voxel"):
        criterion(logits, torch.ones(4, 3, 6, 7, 5))
    with pytest.raises(SampleError, match="binary maps of 0 and 1"):
        DiceCriterion(sigmoid=True)(logits, torch.full((4, 3, 6, 7, 5), 2))
    with pytest.raises(ValueError, match="Got dice_weight and ce_weight 0"):
        SegmentationLoss(0, 0)
    with pytest.raises(ValueError, match="Got tolerance -1"):
        SurfaceDiceCriterion(tolerance=-1)


@pytest.mark.parametrize("noise", [7e-15, 1 / 255, -1 / 255])
def test_values_that_are_nearly_integers_are_rounded(noise):
    whole = torch.randint(0, 3, (2, 1, 6, 7), generator=torch.Generator().manual_seed(0))
    assert torch.equal(label_maps(whole + noise, 3, False), label_maps(whole, 3, False))
    binary = (whole > 0).float()
    assert torch.equal(label_maps(binary + noise, 1, True), binary)
    assert fraction_warning(whole + noise) is None


def test_values_between_classes_are_taken_as_monais_losses_take_them():
    label = torch.tensor([0.0, 0.25, 0.9, 1.0, 1.5, 1.9, 2.0, 1.1176]).view(1, 1, 2, 4)
    assert torch.equal(label_maps(label, 3, False), one_hot(label, 3))
    assert label_maps(torch.tensor([0.25, 0.5, 0.75]).view(1, 1, 1, 3), 1, True).flatten().tolist() == [0, 1, 1]


def test_a_map_of_class_indices_for_independent_outputs_becomes_one_hot():
    label = torch.randint(0, 6, (2, 1, 6, 7), generator=torch.Generator().manual_seed(0))
    assert torch.equal(label_maps(label, 6, True), one_hot(label, 6))
    logits = torch.randn(2, 6, 6, 7, generator=torch.Generator().manual_seed(1))
    ours = SegmentationLoss(1, 0, sigmoid=True, include_background=True)(logits, label)
    theirs = DiceLoss(sigmoid=True, to_onehot_y=True, reduction="none", smooth_nr=0, smooth_dr=1e-5)(logits, label)
    assert ours.tolist() == pytest.approx(theirs.flatten(1).mean(dim=1).tolist(), abs=2e-2)


@pytest.mark.parametrize("kind", [torch.uint8, torch.uint16, torch.int16, torch.bool, torch.float64])
def test_labels_may_be_of_any_type(kind):
    label = torch.tensor([0, 1, 1, 0]).view(1, 1, 2, 2)
    assert torch.equal(label_maps(label.to(kind), 2, False), one_hot(label, 2))
    assert torch.equal(label_maps(label.to(kind), 1, True), label.float())


def test_the_warning_of_fractions_names_the_transform():
    item = {"label": MetaTensor(torch.rand(1, 12, 12).round())}
    smooth = RandZoomd("label", prob=1.0, min_zoom=0.8, max_zoom=0.8, mode="bilinear", keep_size=False)
    label = list_data_collate([smooth.set_random_state(0)(item)] * 2)["label"]
    warning = fraction_warning(label)
    assert warning is not None
    assert "between two classes: RandZoomd interpolates it" in warning
    assert "between two classes: a transform interpolates" in str(fraction_warning(label.as_tensor()))
    assert fraction_warning(label.round()) is None


@pytest.mark.parametrize(("classes", "sigmoid"), [(1, True), (3, False)])
@pytest.mark.parametrize("spatial", [(6, 7), (6, 7, 5)])
def test_a_label_may_lack_its_channel_axis(classes, sigmoid, spatial):
    logits, label = random_case(spatial, classes=max(classes, 2))
    logits, label = logits[:, :classes], label.clamp(max=max(classes - 1, 1))
    criterion = DiceCriterion("lowest", sigmoid=sigmoid, include_background=sigmoid)
    loss = SegmentationLoss(sigmoid=sigmoid, include_background=sigmoid)
    assert torch.equal(criterion.score(logits, label[:, 0]), criterion.score(logits, label))
    assert torch.equal(loss(logits, label[:, 0]), loss(logits, label))
    heads = torch.stack([logits, logits + 1], dim=1)
    assert torch.equal(criterion.score(heads, label), criterion.score(logits, label))
