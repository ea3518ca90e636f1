"""What the plan says of sample ids, and what a refusal names: packages and configs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigComponent
from test_stated import changed
from wild_bundles import STYLES, part

from monai_ima.__main__ import main
from monai_ima.harden.parts import find_parts
from monai_ima.harden.reading import read_training_config
from monai_ima.harden.sample_ids import SampleIdSource, find_sample_ids

LOAD = part("LoadImaged", keys=["t1", "t2"])
JOIN = part("ConcatItemsd", keys=["t1", "t2"], name="image")


@pytest.mark.parametrize(
    ("transforms", "source"),
    [
        ([LOAD, JOIN], SampleIdSource.FILES),
        ([LOAD, part("ConcatItemsd", keys=["t1", "t2"], name="both")], SampleIdSource.DATA),
        ([LOAD, part("mine.ConcatImages", keys=["t1", "t2"])], SampleIdSource.DATA),
        ([LOAD, part("ToNumpyd", keys=["t1", "t2"]), JOIN], SampleIdSource.DATA),
        ([LOAD, JOIN, part("EnsureTyped", keys="image", track_meta=False)], SampleIdSource.DATA),
    ],
)
def test_sample_ids_follow_the_image_through_what_puts_it_together(transforms: list[Any], source, tmp_path):
    root = changed(tmp_path / "b", "zoo_segmentation", **{"train::deterministic_transforms": transforms})
    parts = find_parts(read_training_config(root))
    assert find_sample_ids(parts.config, parts.dataset, transforms_of(parts), "t1") is source


def transforms_of(parts: Any) -> list:
    return [transform for transform in parts.transforms if not transform.name.startswith("Rand")]


def refusal(root: Path, capsys) -> str:
    assert main(["harden", "--bundle", str(root), "--dry_run"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


@pytest.mark.parametrize("package", ["einops", "some.inner_part"])
def test_a_missing_package_is_named_as_that(package, tmp_path, capsys, monkeypatch):
    STYLES["zoo_classification"](tmp_path / "b")

    def missing(self, **arguments):
        try:
            raise ModuleNotFoundError(f"No module named '{package}'")
        except ModuleNotFoundError as error:
            raise RuntimeError("Failed to instantiate") from error

    monkeypatch.setattr(ConfigComponent, "instantiate", missing)
    line = refusal(tmp_path / "b", capsys)
    assert line.endswith(f"(ResNet) needs the package {package}, expected it to be installed.")
    assert "cannot be built" not in line


def test_training_configs_of_other_names_are_named(tmp_path, capsys):
    STYLES["zoo_classification"](tmp_path / "b")
    configs = tmp_path / "b" / "configs"
    (configs / "train.json").rename(configs / "train_stage2.json")
    (configs / "train_stage1.yaml").write_text("{}")
    (configs / "train_notes.txt").write_text("")
    assert (configs / "multi_gpu_train.json").is_file(), "that of the style, whose name holds the word too"
    line = refusal(tmp_path / "b", capsys)
    assert line.endswith(
        "or another training config (multi_gpu_train.json, train_stage1.yaml, train_stage2.json) as --config."
    )
