"""The progress line: samples, level, attack, and the time left of the whole evaluation; quiet where no terminal is."""

from __future__ import annotations

import io
import logging
import re
import sys
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from ignite.metrics import Accuracy
from monai.engines import SupervisedEvaluator, default_prepare_batch
from monai.handlers import from_engine
from torch import nn
from torch.utils.data import DataLoader

from monai_ima.attacks import PGD
from monai_ima.criteria import DiceCriterion
from monai_ima.engines import AdversarialPrepareBatch
from monai_ima.evaluation import ClassificationEvaluator, SegmentationEvaluator, evaluate, evaluator
from monai_ima.handlers import RobustValidation, validation_progress
from monai_ima.utils import progress as progress_module
from monai_ima.utils.progress import Progress

LEVELS = [0.05, 0.1, 0.2]


class Stream(io.StringIO):
    """What stderr is told; a terminal or a file."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    def lines(self) -> list[str]:
        return [line.strip() for line in re.split(r"[\r\n]", self.getvalue()) if line.strip()]


@pytest.fixture
def stderr(monkeypatch):
    """Puts a terminal, or a file, in the place of stderr; every line goes there that may, 200 characters wide."""

    def replace(terminal: bool) -> Stream:
        stream = Stream(terminal)
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(logging, "raiseExceptions", False)  # of handlers that earlier tests closed

        class Eager(progress_module._Line):
            def __init__(self, **settings: Any) -> None:
                super().__init__(**settings, ncols=200, mininterval=0)

        monkeypatch.setattr(progress_module, "_Line", Eager)
        return stream

    return replace


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def samples(count: int = 6) -> list[dict[str, Any]]:
    signals = torch.rand(count, 1, 5, generator=torch.Generator().manual_seed(7))
    return [{"image": signals[k], "label": torch.tensor(k % 2), "sample_id": f"s{k}"} for k in range(count)]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(5, 2))


STAGES = [("a", 1.0), ("b", 1.0), ("a", 2.0), ("b", 2.0)]
SECONDS = {None: 1.0, ("a", 1.0): 10.0, ("b", 1.0): 20.0, ("a", 2.0): 3.0, ("b", 2.0): 7.0}
"""For each sample."""


def test_the_time_left_is_exact_once_a_batch_is_through_where_samples_are_alike():
    clock = Clock()
    with Progress("", STAGES, total=9, shown=False, clock=clock) as progress:
        for size in (4, 4, 1):
            progress.begin(size)
            passed = progress.passed
            spent = 0.0
            for stage in (None, *STAGES):
                if stage is not None:
                    progress.stage(*stage)
                    if passed:
                        assert progress.remaining() == pytest.approx(41.0 * (9 - passed) - spent)
                spent += SECONDS[stage] * size
                clock.now += SECONDS[stage] * size
            progress.end()
            assert progress.remaining() == pytest.approx(41.0 * (9 - progress.passed))
        assert progress.passed == 9


def test_in_the_first_batch_the_stages_to_come_count_as_those_so_far():
    clock = Clock()
    progress = Progress("", STAGES, total=9, shown=False, clock=clock)
    assert progress.remaining() is None
    progress.begin(4)
    clock.now = 4.0
    progress.stage("a", 1.0)
    assert progress.remaining() is None  # the clean pass says nothing of the attacks
    clock.now += 40.0
    progress.stage("b", 1.0)
    assert progress.remaining() == pytest.approx(4 * 3 * 10.0 + 5 * (1.0 + 4 * 10.0))
    clock.now += 80.0
    progress.stage("a", 2.0)
    assert progress.remaining() == pytest.approx(4 * 2 * 15.0 + 5 * (1.0 + 10.0 + 20.0 + 2 * 15.0))


def test_stages_that_no_sample_reaches_take_no_time():
    clock = Clock()
    progress = Progress("", STAGES, total=3, shown=False, clock=clock)
    progress.begin(1)
    progress.stage("a", 1.0)
    clock.now += 5.0
    progress.end()
    assert progress.remaining() == pytest.approx(10.0)


def test_samples_that_others_do_are_not_waited_for_and_the_rest_is_shared():
    clock = Clock()
    progress = Progress("", [("a", 1.0)], total=20, processes=2, shown=False, clock=clock)
    clock.now = 1000.0  # reading what an earlier run has done
    progress.skip(4)
    progress.begin(2)
    progress.stage("a", 1.0)
    clock.now += 6.0
    progress.end()
    progress.skip(2)
    assert progress.passed == 8
    assert progress.remaining() == pytest.approx((20 - 8) * 3.0 / 2)


def test_later_stages_count_for_every_sample():
    clock = Clock()
    progress = Progress("", STAGES, total=2, later=2, shown=False, clock=clock)
    progress.begin(1)
    progress.stage("a", 1.0)
    clock.now += 8.0
    progress.end()
    assert progress.remaining() == pytest.approx(8.0 + 2 * 2 * 8.0 / 4)


def test_the_line_tells_the_time_left_when_a_batch_ends(stderr):
    terminal, clock = stderr(True), Clock()
    with Progress("work", [("a", 1.0)], total=3, clock=clock) as progress:
        progress.begin(1)
        progress.stage("a", 1.0)
        clock.now += 90.0
        progress.end()
        assert re.search(r"1/3 samples, ε 1 \(1/1\), a \[\d\d:\d\d<03:00\]$", terminal.lines()[-1])
        progress.skip(1)
        assert re.search(r"2/3 samples, ε 1 \(1/1\), a \[\d\d:\d\d<01:30\]$", terminal.lines()[-1])


def test_without_a_total_no_time_is_guessed():
    progress = Progress("", [("a", 1.0)], total=None, shown=False)
    progress.begin(1)
    progress.stage("a", 1.0)
    progress.end()
    assert progress.remaining() is None


def test_a_terminal_shows_samples_level_attack_and_time_left(stderr, tmp_path):
    terminal = stderr(True)
    loader = DataLoader(samples(5), batch_size=2)
    evaluate(network(), loader, LEVELS, "l2", "fgsm+pgd3", cases=0, out=tmp_path / "out")
    shown = [line for line in terminal.lines() if line.startswith("under attack")]
    assert "0/5 samples" in shown[0]
    assert re.search(r"100%\|#+\| 5/5 samples, ε 0.2 \(3/3\), uniform noise \[\d\d:\d\d<00:00\]$", shown[-1])
    pattern = r"(\d)/5 samples, (ε \S+ \(\d/3\)), ([a-z0-9 ]+) \[\d\d:\d\d<(\?|\d\d:\d\d)\]$"
    found = [match.groups() for line in shown if (match := re.search(pattern, line))]
    assert {done for done, *_ in found} == set("0245")
    assert {level for _, level, *_ in found} == {"ε 0.05 (1/3)", "ε 0.1 (2/3)", "ε 0.2 (3/3)"}
    assert {attack for _, _, attack, _ in found} == {"fgsm", "pgd3", "uniform noise"}
    assert found[0] == ("0", "ε 0.05 (1/3)", "fgsm", "?")
    assert all(left != "?" for done, *_, left in found if done != "0")
    line = terminal.getvalue()[terminal.getvalue().index("under attack") :].partition("pictures")[0]
    assert "\n" not in line.strip()


def test_a_log_file_has_one_line_for_each_batch_and_no_levels(stderr):
    log_file = stderr(False)
    runner = ClassificationEvaluator(network(), {"fgsm": PGD("l2", 2), "pgd3": PGD("l2", 3)})
    runner.run(DataLoader(samples(6), batch_size=2), LEVELS, samples=6)
    shown = log_file.lines()
    assert len(shown) <= 1 + 3 + 1  # at first, after each batch, at the end
    assert "6/6" in shown[-1]
    assert not [line for line in shown if "ε" in line or "pgd3" in line]


def test_nobody_is_told_where_no_line_is_wanted(stderr):
    terminal = stderr(True)
    ClassificationEvaluator(network(), PGD("l2", 2)).run(DataLoader(samples(), batch_size=2), LEVELS, progress=False)
    assert terminal.getvalue() == ""


def test_segmentations_report_every_level_and_attack(monkeypatch):
    seen = []

    class Recorded(Progress):
        def stage(self, attack: str, eps: float) -> None:
            seen.append((self.passed, attack, eps))
            super().stage(attack, eps)

    monkeypatch.setattr(evaluator, "Progress", Recorded)
    lowest = DiceCriterion("lowest")
    attacks = {"one": PGD("l2", 1, criterion=lowest), "two": PGD("l2", 2, criterion=lowest)}
    batches = [
        {"image": torch.rand(2, 1, 6, 6), "label": torch.ones(2, 1, 6, 6), "sample_id": [f"{k}a", f"{k}b"]}
        for k in range(2)
    ]
    runner = SegmentationEvaluator(nn.Conv2d(1, 2, 1), attacks)
    runner.run(batches, [0.0, 0.1, 0.2], progress=False, samples=4)
    expected = [(name, eps) for eps in (0.1, 0.2) for name in ("one", "two")]
    assert seen == [(passed, *stage) for passed in (0, 2) for stage in expected]
    assert runner.stages([0.0, 0.1, 0.2]) == expected


@pytest.mark.parametrize("batches", ["a loader's", "a list's"])
def test_the_whole_evaluation_is_counted_perturbations_included(batches, monkeypatch, tmp_path):
    made, reached = {}, {}

    class Recorded(Progress):
        def __init__(self, title: str, stages: list, total: int | None, **named: Any) -> None:
            self.title = title
            made[title] = (len(stages), total, named["unit"], named["later"], named["shown"])
            reached[title] = set()
            super().__init__(title, stages, total, **named)

        def stage(self, attack: str, eps: float) -> None:
            assert (attack, eps) in self.stages
            reached[self.title].add((attack, eps))
            super().stage(attack, eps)

        def end(self) -> None:
            super().end()
            made["passed"] = self.passed

    monkeypatch.setattr(evaluator, "Progress", Recorded)
    loader = DataLoader(samples(5), batch_size=2)
    given = loader if batches == "a loader's" else list(loader)
    options: dict[str, Any] = {"perturbation": "gain@10:40,baseline_wander@20", "minimum": True}
    evaluate(network(), given, LEVELS, "l2", "fgsm+pgd2", cases=0, out=tmp_path / "out", **options)
    assert made == {
        "under attack": (2 * 3 + 1 + 3, 5, "samples", 6 + 3, True),  # attacks, the smallest noise, uniform noise
        "gain": (2 * (2 + 1), 5, "samples", 3, True),
        "baseline_wander": (2 + 1, 5, "samples", 0, True),
        "passed": 5,
    }
    assert {name for name, _ in reached["under attack"]} == {"fgsm", "pgd2", "minimum", "uniform noise"}
    assert {stage for stage in reached["gain"] if stage[0] == "random draws"} == {
        ("random draws", size) for size in (10.0, 40.0)
    }


def robust_validation_of(tmp_path, **changed: Any) -> tuple[RobustValidation, SupervisedEvaluator]:
    """Of five samples in batches of two."""
    model = network()

    def make(**prepare: Any) -> SupervisedEvaluator:
        loader = DataLoader(samples(5), batch_size=2)
        metric = {"accuracy": Accuracy(from_engine(["pred", "label"]))}
        return SupervisedEvaluator(torch.device("cpu"), loader, model, key_val_metric=metric, **prepare)

    robust = make(prepare_batch=changed.get("prepare", AdversarialPrepareBatch(model, PGD("l2", 2), 0.25)))
    return RobustValidation(make(), robust, model, tmp_path, "model", min_clean=2.0), robust


def validate(validation: RobustValidation) -> None:
    trainer = Engine(lambda *_: None)
    validation.attach(trainer)
    validation.evaluator.run()
    assert set(trainer.state.metrics) == {"robust_accuracy"}


def test_robust_validation_shows_a_line_on_a_terminal_that_goes(stderr, tmp_path):
    terminal = stderr(True)
    validate(robust_validation_of(tmp_path)[0])
    shown = terminal.lines()
    assert all(line.startswith("robust validation:") for line in shown)
    for done in "024":
        pattern = rf"{done}/5 samples, ε 0.25 \(1/1\), PGD \[\d\d:\d\d<(\?|\d\d:\d\d)\]$"
        assert [line for line in shown if re.search(pattern, line)]
    assert "5/5 samples" in shown[-1]
    assert terminal.getvalue().endswith("\r")  # the line is gone, and no line feed left


@pytest.mark.parametrize("why", ["no terminal", "another process", "not under attack"])
def test_robust_validation_is_silent_elsewhere(why, stderr, monkeypatch, tmp_path):
    stream = stderr(why != "no terminal")
    if why == "another process":
        monkeypatch.setattr(validation_progress, "rank", lambda: 1)
    changed = {"prepare": default_prepare_batch} if why == "not under attack" else {}
    validate(robust_validation_of(tmp_path, **changed)[0])
    assert stream.getvalue() == ""


def test_a_run_that_fails_leaves_no_handlers_behind(stderr, tmp_path):
    stderr(True)
    outside = AdversarialPrepareBatch(network(), PGD("l2", 2, bounds=(5, 6)), 0.25)  # no image is inside
    validation, robust = robust_validation_of(tmp_path, prepare=outside)
    before = {event: len(handlers) for event, handlers in robust._event_handlers.items() if handlers}
    with pytest.raises(ValueError, match="expected"):
        validate(validation)
    assert {event: len(handlers) for event, handlers in robust._event_handlers.items() if handlers} == before
