"""nnU-Net v2: the trainers' loss, resuming, settings, and trained folds under attack, on tiny phantoms."""

from __future__ import annotations

import copy
import json
import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
import torch.distributed as dist
from conftest import REPO
from monai.metrics import compute_dice
from torch import nn
from torch.nn.parallel import DistributedDataParallel

pytest.importorskip("nnunetv2")

from nnunet_runs import QUICK, nnunet_folders, seed_all, trainer_of
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.run.run_training import maybe_load_checkpoint
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from monai_ima.__main__ import main
from monai_ima.cli import nnunet as verb
from monai_ima.criteria import DiceCriterion
from monai_ima.data import write_volume_phantom
from monai_ima.nnunet import NNUNetInferer, nnUNetTrainerIMA, nnUNetTrainerPGD, open_fold
from monai_ima.nnunet.labels import PatchDice, judged_label, patch_criterion
from monai_ima.nnunet.precision import own_samples_only, uncached_autocast
from monai_ima.nnunet.settings import from_environment, resumed
from monai_ima.results.schema import Results
from nnunet_hippocampus import plan, write_raw

NAME, FEATURES = "Dataset004_Phantom", (4, 8, 8)
LABELS = {
    "classes": {"background": 0, "anterior": 1, "posterior": 2},
    "ignored": {"background": 0, "anterior": 1, "posterior": 2, "ignore": 3},
    "regions": {"background": 0, "whole": [1, 2], "posterior": 2},
    "regions_ignored": {"background": 0, "whole": [1, 2], "posterior": 2, "ignore": 3},
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """nnU-Net's folders with a preprocessed phantom, and its name."""
    with nnunet_folders(tmp_path_factory.mktemp("nnunet")) as folder:
        write_raw(write_volume_phantom(str(folder / "msd"), "hippocampus", 5, 20, 0), folder, NAME)
        plan(folder, NAME, FEATURES, (16, 16, 16))
        yield folder, NAME


class Seeded(nnUNetTrainerIMA):
    """The same batches, and draws that depend on the epoch only; may be broken off."""

    ends_before: int | None = None
    batches: ClassVar[dict] = {}

    def on_epoch_start(self):
        if self.current_epoch == self.ends_before:
            raise KeyboardInterrupt
        seed_all(self.current_epoch)
        self.step = 0  # of the epoch
        super().on_epoch_start()

    def train_step(self, batch):
        self.step += 1
        return super().train_step(self.batches.setdefault((self.current_epoch, self.step), batch))


class BrokenOff(Seeded):
    pass


@pytest.fixture(scope="module")
def unbroken(prepared):
    """A finished training of two epochs."""
    seed_all(5)
    trainer = trainer_of(Seeded, *prepared, **QUICK)
    trainer.run_training()
    return trainer


def checkpoint_of(trainer, name="checkpoint_final.pth"):
    return torch.load(Path(trainer.output_folder) / name, weights_only=False)


def test_a_resumed_training_equals_an_unbroken_one(prepared, unbroken):
    seed_all(5)
    first = trainer_of(BrokenOff, *prepared, **QUICK, ends_before=1, save_every=1)
    with pytest.raises(KeyboardInterrupt):
        first.run_training()
    saved = checkpoint_of(first, "checkpoint_latest.pth")
    assert saved["monai_ima"]["settings"]["eps_max"] == 4.0
    seed_all(77)
    second = trainer_of(BrokenOff, prepared[0], NAME, resumed=True)
    maybe_load_checkpoint(second, True, False)
    loaded = second.method.margins
    assert loaded.ids() == saved["monai_ima"]["margins"]["ids"]
    assert torch.equal(loaded.values(), saved["monai_ima"]["margins"]["margins"])
    assert second.used == first.used
    second.run_training()
    one, other = checkpoint_of(unbroken), checkpoint_of(second)
    assert all(torch.equal(weight, other["network_weights"][key]) for key, weight in one["network_weights"].items())
    margins = [content["monai_ima"]["margins"] for content in (one, other)]
    assert margins[0]["ids"] == margins[1]["ids"]
    assert torch.equal(margins[0]["margins"], margins[1]["margins"])
    assert len(set(margins[0]["margins"].tolist())) > 1, "margins have moved"
    assert one["logging"]["train_losses"] == other["logging"]["train_losses"]
    assert not list(Path(second.output_folder).glob("*.part"))


def test_the_margins_are_of_the_cases_of_the_fold(prepared, unbroken):
    folder, name = prepared
    splits = json.loads((folder / "nnUNet_preprocessed" / name / "splits_final.json").read_text())
    assert set(unbroken.method.margins.ids()) <= set(splits[0]["train"])
    assert unbroken.method.margins.norm == "l2"
    assert "ima: loss_clean" in Path(unbroken.log_file).read_text()


def test_a_variable_that_differs_from_the_checkpoint_is_refused(prepared, unbroken, monkeypatch):
    file = str(Path(unbroken.output_folder) / "checkpoint_final.pth")
    monkeypatch.setenv("MONAI_IMA_EPS_MAX", "9")
    trainer = trainer_of(Seeded, *prepared)
    with pytest.raises(
        ValueError, match=r"Got MONAI_IMA_EPS_MAX=9, but the checkpoint was trained with 4\.0, expected"
    ):
        trainer.load_checkpoint(file)
    monkeypatch.setenv("MONAI_IMA_EPS_MAX", "4")
    again = trainer_of(Seeded, *prepared)
    again.load_checkpoint(file)
    assert again.method.margins.eps_max == 4.0


def test_the_checkpoint_of_another_trainer_is_refused(prepared, unbroken):
    pgd = trainer_of(nnUNetTrainerPGD, *prepared)
    with pytest.raises(
        ValueError, match=r"checkpoint_final.pth is of Seeded, expected one of nnUNetTrainerPGD; a start"
    ):
        pgd.load_checkpoint(str(Path(unbroken.output_folder) / "checkpoint_final.pth"))


class Recorded:
    """Inputs of a network's passes in training mode: the clean batch and the noisy samples."""

    def __init__(self, network: nn.Module) -> None:
        self.inputs: list[torch.Tensor] = []
        network.register_forward_pre_hook(self)

    def __call__(self, network, arguments):
        if network.training:
            self.inputs.append(arguments[0].detach().clone())


def fixed_batch(trainer):
    """Two patches: the network is right on the first one everywhere, and nowhere on the second."""
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(2, 1, 16, 16, 16, generator=generator)
    with torch.no_grad():
        outputs = trainer.network(image)
    full = outputs[0] if isinstance(outputs, (list, tuple)) else outputs
    if trainer.label_manager.has_regions:
        target = (full >= 0).bool()
        target[1] = ~target[1]
        mark = torch.zeros_like(target[:, :1])
        mark[..., :3] = True
        target = torch.cat([target, mark], dim=1) if trainer.label_manager.has_ignore_label else target
    else:
        target = full.argmax(dim=1, keepdim=True)
        target[1] = (target[1] + 1) % full.shape[1]
        target = target.to(torch.int16)
        if trainer.label_manager.has_ignore_label:
            target[..., :3] = 3
    heads = [target, target[..., ::2, ::2, ::2], target[..., ::4, ::4, ::4]][: len(outputs)]
    return {"data": image, "target": heads if trainer.enable_deep_supervision else target, "keys": ["a", "b"]}


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize(("trainer_class", "correct"), [(nnUNetTrainerIMA, 1), (nnUNetTrainerPGD, 2)])
def test_the_step_takes_the_mixed_loss_worked_out_by_hand(prepared, trainer_class, correct, deep, labels):
    trainer = trainer_of(trainer_class, *prepared, steps=2, beta=0.25, enable_deep_supervision=deep)
    order = {"regions_class_order": [1, 2]} if "regions" in labels else {}
    trainer.label_manager = LabelManager(LABELS[labels], order.get("regions_class_order"))
    trainer.initialize()
    trainer.set_deep_supervision_enabled(deep)
    batch = fixed_batch(trainer)
    before = copy.deepcopy(trainer.network)
    recorded = Recorded(trainer.network)
    own = trainer.loss
    trainer.on_train_epoch_start()
    value = float(trainer.train_step(batch)["loss"])
    assert trainer.loss is own
    clean, noisy = recorded.inputs
    assert torch.equal(clean, batch["data"])
    assert len(noisy) == correct
    eps = trainer.used["delta"] if trainer_class is nnUNetTrainerIMA else trainer.used["eps"]
    distances = (noisy - clean[:correct]).flatten(1).norm(dim=1).tolist()
    assert all(0 < distance <= eps * 1.0001 for distance in distances)
    assert trainer_class is nnUNetTrainerIMA or distances == pytest.approx([eps] * 2, rel=1e-3)
    part = [head[:correct] for head in batch["target"]] if deep else batch["target"][:correct]
    with torch.no_grad():
        by_hand = 0.75 * own(before(clean), batch["target"]) + 0.25 * own(before(noisy), part) * correct / 2
    assert value == pytest.approx(float(by_hand), rel=1e-5)
    assert not torch.equal(next(before.parameters()), next(trainer.network.parameters()))


def test_no_noise_is_the_plain_step_bit_for_bit(prepared):
    weights = []
    for trainer_class, settings in ((nnUNetTrainer, {}), (nnUNetTrainerIMA, {"start_epoch": 1})):
        seed_all(0)
        trainer = trainer_of(trainer_class, *prepared, **settings)
        trainer.initialize()
        trainer.on_train_epoch_start()
        trainer.train_step(fixed_batch(trainer))
        weights.append(list(trainer.network.parameters()))
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))


