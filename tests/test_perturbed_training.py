"""Training in the space of a perturbation's parameters: losses, margins and labels against closed forms."""

from __future__ import annotations

import json

import pytest
import torch
from monai.data import MetaTensor
from test_harden import build, config_of, harden, train
from torch import nn
from torch.nn.functional import cross_entropy
from training_runs import blobs, make_trainer, small_network
from wild_bundles import STYLES

from monai_ima.__main__ import main
from monai_ima.attacks import PGD, AttackResult
from monai_ima.criteria import DiceCriterion
from monai_ima.engines import AdversarialPrepareBatch
from monai_ima.handlers import IMAHandler
from monai_ima.margins import MarginTable
from monai_ima.methods import DDN, IAAT, IMA, MMA, TRADES, PGDTraining
from monai_ima.perturbations import BiasField, Gain, IntensityShift, Perturbation
from monai_ima.utils.batch import Batch


class MovedByVoxels(Perturbation):
    """The image, and its label, one voxel further to the right where θ >= 0.5."""

    name, title, unit, levels, geometric = "moved", "moved", "voxels", (1.0,), True

    def shape(self, image):
        return (1,)

    def change(self, image, theta, constants):
        moved = (theta >= 0.5).to(image)[..., None, None] * (image.roll(1, -1) - image)
        return moved + 0 * theta[..., None, None]

    def change_label(self, label, theta, constants):
        return torch.where(theta[..., None, None] >= 0.5, label.roll(1, -1), label)


def linear(weights: list[list[float]], bias: list[float]) -> nn.Module:
    layer = nn.Linear(len(weights[0]), len(weights))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weights))
        layer.bias.copy_(torch.tensor(bias))
    return nn.Sequential(nn.Flatten(), layer)


def one_batch() -> tuple[nn.Module, Batch]:
    """Logits x₁ + x₂ and 1: class 0 as long as the sum exceeds 1; the lowest intensity, the floor of gain, is 0."""
    image = torch.tensor([[[0.0, 1.25]], [[0.0, 2.0]], [[0.0, 0.5]]])
    network = linear([[1.0, 1.0], [0.0, 0.0]], [0.0, 1.0])
    return network, Batch.of(network, image, torch.tensor([0, 0, 1]), ["a", "b", "c"])


def test_margins_are_in_the_perturbations_unit_and_meet_the_closed_form():
    _, batch = one_batch()
    method = IMA(eps_max=200.0, delta=1.0, perturbation=Gain(), binary_steps=20, first_pass=True)
    method.begin_epoch(1, 10, [batch])
    assert method.margins["a"] == pytest.approx(100 * (1 - 1 / 1.25), rel=0.01)
    assert method.margins["b"] == pytest.approx(100 * (1 - 1 / 2.0), rel=0.01)
    assert method.margins["c"] == pytest.approx(100.0, rel=0.01)
    assert method.margins.perturbation == "gain, %"


def test_fixed_eps_training_takes_the_worst_gain():
    network, batch = one_batch()
    method = PGDTraining(eps=10.0, beta=1.0, perturbation=Gain())
    method.begin_epoch(1, 10)
    found = method.loss(batch, network(batch.image), cross_entropy)
    worst = batch.image * torch.tensor([0.9, 0.9, 1.1]).view(3, 1, 1)
    assert float(found) == pytest.approx(float(cross_entropy(network(worst), batch.label)), rel=1e-5)


@pytest.mark.parametrize(
    "method",
    [
        PGDTraining(eps=5.0, perturbation=IntensityShift()),
        TRADES(eps=5.0, perturbation=IntensityShift()),
        IMA(eps_max=5.0, perturbation=IntensityShift()),
        MMA(eps_max=5.0, perturbation=IntensityShift()),
        IAAT(eps_max=5.0, warmup_epochs=0, perturbation=IntensityShift()),
        DDN(eps_max=5.0, perturbation=IntensityShift(norm="l2")),
    ],
    ids=lambda method: method.name,
)
def test_every_method_trains_in_a_perturbation(method):
    network, batch = one_batch()
    method.begin_epoch(1, 10, [batch])
    loss = method.loss(batch, network(batch.image), cross_entropy)
    loss.backward()
    method.end_epoch([batch])
    assert torch.isfinite(loss)
    assert network[1].weight.grad.abs().sum() > 0


def test_the_l2_method_refuses_a_perturbation_in_another_norm():
    with pytest.raises(ValueError, match="expected a perturbation in the norm 'l2'"):
        DDN(eps_max=5.0, perturbation=IntensityShift())


def test_labels_move_with_the_voxels_in_training_and_validation():
    network = nn.Conv2d(1, 2, 1)
    image = torch.zeros(1, 1, 4, 4)
    image[..., 1] = 1
    label = image.long()
    batch = Batch.of(network, image, label, ["a"])
    seen = []

    def loss_function(prediction, target):
        seen.append(target)
        return cross_entropy(prediction, target[:, 0])

    method = PGDTraining(eps=1.0, beta=1.0, perturbation=MovedByVoxels(), criterion=DiceCriterion(0.5))
    method.begin_epoch(1, 10)
    method.loss(batch, network(image), loss_function)
    _, noisy = seen
    result = method.attack_batch(method.attack, batch, 1.0)
    assert torch.equal(noisy, label.roll(1, -1) if float(result.theta) >= 0.5 else label)
    yes = torch.tensor([True])
    ended = AttackResult(image.roll(1, -1), yes, yes, yes, yes, label=label.roll(1, -1))
    assert torch.equal(method.noisy(batch, ended).label, label.roll(1, -1))

    attack = PGD(steps=2, restarts=1, criterion=DiceCriterion(0.5), perturbation=MovedByVoxels())
    prepare = AdversarialPrepareBatch(network, attack, eps=1.0)
    item = {"image": MetaTensor(image), "label": MetaTensor(label)}
    noisy, moved = prepare(item)
    assert torch.equal(noisy.as_tensor() > 0.5, moved.as_tensor() > 0.5)


