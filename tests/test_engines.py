"""Evaluation under attack, against the closed form of a linear classifier: right beyond ε exactly if margin > ε."""

from __future__ import annotations

import pytest
import torch
from ignite.metrics import Accuracy
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.handlers import from_engine
from torch import nn

from monai_ima.attacks import PGD
from monai_ima.engines import AdversarialPrepareBatch
from monai_ima.evaluation.classification import ClassificationEvaluator
from monai_ima.results.settings import check_levels

LEVELS = [0.0, 0.2, 0.5, 1.0]


@pytest.fixture
def problem():
    """A two-class linear network, 60 samples of which 6 are wrong, and each sample's signed L2 margin."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(12, 2))
    image = torch.randn(60, 1, 3, 4)
    w = network[2].weight[1] - network[2].weight[0]
    b = network[2].bias[1] - network[2].bias[0]
    signed = ((image.flatten(1) @ w + b) / w.norm()).detach()
    label = (signed > 0).long()
    label[:6] = 1 - label[:6]
    margin = torch.where(label == 1, signed, -signed)
    assert all((margin - level).abs().min() > 1e-3 for level in LEVELS)
    data = [{"image": image[i], "label": int(label[i]), "sample_id": f"s{i}"} for i in range(60)]
    return network, data, margin, label


def test_an_evaluator_with_adversarial_batches_reports_the_closed_form_robust_accuracy(problem):
    network, data, margin, _ = problem
    for level in LEVELS:
        evaluator = SupervisedEvaluator(
            device="cpu",
            val_data_loader=DataLoader(Dataset(data), batch_size=7),
            network=network,
            prepare_batch=AdversarialPrepareBatch(network, PGD("l2", 25), level),
            key_val_metric={"accuracy": Accuracy(output_transform=from_engine(["pred", "label"]))},
        )
        evaluator.run()
        assert evaluator.state.metrics["accuracy"] == pytest.approx(float((margin > level).float().mean()))
    assert all(module.training for module in network.modules())


@pytest.mark.parametrize("batch_size", [1, 13, 60])
def test_accuracy_by_level_and_class_is_the_closed_form(problem, batch_size):
    network, data, margin, label = problem
    evaluator = ClassificationEvaluator(network, PGD("l2", 25))
    result = evaluator.run(DataLoader(Dataset(data), batch_size=batch_size), LEVELS[::-1], progress=False)
    assert result.levels == LEVELS
    assert result.accuracy() == pytest.approx([float((margin > level).float().mean()) for level in LEVELS])
    for k in range(2):
        own = margin[label == k]
        assert result.accuracy(k) == pytest.approx([float((own > level).float().mean()) for level in LEVELS])
    for i, record in enumerate(result.records):
        expected = next((level for level in LEVELS if margin[i] <= level), None)
        assert (record.sample_id, record.label, record.broken) == (f"s{i}", int(label[i]), expected)
        assert record.broken_at == {"attack": expected}
        if record.broken:
            assert record.noisy_predicted != record.label == record.predicted


def test_a_broken_sample_is_not_attacked_again(problem):
    network, data, margin, _ = problem
    attacked = []

    class Counting(PGD):
        def __call__(self, network, image, label, eps, generator=None, criterion=None, spacing=None):
            attacked.append((eps, len(image)))
            return super().__call__(network, image, label, eps, generator, criterion, spacing)

    ClassificationEvaluator(network, Counting("l2", 25)).run(DataLoader(Dataset(data), batch_size=60), LEVELS, False)
    before = [0.0, *LEVELS[1:-1]]
    assert attacked == [(level, int((margin > last).sum())) for level, last in zip(LEVELS[1:], before, strict=True)]


def test_bad_evaluations_are_refused(problem):
    network, data, *_ = problem
    evaluator = ClassificationEvaluator(network, PGD("l2", 2))
    for bad in (-0.1, float("nan"), "0.1", True):
        with pytest.raises(ValueError, match="expected a finite number >= 0"):
            check_levels([bad])
    with pytest.raises(ValueError, match="'s0' comes twice"):
        evaluator.run(DataLoader(Dataset(data[:3] + data[:1]), batch_size=2), [0.1], False)
    with pytest.raises(ValueError, match="no samples"):
        evaluator.run([], [0.1], False)
    unlabelled = [{"image": d["image"], "sample_id": d["sample_id"]} for d in data[:2]]
    with pytest.raises(ValueError, match="no labels"):
        evaluator.run(DataLoader(Dataset(unlabelled), batch_size=2), [0.1], False)
    data[4]["image"] = data[4]["image"] * float("inf")
    with pytest.raises(ValueError, match="Sample 's4' has an image with NaN"):
        evaluator.run(DataLoader(Dataset(data), batch_size=60), [0.1], False)
    adversarial = AdversarialPrepareBatch(network, PGD("l2", 2), 0.1)
    with pytest.raises(ValueError, match="Sample 's4' has an image with NaN"):
        adversarial(next(iter(DataLoader(Dataset(data), batch_size=60))))
    with pytest.raises(ValueError, match="Got eps -1"):
        AdversarialPrepareBatch(network, PGD("l2", 2), -1)


def test_evaluators_inside_inference_mode_report_what_they_report_outside(problem):
    network, data, margin, _ = problem
    network[1] = nn.BatchNorm1d(12).eval()
    robust = float((margin > 0.5).float().mean())
    network.eval()
    network[1].running_var.fill_(1 - network[1].eps)
    engine = SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(Dataset(data), batch_size=7),
        network=network,
        prepare_batch=AdversarialPrepareBatch(network, PGD("l2", 25), 0.5),
        key_val_metric={"accuracy": Accuracy(output_transform=from_engine(["pred", "label"]))},
    )
    with torch.inference_mode():
        engine.run()
        found = ClassificationEvaluator(network, PGD("l2", 25)).run(
            DataLoader(Dataset(data), batch_size=13), LEVELS, False
        )
    assert engine.state.metrics["accuracy"] == pytest.approx(robust)
    outside = ClassificationEvaluator(network, PGD("l2", 25)).run(
        DataLoader(Dataset(data), batch_size=13), LEVELS, False
    )
    assert found.records == outside.records
    assert found.accuracy() == pytest.approx([float((margin > level).float().mean()) for level in LEVELS])