def test_the_subclass_of_the_page_has_its_settings():
    (block,) = re.findall(r"```python\n(.*?)```", (REPO / "docs/howto/nnunet.md").read_text(), re.DOTALL)
    names: dict = {}
    exec(block, names)
    heart = names["nnUNetTrainerIMA_heart"]
    assert issubclass(heart, nnUNetTrainerIMA)
    assert (heart.eps_max, heart.delta, heart.beta) == (25.0, 5.0, nnUNetTrainerIMA.beta)


def test_nnunet_finds_each_trainer_in_the_folder_that_is_printed(capsys):
    assert main(["nnunet", "path"]) == 0
    folder = capsys.readouterr().out.strip()
    for trainer_class in (nnUNetTrainerIMA, nnUNetTrainerPGD):
        found = recursive_find_python_class(
            folder, trainer_class.__name__, None, base_folder=folder, cleanup_imports_from_base_folder=True
        )
        assert found is trainer_class
        assert issubclass(found, nnUNetTrainer)
    for other in ("nnUNetTrainer", "AdversarialTrainer", "nnUNetTrainer_5epochs"):
        assert recursive_find_python_class(folder, other, None, base_folder=folder) is None


def test_variables_become_settings(monkeypatch):
    for name, text in {"EPS_MAX": "25", "DELTA": "5", "THRESHOLD": "relative:0.8", "EPS": "7", "DATA": "x"}.items():
        monkeypatch.setenv(f"MONAI_IMA_{name}", text)
    assert from_environment(("eps_max", "delta", "threshold")) == {
        "eps_max": 25, "delta": 5, "threshold": "relative:0.8",
    }  # fmt: skip
    monkeypatch.setenv("MONAI_IMA_EPSMAX", "25")
    with pytest.raises(ValueError, match="Unknown environment variable MONAI_IMA_EPSMAX, expected MONAI_IMA_EPS_MAX"):
        from_environment(("eps",))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("EPS_MAX", "-1", "eps_max"),
        ("DELTA", "11", "Got delta 11, expected a number in (0, eps_max = 10]"),
        ("NORM", "l1", "norm"),
        ("BETA", "2", "beta"),
        ("STEPS", "2.5", "steps"),
        ("THRESHOLD", "often", "Got threshold 'often'"),
        ("START_EPOCH", "-1", "start_epoch"),
        ("SEED", "x", "seed"),
    ],
)
def test_a_bad_setting_is_refused_before_the_network_is_built(prepared, monkeypatch, name, text, words):
    monkeypatch.setenv(f"MONAI_IMA_{name}", text)
    trainer = trainer_of(nnUNetTrainerIMA, *prepared)
    with pytest.raises(ValueError, match="expected") as refused:
        trainer.initialize()
    assert words in str(refused.value)
    assert trainer.network is None


