"""``benchmarks/paper.py``: it stops in time, goes on from one file anywhere, and measures what it left."""

from __future__ import annotations

import json

import pytest
import torch
from bundle_runs import load
from ignite.engine import Events
from small_beat_files import write_beats
from study_runs import correct_beats, refusal

import paper
from compare_run import training_settings
from compare_study import Study
from studies import bundle_training


class Program:
    """Calls of paper.py on one small data set."""

    def __init__(self, root):
        self.root = root
        self.beats = write_beats(root / "beats")

    def __call__(self, *arguments, runs="runs"):
        places = ["--out", self.root / runs, "--records", self.root / "records", "--pages", self.root / "pages"]
        study = ["--bundle", "ecg", "--norm", "linf", "--data", self.beats]
        paper.main(list(map(str, [*study, *places, *arguments])))
        return json.loads((self.root / "records" / "paper_ecg_linf.json").read_text())

    def checkpoints(self, runs="runs"):
        return sorted((self.root / runs / "ecg_linf" / "ima").glob("model_checkpoint_epoch=*.pt"))


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return Program(tmp_path_factory.mktemp("paper"))


@pytest.fixture(scope="module")
def first(program):
    """The record of a call without time: one epoch, because none is known yet."""
    return program("--minutes", "0")


def test_without_time_the_first_epoch_is_the_last(program, first):
    assert first["epochs_done"] == 1
    (checkpoint,) = program.checkpoints()
    state = load(checkpoint)
    assert state["margins"]["delta"] == pytest.approx(0.3 / 60)
    assert first["margins"]["mean"] == pytest.approx(state["margins"]["margins"].mean().item(), abs=1e-5)
    assert [epoch["epoch"] for epoch in state["progress"]["epochs"]] == [1]
    assert {"val_accuracy", "val_robust_accuracy", "ima/margin_mean"} <= set(first["epochs"]["1"])
    page = (program.root / "pages" / "paper_ecg_full_linf.md").read_text()
    assert "here, after 1 of 60 epochs: pgd100x2 + apgd100-ce + apgd100-dlr" in page


def test_the_record_is_of_the_weights_in_the_checkpoint(program, first):
    clean = correct_beats(program.checkpoints()[0], program.beats).double().mean().item()
    for values in first["accuracy"].values():
        assert values[0] == pytest.approx(clean)
        assert values == sorted(values, reverse=True)
    assert list(first["accuracy"]) == ["pgd100x2", "pgd100x2 + apgd100-ce", "pgd100x2 + apgd100-ce + apgd100-dlr"]


def test_given_again_without_time_it_only_attacks(program, first):
    before = {file: file.read_bytes() for file in program.checkpoints()}
    again = program("--minutes", "0")
    assert {file: file.read_bytes() for file in program.checkpoints()} == before
    for part in ("accuracy", "epochs", "margins", "weights_sha256"):
        assert again[part] == first[part]


def test_one_file_resumes_it_on_another_machine_as_if_never_interrupted(program, first):
    state = load(program.checkpoints()[0])
    state["progress"]["machine"] = "another machine, whose epochs say nothing of this one's"
    brought = program.root / "brought.pt"
    torch.save(state, brought)
    record = program("--minutes", "0", "--resume", brought, runs="elsewhere")
    assert list(record["epochs"]) == ["1", "2"]
    assert record["epochs"]["1"] == first["epochs"]["1"]
    resumed = load(program.checkpoints("elsewhere")[-1])

    folder = program.root / "unbroken"
    whole = Study("ecg", "linf", str(program.beats), epochs=60, full=True, runs=str(folder))
    workflow = bundle_training(whole.bundle, folder, **training_settings(whole, "ima"))
    workflow.initialize()
    trainer = workflow.parser.get_parsed_content("train#trainer")
    trainer.add_event_handler(Events.EPOCH_COMPLETED(once=2), lambda engine: engine.terminate())
    workflow.run()
    unbroken = load(folder / "model_checkpoint_epoch=2.pt")
    assert all(torch.equal(resumed["model"][key], value) for key, value in unbroken["model"].items())
    assert torch.equal(resumed["margins"]["margins"], unbroken["margins"]["margins"])
    assert whole.training["epochs"] == paper.EPOCHS


def test_an_epoch_is_begun_only_if_it_and_the_attacks_fit_with_a_quarter_more():
    assert paper.fits(50.1, epoch_seconds=10, attack_seconds=30)
    assert not paper.fits(49.9, epoch_seconds=10, attack_seconds=30)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--batch_size", "8"], "training.batch_size is 128 there and 8 here"),
        (["--resume", "nowhere.pt"], "has checkpoints of its own, expected none with --resume"),
        (["--subset", "8"], "Got subset for ecg"),
        (["--minute", "8"], "unrecognized arguments: --minute 8"),
    ],
    ids=["other settings", "two checkpoints", "no subset there", "misspelt"],
)
def test_what_cannot_be_used_is_one_sentence(program, first, capsys, arguments, sentence):
    assert sentence in refusal(program, capsys, *arguments)


def test_a_checkpoint_of_another_program_is_refused(program, first, capsys, tmp_path):
    torch.save({"model": {}}, tmp_path / "other.pt")
    for name, sentence in (("other.pt", "holds no progress"), ("none.pt", "does not exist")):
        assert sentence in refusal(program, capsys, "--resume", tmp_path / name, runs="new")
