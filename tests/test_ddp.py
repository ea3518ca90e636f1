"""Two processes whose batches differ in what is correct: no one waits for the other."""

from __future__ import annotations

import json

import pytest
from conftest import REPO, run_torchrun


@pytest.mark.slow
def test_methods_train_where_one_process_has_no_noisy_sample(tmp_path):
    done = run_torchrun(29651, REPO / "tests" / "ddp_methods.py", tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"rank{k}.json").read_text()) for k in range(2))
    assert len(first) == 28
    assert first == second, "weights and margins are the same in both processes"
    assert all(
        len(result["margins"]) == 16 for name, result in first.items() if name.split()[0] in ("ima", "iaat", "mma")
    )