def test_a_second_stage_is_refused(prepared):
    trainer = trainer_of(nnUNetTrainerIMA, *prepared, is_cascaded=True)
    trainer.configuration_manager = SimpleNamespace(previous_stage_name="3d_lowres")
    with pytest.raises(ValueError, match="takes the segmentation of 3d_lowres as input, expected one without"):
        trainer.initialize()


def test_a_resumed_setting_is_that_of_the_checkpoint():
    saved = {"eps": 3.0, "norm": "l2", "schedule": "cosine"}
    assert resumed(saved, {"eps": 3}) == saved


def test_a_checkpoint_from_before_there_were_schedules_goes_on_with_constant_steps():
    assert resumed({"eps": 3.0}, {"schedule": "constant"}) == {"eps": 3.0, "schedule": "constant"}
    with pytest.raises(ValueError, match="SCHEDULE=cosine, but the checkpoint was trained with constant"):
        resumed({"eps": 3.0}, {"schedule": "cosine"})


def test_ignored_voxels_of_regions_are_cut_out_of_the_score():
    manager = LabelManager(LABELS["regions_ignored"], [1, 2])
    target = torch.zeros(1, 3, 1, 4, dtype=torch.bool)
    target[0, 0, 0, :2], target[0, 1, 0, 1], target[0, 2, 0, 3] = True, True, True
    logits = torch.tensor([[5.0, 5, -5, 5], [-5, 5, -5, 5]]).view(1, 2, 1, 4)
    criterion = patch_criterion(manager, 0.9)
    assert criterion.score(logits, judged_label(target, manager)).tolist() == [1.0]
    assert criterion.score(-logits, judged_label(target, manager)).tolist() == [0.0]


