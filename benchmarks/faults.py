"""Is nothing lost where a process is killed? ``kill -9`` at random moments and while files are written, then resumed.

Every scenario runs once unbroken; then it is killed, resumed by the line that the documentation gives, and compared:
weights and margins of the last epoch, best weights and best score bit for bit, and of evaluations every figure. Half of
the kills come after a random part of the unbroken run's time, half while a file is being written. SYNTHETIC data, small
networks, one process at a time.

    python benchmarks/faults.py --trials 20
    python benchmarks/faults.py --trials 2 --scenarios evaluate,ecg --pages runs/faults

Each scenario leaves a small record, docs/results/records/faults/SCENARIO.json, written after every trial: what is in it
is not run again, so that the study goes on where it was. Writes docs/results/faults.md from all records; ends with exit
code 1 if anything differs.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from monai_ima.networks import FashionMNISTNet
from monai_ima.results.provenance import commit
from monai_ima.utils.weights import load_checkpoint
from studies import REPO, RESULTS, CommandLine, chosen, integer, replace_tree, setting, table, write_page, write_whole

LIMIT = 600.0
"""Seconds that a run may take."""
TRIES = 5
"""So many runs for each kill that is asked for: some end before it."""
SHORT = {"steps": 2, "margin_steps": 2, "val_steps": 2}
IMAGES = {"phantom_per_class": {"train": 8, "val": 4, "test": 4}}
VOLUMES = {"network": "small", "phantom_size": [24, 24, 24], "patch_size": [24, 24, 24], "phantom_scans": 6}
IGNORED = ("date", "command", "settings")
"""Of results.json: says when and where, not what was found."""


@dataclass(frozen=True)
class Scenario:
    """Something that can be killed.

    Attributes:
        title: for the page.
        prepare: makes what it needs in a folder.
        command: that runs it in that folder; True: to resume.
        outcome: what has to be the same in the end, by name.
    """

    title: str
    prepare: Callable[[Path], None]
    command: Callable[[Path, bool], list[str]]
    outcome: Callable[[Path], dict[str, Any]]


def training(bundle: str, epochs: int, **settings: Any) -> Scenario:
    """A bundle's training, resumed by ``--resume last``."""

    def command(folder: Path, resume: bool) -> list[str]:
        root = REPO / "bundles" / f"{bundle}_ima"
        places = {"bundle_root": root, "output_dir": folder / "log", "ckpt_dir": folder / "models"}
        values = {**places, "epochs": epochs, **settings, **({"resume": "last"} if resume else {})}
        return [*monai_run([root / "configs" / "train.json"]), *options(values)]

    def outcome(folder: Path) -> dict[str, Any]:
        return weights(folder / "models", "model")

    return Scenario(f"training, {bundle}", lambda folder: None, command, outcome)


def hardened() -> Scenario:
    """The training of a plain bundle that ``harden`` made an overlay for, resumed by ``--harden#resume last``."""

    def prepare(folder: Path) -> None:
        shutil.copytree(
            REPO / "bundles" / "ecg_classification_ima",
            folder / "ecg",
            ignore=shutil.ignore_patterns("eval", "*.pt"),
            dirs_exist_ok=True,
        )
        words = ["harden", "--bundle", str(folder / "ecg"), "--config", "train.json,train_ce.json", "--eps_max", "0.05"]
        words += ["--steps", "2", "--margin_steps", "2", "--val_steps", "2"]
        subprocess.run([sys.executable, "-m", "monai_ima", *words], check=True, stdout=subprocess.DEVNULL)

    def command(folder: Path, resume: bool) -> list[str]:
        configs = [folder / "ecg" / "configs" / name for name in ("train.json", "train_ce.json", "train_ima.json")]
        values = {"bundle_root": folder / "ecg", "epochs": 4, "batch_size": 16, "phantom_beats": BEATS}
        values |= {"train#handlers#0": {"_target_": "StatsHandler", "iteration_log": False}}
        return [*monai_run(configs), *options({**values, **({"harden#resume": "last"} if resume else {})})]

    def outcome(folder: Path) -> dict[str, Any]:
        return weights(folder / "ecg" / "models", "model_ima")

    return Scenario("training, hardened bundle", prepare, command, outcome)


def measuring(verb: str, outcome: Callable[[Path], dict[str, Any]], *words: str) -> Scenario:
    """``evaluate`` or ``attack``, resumed by the same command."""
    bundle = REPO / "bundles" / "fashion_mnist_classification_ima"

    def prepare(folder: Path) -> None:
        torch.manual_seed(0)
        torch.save(FashionMNISTNet().state_dict(), folder / "model.pt")

    def command(folder: Path, resume: bool) -> list[str]:
        values = {"bundle": bundle, "checkpoint": folder / "model.pt", "out": folder / "out", "batch_size": 4, **IMAGES}
        return [sys.executable, "-m", "monai_ima", verb, *options(values), *words]

    return Scenario(verb, prepare, command, outcome)


