"""Two processes whose batches differ in what is correct: no one waits for the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPO


@pytest.mark.slow
def test_methods_train_where_one_process_has_no_noisy_sample(tmp_path):
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "torchrun"),
            "--nproc_per_node=2",
            "--master_port=29651",
            str(REPO / "tests" / "ddp_methods.py"),
            str(tmp_path),
        ],
        cwd=REPO / "tests",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"rank{k}.json").read_text()) for k in range(2))
    assert len(first) == 28
    assert first == second, "weights and margins are the same in both processes"
    assert all(
        len(result["margins"]) == 16 for name, result in first.items() if name.split()[0] in ("ima", "iaat", "mma")
    )
