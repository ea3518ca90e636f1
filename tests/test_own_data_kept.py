"""What the bundles for own data keep beside the weights: what trained is not tested, nothing is guessed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runs import bundle_of, open_config, open_small
from own_volumes import folders, write_scan, write_scans
from PIL import Image
from small_image_files import write_pictures

from monai_ima.data import ImageFileReader, labelled_image_datalist
from monai_ima.utils.errors import root_cause

VOLUMES = bundle_of("volume_segmentation")
PATIENTS = {"patient_pattern": "^(p[0-9])_"}
SMALL = {"network_name": "SegResNet", "networks#SegResNet#init_filters": 8, "check_files": False, "threshold": 0.05}


def kept(built, name="network_def"):
    """Prepare a training, which keeps what it will use, and save its network as if it had trained."""
    built.initialize()
    models = Path(built.parser.get_parsed_content("ckpt_dir"))
    torch.save(built.parser.get_parsed_content(name).state_dict(), models / "model.pt")
    return models


def ids(built):
    datalist = built.parser.get_parsed_content("datalist")
    return {name: {item["sample_id"] for item in items} for name, items in datalist.items()}


def refusal(built, name="datalist") -> str:
    with pytest.raises((RuntimeError, ValueError, OSError)) as refused:
        _ = built.initialize(), built.parser.get_parsed_content(name)
    assert "\n" not in str(root_cause(refused.value))
    return str(root_cause(refused.value))


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    root = tmp_path_factory.mktemp("volumes")
    data = write_scans(root / "data", [f"p{k // 2}_{k}" for k in range(12)])
    built = open_config(VOLUMES, ["train.json"], root / "run", **folders(data), **PATIENTS, **SMALL)
    return data, kept(built)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    data = write_pictures(root / "data", [f"{c}/{c}{k}.png" for c in ("healthy", "scar") for k in range(10)], 40)
    built = open_small("image", ["train.json"], root / "run", dataset_dir=str(data), intensity_range=[0, 200])
    return data, kept(built)


def evaluate_volumes(models, out, **settings):
    own = {"ckpt_path": str(models / "model.pt"), "check_files": False, **settings}
    return open_config(VOLUMES, ["evaluate.json"], out, **own)


def evaluate_pictures(models, out, file="evaluate.json", **settings):
    built = open_config(bundle_of("image_classification"), [file], out, ckpt_path=str(models / "model.pt"), **settings)
    built.parser["network_def#channels"] = [4, 8, 8, 8]
    return built


@pytest.mark.parametrize("change", [{}, {"split_seed": 5}, {"fractions": [0.2, 0.2, 0.6]}, {"new": True}])
def test_no_scan_of_a_training_is_tested_whatever_is_forgotten_or_added(change, volumes, tmp_path):
    data, models = volumes
    split = {name: set(own) for name, own in json.loads((models / "split.json").read_text()).items()}
    assert not {one[:2] for one in split["train"]} & {one[:2] for one in split["test"]}
    given = {key: value for key, value in change.items() if key != "new"}
    if change.get("new"):
        data = shutil.copytree(data, tmp_path / "more")
        for k in range(6):
            write_scan(data, f"a{k}_0")
    found = ids(evaluate_volumes(models, tmp_path / "out", **folders(data), **given))
    assert found["test"] == split["test"]
    again = open_config(VOLUMES, ["train.json"], tmp_path, **folders(data), **SMALL, **given, ckpt_dir=str(models))
    assert ids(again)["test"] == split["test"], "a resumed training too"


def moved(models, tmp_path, *names):
    """The weights in a folder of their own with some of what was kept."""
    folder = tmp_path / "moved"
    folder.mkdir()
    for name in ("model.pt", *names):
        shutil.copy(models / name, folder / name)
    return folder


def test_volume_weights_without_their_split_are_evaluated_on_lists_or_on_every_scan_only(volumes, tmp_path):
    data, models = volumes
    alone = moved(models, tmp_path, "plan.json")
    sentence = refusal(evaluate_volumes(alone, tmp_path / "out", **folders(data)))
    assert "expected their names in split.json beside the weights" in sentence
    assert "(--split FILE), or every one (--split_name all)" in sentence
    listed = evaluate_volumes(alone, tmp_path / "out", **folders(data), split=str(models / "split.json"))
    assert ids(listed) == ids(evaluate_volumes(models, tmp_path / "out", **folders(data)))
    assert len(ids(evaluate_volumes(alone, tmp_path / "out", **folders(data), split_name="all"))["all"]) == 12
    other = write_scans(tmp_path / "renamed", [f"x{k}" for k in range(4)])
    assert "Nothing says which" in refusal(evaluate_volumes(models, tmp_path / "out", **folders(other)))


def test_a_split_that_tests_what_trained_is_not_written_over_the_kept_one(volumes, tmp_path):
    data, models = volumes
    split = json.loads((models / "split.json").read_text())
    turned = {"train": split["test"], "val": split["val"], "test": split["train"]}
    own = {**folders(data), **SMALL, "ckpt_dir": str(models), "split": turned, "model_name": "new"}
    assert "which would test now" in refusal(open_config(VOLUMES, ["train.json"], tmp_path, **own))
    assert json.loads((models / "split.json").read_text()) == split


def test_weights_of_own_data_are_not_measured_on_the_phantom(volumes, pictures, tmp_path):
    for file in ("evaluate.json", "inference.json"):
        sentence = refusal(evaluate_pictures(pictures[1], tmp_path / "out", file))
        assert sentence.startswith("Got no dataset_dir, expected some: the weights were trained on data of one's own")
        built = open_config(VOLUMES, [file], tmp_path / "out", ckpt_path=str(volumes[1] / "model.pt"))
        assert refusal(built).startswith("Got no images and labels, or dataset_dir, expected some")
    assert not (tmp_path / "out").exists(), "no phantom is drawn"


def test_picture_weights_without_classes_or_split_are_refused_unless_these_are_given(pictures, tmp_path):
    data, models = pictures
    alone = moved(models, tmp_path, "plan.json")
    own = {"dataset_dir": str(data)}
    for file in ("evaluate.json", "inference.json"):
        sentence = refusal(evaluate_pictures(alone, tmp_path / "out", file, **own), "classes")
        assert "classes.json does not exist, expected it beside the weights" in sentence
        assert "(--classes)" in sentence
    own["classes"] = ["healthy", "scar"]
    inference = evaluate_pictures(alone, tmp_path / "out", "inference.json", **own)
    assert len(inference.parser.get_parsed_content("datalist")) == 20
    assert "(--split_lists FILE), or every one (--split all)" in refusal(
        evaluate_pictures(alone, tmp_path / "out", **own)
    )
    assert len(ids(evaluate_pictures(alone, tmp_path / "out", **own, split="all"))["all"]) == 20
    listed = ids(evaluate_pictures(alone, tmp_path / "out", **own, split_lists=str(models / "split.json")))
    assert listed["test"] == set(json.loads((models / "split.json").read_text())["test"])


def test_other_names_than_those_of_the_weights_are_refused(pictures, tmp_path):
    data, models = pictures
    built = evaluate_pictures(models, tmp_path / "out", dataset_dir=str(data), classes=["scar", "healthy"])
    assert refusal(built).startswith("Got the classes scar, healthy, expected healthy, scar, with which")


def test_pictures_are_read_as_in_the_training_and_another_value_is_refused(pictures, tmp_path):
    data, models = pictures
    own = {"dataset_dir": str(data)}
    for file in ("evaluate.json", "inference.json"):
        built = evaluate_pictures(models, tmp_path / "out", file, **own)
        assert built.parser.get_parsed_content("reader").intensity_range == (0, 200)
        assert built.parser.get_parsed_content("dataset")[0]["image"].shape == (1, 40, 40)
        for name, value, trained in (
            ("intensity_range", [0, 255], r"(0.0, 200.0)"),
            ("image_size", 48, "40"),
            ("channels", 3, "1"),
            ("depth", 50, "18"),
            ("normalisation", "batch", "'instance'"),
        ):
            sentence = refusal(evaluate_pictures(models, tmp_path / "out", file, **own, **{name: value}))
            assert f"Got {name} {value!r}, expected {trained}, with which" in sentence
    alone = moved(models, tmp_path, "classes.json", "split.json")
    sentence = refusal(evaluate_pictures(alone, tmp_path / "out", **own))
    assert "plan.json does not exist" in sentence
    assert "(--image_size, --channels, --depth, --normalisation, and --intensity_range" in sentence


def test_the_reason_why_pictures_cannot_be_read_is_said_once(tmp_path):
    write_pictures(tmp_path, ["healthy/a.png", "scar/b.png"])
    for k in range(3):
        Image.fromarray(np.full((8, 8), 4000, np.uint16)).save(tmp_path / "scar" / f"deep{k}.png")
    with pytest.raises(ValueError, match="3 image file") as refused:
        labelled_image_datalist(tmp_path, evaluated="all", reader=ImageFileReader())
    assert str(refused.value).count("expected intensity_range") == 1
    assert all(f"deep{k}.png" in str(refused.value) for k in range(3))
