"""The training methods beside IMA, each checked against its paper's formula computed in another way."""

from __future__ import annotations

import copy
import logging
import math
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from monai.data import Dataset
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.handlers import CheckpointLoader, CheckpointSaver, LrScheduleHandler
from monai.losses import DiceCELoss, DiceLoss
from monai.networks.nets import UNet
from monai.utils import set_determinism
from scipy.special import expit, rel_entr, softmax
from torch import nn
from training_runs import assert_same_weights, blobs, make_trainer, small_network, stacked

from monai_ima.attacks import PGD, AdaptiveNormPGD
from monai_ima.criteria import BinaryCriterion, DiceCriterion
from monai_ima.handlers import (
    DDNHandler,
    EpochSeed,
    IAATHandler,
    IMAHandler,
    MMAHandler,
    PGDTrainingHandler,
    TRADESHandler,
)
from monai_ima.losses import IMALoss, MMALoss, TRADESLoss, find_reduction
from monai_ima.losses.reduction import Reduction
from monai_ima.losses.soft_logit_margin import soft_logit_margin
from monai_ima.transforms import RandUniformNoised
from monai_ima.utils.generators import per_sample_generators

METHODS = {
    "pgd": lambda: PGDTrainingHandler(0.5, steps=3),
    "trades": lambda: TRADESHandler(0.5, steps=3),
    "ddn": lambda: DDNHandler(1.0, steps=8),
    "iaat": lambda: IAATHandler(1.0, steps=3, warmup_epochs=1, smoothing=0.5),
    "mma": lambda: MMAHandler(1.0, steps=3),
}
IMA = {
    f"ima {update}": lambda update=update: IMAHandler(1.5, delta=0.3, steps=4, margin_steps=5, update=update)
    for update in ("epoch", "online")
}

still_trainer = partial(make_trainer, batch_size=32, lr=0.0)
"""A trainer that leaves the weights as they are."""


class Line(nn.Module):
    """Two classes told apart by a plane: the margin of x is |w.x + b| / ‖w‖ in L2, / ‖w‖_1 in Linf."""

    def __init__(self, weight=(3.0, 4.0), bias=0.5):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def forward(self, image):
        height = image.flatten(1) @ self.weight + self.bias
        return torch.stack([-height / 2, height / 2], dim=1)


def at_distances(distances, weight=(3.0, 4.0), bias=0.5):
    """Points at these signed distances (in L2) on their label's side of the plane, alternating labels."""
    w = torch.tensor(weight)
    items = []
    for k, distance in enumerate(distances):
        label = k % 2
        height = (2 * label - 1) * distance * float(w.norm())
        image = w / w.norm() ** 2 * (height - bias) + torch.tensor([4.0, -3.0]) * 0.1 * k
        items.append({"image": image.reshape(1, 1, 2), "label": label, "sample_id": f"s{k}"})
    return items


def last_loss(trainer):
    trainer.run()
    return float(trainer.state.output[0]["loss"])


def logistic(distance, norm=5.0):
    """Cross-entropy of a point at a signed distance from the plane."""
    return math.log1p(math.exp(-distance * norm))


# --- PGD training --------------------------------------------------------------------------------------------------


def test_fixed_eps_training_mixes_the_clean_loss_with_the_loss_at_the_nearest_boundary_side():
    distances = [0.9, 0.3, -0.2, 1.4]
    loss = last_loss(
        still_trainer(Line(), at_distances(distances), [PGDTrainingHandler(0.5, steps=40, beta=0.3)], batch_size=4)
    )
    clean = sum(map(logistic, distances)) / 4
    noisy = sum(logistic(distance - 0.5) for distance in distances) / 4
    assert loss == pytest.approx(0.7 * clean + 0.3 * noisy, rel=2e-3)


