"""What MLflow and TensorBoard are told of clean and of robust evaluators, in one run and under names of their own."""

from __future__ import annotations

import json
import shutil

import pytest
from conftest import REPO
from ignite.engine import Engine
from monai.handlers import MLFlowHandler
from shell_commands import documented_commands, shell
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from monai_ima.handlers import SharedTracking

BUNDLES = sorted((REPO / "bundles").iterdir())


class Recorder(MLFlowHandler):
    """MONAI's handler without MLflow: notes what it would write, and when it would close its run."""

    def __init__(self, close_on_complete: bool) -> None:
        self.iteration_log, self.epoch_log, self.close_on_complete = False, True, close_on_complete
        self.noted: list[str] = []

    def start(self, engine: Engine) -> None:
        self.noted.append("start")

    def epoch_completed(self, engine: Engine) -> None:
        self.noted += engine.state.metrics

    def complete(self) -> None:
        pass

    def close(self) -> None:
        self.noted.append("close")


def engine_with(metric: str) -> Engine:
    return Engine(lambda engine, batch: engine.state.metrics.update({metric: batch}))


@pytest.mark.parametrize("closes", [False, True])
def test_both_evaluators_write_into_one_run_which_the_last_one_closes(closes):
    clean, robust = engine_with("accuracy"), engine_with("robust_accuracy")
    recorder = Recorder(closes)
    recorder.attach(clean)
    SharedTracking([None, recorder], clean).attach(robust)
    clean.run([0.5])
    robust.run([0.25])
    assert recorder.noted == ["start", "accuracy", "start", "robust_accuracy", *["close"] * closes]


def test_without_tracking_nothing_is_attached():
    clean, robust = engine_with("accuracy"), engine_with("robust_accuracy")
    SharedTracking([object()], clean).attach(robust)
    assert not any(robust._event_handlers.values())


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
@pytest.mark.parametrize("file", ["train.json", "evaluate.json"])
def test_no_metric_of_a_bundles_two_evaluators_has_the_others_name(bundle, file):
    config = json.loads((bundle / "configs" / file).read_text())
    part = config.get("validate", config)
    kinds = ("key_metric", "additional_metrics")
    clean, robust = ([*(name for kind in kinds for name in part.get(said + kind, ()))] for said in ("", "robust_"))
    assert clean
    assert robust
    assert not [name for name in clean if "robust" in name]
    assert [name.replace("robust_", "") for name in robust] == clean
    shared = [handler for handler in part["robust_handlers"] if "SharedTracking" in str(handler)]
    assert [handler["handlers"] for handler in shared] == [part["evaluator"]["val_handlers"]]


@pytest.mark.slow
def test_the_tracked_runs_of_the_documents_hold_clean_and_robust_metrics(tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is missing: pip install 'monai-ima[tracking]'")
    shutil.copytree(REPO / "bundles", tmp_path / "bundles", ignore=shutil.ignore_patterns("*_*.pt", "eval"))
    for command in documented_commands(REPO / "docs" / "howto" / "tracking.md"):
        shell(command, tmp_path)
    out = tmp_path / "bundles" / "ecg_classification_ima" / "eval"
    client = mlflow.MlflowClient(f"sqlite:///{out}/mlruns.db")
    (experiment,) = [e for e in client.search_experiments() if e.name == "monai_experiment"]
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert {name: run.info.status for name, run in runs.items()} == {"training": "FINISHED", "evaluation": "FINISHED"}

    def history(run: str, metric: str) -> dict[int, float]:
        return {point.step: point.value for point in client.get_metric_history(runs[run].info.run_id, metric)}

    tensorboard = EventAccumulator(str(out)).Reload()
    for metric in ("val_accuracy", "val_robust_accuracy"):
        written = {event.step: event.value for event in tensorboard.Scalars(metric)}
        assert list(written) == [2, 4]
        assert history("training", metric) == pytest.approx(written)
    assert list(history("training", "ima/margin_mean")) == [1, 2, 3, 4]
    accuracy, robust = history("evaluation", "accuracy")[1], history("evaluation", "robust_accuracy")[1]
    assert accuracy > 0.5
    assert robust < accuracy
