"""``python -m monai_ima harden``: bundles in the styles of the wild are hardened, checked and trained."""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import os
import shlex
import shutil
import sys
from pathlib import Path

import ignite.distributed as idist
import pytest
import torch
from conftest import REPO
from ignite.engine import Events
from monai.bundle import ConfigWorkflow
from monai.bundle.scripts import init_bundle
from monai.data import Dataset
from monai.engines import Evaluator
from monai.networks.nets import UNet
from monai.transforms import Compose, Identityd, OneOf
from shell_commands import documented_commands, shell
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wild_bundles import CPU, STYLES, part, write, write_pictures, write_scripts

from monai_ima.__main__ import main
from monai_ima.data import add_sample_ids
from monai_ima.handlers import RobustValidation
from monai_ima.harden.modules import make_importable
from monai_ima.harden.network import build_network
from monai_ima.harden.parts import find_parts
from monai_ima.harden.reading import read_training_config
from monai_ima.harden.trial import _inside
from monai_ima.results.schema import Results
from monai_ima.transforms import with_sample_id

QUICK = ["--steps", "2", "--margin_steps", "2", "--binary_steps", "3", "--val_steps", "2"]
CLASSIFIERS = ("zoo_classification", "own_code", "multi_label")
TOLD = {"no_validation": ["--task", "segmentation", "--sigmoid", "True"], "own_code": ["--output", "logits"]}


def fingerprint(root: Path) -> dict[str, str]:
    return {
        str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }


def harden(root: Path, *arguments: object) -> int:
    return main(["harden", "--bundle", str(root), *map(str, arguments)])


def build(root: Path, *files: str, **overrides) -> ConfigWorkflow:
    listed = [str(root / "configs" / file) for file in files]
    workflow = ConfigWorkflow(listed, logging_file=False, bundle_root=str(root), **overrides)
    workflow.initialize()
    return workflow


def train(root: Path, *files: str, **overrides) -> ConfigWorkflow:
    with _inside(root):
        workflow = build(root, *files, **overrides)
        workflow.run_id = find_parts(read_training_config(root, files[0])).run_id
        workflow.run()
    return workflow


def config_of(root: Path) -> str:
    return next(name for name in ("train.json", "train.yaml") if (root / "configs" / name).is_file())


@pytest.mark.parametrize("style", STYLES)
def test_a_bundle_of_the_wild_is_hardened_checked_and_trained(style, tmp_path, capsys):
    root = tmp_path / style
    STYLES[style](root)
    before = fingerprint(root)
    assert harden(root, "--check", *QUICK, *TOLD.get(style, [])) == 0, capsys.readouterr().err
    shown = capsys.readouterr().out
    assert "this runs the code of" in shown
    assert "2 iterations trained" in shown
    assert ("one batch validated under attack" in shown) == (style != "no_validation")
    after = fingerprint(root)
    overlay = after.pop("configs/train_ima.json")
    assert overlay
    assert after == before, "the check leaves nothing behind, harden one file"
    workflow = train(root, config_of(root), "train_ima.json")
    handler = workflow.parser.get_parsed_content("harden#handler")
    after = fingerprint(root)
    assert {name: after[name] for name in before} == before
    margins = torch.load(root / "models" / "model_ima_last.pt", weights_only=True)["margins"]
    assert margins["ids"] == handler.margins.ids()
    expected = {
        "zoo_classification": [f"{k % 2}_{k}.npy" for k in range(8)],
        "zoo_segmentation": ["image0.npy", "image1.npy"],
        "template": ["image0.npy", "image1.npy", "image2.npy"],
        "channels": [f"image{k}.npy" for k in range(4)],
        "deep_supervision": [f"image{k}.npy" for k in range(4)],
        "own_code": [f"{k % 2}_{k}.npy" for k in range(8)],
        "multi_label": [f"{k:06d}" for k in range(8)],
        "no_validation": [f"image{k}.npy" for k in range(4)],
        "interactive": ["image0.npy", "image1.npy"],
    }[style]
    found = {Path(name).name for name in margins["ids"]}
    assert len(found) == len(margins["ids"])
    assert found <= set(expected)
    assert found == set(expected) or style == "deep_supervision", "a smart cache does not hold every file in two epochs"
    if style == "no_validation":
        assert not (root / "models" / "model_ima.pt").exists()
    else:
        validation = workflow.parser.get_parsed_content("harden#validation")
        assert validation.best is not None
        kept = torch.load(root / "models" / "model_ima.pt", weights_only=True)
        network = workflow.parser.get_parsed_content(find_parts(read_training_config(root)).trainer.id).network
        assert kept.keys() == network.state_dict().keys()
        assert torch.load(root / "models" / "model_ima_margins.pt", weights_only=True)["margins"]["eps_max"] > 0
        evaluated_as_it_was_hardened(root, style, shown, capsys)