# --- TRADES --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_trades_loss_equals_a_plain_loop(norm):
    network, data = small_network().eval(), blobs(6)
    steps, eps, beta, alpha = 5, 0.4, 3.0, 2.0
    trainer = still_trainer(copy.deepcopy(network), data, [TRADESHandler(eps, norm, beta, steps, alpha)])
    trainer.network[3].p = 0.0
    loss = last_loss(trainer)
    expected = 0.0
    for item, stream in zip(data, per_sample_generators("0/1/training", [i["sample_id"] for i in data]), strict=True):
        x, y = item["image"][None], torch.tensor([item["label"]])
        p = softmax(network(x).detach().double().numpy(), axis=1)
        current = x + 0.001 * torch.empty_like(x[0]).normal_(generator=stream)
        for _ in range(steps):
            leaf = current.clone().requires_grad_()
            kl = F.kl_div(F.log_softmax(network(leaf), 1), torch.tensor(p).float(), reduction="sum")
            (g,) = torch.autograd.grad(kl, leaf)
            move = current + alpha * eps / steps * (g.sign() if norm == "linf" else g / g.norm()) - x
            move = move.clamp(-eps, eps) if norm == "linf" else move * min(1.0, eps / float(move.norm()))
            current = (x + move).detach()
        q = softmax(network(current).detach().double().numpy(), axis=1)
        expected += (F.cross_entropy(network(x), y).item() + beta * rel_entr(p, q).sum()) / len(data)
    assert loss == pytest.approx(expected, rel=1e-4)


def test_trades_at_beta_0_is_plain_training():
    networks = []
    for handlers in ([], [TRADESHandler(0.5, beta=0.0, steps=2)]):
        set_determinism(0)
        network = small_network()
        network[3].p = 0.0
        make_trainer(network, blobs(), handlers, epochs=2, lr=0.1).run()
        networks.append(network)
    set_determinism(None)
    assert_same_weights(*(network.state_dict() for network in networks))


def test_trades_divergence_of_independent_outputs_and_of_maps():
    generator = torch.Generator().manual_seed(0)
    clean, noisy = (torch.randn(3, 4, generator=generator) for _ in range(2))
    p, q = expit(clean.double().numpy()), expit(noisy.double().numpy())
    expected = (rel_entr(p, q) + rel_entr(1 - p, 1 - q)).sum(axis=1).mean()
    label = torch.zeros(3, 4)
    assert float(TRADESLoss(nn.BCEWithLogitsLoss(), 1.0, sigmoid=True).robust(clean, label, noisy)) == pytest.approx(
        expected, rel=1e-5
    )
    clean, noisy = (torch.randn(2, 3, 4, 5, 6, generator=generator) for _ in range(2))
    p, q = (softmax(z.double().numpy(), axis=1) for z in (clean, noisy))
    label = torch.zeros(2, 1, 4, 5, 6)
    loss = TRADESLoss(nn.CrossEntropyLoss())
    assert float(loss.robust([clean], label, [noisy])) == pytest.approx(rel_entr(p, q).sum(axis=1).mean(), rel=1e-5)
    with pytest.raises(ValueError, match=r"shapes \(2, 3, 4, 5, 6\) and \(2, 2, 4, 5, 6\)"):
        loss.robust(clean, label, noisy[:, :2])


def test_trades_moves_the_prediction_without_regard_to_the_label():
    weight = (3.0, 4.0)
    loss = last_loss(still_trainer(Line(weight), at_distances([-0.4]), [TRADESHandler(0.2, beta=1.0, steps=20)]))

    def divergence(a, b):
        p, q = expit(a * 5), expit(b * 5)
        return float(rel_entr(p, q) + rel_entr(1 - p, 1 - q))

    farther = max(divergence(-0.4, -0.6), divergence(-0.4, -0.2))
    nearer = min(divergence(-0.4, -0.6), divergence(-0.4, -0.2))
    robust = loss - logistic(-0.4)
    assert robust == pytest.approx(farther, rel=1e-3) or robust == pytest.approx(nearer, rel=1e-3)


# --- DDN -----------------------------------------------------------------------------------------------------------


def test_ddn_trains_on_the_nearest_wrong_points_alone():
    distances = [0.4, 0.8, -0.3, 2.5]
    handler = DDNHandler(eps_max=1.5, steps=100, init_eps=0.5)
    trainer = still_trainer(Line(), at_distances(distances), [handler])
    loss = last_loss(trainer)
    expected = (2 * logistic(0.0) + logistic(-0.3) + logistic(2.5 - 1.5)) / 4
    assert loss == pytest.approx(expected, rel=0.03)
    assert trainer.state.metrics["ddn/found_fraction"] == pytest.approx(2 / 3)
    assert trainer.state.metrics["ddn/distance_mean"] == pytest.approx((0.4 + 0.8 + 0.0 + 1.5) / 4, rel=0.02)


# --- IAAT ----------------------------------------------------------------------------------------------------------


