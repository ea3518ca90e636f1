"""Hardens every bundle of the public MONAI model zoo, trains and evaluates it: small copies, synthetic data, CPU.

Of each bundle a working copy is made below --out (model_zoo_copy.py) with small synthetic data (model_zoo_data.py;
model_zoo.json says what cannot be inferred). It is trained plainly for an epoch, so that the copy is known to work;
hardened by ``monai-ima harden --bundle COPY``; trained for an epoch by the line which that prints, attacks shortened;
and evaluated by ``monai-ima evaluate --bundle COPY --levels 0,0.01``, the attack shortened. Where the hardened training
stops, the copy is trained plainly again with other seeds, for longer: does that stop, too? Bundles that the table does
not know are only hardened: they should be refused with a true sentence.

    python benchmarks/model_zoo.py --zoo DIR --out DIR      (DIR is a clone of Project-MONAI/model-zoo)

The bundles ask for torchvision, einops, itk, pandas and tifffile. Each leaves a record in OUT/records; steps that stand
there are not run again, with --retry those that failed and what follows them are. What the steps print is in OUT/logs.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import chdir
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from monai.utils import optional_import

from model_zoo_copy import Entry, make_copy, read_config, training_config
from model_zoo_data import make_data
from monai_ima.cli.app import main as monai_ima_main
from monai_ima.harden.parts import find_parts
from monai_ima.harden.reading import read_training_config, readable
from monai_ima.utils.errors import one_line, root_cause
from studies import RESULTS, CommandLine, minutes, setting, table, write_page, write_whole

TABLE = Path(__file__).with_suffix(".json")
STEPS = ("plain", "harden", "hardened", "evaluate")
AGAIN, SEEDS, EPOCHS = "again", range(6), 6
"""The step that trains plainly again, with these seeds and for so many epochs each."""
IMPORTED = (
    "monai_ima.cli.evaluation_run",
    "monai_ima.engines",
    "monai_ima.handlers",
    "monai_ima.harden.overlay",
    "pandas",
    "skimage.measure",
    "torch.utils.tensorboard",
    "torchvision",
)
"""Modules that many steps need: imported once, for the processes of the steps are forked."""
SHORT = {
    "harden#handler#steps": 2,
    "harden#handler#margin_steps": 2,
    "harden#handler#binary_steps": 2,
    "harden#attack#steps": 2,
}
ATTACK = "pgd2x1"
LONGEST = 240
ABOUT = (
    "**Data and networks are synthetic and small**: of every bundle a copy with its own configs and scripts, crops "
    "and windows of 32 voxels (64 or 256 where a network needs them), few channels, three to twenty images in which "
    "every class occurs, drawn from the same seeds in every run; the packages that the bundles ask for are installed."
    " What is tested is that everything runs, not how robust anything becomes. Each copy is trained plainly for an "
    "epoch (two classifiers: four), hardened by `monai-ima harden --bundle COPY` without further options, trained for"
    " an epoch, validation under attack included, by the line that this prints, with attacks of 2 steps (once more "
    "with a threshold that every scan reaches, where none was correct), and evaluated by `monai-ima evaluate --bundle"
    f" COPY --levels 0,0.01 --attack {ATTACK}`."
)


@dataclass(frozen=True)
class Bundle:
    """A bundle of the zoo and what becomes of it.

    Attributes:
        source: its folder in the zoo.
        out: the folder of all that is made.
        entry: of the table; None where the table does not know the bundle.
        minutes: that a step may take.
    """

    source: Path
    out: Path
    entry: Entry | None
    minutes: float

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.source.name

    @property
    def copy(self) -> Path:
        """The working copy."""
        return self.out / "bundles" / self.name

    @property
    def record(self) -> Path:
        """What was found."""
        return self.out / "records" / f"{self.name}.json"

    def log(self, step: str) -> Path:
        """What a step printed."""
        return self.out / "logs" / f"{self.name}_{step}.txt"

    @property
    def overlay(self) -> Path:
        """The config that harden writes."""
        return self.copy / "configs" / "train_ima.json"


@dataclass
class Outcome:
    """What a step came to.

    Attributes:
        ok: it ran through.
        text: what was found, or the sentence or last line of the error.
        seconds: it took.
    """

    ok: bool
    text: str
    seconds: float = field(default=0.0)


def plain(bundle: Bundle) -> int:
    """Copy, data, and an epoch of the bundle's own training."""
    assert bundle.entry is not None
    make_copy(bundle.source, bundle.copy, bundle.entry)
    file = training_config(bundle.copy)
    assert file is not None, f"{bundle.name} has no training config"
    config = read_config(file)
    make_data(config, bundle.copy / "data", bundle.entry)
    run = "run" if "run" in config else "training"
    _monai_bundle(bundle.copy, [run, "--config_file", f"configs/{file.name}", "--bundle_root", "."])
    _place_weights(bundle.copy)
    return 0