def evaluated_as_it_was_hardened(root: Path, style: str, shown: str, capsys) -> None:
    """The line that harden prints evaluates the bundle with the task and the weights of its training."""
    line = shown.split("To evaluate:\n")[1].splitlines()[0]
    words = shlex.split(line.split("-m monai_ima ")[1])
    for option, value in (("--bundle", str(root)), ("--checkpoint", str(root / "models" / "model_ima.pt"))):
        words[words.index(option) + 1] = value
    words[words.index("--out") + 1] = str(root / "robustness")
    capsys.readouterr()
    code = main([*words, "--attack", "pgd2x1"])
    assert code == 0, capsys.readouterr().err
    results = Results.read(root / "robustness")
    assert results.task == ("classification" if style in CLASSIFIERS else "segmentation")
    assert style == "own_code" or not any(Path(sample.sample_id).is_absolute() for sample in results.samples)
    if style == "own_code":
        assert results.settings["output"] == "logits"
        weights = ["--checkpoint", str(root / "models" / "model_ima.pt"), "--attack", "pgd2", "--eps", "0.1"]
        attack = ["attack", "--bundle", str(root), *weights, "--limit", "1", "--out", str(root / "attacked")]
        assert main(attack) == 2
        assert "expected output= with the key that counts" in capsys.readouterr().err
        assert main([*attack[:-1], str(root / "attacked again"), "--output", "logits"]) == 0


@pytest.mark.parametrize("package", ["scripts/__init__.py", None])
def test_every_bundle_has_its_own_modules(tmp_path, package, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("one", "other", "one"):
        (tmp_path / name / "scripts").mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "scripts" / "whose.py").write_text(f"NAME = {name!r}")
        if package is not None:
            (tmp_path / name / package).touch()
        make_importable(tmp_path / name)
        assert name == importlib.import_module("scripts.whose").NAME
    make_importable(tmp_path)


@pytest.fixture
def zoo(tmp_path) -> Path:
    STYLES["zoo_classification"](tmp_path / "zoo")
    return tmp_path / "zoo"


@pytest.mark.parametrize("method", ["ima", "pgd", "trades", "iaat", "mma", "ddn"])
def test_every_method_trains_the_bundle(zoo, method, capsys):
    steps = ["--steps", "2", "--val_steps", "1"]
    assert harden(zoo, "--method", method, "--check", *steps) == 0, capsys.readouterr().err
    workflow = train(zoo, "train.json", f"train_{method}.json")
    handler = workflow.parser.get_parsed_content("harden#handler")
    assert f"{method}/loss_clean" in workflow.trainer.state.metrics
    radius = {"pgd": "eps", "trades": "eps", "ddn": "eps_max"}.get(method)
    found = getattr(handler.method, radius) if radius else handler.margins.eps_max
    assert found == pytest.approx(0.03 * 32 if method == "ddn" else 0.1)
    saved = torch.load(zoo / "models" / f"model_{method}_last.pt", weights_only=True)
    assert ("margins" in saved) == (method in ("ima", "iaat", "mma"))
    assert set(saved) >= {"model", "optimizer", "lr_scheduler", "trainer", "validation"}


def test_the_trial_run_takes_ids_of_the_config_and_says_what_is_missing(zoo, tmp_path, capsys):
    shutil.move(zoo / "data", tmp_path / "elsewhere")
    assert harden(zoo, "--check", *QUICK, "--dataset_dir", "/nowhere/data") == 2
    assert "dataset_dir is /nowhere/data, which does not exist: give --dataset_dir PATH" in capsys.readouterr().err
    assert harden(zoo, "--check", *QUICK, "--dataset_dri", tmp_path / "elsewhere") == 2
    assert "expected --dataset_dir" in capsys.readouterr().err
    assert not (zoo / "configs" / "train_ima.json").exists()
    assert harden(zoo, "--check", *QUICK, "--dataset_dir", tmp_path / "elsewhere") == 0
    assert "2 iterations trained" in capsys.readouterr().out


def test_fine_tuning_starts_from_the_trained_weights_and_a_margin_pass(zoo):
    assert harden(zoo, "--delta", "0.01", *QUICK) == 0
    start = torch.load(zoo / "models" / "model.pt", weights_only=True)
    seen = {}

    def look(engine):
        seen["weights"] = {name: value.clone() for name, value in engine.network.state_dict().items()}
        seen["margins"] = handler.margins.state_dict()

    with _inside(zoo):
        workflow = build(zoo, "train.json", "train_ima.json")
        handler = workflow.parser.get_parsed_content("harden#handler")
        assert workflow.trainer.state.max_epochs == 1, "a quarter of the bundle's four epochs"
        workflow.trainer.add_event_handler(Events.EPOCH_STARTED, look)
        workflow.run()
    assert all(torch.equal(seen["weights"][name], value) for name, value in start.items())
    assert len(seen["margins"]["ids"]) == 8
    assert seen["margins"]["margins"].max() > 0.01, "without the pass every margin would be δ"


@pytest.mark.parametrize(
    ("options", "told"), [(["--epochs", "3"], 1), (["--epochs", "4"], 0), (["--delta", "0.05"], 1)]
)
def test_a_coarse_delta_is_told_before_training(zoo, options, told, caplog):
    assert harden(zoo, "--dry_run", *options) == 0
    assert caplog.text.count("margins cannot tell samples apart") == told


