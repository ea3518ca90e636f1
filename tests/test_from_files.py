"""An evaluation of a model file and folders: one curve from every way in, and the bundle that it amounts to."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from bundle_runs import run_bundle, verify_and_export
from model_files import SCALE, UNET, Brightness, scan_loader, train_unet, write_pictures, write_scans
from monai.data import DataLoader, Dataset

from monai_ima.__main__ import main
from monai_ima.data import PictureReader
from monai_ima.evaluation import evaluate
from monai_ima.results.schema import Results
from monai_ima.utils.weights import load_weights, weights_digest

LEVELS = "0,0.05,0.15"
COMMON = ["--attack", "pgd5", "--scale", SCALE, "--cases", "0"]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """Scans, masks, and a UNet trained on them as a state dict and as TorchScript."""
    root = tmp_path_factory.mktemp("files")
    scans, masks = write_scans(root)
    network = train_unet(scan_loader(scans, masks))
    torch.save({"epoch": 3, "state_dict": network.state_dict()}, root / "unet.pt")
    torch.jit.script(network).save(root / "unet.ts")
    return {"root": root, "scans": scans, "masks": masks, "pt": root / "unet.pt", "ts": root / "unet.ts"}


def run(files: dict[str, Path], model: str, out: Path, *more: str, levels: str = LEVELS) -> Any:
    """The results of ``monai-ima evaluate --model``."""
    network = ["--network", "monai.networks.nets.UNet", "--network_args", json.dumps(UNET)] if model == "pt" else []
    folders = ["--images", str(files["scans"]), "--labels", str(files["masks"]), "--out", str(out)]
    assert main(["evaluate", "--model", str(files[model]), *network, *folders, *COMMON, "--levels", levels, *more]) == 0
    return Results.read(out)


def curves(results: Any) -> dict[str, list[list[float]]]:
    """Every sample's Dice at every ε."""
    return {sample.sample_id: sample.model_dump() for sample in results.samples}


@pytest.fixture(scope="module")
def kept(files) -> Any:
    """What the TorchScript file gave, and the bundle that it was saved as."""
    return run(files, "ts", files["root"] / "ts", "--save_bundle", str(files["root"] / "bundle"))


def test_call_state_dict_torchscript_and_saved_bundle_give_one_curve(files, kept, tmp_path):
    network = torch.jit.load(files["ts"])
    loader = scan_loader(files["scans"], files["masks"])
    levels = [float(level) for level in LEVELS.split(",")]
    called = evaluate(network, loader, levels, attack="pgd5", bounds=(0, 1), out=tmp_path / "call")
    from_weights = run(files, "pt", tmp_path / "pt")
    bundle = ["--bundle", str(files["root"] / "bundle"), "--levels", LEVELS, "--attack", "pgd5"]
    assert main(["evaluate", *bundle, "--out", str(tmp_path / "bundle")]) == 0
    from_bundle = Results.read(tmp_path / "bundle")
    clean, *_, attacked = kept.attacks[-1].values
    assert clean > 0.8, "the training was not trivial"
    assert attacked < clean - 0.1, "nor is the attack"
    for other in (called, from_weights, from_bundle):
        assert curves(other) == curves(kept)
        assert (other.model.sha256, other.data.sha256) == (kept.model.sha256, kept.data.sha256)
    assert kept.model.sha256 == weights_digest(load_weights(files["pt"])) == weights_digest(load_weights(files["ts"]))


def test_results_name_the_users_files_and_a_command_that_repeats_them(files, kept, tmp_path):
    assert kept.model.checkpoint == str(files["ts"])
    assert kept.data.name == f"data in {files['scans']}"
    assert "monai_ima_" not in (files["root"] / "ts" / "results.json").read_text(), "no folder that is gone"
    words = shlex.split(kept.command)
    assert words[:4] == ["python", "-m", "monai_ima", "evaluate"]
    words[words.index("--out") + 1] = str(tmp_path / "again")
    assert main(words[3:]) == 0
    assert curves(Results.read(tmp_path / "again")) == curves(kept)


def test_an_interrupted_evaluation_is_resumed_by_the_same_command(files, kept, tmp_path, monkeypatch):
    from monai_ima.evaluation import pipeline

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "_written", stop)
        with pytest.raises(SystemExit):
            run(files, "ts", tmp_path / "out", "--save_bundle", str(tmp_path / "bundle"))
    records = (tmp_path / "out" / "records.jsonl").read_text()
    assert len(records.splitlines()) == 4
    with monkeypatch.context() as patch:
        patch.setattr("monai_ima.attacks.PGD.__call__", stop)
        patch.setattr(pipeline, "_draw_cases", lambda *_: [])
        again = run(files, "ts", tmp_path / "out", "--save_bundle", str(tmp_path / "bundle"))
    assert curves(again) == curves(kept)


