"""Ignored and missing labels: scores, objectives and trainings against the same with these labels cut out."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.engines import SupervisedEvaluator
from monai.networks import one_hot
from torch import nn
from training_runs import make_trainer
from wild_bundles import STYLES, part

from monai_ima.__main__ import main
from monai_ima.attacks import PGD, BoundaryPGD, attack_from_name
from monai_ima.criteria import BinaryCriterion, ClassificationCriterion, DiceCriterion, SurfaceDiceCriterion
from monai_ima.engines import AdversarialPrepareBatch
from monai_ima.evaluation import evaluate
from monai_ima.evaluation.brute_force import verify_segmentation
from monai_ima.handlers import (
    BaselineThreshold,
    DDNHandler,
    IAATHandler,
    IMAHandler,
    MMAHandler,
    PGDTrainingHandler,
    TRADESHandler,
)
from monai_ima.harden.loading import load_bundle
from monai_ima.harden.parts import find_parts
from monai_ima.harden.reading import read_training_config
from monai_ima.harden.task import Task, find_task
from monai_ima.harden.trial import _inside
from monai_ima.losses import SegmentationLoss, TRADESLoss
from monai_ima.methods import PGDTraining
from monai_ima.results.records import ScanRecord
from monai_ima.results.schema import Results
from monai_ima.utils.batch import Batch
from monai_ima.utils.errors import SampleError

SIDE = 6


def random_maps(classes: int = 3, batch: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, SIDE, SIDE, generator=generator)
    return logits, torch.randint(classes, (batch, 1, SIDE, SIDE), generator=generator)


def some_voxels(share: float = 0.3, shape: tuple[int, ...] = (4, 1, SIDE, SIDE)) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(7)) < share


def dice_of_what_is_left(
    prediction: torch.Tensor, label: torch.Tensor, kept: torch.Tensor, classes: list[int]
) -> float:
    """Mean over the classes in the label, of the voxels that are kept only."""
    predicted, truth = prediction[kept].numpy(), label[kept].numpy()
    values = [
        2 * np.sum((predicted == k) & (truth == k)) / (np.sum(predicted == k) + np.sum(truth == k))
        for k in classes
        if np.any(truth == k)
    ]
    return float(np.mean(values)) if values else math.nan


@pytest.mark.parametrize("value", [255, -1, 3, 2, 0])
def test_dice_is_that_of_both_maps_with_the_ignored_voxels_cut_out(value):
    logits, label = random_maps()
    label = label.masked_fill(some_voxels(), value)
    score = DiceCriterion(0.3, ignore_index=value).score(logits, label)
    expected = [
        dice_of_what_is_left(logits[b].argmax(0), label[b, 0], label[b, 0] != value, [1, 2]) for b in range(len(logits))
    ]
    assert score.tolist() == pytest.approx(expected, abs=1e-6)
    for same in (label.float(), label[:, 0]):
        assert torch.equal(DiceCriterion(0.3, ignore_index=value).score(logits, same), score)


def test_what_is_predicted_at_voxels_of_an_ignored_class_does_not_count():
    """The case of the issue: 0.429 where 1.0 is right."""
    label = torch.tensor([[0, 0, 1, 1, 1, 2, 2, 2]]).view(1, 1, 2, 4)
    predicted = torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1]]).view(1, 1, 2, 4)
    logits = one_hot(predicted, 3)
    assert DiceCriterion(ignore_index=2).score(logits, label).tolist() == [1.0]
    assert DiceCriterion().score(logits, label).tolist() == pytest.approx([(6 / 9 + 0) / 2])


def test_of_one_hot_labels_a_value_or_an_empty_voxel_marks_what_is_ignored_and_an_index_its_class():
    logits, label = random_maps()
    ignored = some_voxels()
    expected = DiceCriterion(ignore_index=255).score(logits, label.masked_fill(ignored, 255))
    maps = one_hot(label, 3)
    for marked in (maps.masked_fill(ignored, 255), maps.masked_fill(ignored, 0)):
        assert torch.equal(DiceCriterion(ignore_index=255).score(logits, marked), expected)
    assert torch.equal(
        DiceCriterion(ignore_index=2).score(logits, maps), DiceCriterion(ignore_index=2).score(logits, label)
    )
    with pytest.raises(SampleError, match="has a label with the value 0 where it cannot be"):
        DiceCriterion(ignore_index=2).score(logits, maps.masked_fill(ignored, 0))


@pytest.mark.parametrize("value", [255, -1, 2])
def test_of_sigmoid_channels_single_entries_are_ignored(value):
    logits, _ = random_maps(classes=2)
    label = (torch.rand(4, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) > 0.5).long()
    label = label.masked_fill(some_voxels(0.3, (4, 2, SIDE, SIDE)), value)
    found = DiceCriterion(sigmoid=True, ignore_index=value).scores_by_class(logits, label)
    for b in range(4):
        for channel in range(2):
            kept = label[b, channel] != value
            expected = dice_of_what_is_left((logits[b, channel] >= 0).long(), label[b, channel], kept, [1])
            assert float(found[b, channel]) == pytest.approx(expected, abs=1e-6)


def test_an_unsigned_label_of_255_is_not_minus_one():
    logits, label = random_maps()
    label = label.masked_fill(some_voxels(), 255).to(torch.uint8)
    assert DiceCriterion(ignore_index=255).score(logits, label).isfinite().all()
    with pytest.raises(SampleError, match="with the value 255 where it cannot be"):
        DiceCriterion(ignore_index=-1).score(logits, label)


def test_another_value_than_the_ignored_one_is_still_refused():
    logits, label = random_maps()
    label[2, 0, 0, 0] = 7
    with pytest.raises(SampleError, match="Sample 2 of the batch has a label with the value 7"):
        DiceCriterion(ignore_index=255).score(logits, label)
    with pytest.raises(SampleError, match="Sample 1 of the batch has label 7, expected a class"):
        ClassificationCriterion(ignore_index=-1).score(torch.zeros(2, 3), torch.tensor([-1, 7]))
    with pytest.raises(SampleError, match="Sample 0 of the batch has label"):
        BinaryCriterion(ignore_index=-1).score(torch.zeros(1, 2), torch.tensor([[-1.0, 3.0]]))
    with pytest.raises(ValueError, match="Got ignore_index 'a', expected an integer"):
        ClassificationCriterion(ignore_index="a")


def test_surface_dice_and_the_evaluators_scores_do_not_see_ignored_voxels():
    logits, label = random_maps()
    ignored = some_voxels()
    label = label.masked_fill(ignored, 255)
    other = torch.where(ignored, -logits, logits)
    criterion = SurfaceDiceCriterion(ignore_index=255)
    assert torch.equal(criterion.score(logits, label), criterion.score(other, label))
    assert not torch.equal(
        criterion.score(logits, label), SurfaceDiceCriterion().score(logits, label.masked_fill(ignored, 0))
    )


@pytest.mark.parametrize("sigmoid", [False, True])
def test_the_objective_is_that_of_the_voxels_left_and_has_no_gradient_at_ignored_ones(sigmoid):
    classes = 2 if sigmoid else 3
    logits, label = random_maps(classes)
    ignored = some_voxels()
    if sigmoid:
        label = (torch.rand(4, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) > 0.5).long()
    marked = label.masked_fill(ignored, 255)
    leaf = logits.clone().requires_grad_()
    loss = SegmentationLoss(1, 0.7, sigmoid=sigmoid, ignore_index=255)(leaf, marked)
    loss.sum().backward()
    assert torch.equal(leaf.grad.masked_select(ignored), torch.zeros_like(leaf.grad.masked_select(ignored)))
    assert (leaf.grad.masked_select(~ignored) != 0).all()
    for b in range(4):
        kept = ~ignored[b, 0].flatten()
        cut = logits[b].flatten(1)[:, kept].view(1, classes, -1, 1)
        expected = SegmentationLoss(1, 0.7, sigmoid=sigmoid)(
            cut, label[b].flatten(1)[:, kept].view(1, -1, int(kept.sum()), 1)
        )
        assert loss[b].item() == pytest.approx(expected.item(), rel=1e-5)


def test_cross_entropy_is_torchs_with_the_same_ignore_index():
    logits, label = random_maps()
    label = label.masked_fill(some_voxels(), 255)
    found = SegmentationLoss(dice_weight=0, ignore_index=255)(logits, label)
    expected = [
        float(nn.functional.cross_entropy(z[None], y, ignore_index=255)) for z, y in zip(logits, label, strict=True)
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def all_ignored() -> dict[str, tuple]:
    """Criterion, logits, labels: the first sample has a label, the second none."""
    logits, label = random_maps(batch=2)
    label[1] = 255
    vectors = torch.tensor([[2.0, 1.0, 0.0], [3.0, 0.0, 0.0]])
    return {
        "dice": (DiceCriterion(0.1, ignore_index=255), logits, label),
        "class": (ClassificationCriterion(ignore_index=-1), vectors, torch.tensor([0, -1])),
        "binary": (BinaryCriterion(ignore_index=-1), vectors, torch.tensor([[1, 1, -1], [-1, -1, -1]])),
        "unknown": (BinaryCriterion(), vectors, torch.tensor([[1, 1, math.nan], [math.nan] * 3])),
    }


@pytest.mark.parametrize("kind", all_ignored())
def test_a_sample_without_a_label_has_no_score_no_loss_no_boundary_and_is_not_attacked(kind):
    criterion, logits, label = all_ignored()[kind]
    assert criterion.score(logits, label).isnan().tolist() == [False, True]
    assert criterion.labelled(logits, label).tolist() == [True, False]
    assert not criterion(logits, label)[1]
    leaf = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(criterion.loss(leaf, label).sum(), leaf)
    assert (gradient[1] == 0).all()
    assert (gradient[0] != 0).any()
    for attack in (
        BoundaryPGD("linf", steps=3, criterion=criterion),
        PGD("linf", steps=3, restarts=1, early_stop=False, criterion=criterion),
    ):
        result = attack(nn.Identity(), logits, label, 0.5)
        assert torch.equal(result.image[1], logits[1])
        assert not torch.equal(result.image[0], logits[0])
        assert not result.clean_correct[1]
    trained = PGDTraining(0.5, "linf", steps=3, criterion=criterion)
    assert torch.equal(trained.attack(nn.Identity(), logits, label, 0.5).image[1], logits[1])


def test_an_unknown_output_decides_nothing():
    logits = torch.tensor([[2.0, -1.0, 0.5], [2.0, -1.0, 0.5]])
    label = torch.tensor([[1, math.nan, 1], [1, 1, math.nan]])
    assert BinaryCriterion().score(logits, label).tolist() == [0.5, -1.0]
    marked = label.nan_to_num(-1).long()
    assert BinaryCriterion(ignore_index=-1).score(logits, marked).tolist() == [0.5, -1.0]
    noisy = PGD("linf", 1, 1, early_stop=False, random_start=False, criterion=BinaryCriterion())(
        nn.Identity(), logits, label, 0.1
    ).image
    assert ((noisy - logits) != 0).tolist() == [[False, False, True], [False, True, False]], "the weakest known label"


@pytest.mark.parametrize("name", ["pgd2x1", "pgd2x1-dice", "pgd2x1-ce", "apgd3-ce", "apgd3-dice"])
def test_named_attacks_leave_images_alone_that_only_ignored_voxels_depend_on(name):
    logits, label = random_maps(batch=1)
    label[..., :3] = 255
    label[..., 3] = 1
    logits[:, 1, :, 3:] += 3
    criterion = DiceCriterion("lowest", ignore_index=255)

    class Left(nn.Module):
        def forward(self, image):
            return torch.cat([image[..., :3], image[..., 3:].detach()], dim=-1)

    leaf = logits.clone().requires_grad_()
    attack = attack_from_name(name, "linf", criterion=criterion)
    loss = criterion.loss if attack.loss is None else attack.loss
    (gradient,) = torch.autograd.grad(loss(Left()(leaf), label).sum(), leaf, materialize_grads=True)
    assert (gradient == 0).all()
    assert attack(nn.Identity(), logits, label, 5.0).clean_score.tolist() == criterion.score(logits, label).tolist()


def test_trades_divergence_leaves_ignored_samples_outputs_and_voxels_out():
    clean, noisy = torch.randn(3, 4), torch.randn(3, 4)
    label = torch.tensor([0, -1, 2])
    loss = TRADESLoss(nn.CrossEntropyLoss(ignore_index=-1), ignore_index=-1)
    plain = TRADESLoss(nn.CrossEntropyLoss())
    rows = [0, 2]
    torch.testing.assert_close(loss.robust(clean, label, noisy), plain.robust(clean[rows], label[rows], noisy[rows]))
    assert float(loss.robust(clean, torch.full((3,), -1), noisy)) == 0
    known = torch.tensor([[1, 0, math.nan, math.nan]]).repeat(3, 1)
    sigmoid = TRADESLoss(nn.BCEWithLogitsLoss(), sigmoid=True)
    torch.testing.assert_close(
        sigmoid.robust(clean, known, noisy), sigmoid.robust(clean[:, :2], known[:, :2], noisy[:, :2])
    )
    logits, maps = random_maps(batch=1)
    other = logits.roll(1, dims=-1)
    ignored = some_voxels(0.3, (1, 1, SIDE, SIDE))
    kept = ~ignored.flatten()
    cut = [x.flatten(2)[:, :, kept].unsqueeze(-1) for x in (logits, maps, other)]
    torch.testing.assert_close(loss.robust(logits, maps.masked_fill(ignored, -1), other), plain.robust(*cut))


def test_the_brute_force_search_does_not_see_ignored_voxels():
    logits, label = random_maps(batch=1)
    label[..., :3] = 255
    logits[:, 0, :, 3:] -= 9
    logits[:, 1] += 9 * (label[:, 0] == 1)
    logits[:, 2] += 9 * (label[:, 0] == 2)
    criterion = DiceCriterion(ignore_index=255)
    (row,) = verify_segmentation(nn.Identity(), logits, label, "linf", 1e-3, None, criterion, restarts=1)
    expected = float(criterion.score(logits, label))
    assert (row.ours, row.theirs) == (pytest.approx(expected), pytest.approx(expected))


class Pixelwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image)


HANDLERS = {
    "ima": lambda criterion: IMAHandler(0.1, "linf", steps=2, margin_steps=2, criterion=criterion),
    "pgd": lambda criterion: PGDTrainingHandler(0.1, "linf", steps=2, criterion=criterion),
    "trades": lambda criterion: TRADESHandler(0.1, "linf", steps=2, criterion=criterion),
    "iaat": lambda criterion: IAATHandler(0.1, "linf", steps=2, warmup_epochs=0, criterion=criterion),
    "ddn": lambda criterion: DDNHandler(0.1, steps=2, criterion=criterion),
    "mma": lambda criterion: MMAHandler(0.1, "linf", steps=2, criterion=criterion),
}


@pytest.mark.parametrize("name", HANDLERS)
@pytest.mark.parametrize("maps", [True, False])
def test_a_batch_of_which_all_labels_are_ignored_trains_without_nan(name, maps):
    if name == "mma" and maps:
        pytest.skip("MMA is for classifiers")
    torch.manual_seed(0)
    _, label = random_maps()
    label = label if maps else torch.tensor([0, 1, 2, 0])
    label[:2] = 255
    items = [{"image": torch.rand(1, SIDE, SIDE), "label": label[k], "sample_id": str(k)} for k in range(4)]
    network = Pixelwise() if maps else nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 3))
    cross_entropy = nn.CrossEntropyLoss(ignore_index=255)
    criterion = DiceCriterion("relative:0.5", ignore_index=255) if maps else ClassificationCriterion(ignore_index=255)
    handler = HANDLERS[name](criterion)
    before = [weights.clone() for weights in network.parameters()]

    def loss(pred, label):
        return cross_entropy(pred, label.squeeze(1) if maps else label)

    trainer = make_trainer(network, items, [handler], epochs=2, batch_size=2, lr=0.1, loss_function=loss)
    trainer.run()
    scalars = {key: value for key, value in trainer.state.metrics.items() if key.startswith(f"{name}/")}
    assert scalars
    assert all(map(math.isfinite, scalars.values())), scalars
    assert all(weights.isfinite().all() for weights in network.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    if name in ("ima", "iaat", "mma"):
        assert handler.margins.ids() == ["2", "3"], "samples without a label have no margin"


def test_a_classifiers_evaluation_leaves_samples_without_a_label_out(tmp_path):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    images, label = torch.rand(6, 1, 4, 4), torch.tensor([0, -1, 2, 1, -1, 0])
    kept = [0, 2, 3, 5]

    def batch(rows: list[int]) -> dict:
        return {"image": images[rows], "label": label[rows], "sample_id": [str(row) for row in rows]}

    options = {"levels": [0.05], "attack": "pgd3x1", "checks": True}
    ignoring = evaluate(
        network, [batch([0, 1, 2]), batch([4]), batch([3, 5])], out=tmp_path / "a",
        criterion=ClassificationCriterion(ignore_index=-1), **options,
    )  # fmt: skip
    without = evaluate(network, [batch(kept)], cases=0, out=tmp_path / "b", **options)
    assert [sample.sample_id for sample in ignoring.samples] == [str(row) for row in kept]
    assert ignoring.samples == without.samples
    assert [check.numbers for check in ignoring.checks if check.name == "more_steps"] == [
        check.numbers for check in without.checks if check.name == "more_steps"
    ]
    with pytest.raises(ValueError, match="The label of every sample is ignored"):
        evaluate(network, [batch([1])], [0.05], out=tmp_path / "c", criterion=ClassificationCriterion(ignore_index=-1))


def test_a_missing_label_is_one_sentence_that_names_the_sample(tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    images = torch.rand(2, 1, 2, 2)
    batch = {"image": images, "sample_id": ["a", "b"]}
    sentence = "The batch of sample 'a' holds no labels, expected them under 'label'"
    with pytest.raises(ValueError, match=sentence):
        evaluate(network, [batch], [0.1], out=tmp_path)
    with pytest.raises(ValueError, match=sentence):
        AdversarialPrepareBatch(network, PGD("linf", 1, 1), 0.1)(batch)
    evaluator = SupervisedEvaluator("cpu", [batch], network)
    with pytest.raises(ValueError, match=sentence):
        BaselineThreshold(DiceCriterion("baseline"), evaluator).mean_score()
    with pytest.raises(ValueError, match="The batch holds no labels"):
        AdversarialPrepareBatch(network, PGD("linf", 1, 1), 0.1)({"image": images})
    items = [{"image": image, "sample_id": name} for image, name in zip(images, "ab", strict=True)]
    trainer = make_trainer(network, items, [PGDTrainingHandler(0.1, steps=1)], batch_size=2)
    with pytest.raises(ValueError, match=sentence):
        trainer.run()


def test_methods_take_a_batch_of_partly_known_labels():
    """The trainer's own loss masks unknown labels; the method does so in the attack."""

    def masked(pred: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        known = ~label.isnan()
        return nn.functional.binary_cross_entropy_with_logits(pred[known], label[known])

    network = nn.Linear(4, 3)
    label = torch.tensor([[1, math.nan, 0], [math.nan, math.nan, math.nan], [0, 1, math.nan]])
    batch = Batch.of(network, torch.rand(3, 4), label, list("abc"))
    method = PGDTraining(0.1, "linf", steps=2, criterion=BinaryCriterion())
    method.begin_epoch(1, 1)
    loss = method.loss(batch, network(batch.image), masked)
    loss.backward()
    assert loss.isfinite()
    assert network.weight.grad.isfinite().all()


def ignoring_bundle(root: Path, style: str, loss: dict | str, **ids: object) -> Path:
    """A wild bundle with another loss and other ids, given with ``__`` for ``#``."""
    STYLES[style](root)
    file = root / "configs" / "train.json"
    parser = ConfigParser(json.loads(file.read_text()))
    for name, content in {"loss": loss, **ids}.items():
        parser[name.replace("__", "::")] = content
    file.write_text(json.dumps(parser.get()))
    return root


def task_of(root: Path) -> Task:
    return find_task(find_parts(read_training_config(root)).clues)


@pytest.mark.parametrize(
    ("loss", "found"),
    [
        (part("torch.nn.CrossEntropyLoss"), None),
        (part("torch.nn.CrossEntropyLoss", ignore_index=255), 255),
        (part("torch.nn.NLLLoss", ignore_index=-1), -1),
        (part("DeepSupervisionLoss", loss=part("DiceLoss", softmax=True, to_onehot_y=True, ignore_index=2)), 2),
        (part("mine.Sum", losses=[part("DiceLoss"), part("FocalLoss", ignore_index="@ignored")]), 7),
        ("$torch.nn.CrossEntropyLoss(weight=None, ignore_index=-1)", -1),
        ("$lambda p, y: @inner(p, y)", 9),
    ],
)
def test_the_ignored_label_is_read_from_the_loss(loss, found, tmp_path):
    inner = part("TverskyLoss", ignore_index=9)
    root = ignoring_bundle(tmp_path / "b", "zoo_segmentation", loss, ignored=7, inner=inner)
    assert task_of(root).ignore_index == found


def test_the_ignored_label_is_read_from_the_metric_and_the_command_line(tmp_path, capsys):
    metric = {"dice": part("IgniteMetricHandler", metric_fn=part("DiceMetric", ignore_index=4))}
    loss = part("DiceCELoss", softmax=True)
    root = ignoring_bundle(tmp_path / "b", "zoo_segmentation", loss, validate__key_metric=metric)
    assert task_of(root).ignore_index == 4
    assert main(["harden", "--bundle", str(root), "--ignore_index", "-1", "--dry_run"]) == 0
    shown = capsys.readouterr().out
    assert "     ignored  label -1, counts nowhere" in shown
    assert '"ignore_index": -1' in shown
    assert main(["harden", "--bundle", str(root), "--ignore_index", "some", "--dry_run"]) == 2
    assert "Got ignore_index 'some', expected an integer" in capsys.readouterr().err


def test_a_loss_that_ignores_two_labels_asks_for_the_one(tmp_path, capsys):
    losses = part("mine.Sum", losses=[part("DiceLoss", ignore_index=1), part("FocalLoss", ignore_index=2)])
    root = ignoring_bundle(tmp_path / "b", "zoo_segmentation", losses)
    assert main(["harden", "--bundle", str(root), "--dry_run"]) == 2
    assert "leaves out several labels (ignore_index 1, 2), expected the one" in capsys.readouterr().err
    assert main(["harden", "--bundle", str(root), "--dry_run", "--ignore_index", "2"]) == 0


QUICK = ["--steps", "2", "--margin_steps", "2", "--binary_steps", "2", "--val_steps", "2", "--epochs", "1"]


def hardened(root: Path, *arguments: str) -> ConfigWorkflow:
    """The training of a hardened bundle, done."""
    assert main(["harden", "--bundle", str(root), *QUICK, *arguments]) == 0
    with _inside(root):
        files = [str(root / "configs" / name) for name in ("train.json", "train_ima.json")]
        workflow = ConfigWorkflow(files, logging_file=False, bundle_root=str(root))
        workflow.initialize()
        workflow.run()
    return workflow


def test_a_segmentation_bundle_whose_loss_ignores_255_is_hardened_trained_and_evaluated(tmp_path, capsys):
    loss = "$lambda pred, label: torch.nn.functional.cross_entropy(pred, label.squeeze(1).long(), ignore_index=255)"
    transforms = [
        part("Lambdad", keys="label", func="$lambda label: label * (label != 255)"),
        part("AsDiscreted", keys=["pred", "label"], argmax=[True, False], to_onehot=2),
    ]
    own_metric = part("Compose", transforms=transforms)
    root = ignoring_bundle(tmp_path / "b", "zoo_segmentation", loss, train__postprocessing=own_metric)
    for file in sorted((root / "data").glob("label*.npy")):
        label = np.load(file)
        label[..., :6] = 255
        np.save(file, label)
    workflow = hardened(root, "--threshold", "relative:0.9")
    assert "ignored  label 255" in capsys.readouterr().out
    handler = workflow.parser.get_parsed_content("harden#handler")
    assert handler.method.criterion.ignore_index == 255
    assert len(handler.margins) == 2
    metrics = workflow.parser.get_parsed_content("train#trainer").state.metrics
    assert all(map(math.isfinite, (value for key, value in metrics.items() if key.startswith("ima/"))))
    weights = root / "models" / "model_ima.pt"
    options = ["--levels", "0,0.05", "--attack", "pgd2x1", "--checkpoint", str(weights), "--out", str(tmp_path / "out")]
    options += ["--cases", "1"]
    assert main(["evaluate", "--bundle", str(root), *options]) == 0, capsys.readouterr().err
    scans = Results.read(tmp_path / "out").samples
    loaded = load_bundle(root, checkpoint=weights)
    network = loaded.network.eval()
    for scan, batch in zip(scans, loaded.data_loader, strict=True):
        with torch.no_grad():
            predicted = loaded.inferer(batch["image"].as_tensor(), network)[0].argmax(0)
        label = batch["label"].as_tensor()[0, 0]
        expected = dice_of_what_is_left(predicted, label, label != 255, [1])
        assert isinstance(scan, ScanRecord)
        assert scan.scores[0].dice == [pytest.approx(expected, abs=1e-6)]


def test_a_classification_bundle_whose_loss_ignores_a_class_is_hardened_trained_and_evaluated(tmp_path, capsys):
    loss = part("torch.nn.CrossEntropyLoss", ignore_index=1)
    root = ignoring_bundle(tmp_path / "b", "zoo_classification", loss)
    workflow = hardened(root)
    handler = workflow.parser.get_parsed_content("harden#handler")
    attack = workflow.parser.get_parsed_content("harden#attack")
    assert handler.method.criterion.ignore_index == attack.criterion.ignore_index == 1
    assert {Path(name).name[0] for name in handler.margins.ids()} == {"0"}
    options = ["--levels", "0,0.05", "--attack", "pgd2x1", "--out", str(tmp_path / "out")]
    assert main(["evaluate", "--bundle", str(root), *options]) == 0, capsys.readouterr().err
    found = Results.read(tmp_path / "out")
    assert {sample.label for sample in found.samples} == {0}
    assert found.data.samples == 4
    saved = ["--eps", "0.05", "--attack", "pgd2x1", "--out", str(tmp_path / "images")]
    assert main(["attack", "--bundle", str(root), *saved]) == 0, capsys.readouterr().err
