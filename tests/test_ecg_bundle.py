"""The bundle ecg_classification_ima through MONAI's own tools and through ``python -m monai_ima``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runs import (
    QUICK,
    SMALL,
    bundle_of,
    load,
    open_config,
    open_small,
    options,
    read_metrics,
    read_rows,
    run_config,
    run_small,
    run_two_processes,
    verify_and_export,
)
from conftest import REPO
from ignite.engine import Events

from monai_ima.__main__ import main
from monai_ima.data import BEAT_CLASSES, ecg_phantom_datalist
from monai_ima.networks import ECGNet

BUNDLE = bundle_of("ecg_classification")
CONFIGS = BUNDLE / "configs"
TEST_BEATS = ecg_phantom_datalist(SMALL["ecg"]["phantom_beats"])["test"]
METHODS = {
    "ima": {},
    "mma": {"_target_": "monai_ima.handlers.MMAHandler"},
    "iaat": {"_target_": "monai_ima.handlers.IAATHandler", "warmup_epochs": 0, "smoothing": 0.5},
}


def test_the_overlay_of_the_howto_averages_the_weights_also_in_a_resumed_run(tmp_path):
    """Against a loop over the weights of every step; the best weights are the average of one of the two epochs."""
    text = (REPO / "docs" / "howto" / "average.md").read_text()
    overlay = tmp_path / "average.json"
    overlay.write_text(re.search(r"<!-- tested -->\n```json\n(.*?)```", text, re.DOTALL)[1])
    files = ["train.json", str(overlay)]
    built = open_small("ecg", files, tmp_path / "whole")
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
    last = load(models / "model_last.pt")
    torch.testing.assert_close(last["model"], epochs[-1])
    assert not torch.equal(last["model"]["layers.15.bias"], last["network"]["layers.15.bias"])
    best = load(models / "model.pt")
    assert any(torch.allclose(best["layers.15.bias"], own["layers.15.bias"], rtol=1e-5) for own in epochs)

    resumed = tmp_path / "resumed"
    run_small("ecg", files, resumed, resume=str(models / "model_checkpoint_epoch=1.pt"))
    again = load(resumed / "models" / "model_last.pt")
    for part in ("model", "network"):
        assert all(torch.equal(again[part][key], value) for key, value in last[part].items())


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """What two epochs on a few synthetic beats leave: a folder with the checkpoints in ``models``."""
    folder = tmp_path_factory.mktemp("trained")
    run_small("ecg", ["train.json"], folder)
    return folder


def test_the_settings_are_those_of_the_paper(tmp_path):
    """Section 3.1; the paper gives no batch size."""
    built = open_config(BUNDLE, ["train.json"], tmp_path, **SMALL["ecg"])
    built.initialize()
    expected = {"epochs": 60, "learning_rate": 0.001, "beta": 0.5, "steps": 20, "margin_steps": 50, "binary_steps": 10}
    expected |= {"update": "epoch", "update_interval": 1, "delta": None, "val_fraction": 0.2, "balance": True}
    assert {name: built.parser[name] for name in expected} == expected
    assert isinstance(built.parser.get_parsed_content("optimizer"), torch.optim.Adam)
    assert isinstance(built.parser.get_parsed_content("network"), ECGNet)


def test_beats_need_no_bounds(tmp_path):
    built = open_small("ecg", ["train.json"], tmp_path, bounds=None)
    built.initialize()
    assert built.parser.get_parsed_content("train#handlers#0").method.bounds is None


def test_training_sees_balanced_classes_and_validation_the_data_as_they_are(tmp_path):
    built = open_small("ecg", ["train.json"], tmp_path)
    built.initialize()
    counts = {}
    for part in ("train", "validate"):
        batches = list(built.parser.get_parsed_content(f"{part}#dataloader"))
        counts[part] = np.bincount(torch.cat([batch["label"] for batch in batches]), minlength=5).tolist()
        assert batches[0]["image"].shape[1:] == (1, 187)
        assert type(batches[0]["image"]) is torch.Tensor
    assert counts == {"train": [37] * 5, "validate": [10, 1, 2, 1, 1]}
    built = open_small("ecg", ["train.json"], tmp_path, balance=False)
    built.initialize()
    assert len(built.parser.get_parsed_content("train#dataset")) == 60


def test_training_leaves_best_and_last_checkpoint_margins_and_tensorboard(trained):
    models = trained / "models"
    last = load(models / "model_last.pt")
    assert set(last) == {"model", "optimizer", "trainer", "margins", "best", "random_states"}
    assert last["margins"]["ids"] == [f"train-{number:05d}" for number in range(1, 61)], "repeated beats share a margin"
    assert load(models / "model_margins.pt")["margins"]["ids"] == last["margins"]["ids"]
    assert load(models / "model.pt").keys() == last["model"].keys()
    assert list(trained.glob("events.out.tfevents*"))


def test_evaluation_and_inference_run_on_the_checkpoint_and_agree(trained, tmp_path):
    checkpoint = {"ckpt_path": str(trained / "models" / "model.pt")}
    run_small("ecg", ["evaluate.json"], tmp_path, eval_steps=3, **checkpoint)
    clean, robust = (read_metrics(tmp_path / kind / "metrics.csv") for kind in ("clean", "robust"))
    assert clean["accuracy"] >= robust["robust_accuracy"]
    run_small("ecg", ["inference.json"], tmp_path, **checkpoint)
    rows = read_rows(tmp_path / "predictions.csv")
    labels = {item["sample_id"]: BEAT_CLASSES[item["label"]] for item in TEST_BEATS}
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
    beats = np.array([item["image"][0] for item in TEST_BEATS])
    np.savetxt(tmp_path / "plain.csv", beats, delimiter=",")
    labelled = np.column_stack([beats, [item["label"] for item in TEST_BEATS]])
    np.savetxt(tmp_path / "labelled.csv", labelled, delimiter=",")
    found = {}
    for name in ("plain", "labelled"):
        files = {"dataset_dir": str(tmp_path / f"{name}.csv"), "ckpt_path": str(trained / "models" / "model.pt")}
        run_small("ecg", ["inference.json"], tmp_path / name, **files)
        rows = read_rows(tmp_path / name / "predictions.csv")
        assert [row.pop("sample_id") for row in rows] == [f"{name}-{number:05d}" for number in range(1, 41)]
        found[name] = rows
    assert found["plain"] == found["labelled"]


def test_monai_verifies_and_exports_the_network(trained, tmp_path):
    checkpoint = trained / "models" / "model.pt"
    exported = verify_and_export(BUNDLE, tmp_path / "model.ts", checkpoint)
    network = ECGNet()
    network.load_state_dict(load(checkpoint))
    beats = torch.rand(2, 1, 187)
    torch.testing.assert_close(exported(beats), network(beats))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_two_processes_share_one_margin_table(method, tmp_path):
    settings = {"delta": 0.02, **SMALL["ecg"], **QUICK["ecg"]}
    if METHODS[method]:
        settings["train#handlers#0"] = {**METHODS[method], "eps_max": 0.3, "norm": "linf", "steps": 3}
    port = 29631 + list(METHODS).index(method)
    margins = run_two_processes(BUNDLE, tmp_path, port, **settings)["margins"]["margins"]
    assert len(margins) == 60
    assert len(margins.unique()) > 1


def test_evaluate_measures_robustness_by_class(trained, tmp_path, capsys):
    command = ["evaluate", "--bundle", str(BUNDLE), "--checkpoint", str(trained / "models" / "model.pt")]
    command += ["--levels", "0,0.05", "--attack", "pgd3x1", "--out", str(tmp_path / "r"), *options(SMALL["ecg"])]
    command += ["--cases", "2"]
    assert main(command) == 0, capsys.readouterr().err
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
    command += ["--eps", "0.05", "--attack", "pgd3", "--out", str(tmp_path / "a"), *options(SMALL["ecg"])]
    assert main(command) == 0, capsys.readouterr().err
    files = sorted((tmp_path / "a").glob("*_noisy.csv"))
    clean = {item["sample_id"]: item["image"] for item in TEST_BEATS}
    beats = [np.loadtxt(file, delimiter=",") for file in files]
    assert [beat.shape for beat in beats] == [(187,)] * 40
    originals = [np.asarray(clean[file.name.removesuffix("_noisy.csv")])[0] for file in files]
    distances = [np.abs(beat - original).max() for beat, original in zip(beats, originals, strict=True)]
    wrong = sum(distance < 1e-6 for distance in distances)
    assert wrong < 40
    assert 0.01 < max(distances) <= 0.05 + 1e-6
    said = capsys.readouterr().out
    assert said.startswith(f"40 images attacked, weights {trained / 'models' / 'model.pt'}: ")
    assert f" of {40 - wrong} correct answers became wrong ({wrong} were wrong without noise" in said


def test_the_real_beats_train_evaluate_and_infer(real_data, tmp_path):
    """The published settings on the real beats, with short attacks and two epochs."""
    data = {"dataset_dir": str(real_data / "heartbeat")}
    quick = {"steps": 2, "margin_steps": 2, "val_steps": 2, "epochs": 2}
    run_config(open_config(BUNDLE, ["train.json"], tmp_path, **quick, **data))
    margins = load(tmp_path / "models" / "model_last.pt")["margins"]
    assert len(margins["ids"]) == 400, "80 % of 500"
    data["ckpt_path"] = str(tmp_path / "models" / "model.pt")
    run_small("ecg", ["evaluate.json"], tmp_path, eval_steps=2, eval_restarts=1, **data)
    assert read_metrics(tmp_path / "clean" / "metrics.csv").keys() == {"accuracy", "balanced_accuracy"}
    run_small("ecg", ["inference.json"], tmp_path, **data)
    assert len(read_rows(tmp_path / "predictions.csv")) == 500
