"""The checkpoints of one training in a folder."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from monai_ima.utils.files import whole_file
from monai_ima.utils.weights import load_checkpoint

__all__ = ["Checkpoints", "epoch_of"]

KEPT = 2
"""Checkpoints of that many last epochs are kept."""

EPOCH = re.compile(r"_checkpoint_epoch=(\d+)\.pt$")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoints:
    """``{prefix}_checkpoint_epoch=N.pt`` of the last epochs and ``{prefix}_last.pt``.

    Attributes:
        folder: need not exist.
        prefix: of the files' names.
    """

    folder: Path
    prefix: str

    @property
    def last(self) -> Path:
        """The file of a finished training."""
        return self.folder / f"{self.prefix}_last.pt"

    def of_epoch(self, epoch: int) -> Path:
        """The file of an epoch, 0 for the start."""
        return self.folder / f"{self.prefix}_checkpoint_epoch={epoch}.pt"

    def epochs(self) -> list[Path]:
        """The epochs' files that are there, the newest first."""
        start = f"{self.prefix}_checkpoint_epoch="
        files = self.folder.iterdir() if self.folder.is_dir() else ()
        found = [file for file in files if file.name.startswith(start) and EPOCH.search(file.name)]
        return sorted(found, key=epoch_in_name, reverse=True)

    def save(self, file: Path, content: Mapping[str, Any]) -> None:
        """Write a file, whole or not at all, and remove those of older epochs."""
        with whole_file(file) as unfinished:
            torch.save(dict(content), unfinished)
        epochs = self.epochs()
        for old in [*epochs[KEPT:], *(other for other in epochs[1:] if other == self.of_epoch(0))]:
            old.unlink(missing_ok=True)

    def newest(self) -> tuple[Path, Mapping[str, Any]] | None:
        """The newest checkpoint that is whole, and its content; None, and a warning, where there is none.

        That of a finished training is older than those of a training that went on from it.

        Raises:
            ValueError: if there are some, but none is whole.
        """
        finished = _whole(self.last) if self.last.is_file() else None
        ended = 0 if finished is None else epoch_of(finished)
        epochs = [file for file in self.epochs() if finished is None or epoch_in_name(file) > ended]
        for file in epochs:
            content = _whole(file)
            if content is not None:
                return file, content
        if finished is not None:
            return self.last, finished
        if epochs or self.last.is_file():
            raise ValueError(f"Every checkpoint of {self.prefix} in {self.folder} is damaged, expected one to resume.")
        logger.warning("No checkpoint of %s is in %s: training starts afresh.", self.prefix, self.folder)
        return None

    def replaced_by(self, start: tuple[Path, Mapping[str, Any]] | None, overwrite: bool) -> list[Path]:
        """The checkpoints of another training, or of a later part of the same one, in whose place a run trains.

        Args:
            start: the checkpoint that it goes on from, and its content; None: it starts afresh.
            overwrite: it may write over checkpoints after that; those before stay in any case.

        Raises:
            FileExistsError: if there are later ones that it may not write over.
        """
        finished = [self.last] if self.last.is_file() else []
        if start is None:
            return [*self.epochs(), *finished]
        file, epoch = start[0], epoch_of(start[1])
        if file.resolve().parent != self.folder.resolve() or file.resolve() == self.last.resolve():
            return []
        later = [other for other in self.epochs() if epoch_in_name(other) > epoch]
        later += [last for last in finished if (ended := _whole(last)) is None or epoch_of(ended) > epoch]
        if later and not overwrite:
            raise FileExistsError(
                f"File {later[0]} is of the training after {file}, and would be written over: expected resume='last', "
                "another folder, or overwrite=True."
            )
        return later

    def refuse_to_overwrite(self) -> None:
        """Refuse a new training in the place of another one's files.

        Raises:
            FileExistsError: if some are there; it names one.
        """
        weights = (self.folder / f"{self.prefix}{part}.pt" for part in ("", "_margins"))
        for file in (*weights, self.last, *self.epochs()):
            if file.exists() and file != self.of_epoch(0):
                raise FileExistsError(
                    f"File {file} exists, and a new training would write over it: expected another folder or name, "
                    "resume='last' to go on with it, or overwrite=True (of a hardened bundle --harden#resume last, "
                    "--harden#overwrite True)."
                )


def epoch_of(content: Mapping[str, Any]) -> int:
    """The epoch that a checkpoint's trainer had come to."""
    trainer = content.get("trainer", {})
    if "epoch" in trainer:
        return int(trainer["epoch"])
    return int(trainer.get("iteration", 0)) // max(1, int(trainer.get("epoch_length") or 1))


def epoch_in_name(file: Path) -> int:
    """The epoch that a file is named after."""
    match = EPOCH.search(file.name)
    return -1 if match is None else int(match[1])


def _whole(file: Path) -> Mapping[str, Any] | None:
    try:
        return load_checkpoint(file)
    except ValueError:
        logger.warning("Checkpoint %s is damaged: looking for an older one.", file)
        return None
