"""``monai-ima evaluate`` and ``monai_ima.evaluation.evaluate``: interrupted and resumed, options, bad input."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import warm_programs
from monai.networks.nets import Classifier
from PIL import Image
from torch.nn.functional import cross_entropy

from monai_ima.__main__ import main
from monai_ima.attacks import PGD
from monai_ima.criteria import DiceCriterion
from monai_ima.data import fashion_mnist_datalist
from monai_ima.evaluation import EvaluationBatch, GradientMaskingChecks, pipeline, third_party, verification
from monai_ima.evaluation.classification_task import ClassificationTask
from monai_ima.evaluation.third_party import CLASSIFIER_ATTACKS
from monai_ima.harden.loading import load_bundle
from monai_ima.harden.units import bundle_units
from monai_ima.results.parts import Units
from monai_ima.results.records import VerificationRow

BUNDLE = Path(__file__).resolve().parent.parent / "bundles" / "fashion_mnist_classification_ima"
SMALL: dict[str, Any] = {
    "in_shape": [1, 28, 28],
    "classes": 10,
    "channels": [8, 16],
    "strides": [2, 2],
    "num_res_units": 0,
    "norm": None,
}
"""A ``Classifier`` whose gradients take a tenth of the time that those of the bundle's own network take."""
NETWORK = ["--network_def", str({"_target_": "Classifier", **SMALL})]
SETTINGS = ["--phantom_per_class", "20", "--batch_size", "25", *NETWORK]
COUNT = 100
FEWER = ["--phantom_per_class", "4"]
"""For what does not need so many samples: ``FEW`` of them."""
FEW = 20
CHECKS = [
    "logits",
    "batch_independence",
    "more_steps",
    "more_restarts",
    "large_eps",
    "black_box",
    "transfer",
    "uniform_noise",
    "gradients",
    "loss_surface",
    "randomness",
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """Weights trained for a moment on the bundle's SYNTHETIC shapes."""
    torch.manual_seed(0)
    items = fashion_mnist_datalist(None, 20)["train"]
    image = torch.stack([torch.from_numpy(np.asarray(item["image"])).float() / 255 for item in items])
    label = torch.tensor([item["label"] for item in items])
    network = Classifier(**SMALL)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(25):
        optimizer.zero_grad()
        cross_entropy(network(image), label).backward()
        optimizer.step()
    file = tmp_path_factory.mktemp("weights") / "model.pt"
    torch.save(network.state_dict(), file)
    return file


def command(checkpoint: Path, out: Path, *options: object) -> list[str]:
    fixed = ["evaluate", "--bundle", BUNDLE, "--checkpoint", checkpoint, "--norm", "l2", "--out", out]
    drawn = [] if "--cases" in options else ["--cases", "0"]
    return [str(part) for part in [*fixed, *SETTINGS, *drawn, *options]]


def results(out: Path) -> dict:
    return json.loads((out / "results.json").read_text())


@pytest.mark.slow
def test_a_killed_evaluation_is_resumed_to_the_same_results(checkpoint, tmp_path):
    options = ["--levels", "0,0.3,1", "--attack", "pgd10x2+apgd10-dlr", "--minimum", *FEWER]
    options += ["--batch_size", "10", "--cases", "2"]
    broken = command(checkpoint, tmp_path / "r", *options)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [warm_programs() / "monai-ima", *broken],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    records = tmp_path / "r" / "records.jsonl"
    until = time.monotonic() + 300
    while not (records.is_file() and len(records.read_text().splitlines()) >= FEW // 2):
        assert process.poll() is None, "the evaluation ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "r" / "results.json").exists()
    kept = records.read_text()
    records.write_text(kept[:-50])
    assert main(broken) == 0
    assert len(records.read_text().splitlines()) >= FEW
    resumed = results(tmp_path / "r")
    shutil.move(tmp_path / "r", tmp_path / "first")
    assert main(broken) == 0
    assert results(tmp_path / "r") == resumed
    assert len(resumed["samples"]) == FEW
    for name in ("results.csv", "minimum.csv", "cases/00.png"):
        assert (tmp_path / "r" / name).read_bytes() == (tmp_path / "first" / name).read_bytes()


@pytest.mark.slow
def test_attacks_follow_one_another_and_the_numbers_agree(checkpoint, tmp_path):
    attacks = "noise5+pgd20+ddn50"
    options = ["--levels", "0,0.3,1", "--attack", attacks, "--minimum", "--cases", "10", "--batch_size", "100"]
    assert main(command(checkpoint, tmp_path / "r", *options)) == 0
    found = results(tmp_path / "r")
    names = [*attacks.split("+"), "minimum"]
    assert [attack["name"] for attack in found["attacks"]] == names
    for attack in found["attacks"]:
        broken = [sample["broken_at"][attack["name"]] for sample in found["samples"]]
        for k, level in enumerate(found["levels"]):
            right = np.array([b is None or b > level for b in broken])
            assert attack["values"][k] == pytest.approx(right.mean())
            lo, hi = attack["intervals"][k]
            normal = 1.96 * (right.mean() * (1 - right.mean()) / COUNT) ** 0.5
            assert lo <= right.mean() <= hi
            assert hi - lo == pytest.approx(2 * normal, abs=0.05)
    values = np.array([attack["values"] for attack in found["attacks"]])
    assert (np.diff(values, axis=0) <= 0).all()
    assert (np.diff(values, axis=1) <= 0).all()
    assert found["accuracy"] == found["attacks"][-1]["values"]
    assert values[0, 1] > values[1, 1]
    rate = found["noise"]["failure_rate"]
    right = [sample for sample in found["samples"] if sample["broken_at"]["noise5"] != 0]
    failures = np.array([sample["noise_failures"] for sample in right])
    assert rate == pytest.approx(failures.mean(axis=0) / found["noise"]["draws"])
    assert rate[0] == 0
    distances = [sample["distance"] for sample in right if sample["distance"] is not None]
    assert found["minimum"]["found"] == len(distances)
    assert found["minimum"]["of"] == len(right)
    for sample in right:
        level = sample["broken_at"]["minimum"]
        if sample["distance"] is not None:
            assert sample["distance"] <= 1
            assert level <= next(bound for bound in (0.3, 1) if sample["distance"] <= bound * (1 + 1e-5))
    with open(tmp_path / "r" / "minimum.csv", newline="") as file:
        rows = {row["sample_id"]: row["distance"] for row in csv.DictReader(file)}
    assert {name: float(value) for name, value in rows.items() if value} == {
        sample["sample_id"]: sample["distance"] for sample in found["samples"] if sample["distance"] is not None
    }
    assert len(found["cases"]) == 10
    easiest = sorted(distances)[:10]
    by_name = {sample["sample_id"]: sample["distance"] for sample in right}
    assert [by_name[case["sample_id"]] for case in found["cases"]] == easiest
    for case in found["cases"]:
        assert Image.open(tmp_path / "r" / case["picture"]).size[0] > 300
    assert found["data"]["samples"] == COUNT
    assert found["model"]["parameters"] == sum(
        value.numel() for value in torch.load(checkpoint, weights_only=True).values()
    )
    assert "--minimum" in found["command"]
    assert "--attack noise5+pgd20+ddn50" in found["command"]


def test_later_attacks_only_see_what_is_unbroken(checkpoint, tmp_path, monkeypatch):
    seen = []
    run = PGD.__call__

    def counted(self, network, image, label, eps, generator=None):
        seen.append((self.steps, eps, len(image)))
        return run(self, network, image, label, eps, generator)

    monkeypatch.setattr(PGD, "__call__", counted)
    monkeypatch.setattr(pipeline, "_draw_cases", lambda *_: [])
    assert main(command(checkpoint, tmp_path / "r", "--levels", "0,0.5,1", "--attack", "pgd20+pgd21")) == 0
    first, second = (
        {e: sum(n for s, eps, n in seen if (s, eps) == (steps, e)) for e in (0.5, 1)} for steps in (20, 21)
    )
    found = results(tmp_path / "r")
    right = round(found["accuracy"][0] * COUNT)
    after = [round(value * COUNT) for value in found["attacks"][0]["values"]]
    assert first == {0.5: right, 1: after[1]}
    assert second[0.5] == after[1]
    assert second[1] <= after[2]


def test_subgroups_are_those_of_the_table(checkpoint, tmp_path, capsys):
    assert main(command(checkpoint, tmp_path / "a", "--levels", "0,1", "--attack", "pgd5")) == 0
    samples = results(tmp_path / "a")["samples"]
    with open(tmp_path / "who.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sample_id", "scanner"])
        writer.writerows([s["sample_id"], "AB"[s["label"] % 2]] for s in samples)
    grouped = ["--groups", tmp_path / "who.csv", "--group_by", "scanner"]
    assert main(command(checkpoint, tmp_path / "b", "--levels", "0,1", "--attack", "pgd5", *grouped)) == 0
    found = results(tmp_path / "b")["groups"]
    for k, name in enumerate("AB"):
        own = [s for s in samples if s["label"] % 2 == k]
        stands = [s["broken_at"]["pgd5"] is None for s in own]
        assert found["samples"][name] == len(own) == 50
        assert found["values"][name][1] == pytest.approx(np.mean(stands))
    assert found["largest_gap"]["gap"] == pytest.approx(
        max(abs(a - b) for a, b in zip(found["values"]["A"], found["values"]["B"], strict=True))
    )
    folders = f"{tmp_path / 'a'},{tmp_path / 'b'}"
    named = ["--names", "all together,by scanner", "--format", "md", "--out", str(tmp_path / "both.md")]
    assert main(["report", "--results", folders, *named]) == 0
    text = (tmp_path / "both.md").read_text()
    assert f"{found['values']['A'][0]:.3f} \\[" in text
    assert "## all together\n" in text
    assert "## by scanner\n" in text
    for wrong in ("one", "same,same", "one,"):
        assert main(["report", "--results", folders, "--names", wrong, "--out", str(tmp_path / "x.html")]) == 2
        assert "for 2 results, expected a different one for each" in capsys.readouterr().err
    assert not (tmp_path / "x.html").exists()


@pytest.mark.slow
def test_checks_are_part_of_the_results(checkpoint, tmp_path, capsys):
    other = tmp_path / "other.pt"
    torch.manual_seed(1)
    torch.save(Classifier(**SMALL).state_dict(), other)
    options = ["--levels", "0,0.5", "--attack", "pgd100x2", "--checks", "--transfer_from", other]
    assert main(command(checkpoint, tmp_path / "r", *options)) == 0
    found = {check["name"]: check for check in results(tmp_path / "r")["checks"]}
    assert list(found) == CHECKS
    few = found.pop("black_box")
    assert {name: check["summary"] for name, check in found.items() if check["status"] != "passed"} == {}
    printed = capsys.readouterr().out
    assert f"  passed  A large epsilon leaves nothing (n = {COUNT}): " in printed
    seen = "Attacks that see gradients are at least as strong as one that does not"
    if few["status"] == "passed":
        assert f"  passed  {seen} (n = 20): " in printed
        assert "Checks for gradient masking: 11 passed, 0 failed, 0 not run." in printed
    else:
        assert f" not run  {seen}: Needs 10 correctly classified samples, got " in printed
        assert "Checks for gradient masking: 10 passed, 0 failed, 1 not run." in printed


def test_interrupted_checks_are_resumed(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(ClassificationTask, "max_verified", 8)
    options = ["--levels", "0,0.5", "--attack", "pgd20", "--checks"]
    assert main(command(checkpoint, tmp_path / "whole", *options)) == 0
    made = []
    for name in CHECKS:
        check = getattr(GradientMaskingChecks, name)

        def counted(self, *args, name=name, check=check):
            made.append(name)
            if name == "uniform_noise" and made.count(name) == 1:
                raise KeyboardInterrupt
            return check(self, *args)

        monkeypatch.setattr(GradientMaskingChecks, name, counted)
    with pytest.raises(SystemExit):
        main(command(checkpoint, tmp_path / "r", *options))
    assert made == CHECKS[: CHECKS.index("uniform_noise") + 1]
    kept = tmp_path / "r" / "checks.jsonl"
    kept.write_text(kept.read_text()[:-20])
    made.clear()
    made.append("uniform_noise")
    assert main(command(checkpoint, tmp_path / "r", *options)) == 0
    assert made[1:] == CHECKS[CHECKS.index("transfer") :]
    assert results(tmp_path / "r")["checks"] == results(tmp_path / "whole")["checks"]
    assert [check["name"] for check in results(tmp_path / "r")["checks"]] == CHECKS


@pytest.mark.slow
def test_independent_verification_is_part_of_the_results(checkpoint, tmp_path, monkeypatch):
    pytest.importorskip("art", reason="the extra 'crosscheck' is not installed")
    pytest.importorskip("foolbox", reason="the extra 'crosscheck' is not installed")
    quick = {name: CLASSIFIER_ATTACKS[name] for name in ("art-autopgd", "foolbox-pgd")}
    monkeypatch.setattr(verification, "CLASSIFIER_ATTACKS", quick)
    assert main(command(checkpoint, tmp_path / "r", "--levels", "0,0.5", "--attack", "pgd100x2", "--crosscheck")) == 0
    content = results(tmp_path / "r")
    found = content["crosscheck"]
    assert (found["epsilon"], found["samples"]) == (0.5, COUNT)
    assert [row["by"].split()[0] for row in found["rows"]] == ["ART", "foolbox"]
    for row in found["rows"]:
        assert row["agrees"]
        assert row["theirs"] == pytest.approx(content["accuracy"][1], abs=0.02)
        assert row["ours"] <= content["accuracy"][1]


def test_an_interrupted_verification_is_resumed(checkpoint, tmp_path, monkeypatch):
    pytest.importorskip("art", reason="the extra 'crosscheck' is not installed")
    pytest.importorskip("foolbox", reason="the extra 'crosscheck' is not installed")
    monkeypatch.setattr(ClassificationTask, "max_verified", 8)
    attacked, ours_measured = [], []

    def counted(name):
        def attack(task):
            attacked.append(name)
            if attacked == ["one", "two"]:
                raise KeyboardInterrupt
            return f"{name}'s", task.image if name == "one" else task.image.flip(0)

        return attack

    measure = third_party._ours
    monkeypatch.setattr(third_party, "_ours", lambda *args: ours_measured.append(1) or measure(*args))
    for module in (third_party, verification):
        monkeypatch.setattr(module, "CLASSIFIER_ATTACKS", {name: counted(name) for name in ("one", "two", "three")})
    options = ["--levels", "0,0.5", "--attack", "pgd5", "--crosscheck"]
    with pytest.raises(SystemExit):
        main(command(checkpoint, tmp_path / "r", *options))
    kept = tmp_path / "r" / "crosscheck.jsonl"
    with open(kept, "a") as file:
        file.write('{"by": "torn')
    assert main(command(checkpoint, tmp_path / "r", *options)) == 0
    assert attacked == ["one", "two", "two", "three"]
    assert ours_measured == [1]
    assert main(command(checkpoint, tmp_path / "whole", *options)) == 0
    found = results(tmp_path / "r")["crosscheck"]
    assert [row["by"] for row in found["rows"]] == ["one's", "two's", "three's"]
    assert found == results(tmp_path / "whole")["crosscheck"]


def test_scans_of_different_sizes_are_searched_one_by_one(monkeypatch, tmp_path):
    calls = []

    def search(network, images, labels, norm, eps, bounds, criterion, seed):
        calls.append((tuple(images.shape), float(network(images).sum()), norm, eps, seed))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return [VerificationRow.compare("brute force", 0.5 if len(images) == 1 else 0.8, 0.6)]

    monkeypatch.setattr(verification, "verify_segmentation", search)
    scans = [
        EvaluationBatch(None, torch.ones(n, 1, side, side), torch.zeros(n), list("ab")[:n], [None] * n)
        for n, side in ((1, 4), (2, 6))
    ]
    monkeypatch.setattr(verification, "spread_samples", lambda *_: scans)
    loaded = SimpleNamespace(
        inferer=lambda x, network: 2 * x,
        network=torch.nn.Identity(),
        criterion=DiceCriterion(0.8),
        segments=True,
        bounds=None,
    )
    task = SimpleNamespace(loaded=loaded, settings=SimpleNamespace(seed=7), max_verified=4)
    measured = SimpleNamespace(
        levels=[0.0, 3.0, 5.0],
        strongest=SimpleNamespace(values=[0.9, 0.5, 0.1]),
        samples=[],
        norm="l2",
    )
    with pytest.raises(KeyboardInterrupt):
        verification.verify(tmp_path, task, measured)
    found = verification.verify(tmp_path, task, measured)
    assert calls == [((1, 1, 4, 4), 32, "l2", 3.0, 7), *[((2, 1, 6, 6), 144, "l2", 3.0, 7)] * 2]
    assert (found.epsilon, found.samples) == (3.0, 3)
    (row,) = found.rows
    assert row.theirs == pytest.approx((0.5 + 2 * 0.8) / 3)
    assert row.ours == pytest.approx(0.6)
    assert row.agrees


def test_the_checked_samples_are_spread_over_the_data(checkpoint):
    loaded = load_bundle(
        BUNDLE,
        checkpoint=checkpoint,
        phantom_per_class=20,
        batch_size=30,
        network_def={"_target_": "Classifier", **SMALL},
    )
    ids = [sample_id for batch in loaded.data_loader for sample_id in batch["sample_id"]]
    found = verification.spread_samples(loaded, ids, 8)
    assert [name for batch in found for name in batch.sample_ids] == [ids[k] for k in (0, 12, 25, 37, 50, 62, 75, 87)]
    for batch in found:
        assert len(batch.image) == len(batch.label) == len(batch.sample_ids)
    found = verification.spread_samples(loaded, ids, 300)
    assert [name for batch in found for name in batch.sample_ids] == ids


def test_levels_in_raw_intensities_are_those_in_the_networks_units(checkpoint, tmp_path):
    raw = ["--levels", "0,51", "--units", "raw", "--attack", "pgd5"]
    assert main(command(checkpoint, tmp_path / "raw", *raw)) == 0
    assert main(command(checkpoint, tmp_path / "net", "--levels", "0,0.2", "--attack", "pgd5")) == 0
    one, other = results(tmp_path / "raw"), results(tmp_path / "net")
    assert one["levels"] == pytest.approx([0, 0.2])
    assert one["units"] == other["units"] == {"name": "grey levels", "per_unit": 255.0}
    assert one["accuracy"] == other["accuracy"]
    assert "--units raw" in one["command"]
    assert "--levels 0,51" in one["command"]


def test_the_unit_follows_what_is_given_on_the_command_line(tmp_path):
    assert bundle_units(BUNDLE, "evaluate.json", {}).per_unit == 255
    assert bundle_units(BUNDLE, "evaluate.json", {"bounds": [0.0, 2.0]}).per_unit == 127.5
    heart = BUNDLE.parent / "hippocampus_segmentation_ima"
    assert bundle_units(heart, "evaluate.json", {}) == Units("SD of the image", 1.0)
    assert bundle_units(heart, "evaluate.json", {}, of_files=True) is None


def test_expectation_over_transformation_is_an_option(checkpoint, tmp_path):
    assert main(command(checkpoint, tmp_path / "a", "--levels", "0,0.5", "--attack", "pgd5", "--eot", "3")) == 0
    assert main(command(checkpoint, tmp_path / "b", "--levels", "0,0.5", "--attack", "pgd5")) == 0
    assert results(tmp_path / "a")["accuracy"] == results(tmp_path / "b")["accuracy"]
    assert "--eot 3" in results(tmp_path / "a")["command"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--units", "HU"], "Unknown units 'HU'"),
        (["--groups", "who.csv"], "--groups and --group_by go together"),
        (["--groups", "who.csv", "--group_by", "sex"], "who.csv does not exist"),
        (["--eot", "0"], "Got eot 0"),
        (["--attack", "pgd5+magic"], "Unknown attack 'magic'"),
        (["--attack", "pgd5+pgd5"], "pgd5 twice"),
        (["--minimum", "maybe"], "Got minimum 'maybe'"),
        (["--transfer_from", "x.pt"], "--transfer_from is for --checks"),
    ],
)
def test_bad_options_are_refused(checkpoint, tmp_path, capsys, options, words):
    assert main(command(checkpoint, tmp_path / "r", "--levels", "0,1", *options)) == 2
    error = capsys.readouterr().err.strip()
    assert words in error
    assert "\n" not in error
    assert not (tmp_path / "r").exists()


def test_checks_need_a_level(checkpoint, tmp_path, capsys):
    assert main(command(checkpoint, tmp_path / "r", "--levels", "0", "--checks")) == 2
    assert "Only the level 0 was asked for" in capsys.readouterr().err
