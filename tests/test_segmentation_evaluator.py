"""Dice, surface Dice and HD95 under attack: what is reported is what the worst images score."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, list_data_collate
from monai.inferers import SlidingWindowInferer
from report_results import segmentation
from scipy.ndimage import binary_erosion
from torch import nn

from monai_ima.attacks import PGD, UniformNoise
from monai_ima.cli.evaluation_run import _scan_table
from monai_ima.criteria import ClassificationCriterion, DiceCriterion
from monai_ima.evaluation import SegmentationEvaluator
from monai_ima.results.records import ScanRecord
from monai_ima.results.schema import SegmentationResults
from monai_ima.utils.generators import per_sample_generators
from monai_ima.utils.spacing import scan_spacings

LEVELS = [0.0, 2.0, 6.0]


@pytest.fixture
def problem():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.Tanh(), nn.Conv3d(4, 3, 3, padding=1))
    label = torch.zeros(4, 1, 12, 10, 8)
    label[:, :, 2:6, 2:8] = 1
    label[:3, :, 6:10, 2:8] = 2
    image = label + 0.4 * torch.randn_like(label)
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(image), label[:, 0].long()).backward()
        optimizer.step()
    affine = torch.diag(torch.tensor([1.0, 1.0, 2.5, 1.0]))
    data = [{"image": MetaTensor(image[k], affine=affine), "label": label[k], "sample_id": f"s{k}"} for k in range(4)]
    return network, data


def attack(steps=8):
    return PGD("l2", steps, 1, criterion=DiceCriterion("lowest"))


def hd95_and_surface_dice(a: np.ndarray, b: np.ndarray, spacing, tolerance):
    """From all pairs of edge voxels' distances, in mm."""
    points = [np.argwhere(m & ~binary_erosion(m)) * spacing for m in (a, b)]
    distance = np.linalg.norm(points[0][:, None] - points[1][None], axis=-1)
    there, back = distance.min(axis=1), distance.min(axis=0)
    met = (there <= tolerance).sum() + (back <= tolerance).sum()
    return max(np.percentile(there, 95), np.percentile(back, 95)), met / (len(there) + len(back))


def test_every_metric_is_that_of_the_worst_image(problem):
    network, data = problem
    evaluator = SegmentationEvaluator(network, attack(), seed=3, tolerance=1.0)
    loader = DataLoader(Dataset(data), batch_size=2)
    result = evaluator.run(loader, [6.0], progress=False)
    examples = evaluator.examples(loader, dict.fromkeys(["s0", "s1", "s2", "s3"], 6.0))
    assert [record.sample_id for record in result.records] == ["s0", "s1", "s2", "s3"]
    for example, record, item in zip(examples.values(), result.records, data, strict=True):
        assert example.sample_id == record.sample_id
        assert example.clean_dice == pytest.approx(record.scores[0].mean("dice"))
        assert example.noisy_dice == pytest.approx(record.scores[-1].mean("dice"))
        assert (example.noisy - item["image"]).norm() <= 6.0 * (1 + 1e-5)
        label = item["label"][0].numpy()
        for image, stored, scores in (
            (example.clean, example.clean_prediction, record.scores[0]),
            (example.noisy, example.noisy_prediction, record.scores[-1]),
        ):
            prediction = network(torch.as_tensor(image)[None]).argmax(dim=1)[0]
            assert torch.equal(prediction.float(), stored)
            for k in (1, 2):
                a, b = (prediction == k).numpy(), label == k
                if not b.any():
                    assert scores.dice[k - 1] is scores.surface_dice[k - 1] is scores.hd95[k - 1] is None
                    continue
                assert scores.dice[k - 1] == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()), abs=1e-6)
                hd95, surface = hd95_and_surface_dice(a, b, np.array([1.0, 1.0, 2.5]), 1.0)
                assert scores.hd95[k - 1] == pytest.approx(hd95, abs=1e-4)
                assert scores.surface_dice[k - 1] == pytest.approx(surface, abs=1e-6)
    clean = [np.mean([d for d in r.scores[0].dice if d is not None]) for r in result.records]
    assert result.mean()[0] == pytest.approx(np.mean(clean))
    assert result.mean(label=1)[0] == pytest.approx(np.mean([r.scores[0].dice[1] for r in result.records[:3]]))
    assert result.mean() == sorted(result.mean(), reverse=True)
    assert result.mean()[1] < result.mean()[0] - 0.05


def test_results_do_not_depend_on_the_batch_and_an_interrupted_run_is_resumed(problem):
    network, data = problem
    evaluator = SegmentationEvaluator(network, attack())
    loader = DataLoader(Dataset(data), batch_size=3)
    kept: list[ScanRecord] = []
    whole = evaluator.run(loader, LEVELS, on_records=kept.extend, progress=False)
    assert kept == whole.records
    saved = [ScanRecord.model_validate_json(record.model_dump_json()) for record in kept[1:3]]
    resumed = evaluator.run(DataLoader(Dataset(data), batch_size=1), LEVELS, done=saved, progress=False)
    by_id = {record.sample_id: record for record in resumed.records}
    assert len(resumed.records) == 4
    for record in whole.records:
        for a, b in zip(record.scores, by_id[record.sample_id].scores, strict=True):
            assert a.dice == pytest.approx(b.dice, abs=1e-4)
    assert [record.sample_id for record in resumed.records] == ["s0", "s1", "s2", "s3"]
    assert resumed.records[1:3] == kept[1:3]