def test_attacks_have_a_gradient_in_half_precision():
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 1, 64, 64, 64, generator=generator)
    label = (torch.randn(1, 1, 64, 64, 64, generator=generator) > 3).long()

    def gradient(criterion, dtype):
        x = image.to(dtype).requires_grad_()
        logits = torch.cat([-x, x], dim=1) * 0.01
        return torch.autograd.grad(criterion.loss(logits, label).sum(), x)[0].double().flatten()

    exact = gradient(DiceCriterion(), torch.float64)
    lost, kept = gradient(DiceCriterion(), torch.float16), gradient(PatchDice(), torch.float16)
    assert (lost == 0).double().mean() > 0.5, "the plain mean over voxels underflows"
    assert torch.cosine_similarity(kept, exact, dim=0) > 0.9999
    assert torch.cosine_similarity(gradient(PatchDice(), torch.float32), exact, dim=0) > 0.999999
    assert (kept == 0).double().mean() < 0.001


def test_casts_of_an_attack_are_not_taken_for_the_noisy_pass():
    """Of torch before 2.11 the noisy pass would have no gradient, where the clean pass is compiled."""
    layer, image = nn.Linear(3, 3), torch.rand(2, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with uncached_autocast("cpu"), torch.no_grad():
            assert layer(image).dtype == torch.bfloat16
            assert not torch.is_autocast_cache_enabled()
        assert torch.is_autocast_cache_enabled()
        loss = layer(image).sum()
    loss.backward()
    assert layer.weight.grad is not None
    with uncached_autocast("cpu"):
        assert not torch.is_autocast_enabled("cpu")


def test_noisy_samples_do_not_wait_for_other_processes(prepared):
    trainer = trainer_of(nnUNetTrainerIMA, *prepared)
    trainer.initialize()
    dice = trainer.loss.loss.dc
    dice.ddp = True
    with own_samples_only(trainer.loss):
        assert dice.ddp is False
    assert dice.ddp is True


def test_a_step_under_ddp_is_the_step_of_one_process(prepared):
    weights = []
    for ddp in (False, True):
        seed_all(0)
        trainer = trainer_of(nnUNetTrainerIMA, *prepared, steps=2)
        trainer.initialize()
        batch = fixed_batch(trainer)
        if ddp:
            dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
            trainer.network, trainer.is_ddp = DistributedDataParallel(trainer.network), True
            trainer.loss.loss.dc.ddp = True
        try:
            trainer.on_train_epoch_start()
            trainer.on_train_epoch_end([trainer.train_step(batch)])
            trainer.save_checkpoint(str(Path(trainer.output_folder) / "ddp.pth"))
        finally:
            if ddp:
                dist.destroy_process_group()
        content = checkpoint_of(trainer, "ddp.pth")
        assert content["monai_ima"]["margins"]["ids"] == ["a", "b"]
        weights.append(content["network_weights"])
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.allclose(weight, weights[1][key], atol=1e-6) for key, weight in weights[0].items())


