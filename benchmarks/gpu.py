"""What a GPU shows: the tests marked ``gpu``, IMA's steps beside bare loops of the same passes, and studies that fit.

The parts, in this order, each begun only where it still fits into the minutes, and each written down at once:

1. ``tests``: ``pytest -m gpu tests/test_gpu.py``.
2. ``shares``: the network's share of an IMA training step: the time of the GPU kernels of the network's passes, forward
   and backward, over the wall time of the step. The kernels are those of the same passes, with the same batch sizes,
   made once more without losses and optimizer, their gradients at the logits given; torch.profiler adds their times
   up. Ranges around the network in the step itself would miss them: autograd starts the kernels of a backward pass from
   a thread of its own. Without a GPU, the wall time of these passes stands for the kernels'.
3. ``steps``: the wall time of the step over that of a bare loop of the same passes, step and loop in turn.
4. ``options``: B-PGD with the options of attacks that change their speed, beside B-PGD without
   (``benchmarks/gpu_options.py``).
5. ``variants``: the whole step with the network in channels_last and in bfloat16 autocast, beside the plain one.
6. ``paper``: ``benchmarks/paper.py`` on Fashion-MNIST, L2, as many epochs as fit into the minutes left.
7. ``dynunet``: ``benchmarks/hippocampus.py --network dynunet``, resumed where it was interrupted.

    python benchmarks/gpu.py --minutes 9 --data DIR --out DIR
    python benchmarks/gpu.py --device cpu --tiny --parts shares,steps,options --out DIR --page FILE      (a trial)

DIR of ``--data`` holds fashion_mnist.npz and Task04_Hippocampus. Writes gpu.json to ``--out``, with what an earlier
call left there, and the page. What the steps are trained on: ``benchmarks/gpu_steps.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from gpu_options import OPTIONS, compare
from gpu_steps import NETWORKS, TRAINING, WARM, Measured, make_problem, measure, variants
from monai_ima.results.provenance import machine, versions
from monai_ima.utils.errors import one_line
from studies import (
    REPO,
    RESULTS,
    CommandLine,
    chosen,
    level_titles,
    minutes,
    named_values,
    read_json,
    table,
    write_page,
    write_whole,
)

PARTS = ("tests", "shares", "steps", "options", "variants", "paper", "dynunet")
SHARED = ("OCTNet", "DynUNet")
"""The networks whose share is measured."""

PLAIN = next(iter(variants()))
RATIO = re.compile(r"(\d+) (passed|failed|skipped|errors?|xfailed)")


class OutOfTimeError(Exception):
    """A part took longer than it may."""


@dataclass(frozen=True)
class Job:
    """One part, or one network of a part.

    Attributes:
        part: one of :data:`PARTS`.
        item: of the part.
        needs: minutes; with fewer left it is not begun.
        most: minutes; it is broken off after that time.
        run: gets the minutes that it may take, and returns its record.
    """

    part: str
    item: str
    needs: float
    most: float
    run: Callable[[float], dict[str, Any]]


class Bench:
    """Runs the jobs and keeps their records.

    Args:
        options: of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.device = torch.device(options.device)
        self.deadline = time.monotonic() + 60 * options.minutes
        self.file: Path = options.out / "gpu.json"
        self.records: dict[str, Any] = read_json(self.file) if self.file.is_file() else {"commands": [], "parts": {}}
        self.measured = cache(self._measured)

    @property
    def left(self) -> float:
        """Minutes."""
        return (self.deadline - time.monotonic()) / 60

    def jobs(self) -> list[Job]:
        """All jobs of the parts that were asked for, in their order."""
        few = 0.05 if self.options.tiny else 0.5
        networks = self.options.networks
        shares = [Job("shares", name, few, 2.0, partial(self.share, name)) for name in networks if name in SHARED]
        steps = [Job("steps", name, few, 2.0, partial(self.step, name, PLAIN)) for name in networks]
        others = [
            Job("variants", f"{name}, {way}", few, 2.5, partial(self.step, name, way))
            for way in variants()
            for name in networks
            if way != PLAIN
        ]
        options = [
            Job("options", f"{name}, {option}", few, 2.5, partial(self.option, name, option))
            for option in OPTIONS
            for name in networks
        ]
        alone = [
            Job("tests", "test_gpu.py", few, 3.0, self.run_tests),
            Job("paper", "fashion_mnist, l2", 3.0, 60.0, self.run_paper),
            Job("dynunet", "hippocampus", 4.0, 60.0, self.run_dynunet),
        ]
        jobs = [*alone[:1], *shares, *steps, *options, *others, *alone[1:]]
        return [job for job in jobs if job.part in self.options.parts]

    def run(self) -> None:
        """Run what fits; a job that fails is written down with its error."""
        self.options.out.mkdir(parents=True, exist_ok=True)
        self.records["commands"].append(_command(self.options))
        self.records |= {
            "machine": machine(self.device),
            "cores": os.cpu_count(),
            "versions": versions(),
            "cuda": torch.version.cuda,
            "tiny": self.options.tiny,
        }
        for job in self.jobs():
            allowed = min(job.most, self.left)
            if allowed < job.needs:
                self.keep(job, {"not_run": f"needs {job.needs:g} minutes, {max(0, self.left):.1f} were left"})
                continue
            begin = time.monotonic()
            try:
                with time_limit(60 * allowed + 15):
                    record = job.run(allowed)
            except Exception as error:
                record = {"error": f"{type(error).__name__}: {one_line(error)[:500]}"}
            self.keep(job, {**record, "seconds": round(time.monotonic() - begin, 1)})

    def keep(self, job: Job, record: Mapping[str, Any]) -> None:
        """Write a record down at once, unless an earlier call's is better than none."""
        known = self.records["parts"].setdefault(job.part, {})
        if "not_run" not in record or "seconds" not in known.get(job.item, {}):
            known[job.item] = dict(record)
        write_whole(self.file, json.dumps(self.records, indent=1))
        print(f"{job.part}, {job.item}: {json.dumps(record)[:600]}", flush=True)

    def _measured(self, name: str, variant: str) -> Measured:
        problem = make_problem(name, self.device, self.options.tiny)
        return measure(problem, variants()[variant], rounds=2 if self.options.tiny else 7)

    def share(self, name: str, allowed: float) -> dict[str, Any]:
        """The network's share of a step."""
        found = self.measured(name, PLAIN)
        if self.device.type == "cuda" and found.network_kernels is None:
            raise ValueError("The profiler's trace has no GPU kernel, expected those of the network's passes.")
        passes = found.network_seconds if found.network_kernels is None else found.network_kernels
        return {
            "step": found.step,
            "network_kernels": found.network_kernels,
            "network_seconds": found.network_seconds,
            "share": passes / found.step,
            "all_kernels": found.step_kernels,
        }

    def step(self, name: str, variant: str, allowed: float) -> dict[str, Any]:
        """A step beside a bare loop."""
        found = self.measured(name, variant)
        return {
            "step": found.step,
            "ratio": found.ratio,
            "rounds": len(found.step_seconds),
            "passes": found.counts,
            "boundary_fraction": found.boundary_fraction,
        }

    def option(self, name: str, option: str, allowed: float) -> dict[str, Any]:
        """B-PGD with an option."""
        problem = make_problem(name, self.device, self.options.tiny)
        return asdict(compare(problem, option, rounds=2 if self.options.tiny else 7))

    def run_tests(self, allowed: float) -> dict[str, Any]:
        """The tests marked ``gpu``, counted."""
        command = ["-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", "--tb=short", "tests/test_gpu.py"]
        done = self.process(command, allowed)
        lines = done.stdout.strip().splitlines() or [done.stderr.strip()[-300:]]
        counts = {what: int(count) for count, what in RATIO.findall(lines[-1])}
        failed = [line[:300] for line in lines if line.startswith(("FAILED", "ERROR", "E  "))]
        return {"exit_code": done.returncode, "counts": counts, "failed": failed[:40], "last_line": lines[-1]}

    def run_paper(self, allowed: float) -> dict[str, Any]:
        """The study of issue 6 on all images; its page and record go to ``--out``."""
        folder = self.options.work / "paper"
        data = ["--data", str(self.options.data)] if self.options.data else []
        trial = ["--subset", "60", "--test_subset", "20"] if self.options.tiny else []
        places = ["--out", folder, "--records", self.options.out, "--pages", self.options.out]
        command = [
            "benchmarks/paper.py",
            "--batch_size",
            "500",
            "--minutes",
            f"{allowed - 0.3:.2f}",
            *data,
            *trial,
            *map(str, places),
        ]
        done = self.process(command, allowed)
        if done.returncode:
            raise ValueError(f"paper.py ended with code {done.returncode}: {done.stderr.strip()[-300:]}")
        record = read_json(self.options.out / "paper_fashion_mnist_l2.json")
        kept = {name: record[name] for name in ("epochs_done", "accuracy")}
        return {**kept, "levels": record["note"]["levels"], "study_seconds": record["seconds"]}

    def run_dynunet(self, allowed: float) -> dict[str, Any]:
        """The hippocampus study with the bundle's DynUNet; its page goes to ``--out`` once it is whole."""
        if self.options.data is None:
            raise ValueError("Got no --data, expected the folder that holds Task04_Hippocampus.")
        folder = self.options.work / "dynunet"
        scans = self.options.data / "Task04_Hippocampus"
        command = ["benchmarks/hippocampus.py", "--data", str(scans), "--network", "dynunet", "--out", str(folder)]
        try:
            done = self.process([*command, "--workers", "3"], allowed - 0.2)
        except subprocess.TimeoutExpired:
            epochs = {file.parent.name: len(file.read_text().splitlines()) for file in folder.glob("*/epochs.jsonl")}
            return {"finished": False, "epochs": epochs}
        if done.returncode:
            raise ValueError(f"hippocampus.py ended with code {done.returncode}: {done.stderr.strip()[-300:]}")
        for file in RESULTS.glob("hippocampus_dynunet*"):
            shutil.copy(file, self.options.out)
        return {"finished": True}

    def process(self, command: Sequence[str], allowed: float) -> subprocess.CompletedProcess[str]:
        """Run Python in the repository for some minutes at most; what it started ends with it.

        Raises:
            subprocess.TimeoutExpired: if it takes longer.
        """
        path = os.pathsep.join([str(REPO), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path, "TQDM_DISABLE": "1"}
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(
            [sys.executable, *command], cwd=REPO, env=environment, start_new_session=True, **pipes
        ) as process:
            try:
                out, err = process.communicate(timeout=60 * allowed)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        return subprocess.CompletedProcess(command, process.returncode, out, err)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Break off what takes longer.

    Raises:
        OutOfTimeError: if it does.
    """

    def expire(number: int, frame: FrameType | None) -> None:
        raise OutOfTimeError(f"broken off after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def page(records: Mapping[str, Any]) -> list[str]:
    """The result page's paragraphs, of the parts that were run."""
    parts = {
        part: {item: record for item, record in items.items() if "not_run" not in record and "error" not in record}
        for part, items in records["parts"].items()
    }
    trial = " **A trial with tiny networks and batches: the figures say nothing.**" if records["tiny"] else ""
    cuda = f", CUDA {records['cuda']}" if records["cuda"] else ""
    paragraphs = [
        "# On a GPU",
        "\n".join(f"    {command}" for command in records["commands"]),
        f"{records['machine']}, {records['cores']} CPU cores; {named_values(records['versions'])}{cuda}.{trial}",
    ]
    for part, title in TITLES.items():
        if parts.get(part):
            paragraphs += [f"## {title}", *SECTIONS[part](parts[part], parts)]
    left = [
        [f"{part}, {item}", record.get("error") or record["not_run"]]
        for part, items in records["parts"].items()
        for item, record in items.items()
        if "error" in record or "not_run" in record
    ]
    if left:
        paragraphs += ["## Not run, or failed", table(["part", "why"], left)]
    return paragraphs


def _tests_section(items: Mapping[str, Any], parts: Mapping[str, Any]) -> list[str]:
    record = items["test_gpu.py"]
    failed = ["Failed:\n\n" + "\n".join(f"    {line}" for line in record["failed"])] if record["failed"] else []
    return [f"`python -m pytest -m gpu tests/test_gpu.py`: {record['last_line'].strip('= ')}.", *failed]


def _shares_section(items: Mapping[str, Any], parts: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, record in items.items():
        whole = record["step"]
        times = (record[key] for key in ("network_kernels", "all_kernels", "network_seconds"))
        cells = ["" if part is None else f"{1000 * part:.1f} ms, {part / whole:.1%}" for part in times]
        rows.append([name, f"{1000 * whole:.1f} ms", *cells])
    return [
        "The time of the kernels of the network's passes (the passes of one step, made once more without losses and "
        "optimizer; `torch.profiler`) over the median wall time of a step; beside it the kernels of a whole step, "
        "losses, attack and optimizer among them, and the wall time of the network's passes alone.",
        table(["network", "step", "the network's kernels", "all kernels", "the network's passes, wall time"], rows),
    ]


def _steps_section(items: Mapping[str, Any], parts: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, record in items.items():
        low, middle, high = record["ratio"]
        passes = "; ".join(f"{kind} {n['passes']} ({n['images']})" for kind, n in record["passes"].items())
        crossed = f"{record['boundary_fraction']:.0%}"
        ratio = f"{middle:.3f} ({low:.3f} to {high:.3f})"
        rows.append([name, f"{1000 * record['step']:.1f} ms", ratio, crossed, passes])
    rounds = sorted({record["rounds"] for record in items.values()})
    return [
        "Wall time of an iteration of MONAI's `SupervisedTrainer` with an `IMAHandler` (float32; cuDNN's convolutions "
        "in TF32, PyTorch's default) over that of a bare loop of the same passes: forward and input gradient with the "
        "same batch sizes, forward passes of the bisection, forward and backward of the losses, the optimizer's step. "
        f"{' or '.join(map(str, rounds))} pairs in turn after {WARM} for warming up: median (smallest to largest). "
        "SYNTHETIC images, the network's own answers as labels: every sample is attacked.",
        table(["network", "step", "step / bare loop", "samples that cross", "passes (images)"], rows),
        f"`{TRAINING}`: the clean batch and the noisy one.",
    ]


def _options_section(items: Mapping[str, Any], parts: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            item,
            f"{1000 * record['beside']:.1f} ms",
            f"{record['without'] / record['beside']:.2f}",
            f"{record['first']:.1f} s",
            f"{record['same']:.1%}",
            f"{record['apart']:.1e}",
        ]
        for item, record in items.items()
    ]
    head = ["network, option", "attack", "times as fast as without", "first call", "same decision", "distances apart"]
    return [
        "B-PGD of the training step alone, in evaluation mode, median of seven calls in turn with the same without the "
        "option; the largest relative difference of two distances to the boundary.",
        table(head, rows),
    ]


def _variants_section(items: Mapping[str, Any], parts: Mapping[str, Any]) -> list[str]:
    rows = []
    for item, record in items.items():
        plain = parts.get("steps", {}).get(item.partition(",")[0])
        against = "" if plain is None else f"{plain['step'] / record['step']:.2f}"
        rows.append([item, f"{1000 * record['step']:.1f} ms", against, f"{record['ratio'][1]:.3f}"])
    return [
        "The same step, the network under attack and in training wrapped, against the step of the plain network in "
        "float32, and against a bare loop of the same passes of the same network.",
        table(["network", "step", "times as fast as float32", "step / bare loop"], rows),
    ]


def _paper_section(items: Mapping[str, Any], parts: Mapping[str, Any]) -> list[str]:
    record = items["fashion_mnist, l2"]
    rows = [[name, *(f"{100 * value:.2f}" for value in values)] for name, values in record["accuracy"].items()]
    head = ["accuracy in %", *level_titles([0, *record["levels"]])]
    return [
        f"{record['epochs_done']} epochs, batches of 500: [paper_fashion_mnist.md](paper_fashion_mnist.md).",
        table(head, rows),
    ]


def _dynunet_section(items: Mapping[str, Any], parts: Mapping[str, Any]) -> list[str]:
    record = items["hippocampus"]
    if record["finished"]:
        return ["[hippocampus_dynunet.md](hippocampus_dynunet.md)."]
    return [f"Not finished; epochs done: {named_values(record['epochs']) or 'none'}."]


TITLES = {
    "tests": "Tests",
    "shares": "The network's share of a training step",
    "steps": "A training step beside a bare loop of its passes",
    "options": "Options of attacks: memory format, precision, compiler",
    "variants": "Training in another memory format or precision",
    "paper": "Fashion-MNIST as in the paper",
    "dynunet": "Hippocampus, DynUNet",
}
SECTIONS: dict[str, Callable[..., list[str]]] = {
    "tests": _tests_section,
    "shares": _shares_section,
    "steps": _steps_section,
    "options": _options_section,
    "variants": _variants_section,
    "paper": _paper_section,
    "dynunet": _dynunet_section,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts, and write records and page.

    Args:
        arguments: of the command line; ``--help`` lists them.

    Raises:
        SystemExit: with code 2 if an argument cannot be used.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        options.parts = chosen("part", options.parts, PARTS)
        options.networks = chosen("network", options.networks, NETWORKS)
    except ValueError as error:
        parser.error(one_line(error))
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("Got --device cuda, and there is no GPU here: expected --device cpu.")
    bench = Bench(options)
    bench.run()
    write_page(options.page, page(bench.records))
    print(f"Records: {bench.file}; page: {options.page}", flush=True)


def _command(options: argparse.Namespace) -> str:
    """The command line without the folders of this machine."""
    words = [f"--device {options.device}", f"--minutes {options.minutes:g}", *(["--tiny"] if options.tiny else [])]
    parts = [] if tuple(options.parts) == PARTS else [f"--parts {','.join(options.parts)}"]
    networks = [] if options.networks == list(NETWORKS) else [f"--networks {','.join(options.networks)}"]
    data = ["--data DIR"] if options.data else []
    return " ".join(["python benchmarks/gpu.py", *words, *parts, *networks, *data, "--out DIR"])


def _parser() -> CommandLine:
    parser = CommandLine(__doc__)
    parser.add_argument("--minutes", type=minutes, default=12.0, help="for all parts together; default 12")
    parser.add_argument("--parts", help=f"some of {','.join(PARTS)}; default all")
    parser.add_argument("--networks", help=f"some of {','.join(NETWORKS)}; default all")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="default cuda")
    parser.add_argument("--tiny", action="store_true", help="small networks and batches, for a trial")
    parser.add_argument("--data", type=Path, help="folder with fashion_mnist.npz and Task04_Hippocampus")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder for records; default runs/gpu")
    parser.add_argument("--work", type=Path, default=Path("runs/gpu"), help="folder for checkpoints; default runs/gpu")
    parser.add_argument("--page", type=Path, default=RESULTS / "gpu.md", help="default docs/results/gpu.md")
    return parser


if __name__ == "__main__":
    main()