def monai_run(configs: Sequence[Path]) -> list[str]:
    """``python -m monai.bundle run`` with these configs."""
    return [sys.executable, "-m", "monai.bundle", "run", "--config_file", json.dumps([str(file) for file in configs])]


def options(values: dict[str, Any]) -> list[str]:
    """Values as options of a command line."""
    texts = {
        name: str(value) if isinstance(value, (str, Path)) else json.dumps(value) for name, value in values.items()
    }
    return [word for name, text in texts.items() for word in (f"--{name}", text)]


def weights(folder: Path, prefix: str) -> dict[str, Any]:
    """What a training leaves."""
    last = load_checkpoint(folder / f"{prefix}_last.pt")
    best = last.get("best") or last.get("validation")
    return {
        "last weights": last["model"],
        "margins": last.get("margins"),
        "best score": best,
        "best weights": load_checkpoint(folder / f"{prefix}.pt") if best and best["best"] is not None else None,
    }


def results(folder: Path) -> dict[str, Any]:
    """What an evaluation leaves."""
    content = json.loads((folder / "out" / "results.json").read_text(encoding="utf-8"))
    content["model"]["checkpoint"] = None
    return {"results": {name: value for name, value in content.items() if name not in IGNORED}}


def pictures(folder: Path) -> dict[str, Any]:
    """What an attack leaves."""
    return {"files": {file.name: file.read_bytes() for file in sorted((folder / "out").rglob("*.png"))}}


BEATS = {"train": 60, "val": 20, "test": 20}
SCENARIOS: dict[str, Scenario] = {
    "ecg": training("ecg_classification", 4, batch_size=16, phantom_beats=BEATS, **SHORT),
    "fashion_mnist": training("fashion_mnist_classification", 3, batch_size=16, **IMAGES, **SHORT),
    "hippocampus": training("hippocampus_segmentation", 3, batch_size=2, plain_epochs=1, **VOLUMES, **SHORT),
    "hardened": hardened(),
    "evaluate": measuring("evaluate", results, "--levels", "0,0.05,0.1", "--attack", "pgd20x1", "--minimum"),
    "attack": measuring("attack", pictures, "--eps", "0.1", "--attack", "pgd20x1"),
}


