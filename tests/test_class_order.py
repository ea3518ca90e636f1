"""Which output of a network is which class: integers are indices, names are in order, or in that of ``--classes``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from monai_ima.__main__ import main
from monai_ima.data import class_names, folder_classes
from monai_ima.results.schema import Results


class Grey(nn.Module):
    """Class k has the grey value 20 k."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.values = nn.Parameter(20 * torch.arange(outputs, dtype=torch.float32))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return -0.01 * (image.mean(dim=[1, 2, 3])[:, None] - self.values) ** 2


class Brighter(nn.Module):
    """One logit: brighter than 10."""

    def __init__(self) -> None:
        super().__init__()
        self.middle = nn.Parameter(torch.tensor(10.0))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.mean(dim=[1, 2, 3])[:, None] - self.middle


def write(root: Path, classes: dict[str, int]) -> list[str]:
    """Class folders and a table of grey pictures of the classes' outputs; the words that evaluate either of them."""
    rows = ["image,label"]
    for name, k in classes.items():
        (root / "folders" / name).mkdir(parents=True)
        Image.fromarray(np.full((4, 4), 20 * k, np.uint8)).save(root / "folders" / name / "a.png")
        rows.append(f"{name}/a.png,{name}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return ["evaluate", "--levels", "0.001", "--attack", "fgsm", "--cases", "0", "--images", str(root / "folders")]


def evaluated(root: Path, words: list[str], network: nn.Module, *more: str) -> Results:
    torch.jit.script(network).save(root / "m.ts")
    found = []
    for name, labels in (("by_folder", []), ("by_table", ["--labels", str(root / "labels.csv")])):
        assert main([*words, "--model", str(root / "m.ts"), *labels, *more, "--out", str(root / name)]) == 0
        found.append(Results.read(root / name))
    assert found[0].classes == found[1].classes
    assert found[0].attacks[-1].values == found[1].attacks[-1].values
    return found[0]


@pytest.mark.parametrize("indices", [range(11), (1, 2, 10)])
def test_integers_are_indices_of_outputs(indices, tmp_path):
    results = evaluated(tmp_path, write(tmp_path, {str(k): k for k in indices}), Grey(11))
    assert results.classes == [str(k) for k in range(11)]
    assert results.attacks[-1].values == [1, 1]


def test_class_folders_called_by_numbers_are_in_the_order_of_the_numbers(tmp_path):
    write(tmp_path, {str(k): k for k in range(11)})
    assert folder_classes(tmp_path / "folders") == class_names(tmp_path / "folders") == [str(k) for k in range(11)]
    (tmp_path / "folders" / "b").mkdir()
    assert folder_classes(tmp_path / "folders")[:3] == ["0", "1", "10"]


@pytest.mark.parametrize(
    ("order", "network"), [("scar,healthy,drusen", Grey(3)), ("scar,drusen", Brighter()), ("3,1,2", Grey(3))]
)
def test_the_order_of_the_outputs_can_be_given(order, network, tmp_path):
    names = order.split(",")
    words = write(tmp_path, {name: k for k, name in enumerate(names) if name != "healthy"})
    results = evaluated(tmp_path, words, network, "--classes", order)
    assert results.classes == names
    assert results.attacks[-1].values == [1, 1]


@pytest.mark.parametrize(
    ("classes", "network", "more", "words"),
    [
        (
            "ab",
            Grey(3),
            [],
            "have the 2 class(es) a, b, but model {m} has 3 output(s): expected --classes with 3 names",
        ),
        (["01", "02"], Grey(3), [], "have the 2 class(es) 01, 02, but"),
        (["1", "2"], Grey(2), [], "have 3 classes, but model {m} has 2 output(s): expected at most 2 classes"),
        ("ab", Grey(3), ["a,b"], "Got 2 --classes, but model {m} has 3 output(s): expected 3 names"),
        ("ab", Brighter(), ["a,b,c"], "Got 3 --classes, but model {m} has 1 output(s): expected 2 names"),
        ("ab", Grey(3), ["a,c,d"], "b is not a class, expected a, c, d"),
        ("ab", Grey(2), ["a,a"], "Got classes 'a,a', expected different names"),
        ("ab", Grey(2), ["a"], "Got classes 'a', expected different names"),
        ("ab", Grey(2), ["c,d"], "is not a class, expected c, d"),
    ],
)
def test_names_that_do_not_tell_the_output_are_refused(classes, network, more, words, tmp_path, capsys):
    options = write(tmp_path, {name: k for k, name in enumerate(classes)})
    torch.jit.script(network).save(tmp_path / "m.ts")
    options += ["--model", str(tmp_path / "m.ts"), "--out", str(tmp_path / "out")]
    assert main([*options, *(word for value in more for word in ("--classes", value))]) == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert words.format(m=tmp_path / "m.ts") in line
    assert not (tmp_path / "out").exists()