def predictor_of(patch, network, mirroring, heads=3):
    predictor = nnUNetPredictor(use_mirroring=mirroring, device=torch.device("cpu"), allow_tqdm=False)
    predictor.configuration_manager = SimpleNamespace(patch_size=patch)
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=heads)
    predictor.network, predictor.allowed_mirroring_axes = network, tuple(range(len(patch)))
    return predictor


@pytest.mark.parametrize("mirroring", [False, True])
@pytest.mark.parametrize(
    ("patch", "size"), [((8, 8, 8), (13, 8, 10)), ((8, 8, 8), (5, 9, 7)), ((8, 8), (3, 11, 8)), ((8, 6), (2, 5, 13))]
)
def test_logits_are_nnunets_bit_for_bit_and_gradients_those_of_the_plain_graph(patch, size, mirroring):
    conv, norm = (nn.Conv3d, nn.InstanceNorm3d) if len(patch) == 3 else (nn.Conv2d, nn.InstanceNorm2d)
    network = nn.Sequential(conv(1, 4, 3, padding=1), norm(4), nn.LeakyReLU(), conv(4, 3, 1)).eval()
    predictor = predictor_of(patch, network, mirroring)
    image = torch.randn(1, 1, *size)
    expected = predictor.predict_sliding_window_return_logits(image[0]).float().clone()
    inferer = NNUNetInferer(predictor)
    with torch.no_grad():
        assert torch.equal(inferer(image, network)[0], expected)
    image.requires_grad_()
    logits = inferer(image, network)
    assert torch.equal(logits[0], expected)
    weights = torch.randn(logits.shape)
    (found,) = torch.autograd.grad((logits * weights).sum(), image)
    total, count = torch.zeros(3, *size).double(), torch.zeros(size).double()
    double = copy.deepcopy(network).double()
    exact = image.detach().double().requires_grad_()
    total, count = plain_blend(predictor, double, exact[0])
    (plain,) = torch.autograd.grad((total / count * weights[0]).sum(), exact)
    assert torch.allclose(found.double(), plain, rtol=2e-3, atol=2e-3 * float(plain.abs().max()))


def plain_blend(predictor, network, image):
    """Sums of weighted logits and of weights over all windows, without rounding, padding cut off."""
    from acvl_utils.cropping_and_padding.padding import pad_nd_image
    from nnunetv2.inference.sliding_window_prediction import compute_gaussian

    patch = predictor.configuration_manager.patch_size
    data, inside = pad_nd_image(image, patch, "constant", {"value": 0}, True, None)
    gaussian = compute_gaussian(tuple(patch), 1 / 8, 10, device=torch.device("cpu")).clone().double()
    total, count = torch.zeros(3, *data.shape[1:]).double(), torch.zeros(data.shape[1:]).double()
    for place in predictor._internal_get_sliding_window_slicers(data.shape[1:]):
        window = data[place][None]
        flips = [[]]
        if predictor.use_mirroring:
            for axis in range(2, window.ndim):
                flips += [[*flip, axis] for flip in flips]
        logits = sum(torch.flip(network(torch.flip(window, flip)), flip)[0] for flip in flips) / len(flips)
        part = torch.zeros_like(total)
        part[place] = logits * gaussian
        total, count[place[1:]] = total + part, count[place[1:]] + gaussian
    return total[(slice(None), *inside[1:])], count[tuple(inside[1:])]


