"""How much sooner two processes finish an evaluation that they share than one does, side by side in one run.

``evaluate`` of the Fashion-MNIST network with random weights on SYNTHETIC images, started by ``torchrun`` with one and
with two processes in turn, one thread a process. The labels are the network's own answers and ε is tiny, so that
nothing breaks and every sample is attacked to the end. The ratio of the samples a second is given without start-up
(from the moment when all processes have imported everything until the results are written) and with it (the whole
command).

    python benchmarks/two_processes.py

Needs two cores that nothing else uses. Writes docs/results/two_processes.md.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

from monai_ima.evaluation import evaluate
from monai_ima.networks import FashionMNISTNet
from studies import RESULTS, CommandLine, integer, setting, table, write_page

BATCH = 50
EPS = 1e-6
PROCESSES = (1, 2)


@dataclass(frozen=True)
class Run:
    """Seconds of one evaluation: without start-up, and of the whole command; and its results."""

    evaluation: float
    command: float
    results: list


def batches(network: torch.nn.Module, samples: int) -> list[dict]:
    """SYNTHETIC images that the network is right about."""
    images = torch.rand(samples, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        labels = torch.cat([network(part).argmax(1) for part in images.split(BATCH)])
    ids = [f"{k:06d}" for k in range(samples)]
    parts = zip(images.split(BATCH), labels.split(BATCH), range(0, samples, BATCH), strict=True)
    return [{"image": x, "label": y, "sample_id": ids[k : k + BATCH]} for x, y, k in parts]


def one(out: str, samples: str, steps: str) -> None:
    """One of the processes that ``torchrun`` starts."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dist.init_process_group("gloo")
    network = FashionMNISTNet().eval()
    loader = batches(network, int(samples))
    dist.barrier()
    begin = time.perf_counter()
    evaluate(network, loader, [EPS], "l2", f"pgd{steps}x1", out=out, synthetic=True)
    dist.barrier()
    if dist.get_rank() == 0:
        Path(out, "seconds.json").write_text(json.dumps(time.perf_counter() - begin))
    dist.destroy_process_group()


def measured(processes: int, samples: int, steps: int) -> Run:
    """Evaluate with so many processes.

    Raises:
        subprocess.CalledProcessError: if one of them fails.
    """
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        begin = time.perf_counter()
        subprocess.run(
            [*torchrun, __file__, "one", str(out), str(samples), str(steps)],
            check=True,
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        command = time.perf_counter() - begin
        results = json.loads((out / "results.json").read_text())
        return Run(json.loads((out / "seconds.json").read_text()), command, results["samples"])


def page(found: dict[int, list[Run]], samples: int, steps: int) -> list[str]:
    """The result page's paragraphs."""
    pairs = list(zip(found[1], found[2], strict=True))
    rows = []
    for title, seconds in (("evaluation", "evaluation"), ("whole command, with start-up", "command")):
        times = [[getattr(run, seconds) for run in pair] for pair in pairs]
        ratios = [alone / shared for alone, shared in times]
        medians = [statistics.median(column) for column in zip(*times, strict=True)]
        rows.append(
            [
                title,
                *(f"{middle:.1f} s, {samples / middle:.1f} a second" for middle in medians),
                f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})",
            ]
        )
    return [
        "# Two processes",
        f"    python benchmarks/two_processes.py --samples {samples} --steps {steps} --rounds {len(pairs)}",
        f"`evaluate` with one process and with two that share the samples, {len(pairs)} pair(s) of runs in turn: "
        f"`FashionMNISTNet` with random weights, {samples} **SYNTHETIC** images of 28 x 28, {steps} steps of PGD that "
        f"break no sample. {setting(1, 'process')}. Medians; of the ratio also the smallest and the largest.",
        table(["seconds of", "one process", "two processes", "ratio"], rows),
        "Both gave the same results for every sample.",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the page."""
    parser = _parser()
    options = parser.parse_args(arguments)
    found: dict[int, list[Run]] = {processes: [] for processes in PROCESSES}
    for k in range(options.rounds):
        for processes in PROCESSES if k % 2 == 0 else PROCESSES[::-1]:
            found[processes].append(measured(processes, options.samples, options.steps))
            print(f"{processes} process(es): {found[processes][-1].evaluation:.1f} s")
    first = found[1][0].results
    if any(run.results != first for runs in found.values() for run in runs):
        parser.error("One process and two gave different results, expected the same.")
    options.pages.mkdir(parents=True, exist_ok=True)
    write_page(options.pages / "two_processes.md", page(found, options.samples, options.steps))
    print(f"Page: {options.pages / 'two_processes.md'}")


def _parser() -> CommandLine:
    parser = CommandLine(__doc__)
    parser.add_argument("--samples", type=integer(2), default=3000, help="SYNTHETIC images; default 3000")
    parser.add_argument("--steps", type=integer(1), default=50, help="of PGD; default 50")
    parser.add_argument("--rounds", type=integer(1), default=3, help="pairs of runs; default 3")
    parser.add_argument("--pages", type=Path, default=RESULTS, help="folder for the page")
    return parser


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        one(*sys.argv[2:])
    else:
        main()