def test_a_weaker_image_at_a_larger_level_does_not_count(problem):
    """Uniform noise drawn at a larger radius may be weaker: then the lower level's image stays the worst."""
    network, data = problem
    noise = UniformNoise("l2", 1, criterion=DiceCriterion("lowest"))
    levels = [0, 3.0, 3.01, 3.02, 3.03]
    result = SegmentationEvaluator(network, noise).run(DataLoader(Dataset(data), batch_size=4), levels, progress=False)
    for record in result.records:
        dice = [scores.mean("dice") for scores in record.scores]
        assert dice == sorted(dice, reverse=True)


def test_a_lost_organ_is_counted_and_has_no_distance(problem):
    _, data = problem

    class Nothing(nn.Module):
        def forward(self, x):
            return torch.cat([x * 0 + 1, x * 0, x * 0], dim=1)

    result = SegmentationEvaluator(Nothing(), attack(1)).run(
        DataLoader(Dataset(data), batch_size=4), [0], progress=False
    )
    assert result.mean() == [0.0]
    assert result.mean("surface_dice") == [0.0]
    assert math.isnan(result.mean("hd95")[0])
    assert result.undefined() == [4]


def test_a_sliding_window_is_attacked_whole(problem):
    network, data = problem
    inferer = SlidingWindowInferer((6, 6, 6), overlap=0.5, mode="gaussian")
    result = SegmentationEvaluator(network, attack(), inferer=inferer).run(
        DataLoader(Dataset(data[:1]), batch_size=1), [2.0], progress=False
    )

    def plain(x):
        return inferer(x, network)

    image, label = torch.as_tensor(data[0]["image"])[None], data[0]["label"][None]
    network.eval()
    with torch.no_grad():
        found = attack()(plain, image, label, 2.0, per_sample_generators("0/2.0", ["s0"]))
        expected = DiceCriterion("lowest").score(plain(found.image), label)
    assert result.mean()[1] == pytest.approx(float(expected), abs=1e-6)


def test_bad_evaluations_are_refused(problem):
    network, data = problem
    with pytest.raises(ValueError, match="expected one with a DiceCriterion"):
        SegmentationEvaluator(network, PGD("l2", 2, criterion=ClassificationCriterion()))
    evaluator = SegmentationEvaluator(network, attack(1))
    empty = {**data[0], "label": data[0]["label"] * 0}
    for items, match in (
        ([empty], "Sample 's0' has a label without foreground"),
        ([data[0], data[0]], "'s0' comes twice"),
        ([{**data[1], "label": data[1]["label"] + 2}], "Sample 's1' has a label with the value"),
        ([{**data[1], "image": data[1]["image"] * math.inf}], "Sample 's1' has an image with NaN or infinity"),
        ([{key: data[0][key] for key in ("image", "sample_id")}], "no labels"),
    ):
        with pytest.raises(ValueError, match=match):
            evaluator.run(DataLoader(Dataset(items), batch_size=1), [1.0], progress=False)
    with pytest.raises(ValueError, match="no samples"):
        evaluator.run([], [1.0], progress=False)


@pytest.mark.parametrize(
    ("file", "spacing", "found"),
    [
        ("scan.nii.gz", 1.0, [1.0, 1.0]),
        ("scan.nii.gz", 2.0, [2.0, 2.0]),
        ("slide.PNG", 1.0, None),
        ("slide.jpeg", 1.5, None),
        ("slide.tiff", 1.0, None),
        ("slide.TIF", 1.0, None),
        (None, 1.0, None),
        (None, 0.7, [0.7, 0.7]),
    ],
)
def test_distances_are_in_mm_where_the_image_knows_its_spacing_else_in_voxels(file, spacing, found):
    affine = torch.diag(torch.tensor([spacing, spacing, 1.0, 1.0], dtype=torch.float64))
    image = MetaTensor(torch.rand(1, 6, 7), affine=affine, meta={} if file is None else {"filename_or_obj": file})
    assert scan_spacings(list_data_collate([image, image])) == [found and pytest.approx(found)] * 2
    assert scan_spacings(torch.rand(2, 1, 6, 7)) == [None, None]


def test_a_scan_whose_affine_has_other_axes_is_measured_in_voxels():
    image = MetaTensor(torch.rand(2, 1, 6, 7), affine=torch.eye(2)[None].repeat(2, 1, 1))
    assert scan_spacings(image) == [None, None]


def test_results_name_the_unit_of_their_distances():
    content = segmentation()
    units = {}
    for unit in ("mm", "voxels"):
        samples = [{**sample, "unit": unit} for sample in content["samples"]]
        results = SegmentationResults.model_validate({**content, "samples": samples})
        units[unit] = results.distance_unit
        assert f"HD95 ({unit})" in _scan_table(results, 1.0)
        assert f"surface Dice (1 {unit})" in _scan_table(results, 1.0)
    assert units == {"mm": "mm", "voxels": "voxels"}
    mixed = [{**sample, "unit": unit} for sample, unit in zip(content["samples"], units, strict=True)]
    assert SegmentationResults.model_validate({**content, "samples": mixed}).distance_unit == "mm or voxels"