def test_trades_refuses_a_perturbation_that_moves_voxels():
    with pytest.raises(ValueError, match="Got moved for TRADES of a segmentation"):
        TRADES(eps=1.0, perturbation=MovedByVoxels(), criterion=DiceCriterion(0.5))


def test_margins_of_another_perturbation_are_refused():
    table = MarginTable(eps_max=20.0, delta=1.0)
    table.note_attack("linf", 16, BiasField())
    table.register(["a"])
    other = MarginTable(eps_max=20.0, delta=1.0)
    other.load_state_dict(table.state_dict())
    assert other.perturbation == "bias field, %"
    other.note_attack("linf", 16, BiasField())
    with pytest.raises(ValueError, match=r"The margins measure bias field, % \(linf\), but attacks noise \(l2\)"):
        other.note_attack("l2", 16)


def test_a_handler_trains_and_keeps_its_margins_in_the_unit(tmp_path, capsys):
    network = small_network()
    handler = IMAHandler(eps_max=30.0, delta=3.0, perturbation=BiasField(points=2), steps=4, margin_steps=4)
    make_trainer(network, blobs(), [handler], epochs=4).run()
    values = handler.margins.values()
    assert len(values) == 24
    assert values.min() >= 3.0
    assert values.max() <= 30.0
    assert len(values.unique()) > 3
    torch.save({"margins": handler.margins.state_dict()}, tmp_path / "model.pt")
    assert main(["margins", "--checkpoint", str(tmp_path / "model.pt")]) == 0
    assert "(bias field, %)" in capsys.readouterr().out


def test_a_bundle_is_hardened_against_a_perturbation(tmp_path, capsys):
    root = tmp_path / "zoo"
    STYLES["zoo_segmentation"](root)
    quick = ["--steps", "2", "--margin_steps", "2", "--binary_steps", "3", "--val_steps", "2"]
    options = ["--perturbation", "bias_field(points=2)", "--eps_max", "30", "--delta", "3"]
    assert harden(root, *options, *quick, "--epochs", "1") == 0, capsys.readouterr().err
    shown = capsys.readouterr().out
    assert "30 (bias field, %)" in shown
    assert "--levels 0 --perturbation 'bias_field(points=2)@15:30'" in shown
    overlay = json.loads((root / "configs" / "train_ima.json").read_text())
    assert overlay["harden"]["perturbation"] == "bias_field(points=2)"
    assert "norm" not in overlay["harden"]
    workflow = train(root, config_of(root), "train_ima.json")
    margins = workflow.parser.get_parsed_content("harden#handler").margins
    assert margins.perturbation == "bias field, %"
    assert 3.0 <= float(margins.values().min()) <= float(margins.values().max()) <= 30.0


def test_without_eps_max_the_largest_usual_size_is_taken(tmp_path, capsys):
    root = tmp_path / "zoo"
    STYLES["zoo_segmentation"](root)
    assert harden(root, "--perturbation", "bias_field:30+noise:5", "--delta", "0.1") == 0, capsys.readouterr().err
    assert "share of bias field 30 %, noise level 5 %" in capsys.readouterr().out
    workflow = build(root, config_of(root), "train_ima.json")
    assert workflow.parser.get_parsed_content("harden#handler").method.margins.eps_max == 1.0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--perturbation", "bias"], "Got perturbation 'bias', expected one of bias_field"),
        (["--perturbation", "bias_field(point=3)"], "Got setting 'point' of bias_field, expected one of points, norm"),
        (["--perturbation", "bias_field:30+noise"], "expected a radius for each link"),
        (["--perturbation", "bias_field", "--norm", "l2"], "Got perturbation and norm 'l2', expected one"),
        (["--perturbation", "bias_field", "--method", "ddn"], "expected a perturbation in the norm 'l2'"),
    ],
)
def test_bad_perturbations_are_named_in_one_sentence(options, words, tmp_path, capsys):
    root = tmp_path / "zoo"
    STYLES["zoo_segmentation"](root)
    assert harden(root, *options) == 2
    said = capsys.readouterr().err
    assert words in said
    assert not (root / "configs" / "train_ima.json").exists()


def test_a_selection_by_a_prediction_with_metadata_keeps_the_voxel_sizes_of_its_samples():
    affine = torch.stack([torch.diag(torch.tensor([size, size, 1.0, 1.0])) for size in (2.0, 3.0, 4.0)])
    image = MetaTensor(torch.rand(3, 1, 4, 4), affine=affine)
    batch = Batch.of(nn.Flatten(), image, torch.tensor([0, 1, 0]), ["a", "b", "c"])
    chosen = batch.select(MetaTensor(torch.tensor([0, 2])))
    assert not isinstance(chosen.image, MetaTensor)
    assert chosen.spacing is not None
    assert chosen.spacing.tolist() == [[2.0, 2.0], [4.0, 4.0]]