def equal(one: Any, two: Any) -> bool:
    """Bit for bit."""
    if isinstance(one, dict):
        return isinstance(two, dict) and one.keys() == two.keys() and all(equal(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(two) and all(map(equal, one, two))
    return torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two


def start(command: Sequence[str], log: Path) -> subprocess.Popen:
    """A process group of its own, one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    with open(log, "ab") as lines:
        return subprocess.Popen(command, stdout=lines, stderr=lines, env=environment, start_new_session=True)


def kill(process: subprocess.Popen) -> bool:
    """``kill -9`` to the process and its workers; False where it had ended."""
    running = process.poll() is None
    if running:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return running


def written(folder: Path, number: int, process: subprocess.Popen) -> None:
    """Wait until a file is being written for the ``number``-th time, or the process ends."""
    seen: set[tuple[str, int]] = set()
    while process.poll() is None and len(seen) < number:
        seen |= set(unfinished(folder))
        time.sleep(0.0005)


def unfinished(folder: Path) -> Iterator[tuple[str, int]]:
    """Files that are being written, with the number of what they are written on."""
    for file in folder.rglob(".*.part*"):
        try:
            yield file.name, file.stat().st_ino
        except OSError:
            continue


def trial(scenario: Scenario, folder: Path, seconds: float, source: random.Random, in_write: bool) -> bool:
    """Kill and resume; returns whether the process was killed before it had ended."""
    process = start(scenario.command(folder, False), folder / "log.txt")
    if in_write:
        written(folder, source.randint(1, 6), process)
    else:
        with suppress(subprocess.TimeoutExpired):
            process.wait(source.uniform(0.2, 1) * seconds)
    killed = kill(process)
    if not killed or (folder / "out" / "results.json").is_file():
        return killed
    resumed = start(scenario.command(folder, True), folder / "log.txt")
    if resumed.wait(LIMIT) != 0:
        raise RuntimeError(f"A resumed run ended with exit code {resumed.returncode}, see {folder / 'log.txt'}.")
    return killed


def measure(name: str, trials: int, out: Path, seed: int, file: Path) -> None:
    """Kill and resume so often, those times included that the record holds; runs that ended before do not count."""
    record = read_record(file, seed)
    if sum(record["killed"]) >= trials:
        return
    scenario = SCENARIOS[name]
    whole = replace_tree(out / name / "whole")
    scenario.prepare(whole)
    begin = time.monotonic()
    process = start(scenario.command(whole, False), whole / "log.txt")
    if process.wait(LIMIT) != 0:
        raise RuntimeError(f"The unbroken run ended with exit code {process.returncode}, see {whole / 'log.txt'}.")
    seconds = time.monotonic() - begin
    expected = scenario.outcome(whole)
    while sum(record["killed"]) < trials and len(record["killed"]) < trials * TRIES:
        number = len(record["killed"])
        folder = replace_tree(out / name / f"trial{number:02d}")
        scenario.prepare(folder)
        source = random.Random(f"{seed}/{name}/{number}")
        begin = time.monotonic()
        record["killed"].append(trial(scenario, folder, seconds, source, in_write=number % 2 == 1))
        if not record["killed"][-1]:
            seconds = min(seconds, time.monotonic() - begin)
        found = scenario.outcome(folder)
        for part in expected:
            record["equal"].setdefault(part, []).append(equal(expected[part], found[part]))
        record["commits"] = sorted({*record["commits"], commit() or "unknown"})
        record["setting"] = setting(1, "run")
        write_whole(file, json.dumps(record, indent=1) + "\n")
        print(f"{name} {sum(record['killed'])}/{trials} kills: {counts(record)}", flush=True)


def read_record(file: Path, seed: int) -> dict[str, Any]:
    """The record of a scenario; an empty one where there is none.

    Raises:
        ValueError: if it is of another seed.
    """
    if not file.is_file():
        return {"seed": seed, "commits": [], "setting": "", "killed": [], "equal": {}}
    record = json.loads(file.read_text(encoding="utf-8"))
    if record["seed"] != seed:
        raise ValueError(f"Record {file} is of --seed {record['seed']}, expected {seed}: move it away.")
    return record


def counts(record: dict[str, Any]) -> str:
    """How often each part of the outcome was that of the unbroken run."""
    return "; ".join(f"{part} {sum(values)}" for part, values in record["equal"].items())


def write_results(records: dict[str, dict[str, Any]], pages: Path) -> None:
    """The page."""
    rows = [
        [
            SCENARIOS[name].title,
            str(len(record["killed"])),
            str(sum(record["killed"])),
            counts(record),
            ", ".join(sorted({name[:9] for name in record["commits"]})),
        ]
        for name, record in records.items()
    ]
    settings = sorted({record["setting"] for record in records.values()})
    pages.mkdir(parents=True, exist_ok=True)
    write_page(
        pages / "faults.md",
        [
            "# Killed and resumed",
            f"    python benchmarks/faults.py --trials {max(sum(one['killed']) for one in records.values())}",
            "`kill -9` at a random moment, or while a file is written, then resumed; how often what is there in the "
            "end equals an unbroken run's, bit for bit. **SYNTHETIC data, small networks.** "
            f"{'; '.join(settings)}.",
            table(["scenario", "runs", "killed before the end", "equal to the unbroken run", "commit"], rows),
        ],
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the scenarios, write the page.

    Args:
        arguments: of the command line; ``--help`` lists them.

    Raises:
        SystemExit: with code 2 for bad use, 1 if a resumed run did not end as the unbroken one.
    """
    parser = CommandLine(__doc__)
    parser.add_argument("--trials", type=integer(1), default=20, help="kills of each scenario (20)")
    parser.add_argument("--scenarios", help=f"some of {', '.join(SCENARIOS)}, separated by commas; default: all")
    parser.add_argument("--seed", type=integer(0), default=0, help="of the moments (0)")
    parser.add_argument("--out", type=Path, default=Path("runs/faults"), help="folder for runs, emptied (runs/faults)")
    parser.add_argument("--records", type=Path, default=RESULTS / "records", help="folder for records")
    parser.add_argument("--pages", type=Path, default=RESULTS, help="folder for the page (docs/results)")
    given = parser.parse_args(arguments)
    try:
        names = chosen("scenario", given.scenarios, SCENARIOS)
    except ValueError as error:
        parser.error(str(error))
    files = {name: given.records / "faults" / f"{name}.json" for name in SCENARIOS}
    try:
        for name in names:
            measure(name, given.trials, given.out, given.seed, files[name])
        records = {name: read_record(file, given.seed) for name, file in files.items() if file.is_file()}
    except ValueError as error:
        parser.error(str(error))
    write_results(records, given.pages)
    lost = [name for name, record in records.items() if not all(map(all, record["equal"].values()))]
    if lost:
        print(f"Not equal to the unbroken run: {', '.join(lost)}.", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
