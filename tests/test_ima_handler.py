"""Claims about IMA training, checked against plain loops that share no code with the handler."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from attack_problems import b_pgd_alone
from ignite.engine import Engine
from monai.data import Dataset, MetaTensor
from monai.engines.utils import IterationEvents, PrepareBatchExtraInput
from monai.handlers import CheckpointSaver
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged
from torch import nn
from training_runs import Bfloat16Trainer, assert_same_weights, blobs, make_trainer, small_network, stacked

from monai_ima.attacks import BoundaryPGD
from monai_ima.handlers import IAATHandler, IMAHandler
from monai_ima.losses import IMALoss
from monai_ima.margins import MarginTable
from monai_ima.transforms import SampleIdd
from monai_ima.utils.generators import per_sample_generators


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("kept", ["all", "boundary"])
def test_the_loss_is_algorithm_1_worked_out_by_hand(reduction, kept):
    network, data, beta = small_network(), blobs(8), 0.3
    reference = copy.deepcopy(network)
    handler = IMAHandler(
        4.0, delta=1.0, beta=beta, noisy_samples=kept, schedule="constant", steps=5, binary_steps=4, margin_steps=5
    )
    seen = {}
    trainer = make_trainer(network, data, [handler], lr=0.0, loss_function=nn.CrossEntropyLoss(reduction=reduction))
    trainer.add_event_handler(
        IterationEvents.BACKWARD_COMPLETED, lambda e: seen.update(loss=e.state.output["loss"].item())
    )
    trainer.run()

    clean, noisy, cases = 0.0, 0.0, []
    for item in data:
        x, y = item["image"][None], torch.tensor([item["label"]])
        clean += float(F.cross_entropy(reference(x), y))
        point, _, case = b_pgd_alone(reference, x, y, 1.0, 5, 4)
        cases.append(case)
        if case == 1 or (case == 0 and kept == "all"):
            noisy += float(F.cross_entropy(reference(point), y))
    assert {None, 0, 1} <= set(cases), "the test needs wrong samples and both cases"
    size = 1 if reduction == "sum" else len(data)
    assert seen["loss"] == pytest.approx(((1 - beta) * clean + beta * noisy) / size, rel=1e-5)
    assert trainer.state.metrics["ima/loss_clean"] == pytest.approx(clean / size, rel=1e-5)
    assert trainer.state.metrics["ima/loss_noisy"] == pytest.approx(noisy / size, rel=1e-5)
    attacked = [case for case in cases if case is not None]
    assert trainer.state.metrics["ima/boundary_fraction"] == pytest.approx(attacked.count(1) / len(attacked))
    assert trainer.state.metrics["ima/correct_fraction"] == pytest.approx(len(attacked) / len(cases))


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("update", ["epoch", "online"])
@pytest.mark.parametrize("kept", ["boundary", "all"])
def test_margins_after_two_epochs_are_algorithm_2_of_an_independent_loop(norm, update, kept):
    network, data = small_network(), blobs(24)
    top, delta = (4.0, 1.0) if norm == "l2" else (1.2, 0.4)
    steps = {"schedule": "constant", "steps": 4, "margin_steps": 6, "binary_steps": 5}
    handler = IMAHandler(top, norm, delta=delta, update=update, noisy_samples=kept, **steps)
    reference = copy.deepcopy(network)
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.05)
    make_trainer(network, data, [handler], epochs=2).run()

    margins = {item["sample_id"]: delta for item in data}
    for _ in range(2):
        found: dict[str, float | None] = {}
        for start in range(0, len(data), 8):
            batch = data[start : start + 8]
            image, label = stacked(batch)
            clean = F.cross_entropy(reference(image), label)
            noisy = torch.zeros(())
            for i, item in enumerate(batch):
                name = item["sample_id"]
                point, _, case = b_pgd_alone(reference, image[i : i + 1], label[i : i + 1], margins[name], 4, 5, norm)
                if case is None:
                    continue
                if case == 1 or kept == "all":
                    noisy = noisy + F.cross_entropy(reference(point.detach()), label[i : i + 1])
                v = (point - image[i]).flatten()
                found[name] = None if case == 0 else float(v.norm() if norm == "l2" else v.abs().max())
            optimizer.zero_grad()
            (0.5 * clean + 0.5 * noisy / len(batch)).backward()
            optimizer.step()
        for item in data:
            name, eps = item["sample_id"], margins[item["sample_id"]]
            if update == "online":
                if name in found:
                    eps = eps + delta if found[name] is None else (eps + found[name]) / 2
            else:
                x, y = item["image"][None], torch.tensor([item["label"]])
                point, _, case = b_pgd_alone(reference, x, y, eps, 6, 5, norm)
                v = (point - x).flatten()
                moved = float(v.norm() if norm == "l2" else v.abs().max())
                eps = {None: delta, 0: eps + delta, 1: moved}[case]
            margins[name] = min(max(eps, delta), top)
    assert len({round(m, 3) for m in margins.values()}) > 5, "the test needs margins that differ"
    assert handler.margins.ids() == sorted(margins)
    for name, eps in margins.items():
        assert handler.margins[name] == pytest.approx(eps, rel=1e-4), name
    for ours, theirs in zip(network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("start", ["clean", "ball"])
@pytest.mark.parametrize("restarts", [1, 3])
def test_a_margin_pass_takes_the_nearest_crossing_of_its_restarts(start, restarts):
    """Each sample attacked alone, in the ball of ε_max that a first pass has."""
    network, data, eps, delta = small_network(), blobs(24), 3.0, 0.01
    settings = {"first_pass": True, "update_interval": 5, "start": start, "margin_restarts": restarts}
    handler = IMAHandler(eps, delta=delta, schedule="constant", steps=2, margin_steps=6, binary_steps=20, **settings)
    make_trainer(network, data, [handler], lr=0.0).run()

    def alone(item, count):
        x, y = item["image"][None], torch.tensor([item["label"]])
        streams = per_sample_generators("0/1/margin", [item["sample_id"]])
        return BoundaryPGD("l2", 6, 20, start, count, delta=delta)(network, x, y, eps, streams)

    gained = []
    for item in data:
        name, result = item["sample_id"], alone(item, restarts)
        expected = float(result.distance) if result.success else eps
        assert handler.margins[name] == pytest.approx(max(expected, delta) if result.clean_correct else delta, rel=1e-4)
        if result.success:
            gained.append(float(alone(item, 1).distance) - float(result.distance))
    assert len(gained) > 8
    assert min(gained) > -1e-4
    assert (max(gained) > 1e-3) == (restarts > 1)


def test_bfloat16_autocast_trains_every_parameter():
    """Weight casts are cached inside autocast: an attack's no-grad passes must not cut the trainer's own gradients."""
    network, data = small_network(), blobs(16)
    handler = IMAHandler(1.0, delta=0.3, steps=4, margin_steps=4)
    gradients = []
    trainer = make_trainer(network, data, [handler], epochs=2, kind=Bfloat16Trainer)
    trainer.add_event_handler(
        IterationEvents.BACKWARD_COMPLETED,
        lambda _: gradients.append([float(p.grad.abs().sum()) for p in network.parameters()]),
    )
    trainer.run()
    assert len(gradients) == 4
    assert all(math.isfinite(g) and g > 0 for step in gradients for g in step)
    assert 0 < trainer.state.metrics["ima/correct_fraction"] <= 1
    assert trainer.state.metrics["ima/loss_noisy"] > 0


def test_gradient_accumulation_over_two_half_batches_equals_one_whole_batch():
    """Without the mean's 1/B (sum reduction) the gradients of two halves add up to the whole batch's."""
    data = blobs(16)
    weights = []
    for batch_size, accumulation in ((16, 1), (8, 2)):
        network = small_network()
        handler = IMAHandler(1.0, delta=0.4, steps=4, margin_steps=4)
        make_trainer(
            network,
            data,
            [handler],
            batch_size=batch_size,
            lr=0.01 * accumulation,
            loss_function=nn.CrossEntropyLoss(reduction="sum"),
            accumulation_steps=accumulation,
        ).run()
        weights.append([p.detach().clone() for p in network.parameters()])
    for whole, halves in zip(*weights, strict=True):
        torch.testing.assert_close(whole, halves)


def test_the_margin_pass_leaves_modes_statistics_and_the_random_state_alone():
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Dropout(0.5), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)
    )
    for mode in ("eval", "train"):
        handler: Any = IMAHandler(1.0, delta=0.3, margin_steps=3, attack_mode=mode)
        trainer = make_trainer(network, blobs(8), [handler], shuffle=True)
        trainer.state.epoch = 1
        handler.epoch_start(trainer)
        network.train()
        before, state = copy.deepcopy(network.state_dict()), torch.get_rng_state()
        seen = handler.method.margin_pass(handler.batches).merged()
        assert len(seen) == 8
        assert torch.equal(state, torch.get_rng_state())
        assert all(m.training for m in network.modules())
        assert_same_weights(before, network.state_dict())


@pytest.mark.parametrize("update", ["epoch", "online"])
def test_attacks_in_training_mode_do_not_break_the_trainers_graph(update):
    """What the clean pass kept for its way back is what it was; statistics come from clean and noisy passes only."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    data = blobs(8)
    with torch.no_grad():
        clean = network[0](stacked(data)[0])
    handler = IMAHandler(1e-6, delta=1e-6, beta=0.3, steps=3, margin_steps=3, attack_mode="train", update=update)
    trainer = make_trainer(network, data, [handler], lr=0.0)
    trainer.run()
    assert int(network[1].num_batches_tracked) == 2
    right = trainer.state.metrics["ima/correct_fraction"]
    assert 0 < right < 1
    mean, momentum = clean.mean((0, 2, 3)), network[1].momentum
    first = momentum * mean
    noisy = (network[1].running_mean - (1 - momentum) * first) / momentum
    with torch.no_grad():
        answers = copy.deepcopy(network).train()[1:](clean).argmax(1)
    own = clean[[i for i, item in enumerate(data) if int(answers[i]) == item["label"]]].mean((0, 2, 3))
    torch.testing.assert_close(noisy, own, rtol=0, atol=1e-3)
    assert network[4].weight.grad.abs().sum() > 0


