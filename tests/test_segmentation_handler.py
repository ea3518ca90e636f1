"""IMA on MONAI's usual segmentation trainers: crops, any reduction, deep supervision, thresholds."""

from __future__ import annotations

import logging

import pytest
import torch
from attack_problems import fit
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents
from monai.handlers import CheckpointLoader, CheckpointSaver
from monai.inferers import SlidingWindowInferer
from monai.losses import DeepSupervisionLoss, DiceCELoss
from monai.networks.nets import DynUNet, UNet
from monai.transforms import Compose, RandCropByPosNegLabeld
from torch import nn
from training_runs import Bfloat16Trainer, assert_same_weights, make_trainer, stacked

from monai_ima.attacks import BoundaryPGD
from monai_ima.attacks.mode import attack_mode
from monai_ima.criteria import DiceCriterion
from monai_ima.handlers import BaselineThreshold, IMAHandler, PGDTrainingHandler
from monai_ima.utils.generators import per_sample_generators

SIZE = (16, 16, 16)


def scans(count=6, size=SIZE, seed=0):
    generator = torch.Generator().manual_seed(seed)
    items = []
    for k in range(count):
        label = torch.zeros(1, *size)
        label[:, 3 : 7 + k % 3, 3:9, 3:9] = 1
        label[:, 9:13, 3:9, 4 : 8 + k % 2] = 2
        image = label + 0.3 * torch.randn(label.shape, generator=generator)
        items.append({"image": image, "label": label, "sample_id": f"scan_{k}"})
    return items


def small_unet(seed=0):
    torch.manual_seed(seed)
    return UNet(3, 1, 3, (4, 8), (2,), num_res_units=0, norm=("instance", {"affine": True}))


def trained_unet(epochs=40):
    network = small_unet()
    fit(network, *stacked(scans()), 0.02, epochs, DiceCELoss(to_onehot_y=True, softmax=True))
    return network


def segmentation_trainer(network, handlers, data=None, batch_size=2, lr=0.01, loss_function=None, **kwargs):
    loss_function = loss_function or DiceCELoss(to_onehot_y=True, softmax=True, include_background=False)
    return make_trainer(
        network, data or scans(), handlers, batch_size=batch_size, lr=lr, loss_function=loss_function, **kwargs
    )


def losses_of(trainer):
    seen = []
    trainer.add_event_handler(
        IterationEvents.LOSS_COMPLETED, lambda engine: seen.append(engine.state.output["loss"].detach().clone())
    )
    return seen


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_loss_is_algorithm_1_for_dice_ce_of_any_reduction(reduction, batch_size):
    network, reference = trained_unet(), trained_unet()
    loss = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False, reduction=reduction)
    criterion = DiceCriterion(0.9)
    handler = IMAHandler(2.0, delta=1.0, beta=0.3, steps=4, schedule="constant", criterion=criterion)
    trainer = segmentation_trainer(network, [handler], loss_function=loss, batch_size=batch_size, lr=0.0)
    seen = losses_of(trainer)
    trainer.run()

    items, attacked = scans(), 0
    for step, start in enumerate(range(0, 6, batch_size)):
        part = items[start : start + batch_size]
        image, label = stacked(part)
        reference.train()
        right = criterion.score(reference(image), label) >= 0.9
        clean = loss(reference(image), label)
        noisy = torch.zeros(())
        if right.any():
            names = [item["sample_id"] for item, good in zip(part, right.tolist(), strict=True) if good]
            streams = per_sample_generators("0/1/training", names)
            with attack_mode(reference):
                attack = BoundaryPGD("l2", 4, 10, criterion=criterion, delta=1.0)
                x = attack(reference, image[right], label[right], 1.0, streams).image
            noisy = loss(reference(x), label[right])
            noisy = noisy if reduction == "sum" else noisy * int(right.sum()) / len(part)
            attacked += int(right.sum())
        torch.testing.assert_close(
            seen[step], 0.7 * clean + 0.3 * noisy, atol=1e-4 if reduction == "sum" else 1e-6, rtol=1e-6
        )
    assert attacked > 0


def test_crops_of_a_scan_share_its_margin_and_crops_of_background_do_not_move_it():
    items = scans(4, (24, 24, 24))
    for item in items[:2]:
        item["label"].zero_()
    crop = RandCropByPosNegLabeld(
        ["image", "label"], "label", (8, 8, 8), pos=1, neg=1, num_samples=3, allow_smaller=False
    )
    handler = IMAHandler(4.0, delta=0.5, steps=2, criterion=DiceCriterion(0.01), update="online")
    network = trained_unet()
    trainer = segmentation_trainer(network, [handler], Dataset(items, Compose([crop])), batch_size=2, lr=0.0, epochs=2)
    sizes = []
    trainer.add_event_handler(IterationEvents.LOSS_COMPLETED, lambda e: sizes.append(len(e.state.output["image"])))
    trainer.run()
    assert sizes == [6, 6] * 2
    assert handler.margins.ids() == ["scan_2", "scan_3"]
    assert all(handler.margins[name] >= 0.5 for name in handler.margins.ids())


