"""The bundle ecg_classification_ima through MONAI's own tools and through ``python -m monai_ima``."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runs import bundle_of, open_config, read_metrics, read_rows, run_config
from conftest import REPO, run_program
from ignite.engine import Events
from monai.bundle import ckpt_export, verify_net_in_out

from monai_ima.__main__ import main
from monai_ima.data import BEAT_CLASSES, ecg_phantom_datalist
from monai_ima.networks import ECGNet
from monai_ima.utils.errors import root_cause

BUNDLE = bundle_of("ecg_classification")
CONFIGS = BUNDLE / "configs"
SMALL = {"phantom_beats": {"train": 60, "val": 15, "test": 40}}
METHODS = ["ima", "mma", "iaat"]
QUICK = {"epochs": 2, "batch_size": 32, "steps": 3, "margin_steps": 3, "val_steps": 2, **SMALL}


def test_the_overlay_of_the_howto_averages_the_weights_also_in_a_resumed_run(tmp_path):
    """Against a loop over the weights of every step; the best weights are the average of one of the two epochs."""
    text = (REPO / "docs" / "howto" / "average.md").read_text()
    overlay = tmp_path / "average.json"
    overlay.write_text(re.search(r"<!-- tested -->\n```json\n(.*?)```", text, re.DOTALL)[1])
    files = ["train.json", str(overlay)]
    built = workflow(tmp_path / "whole", files, **QUICK)
    built.initialize()
    averaged = built.parser.get_parsed_content("average").ema_model
    robust = built.parser.get_parsed_content("validate#robust_evaluator")
    for used in (built.parser.get_parsed_content("validate#evaluator"), robust, robust.prepare_batch):
        assert used.network is averaged
    network = built.trainer.network
    average = {key: value.clone() for key, value in network.state_dict().items()}
    epochs = []

    def follow(engine):
        for key, value in network.state_dict().items():
            average[key] = 0.996 * average[key] + 0.004 * value
        if engine.state.iteration % engine.state.epoch_length == 0:
            epochs.append(dict(average))

    built.trainer.add_event_handler(Events.ITERATION_COMPLETED, follow)
    built.run()
    models = tmp_path / "whole" / "models"
    last = torch.load(models / "model_last.pt", weights_only=True)
    torch.testing.assert_close(last["model"], epochs[-1])
    assert not torch.equal(last["model"]["layers.15.bias"], last["network"]["layers.15.bias"])
    best = torch.load(models / "model.pt", weights_only=True)
    assert any(torch.allclose(best["layers.15.bias"], own["layers.15.bias"], rtol=1e-5) for own in epochs)

    resumed = tmp_path / "resumed"
    run(resumed, files, resume=str(models / "model_checkpoint_epoch=1.pt"), **QUICK)
    again = torch.load(resumed / "models" / "model_last.pt", weights_only=True)
    for part in ("model", "network"):
        assert all(torch.equal(again[part][key], value) for key, value in last[part].items())


def workflow(root, files=("train.json",), **settings):
    return open_config(BUNDLE, files, root, **settings)


def run(*args, **settings):
    return run_config(workflow(*args, **settings)).parser


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """What two epochs on a few synthetic beats leave: a folder with the checkpoints in ``models``."""
    folder = tmp_path_factory.mktemp("trained")
    run(folder, **QUICK)
    return folder


@pytest.mark.parametrize(
    "files", [["train.json"], ["train.json", "train_ce.json"], ["evaluate.json"], ["inference.json"]]
)
def test_every_config_has_the_ids_of_the_bundle_specification(files, tmp_path):
    built = workflow(tmp_path, files, **SMALL)
    built.initialize()
    assert built.check_properties() == []


def test_the_settings_are_those_of_the_paper(tmp_path):
    """Section 3.1; the paper gives no batch size."""
    built = workflow(tmp_path, **SMALL)
    built.initialize()
    expected = {"epochs": 60, "learning_rate": 0.001, "beta": 0.5, "steps": 20, "margin_steps": 50, "binary_steps": 10}
    expected |= {"update": "epoch", "update_interval": 1, "delta": None, "val_fraction": 0.2, "balance": True}
    assert {name: built.parser[name] for name in expected} == expected
    assert isinstance(built.parser.get_parsed_content("optimizer"), torch.optim.Adam)
    assert isinstance(built.parser.get_parsed_content("network"), ECGNet)
    for file in ("evaluate.json", "inference.json"):
        assert json.loads((CONFIGS / file).read_text())["network_def"] == built.parser["network_def"]


@pytest.mark.parametrize(("norm", "eps_max"), [("linf", 0.3), ("l2", 1.5)])
def test_the_norm_brings_the_papers_eps_max(norm, eps_max, tmp_path, caplog):
    parser = run(tmp_path, norm=norm, **{**QUICK, "epochs": 1})
    ima = parser.get_parsed_content("train#handlers#0")
    assert (ima.margins.eps_max, ima.method.training_attack.norm.name) == (eps_max, norm)
    assert torch.load(tmp_path / "models" / "model_last.pt", weights_only=True)["margins"]["eps_max"] == eps_max
    assert parser.get_parsed_content("validate#attack").norm.name == norm
    assert parser.get_parsed_content("val_eps") == pytest.approx(eps_max / 6)
    assert "eps_max" not in caplog.text


def test_an_eps_max_of_the_other_norm_is_warned_of_and_an_unknown_norm_refused(tmp_path, caplog):
    built = workflow(tmp_path, norm="l2", eps_max=0.3, bounds=None, **SMALL)
    built.initialize()
    ima = built.parser.get_parsed_content("train#handlers#0")
    assert (ima.margins.eps_max, ima.method.bounds) == (0.3, None)
    assert "Got eps_max 0.3 for norm l2, expected about 1.5, the paper's" in caplog.text
    for file in ("train.json", "evaluate.json"):
        with pytest.raises(RuntimeError) as refused:
            workflow(tmp_path, [file], norm="l1", **SMALL).initialize()
        assert str(root_cause(refused.value)) == "Unknown norm 'l1', expected 'l2' or 'linf'."


def test_training_sees_balanced_classes_and_validation_the_data_as_they_are(tmp_path):
    built = workflow(tmp_path, **SMALL)
    built.initialize()
    counts = {}
    for part in ("train", "validate"):
        batches = list(built.parser.get_parsed_content(f"{part}#dataloader"))
        counts[part] = np.bincount(torch.cat([batch["label"] for batch in batches]), minlength=5).tolist()
        assert batches[0]["image"].shape[1:] == (1, 187)
        assert type(batches[0]["image"]) is torch.Tensor
    assert counts == {"train": [37] * 5, "validate": [10, 1, 2, 1, 1]}
    built = workflow(tmp_path, balance=False, **SMALL)
    built.initialize()
    assert len(built.parser.get_parsed_content("train#dataset")) == 60


def test_metadata_describe_the_version_and_the_classes():
    metadata = json.loads((CONFIGS / "metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"]
    formats = metadata["network_data_format"]
    assert tuple(formats["outputs"]["pred"]["channel_def"].values()) == BEAT_CLASSES
    assert formats["inputs"]["image"]["spatial_shape"] == [187]


def test_training_leaves_best_and_last_checkpoint_margins_and_tensorboard(trained):
    models = trained / "models"
    last = torch.load(models / "model_last.pt", weights_only=True)
    assert set(last) == {"model", "optimizer", "trainer", "margins"}
    assert last["margins"]["ids"] == [f"train-{number:05d}" for number in range(1, 61)], "repeated beats share a margin"
    assert torch.load(models / "model_margins.pt", weights_only=True)["ids"] == last["margins"]["ids"]
    assert torch.load(models / "model.pt", weights_only=True).keys() == last["model"].keys()
    assert list(trained.glob("events.out.tfevents*"))


def test_evaluation_and_inference_run_on_the_checkpoint_and_agree(trained, tmp_path):
    checkpoint = {"ckpt_path": str(trained / "models" / "model.pt")}
    run(tmp_path, ["evaluate.json"], eval_steps=3, **checkpoint, **SMALL)
    clean, robust = (read_metrics(tmp_path / kind / "metrics.csv") for kind in ("clean", "robust"))
    assert clean["accuracy"] >= robust["robust_accuracy"]
    run(tmp_path, ["inference.json"], **checkpoint, **SMALL)
    rows = read_rows(tmp_path / "predictions.csv")
    items = ecg_phantom_datalist(SMALL["phantom_beats"])["test"]
    labels = {item["sample_id"]: BEAT_CLASSES[item["label"]] for item in items}
    assert [row["sample_id"] for row in rows] == sorted(labels)
    for row in rows:
        probabilities = {name: float(row[name]) for name in BEAT_CLASSES}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert row["predicted"] == max(probabilities, key=probabilities.get)
    right = np.array([labels[row["sample_id"]] == row["predicted"] for row in rows])
    assert right.mean() == pytest.approx(clean["accuracy"], abs=1e-4)
    own = [right[[labels[row["sample_id"]] == name for row in rows]].mean() for name in BEAT_CLASSES]
    assert np.mean(own) == pytest.approx(clean["balanced_accuracy"], abs=1e-4)


def test_inference_reads_beats_with_and_without_a_class(trained, tmp_path):
    items = ecg_phantom_datalist(SMALL["phantom_beats"])["test"]
    beats = np.array([item["image"][0] for item in items])
    np.savetxt(tmp_path / "plain.csv", beats, delimiter=",")
    np.savetxt(tmp_path / "labelled.csv", np.column_stack([beats, [item["label"] for item in items]]), delimiter=",")
    found = {}
    for name in ("plain", "labelled"):
        run(
            tmp_path / name,
            ["inference.json"],
            dataset_dir=str(tmp_path / f"{name}.csv"),
            ckpt_path=str(trained / "models" / "model.pt"),
        )
        rows = read_rows(tmp_path / name / "predictions.csv")
        assert [row.pop("sample_id") for row in rows] == [f"{name}-{number:05d}" for number in range(1, 41)]
        found[name] = rows
    assert found["plain"] == found["labelled"]


def test_monai_verifies_and_exports_the_network(trained, tmp_path):
    files = {"meta_file": str(CONFIGS / "metadata.json"), "config_file": str(CONFIGS / "train.json")}
    verify_net_in_out("network_def", device="cpu", **files)
    export, checkpoint = tmp_path / "model.ts", trained / "models" / "model.pt"
    ckpt_export("network_def", filepath=str(export), ckpt_file=str(checkpoint), **files)
    network = ECGNet()
    network.load_state_dict(torch.load(checkpoint, weights_only=True))
    beats = torch.rand(2, 1, 187)
    torch.testing.assert_close(torch.jit.load(export)(beats), network(beats))


def test_a_run_resumed_from_its_checkpoint_equals_an_uninterrupted_one(tmp_path):
    settings = {**QUICK, "delta": 0.02}
    run(tmp_path / "whole", **{**settings, "epochs": 4})
    run(tmp_path / "part", **settings)
    resume = str(tmp_path / "part" / "models" / "model_checkpoint_epoch=2.pt")
    run(tmp_path / "rest", resume=resume, **{**settings, "epochs": 4})
    whole, rest = (torch.load(tmp_path / n / "models/model_last.pt", weights_only=True) for n in ("whole", "rest"))
    assert whole["margins"]["ids"] == rest["margins"]["ids"]
    assert torch.equal(whole["margins"]["margins"], rest["margins"]["margins"])
    assert all(torch.equal(value, rest["model"][name]) for name, value in whole["model"].items())
    assert len(set(whole["margins"]["margins"].tolist())) > 1


def test_the_plain_overlay_trains_without_ima_from_the_same_start(tmp_path):
    both = ["train.json", "train_ce.json"]
    run(tmp_path / "plain", both, **{**QUICK, "epochs": 1})
    assert sorted(p.name for p in (tmp_path / "plain" / "models").iterdir()) == [
        "model_ce.pt",
        "model_ce_checkpoint_epoch=1.pt",
        "model_ce_last.pt",
    ]
    weights = []
    for files in (["train.json"], both):
        built = workflow(tmp_path / "start", files, **QUICK)
        built.initialize()
        weights.append(built.parser.get_parsed_content("network_def").state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_two_processes_share_one_margin_table(method, tmp_path):
    handlers = {
        "mma": {"_target_": "monai_ima.handlers.MMAHandler", "eps_max": 0.3, "norm": "linf", "steps": 3},
        "iaat": {"_target_": "monai_ima.handlers.IAATHandler", "eps_max": 0.3, "norm": "linf", "steps": 3}
        | {"warmup_epochs": 0, "smoothing": 0.5},
    }
    settings = {
        "bundle_root": str(BUNDLE),
        "output_dir": str(tmp_path / "eval"),
        "ckpt_dir": str(tmp_path / "models"),
        "delta": 0.02,
        **QUICK,
        **({"train#handlers#0": handlers[method]} if method in handlers else {}),
    }
    files = [str(CONFIGS / name) for name in ("train.json", "multi_gpu_train.json")]
    done = run_program(
        Path(sys.executable).parent / "torchrun",
        "--nproc_per_node=2",
        f"--master_port={29631 + METHODS.index(method)}",
        REPO / "tests" / "ddp_margins.py",
        json.dumps([files, settings, str(tmp_path)]),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [json.loads((tmp_path / f"rank{k}.json").read_text()) for k in range(2)]
    assert ranks[0] == ranks[1]
    assert len(ranks[0]) == 60
    saved = torch.load(tmp_path / "models" / "model_last.pt", weights_only=True)["margins"]
    assert dict(zip(saved["ids"], saved["margins"].tolist(), strict=True)) == ranks[0]
    assert len(set(ranks[0].values())) > 1


def test_a_wrong_data_folder_is_named(tmp_path):
    built = workflow(tmp_path, dataset_dir=str(tmp_path / "nowhere"))
    with pytest.raises(Exception) as refused:  # noqa: PT011 - MONAI wraps it
        built.initialize()
    assert "nowhere" in str(refused.value.__cause__ or refused.value)


def test_evaluate_measures_robustness_by_class(trained, tmp_path, capsys):
    command = ["evaluate", "--bundle", str(BUNDLE), "--checkpoint", str(trained / "models" / "model.pt")]
    command += ["--levels", "0,0.05", "--attack", "pgd3x1", "--out", str(tmp_path / "r")]
    assert main([*command, "--phantom_beats", json.dumps(SMALL["phantom_beats"])]) == 0, capsys.readouterr().err
    found = json.loads((tmp_path / "r" / "results.json").read_text())
    assert found["data"]["synthetic"]
    assert set(found["accuracy_by_class"]) == set(BEAT_CLASSES)
    broken = [list(s["broken_at"].values())[-1] for s in found["samples"]]
    stands = [b is None or b > 0.05 for b in broken]
    assert found["accuracy"][1] == pytest.approx(sum(stands) / 40)
    assert (tmp_path / "r" / "curve.png").stat().st_size > 5000
    assert (tmp_path / "r" / "examples.png").stat().st_size > 5000


def test_attack_writes_noisy_beats_within_eps_of_the_clean_ones(trained, tmp_path, capsys):
    command = ["attack", "--bundle", str(BUNDLE), "--checkpoint", str(trained / "models" / "model.pt")]
    command += ["--eps", "0.05", "--attack", "pgd3", "--out", str(tmp_path / "a")]
    assert main([*command, "--phantom_beats", json.dumps(SMALL["phantom_beats"])]) == 0, capsys.readouterr().err
    files = sorted((tmp_path / "a").glob("*_noisy.csv"))
    clean = {item["sample_id"]: item["image"] for item in ecg_phantom_datalist(SMALL["phantom_beats"])["test"]}
    beats = [np.loadtxt(file, delimiter=",") for file in files]
    assert [beat.shape for beat in beats] == [(187,)] * 40
    originals = [np.asarray(clean[file.name.removesuffix("_noisy.csv")])[0] for file in files]
    distances = [np.abs(beat - original).max() for beat, original in zip(beats, originals, strict=True)]
    wrong = sum(distance < 1e-6 for distance in distances)
    assert wrong < 40
    assert 0.01 < max(distances) <= 0.05 + 1e-6
    assert f"40 images attacked ({wrong} of them were wrong without noise" in capsys.readouterr().out


def test_the_real_beats_train_evaluate_and_infer(real_data, tmp_path):
    """The published settings on the real beats, with short attacks and two epochs."""
    data = {"dataset_dir": str(real_data / "heartbeat")}
    run(tmp_path, steps=2, margin_steps=2, val_steps=2, epochs=2, **data)
    margins = torch.load(tmp_path / "models" / "model_last.pt", weights_only=True)["margins"]
    assert len(margins["ids"]) == 400, "80 % of 500"
    data["ckpt_path"] = str(tmp_path / "models" / "model.pt")
    run(tmp_path, ["evaluate.json"], eval_steps=2, eval_restarts=1, **data)
    assert read_metrics(tmp_path / "clean" / "metrics.csv").keys() == {"accuracy", "balanced_accuracy"}
    run(tmp_path, ["inference.json"], **data)
    assert len(read_rows(tmp_path / "predictions.csv")) == 500