def one_value_a_channel():
    torch.manual_seed(3)
    network = nn.Sequential(
        nn.Conv2d(1, 5, 3), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.Linear(5, 2)
    )
    network[2].running_mean.normal_(0, 0.3)
    network[2].running_var.uniform_(0.2, 0.6)
    return network


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_a_single_noisy_sample_passes_batch_normalisation(mode):
    """Torch's layer refuses one value a channel in training mode: a training would break off where X1 is one sample."""
    network = one_value_a_channel()
    reference = copy.deepcopy(network).eval()
    data = blobs(4)
    with torch.no_grad():
        passed = copy.deepcopy(network).train()
        answers = passed(stacked(data)[0]).argmax(1).tolist()
    for item, answer in zip(data, answers, strict=True):
        item["label"] = 1 - answer
    data[0]["label"] = answers[0]
    handler = IMAHandler(0.1, delta=0.1, beta=0.25, steps=2, margin_steps=2, attack_mode=mode, update="online")
    trainer = make_trainer(network, data, [handler], lr=0.0, batch_size=4)
    seen, momentum = {}, network[2].momentum
    trainer.add_event_handler(
        IterationEvents.BACKWARD_COMPLETED,
        lambda e: seen.update(grad=network[5].weight.grad.clone(), loss=e.state.output["loss"].item()),
    )
    trainer.run()
    features = network[1](network[0](stacked(data)[0]))
    moved = (1 - momentum) * reference[2].running_mean + momentum * features.mean((0, 2, 3))
    torch.testing.assert_close(network[2].running_mean, moved)
    assert all(module.training for module in network.modules())
    if mode == "train":
        assert math.isfinite(seen["loss"])
        return
    assert trainer.state.metrics["ima/correct_fraction"] == 0.25
    x, y = data[0]["image"][None], torch.tensor([data[0]["label"]])
    after = copy.deepcopy(network).eval()
    point, _, case = b_pgd_alone(after, x, y, 0.1, 2, 10)
    assert case is not None
    noisy = float(F.cross_entropy(after(point), y)) / 4
    assert trainer.state.metrics["ima/loss_noisy"] == pytest.approx(noisy, rel=1e-4)
    assert seen["grad"].abs().sum() > 0


