"""Configs that are made to harm the reader."""

from __future__ import annotations

import json
import time

import pytest

from monai_ima.harden import config_files
from monai_ima.harden.config_files import read_config
from monai_ima.harden.reading import read_training_config


def bomb(depth: int) -> str:
    """Ten references to a list of ten references, and so on: 10 ** depth values in ``depth`` lines."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, depth)]
    return "\n".join(lines)


@pytest.mark.parametrize("text", [bomb(12), "a: &a [*a]\n", "a: &a {b: *a}\n"])
def test_aliases_that_fill_the_memory_are_refused_at_once(text, tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "train.yaml").write_text(text)
    begin = time.process_time()
    with pytest.raises(ValueError, match=r"train\.yaml holds more than 1000000 values"):
        read_training_config(tmp_path)
    assert time.process_time() - begin < 5


def test_aliases_of_moderate_size_are_read(tmp_path):
    file = tmp_path / "train.yaml"
    file.write_text(bomb(3))
    assert len(read_config(file)["a2"]) == 10
    assert read_config(file)["a2"][9][9] == ["x"] * 10


def test_values_are_counted_with_their_repetitions(tmp_path, monkeypatch):
    """Of the bomb of depth 2: 1 dictionary, lists of 1 + 10 and of 1 + 10 * 11 values."""
    file = tmp_path / "train.yaml"
    file.write_text(bomb(2))
    monkeypatch.setattr(config_files, "MOST", 123)
    read_config(file)
    monkeypatch.setattr(config_files, "MOST", 122)
    with pytest.raises(ValueError, match="more than 122 values"):
        read_config(file)


@pytest.mark.parametrize(("text", "sentence"), [("{", "cannot be read"), ("[1]", "holds list, expected a dictionary")])
def test_what_is_no_config_is_refused(text, sentence, tmp_path):
    file = tmp_path / "train.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=sentence):
        read_config(file)
    file.write_text(json.dumps({"a": {"b": [1, 2]}}))
    assert read_config(file) == {"a": {"b": [1, 2]}}