def test_another_checkpoint_and_number_of_epochs_are_taken(zoo, tmp_path):
    weights = torch.load(zoo / "models" / "model.pt", weights_only=True)
    other = {name: value + 1 if value.is_floating_point() else value for name, value in weights.items()}
    torch.save({"network": other, "epoch": 7}, tmp_path / "other.pt")
    assert harden(zoo, "--pretrained", tmp_path / "other.pt", "--epochs", "2", *QUICK) == 0
    with _inside(zoo):
        workflow = build(zoo, "train.json", "train_ima.json")
        assert workflow.trainer.state.max_epochs == 2
        workflow.parser.get_parsed_content("harden#start")(workflow.trainer)
        loaded = workflow.trainer.network.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in other.items())


def test_a_broken_off_run_goes_on_with_its_margins(zoo):
    assert harden(zoo, "--epochs", "1", *QUICK) == 0
    first = train(zoo, "train.json", "train_ima.json")
    kept = first.parser.get_parsed_content("harden#validation").state_dict()
    margins = first.parser.get_parsed_content("harden#handler").margins.state_dict()
    checkpoint = str(zoo / "models" / "model_ima_checkpoint_epoch=1.pt")
    taken = {}
    with _inside(zoo):
        second = build(zoo, "train.json", "train_ima.json", epochs=2, **{"harden#resume": checkpoint})

        def look(engine):
            taken["margins"] = second.parser.get_parsed_content("harden#handler").margins.state_dict()
            taken["validation"] = second.parser.get_parsed_content("harden#validation").state_dict()
            taken["epoch"] = engine.state.epoch

        second.trainer.add_event_handler(Events.EPOCH_STARTED, look)
        second.run()
    assert taken["epoch"] == second.trainer.state.epoch == 2
    assert taken["validation"] == kept
    assert taken["margins"]["ids"] == margins["ids"]
    assert torch.equal(taken["margins"]["margins"], margins["margins"])


@pytest.fixture
def one_process(monkeypatch):
    """A process group of one, as torchrun would set it up."""
    for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29634", "RANK": "0", "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    yield
    idist.finalize()


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1)])
def test_the_overlay_composes_with_several_processes_in_any_order(zoo, order, one_process):
    assert harden(zoo, *QUICK) == 0
    files = ["train.json", "multi_gpu_train.json", "train_ima.json"]
    workflow = train(zoo, *(files[k] for k in order))
    assert isinstance(workflow.trainer.network, torch.nn.parallel.DistributedDataParallel)
    assert isinstance(workflow.trainer.data_loader.sampler, torch.utils.data.DistributedSampler)
    assert len(workflow.parser.get_parsed_content("harden#handler").margins) == 8
    kept = torch.load(zoo / "models" / "model_ima.pt", weights_only=True)
    assert kept.keys() == torch.load(zoo / "models" / "model.pt", weights_only=True).keys()


def commands(text: str) -> list[str]:
    """The lines that train."""
    return [
        line
        for line in text.split("To evaluate:")[0].splitlines()
        if line.startswith("cd ") and "monai.bundle run" in line
    ]


@pytest.mark.slow
def test_the_commands_that_harden_prints_train(zoo, capsys, tmp_path):
    before = fingerprint(zoo)
    assert harden(zoo, *QUICK) == 0
    single, several = commands(capsys.readouterr().out)
    shell(single, tmp_path)
    alone = torch.load(zoo / "models" / "model_ima_last.pt", weights_only=True)["margins"]
    shell(several.replace("torchrun", "torchrun --master_port=29637") + " --harden#overwrite True", tmp_path)
    shared = torch.load(zoo / "models" / "model_ima_last.pt", weights_only=True)["margins"]
    assert shared["ids"] == alone["ids"], "two processes have all samples between them"
    assert fingerprint(zoo).items() >= before.items()


def test_a_new_bundle_of_monai_with_a_minimal_training_is_hardened(tmp_path, capsys):
    root = tmp_path / "new"
    arguments = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2, "channels": [4, 8], "strides": [2]}
    init_bundle(root, network=UNet(**arguments))
    write_pictures(root)
    transforms = [
        part("LoadImaged", keys=["image", "label"]),
        part("ScaleIntensityd", keys="image"),
        part("ThresholdIntensityd", keys="label", threshold=120),
        part("AsDiscreted", keys="label", threshold=1),
    ]
    pairs = "$[{'image': f, 'label': f} for f in @files]"
    train = {
        "dataset": part("Dataset", data=pairs, transform=part("Compose", transforms=transforms)),
        "trainer": part(
            "SupervisedTrainer",
            device=CPU,
            max_epochs=4,
            train_data_loader=part("DataLoader", dataset="@train#dataset", batch_size=4),
            network="@network_def",
            optimizer="@optimizer",
            loss_function=part("DiceCELoss", to_onehot_y=True, softmax=True),
        ),
    }
    content = {
        "imports": ["$import glob"],
        "files": "$sorted(glob.glob('data/*.npy'))",
        "network_def": part("UNet", **arguments),
        "optimizer": part("torch.optim.Adam", params="$@network_def.parameters()"),
        "train": train,
        "run": ["$@train#trainer.run()"],
    }
    write(root, "train.json", content)
    before = fingerprint(root)
    assert harden(root, "--check", *QUICK) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    assert "segmentation, 2 classes" in out
    assert f"weights of {root / 'models' / 'model.pt'}" in out
    (command,) = commands(out)
    shell(command, tmp_path)
    assert fingerprint(root).items() >= before.items()
    assert len(torch.load(root / "models" / "model_ima_last.pt", weights_only=True)["margins"]["ids"]) == 8


