"""``torchrun -m monai_ima evaluate`` and ``attack``: the processes share the samples and write what one would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from bundle_runs import bundle_of
from conftest import run_torchrun, torchrun_words

from monai_ima.__main__ import main
from monai_ima.networks import FashionMNISTNet

pytestmark = pytest.mark.slow
LIMIT = 300
DIFFERENT = ("command", "date", "settings")


@pytest.fixture(scope="module")
def fixed(tmp_path_factory) -> list[str]:
    """Options of every run: random weights, SYNTHETIC images."""
    torch.manual_seed(0)
    checkpoint = tmp_path_factory.mktemp("weights") / "model.pt"
    torch.save(FashionMNISTNet().state_dict(), checkpoint)
    bundle = bundle_of("fashion_mnist_classification")
    small = ["--phantom_per_class", "4", "--batch_size", "4", "--norm", "l2"]
    return ["--bundle", str(bundle), "--checkpoint", str(checkpoint), *small]


def torchrun(port: int, *arguments: object) -> subprocess.Popen[str]:
    """Two processes of the command line."""
    return subprocess.Popen(
        torchrun_words(port, "-m", "monai_ima", *arguments),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    try:
        out, err = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
    return process.returncode, out, err


def results(out: Path) -> dict:
    content = json.loads((out / "results.json").read_text())
    return {name: value for name, value in content.items() if name not in DIFFERENT}


def process_of_rank(rank: int, out: Path) -> int:
    """The process of this rank that writes to a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it may have ended
            words, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes().split(b"\0")
            if os.fsencode(out) in words and f"RANK={rank}".encode() in environment:
                found.append(int(process.name))
    (pid,) = found
    return pid


def one_wrote(process: subprocess.Popen[str], out: Path, pattern: str) -> None:
    """Waits until a process has written a file like this."""
    until = time.monotonic() + LIMIT
    while not list(out.glob(pattern)):
        assert process.poll() is None, ended(process)
        assert time.monotonic() < until
        time.sleep(0.005)


def test_two_processes_evaluate_a_bundle_as_one_does_and_speak_once(fixed, tmp_path):
    evaluate = ["evaluate", *fixed, "--levels", "0,0.3,1", "--attack", "pgd5x2+apgd5-dlr", "--out"]
    assert main([*evaluate, str(tmp_path / "one")]) == 0
    done = run_torchrun(29761, "-m", "monai_ima", *evaluate, tmp_path / "two")
    out, err = done.stdout, done.stderr
    assert done.returncode == 0, err
    assert out.count("Written to") == out.count("accuracy") == 1
    assert err.count("under attack:   0%") == 1
    assert results(tmp_path / "two") == results(tmp_path / "one")
    for name in ("results.csv", "curve.png", "examples.png", "cases/00.png"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    done = run_torchrun(29763, "-m", "monai_ima", *evaluate, tmp_path / "two")
    assert done.returncode != 0
    assert done.stderr.count("is not empty, expected a new one: give another --out.") == 1


def test_two_processes_attack_a_bundles_images_as_one_does(fixed, tmp_path):
    attack = ["attack", *fixed, "--eps", "0.5", "--attack", "pgd5x2", "--limit", "15", "--out"]
    assert main([*attack, str(tmp_path / "one")]) == 0
    done = run_torchrun(29765, "-m", "monai_ima", *attack, tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("15 images attacked") == 1
    one, two = ({file.name: file.read_bytes() for file in (tmp_path / name).rglob("*.png")} for name in ("one", "two"))
    assert len(one) == 15
    assert one == two
    lines = [sorted((tmp_path / name / "attacked.jsonl").read_text().splitlines()) for name in ("one", "two")]
    assert lines[0] == lines[1]
    assert not list((tmp_path / "two").glob(".*"))


def test_a_killed_process_ends_torchrun_within_a_minute_and_one_process_goes_on(fixed, tmp_path):
    evaluate = ["evaluate", *fixed, "--levels", "0,0.001,0.002", "--attack", "pgd100x2", "--cases", "1", "--out"]
    process = torchrun(29767, *evaluate, tmp_path / "r")
    one_wrote(process, tmp_path / "r", "records.1.jsonl")
    os.kill(process_of_rank(1, tmp_path / "r"), signal.SIGKILL)
    killed = time.monotonic()
    code, _, err = ended(process)
    assert code != 0
    assert time.monotonic() - killed < 60
    assert err.count("Give the same command again: it goes on where it was.") == 1
    kept = {line for part in (tmp_path / "r").glob("records*.jsonl") for line in part.read_text().splitlines()}
    assert not (tmp_path / "r" / "results.json").exists()
    assert main([*evaluate, str(tmp_path / "r")]) == 0
    lines = (tmp_path / "r" / "records.jsonl").read_text().splitlines()
    assert kept <= set(lines)
    assert main([*evaluate, str(tmp_path / "whole")]) == 0
    assert results(tmp_path / "r") == results(tmp_path / "whole")