def harden(bundle: Bundle) -> int:
    """``monai-ima harden --bundle COPY``, no further option."""
    if bundle.entry is None:
        shutil.rmtree(bundle.copy, ignore_errors=True)
        shutil.copytree(bundle.source, bundle.copy)
    bundle.overlay.unlink(missing_ok=True)
    return monai_ima_main(["harden", "--bundle", str(bundle.copy)])


def hardened(bundle: Bundle) -> int:
    """An epoch of the training whose line harden printed, attacks shortened; no error and robust weights are expected.

    A segmentation of which no sample was correct, as after so short a training is usual, is trained once more with a
    threshold that all samples reach, so that they are attacked.
    """
    lines = bundle.log("harden").read_text(encoding="utf-8").splitlines()
    line = next(line for line in lines if " -m monai.bundle run " in line and "torchrun" not in line)
    words = shlex.split(line)
    words = words[words.index("monai.bundle") + 2 :]
    words += [word for name, value in SHORT.items() for word in (f"--{name}", str(value))]
    weights = bundle.copy / "models" / "model_ima.pt"
    weights.unlink(missing_ok=True)
    _monai_bundle(bundle.copy, words)
    assert weights.is_file(), f"no {weights.name} was written"
    printed = bundle.log("hardened").read_text(encoding="utf-8", errors="replace")
    if "ima/correct_fraction: 0.0000" in printed and "threshold" in read_config(bundle.overlay)["harden"]:
        _monai_bundle(bundle.copy, [*words, "--harden#threshold", "relative:0.9", "--harden#overwrite", "True"])
    return 0


def evaluate(bundle: Bundle) -> int:
    """``monai-ima evaluate --bundle COPY --levels 0,0.01``, the attack shortened."""
    shutil.rmtree(bundle.copy / "eval" / "robustness", ignore_errors=True)
    return monai_ima_main(["evaluate", "--bundle", str(bundle.copy), "--levels", "0,0.01", "--attack", ATTACK])


def again(bundle: Bundle) -> int:
    """The bundle's own training with other seeds, each to its end or to its error."""
    file = training_config(bundle.copy)
    assert file is not None
    parts = find_parts(read_training_config(bundle.copy, file.name))
    words = [parts.run_id, "--config_file", f"configs/{file.name}", "--bundle_root", "."]
    words += [f"--{readable(parts.epochs_id)}", str(EPOCHS)]
    for seed in SEEDS:
        try:
            _monai_bundle(bundle.copy, [*words, "--initialize", f"['$monai.utils.set_determinism(seed={seed})']"])
            print(f"{AGAIN} {seed}: ok")
        except Exception as error:
            cause = root_cause(error)
            print(f"{AGAIN} {seed}: {type(cause).__name__}: {one_line(cause)}")
    return 0


WORK: dict[str, Callable[[Bundle], int]] = {
    "plain": plain,
    "harden": harden,
    "hardened": hardened,
    "evaluate": evaluate,
    AGAIN: again,
}


def _place_weights(root: Path) -> None:
    """The weights of the plain training as ``models/model.pt``, where the zoo's bundles have theirs."""
    target = root / "models" / "model.pt"
    found = [file for file in root.rglob("*.pt") if "search_code" not in file.name]
    found.sort(key=lambda file: ("key_metric" in file.name, file.stat().st_mtime))
    if not target.is_file() and found:
        shutil.copyfile(found[-1], target)