def test_iaat_moves_every_radius_as_its_algorithm_says():
    distances = [0.55, 0.35, 2.0, 0.25, -0.1]
    handler = IAATHandler(eps_max=0.7, gamma=0.2, smoothing=0.4, warmup_epochs=1, warmup_eps=0.4, steps=40, alpha=4.0)
    trainer = still_trainer(Line(), at_distances(distances), [handler], epochs=6)
    seen = []
    trainer.add_event_handler(
        "EPOCH_COMPLETED", lambda engine: seen.append([handler.margins[f"s{k}"] for k in range(len(distances))])
    )
    trainer.run()
    eps = [0.0 if distance < 0 else 0.4 for distance in distances]
    for epoch, after in enumerate(seen):
        if epoch > 0:
            for k, distance in enumerate(distances):
                if distance < 0:
                    found = 0.0
                elif eps[k] + 0.2 < distance:
                    found = eps[k] + 0.2
                elif eps[k] < distance:
                    found = eps[k]
                else:
                    found = max(eps[k] - 0.2, 0.0)
                eps[k] = min(0.6 * eps[k] + 0.4 * found, 0.7)
        assert after == pytest.approx(eps, abs=1e-6), f"epoch {epoch + 1}"
    assert seen[-1][2] == pytest.approx(0.7)
    assert 0.2 < seen[-1][3] < 0.3


def test_iaat_trains_right_samples_at_their_radius_and_wrong_ones_clean():
    distances = [1.0, 0.6, -0.2]
    handler = IAATHandler(eps_max=1.0, warmup_epochs=1, warmup_eps=0.4, steps=40, alpha=4.0)
    loss = last_loss(still_trainer(Line(), at_distances(distances), [handler]))
    assert loss == pytest.approx((logistic(0.6) + logistic(0.2) + logistic(-0.2)) / 3, rel=2e-3)


# --- MMA -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("bounds", [None, (-20.0, 20.0)])
def test_mma_margin_is_the_closed_form_on_a_linear_model(norm, bounds):
    distances = [0.31, 0.77, 1.3, 2.9]
    handler = MMAHandler(2.0, norm, bounds=bounds, eps_min=0.2)
    still_trainer(Line(), at_distances([*distances, -0.5]), [handler], epochs=2).run()
    assert handler.margins["s4"] == pytest.approx(0.2)
    stretch = 5.0 / (7.0 if norm == "linf" else 5.0)
    for k, distance in enumerate(distances):
        assert handler.margins[f"s{k}"] == pytest.approx(min(distance * stretch, 2.0), rel=0.02)


def test_mma_margin_of_several_classes_is_the_distance_to_the_nearest_other_one():
    generator = torch.Generator().manual_seed(1)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    network[1].weight.data = torch.randn(3, 12, generator=generator)
    network[1].bias.data = torch.tensor([0.0, 0.0, -100.0])
    image = torch.randn(20, 1, 3, 4, generator=generator)
    label = network(image).argmax(dim=1)
    attack = AdaptiveNormPGD(5.0, steps=40, alpha=10.0, loss=soft_logit_margin)
    result = attack(network, image, label, 0.2)
    z, w = network(image).detach(), network[1].weight.detach()
    for k in range(20):
        y = int(label[k])
        margins = [float((z[k, y] - z[k, j]) / (w[y] - w[j]).norm()) for j in range(3) if j != y]
        assert float(result.distance[k]) == pytest.approx(min(margins), rel=0.02)
    assert result.success.all()
    assert (network(result.image).argmax(dim=1) == label).all()


def test_mma_loss_is_a_third_clean_and_two_thirds_at_the_boundary():
    distances = [0.4, 1.1, -0.3, 3.0]
    loss = last_loss(still_trainer(Line(), at_distances(distances), [MMAHandler(2.0, binary_steps=20)]))
    clean = sum(map(logistic, distances)) / 4
    margin = (2 * math.log(2) + logistic(-0.3)) / 4
    assert loss == pytest.approx(clean / 3 + 2 / 3 * margin, rel=1e-4)


def test_mma_with_all_margins_beyond_the_hinge_trains_on_clean_samples_only():
    trainer = still_trainer(Line(), at_distances([1.1, 1.4]), [MMAHandler(1.0)])
    assert last_loss(trainer) == pytest.approx((logistic(1.1) + logistic(1.4)) / 2 / 3, rel=1e-3)
    assert trainer.state.metrics["mma/margin_max_fraction"] == 1.0