def test_margins_of_crops_follow_one_rule_per_scan():
    """With the ball never left (threshold "lowest"), each epoch adds δ once, however many crops a scan gives."""
    crop = RandCropByPosNegLabeld(["image", "label"], "label", (8, 8, 8), pos=1, neg=0, num_samples=4)
    for update in ("online", "epoch"):
        handler = IMAHandler(4.0, delta=0.05, steps=1, margin_steps=1, criterion=DiceCriterion("lowest"), update=update)
        segmentation_trainer(trained_unet(), [handler], Dataset(scans(), Compose([crop])), lr=0.0, epochs=3).run()
        assert handler.margins.values().tolist() == pytest.approx([0.05 * 4] * 6)


def test_deep_supervision_heads_train_with_their_own_loss():
    torch.manual_seed(0)
    strides = [1, 2, 2]
    network = DynUNet(
        3, 1, 3, [3, 3, 3], strides, strides[1:], filters=[4, 8, 8], norm_name=("instance", {"affine": True}),
        deep_supervision=True, deep_supr_num=1,
    )  # fmt: skip
    single = DiceCELoss(to_onehot_y=True, softmax=True)
    weighted = DeepSupervisionLoss(single)
    handler = IMAHandler(1.0, delta=0.5, steps=2, criterion=DiceCriterion("lowest"))
    trainer = segmentation_trainer(
        network, [handler], loss_function=lambda pred, y: weighted(list(pred.unbind(1)), y), epochs=1, lr=0.05
    )
    seen = losses_of(trainer)
    before = [p.detach().clone() for p in network.parameters()]
    trainer.run()
    assert torch.isfinite(torch.stack(seen)).all()
    assert any(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert trainer.state.metrics["ima/loss_noisy"] > 0
    assert network.training

    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = small_unet()

        def forward(self, x):
            out = self.body(x)
            return [out, out[..., ::2, ::2, ::2]]

    listed = IMAHandler(1.0, delta=0.5, steps=2, criterion=DiceCriterion("lowest"))
    trainer = segmentation_trainer(Heads(), [listed], loss_function=weighted)
    trainer.run()
    assert trainer.state.metrics["ima/loss_noisy"] > 0


def test_accumulated_steps_give_the_step_of_one_batch():
    """Two halves of a batch, accumulated, move the weights as the whole batch does (instance norm: no coupling)."""
    moved = []
    for accumulate, batch_size in ((1, 6), (3, 2)):
        network = trained_unet()
        handler = IMAHandler(2.0, delta=1.0, steps=3, criterion=DiceCriterion(0.5))
        kwargs = {"accumulation_steps": accumulate} if accumulate > 1 else {}
        segmentation_trainer(network, [handler], batch_size=batch_size, lr=0.05, **kwargs).run()
        moved.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    torch.testing.assert_close(moved[0], moved[1], atol=1e-6, rtol=1e-5)


def test_bfloat16_autocast_trains():
    handler = IMAHandler(2.0, delta=1.0, steps=2, criterion=DiceCriterion(0.5))
    trainer = segmentation_trainer(trained_unet(), [handler], kind=Bfloat16Trainer)
    trainer.run()
    assert trainer.state.metrics["ima/loss_noisy"] > 0


def evaluator_of(network, data=None, inferer=None):
    return SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(Dataset(scans(5, seed=9)) if data is None else data, batch_size=2),
        network=network,
        inferer=inferer,
    )


@pytest.mark.parametrize("inferer", [None, SlidingWindowInferer((8, 8, 8), overlap=0.25)])
def test_the_baseline_is_the_mean_clean_validation_score_when_the_method_sets_in(inferer):
    network = trained_unet(15)
    criterion = DiceCriterion("baseline")
    baseline = BaselineThreshold(criterion, evaluator_of(network, inferer=inferer), start_epoch=2)
    ima = IMAHandler(2.0, delta=0.5, steps=2, criterion=criterion, start_epoch=2)
    trainer = segmentation_trainer(network, [ima, baseline], epochs=3, lr=0.05)
    expected = []

    @trainer.on(Events.EPOCH_COMPLETED(once=2))
    def _(engine):
        network.eval()
        for item in scans(5, seed=9):
            image = item["image"][None]
            with torch.no_grad():
                out = network(image) if inferer is None else inferer(image, network)
            expected.append(DiceCriterion(0.5).score(out, item["label"][None]).item())
        network.train()
        assert criterion.awaits_baseline

    trainer.run()
    assert criterion.threshold == pytest.approx(sum(expected) / 5, abs=1e-6)