def summary(text: str) -> dict[str, str]:
    """The rows that harden shows before the overlay."""
    rows = (line.strip().partition("  ") for line in text.split("\n{")[0].splitlines())
    return {name: value.strip() for name, _, value in rows}


def test_the_summary_says_what_epsilon_means(tmp_path, capsys):
    STYLES["zoo_segmentation"](tmp_path / "ct")
    assert harden(tmp_path / "ct", "--dry_run", "--eps_max", "0.02", "--epochs", "4") == 0
    rows = summary(capsys.readouterr().out)
    assert rows["task"] == "segmentation, 2 classes"
    assert rows["eps_max"] == "0.02 (at most 5 HU a pixel)", "0.02 of 250 HU"
    assert rows["delta"] == "0.005 (at most 1.25 HU a pixel)"
    assert "at eps 0.01 (at most 2.5 HU a pixel)" in rows["validation"]
    assert rows["batch norm"].startswith("yes")
    assert rows["bounds"] == "[0, 1]"
    assert fingerprint(tmp_path / "ct").keys() & {"configs/train_ima.json"} == set()


@pytest.mark.parametrize(
    ("style", "task", "identity", "bounds"),
    [
        ("zoo_classification", "classification, 2 classes", "names of the image files", "[0, 1]"),
        ("template", "segmentation, 2 classes", "names of the image files", "[0, 1]"),
        ("channels", "segmentation, 2 outputs, independent (sigmoid)", "added to the items of the data", "none"),
        ("deep_supervision", "segmentation, 2 classes", "names of the image files", "[-1, 1]"),
        ("own_code", "classification", "added by SampleIdd", "none"),
        ("multi_label", "multi-label, independent (sigmoid)", "added to the items of the data", "none"),
    ],
)
def test_task_and_settings_are_worked_out(style, task, identity, bounds, tmp_path, capsys):
    STYLES[style](tmp_path / style)
    assert harden(tmp_path / style, "--dry_run") == 0
    rows = summary(capsys.readouterr().out)
    assert rows["task"] == task
    assert rows["sample ids"].startswith(identity)
    assert rows["bounds"] == bounds


def test_everything_that_is_worked_out_can_be_overridden(zoo, capsys):
    given = ["--norm", "l2", "--eps_max", "3", "--bounds", "-1,2", "--val_eps", "0.7", "--min_clean", "0.4"]
    assert harden(zoo, "--beta", "0.25", "--update", "online", "--sigmoid", "True", *given, *QUICK) == 0
    with _inside(zoo):
        parser = build(zoo, "train.json", "train_ima.json").parser
        handler = parser.get_parsed_content("harden#handler")
        validation = parser.get_parsed_content("harden#validation")
    ima = handler.method
    assert (ima.margins.eps_max, ima.beta, ima.margin_update, ima.bounds) == (3, 0.25, "online", (-1, 2))
    assert type(ima.criterion).__name__ == "BinaryCriterion"
    assert validation.min_clean == 0.4
    assert validation.robust_evaluator.prepare_batch.eps == 0.7


def test_a_dataset_that_makes_its_own_arrays_gets_numbers(tmp_path, capsys):
    root = tmp_path / "own"
    STYLES["own_code"](root)
    code = root / "scripts" / "parts.py"
    code.write_text(
        code.read_text()
        .replace('"image": f,', '"image": np.load(f),')
        .replace("import torch\n", "import numpy as np\nimport torch\n", 1)
    )
    config = json.loads((root / "configs" / "train.json").read_text())
    del config["pipeline"]["transforms"][0]
    write(root, "train.json", config)
    assert harden(root, "--check", *TOLD["own_code"], *QUICK) == 0, capsys.readouterr().err
    assert "numbers of the dataset's items" in capsys.readouterr().out
    handler = train(root, "train.json", "train_ima.json").parser.get_parsed_content("harden#handler")
    assert handler.margins.ids() == [f"{k:06d}" for k in range(8)]


@pytest.mark.parametrize(("given", "downloads"), [({}, True), ({"pretrained": False}, False)])
def test_no_network_that_downloads_weights_is_built(given, downloads, zoo):
    change(zoo, network_def={"_target_": "EfficientNetBN", "model_name": "efficientnet-b0", "in_channels": 1, **given})
    built = build_network(find_parts(read_training_config(zoo)))
    assert (built is None) == downloads


def test_lengths_entries_and_common_keys_are_read_as_text(zoo, capsys):
    change(zoo, names=["a", "b", "c"], limits=[-1, 3], network_def__num_classes="$len(@names)")
    config = json.loads((zoo / "configs" / "train.json").read_text())
    scaling = config["train"]["deterministic_transforms"][1]
    scaling |= {"keys": "$monai.utils.CommonKeys.IMAGE", "b_min": "$@limits[0]", "b_max": "$@limits[1]"}
    write(zoo, "train.json", config)
    refused(zoo, capsys, "is of another network: fc.bias is of shape (2,) there, expected of shape (3,)")
    (zoo / "models" / "model.pt").unlink()
    assert harden(zoo, "--dry_run") == 0
    shown = capsys.readouterr().out
    assert "classification, 3 classes" in shown
    assert "to [-1, 3]" in shown
    assert "0.4 (at most 25.5 grey levels a pixel)" in shown, "a tenth of the width, which is worth a tenth of 255"


