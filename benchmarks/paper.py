"""IMA as in the paper, on all images of a data set: as many of its 60 epochs as fit into the minutes given.

The bundle's network and settings are the paper's; δ is ε_n/60 however many epochs fit. The training ends at an epoch's
end, in time for 100-step PGD with 2 restarts and APGD (soft logit margin, difference of logits ratio) on all test
images at the levels of ``compare.json``. Their time is estimated before, from above: as if no sample were ever broken.

    python benchmarks/paper.py --bundle fashion_mnist --data DIR --minutes 12
    python benchmarks/paper.py --bundle fashion_mnist --data DIR --minutes 12 --resume model_checkpoint_epoch=9.pt

Given again, the command resumes after the last epoch of ``runs/paper``, or of a checkpoint brought from another
machine: weights, optimizer, margins, trainer and the epochs' figures are in that one file. Writes
docs/results/paper_NAME.md (L∞: ``paper_NAME_full_linf.md``), with the paper's figures beside, and a record,
docs/results/records/paper_NAME_NORM.json.
Without ``--data`` the bundle's SYNTHETIC phantom is used. Uses the GPU when there is one.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from ignite.engine import Engine, Events

from compare_records import RecordError, check_note, write_record
from compare_run import fingerprints, margin_summary, open_run_folder, open_study, test_items, training_settings, where
from compare_study import WHITE_BOX, Study
from monai_ima.attacks import PGD, attack_from_name, attack_mode
from monai_ima.evaluation.classification import ClassificationEvaluator
from monai_ima.results.provenance import machine
from monai_ima.utils.errors import one_line
from monai_ima.utils.tensors import first_output
from studies import RESULTS, CommandLine, bundle_training, integer, last_epoch, minutes, named_values, table, write_page

EPOCHS = 60
PAPER = {
    ("fashion_mnist", "l2"): {
        "the later supplement, after 60 epochs": [88.98, 80.73, 69.64, 47.62, 32.42],
        "the later supplement, after 20 of these": [90.91, 80.91, 66.72, 34.08, 8.27],
    },
    ("svhn", "l2"): {"the later supplement": [89.69, 85.01, 76.82, 60.50, 31.90]},
}
"""Accuracies in per cent without an attack and at the levels of ``compare.json``, under 100-PGD x 2."""

TIMED_STEPS, WHITE_BOX_STEPS = 10, 400
RESERVE = 1.25
"""By how much an epoch or the attacks may take longer than estimated."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, attack, and write page and record.

    Args:
        arguments: of the command line; ``--help`` lists them.

    Raises:
        SystemExit: with code 2 if an argument or a checkpoint cannot be used.
    """
    begin = time.monotonic()
    parser = _parser()
    options = parser.parse_args(arguments)
    study = Study.of_options(options, epochs=EPOCHS, batch_size=options.batch_size, full=True)
    try:
        study.check()
        test_items(study)
        progress, checkpoint = _opened(study, options.resume)
    except (OSError, ValueError) as error:
        parser.error(one_line(error))
    deadline = begin + 60 * options.minutes
    checkpoint = _train(study, progress, checkpoint, deadline)
    record = _attack(study, progress, checkpoint, _command(options))
    write_record(options.records / f"paper_{study.key}.json", record)
    options.pages.mkdir(parents=True, exist_ok=True)
    page = options.pages / (f"paper_{study.name}.md" if study.norm == "l2" else f"paper_{study.name}_full_linf.md")
    write_page(page, _page(study, record))
    print(f"Page: {page}\nCheckpoint to resume from: {checkpoint}", flush=True)


class Progress:
    """What a training has done so far; a part of its checkpoint.

    Attributes:
        note: what is trained, :meth:`Study.note`.
        epochs: for each epoch its number, seconds and metrics.
        machine: of the last epoch.
        evaluators: whose metrics belong to an epoch.
    """

    def __init__(self, note: Mapping[str, Any]) -> None:
        self.note = dict(note)
        self.epochs: list[dict[str, Any]] = []
        self.machine = ""
        self.evaluators: list[Engine] = []
        self._begin = 0.0

    def attach(self, engine: Engine) -> None:
        """Hook into a trainer, before its checkpoints are saved."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.epoch_start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.epoch_end)

    def epoch_start(self, engine: Engine) -> None:
        """Start the clock."""
        self._begin = time.monotonic()

    def epoch_end(self, engine: Engine) -> None:
        """Note and print the epoch's figures."""
        states = [engine.state, *(evaluator.state for evaluator in self.evaluators)]
        metrics = {name: round(float(value), 5) for state in states for name, value in state.metrics.items()}
        epoch = {"epoch": engine.state.epoch, "seconds": round(time.monotonic() - self._begin, 2), **metrics}
        self.epochs.append(epoch)
        self.machine = _here()
        print(", ".join(f"{name} {value:g}" for name, value in epoch.items()), flush=True)

    def epoch_seconds(self) -> float | None:
        """How long the next epoch may take; None where no epoch of this machine is known."""
        return self.epochs[-1]["seconds"] if self.epochs and self.machine == _here() else None

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"note": self.note, "epochs": self.epochs, "machine": self.machine}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        self.epochs, self.machine = list(state["epochs"]), state["machine"]