def test_extra_network_inputs_follow_their_samples():
    """A network that sees the right answer only through an extra input must never be attacked with another sample's."""

    class WithExtra(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, image, tag):
            assert torch.equal(image.flatten(1).mean(1).round(), tag.float())
            return self.scale * torch.stack([image.flatten(1).mean(1), 3.15 + 0 * tag], 1)

    data = [
        {"image": torch.full((1, 2, 2), float(i)), "label": int(0 < i < 4), "tag": i, "sample_id": str(i)}
        for i in range(8)
    ]
    handler = IMAHandler(0.2, "linf", delta=0.2, steps=3, margin_steps=3)
    trainer = make_trainer(
        WithExtra(), data, [handler], lr=0.0, shuffle=True, prepare_batch=PrepareBatchExtraInput("tag")
    )
    trainer.run()
    assert len(handler.margins) == 8
    assert trainer.state.metrics["ima/correct_fraction"] == 7 / 8
    assert trainer.state.metrics["ima/boundary_fraction"] == 1 / 7


def test_noise_is_drawn_by_sample_and_epoch_not_by_batch():
    def draws(key, ids):
        return [float(torch.rand((), generator=stream)) for stream in per_sample_generators(key, ids)]

    assert draws("0/1", ["a", "b", "c"])[1:] == draws("0/1", ["b", "c"])
    assert len({*draws("0/1", ["a", "b"]), *draws("0/2", ["a", "b"]), *draws("1/1", ["a", "b"])}) == 6