def _monai_bundle(root: Path, words: Sequence[str]) -> None:
    """``python -m monai.bundle run ...`` in the bundle's folder."""
    sys.argv = ["monai.bundle", "run", *words]
    sys.stdout.flush()
    sys.path.insert(0, str(root.resolve()))
    with chdir(root):
        runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)


def run_step(bundle: Bundle, step: str) -> Outcome:
    """Run a step in a process of its own."""
    log = bundle.log(step)
    log.parent.mkdir(parents=True, exist_ok=True)
    process = multiprocessing.get_context("fork").Process(target=_in_process, args=(bundle, step, log))
    start = time.monotonic()
    process.start()
    process.join(60 * bundle.minutes)
    if process.is_alive():
        process.kill()
        process.join()
        return Outcome(False, f"not done after {bundle.minutes:g} minutes", time.monotonic() - start)
    seconds, code = time.monotonic() - start, process.exitcode or 0
    if code < 0:
        return Outcome(False, f"killed by signal {-code}", seconds)
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    text = _found(bundle, step) if code == 0 else lines[-1] if lines else f"exit code {code}"
    return Outcome(code == 0, text, seconds)


def _found(bundle: Bundle, step: str) -> str:
    """What a step that ran through found: the task as harden and evaluate read it, how many samples were attacked."""
    printed = bundle.log(step).read_text(encoding="utf-8", errors="replace")
    if step == "harden":
        return next(line.split(maxsplit=1)[1] for line in printed.splitlines() if line.split()[:1] == ["task"])
    if step == "hardened":
        correct = re.findall(r"ima/correct_fraction: ([\d.]+)", printed)
        return f"ok, {float(correct[-1]):.0%} of the samples attacked"
    if step == "evaluate":
        results = read_config(bundle.copy / "eval" / "robustness" / "results.json")
        return f"ok, {results['task']} of {len(results['classes'])} classes"
    if step == AGAIN:
        ends = re.findall(rf"^{AGAIN} \d+: (.*)$", printed, re.MULTILINE)
        stopped = [end for end in ends if end != "ok"]
        last = f": {stopped[-1]}" if stopped else ""
        return f"{len(stopped)} of {len(ends)} plain trainings of {EPOCHS} epochs with other seeds stop, too{last}"
    return "ok"