def test_soft_logit_margin_equals_the_formula():
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]])
    expected = [math.log(math.exp(-1) + math.exp(0.5)) - 2.0, math.log(1 + math.exp(3)) - 1.0]
    assert soft_logit_margin(logits, torch.tensor([[0], [2]])).tolist() == pytest.approx(expected, rel=1e-6)


# --- all of them ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*METHODS, *IMA])
def test_a_resumed_run_equals_an_uninterrupted_one(name, tmp_path):
    """Bit for bit, weights and margins, with shuffling, dropout, random augmentation, momentum and a scheduler."""

    def run(epochs, folder, resume=None):
        set_determinism(7)
        network, handler = small_network(dropout=0.3), {**METHODS, **IMA}[name]()
        optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.7)
        state = {"network": network, "optimizer": optimizer, "scheduler": scheduler}
        if hasattr(handler, "margins"):
            state["margins"] = handler.margins
        saver = CheckpointSaver(str(folder), state, save_interval=1, n_saved=9)  # before the handler, on purpose
        handlers = [LrScheduleHandler(scheduler, print_lr=False), saver, handler]
        data = Dataset(blobs(20), RandUniformNoised("image", eps=(0.0, 0.5), norm="l2", prob=0.5))
        trainer = make_trainer(network, data, handlers, epochs, 6, shuffle=True, optimizer=optimizer)
        EpochSeed(7, data).attach(trainer)
        state["trainer"] = saver.save_dict["trainer"] = trainer
        if resume:
            CheckpointLoader(str(resume), state).attach(trainer)
        trainer.run()
        set_determinism(None)
        return network.state_dict(), handler.margins.state_dict() if hasattr(handler, "margins") else None

    weights, margins = run(4, tmp_path / "whole")
    run(2, tmp_path / "part")
    (checkpoint,) = (tmp_path / "part").glob("*epoch=2*")
    resumed, resumed_margins = run(4, tmp_path / "rest", resume=checkpoint)
    assert_same_weights(weights, resumed)
    if margins is not None:
        assert margins["ids"] == resumed_margins["ids"] == [item["sample_id"] for item in blobs(20)]
        assert torch.equal(margins["margins"], resumed_margins["margins"])
        assert len(set(margins["margins"].tolist())) > 3


@pytest.mark.parametrize("name", METHODS)
def test_training_makes_a_network_more_robust_than_plain_training(name):
    robust = {}
    for method in ("plain", name):
        set_determinism(0)
        network = small_network(dropout=0.1)
        handlers = [] if method == "plain" else [METHODS[name]()]
        make_trainer(network, blobs(64), handlers, epochs=25, batch_size=16, lr=0.2).run()
        image, label = stacked(blobs(64))
        robust[method] = int((~PGD(steps=20, restarts=1)(network, image, label, 0.7).success).sum())
    set_determinism(None)
    assert robust[name] > robust["plain"]


@pytest.mark.parametrize("name", METHODS)
def test_the_network_trains_in_training_mode_afterwards(name):
    network, handler = small_network(dropout=0.1), METHODS[name]()
    modes = []
    trainer = make_trainer(network, blobs(8), [handler])
    trainer.add_event_handler(
        "ITERATION_COMPLETED", lambda engine: modes.append([m.training for m in network.modules()])
    )
    trainer.run()
    assert all(all(flags) for flags in modes)
    assert modes
    assert math.isfinite(trainer.state.output[0]["loss"])


@pytest.mark.parametrize(
    "handler",
    [
        lambda: PGDTrainingHandler(0.5, steps=2, criterion=DiceCriterion(0.2)),
        lambda: TRADESHandler(0.5, steps=2, criterion=DiceCriterion(0.5)),
        lambda: IAATHandler(2.0, steps=2, warmup_epochs=1, criterion=DiceCriterion(0.2)),
    ],
    ids=["pgd", "trades", "iaat"],
)
@pytest.mark.parametrize("dims", [2, 3])
def test_segmentation(handler, dims):
    method = handler()
    generator = torch.Generator().manual_seed(0)
    data = []
    for k in range(4):
        label = torch.zeros(1, *[8] * dims)
        label[:, 2:6, 1 : 4 + k % 2] = 1
        data.append({"image": label + 0.1 * torch.randn(label.shape, generator=generator), "label": label})
        data[-1]["sample_id"] = f"scan{k}"
    torch.manual_seed(0)
    network = UNet(dims, 1, 2, (4, 8), (2,), num_res_units=0, norm=("instance", {"affine": True}))
    before = copy.deepcopy(network.state_dict())
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    trainer = make_trainer(network, data, [method], epochs=3, batch_size=2, loss_function=loss)
    trainer.run()
    assert math.isfinite(trainer.state.output[0]["loss"])
    assert any(not torch.equal(before[key], value) for key, value in network.state_dict().items())
    if isinstance(method, IAATHandler):
        assert method.margins.ids() == ["scan0", "scan1", "scan2", "scan3"]