def test_a_first_pass_gives_a_linear_network_the_distances_to_its_boundary():
    data, delta, eps_max = blobs(24), 0.05, 1.5
    torch.manual_seed(3)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    handler = IMAHandler(eps_max, delta=delta, steps=1, margin_steps=40, binary_steps=12, first_pass=True)
    trainer = make_trainer(network, data, [handler], lr=0.0)
    found = {}
    trainer.add_event_handler(
        IterationEvents.FORWARD_COMPLETED, lambda e: found or found.update(handler.margins.state_dict())
    )
    trainer.run()
    difference = network[1].weight[1] - network[1].weight[0]
    offset = network[1].bias[1] - network[1].bias[0]
    signs = torch.tensor([item["label"] * 2 - 1 for item in data])
    signed = (torch.stack([item["image"].flatten() for item in data]) @ difference + offset) * signs / difference.norm()
    assert (signed < 0).any()
    assert (signed > eps_max).any()
    assert ((signed > 2 * delta) & (signed < eps_max)).any()
    assert found["ids"] == [item["sample_id"] for item in data]
    for distance, margin in zip(signed.tolist(), found["margins"].tolist(), strict=True):
        if distance < 0:
            assert margin == pytest.approx(delta)
        elif distance > eps_max:
            assert margin == pytest.approx(eps_max)
        else:
            assert distance - 1e-3 <= margin <= eps_max, "the path of PGD meets the boundary, not at its nearest point"


def test_plain_epochs_come_first_when_asked():
    networks = []
    for handlers in ([], [IMAHandler(1.0, delta=0.3, start_epoch=2)]):
        network = small_network()
        make_trainer(network, blobs(16), handlers, epochs=2).run()
        networks.append(network)
    assert_same_weights(*(network.state_dict() for network in networks))
    assert len(handlers[0].margins) == 0


@pytest.mark.parametrize(("update", "expected"), [("epoch", 3.0 / 4 * 2), ("online", 3.0 / 4)])
def test_delta_defaults_to_the_largest_margin_over_the_number_of_updates(update, expected):
    handler = IMAHandler(3.0, steps=2, margin_steps=2, update=update, update_interval=2)
    make_trainer(small_network(), blobs(8), [handler], epochs=4).run()
    assert handler.margins.delta == expected


def test_margin_pass_runs_every_interval_only():
    handler: Any = IMAHandler(3.0, delta=0.1, steps=2, margin_steps=2, update_interval=3)
    passes = []
    original = handler.method.margin_pass
    handler.method.margin_pass = lambda batches: passes.append(handler.method.epoch) or original(batches)
    make_trainer(small_network(), blobs(8), [handler], epochs=7).run()
    assert passes == [3, 6]


def test_a_second_run_of_the_same_trainer_moves_the_margins_again():
    handler = IMAHandler(9.0, delta=0.01, steps=2, margin_steps=2)
    trainer = make_trainer(small_network(), blobs(16), [handler], epochs=1, lr=0.0)
    trainer.run()
    first = handler.margins.values()
    trainer.run()
    assert float(first.max()) == 0.02
    assert float(handler.margins.values().max()) == 0.03


def test_ima_loss_weighs_few_noisy_samples_by_the_whole_batch():
    logits, label = torch.randn(6, 3), torch.randint(3, (6,))
    noisy, noisy_label = torch.randn(2, 3), torch.randint(3, (2,))
    clean = F.cross_entropy(logits, label, reduction="none")
    extra = F.cross_entropy(noisy, noisy_label, reduction="none")
    loss = IMALoss(nn.CrossEntropyLoss(), 0.4)(logits, label, noisy, noisy_label)
    torch.testing.assert_close(loss, 0.6 * clean.mean() + 0.4 * extra.sum() / 6)
    torch.testing.assert_close(IMALoss(nn.CrossEntropyLoss(), 0.4)(logits, label, None, None), 0.6 * clean.mean())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"image": torch.full((1, 4, 4), math.nan)}, "Sample 'case0/005' has an image with NaN"),
        ({"label": 9}, r"Sample 'case0/005' has label 9, expected a class in 0..1"),
    ],
)
def test_a_bad_sample_is_named_by_its_id_before_the_weights_move(change, sentence):
    data = blobs(8)
    data[5] |= change
    network = small_network()
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(ValueError, match=sentence):
        make_trainer(network, data, [IMAHandler(1.0)]).run()
    assert_same_weights(before, network.state_dict())