def _in_process(bundle: Bundle, step: str, log: Path) -> None:
    """A step with its output in a file, whose last line says what went wrong."""
    with open(log, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        code = WORK[step](bundle)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException as error:
        traceback.print_exc()
        cause = root_cause(error)
        print(f"{type(cause).__name__}: {one_line(cause)}", file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def measure(bundle: Bundle, retry: bool) -> dict[str, Any]:
    """A bundle's record: what stands there, and the steps that do not."""
    record: dict[str, Any] = json.loads(bundle.record.read_text("utf-8")) if bundle.record.is_file() else {}
    if retry:
        failed = next((k for k, step in enumerate(STEPS) if step in record and not record[step]["ok"]), len(STEPS))
        record = {step: found for step, found in record.items() if step in STEPS[:failed]}
    for step in STEPS if bundle.entry is not None else ("harden",):
        if step not in record:
            _add(record, bundle, step)
        if not record[step]["ok"] and step != "hardened":
            break
    if not record.get("hardened", {"ok": True})["ok"] and AGAIN not in record:
        _add(record, bundle, AGAIN)
    return record


def _add(record: dict[str, Any], bundle: Bundle, step: str) -> None:
    """Run a step and write what it came to into the bundle's record."""
    outcome = run_step(bundle, step)
    text = outcome.text.replace(f"{bundle.out}/bundles/", "").replace(f"{bundle.out.resolve()}/bundles/", "")
    record[step] = {"ok": outcome.ok, "text": text, "seconds": round(outcome.seconds, 1)}
    bundle.record.parent.mkdir(parents=True, exist_ok=True)
    write_whole(bundle.record, json.dumps(record, indent=4) + "\n")
    print(f"{bundle.name:45} {step:9} {outcome.seconds:6.1f} s  {text}", flush=True)


def page_lines(records: dict[str, dict[str, Any]], zoo: Path) -> list[str]:
    """The page: what was run, and a row for each bundle."""
    trained = {name: record for name, record in records.items() if "plain" in record}
    others = {name: record for name, record in records.items() if "plain" not in record}
    passed = [name for name, record in trained.items() if all(step in record and record[step]["ok"] for step in STEPS)]
    known = json.loads(TABLE.read_text(encoding="utf-8"))
    notes = [f"- {name}: {known[name]['note']}" for name in trained if "note" in known.get(name, {})]
    head = ["bundle", "plain training", "`harden`", "hardened training", "`evaluate`"]
    return [
        "# The bundles of the MONAI model zoo, hardened",
        f"`python benchmarks/model_zoo.py --zoo DIR --out DIR`, {date.today()}, on {setting(1, 'run')}, "
        f"ignite {version('pytorch-ignite')}; model zoo {_commit(zoo)}.",
        ABOUT,
        f"{len(passed)} of {len(trained)} bundles pass all four.",
        table(head, ([name, *(_cell(record, step) for step in STEPS)] for name, record in trained.items())),
        *notes,
        "## Not trainable classifiers or segmentation networks",
        table(["bundle", "what `harden` says"], ([name, _cell(record, "harden")] for name, record in others.items())),
    ]


def _cell(record: dict[str, Any], step: str) -> str:
    found = record.get(step)
    if found is None:
        return "–"
    if found["ok"] and "plain" not in record:
        return f"accepted as {found['text']}, a refusal was expected"
    texts = [found["text"], *([record[AGAIN]["text"]] if step == "hardened" and AGAIN in record else [])]
    text = "; ".join(text if len(text) <= LONGEST else text[:LONGEST] + " ..." for text in texts)
    return text.replace("|", "\\|").replace("<", "&lt;")


def _commit(zoo: Path) -> str:
    """The commit of a clone."""
    command = ["git", "-C", str(zoo), "log", "-1", "--format=%h of %cs"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"commit {found.stdout.strip()}" if found.returncode == 0 else "of unknown commit"


def bundles_of(zoo: Path, out: Path, limit: float, name: str | None) -> list[Bundle]:
    """The bundles of a clone, or the one of that name.

    Raises:
        FileNotFoundError: if there are none.
    """
    folder = zoo / "models" if (zoo / "models").is_dir() else zoo
    known = json.loads(TABLE.read_text(encoding="utf-8"))
    sources = [path for path in sorted(folder.glob("*")) if (path / "configs").is_dir() and name in (None, path.name)]
    if not sources:
        raise FileNotFoundError(f"Folder {folder} holds no bundle {name or ''}, expected a clone of the model zoo.")
    return [Bundle(source, out, known.get(source.name), limit) for source in sources]


def main() -> None:
    """Measure the bundles and write the page."""
    parser = CommandLine(__doc__)
    parser.add_argument("--zoo", type=Path, required=True, help="clone of Project-MONAI/model-zoo")
    parser.add_argument("--out", type=Path, required=True, help="folder for copies, records and logs; not in the zoo")
    parser.add_argument("--bundle", help="only this one; no page is written")
    parser.add_argument("--page", type=Path, default=RESULTS / "model_zoo.md", help="page to write")
    parser.add_argument("--retry", action="store_true", help="run failed steps and those after them again")
    parser.add_argument("--minutes", type=minutes, default=10.0, help="that a step may take (10)")
    arguments = parser.parse_args()
    try:
        bundles = bundles_of(arguments.zoo, arguments.out.resolve(), arguments.minutes, arguments.bundle)
    except FileNotFoundError as error:
        parser.error(str(error))
    torch.set_num_threads(1)
    for module in IMPORTED:
        optional_import(module)
    records = {bundle.name: measure(bundle, arguments.retry) for bundle in bundles}
    if arguments.bundle is None:
        write_page(arguments.page, page_lines(records, arguments.zoo))
        print(f"Written: {arguments.page}")


if __name__ == "__main__":
    main()
