"""docs/howto/cluster.md: the job is run with programs that stand for Slurm's; its commands are ones that we accept."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from argparse import Namespace
from contextlib import suppress
from pathlib import Path

import pytest
import torch.distributed.run
import typer
from bundle_runs import bundle_of
from conftest import REPO

from monai_ima.cli.app import _checked, app

JOB, TRAINING, TASKS = re.findall(r"```bash\n(.*?)```", (REPO / "docs/howto/cluster.md").read_text(), re.DOTALL)
SRUN = re.compile(r"^srun .*\n", re.MULTILINE)
BUNDLE = bundle_of("fashion_mnist_classification")
NOTE = f"""#!{sys.executable}
import json, os, sys
names = ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK")
words = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
print(json.dumps([words, {{name: os.environ.get(name) for name in names}}]), file=open(os.environ["CALLS"], "a"))
"""
PROGRAMS = {
    "srun": '#!/bin/bash\n[ -z "$SLOW" ] || { touch "$CALLS.running"; exec sleep 20; }\n"$@"\n',
    "scontrol": '#!/bin/bash\n[ "$1" = show ] && printf "node1\\nnode2\\n" || echo "$@" > "$CALLS.requeued"\n',
    "torchrun": NOTE,
    "python": NOTE,
}


@pytest.fixture
def job(tmp_path):
    """Starts a job; returns its process, and the file in which the programs that it calls note their words."""
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    slurm = {"SLURM_NNODES": "2", "SLURM_JOB_ID": "77", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_NTASKS": "8"}
    task = {"SLURM_PROCID": "5", "SLURM_LOCALID": "1", "BUNDLE": str(BUNDLE), "CALLS": str(tmp_path / "calls")}

    started: list[subprocess.Popen] = []

    def start(script: str, **more: str) -> tuple[subprocess.Popen, Path]:
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, **slurm, **task, "PATH": path, **more}
        started.append(subprocess.Popen(["bash", "-c", script], env=environment, start_new_session=True))
        return started[-1], tmp_path / "calls"

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def called(job, script: str) -> tuple[list[str], dict[str, str]]:
    process, calls = job(script)
    assert process.wait(60) == 0
    (line,) = calls.read_text().splitlines()
    words, environment = json.loads(line)
    return words, environment


def of_torchrun(words: list[str]) -> Namespace:
    assert words[0] == "torchrun"
    found = torch.distributed.run.parse_args(words[1:])
    assert (found.nnodes, found.nproc_per_node, found.rdzv_backend, found.rdzv_id) == ("2", "4", "c10d", "77")
    assert found.rdzv_endpoint == "node1:29500"
    assert found.module
    return found


def accepted(words: list[str]) -> list[str]:
    """The words of a command as our command line takes them."""
    return _checked(typer.main.get_command(app), words)


def test_the_job_evaluates_with_options_that_the_command_line_takes(job):
    words, _ = called(job, JOB)
    found = of_torchrun(words)
    assert found.training_script == "monai_ima"
    assert f"--bundle={BUNDLE}" in accepted(found.training_script_args)
    assert "--levels=0,0.01,0.02" in accepted(found.training_script_args)


def test_the_training_of_the_job_has_files_and_ids_that_the_bundle_has(job):
    words, _ = called(job, SRUN.sub(lambda _: TRAINING, JOB))
    found = of_torchrun(words)
    assert [found.training_script, found.training_script_args[0]] == ["monai.bundle", "run"]
    options = dict(zip(*[iter(found.training_script_args[1:])] * 2, strict=True))
    files = re.findall(r"'(.*?)'", options["--config_file"])
    assert [Path(file).name for file in files] == ["train.json", "multi_gpu_train.json"]
    assert all(Path(file).is_file() for file in files)
    assert options["--bundle_root"] == str(BUNDLE)
    assert options["--resume"] == "last"
    assert "resume" in json.loads(Path(files[0]).read_text())


def test_a_task_of_slurm_knows_its_place_among_the_processes(job):
    words, environment = called(job, SRUN.sub(lambda _: TASKS, JOB))
    assert words[:3] == ["python", "-m", "monai_ima"]
    assert f"--bundle={BUNDLE}" in accepted(words[3:])
    expected = {"MASTER_ADDR": "node1", "MASTER_PORT": "29500", "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
    assert environment == expected


def test_a_job_whose_time_is_over_is_queued_again(job):
    process, calls = job(JOB, SLOW="1")
    until = time.monotonic() + 60
    while not Path(f"{calls}.running").exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    assert Path(f"{calls}.requeued").read_text().split() == ["requeue", "77"]