def test_multi_label_trades():
    torch.manual_seed(0)
    data = [{"image": torch.randn(1, 4, 4), "label": torch.tensor([1.0, 0.0]), "sample_id": f"s{k}"} for k in range(4)]
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    handler: Any = TRADESHandler(0.3, steps=2, criterion=BinaryCriterion())
    trainer = still_trainer(network, data, [handler], loss_function=nn.BCEWithLogitsLoss())
    loss = last_loss(trainer)
    assert handler.method.sigmoid
    assert loss > trainer.state.metrics["trades/loss_clean"]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: PGDTrainingHandler(0.0), "Got eps 0.0, expected a finite number > 0"),
        (lambda: TRADESHandler(math.nan), "Got eps nan"),
        (lambda: TRADESHandler(0.1, beta=-1), "Got beta -1, expected a finite number >= 0"),
        (lambda: DDNHandler(math.inf), "Got eps_max inf"),
        (lambda: DDNHandler(1.0, gamma=1.0), "Got gamma 1.0"),
        (lambda: IAATHandler(1.0, smoothing=0.0), r"Got smoothing 0.0, expected a number in \(0, 1\]"),
        (lambda: IAATHandler(1.0, warmup_eps=2.0), "Got warmup_eps 2.0, expected at most eps_max = 1"),
        (lambda: IAATHandler(1.0, gamma=-1.0), "Got gamma -1.0"),
        (lambda: MMAHandler(1.0, criterion=BinaryCriterion()), "Got BinaryCriterion for MMA training"),
        (lambda: MMAHandler(1.0, eps_min=2.0), "Got delta 2.0"),
        (lambda: MMAHandler(1.0, clean_weight=1.5), r"Got clean_weight 1.5, expected a number in \[0, 1\]"),
        (lambda: MMALoss(nn.CrossEntropyLoss(), -0.1), "Got clean_weight -0.1"),
        (lambda: AdaptiveNormPGD(0.0), "Got eps_max 0.0"),
    ],
)
def test_bad_arguments(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_a_trainer_that_never_calls_the_method_is_refused():
    class Silent(SupervisedTrainer):
        def _iteration(self, engine, batchdata):
            return {"loss": 0.0}

    trainer = make_trainer(small_network(), blobs(8), [METHODS["pgd"]()], batch_size=4, kind=Silent)
    with pytest.raises(ValueError, match=r"PGDTrainingHandler was not called once in epoch 1, expected Silent to fire"):
        trainer.run()


class Parts(nn.Module):
    """A weighted sum of losses in a ``ModuleList``."""

    def __init__(self, reduction):
        super().__init__()
        self.parts = nn.ModuleList([nn.CrossEntropyLoss(reduction=reduction), nn.MultiMarginLoss(reduction=reduction)])

    def forward(self, prediction, label):
        return sum(weight * part(prediction, label) for weight, part in zip((1.0, 0.5), self.parts, strict=True))


def hidden_loss(kind, reduction):
    if kind == "lambda":
        return lambda prediction, label: F.cross_entropy(prediction, label, reduction=reduction)
    return Parts(reduction)


@pytest.mark.parametrize("kind", ["lambda", "ModuleList"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: IMAHandler(1.5, delta=0.3, steps=4),
        lambda: MMAHandler(1.0, steps=3),
        lambda: TRADESHandler(1.0, steps=3),
    ],
)
def test_a_loss_that_adds_samples_up_trains_as_the_mean_times_the_batch_size(kind, make, caplog):
    losses, told = {}, {}
    for reduction in ("mean", "sum"):
        network, values = small_network(), []
        trainer = make_trainer(network, blobs(), [make()], lr=0.0, loss_function=hidden_loss(kind, reduction))
        trainer.add_event_handler(
            IterationEvents.BACKWARD_COMPLETED, lambda e, v=values: v.append(float(e.state.output["loss"]))
        )
        with caplog.at_level(logging.INFO, "monai_ima"):
            trainer.run()
        losses[reduction] = torch.tensor(values)
        told[reduction] = [record.message for record in caplog.records if "losses" in record.message]
        caplog.clear()
    torch.testing.assert_close(losses["sum"], 8 * losses["mean"], rtol=1e-5, atol=0.0)
    assert 0 < len(losses["mean"]) == 3
    assert told == {name: [f"The loss is the {name} of its samples' losses."] for name in ("mean", "sum")}


@pytest.mark.parametrize("kind", ["lambda", "ModuleList"])
def test_noisy_samples_of_a_hidden_sum_weigh_as_in_the_papers_formula(kind):
    """β Σ L(noisy) against (1 - β) Σ L(clean), worked out by hand."""
    prediction, label, noisy = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2]), torch.randn(2, 3)
    clean, other = (hidden_loss(kind, "none")(z, label[: len(z)]).sum() for z in (prediction, noisy))
    for reduction, size in (("mean", 6), ("sum", 1)):
        loss = hidden_loss(kind, reduction)
        assert find_reduction(loss, prediction, label, 6) == Reduction(reduction == "sum")
        found = IMALoss(loss, 0.3)(prediction, label, noisy, label[:2])
        torch.testing.assert_close(found, (0.7 * clean + 0.3 * other) / size)


