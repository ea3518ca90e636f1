"""``monai-ima bundle list | get``, and the bundles in the wheel: from it alone to a report on pictures of one's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from bundle_runs import options
from conftest import REPO, warm_programs
from small_image_files import write_pictures
from wild_bundles import STYLES

from monai_ima.__main__ import main
from monai_ima.cli import bundle as bundle_verbs

NAME = "image_classification_ima"
BUNDLES = sorted(file.parent.parent.name for file in (REPO / "bundles").glob("*/configs/metadata.json"))
LEFT_BEHIND = (
    "eval/results.json",
    "models/model_last.pt",
    "models/classes.json",
    "models/synthetic/model_last.pt",
    "models/unknown/model.pt",
)
HIPPOCAMPUS = ("hippocampus_segmentation_ima/models/model.pt", "hippocampus_segmentation_ima/models/model_ce.pt")
SHIPPED = {
    *HIPPOCAMPUS,
    *(
        file.relative_to(REPO / "bundles").as_posix()
        for name in ("README.md", "model.pt", "plan.json")
        for file in (REPO / "bundles").glob(f"*/models/synthetic/{name}")
    ),
}
SMALL = {"image_size": 40, "network_def#channels": [4, 8, 8, 8]}
QUICK = {"epochs": 2, "batch_size": 8, "steps": 2, "margin_steps": 2, "val_steps": 2, "update_interval": 1}


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def get(capsys, *words):
    code = main(["bundle", *map(str, words)])
    shown = capsys.readouterr()
    assert code == (2 if shown.err else 0)
    return shown.err.strip() or shown.out


@pytest.fixture
def source(tmp_path, monkeypatch) -> Path:
    """A source tree's bundles, in which something was trained."""
    root = tmp_path / "source" / "bundles"
    for name in (NAME, "hippocampus_segmentation_ima"):
        shutil.copytree(REPO / "bundles" / name, root / name, ignore=shutil.ignore_patterns("eval"))
        for left in LEFT_BEHIND:
            (root / name / left).parent.mkdir(parents=True, exist_ok=True)
            (root / name / left).touch()
    monkeypatch.setattr(bundle_verbs, "__file__", str(tmp_path / "source" / "monai_ima" / "cli" / "bundle.py"))
    return root


def test_every_bundle_is_listed_with_version_and_task(capsys):
    lines = get(capsys, "list").splitlines()
    assert [line.split()[0] for line in lines] == BUNDLES
    for line in lines:
        metadata = json.loads((REPO / "bundles" / line.split()[0] / "configs" / "metadata.json").read_text())
        assert line.split(maxsplit=2)[1:] == [metadata["version"], metadata["task"]]


def test_a_copy_has_what_is_shipped_and_nothing_that_was_trained_there(source, capsys, tmp_path):
    for name in (NAME, "hippocampus_segmentation_ima"):
        out = get(capsys, "get", name, tmp_path / "my bundles")
        assert f"--bundle_root '{tmp_path}/my bundles/{name}'" in out
        copy = tmp_path / "my bundles" / name
        assert files_below(copy) == files_below(source / name) - set(LEFT_BEHIND)
        assert all((copy / file).read_bytes() == (source / name / file).read_bytes() for file in files_below(copy))
    assert set(os.listdir(tmp_path / "my bundles")) == {NAME, "hippocampus_segmentation_ima"}


