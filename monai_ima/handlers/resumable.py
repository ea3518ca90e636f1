from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint
from torch import nn

from monai_ima.utils.checks import check_instance, check_path, check_text
from monai_ima.utils.distributed import gather_all, rank
from monai_ima.utils.predictor import unwrap
from monai_ima.utils.random_states import RandomStates
from monai_ima.utils.weights import load_checkpoint

from .checkpoints import Checkpoints
from .one_training import TrainingLock
from .schedules import check_schedule, schedule_settings

__all__ = ["Resumable"]

NEWEST = "last"

logger = logging.getLogger(__name__)


class Resumable:
    """Saves everything that an interrupted run needs, and resumes it exactly.

    Writes ``{prefix}_checkpoint_epoch=N.pt`` for the last two epochs (and for the start, until there is another) and
    ``{prefix}_last.pt`` at the end, each whole or not at all, after all other handlers of the epoch. To the objects it
    adds the trainer itself (in a bundle's config the trainer cannot be an argument of its own handler) and the states
    of all random generators: Python's, NumPy's, torch's, and those of the training data's transforms.

    Args:
        folder: where checkpoints are written.
        prefix: of their names.
        objects: what is saved, by name; what is None is left out.
        resume: a checkpoint to resume from; ``"last"`` for the newest one in the folder that is whole, the start if
            there is none; None starts afresh.
        overwrite: a run that starts afresh, or from a checkpoint before the newest, may write over files of the same
            prefix: checkpoints of the training that it takes the place of are removed when it starts.

    Example:
        >>> sorted(Resumable("models", "model", {"model": nn.Linear(1, 1), "margins": None}).objects)
        ['model']
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        prefix: str,
        objects: Mapping[str, Any],
        resume: str | Path | None = None,
        overwrite: bool = False,
    ) -> None:
        self.checkpoints = Checkpoints(Path(check_path("folder", folder)), check_text("prefix", prefix))
        given = check_instance("objects", objects, Mapping, "a dictionary of objects with a state_dict")
        self.objects = {name: value for name, value in given.items() if value is not None}
        self.resume = resume
        self.overwrite = overwrite

    def attach(self, engine: Engine) -> None:
        """Find the checkpoint to resume from; hook into the start of training.

        Args:
            engine: the trainer.

        Raises:
            FileNotFoundError: if the checkpoint does not exist.
            FileExistsError: if the run starts afresh, or from an older checkpoint, and would write over files that are
                there; when it starts, if another process trains in the folder under the same prefix.
            ValueError: if the checkpoint is torn, or ``"last"`` finds none that is whole.
        """
        self.checkpoint: tuple[Path, Mapping[str, Any]] | None = None
        if self.resume is not None:
            given = str(self.resume) != NEWEST
            self.checkpoint = (Path(self.resume), load_checkpoint(self.resume)) if given else self.checkpoints.newest()
        if self.checkpoint is None and not self.overwrite:
            self.checkpoints.refuse_to_overwrite()
        self._replaced = self.checkpoints.replaced_by(
            self.checkpoint, overwrite=self.overwrite or str(self.resume) == NEWEST
        )
        self._lock = TrainingLock(self.checkpoints.folder, self.checkpoints.prefix)
        engine.add_event_handler(Events.STARTED, self._start)

    def _start(self, engine: Engine) -> None:
        """Resume, and save from now on, after all other handlers."""
        if rank() == 0:
            self._lock.take()
            for replaced in self._replaced:
                replaced.unlink(missing_ok=True)
        self._replaced = []
        self._random = RandomStates(getattr(engine.state.dataloader, "dataset", None))
        if self.checkpoint is not None:
            self._load(engine, *self.checkpoint)
            self.checkpoint = None
        else:
            self._save_epoch(engine)
        if not engine.has_event_handler(self._save_epoch):
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._save_epoch)
            engine.add_event_handler(Events.COMPLETED, self._save_last)
            engine.add_event_handler(Events.COMPLETED, self._lock.give_back)

    def _load(self, engine: Engine, file: Path, content: Mapping[str, Any]) -> None:
        objects = {**self.objects, "trainer": engine}
        missing = sorted(set(objects) - set(content))
        if missing:
            raise ValueError(
                f"Checkpoint {file} holds no {missing[0]}, expected one that this training wrote, with "
                f"{', '.join(sorted(objects))}."
            )
        epochs = engine.state.max_epochs
        schedules = {name: schedule_settings(value) for name, value in self.objects.items()}
        Checkpoint.load_objects(to_load={k: _bare(v) for k, v in objects.items()}, checkpoint=dict(content))
        engine.state.max_epochs = epochs
        if epochs is not None and engine.state.epoch > epochs:
            raise ValueError(
                f"Checkpoint {file} is of epoch {engine.state.epoch}, expected one of the {epochs} epochs of this "
                "training."
            )
        for name, settings in schedules.items() if engine.state.epoch != epochs else ():
            check_schedule(file, self.objects[name], settings)
        states = content.get("random_states", [])
        if rank() < len(states):
            self._random.load_state_dict(states[rank()])
        logger.info("Training goes on after epoch %d, from %s.", engine.state.epoch, file)

    def _save_epoch(self, engine: Engine) -> None:
        self._save(engine, self.checkpoints.of_epoch(engine.state.epoch))

    def _save_last(self, engine: Engine) -> None:
        self._save(engine, self.checkpoints.last)

    def _save(self, engine: Engine, file: Path) -> None:
        states = gather_all(self._random.state_dict())
        if rank() == 0:
            content = {key: _bare(value).state_dict() for key, value in {**self.objects, "trainer": engine}.items()}
            self.checkpoints.save(file, {**content, "random_states": states})


def _bare(value: Any) -> Any:
    return unwrap(value) if isinstance(value, nn.Module) else value
