"""The bundle that an evaluation of files is saved as: judged, attacked, trained and hardened as the options said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_runs import read_metrics
from model_files import SCALE, UNET, Brightness, write_pictures, write_scans
from monai.bundle import ConfigWorkflow
from monai.networks.nets import UNet
from PIL import Image
from torch import nn

from monai_ima.__main__ import main
from monai_ima.results.schema import Results

IGNORED = 7


class Two(nn.Module):
    """Features that are no logits, and a segmentation's logits: a threshold on the first channel."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value = self.scale * (image[:, :1] - 0.43) + 0 * image[:, -1:]
        return torch.cat([value, -value], 1), torch.cat([-value, value], 1)


class OneLogit(nn.Module):
    """How bright pictures are, ``[B]``."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(8.0))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.scale * (0.5 - image.mean(dim=[1, 2, 3]))


def write_ignored(masks: Path) -> None:
    """A corner of every mask counts nowhere."""
    for path in masks.iterdir():
        old: Any = nib.load(path)
        values = np.array(old.dataobj)
        values[:4] = IGNORED
        nib.save(nib.Nifti1Image(values, old.affine), path)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("kept")
    write_scans(root / "plain", count=3)
    write_ignored(write_scans(root / "ignored", count=3)[1])
    (root / "plain" / "colours").mkdir()
    (root / "plain" / "maps").mkdir()
    draw = np.random.default_rng(1)
    for k in range(3):
        pixels = draw.integers(0, 255, (10, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "plain" / "colours" / f"c{k}.png")
        label = (pixels[..., 0] > 110).astype(np.uint8)
        Image.fromarray(label).save(root / "plain" / "maps" / f"c{k}.png")
    write_pictures(root / "pictures")
    for name, network in (("two", Two()), ("bright", Brightness()), ("logit", OneLogit())):
        torch.jit.script(network).save(root / f"{name}.ts")
    torch.manual_seed(0)
    torch.save(UNet(**UNET).state_dict(), root / "unet.pt")
    return root


SCANS = {"images": "plain/scans", "labels": "plain/masks", "scale": SCALE}
COLOURS = {"images": "plain/colours", "labels": "plain/maps", "scale": "0:255"}
TABLE = {"images": "pictures", "labels": "pictures/labels.csv", "scale": "0:255"}
UNET_FILE = {"model": "unet.pt", "network": "UNet", "network_args": json.dumps(UNET)}
CASES = {
    "output": {"model": "two.ts", **SCANS, "output": "1"},
    "no output": {"model": "two.ts", **SCANS},
    "output of windows": {"model": "two.ts", **SCANS, "output": "-1", "window": "8,8,8"},
    "channels": {"model": "two.ts", **COLOURS, "output": "1", "channels": "1,2"},
    "ignored": {**UNET_FILE, "scale": SCALE, "images": "ignored/scans", "labels": "ignored/masks", "ignore_index": "7"},
    "bounds": {**UNET_FILE, **SCANS, "scale": "zscore", "bounds": "-5,6.5"},
    "classifier": {"model": "bright.ts", **TABLE},
    "class ignored": {"model": "bright.ts", **TABLE, "ignore_index": "1"},
    "logit": {"model": "logit.ts", **TABLE},
}


def evaluated(options: Mapping[str, str], out: Path) -> Any:
    words = [f"--{name}={value}" for name, value in options.items()]
    assert main(["evaluate", *words, "--levels", "0,0.3", "--attack", "pgd3", "--cases", "0", "--out", str(out)]) == 0
    return Results.read(out)


def run_config(bundle: Path, name: str, **settings: object) -> ConfigWorkflow:
    """``python -m monai.bundle run``"""
    workflow = ConfigWorkflow(
        str(bundle / "configs" / name), workflow_type="train", logging_file=False, bundle_root=str(bundle), **settings
    )
    workflow.initialize()
    workflow.run()
    return workflow


@pytest.mark.parametrize("case", CASES)
def test_a_saved_bundle_gives_the_same_curve_and_monai_evaluates_and_trains_it(case, written, tmp_path, monkeypatch):
    monkeypatch.chdir(written)
    bundle = tmp_path / "bundle"
    first = evaluated({**CASES[case], "save_bundle": str(bundle)}, tmp_path / "files")
    again = evaluated({"bundle": str(bundle)}, tmp_path / "again")
    assert [sample.model_dump() for sample in again.samples] == [sample.model_dump() for sample in first.samples]
    assert again.model.sha256 == first.model.sha256
    run_config(bundle, "evaluate.json", output_dir=str(tmp_path / "eval"))
    score = read_metrics(tmp_path / "eval" / "metrics.csv")["score"]
    assert score == pytest.approx(first.attacks[-1].values[0], abs=1e-4)
    before = torch.load(bundle / "models" / "model.pt", weights_only=True)
    workflow = run_config(bundle, "train.json", epochs=1, learning_rate=0.01)
    trained = workflow.parser.get_parsed_content("network").state_dict()
    assert any(not torch.equal(before[name], trained[name]) for name in before), "one epoch moved the weights"
    assert (bundle / "models" / "model_trained.pt").is_file()


def test_a_network_of_several_outputs_is_judged_by_the_one_that_was_named(written, tmp_path, monkeypatch):
    monkeypatch.chdir(written)
    named, first = (evaluated(CASES[case], tmp_path / case) for case in ("output", "no output"))
    assert named.dice[0] > 0.9 > 0.1 > first.dice[0]


def test_harden_reads_bounds_channels_and_the_ignored_label_in_a_saved_bundle(written, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(written)
    printed = {}
    for case in ("bounds", "channels", "ignored"):
        evaluated({**CASES[case], "save_bundle": str(tmp_path / case)}, tmp_path / f"{case}_out")
        capsys.readouterr()
        assert main(["harden", "--bundle", str(tmp_path / case), "--eps_max", "0.1", "--dry_run", "--check"]) == 0
        printed[case] = " ".join(capsys.readouterr().out.split())
    assert "bounds: [-5, 6.5]" in printed["bounds"].replace("bounds [", "bounds: [")
    assert "noise on 1, 2: as id attacked_channels says" in printed["channels"]
    assert f"label {IGNORED}, counts nowhere" in printed["ignored"]
    assert all("Checked: 2 iterations trained" in text for text in printed.values())


def test_ids_of_a_saved_bundle_put_windows_of_several_volumes_into_a_batch(written, tmp_path, monkeypatch):
    monkeypatch.chdir(written)
    bundle, seen = tmp_path / "bundle", []
    case = {**UNET_FILE, **SCANS, "window": "8,8,8", "save_bundle": str(bundle)}
    first = evaluated(case, tmp_path / "files")
    forward = UNet.forward

    def counted(network, window):
        seen.append(len(window))
        return forward(network, window)

    monkeypatch.setattr(UNet, "forward", counted)
    ids = {"inferer#sw_batch_size": "16", "batch_size": "2"}
    again = evaluated({"bundle": str(bundle), **ids}, tmp_path / "again")
    assert max(seen) == 16
    for one, other in zip(again.samples, first.samples, strict=True):
        assert one.sample_id == other.sample_id
        for ours, single in zip(one.scores, other.scores, strict=True):
            assert ours.dice == pytest.approx(single.dice, abs=1e-2)
