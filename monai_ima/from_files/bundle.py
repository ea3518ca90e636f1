"""A model file and images as a bundle's folder, for the time of an evaluation and to keep."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from filecmp import cmp
from pathlib import Path
from typing import Any

import torch

from monai_ima.evaluation.loaded import LoadedBundle
from monai_ima.utils.files import check_can_be_made
from monai_ima.utils.weights import load_weights, weights_digest
from monai_ima.utils.workers import workers

from .configs import evaluation_config, metadata, training_config
from .model import LoadedModel, load_model
from .places import check_layout
from .reading import Files, find_files
from .settings import FileSettings, parsed_arguments
from .trial import Outputs, check_label_values, try_network

__all__ = ["FileBundle", "bundle_of_files"]

ROOT_WEIGHTS = "$@bundle_root + '/models/model.pt'"
ROOT_TORCHSCRIPT = "$@bundle_root + '/models/model.ts'"


@dataclass(frozen=True)
class FileBundle:
    """A model file and images, checked.

    Attributes:
        settings: as the user gave them.
        folder: a bundle of them, which is removed after the evaluation.
        files: the images and labels.
        model: the network.
        outputs: of the network.
    """

    settings: FileSettings
    folder: Path
    files: Files
    model: LoadedModel
    outputs: Outputs

    def adapted(self, loaded: LoadedBundle) -> LoadedBundle:
        """The loaded bundle, called after the user's own files in results.

        Args:
            loaded: that in ``folder``.
        """
        return replace(loaded, checkpoint=Path(str(self.settings.model)), data_folder=str(self.settings.images))

    def description(self) -> str:
        """The parts of the config that the options amount to, a line each."""
        config = self._evaluation(str(self.settings.model), str(self.settings.model))
        names = ("network_def", "datalist", "inferer", "criterion", "batch_size")
        lines = [f"  {name}: {json.dumps(config[name])}" for name in names]
        lines[2:2] = ["  preprocessing:", *(f"    {json.dumps(step)}" for step in self.files.transforms)]
        maps = "label maps" if self.files.classes is None else f"{len(self.files.classes)} classes"
        return "\n".join([f"{len(self.files.items)} images, {maps}; as a bundle's config:", *lines])

    def write(self, folder: Path) -> None:
        """Write a bundle that stands on its own.

        Args:
            folder: a new one.
        """
        self._write(folder, ROOT_WEIGHTS, ROOT_TORCHSCRIPT)
        (folder / "models").mkdir()
        torch.save(self.model.network.state_dict(), folder / "models" / "model.pt")
        if self.model.definition is None:
            shutil.copyfile(self.model.file, folder / "models" / "model.ts")

    def refer(self) -> None:
        """Write the bundle in :attr:`folder`, which takes weights and network from the user's own file."""
        file = str(self.model.file.resolve())
        self._write(self.folder, file, file)

    def _write(self, folder: Path, weights: str, torchscript: str) -> None:
        configs = {
            "evaluate": self._evaluation(weights, torchscript),
            "train": training_config(self.files, self.model, self.outputs, weights, torchscript),
            "metadata": metadata(self.files, self.model, self.outputs),
        }
        (folder / "configs").mkdir(parents=True)
        for name, content in configs.items():
            text = json.dumps(content, indent=4) + "\n"
            (folder / "configs" / f"{name}.json").write_text(text, encoding="utf-8")

    def _evaluation(self, weights: str, torchscript: str) -> dict[str, Any]:
        return evaluation_config(self.files, self.model, self.outputs, weights, torchscript)


@contextmanager
def bundle_of_files(settings: FileSettings) -> Iterator[FileBundle]:
    """A bundle of a model file and images, in a folder that is removed when the block ends.

    All is checked first. The bundle to keep, ``settings.save_bundle``, is written when the block has ended well, by one
    of several processes.

    Args:
        settings: with ``model`` and ``images``.

    Raises:
        FileExistsError: if there is something else where the bundle is to be written.
        FileNotFoundError: if a file or folder is missing.
        ValueError: if the files are not as expected, or do not go together.
    """
    if settings.labels is None:
        check_layout(Path(str(settings.images)))
    files = find_files(settings)
    arguments = None if settings.network_args is None else parsed_arguments(settings.network_args)
    model = load_model(str(settings.model), settings.network, arguments)
    outputs = try_network(model, files)
    if files.classes is None:
        check_label_values(files, outputs)
    with tempfile.TemporaryDirectory(prefix="monai_ima_") as folder:
        bundle = FileBundle(settings, Path(folder) / "evaluated", files, model, outputs)
        bundle.refer()
        with _kept(bundle, Path(folder) / "kept"):
            yield bundle


@contextmanager
def _kept(bundle: FileBundle, new: Path) -> Iterator[None]:
    """What ``save_bundle`` asks for: checked when the block begins, written when it has ended well."""
    if bundle.settings.save_bundle is None or not workers().leader:
        yield
        return
    target = Path(bundle.settings.save_bundle)
    check_can_be_made(target)
    bundle.write(new)
    there = target.exists() and (not target.is_dir() or any(target.iterdir()))
    if there:
        _check_same(new, target)
    yield
    if there:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as made:
        shutil.copytree(new, Path(made) / "bundle").replace(target)


def _check_same(new: Path, old: Path) -> None:
    """Refuse a folder that holds another bundle."""
    for file in sorted(path for path in new.rglob("*") if path.is_file()):
        other = old / file.relative_to(new)
        same = other.is_file() and (
            weights_digest(load_weights(other)) == weights_digest(load_weights(file))
            if file.suffix == ".pt"
            else cmp(file, other, shallow=False)
        )
        if not same:
            raise FileExistsError(
                f"Folder {old} holds something else than this bundle ({file.relative_to(new)} differs), expected a new "
                "folder: give another --save_bundle."
            )
