from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ignite.engine import Engine
from monai.handlers import CheckpointLoader, CheckpointSaver

__all__ = ["Resumable"]

KEPT = 2
"""Checkpoints of that many last epochs are kept."""


class Resumable:
    """Saves everything that an interrupted run needs, and resumes it.

    MONAI's ``CheckpointSaver`` and ``CheckpointLoader`` with the same dictionary, to which the trainer itself is added
    (in a bundle's config the trainer cannot be an argument of its own handler). Writes
    ``{prefix}_checkpoint_epoch=N.pt`` for the last two epochs and ``{prefix}_last.pt`` at the end.

    Args:
        folder: where checkpoints are written.
        prefix: of their names.
        objects: what is saved, by name; what is None is left out.
        resume: a checkpoint to resume from; None starts afresh.

    Example:
        >>> sorted(Resumable("models", "model", {"model": object(), "margins": None}).objects)
        ['model']
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        prefix: str,
        objects: Mapping[str, Any],
        resume: str | os.PathLike | None = None,
    ) -> None:
        self.folder = folder
        self.prefix = prefix
        self.objects = {name: value for name, value in objects.items() if value is not None}
        self.resume = resume

    def attach(self, engine: Engine) -> None:
        """Attach saver and loader.

        Args:
            engine: the trainer.
        """
        objects = {**self.objects, "trainer": engine}
        CheckpointSaver(
            save_dir=os.fspath(self.folder),
            save_dict=objects,
            file_prefix=self.prefix,
            save_interval=1,
            n_saved=KEPT,
            save_final=True,
            final_filename=f"{self.prefix}_last.pt",
        ).attach(engine)
        if self.resume is not None:
            loader = CheckpointLoader(os.fspath(self.resume), objects, map_location="cpu")  # type: ignore[arg-type]
            loader.attach(engine)
