"""What the tests run in each of several processes: an evaluation that they share."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from unittest.mock import patch

import torch
from torch import nn

from monai_ima.evaluation import evaluate, pipeline
from monai_ima.evaluation.share import Share
from monai_ima.utils import workers as module
from monai_ima.utils.workers import workers, workers_of_torchrun


class Slow(nn.Sequential):
    """A network whose passes take a moment, so that each of two processes gets some of the batches."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        time.sleep(0.001)
        return super().forward(image)


def batches() -> list[dict]:
    """Twenty SYNTHETIC signals, in batches of two."""
    signals = torch.rand(20, 1, 5, generator=torch.Generator().manual_seed(7))
    return [
        {"image": signals[k : k + 2], "label": torch.tensor([0, 1]), "sample_id": [f"s{k}", f"s{k + 1}"]}
        for k in range(0, 20, 2)
    ]


def run(out: Path, how: str, rank: int) -> None:
    """Evaluate a linear network of two classes without pictures; print how many samples the results are of."""
    torch.manual_seed(0)
    network = Slow(nn.Flatten(), nn.Linear(5, 2))
    loader = batches()
    if how == "other data":
        loader = loader[rank::2]
    if how == "bad sample":
        loader[4]["image"][1] = torch.nan
    perturbation = "gain@10:40,baseline_wander@20" if how == "perturbed" else None
    with patch.object(pipeline, "_draw_cases", return_value=[]):
        results = evaluate(network, loader, [0.05, 0.1, 0.2], "l2", "pgd5x2", out=out, perturbation=perturbation)
    print(len(results.samples), "samples", file=sys.__stdout__, flush=True)


def begin_together() -> None:
    """Each process claims its first batch when all are there."""
    begin = Share.begin

    def begin_with_others(share: Share) -> list:
        done = begin(share)
        workers().publish(f"there/{workers().rank}")
        for other in range(workers().size):
            if other != workers().rank:
                workers().wait(f"there/{other}")
        return done

    Share.begin = begin_with_others


def kill_once_written(rank: int) -> None:
    """A process is killed as soon as it has written a batch but not told of it; the other begins then."""
    claim, deliver = Share.claim, Share.deliver

    def claim_later(share: Share, batch: int) -> bool:
        if workers().rank != rank:
            workers().wait("killed")
        return claim(share, batch)

    def killed(share: Share, batch: int) -> None:
        if workers().rank == rank:
            workers().publish("killed")
            os.kill(os.getpid(), signal.SIGKILL)
        deliver(share, batch)

    Share.claim, Share.deliver = claim_later, killed


def as_torchrun(out: Path, how: str, rank: int) -> int:
    """As the command line does it under ``torchrun``; returns the exit code."""
    with workers_of_torchrun():
        try:
            run(out, how, rank)
        except (ValueError, OSError) as error:
            workers().fail(str(error))
            return 2
    return 0


def in_process_group(out: Path, how: str, rank: int) -> int:
    """As a script does it that has made a process group."""
    torch.distributed.init_process_group("gloo")
    if how != "group alone" or rank == 1:
        run(out / str(rank) if how == "group apart" else out, how, rank)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    return 0


def process(out: Path, how: str, rank: int, size: int, port: int, log: Path) -> None:
    """One of the processes; what it prints goes to the files ``log.out`` and ``log.err``."""
    for number, suffix in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(log.with_suffix(suffix), os.O_WRONLY | os.O_CREAT), number)
    torch.set_num_threads(1)
    connection = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": rank, "WORLD_SIZE": size}
    os.environ.update({name: str(value) for name, value in connection.items()})
    module.SILENCE, module.BEAT = 15, 0.2
    if how in ("", "group", "perturbed"):
        begin_together()
    if how.startswith("kill"):
        kill_once_written(int(how.split()[1]))
    sys.exit((in_process_group if how.startswith("group") else as_torchrun)(out, how, rank))