class nnUNetTrainerIMA_tiny(nnUNetTrainerIMA):
    pass


@pytest.fixture(scope="module")
def fold(prepared, unbroken):
    """The trained fold under nnU-Net's own trainer name."""
    folder, name = prepared
    target = folder / "nnUNet_results" / name / "nnUNetTrainerIMA__nnUNetPlans__3d_fullres"
    shutil.copytree(Path(unbroken.output_folder_base), target, dirs_exist_ok=True)
    file = target / "fold_0" / "checkpoint_final.pth"
    torch.save({**torch.load(file, weights_only=False), "trainer_name": "nnUNetTrainerIMA"}, file)
    return ["-d", "4", "-c", "3d_fullres", "-f", "0", "-tr", "nnUNetTrainerIMA", "--levels", "0,5", "--attack", "pgd2"]


def test_a_fold_is_measured_with_its_own_prediction(fold, prepared, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["nnunet", "evaluate", *fold, "--out", str(out), "--device", "cpu"]) == 0
    assert "Written to" in capsys.readouterr().out
    results = Results.read(out)
    folder, name = prepared
    splits = json.loads((folder / "nnUNet_preprocessed" / name / "splits_final.json").read_text())
    assert [sample.sample_id for sample in results.samples] == sorted(splits[0]["val"])
    assert results.levels == [0.0, 5.0]
    assert results.classes == ["Anterior", "Posterior"]
    assert "nnunet evaluate --levels 0,5 --norm l2 --attack pgd2" in results.command
    assert "--dataset 4" in results.command
    opened = open_fold(4, "3d_fullres", 0, "nnUNetTrainerIMA")
    by_hand = []
    for case in opened:
        logits = opened.predictor.predict_sliding_window_return_logits(case["image"][0].as_tensor())
        maps = [
            nn.functional.one_hot(index, 3).movedim(-1, 0) for index in (logits.argmax(0), case["label"][0, 0].long())
        ]
        dice = compute_dice(maps[0][None].float(), maps[1][None].float(), include_background=False)
        by_hand.append(float(dice.nanmean()))
    assert [sample.scores[0].mean("dice") for sample in results.samples] == pytest.approx(by_hand, abs=1e-6)
    assert results.dice[1] <= results.dice[0]
    assert main(["report", "--results", str(out)]) == 0
    assert (out / "report.html").is_file()
    error = refusal(capsys, "nnunet", "evaluate", *fold, "--out", str(out))
    assert error.startswith(f"Folder {out} is not empty, expected a new one")


def refusal(capsys, *words: str) -> str:
    capsys.readouterr()
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1
    return shown.err.strip()


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"-d": "5"}, "Unknown data set 5, expected number or name of one in"),
        ({"-d": "Dataset009_None"}, "Unknown data set 'Dataset009_None', expected number or name"),
        ({"-c": "2d"}, "There is no training nnUNetTrainerIMA__nnUNetPlans__2d in"),
        ({"-tr": "nnUNetTrainerX"}, "There is no training nnUNetTrainerX__nnUNetPlans__3d_fullres in"),
        ({"-p": "Plans"}, "There is no training nnUNetTrainerIMA__Plans__3d_fullres in"),
        ({"-f": "3"}, "There is no fold fold_3 of nnUNetTrainerIMA__nnUNetPlans__3d_fullres, expected one of fold_0."),
        ({"-f": "all"}, "Fold all is trained on every case and has none to be measured on"),
        ({"-f": "first"}, "Got fold 'first', expected an integer"),
        (
            {"-chk": "checkpoint_x.pth"},
            "Fold 0 of nnUNetTrainerIMA__nnUNetPlans__3d_fullres has no checkpoint_x.pth, ex",
        ),
        ({"--attack": "pdg"}, "Unknown attack 'pdg'"),
        ({"--levels": "-1"}, "Got level -1"),
        ({"--norm": "l3"}, "Unknown norm 'l3'"),
        ({"--device": "abacus"}, "Got device 'abacus'"),
    ],
    ids=str,
)
def test_a_fold_that_is_not_there_is_refused_in_one_sentence(fold, tmp_path, monkeypatch, capsys, changed, sentence):
    monkeypatch.chdir(tmp_path)
    given = {**dict(zip(fold[::2], fold[1::2], strict=True)), **changed}
    error = refusal(capsys, "nnunet", "evaluate", *[f"{k}={v}" for k, v in given.items()], "--out=out")
    assert error.startswith(sentence)
    assert error.endswith(".")
    assert "expected" in error
    assert list(tmp_path.iterdir()) == []