def test_a_dry_run_says_that_the_file_is_there_already(zoo, caplog):
    assert harden(zoo, "--dry_run") == 0
    assert "is refused" not in caplog.text
    assert harden(zoo) == 0
    assert harden(zoo, "--dry_run") == 0
    assert "train_ima.json exists: without --dry_run this is refused" in caplog.text


def test_reading_evaluates_and_imports_nothing(zoo):
    config = json.loads((zoo / "configs" / "train.json").read_text())
    bomb = f"$open('{zoo}/evaluated', 'w')"
    config["imports"] += ["$import scripts.bomb", bomb]
    config["items"] = bomb
    config["initialize"] = [bomb]
    config["train"]["dataloader"]["num_workers"] = bomb
    config["validate"]["evaluator"]["device"] = bomb
    write(zoo, "train.json", config)
    write_scripts(zoo, "bomb.py", f"open('{zoo}/imported', 'w')\n")
    assert harden(zoo) == 0
    assert not (zoo / "evaluated").exists()
    assert not (zoo / "imported").exists()
    assert "scripts.bomb" not in sys.modules


class Engine(Evaluator):
    """Just enough of an evaluator: a metric that is read off a list, run by run."""

    def __init__(self, values):
        self.values = iter(values)
        self.metric_cmp_fn = lambda new, best: new > best
        self.handlers = {}
        self.state = self
        self.key_metric_name = "dice"
        self.metrics = {}
        self.epoch = 0

    def add_event_handler(self, event, handler, *arguments):
        self.handlers[event] = lambda engine: handler(engine, *arguments)

    def run(self, epoch):  # type: ignore[override]
        self.epoch = epoch
        self.metrics["dice"] = next(self.values)
        if Events.COMPLETED in self.handlers:
            self.handlers[Events.COMPLETED](self)


@pytest.mark.parametrize(
    ("clean", "robust", "min_clean", "epoch"),
    [
        ([math.nan, 0.7], [0.9, 0.2], None, 2),
        ([math.nan, 0.7], [0.9, 0.2], 0.5, 2),
        ([0.9, 0.7], [math.nan, 0.2], None, 2),
        ([0.9, math.nan], [0.3, 0.9], 0.5, 1),
        ([math.nan, math.nan], [0.9, 0.9], None, None),
        ([math.nan, math.nan], [0.9, 0.9], 0.5, None),
        ([0.9, 0.9], [math.nan, math.nan], 0.5, None),
    ],
)
def test_a_metric_that_is_no_number_is_never_best_and_never_clean_enough(
    tmp_path, clean, robust, min_clean, epoch, caplog
):
    network = torch.nn.Linear(1, 1, bias=False)
    evaluator = Engine(clean)
    validation = RobustValidation(evaluator, Engine(robust), network, tmp_path, "best", min_clean)
    trainer = Engine([0])
    validation.attach(trainer)
    for k in (1, 2):
        torch.nn.init.constant_(network.weight, k)
        evaluator.run(k)
    trainer.run(2)
    if epoch is None:
        assert not (tmp_path / "best.pt").exists()
        assert "no validation gave finite key metrics" in caplog.text
    else:
        assert torch.load(tmp_path / "best.pt", weights_only=True)["weight"].item() == epoch


@pytest.mark.parametrize(
    ("min_clean", "epoch"),
    [(None, 2), (0.8, 3), (0.85, 1), (0.99, None)],
)
def test_the_best_robust_weights_whose_clean_metric_suffices_are_kept(tmp_path, min_clean, epoch, caplog):
    clean, robust = Engine([0.9, 0.5, 0.8, 0.8]), Engine([0.1, 0.7, 0.4, 0.3])
    network = torch.nn.Linear(1, 1, bias=False)
    validation = RobustValidation(clean, robust, network, tmp_path, "best", min_clean)
    trainer = Engine([0])
    validation.attach(trainer)
    for k in range(1, 5):
        torch.nn.init.constant_(network.weight, k)
        clean.run(k)
    trainer.run(4)
    assert trainer.metrics["robust_dice"] == 0.3
    if epoch is None:
        assert not (tmp_path / "best.pt").exists()
        assert "the best clean metric was 0.9000, expected 0.99" in caplog.text
    else:
        assert torch.load(tmp_path / "best.pt", weights_only=True)["weight"].item() == epoch


def test_the_trainers_tensorboard_shows_the_robust_metric(zoo, capsys):
    assert harden(zoo, *QUICK) == 0, capsys.readouterr().err
    train(zoo, "train.json", "train_ima.json", epochs=2)
    written = EventAccumulator(str(zoo / "eval")).Reload()
    assert [event.step for event in written.Scalars("val_robust_accu")] == [1, 2]
    assert [event.step for event in written.Scalars("ima/margin_mean")] == [1, 2]


