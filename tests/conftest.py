from __future__ import annotations

import atexit
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from warm_python import NAMES, collect_less, look_through_modules_once

REPO = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of what a training leaves are slow: the fixture ``trained`` trains a bundle or a study."""
    for item in items:
        if "trained" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Spares every test the searches and collections of garbage that look through all that is imported."""
    look_through_modules_once()
    collect_less()


@pytest.fixture(autouse=True)
def _one_thread_and_fixed_seed():
    torch.set_num_threads(1)
    # torch.manual_seed notes who called it, for a GPU that is initialised later: 1.5 ms below pytest
    seed = torch.manual_seed if torch.cuda.is_available() else torch.default_generator.manual_seed
    seed(0)


@pytest.fixture
def real_data() -> Path:
    """The folder of real data, where there is one."""
    folder = os.environ.get("MONAI_IMA_DATA")
    if not folder:
        pytest.skip("MONAI_IMA_DATA is not set: no real data here")
    return Path(folder)


@pytest.fixture(scope="module")
def warm_starts() -> Iterator[None]:
    """Processes that the code under test starts with this Python are forks, as of :func:`run_python`."""
    program = str(warm_programs() / "python")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", program)
        patch.setenv("PYTHON_EXEC", program)
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


def run_program(*command: object) -> subprocess.CompletedProcess[str]:
    """Run a command, its processes with one thread each."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)


def run_module(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """``python -m module arguments...``"""
    return run_python("-m", module, *arguments)


def run_python(*arguments: object) -> subprocess.CompletedProcess[str]:
    """``python arguments...``, forked off a process that has imported the heavy packages."""
    return run_program(warm_programs() / "python", *arguments)


def run_torchrun(port: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """``torchrun --nproc_per_node=2 arguments...``; it and the two processes are forks, as of :func:`run_python`."""
    return run_program(*torchrun_words(port, *arguments))


def torchrun_words(port: int, *arguments: object) -> list[str]:
    """The command line of :func:`run_torchrun`."""
    program = [warm_programs() / "torchrun", "--nproc_per_node=2", f"--master_port={port}"]
    return list(map(str, [*program, *arguments]))


@cache
def warm_programs(site: Path | None = None) -> Path:
    """A folder with ``python``, ``monai-ima`` and ``torchrun``, which run in forks of one process (warm_python.py).

    Of the package in a folder, before others on the path, if one is given.
    """
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    address = folder / "socket"
    script = str(Path(__file__).with_name("warm_python.py"))
    server = [sys.executable, script, "serve", str(address)]
    first = {} if site is None else {"PYTHONPATH": str(site)}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **first}
    process = subprocess.Popen(server, env=environment, stdin=subprocess.DEVNULL)
    for name in NAMES:
        _program(folder / name, f'{shlex.join([sys.executable, "-S", script, str(address), name])} "$@"')
    python = folder / "python"
    _program(folder / "torchrun", f'env PYTHON_EXEC={python} {python} -m torch.distributed.run "$@"')
    while not address.exists():
        assert process.poll() is None, "the process that forks has ended"
        time.sleep(0.05)
    return folder


def _program(file: Path, command: str) -> None:
    file.write_text(f"#!/bin/sh\nexec {command}\n")
    file.chmod(0o755)