def test_missing_folders_and_a_missing_nnunet_are_said(fold, monkeypatch, capsys, tmp_path):
    words = ["nnunet", "evaluate", *fold, "--out", str(tmp_path / "out")]
    for name in ("nnUNet_preprocessed", "nnUNet_results"):
        with monkeypatch.context() as patch:
            patch.delenv(name)
            assert refusal(capsys, *words).startswith(f"Environment variable {name} is not set, expected")
            patch.setenv(name, str(tmp_path / "none"))
            assert refusal(capsys, *words).startswith(
                f"Environment variable {name} is {tmp_path / 'none'}, which is no"
            )
    assert refusal(capsys, "nnunet", "evaluate", "-d", "4").startswith("Option --configuration is missing, expected")
    misspelt = refusal(capsys, "nnunet", "evaluate", "-d", "4", "--configuraton", "2d")
    assert misspelt == "Unknown option --configuraton, expected --configuration."
    assert refusal(capsys, "nnunet", "train") == "Unknown verb 'nnunet train', expected one of path, evaluate."
    monkeypatch.setattr(verb, "find_spec", lambda name: None if name == "nnunetv2" else find_spec(name))
    for action in (["nnunet", "path"], words):
        assert "pip install 'monai-ima[nnunet]'" in refusal(capsys, *action)


def test_an_untrained_fold_and_a_damaged_checkpoint_are_said(fold, prepared, monkeypatch, capsys, tmp_path):
    folder, name = prepared
    results = tmp_path / "results"
    shutil.copytree(folder / "nnUNet_results" / name, results / name)
    monkeypatch.setenv("nnUNet_results", str(results))
    trained = results / name / "nnUNetTrainerIMA__nnUNetPlans__3d_fullres" / "fold_0"
    words = ["nnunet", "evaluate", *fold, "--out", str(tmp_path / "out")]
    (trained / "checkpoint_final.pth").write_bytes(b"PK")
    assert refusal(capsys, *words).endswith(
        "checkpoint_final.pth is damaged, expected a checkpoint that nnU-Net wrote."
    )
    torch.save(
        {"network_weights": {}, "trainer_name": "nnUNetTrainer", "more": Path()}, trained / "checkpoint_final.pth"
    )
    assert "checkpoint_final.pth holds pathlib" in refusal(capsys, *words)
    for file in trained.glob("checkpoint_*.pth"):
        file.unlink()
    assert refusal(capsys, *words).endswith("has no checkpoint_final.pth, expected a fold that has been trained.")
    assert not (tmp_path / "out").exists()


def test_real_scans_train_and_are_measured(real_data, tmp_path):
    out = tmp_path / "out"
    words = ["-d", "4", "-c", "3d_fullres", "-f", "0", "-tr", "nnUNetTrainerIMA", "--levels", "5", "--attack", "fgsm"]
    with nnunet_folders(tmp_path) as folder:
        write_raw(real_data / "Task04_Hippocampus", folder, NAME, limit=5)
        plan(folder, NAME, FEATURES, (32, 32, 32))
        trainer = trainer_of(nnUNetTrainerIMA, folder, NAME, **QUICK, num_epochs=1, num_iterations_per_epoch=1)
        trainer.run_training()
        assert 0 < len(trainer.method.margins) <= 4
        assert main(["nnunet", "evaluate", *words, "--out", str(out), "--device", "cpu"]) == 0
    assert len(Results.read(out).samples) == 1
