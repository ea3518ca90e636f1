from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.utils import CommonKeys

from monai_ima.utils.checks import check_names, check_path
from monai_ima.utils.distributed import gather_all, rank
from monai_ima.utils.sample_ids import SAMPLE_ID

__all__ = ["ClassProbabilityCSV"]

logger = logging.getLogger(__name__)


class ClassProbabilityCSV:
    """Write class probabilities of every sample that an evaluator sees to one CSV file with a header.

    Columns: ``sample_id``, one per class, ``predicted``. The evaluator's postprocessing has turned logits into
    probabilities, and its batches hold ``sample_id``.

    Args:
        path: the file; it is written when the run is completed.
        classes: names of the classes in the order of the network's outputs.

    Raises:
        FileExistsError: (when the run starts) when the file exists.
        ValueError: (when the run ends) when predictions do not have as many values as there are classes.

    Example:
        >>> ClassProbabilityCSV("eval/predictions.csv", ["healthy", "ill"]).classes
        ['healthy', 'ill']
    """

    def __init__(self, path: str | Path, classes: Sequence[str]) -> None:
        self.path = Path(check_path("path", path))
        self.classes = check_names("classes", classes)
        self._rows: list[tuple[str, list[float]]] = []

    def attach(self, engine: Engine) -> None:
        """Hook into an evaluator.

        Args:
            engine: a ``SupervisedEvaluator``.
        """
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.save)

    def start(self, engine: Engine) -> None:
        """Forget an earlier run."""
        if self.path.exists():
            raise FileExistsError(f"File {self.path} exists already, expected a new one: give another output_dir.")
        self._rows.clear()

    def __call__(self, engine: Engine) -> None:
        """Keep a batch's probabilities."""
        decollated: Any = engine.state
        for item, output in zip(decollated.batch, decollated.output, strict=True):
            pred: torch.Tensor = output[CommonKeys.PRED]
            if pred.shape != (len(self.classes),):
                raise ValueError(
                    f"Sample {item[SAMPLE_ID]!r} has a prediction of shape {tuple(pred.shape)}, expected "
                    f"{len(self.classes)} class probabilities."
                )
            self._rows.append((item[SAMPLE_ID], [float(p) for p in pred]))

    def save(self, engine: Engine) -> None:
        """Write the file."""
        rows = sorted({sample_id: values for part in gather_all(self._rows) for sample_id, values in part}.items())
        if rank() > 0:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "x", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([SAMPLE_ID, *self.classes, "predicted"])
            for sample_id, values in rows:
                predicted = self.classes[max(range(len(values)), key=values.__getitem__)]
                writer.writerow([sample_id, *(f"{value:.6f}" for value in values), predicted])
        logger.info("Class probabilities of %d samples written to %s.", len(rows), self.path)
