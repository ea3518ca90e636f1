"""The images of a bundle's evaluation as its network sees them; neither its network nor its weights are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.engines import default_prepare_batch
from monai.utils import CommonKeys
from torch.utils.data import SequentialSampler

from monai_ima.utils.errors import one_line, root_cause
from monai_ima.utils.sample_ids import batch_sample_ids, common_folder, item_file
from monai_ima.utils.tensors import plain

from .building import buildable, quiet_workflow
from .loading import added_sample_ids, find_evaluation
from .modules import make_importable
from .reading import evaluation_files

__all__ = ["BundleImages", "load_images"]


@dataclass(frozen=True)
class BundleImages:
    """The images that a bundle's evaluation loads.

    Attributes:
        loader: the evaluator's.
        prepare_batch: the evaluator's.
        channels: of the images that noise may change; None means all.
    """

    loader: Iterable[Any]
    prepare_batch: Callable[..., Any]
    channels: Sequence[int] | None

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Name and image ``[C, *spatial]`` of every sample, one by one.

        Raises:
            ValueError: if an image cannot be loaded; names the file where it is known.
        """
        root = common_folder(getattr(self.loader, "dataset", None))
        batches, count = iter(self.loader), 0
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except Exception as error:
                cause = one_line(root_cause(error)).rstrip(".")
                raise ValueError(
                    f"{self._failed(count)} cannot be loaded, expected a file that MONAI reads: {cause}."
                ) from error
            image = self.prepare_batch(batch, torch.device("cpu"))[0]
            yield from zip(batch_sample_ids(batch, image, root=root), plain(image).float(), strict=True)
            count += len(image)

    def _failed(self, start: int) -> str:
        """The first image from the ``start``-th on that cannot be loaded, by its file where that is known."""
        dataset = getattr(self.loader, "dataset", None)
        items = getattr(dataset, "data", None)
        if not isinstance(getattr(self.loader, "sampler", None), SequentialSampler) or not isinstance(items, Sequence):
            return "An image"
        for item, index in zip(items[start:], range(start, len(items)), strict=True):
            try:
                dataset[index]  # type: ignore[index]
            except Exception:
                return f"Image {item_file(item.get(CommonKeys.IMAGE)) or index}"
        return "An image"


def load_images(
    bundle: str | Path, config: str | None = None, channels: Sequence[int] | None = None, **overrides: Any
) -> BundleImages:
    """Build the loader of a bundle's evaluation. **This runs the bundle's own expressions.**

    Args:
        bundle: the bundle's folder.
        config: see :func:`~monai_ima.harden.reading.evaluation_files`.
        channels: of the images that noise may change; None: those that the config says.
        overrides: values of config ids.

    Raises:
        FileNotFoundError: if the folder is no bundle or has no such config.
        ValueError: if the config has no evaluator, or its loader cannot be built.
    """
    parts = find_evaluation(bundle, evaluation_files(bundle, config), overrides)
    root = parts.config.root
    make_importable(root)
    meta = root / "configs" / "metadata.json"
    with buildable(parts.config.files[-1]):
        workflow = quiet_workflow(
            parts.config.files,
            root,
            meta_file=str(meta) if meta.is_file() else None,
            **added_sample_ids(parts),
            **overrides,
        )
        workflow.initialize()
        prepare = parts.evaluator.at("prepare_batch")
        return BundleImages(
            loader=workflow.parser.get_parsed_content(parts.evaluator.at("val_data_loader")),
            prepare_batch=workflow.parser.get_parsed_content(prepare)
            if parts.config.get(prepare) is not None
            else default_prepare_batch,
            channels=parts.channels if channels is None else channels,
        )