def fits(seconds_left: float, epoch_seconds: float, attack_seconds: float) -> bool:
    """Whether one more epoch and the attacks fit into the time left, with :data:`RESERVE`."""
    return RESERVE * (epoch_seconds + attack_seconds) <= seconds_left


def _opened(study: Study, resume: Path | None) -> tuple[Progress, Path | None]:
    """The progress of an earlier call and its last checkpoint, None without one.

    Raises:
        RecordError: if the checkpoint is of another training.
        FileNotFoundError: if there is no such checkpoint.
    """
    folder = open_run_folder(study, "ima")
    last = last_epoch(folder, "model")
    if resume is not None and last is not None:
        raise RecordError(f"Folder {folder} has checkpoints of its own, expected none with --resume.")
    progress = Progress(study.note("ima"))
    checkpoint = resume if last is None else last
    if checkpoint is not None:
        if not checkpoint.is_file():
            raise FileNotFoundError(f"Checkpoint {checkpoint} does not exist.")
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        if "progress" not in state:
            raise RecordError(f"Checkpoint {checkpoint} holds no progress, expected one that paper.py wrote.")
        check_note(checkpoint, state["progress"]["note"], progress.note)
        progress.load_state_dict(state["progress"])
    return progress, checkpoint


def _train(study: Study, progress: Progress, checkpoint: Path | None, deadline: float) -> Path:
    """Train until the time left is needed for the attacks; at least one epoch where none is known of this machine."""
    attack_seconds = None if checkpoint is None else _attack_seconds(study, checkpoint)
    if checkpoint is not None and attack_seconds is not None:
        epoch_seconds = progress.epoch_seconds()
        too_late = epoch_seconds is not None and not fits(deadline - time.monotonic(), epoch_seconds, attack_seconds)
        if too_late or len(progress.epochs) >= EPOCHS:
            return checkpoint
    folder = study.run_folder("ima")
    own = [study.methods["ima"].handler, *study.bundle_config["train"]["handlers"][1:], progress]
    settings = {**training_settings(study, "ima"), "train#handlers": own, "train#checkpoint#progress": progress}
    resume = None if checkpoint is None else str(checkpoint)
    workflow = bundle_training(study.bundle, folder, resume=resume, **settings)
    workflow.initialize()
    content = workflow.parser.get_parsed_content
    progress.evaluators = [content("validate#robust_evaluator"), content("validate#evaluator")]

    def stop_in_time(engine: Engine) -> None:
        nonlocal attack_seconds
        if attack_seconds is None:
            attack_seconds = _attack_seconds(study, _last(folder))
        if not fits(deadline - time.monotonic(), progress.epochs[-1]["seconds"], attack_seconds):
            engine.terminate()

    content("train#trainer").add_event_handler(Events.EPOCH_COMPLETED, stop_in_time)
    workflow.run()
    workflow.finalize()
    return _last(folder)


def _here() -> str:
    return machine("cuda" if torch.cuda.is_available() else "cpu")


def _last(folder: Path) -> Path:
    file = last_epoch(folder, "model")
    assert file is not None, "an epoch's end leaves a checkpoint"
    return file


def _attack_seconds(study: Study, checkpoint: Path) -> float:
    """The time of all attacks, from above: on a batch none of whose samples is broken, times all levels and batches."""
    loaded = open_study(study, checkpoint)
    batches: Any = loaded.data_loader
    with attack_mode(loaded.network):
        image, *_ = loaded.prepare_batch(next(iter(batches)), loaded.device)
        with torch.no_grad():
            predicted = first_output(loaded.network(image)).argmax(dim=1)
        attack = PGD(study.norm, TIMED_STEPS, 1, bounds=loaded.bounds)
        for _ in range(2):  # the first call is slower than the others on a GPU
            begin = time.monotonic()
            attack(loaded.network, image, predicted, study.levels[0] / 1000).success.tolist()
            seconds = time.monotonic() - begin
    seconds *= WHITE_BOX_STEPS / TIMED_STEPS * len(study.levels) * len(batches)
    print(f"The attacks may take {seconds:.0f} s.", flush=True)
    return seconds