def test_ids_of_items_are_stable_and_unique(tmp_path):
    files = [str(tmp_path / "a" / "1.png"), str(tmp_path / "b" / "1.png")]
    assert [i["sample_id"] for i in add_sample_ids([{"image": f} for f in files])] == ["a/1.png", "b/1.png"]
    two = add_sample_ids([{"image": files[0]}, {"image": files[0]}, {"image": files[1]}])
    assert len({item["sample_id"] for item in two}) == 3
    assert [i["sample_id"] for i in add_sample_ids([{"image": torch.zeros(1)}] * 2)] == ["000000", "000001"]
    assert add_sample_ids([{"image": files, "sample_id": "mine"}])[0]["sample_id"] == "mine"
    crops = Dataset([[{"image": torch.zeros(1)}] * 2] * 2)
    assert [crop["sample_id"] for crop in add_sample_ids(crops)[1]] == ["000001"] * 2
    assert [crop["sample_id"] for crop in add_sample_ids(crops, distinct=True)[1]] == ["000001/000000", "000001/000001"]
    lazy = add_sample_ids(Dataset([{"image": torch.zeros(1)}] * 2))
    assert [lazy[k]["sample_id"] for k in (0, 1, -1)] == ["000000", "000001", "000001"]
    with pytest.raises(ValueError, match="Item 1 of the data is of type str"):
        add_sample_ids([{"image": 1}, "x"])


def test_sample_id_goes_in_front_of_flat_transforms(tmp_path):
    inner = Compose([Identityd("image"), Compose([Identityd("image")])])
    found = with_sample_id(inner, "image")
    assert [type(t).__name__ for t in found.transforms] == ["SampleIdd", "Identityd", "Identityd"]
    assert len(inner.transforms) == 2
    assert found({"image": ["t1.nii", "t2.nii"]})["sample_id"] == "t1.nii"
    assert [type(t).__name__ for t in with_sample_id(OneOf([Identityd("image")]), "image").transforms][1] == "OneOf"


def change(root: Path, **ids) -> None:
    """Set ids of train.json, written with ``__`` between their parts."""
    config = json.loads((root / "configs" / "train.json").read_text())
    for path, value in ids.items():
        *parents, last = path.split("__")
        node = config
        for key in parents:
            node = node[key]
        node[last] = value
    write(root, "train.json", config)


def test_a_bundle_that_averages_its_weights_keeps_the_average_that_it_validates(zoo, capsys):
    """It starts from the trained weights, is what model_ima.pt holds, and goes on where a run was broken off."""
    config = json.loads((zoo / "configs" / "train.json").read_text())
    average = {"_target_": "ignite.handlers.EMAHandler", "model": "@network", "momentum": 0.25}
    change(zoo, train__handlers=[*config["train"]["handlers"], average])
    change(zoo, validate__evaluator__network=f"$@train#handlers#{len(config['train']['handlers'])}.ema_model")
    start = torch.load(zoo / "models" / "model.pt", weights_only=True)
    assert harden(zoo, "--epochs", "2", "--check", *QUICK) == 0, capsys.readouterr().err
    with _inside(zoo):
        workflow = build(zoo, "train.json", "train_ima.json")
        network = workflow.trainer.network
        name = next(name for name, _ in network.named_parameters())
        expected = [start[name]]

        def follow(engine):
            expected.append(0.75 * expected[-1] + 0.25 * network.state_dict()[name])

        workflow.trainer.add_event_handler(Events.ITERATION_COMPLETED, follow)
        workflow.run()
    last = torch.load(zoo / "models" / "model_ima_last.pt", weights_only=True)
    torch.testing.assert_close(last["average"][name], expected[-1])
    assert not torch.allclose(last["model"][name], expected[-1])
    kept = torch.load(zoo / "models" / "model_ima.pt", weights_only=True)[name]
    assert any(torch.allclose(kept, own) for own in expected[2::2])

    taken = {}
    with _inside(zoo):
        checkpoint = str(zoo / "models" / "model_ima_checkpoint_epoch=1.pt")
        resumed = build(zoo, "train.json", "train_ima.json", **{"harden#resume": checkpoint, "harden#overwrite": True})
        ema = resumed.parser.get_parsed_content("validate#evaluator").network

        def look(engine):
            taken["average"] = ema.state_dict()[name].clone()

        resumed.trainer.add_event_handler(Events.EPOCH_STARTED, look)
        resumed.run()
    torch.testing.assert_close(taken["average"], expected[2])


UNSUITED = {
    "GAN": {"train__trainer___target_": "GanTrainer"},
    "diffusion": {"train__inferer": {"_target_": "DiffusionInferer", "scheduler": None}},
    "detector": {"train__trainer": {"_target_": "scripts.trainer.DetectionTrainer", "detector": "@network"}},
    "registration": {"loss": {"_target_": "LocalNormalizedCrossCorrelationLoss"}},
    "regression": {"loss": {"_target_": "torch.nn.MSELoss"}},
    "reproduce images": {"network_def": {"_target_": "AutoencoderKL"}},
    "iteration_update": {"train__trainer__iteration_update": {"_target_": "scripts.own.Iteration"}},
}


@pytest.mark.parametrize("why", UNSUITED)
def test_a_bundle_that_cannot_be_hardened_says_why(why, zoo, capsys):
    change(zoo, **UNSUITED[why])
    refused(zoo, capsys, why)


