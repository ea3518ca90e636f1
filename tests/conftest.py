from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

REPO = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of what a training leaves are slow: the fixture ``trained`` trains a bundle or a study."""
    for item in items:
        if "trained" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _one_thread_and_fixed_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def real_data() -> Path:
    """The folder of real data, where there is one."""
    folder = os.environ.get("MONAI_IMA_DATA")
    if not folder:
        pytest.skip("MONAI_IMA_DATA is not set: no real data here")
    return Path(folder)


def run_program(*command: object) -> subprocess.CompletedProcess[str]:
    """Run a command, its processes with one thread each."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)


def run_module(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """``python -m module arguments...``"""
    return run_program(sys.executable, "-m", module, *arguments)