def test_what_the_options_amount_to_is_printed_as_config(files, tmp_path, capsys):
    run(files, "pt", tmp_path / "out", "--window", "8,8,8", "--spacing", "1,1,1", "--orientation", "LPS", levels="0")
    printed = capsys.readouterr().out
    for words in (
        '"_target_": "UNet"',
        '{"_target_": "Orientationd", "keys": ["image", "label"], "axcodes": "LPS", "labels": null}',
        '{"_target_": "Spacingd", "keys": ["image", "label"], "pixdim": [1.0, 1.0, 1.0], ',
        '"mode": ["bilinear", "nearest"]}',
        '"a_min": -100.0, "a_max": 200.0, "b_min": 0.0, "b_max": 1.0, "clip": true',
        '"SlidingWindowInferer", "roi_size": [8, 8, 8]',
        f"Weights {files['pt']}",
    ):
        assert words in printed
    first = Results.read(tmp_path / "out").samples[0]
    assert first.sample_id == "case0"


def test_the_saved_bundle_is_one_for_monais_tools(files, kept, tmp_path, monkeypatch):
    root = shutil.copytree(files["root"] / "bundle", tmp_path / "bundle")
    monkeypatch.chdir(root)
    exported = verify_and_export(root, tmp_path / "exported.ts", root / "models" / "model.pt", bundle_root=str(root))
    image = torch.rand(1, 1, 12, 12, 12)
    assert torch.equal(exported(image), torch.jit.load(files["ts"])(image))
    run_bundle(root, "evaluate.json", output_dir=str(tmp_path / "eval"))
    (summary,) = (tmp_path / "eval").glob("metrics.csv")
    score = float(summary.read_text().split("score")[1].strip(", \t\n"))
    assert score == pytest.approx(kept.attacks[-1].values[0], abs=1e-4)


@pytest.mark.parametrize("model", ["ts", "pt"])
def test_the_saved_bundle_is_hardened(model, files, kept, tmp_path, capsys):
    folder = tmp_path / "bundle"
    run(files, model, tmp_path / "out", "--save_bundle", str(folder), levels="0")
    assert main(["harden", "--bundle", str(folder), "--dry_run", "--check"]) == 0
    printed = capsys.readouterr().out
    assert "segmentation" in printed
    assert "ScaleIntensityRanged, -100 .. 200" in printed


def test_a_bundle_that_is_there_is_kept_if_it_is_the_same(files, kept, tmp_path, capsys):
    folder = files["root"] / "bundle"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    run(files, "ts", tmp_path / "same", "--save_bundle", str(folder))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    words = ["--images", str(files["scans"]), "--labels", str(files["masks"]), "--out", str(tmp_path / "other")]
    other = ["--scale", "minmax", "--levels", "0.1", "--save_bundle", str(folder)]
    assert main(["evaluate", "--model", str(files["ts"]), *words, *other]) == 2
    assert "expected a new folder: give another --save_bundle" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_classifier_is_judged_by_a_table_or_by_the_folders_of_its_classes(tmp_path):
    pictures = write_pictures(tmp_path / "pictures")
    torch.jit.script(Brightness()).save(tmp_path / "m.ts")
    for k, path in enumerate(sorted(pictures.glob("*.png"))):
        folder = tmp_path / "folders" / ("dark", "bright")[k % 2]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)
    words = ["evaluate", "--model", str(tmp_path / "m.ts"), "--levels", "0,0.1,0.2", "--scale", "0:255"]
    words += ["--attack", "pgd5", "--out"]
    table = ["--images", str(pictures), "--labels", str(pictures / "labels.csv")]
    assert main([*words, str(tmp_path / "a"), *table]) == 0
    assert main([*words, str(tmp_path / "b"), "--images", str(tmp_path / "folders")]) == 0
    by_table, by_folder = Results.read(tmp_path / "a"), Results.read(tmp_path / "b")
    assert by_table.classes == by_folder.classes == ["bright", "dark"]
    assert (by_table.data.patients, by_folder.data.patients) == (3, None)
    assert by_table.attacks[-1].values == by_folder.attacks[-1].values
    assert by_folder.samples[0].sample_id == "bright/p1.png"
    loaded = [
        {
            "image": torch.tensor(PictureReader().get_data(PictureReader().read(str(path)))[0])[None].float() / 255,
            "label": torch.tensor((1, 0)[k % 2]),
            "sample_id": path.name,
        }
        for k, path in enumerate(sorted(pictures.glob("*.png")))
    ]
    called = evaluate(
        Brightness(),
        DataLoader(Dataset(loaded), batch_size=2),
        [0.1, 0.2],
        attack="pgd5",
        bounds=(0, 1),
        out=tmp_path / "c",
    )
    assert called.accuracy == by_table.accuracy