@pytest.mark.parametrize("kind", ["lambda", "ModuleList"])
def test_the_divergences_of_trades_are_added_up_beside_a_loss_that_adds_up(kind):
    """Σ (L + β KL) against its mean, KL written out by hand; so the two terms weigh alike whatever the reduction."""
    torch.manual_seed(1)
    prediction, noisy, label = torch.randn(6, 3), torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    p, q = prediction.softmax(1), noisy.softmax(1)
    each = hidden_loss(kind, "none")(prediction, label) + 4.0 * (p * (p.log() - q.log())).sum(1)
    for reduction, right in (("mean", each.mean()), ("sum", each.sum())):
        loss = hidden_loss(kind, reduction)
        torch.testing.assert_close(TRADESLoss(loss, 4.0)(prediction, label, noisy), right)
        told = TRADESLoss(loss, 4.0, sums=reduction == "sum")
        torch.testing.assert_close(told.combine(loss(prediction, label), told.robust(prediction, label, noisy)), right)


def test_dice_over_the_batch_is_neither_sum_nor_mean_and_taken_as_a_mean():
    torch.manual_seed(0)
    prediction = torch.randn(4, 2, 8, 8)
    label = (torch.rand(4, 1, 8, 8) > torch.tensor([0.1, 0.3, 0.6, 0.9]).view(-1, 1, 1, 1)).long()
    for reduction in ("mean", "sum"):
        loss = DiceLoss(to_onehot_y=True, softmax=True, batch=True, reduction=reduction)
        found = find_reduction(loss, prediction, label, 4)
        assert found == Reduction(sums=False, exact=False)
    assert find_reduction(DiceLoss(to_onehot_y=True, softmax=True), prediction, label, 4) == Reduction(sums=False)
    assert "neither" in Reduction(sums=False, exact=False).describe()


def test_a_batch_that_cannot_tell_a_sum_from_a_mean_leaves_it_open():
    z, y = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    assert find_reduction(F.cross_entropy, z[:1], y[:1], 1) is None
    assert find_reduction(lambda z, y: 0 * z.sum(), z, y, 4) is None
    assert find_reduction(lambda z, y: z.sum() / 0, z, y, 4) is None
    assert find_reduction(lambda z, y: F.cross_entropy(z, torch.tensor([0, 1, 2, 0])), z, y, 4) is None


def test_finding_the_reduction_draws_no_random_number():
    z, y = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    state = torch.get_rng_state()
    find_reduction(lambda z, y: F.cross_entropy(F.dropout(z), y), z, y, 4)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_halves_of_nested_predictions_are_told_apart():
    z, y = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    for reduction in ("mean", "sum"):
        loss = lambda p, t, r=reduction: F.cross_entropy(p["out"][1], t["y"], reduction=r)  # noqa: E731
        assert find_reduction(loss, {"out": [z, 2 * z]}, {"y": y}, 5) == Reduction(reduction == "sum")