def test_missing_ids_say_which_transform_to_add():
    data = [{k: v for k, v in item.items() if k != "sample_id"} for item in blobs(8)]
    with pytest.raises(ValueError, match="SampleIdd"):
        make_trainer(small_network(), data, [IMAHandler(1.0)]).run()


def test_one_id_for_two_files_is_refused():
    data = blobs(8)
    for i, item in enumerate(data):
        item["image"] = MetaTensor(item["image"], meta={"filename_or_obj": f"/data/{i}.png"})
    data[6]["sample_id"] = data[2]["sample_id"]
    with pytest.raises(ValueError, match=r"'case0/002' is repeated: it stands for /data/2.png and for /data/6.png"):
        make_trainer(small_network(), data, [IMAHandler(1.0)]).run()


def test_file_names_below_the_data_folder_are_the_ids_where_no_others_are_given(tmp_path):
    data = []
    for i, item in enumerate(blobs(6)):
        file = tmp_path / f"site{i % 2}" / f"{i}.npy"
        file.parent.mkdir(exist_ok=True)
        np.save(file, item["image"][0].numpy())
        data.append({"image": str(file), "label": item["label"]})
    load = Compose([LoadImaged("image"), EnsureChannelFirstd("image", channel_dim="no_channel")])
    for transform in (load, Compose([SampleIdd("image", root=tmp_path), load])):
        handler = IMAHandler(1.0, delta=0.2, steps=2, margin_steps=2)
        make_trainer(small_network(), Dataset(data, transform), [handler]).run()
        assert handler.margins.ids() == sorted(f"site{i % 2}/{i}.npy" for i in range(6))


@pytest.mark.parametrize("kind", [IMAHandler, IAATHandler])
def test_margins_of_another_data_set_are_refused_before_a_checkpoint_is_written(kind, tmp_path):
    table = MarginTable(1.0)
    for i in range(5):
        table[f"other/{i}"] = 0.5
    handler, network = kind(1.0, steps=2), small_network()
    handler.margins.load_state_dict(table.state_dict())
    saver = CheckpointSaver(str(tmp_path), {"network": network}, save_interval=1)
    with pytest.raises(ValueError, match=r"5 margins that were loaded .* are of another data set"):
        make_trainer(network, blobs(8), [saver, handler]).run()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"eps_max": 0.0}, "Got eps_max 0"),
        ({"delta": 2.0}, "Got delta 2"),
        ({"beta": 1.5}, "Got beta 1.5"),
        ({"norm": "l3"}, "Unknown norm 'l3'"),
        ({"update": "never"}, "Unknown margin update 'never'"),
        ({"noisy_samples": "some"}, "Unknown noisy_samples 'some'"),
        ({"start": "random"}, "Unknown start 'random', expected 'clean' or 'ball'"),
        ({"margin_restarts": 0}, "margin_restarts 0"),
        ({"attack_mode": "both"}, "Unknown attack mode 'both'"),
        ({"steps": 0}, "Got steps 0"),
        ({"update_interval": 0}, "Got update_interval 0"),
        ({"start_epoch": -1}, "Got start_epoch -1"),
        ({"bounds": (1.0, 0.0)}, "Got bounds"),
    ],
)
def test_bad_settings_are_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        IMAHandler(**{"eps_max": 1.0, **change})


def test_only_a_supervised_trainer_can_be_hardened():
    with pytest.raises(TypeError, match="expected a SupervisedTrainer"):
        IMAHandler(1.0).attach(Engine(lambda e, b: None))


@pytest.mark.parametrize(("delta", "epochs", "told"), [(None, 4, 0), (None, 3, 1), (0.2, 4, 0), (0.5, 4, 1)])
def test_a_delta_from_a_third_of_eps_max_on_is_told_once(delta, epochs, told, caplog):
    handler = IMAHandler(1.0, delta=delta, steps=1, margin_steps=1)
    make_trainer(small_network(), blobs(8), [handler], epochs=epochs).run()
    assert caplog.text.count("margins cannot tell samples apart") == told