def overlay_of(shown: str) -> dict:
    return json.loads(shown[shown.index("\n{") :])


def test_of_hovernet_the_nucleus_map_counts(zoo, capsys):
    (zoo / "models" / "model.pt").unlink()
    change(
        zoo, network_def={"_target_": "HoVerNet", "mode": "fast", "out_classes": 5}, loss={"_target_": "HoVerNetLoss"}
    )
    assert harden(zoo, "--task", "segmentation", "--threshold", "baseline", "--dry_run") == 0
    shown = capsys.readouterr().out
    assert "segmentation, 2 classes" in shown
    assert "in the network's output 'nucleus_prediction'" in shown
    section = overlay_of(shown)["harden"]
    assert section["output"] == "nucleus_prediction"
    assert [section[name]["output"] for name in ("handler", "attack", "baseline")] == ["@harden#output"] * 3


def test_the_output_that_counts_is_given_as_an_index_or_a_key(zoo, capsys):
    for given, output in (("-1", -1), ("'2'", "2"), ("logits", "logits")):
        assert harden(zoo, "--output", given, "--dry_run") == 0
        assert overlay_of(capsys.readouterr().out)["harden"]["output"] == output
    assert harden(zoo, "--dry_run") == 0
    assert '"output"' not in capsys.readouterr().out
    refused(zoo, capsys, "Got output 1.5, expected the index or the key", "--output", "1.5")


def refused(root: Path, capsys, words: str, *arguments: object) -> None:
    before = fingerprint(root) if root.is_dir() else None
    assert harden(root, *arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert words in lines[0]
    assert lines[0].endswith(".")
    assert (fingerprint(root) if root.is_dir() else None) == before


def test_bad_folders_and_files_are_named_in_one_sentence(zoo, tmp_path, capsys):
    refused(tmp_path / "none", capsys, "none does not exist, expected that of a MONAI bundle")
    refused(zoo / "data", capsys, "data is no MONAI bundle")
    refused(zoo, capsys, "no.json does not exist", "--config", "no.json")
    (zoo / "configs" / "bad.json").write_text("{")
    refused(zoo, capsys, "bad.json cannot be read", "--config", "bad.json")
    (zoo / "configs" / "list.yaml").write_text("- 1")
    refused(zoo, capsys, "holds list, expected a dictionary", "--config", "list.yaml")
    (zoo / "configs" / "train_ima.json").write_text("{}")
    refused(zoo, capsys, "train_ima.json exists")
    (zoo / "configs" / "train.json").unlink()
    refused(zoo, capsys, "holds no train.json or train.yaml")


def test_a_read_only_bundle_is_left_alone(zoo, capsys, monkeypatch):
    configs = zoo / "configs"
    configs.chmod(0o555)
    if os.geteuid() == 0:
        monkeypatch.setattr(os, "access", lambda path, mode: bool(os.stat(path).st_mode & 0o222))
    refused(zoo, capsys, "configs is read-only")
    configs.chmod(0o755)


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ({"train__dataset__data": "@nowhere"}, "Reference @nowhere in"),
        ({"train__dataset__data": "$[x for x in @train#nowhere]"}, "Reference @train#nowhere in"),
        ({"train__trainer__network": "@train#trainer#network"}, "refers to itself"),
        ({"validate__postprocessing": "%train#nowhere"}, "A macro (%) in"),
        ({"train__trainer": "$make_trainer()"}, "is an expression"),
        ({"train__trainer": "@network_def"}, "without train_data_loader"),
        ({"train__deterministic_transforms": []}, "expected --eps_max"),
        ({"network_def__layers": [1]}, "cannot be built from its arguments"),
        ({"loss": {"_target_": "scripts.Unknown"}, "train__trainer__key_train_metric": None}, ""),
    ],
)
def test_a_damaged_config_is_named_in_one_sentence(ids, words, zoo, capsys):
    change(zoo, **ids)
    if words:
        refused(zoo, capsys, words)
    else:
        assert harden(zoo, "--dry_run") == 0, "the metadata name the task"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "magic"], "Unknown method 'magic'"),
        (["--norm", "l7"], "Unknown norm 'l7'"),
        (["--method", "ddn", "--norm", "linf"], "expected l2"),
        (["--eps_max", "-1"], "Got eps_max -1"),
        (["--epochs", "0"], "Got epochs 0"),
        (["--task", "magic"], "Unknown task 'magic'"),
        (["--method", "mma", "--task", "segmentation"], "Got method mma for segmentation"),
        (["--thing", "1"], "Unknown option --thing of method ima"),
        (["--method", "pgd", "--update", "online"], "Unknown option --update of method pgd"),
        (["--trainer", "nothing"], "expected the trainer's id"),
        (["--bounds", "2,1"], "Got bounds (2, 1)"),
        (["--pretrained", "none.pt"], "none.pt does not exist"),
        (["--pretrained", "{root}/configs/train.json"], "is no checkpoint that loads safely"),
        (["--pretrained", "{root}/empty.pt"], "holds no network weights"),
        (["--pretrained", "{root}/other.pt"], "is of another network"),
        (["--pretrained", "5"], "Checkpoint 5 does not exist"),
        (["--steps", "0"], "Got steps 0"),
        (["--eps_max", "much"], "Got eps_max 'much', expected a finite number > 0."),
        (["--val_eps", "-1"], "Got val_eps -1, expected a finite number > 0."),
        (["--val_steps", "2.5"], "Got val_steps 2.5, expected an integer >= 1."),
        (["--epochs", "few"], "Got epochs 'few', expected an integer >= 1."),
        (["--min_clean", "high"], "Got min_clean 'high', expected a finite number."),
        (["--bounds", "3"], "Got bounds 3, expected two numbers (lo, hi) with lo < hi, or None."),
        (["--bounds", "low,high"], "Got bounds ('low', 'high'), expected two numbers"),
        (["--sigmoid", "maybe"], "Got sigmoid 'maybe', expected True or False."),
        (["--threshold", "high", "--task", "segmentation"], "Got threshold 'high', expected a number in (0, 1]"),
        (["--steps", "many"], "Got steps 'many', expected an integer >= 1."),
        (["--beta", "2"], "Got beta 2, expected a number in [0, 1]."),
        (["--beta", "much"], "Got beta 'much', expected a number in [0, 1]."),
        (["--delta", "5"], "Got delta 5, expected a number in (0, eps_max = 0.1]."),
        (["--update", "sometimes"], "Unknown margin update 'sometimes', expected 'epoch' or 'online'."),
        (["--seed", "a"], "Got seed 'a', expected an integer >= 0."),
        (["--method", "trades", "--beta", "much"], "Got beta 'much', expected a finite number >= 0."),
        (["--method", "iaat", "--smoothing", "0"], "Got smoothing 0, expected a number in (0, 1]."),
        (["--config", "3"], "configs/3 does not exist, expected it in the bundle."),
    ],
)
def test_bad_options_are_named_in_one_sentence(arguments, words, zoo, capsys):
    torch.save({"epoch": 1}, zoo / "empty.pt")
    torch.save(torch.nn.Linear(2, 2).state_dict(), zoo / "other.pt")
    refused(zoo, capsys, words, *(a.format(root=zoo) for a in arguments))


