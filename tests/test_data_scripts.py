"""The data scripts as programs; what they do is tested in this process, script by script."""

from __future__ import annotations

import pytest
from conftest import REPO, run_python


def run(name, *options):
    return run_python(REPO / "data_scripts" / f"{name}.py", *options)


@pytest.mark.parametrize(
    ("name", "option"), [("get_ecg", "from_csv"), ("get_oct", "from_file"), ("get_svhn", "from_dir")]
)
def test_help_names_the_options(name, option):
    done = run(name, "--help")
    assert done.returncode == 0
    assert option in done.stdout + done.stderr


@pytest.mark.parametrize(("name", "option"), [("get_msd", "--task=heart"), ("get_oct", "--from_file=a.zip")])
def test_bad_use_exits_with_2_and_one_line(name, option):
    done = run(name, option)
    assert done.returncode == 2
    assert done.stderr == "Option --out is missing, expected the folder to write to.\n"


def test_a_phantom_is_written(tmp_path):
    done = run("make_oct_phantom", "--out", tmp_path / "o", "--per_class", 1, "--size", 16)
    assert done.returncode == 0, done.stderr
    assert "SYNTHETIC" in done.stdout