def test_a_resumed_run_keeps_its_baseline(tmp_path):
    def run(epochs, resume=None, save_criterion=True):
        network, criterion = trained_unet(15), DiceCriterion("baseline")
        ima = IMAHandler(2.0, delta=0.5, steps=2, criterion=criterion)
        baseline = BaselineThreshold(criterion, evaluator_of(network))
        trainer = segmentation_trainer(network, [ima, baseline], epochs=epochs)
        state = {"network": network, "trainer": trainer, "margins": ima.margins, "optimizer": trainer.optimizer}
        if save_criterion:
            state["criterion"] = criterion
        CheckpointSaver(str(tmp_path), state, save_interval=1).attach(trainer)
        if resume:
            CheckpointLoader(str(resume), state).attach(trainer)
        trainer.run()
        return criterion.threshold, ima.margins.values(), network.state_dict()

    whole = run(2)
    resumed = run(2, tmp_path / "checkpoint_epoch=1.pt")
    assert whole[0] == resumed[0]
    assert torch.equal(whole[1], resumed[1])
    assert_same_weights(whole[2], resumed[2])
    with pytest.raises(ValueError, match="goes on at epoch 2 but the baseline"):
        run(2, tmp_path / "checkpoint_epoch=1.pt", save_criterion=False)


def test_a_network_that_scores_nothing_gives_no_baseline():
    network = small_unet()
    criterion = DiceCriterion("baseline")
    empty = [{**item, "label": torch.zeros(1, *SIZE)} for item in scans(3)]
    baseline = BaselineThreshold(criterion, evaluator_of(network, Dataset(empty)))
    trainer = segmentation_trainer(network, [IMAHandler(1.0, delta=0.5, criterion=criterion), baseline])
    with pytest.raises(ValueError, match="not trained yet"):
        trainer.run()


def test_scans_below_the_threshold_are_told_of_once(caplog):
    handler = IMAHandler(2.0, delta=0.5, steps=1, criterion=DiceCriterion(1.0), update="online")
    trainer = segmentation_trainer(trained_unet(2), [handler], epochs=2)
    with caplog.at_level(logging.WARNING, "monai_ima"):
        trainer.run()
    told = [record.message for record in caplog.records if "threshold" in record.message]
    assert len(told) == 1
    assert "None of 6 samples was correct without noise in epoch 1" in told[0]
    assert "DiceCriterion, threshold 1" in told[0]
    assert trainer.state.metrics["ima/correct_fraction"] == 0
    assert handler.margins.values().tolist() == [0.5] * 6


def test_fixed_epsilon_training_attacks_every_sample_to_the_last_iterate():
    network, reference = trained_unet(3), trained_unet(3)
    handler = PGDTrainingHandler(1.5, beta=0.25, steps=3, schedule="constant", criterion=DiceCriterion(0.99))
    trainer = segmentation_trainer(network, [handler], batch_size=6, lr=0.0)
    seen = losses_of(trainer)
    trainer.run()
    items = scans()
    image, label = stacked(items)
    loss, climbed = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False), DiceCriterion(0.5).loss
    streams = per_sample_generators("0/1/training", [item["sample_id"] for item in items])
    noise = torch.stack([torch.empty(1, *SIZE).normal_(generator=s) for s in streams])
    length = torch.stack([torch.empty(()).uniform_(generator=s) for s in streams]) ** (1 / noise[0].numel())
    noise = 1.5 * noise / noise.flatten(1).norm(dim=1).view(-1, 1, 1, 1, 1) * length.view(-1, 1, 1, 1, 1)
    reference.eval()
    for _ in range(3):
        x = (image + noise).requires_grad_()
        (gradient,) = torch.autograd.grad(climbed(reference(x), label).sum(), x)
        noise = noise + 4 * 1.5 / 3 * gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1, 1)
        noise = noise * (1.5 / noise.flatten(1).norm(dim=1)).clamp(max=1).view(-1, 1, 1, 1, 1)
    reference.train()
    expected = 0.75 * loss(reference(image), label) + 0.25 * loss(reference(image + noise), label)
    torch.testing.assert_close(seen[0], expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="Got eps 0"):
        PGDTrainingHandler(0)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"label": torch.full((1, *SIZE), 3.0)}, "'scan_1' has a label with the value 3"),
        ({"image": torch.full((1, *SIZE), torch.nan)}, "'scan_1' has an image with NaN"),
    ],
)
def test_bad_scans_are_named(change, match):
    items = scans(2)
    items[1] = {**items[1], **change}
    trainer = segmentation_trainer(trained_unet(1), [IMAHandler(1.0, criterion=DiceCriterion(0.5))], Dataset(items))
    with pytest.raises(ValueError, match=match):
        trainer.run()