def test_a_check_that_fails_says_so_and_writes_nothing(tmp_path, capsys):
    root = tmp_path / "own"
    STYLES["own_code"](root)
    code = root / "scripts" / "parts.py"
    code.write_text(code.read_text().replace("self.patience = patience", "raise AttributeError('no patience')"))
    refused(root, capsys, "failed: AttributeError: no patience", "--check")
    code.write_text(
        code.read_text().replace(
            "raise AttributeError('no patience')",
            "self.patience = patience\n\n"
            "    def _iteration(self, engine, batchdata):\n"
            "        return {'loss': torch.zeros(())}\n",
        )
    )
    refused(root, capsys, "IMAHandler was not called once in epoch 1, expected Trainer to fire", "--check")
    code.write_text(
        f"{code.read_text()}\n\nclass Trainer:\n    def __init__(self, train_handlers, **kwargs):\n"
        "        train_handlers[0].attach(self)\n"
    )
    refused(root, capsys, "IMAHandler was attached to a Trainer, expected a SupervisedTrainer", "--check")


def test_a_checkpoint_that_only_the_check_can_compare_is_refused(tmp_path, capsys):
    root = tmp_path / "own"
    STYLES["own_code"](root)
    torch.save(torch.nn.Linear(2, 2).state_dict(), root / "other.pt")
    refused(root, capsys, "is of another network", "--check", "--pretrained", root / "other.pt")


def test_a_hardened_bundle_is_not_hardened_again(capsys):
    refused(REPO / "bundles" / "oct_classification_ima", capsys, "is hardened already")


@pytest.mark.slow
def test_the_worked_examples_of_the_howto_run(tmp_path):
    not_shipped = shutil.ignore_patterns("*.pt", "eval")
    for name, bundle in {"ecg": "ecg_classification_ima", "hippocampus": "hippocampus_segmentation_ima"}.items():
        shutil.copytree(REPO / "bundles" / bundle, tmp_path / name, ignore=not_shipped)
    shown = documented_commands(REPO / "docs" / "howto" / "harden.md")
    assert len(shown) == 10
    for command in shown:
        shell(command.replace("torchrun", "torchrun --master_port=29639"), tmp_path)
    plain, hardened = (
        json.loads((tmp_path / "ecg" / "eval" / name / "results.json").read_text())["accuracy"]
        for name in ("plain", "hardened")
    )
    assert min(plain[0], hardened[0]) > 0.6, "a fifth by chance"
    assert hardened[-1] > plain[-1] + 0.05
    assert (tmp_path / "ecg" / "eval" / "report.html").is_file()
    saved = torch.load(tmp_path / "hippocampus" / "models" / "model_ima_last.pt", weights_only=True)
    assert 0.4 < saved["criterion"]["threshold"] < 1, "the Dice of a network that has learnt"
    assert len(saved["margins"]["ids"]) > 0
    again = torch.load(tmp_path / "ecg" / "models" / "model_ima_last.pt", weights_only=True)
    assert len(again["margins"]["ids"]) == 200, "of the two processes together"
