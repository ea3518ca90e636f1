"""The segmentation bundles through MONAI's own tools and through ``python -m monai_ima``, on small phantoms."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from bundle_runs import (
    bundle_of,
    copy_bundle,
    load,
    monai_bundle,
    open_config,
    options,
    read_metrics,
    read_rows,
    run_bundle,
    run_two_processes,
    verify_and_export,
)
from monai.bundle import ConfigWorkflow
from monai.metrics import compute_dice
from monai.networks import one_hot

from monai_ima.__main__ import main
from monai_ima.data import msd_datalist, write_volume_phantom

load_scan = nibabel.Nifti1Image.from_filename

TASKS = {
    "hippocampus": {"phantom_size": [24, 24, 24], "patch_size": [24, 24, 24]},
    "heart": {"phantom_size": [32, 32, 32], "patch_size": [24, 24, 24]},
    "prostate": {"phantom_size": [40, 40, 16], "patch_size": [32, 32, 8]},
}
CLASSES = {"hippocampus": 3, "heart": 2, "prostate": 3}


def small(task: str, patch: bool = True) -> dict:
    sizes = TASKS[task] if patch else {"phantom_size": TASKS[task]["phantom_size"]}
    return {"network": "small", "phantom_scans": 6, **sizes}


@pytest.fixture(scope="module", params=list(TASKS))
def trained(request, tmp_path_factory) -> tuple[str, Path]:
    """A copy of a bundle, trained for one plain and one IMA epoch on its small phantom from the command line."""
    task = request.param
    root = copy_bundle(f"{task}_segmentation", tmp_path_factory.mktemp("bundle") / task)
    quick = {"plain_epochs": 1, "epochs": 1, "batch_size": 2, "steps": 2, "val_steps": 2, "threshold": 0.05}
    done = run_bundle(root, "train.json", **quick, **small(task))
    assert "SYNTHETIC" in done.stdout + done.stderr
    assert "ima/margin_mean" in done.stdout
    return task, root


@pytest.mark.parametrize("task", list(TASKS))
@pytest.mark.parametrize(
    "files",
    [
        ["train.json"],
        ["train.json", "train_ce.json"],
        ["train.json", "train_pgd.json"],
        ["evaluate.json"],
        ["inference.json"],
    ],
)
def test_every_config_has_the_ids_of_the_bundle_specification(task, files, tmp_path):
    settings = small(task, files[0] == "train.json")
    built = open_config(bundle_of(f"{task}_segmentation"), files, tmp_path, **settings)
    built.initialize()
    assert built.check_properties() == []


@pytest.mark.parametrize("task", list(TASKS))
def test_metadata_describe_the_version_and_the_classes(task):
    metadata = json.loads((bundle_of(f"{task}_segmentation") / "configs" / "metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"]
    output = metadata["network_data_format"]["outputs"]["pred"]
    train = json.loads((bundle_of(f"{task}_segmentation") / "configs" / "train.json").read_text())
    assert list(output["channel_def"].values()) == train["labels"]
    assert output["num_channels"] == len(train["labels"]) == CLASSES[task]


def test_training_leaves_weights_margins_and_threshold(trained):
    task, root = trained
    last = load(root / "models" / "model_last.pt")
    objects = {"model", "optimizer", "lr_scheduler", "trainer", "margins", "criterion", "best"}
    assert set(last) == {*objects, "random_states"}
    assert last["criterion"]["threshold"] == 0.05
    assert len(last["margins"]["ids"]) >= 3
    assert last["margins"]["ids"][0].startswith(task)
    assert load(root / "models" / "model.pt").keys() == last["model"].keys()


@pytest.mark.slow
def test_the_baseline_threshold_and_fixed_epsilon_training_run_from_a_start(trained, tmp_path):
    task, root = trained
    if task != "hippocampus":
        pytest.skip("one bundle is enough: the configs have these lines in common")
    common = {"start": str(root / "models" / "model.pt"), "epochs": 1, "batch_size": 2}
    common |= {"steps": 2, "val_steps": 1, "ckpt_dir": str(tmp_path), **small(task)}
    run_bundle(root, "train.json", **common)
    assert 0 < load(tmp_path / "model_last.pt")["criterion"]["threshold"] < 1
    done = run_bundle(root, "train.json", "train_pgd.json", eps=1.0, **common)
    assert "pgd/loss_noisy" in done.stdout
    start, moved = load(root / "models" / "model.pt"), load(tmp_path / "model_pgd_last.pt")["model"]
    assert any(not torch.equal(start[name], moved[name]) for name in start)
    common |= {"bundle_root": str(root), "network": "dynunet"}
    done = monai_bundle("run", "--config_file", root / "configs" / "train.json", **common)
    assert done.returncode != 0
    assert "is of another network" in done.stderr


@pytest.mark.slow
def test_evaluation_is_clean_and_robust_and_agrees_with_dice_of_the_saved_labels(trained, tmp_path):
    task, root = trained
    data = root / "eval" / f"synthetic_{task}"
    common = {"output_dir": str(tmp_path), **small(task, task != "hippocampus")}
    run_bundle(root, "evaluate.json", eval_steps=2, eval_restarts=1, phantom_dir=str(data), **common)
    clean, robust = (read_metrics(tmp_path / kind / "metrics.csv") for kind in ("clean", "robust"))
    assert clean["mean_dice"] >= robust["robust_mean_dice"]

    del common["phantom_scans"], common["phantom_size"]
    run_bundle(root, "inference.json", dataset_dir=str(data), **common)
    saved = sorted(tmp_path.glob("*_seg.nii.gz"))
    assert len(saved) == len(list((data / "imagesTr").glob("*.nii.gz"))) == 6
    for file in saved:
        name = file.name.replace("_seg", "")
        image, label = load_scan(data / "imagesTr" / name), load_scan(data / "labelsTr" / name)
        prediction = load_scan(file)
        assert prediction.shape == image.shape[:3] == label.shape
        np.testing.assert_allclose(prediction.affine, image.affine, atol=1e-4)
        found = np.asarray(prediction.dataobj)
        assert found.dtype == np.uint8
        assert set(np.unique(found)) <= set(range(CLASSES[task]))
    if task != "prostate":  # resampled there: Dice is measured on the grid of the network
        dices = []
        test = msd_datalist(str(data), classes=CLASSES[task], check_files=False)["test"]
        listed = {entry["image"] for entry in test}
        for file in saved:
            name = file.name.replace("_seg", "")
            if str(data / "imagesTr" / name) in listed:
                pair = (np.asarray(load_scan(path).dataobj).astype(int) for path in (file, data / "labelsTr" / name))
                maps = [one_hot(torch.as_tensor(indices)[None, None], CLASSES[task]) for indices in pair]
                dices.append(compute_dice(*maps, include_background=False).nanmean())  # type: ignore[misc]
        assert float(torch.stack(dices).mean()) == pytest.approx(clean["mean_dice"], abs=2e-3)


def test_monai_verifies_and_exports_the_network(trained, tmp_path):
    task, root = trained
    weights = root / "models" / "model.pt"
    exported = verify_and_export(root, tmp_path / "model.ts", weights, network="small")
    channels = 2 if task == "prostate" else 1
    image = torch.randn(1, channels, 32, 32, 16)
    workflow = ConfigWorkflow(str(root / "configs" / "train.json"), bundle_root=str(root), network="small")
    network = workflow.parser.get_parsed_content("network_def")
    network.load_state_dict(load(weights))
    torch.testing.assert_close(exported(image), network.eval()(image), atol=1e-5, rtol=1e-4)


def command_line(capsys, *arguments) -> tuple[int, str]:
    """``python -m monai_ima arguments...`` in this process: exit code and stderr."""
    code = main([str(argument) for argument in arguments])
    return code, capsys.readouterr().err


def test_the_command_line_evaluates_goes_on_and_attacks(trained, tmp_path, capsys):
    task, root = trained
    out = tmp_path / "out"
    settings = options({**small(task, task != "hippocampus"), "checkpoint": str(root / "models" / "model.pt")})
    settings += ["--phantom_dir", root / "eval" / f"synthetic_{task}"]
    command = ["evaluate", "--bundle", root, "--levels", "0,1,3", "--norm", "l2", "--cases", "2"]
    command += ["--attack", "pgd2+pgd2-ce"]
    done = command_line(capsys, *command, "--out", out, *settings)
    assert done[0] == 0, done[1]
    whole = json.loads((out / "results.json").read_text())
    assert whole["levels"] == [0, 1, 3]
    assert whole["data"]["synthetic"]
    assert whole["dice"] == sorted(whole["dice"], reverse=True)
    assert [a["name"] for a in whole["attacks"]] == ["pgd2", "pgd2-ce"]
    assert whole["attacks"][-1]["values"] == pytest.approx(whole["dice"])
    assert all(a >= b for a, b in zip(*(attack["values"] for attack in whole["attacks"]), strict=True))
    assert all((out / case["picture"]).stat().st_size > 5000 for case in whole["cases"])
    assert {"curve.png", "scan.png", "results.csv"} <= {path.name for path in out.iterdir()}
    rows = read_rows(out / "results.csv")
    assert [float(row["dice mean"]) for row in rows] == pytest.approx(whole["dice"])

    again = command_line(capsys, *command, "--out", out, *settings)
    assert again[0] == 2
    assert "is not empty" in again[1]
    refused = command_line(capsys, *command, "--out", tmp_path / "none", "--minimum", *settings)
    assert refused[0] == 2
    assert "segments, expected a classifier for --minimum" in refused[1]
    assert not (tmp_path / "none").exists()
    (out / "results.json").unlink()
    lines = (out / "records.jsonl").read_text().splitlines()
    (out / "records.jsonl").write_text(lines[0][:40])
    resumed = command_line(capsys, *command, "--out", out, *settings)
    assert resumed[0] == 0, resumed[1]
    assert json.loads((out / "results.json").read_text()) == whole
    (out / "results.json").unlink()
    other = command_line(capsys, *command, "--out", out, "--seed", "1", *settings)
    assert other[0] == 2
    assert "with other settings" in other[1]

    noisy = tmp_path / "noisy"
    command = ["attack", "--bundle", root, "--eps", "2", "--norm", "l2", "--attack", "pgd3", "--limit", "1"]
    done = command_line(capsys, *command, "--out", noisy, *settings)
    assert done[0] == 0, done[1]
    (file,) = noisy.glob("*_noisy.nii.gz")
    original = load_scan(root / "eval" / f"synthetic_{task}" / "imagesTr" / file.name.replace("_noisy", ""))
    written, noise = load_scan(file), load_scan(file.with_name(file.name.replace("_noisy", "_noise")))
    np.testing.assert_allclose(written.affine, original.affine, atol=1e-4)
    assert written.shape == original.shape
    if task != "prostate":
        length = float(np.linalg.norm(noise.get_fdata()))
        assert 0 < length <= 2 * (1 + 1e-5)
        plain = original.get_fdata()
        normal = (plain - plain.mean()) / plain.std()
        np.testing.assert_allclose(written.get_fdata() - noise.get_fdata(), normal, atol=1e-4)
    again = command_line(capsys, *command, "--out", noisy, "--seed", "1", *settings)
    assert again[0] == 2
    assert "with other settings" in again[1]


@pytest.mark.slow
def test_two_processes_share_one_table_and_one_baseline(tmp_path):
    settings = {"plain_epochs": 1, "epochs": 2, "batch_size": 1, "steps": 2, "val_steps": 1}
    settings |= {**small("hippocampus"), "phantom_scans": 16}
    saved = run_two_processes(bundle_of("hippocampus_segmentation"), tmp_path, 29617, **settings)
    assert len(saved["margins"]["ids"]) == 11
    assert 0 < saved["criterion"]["threshold"] < 1


def test_a_damaged_scan_stops_training_before_it_starts_unless_the_check_is_skipped(tmp_path):
    root = write_volume_phantom(tmp_path / "data", "hippocampus", 4, 16)
    file = sorted((root / "labelsTr").glob("*.nii.gz"))[2]
    file.write_bytes(file.read_bytes()[:-40])
    common = {"bundle_root": str(bundle_of("hippocampus_segmentation")), "dataset_dir": str(root), "split": None}
    common |= {"output_dir": str(tmp_path / "out"), "ckpt_dir": str(tmp_path / "models"), "network": "small"}
    train = str(bundle_of("hippocampus_segmentation") / "configs" / "train.json")
    workflow = ConfigWorkflow(train, **common)
    with pytest.raises(RuntimeError) as error:
        workflow.initialize()
    assert isinstance(error.value.__cause__, ValueError)
    assert str(file) in str(error.value.__cause__)
    assert not (tmp_path / "models").exists()
    ConfigWorkflow(train, **common, check_files=False, cache_rate=0.0).initialize()


@pytest.mark.parametrize("name", ["model.pt", "model_ce.pt"])
def test_the_shipped_weights_outline_the_real_test_scans(name, real_data, tmp_path):
    out = tmp_path / "out"
    arguments = {
        "bundle": bundle_of("hippocampus_segmentation"),
        "levels": 0,
        "norm": "l2",
        "out": out,
        "checkpoint": bundle_of("hippocampus_segmentation") / "models" / name,
        "output_dir": tmp_path,
        "dataset_dir": real_data / "Task04_Hippocampus",
    }
    code = main(["evaluate", *(part for key, value in arguments.items() for part in (f"--{key}", str(value)))])
    assert code == 0
    results = json.loads((out / "results.json").read_text())
    assert len(results["samples"]) == 40
    assert results["dice"][0] > 0.82
    assert (bundle_of("hippocampus_segmentation") / "models" / name).stat().st_size < 2e6
