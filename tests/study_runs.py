"""What the tests of the studies in ``benchmarks`` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runs import load

from monai_ima.networks import ECGNet


def refusal(command: Callable, capsys: pytest.CaptureFixture, *arguments: object, **settings: object) -> str:
    """The last line on stderr of a command that must end with exit code 2."""
    with pytest.raises(SystemExit) as stop:
        command(*arguments, **settings)
    assert stop.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def table_rows(text: str) -> dict[str, list[str]]:
    """The rows of a markdown table, headings included, by their first cell."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {title: cells for title, *cells in lines}


def correct_beats(checkpoint: Path, beats: Path) -> torch.Tensor:
    """Which of the test beats in a folder a checkpoint's network classifies correctly: bool ``[N]``."""
    table = np.loadtxt(beats / "mitbih_test.csv", delimiter=",")
    image, label = torch.tensor(table[:, None, :187], dtype=torch.float32), torch.tensor(table[:, 187]).long()
    network = ECGNet(num_classes=5).eval()
    network.load_state_dict(load(checkpoint)["model"])
    return network(image).argmax(dim=1) == label