def test_a_copy_that_is_broken_off_leaves_nothing(source, capsys, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", str(tmp_path / "out"))

    monkeypatch.setattr(shutil, "copyfile", full)
    assert "No space left" in get(capsys, "get", NAME, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []


def test_what_cannot_be_copied_is_refused_in_a_sentence(source, capsys, tmp_path, monkeypatch):
    assert get(capsys, "get", "image_clasification", tmp_path) == (
        f"Unknown bundle 'image_clasification', expected {NAME}."
    )
    assert get(capsys, "get", "zzz", tmp_path).startswith("Unknown bundle 'zzz', expected one of hippocampus_")
    get(capsys, "get", NAME, tmp_path / "out")
    (tmp_path / "out" / NAME / "models" / "mine.pt").touch()
    assert get(capsys, "get", NAME, tmp_path / "out") == (
        f"{tmp_path}/out/{NAME} exists already, expected no such folder or an empty one: give another FOLDER."
    )
    assert (tmp_path / "out" / NAME / "models" / "mine.pt").is_file()
    (tmp_path / "file").touch()
    assert "is a file: expected a folder" in get(capsys, "get", NAME, tmp_path / "file")
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "is read-only: expected another one" in get(capsys, "get", NAME, tmp_path / "locked")
    shutil.rmtree(source)
    assert "has no bundles" in get(capsys, "list")


def test_verbs_of_the_group_are_refused_as_others_are(capsys):
    assert get(capsys, "gte") == "Unknown verb 'bundle gte', expected get."
    assert get(capsys, "get", NAME) == "Option --folder is missing, expected a value for it (see --help)."
    assert get(capsys, "get", NAME, "out", "more").startswith("Got 'more' too many")
    assert get(capsys, "list", "--outt", "x").startswith("Unknown option --outt")
    assert "Usage: monai-ima bundle get" in get(capsys, "get", "--help")
    assert get(capsys) == get(capsys, "--help")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The wheel of a source tree in which something was trained, built without the network."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("monai_ima", "bundles"):
        shutil.copytree(REPO / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "eval"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(REPO / name, tree)
    for left in LEFT_BEHIND:
        (tree / "bundles" / NAME / left).parent.mkdir(parents=True, exist_ok=True)
        (tree / "bundles" / NAME / left).touch()
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    done = subprocess.run([*pip, "--wheel-dir", "dist", "."], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    (wheel,) = (tree / "dist").glob("monai_ima-*.whl")
    return wheel


def test_the_wheel_holds_every_package_and_what_is_shipped_of_every_bundle(built):
    packed = {name.removeprefix("monai_ima/") for name in zipfile.ZipFile(built).namelist()}
    assert {name for name in files_below(REPO / "monai_ima") if "__pycache__" not in name} <= packed
    tracked = {
        name
        for name in files_below(REPO / "bundles")
        if name in SHIPPED or not ("/eval/" in name or "/models/" in name) or name.endswith((".gitkeep", "README.md"))
    }
    assert {name.removeprefix("bundles/") for name in packed if name.startswith("bundles/")} == tracked
    assert built.stat().st_size < 9e6


@pytest.fixture(scope="module")
def site(built, tmp_path_factory) -> Path:
    """The folder that the wheel was installed into, by itself."""
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(folder)]
    subprocess.run([*pip, str(built)], check=True)
    return folder


def run_installed(site: Path, work: Path, *command: object) -> str:
    """Run a command in a folder, with the installed package in the place of the source tree; it must succeed."""
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(list(map(str, command)), cwd=work, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def programs(site) -> Path:
    """The folder of programs that run the installed package without starting anew each time."""
    return warm_programs(site)


@pytest.mark.slow
def test_from_the_wheel_alone_to_a_report_on_class_folders(site, programs, tmp_path):
    run, work = partial(run_installed, site, tmp_path), tmp_path
    python, script = programs / "python", programs / "monai-ima"
    where = ("-c", "import monai_ima; print(monai_ima.__file__)")
    for program in ((sys.executable, "-P"), (python,)):
        assert run(*program, *where).startswith(str(site))
    data = [f"{name}/{name}{k}.png" for name in ("healthy", "scar") for k in range(12)]
    write_pictures(work / "pictures", data, 40)
    run(site / "bin" / "monai-ima", "bundle", "get", NAME, "mine")
    own = options({**SMALL, "dataset_dir": "pictures"})
    config, root = f"mine/{NAME}/configs/train.json", f"mine/{NAME}"
    run(python, "-m", "monai.bundle", "run", "--config_file", config, "--bundle_root", root, *own, *options(QUICK))
    run(script, "evaluate", "--bundle", root, "--levels", "0,0.01", "--attack", "pgd2", *own)
    run(script, "report", "--results", f"{root}/eval/robustness")
    results = json.loads((work / root / "eval" / "robustness" / "results.json").read_text())
    split = json.loads((work / root / "models" / "split.json").read_text())
    assert results["classes"] == ["healthy", "scar"]
    assert {sample["sample_id"] for sample in results["samples"]} == set(split["test"])
    assert sorted(name for own in split.values() for name in own) == sorted(data)
    assert "healthy" in (work / root / "eval" / "robustness" / "report.html").read_text()


@pytest.mark.slow
def test_from_the_wheel_alone_to_reports_of_the_quick_demo_and_on_a_hardened_bundle_of_others(site, programs, tmp_path):
    run, script = partial(run_installed, site, tmp_path), programs / "monai-ima"
    shipped = files_below(site / "monai_ima" / "bundles")
    with ThreadPoolExecutor(1) as pool:
        demo = pool.submit(run, script, "demo", "--quick", "--out", "demo")
        STYLES["zoo_classification"](tmp_path / "wild")
        steps = ["--steps", "2", "--margin_steps", "2", "--binary_steps", "3", "--val_steps", "2"]
        assert "configs/train_ima.json" in run(script, "harden", "--bundle", "wild", *steps)
        run(script, "evaluate", "--bundle", "wild", "--levels", "0,0.05", "--norm", "linf", "--attack", "pgd2")
        run(script, "report", "--results", "wild/eval/robustness")
        printed = demo.result()
    assert (tmp_path / "wild" / "eval" / "robustness" / "report.html").is_file()
    assert "QUICK" in printed
    assert "SYNTHETIC" in printed
    assert "plain training" in (tmp_path / "demo" / "report.html").read_text()
    for name in ("plain", "ima"):
        found = json.loads((tmp_path / "demo" / name / "robustness" / "results.json").read_text())
        assert found["command"] == "monai-ima demo --quick"
        assert [attack["name"] for attack in found["attacks"]] == ["pgd10"]
    assert files_below(site / "monai_ima" / "bundles") == shipped, "the demo writes nothing into the package"