def _attack(study: Study, progress: Progress, checkpoint: Path, command: str) -> dict[str, Any]:
    """Attack the test images; returns the record."""
    begin = time.monotonic()
    loaded = open_study(study, checkpoint)
    attacks = {name: attack_from_name(name, study.norm, loaded.bounds, loaded.criterion) for name in WHITE_BOX}
    evaluator = ClassificationEvaluator.of_bundle(loaded, attacks, study.seed)
    result = evaluator.run(loaded.data_loader, study.levels)
    accuracy = {
        " + ".join(WHITE_BOX[: place + 1]): [round(fmean(column), 5) for column in zip(*rows, strict=True)]
        for place, rows in enumerate(result.scores().values())
    }
    return {
        "note": progress.note,
        "command": command,
        **where(loaded, f"{torch.get_num_threads()} thread(s)"),
        "epochs_done": len(progress.epochs),
        "seconds": {
            "training": round(sum(epoch["seconds"] for epoch in progress.epochs), 1),
            "attacks": round(time.monotonic() - begin, 1),
        },
        **fingerprints(loaded),
        "margins": margin_summary(checkpoint),
        "accuracy": accuracy,
        "epochs": {str(epoch["epoch"]): epoch for epoch in progress.epochs},
    }


def _page(study: Study, record: Mapping[str, Any]) -> list[str]:
    done, note, margins = record["epochs_done"], record["note"], record["margins"]
    handler = note["handler"]
    network, optimizer = (note[part].rpartition(".")[2] for part in ("network", "optimizer"))
    rows = dict(PAPER.get((study.name, study.norm), {}))
    for name, values in record["accuracy"].items():
        rows[f"here, after {done} of {EPOCHS} epochs: {name}"] = [100 * value for value in values]
    head = ["IMA, accuracy in %", *study.level_titles]
    names = list(dict.fromkeys(name for epoch in record["epochs"].values() for name in epoch))
    epochs = [[f"{epoch[name]:g}" if name in epoch else "" for name in names] for epoch in record["epochs"].values()]
    delta = "ε_n" if handler["update_interval"] == 1 else f"{handler['update_interval']}ε_n"
    return [
        f"# {study.config['title']}: IMA as in the paper, {study.norm_title}",
        f"{study.data_title}; {record['samples']['count']} test samples; {network} ({record['parameters']} "
        f"parameters), {optimizer}; ε in units of intensity, samples scaled to [0, 1].",
        f"    {record['command']}",
        f"Config ids: {named_values(note['training'])}; the bundle's validation samples are not trained on. "
        f"ε_n = {study.eps_n:g}, δ = {delta}/{EPOCHS}, β = {handler['beta']:g}, "
        f"B-PGD with {handler['steps']} steps, margin pass with "
        f"{handler['margin_steps']} and {handler['binary_steps']} bisections. One seed ({study.seed}); the weights "
        f"after epoch {done} of {EPOCHS}. The paper gives no batch size; its attack is 100-step PGD, run twice.",
        table(head, [[name, *(f"{value:.2f}" for value in values)] for name, values in rows.items()]),
        f"Margins of the {margins['count']} training samples: mean {margins['mean']:.4g}, median "
        f"{margins['median']:.4g}, share at ε_n {margins['share_at_eps_max']:.3f}.",
        f"{record['machine']}; {named_values(record['versions'])}; {record['seconds']['training']:.0f} s of training, "
        f"{record['seconds']['attacks']:.0f} s of attacks.",
        "## Epoch by epoch",
        table(names, epochs),
    ]


def _command(options: argparse.Namespace) -> str:
    """The command line without the folders of this machine."""
    names = ("bundle", "norm", "minutes", "batch_size", "subset", "test_subset")
    given = [f"--{name} {getattr(options, name)}" for name in names if getattr(options, name) is not None]
    return " ".join(["python benchmarks/paper.py", *given, *(["--data DIR"] if options.data else [])])


def _parser() -> CommandLine:
    parser = CommandLine(__doc__)
    parser.add_argument("--bundle", default="fashion_mnist", help="fashion_mnist (default), ecg, svhn or oct")
    parser.add_argument("--norm", default="l2", help="l2 or linf; default l2")
    parser.add_argument("--data", type=Path, help="folder of the data; without it the bundle's SYNTHETIC phantom")
    parser.add_argument("--minutes", type=minutes, default=12.0, help="of training and attacks together; default 12")
    parser.add_argument("--batch_size", type=integer(1), help="default: the bundle's; the paper gives none")
    parser.add_argument("--subset", type=integer(1), help="number of training images, for a trial")
    parser.add_argument("--test_subset", type=integer(1), help="number of test images, for a trial")
    parser.add_argument("--resume", type=Path, help="a checkpoint of this program, brought from another machine")
    parser.add_argument("--out", type=Path, default=Path("runs/paper"), help="folder for checkpoints")
    parser.add_argument("--records", type=Path, default=RESULTS / "records", help="folder for the record")
    parser.add_argument("--pages", type=Path, default=RESULTS, help="folder for the page")
    return parser


if __name__ == "__main__":
    logging.disable(logging.INFO)
    main()
