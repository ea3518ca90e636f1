"""Adversarial images as files, on the grid and in the format of the images that they were made of."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from monai.data import PILReader, decollate_batch
from monai.transforms import LoadImaged, SaveImage
from tqdm import tqdm

from monai_ima.attacks import Attack, attack_mode
from monai_ima.attacks.channels import attacked_channels
from monai_ima.criteria import SegmentationCriterion
from monai_ima.inferers import gradient_inferer
from monai_ima.results.records import AttackedImage, mean_of_known
from monai_ima.results.run_folder import RecordFile
from monai_ima.utils.checks import check_channels
from monai_ima.utils.errors import SampleError
from monai_ima.utils.generators import per_sample_generators
from monai_ima.utils.outputs import choose_output
from monai_ima.utils.predictor import Predictor
from monai_ima.utils.sample_ids import batch_sample_ids, check_labels
from monai_ima.utils.workers import workers

from .batch import check_any, note_ids
from .loaded import LoadedBundle
from .network_check import NetworkCheck
from .own_grid import on_own_grid
from .share import Share

__all__ = ["names_of_images", "output_names", "save_attacked_images"]

RECORDS = "attacked.jsonl"

SUFFIX = re.compile(
    r"\.(nii|mha|mhd|nrrd|nhdr|img|hdr|dcm|png|jpe?g|bmp|gif|tiff?|webp|npy|npz|csv|txt|dat|mat|pt|h5|hdf5)(\.gz)?$",
    re.IGNORECASE,
)
"""What is cut from a sample id; the rest of it, such as the numbers of a DICOM UID, stays."""


def output_names(sample_ids: Sequence[str]) -> dict[str, str]:
    """A file name, below any folder, for every sample id.

    Known suffixes of image files are cut. Absolute paths are taken relative to the folder that holds all of them, so
    that nothing is written beside the originals; Windows' separators and ``..`` become folders and nothing.

    Args:
        sample_ids: of all samples.

    Raises:
        ValueError: if an id leaves no name, or two ids have the same one; it names both.

    Example:
        >>> output_names(["a/scan.nii.gz", "1.2.840.55", "1.2.840.56"])
        {'a/scan.nii.gz': 'a/scan', '1.2.840.55': '1.2.840.55', '1.2.840.56': '1.2.840.56'}
    """
    paths = {
        sample_id: PurePosixPath(re.sub(r"^[A-Za-z]:", "", sample_id.replace("\\", "/"))) for sample_id in sample_ids
    }
    absolute = [path.parent for path in paths.values() if path.is_absolute()]
    root = PurePosixPath(os.path.commonpath(absolute)) if absolute else PurePosixPath()
    names: dict[str, str] = {}
    taken: dict[str, str] = {}
    for sample_id, path in paths.items():
        below = path.relative_to(root) if path.is_absolute() else path
        name = SUFFIX.sub("", "/".join(part for part in below.parts if part != ".."))
        if not name or name.endswith("/"):
            raise ValueError(f"Sample id {sample_id!r} leaves no file name, expected one such as a file's.")
        other = taken.setdefault(name.casefold(), sample_id)
        if other != sample_id:
            raise ValueError(
                f"Samples {other!r} and {sample_id!r} would both be written to {name}_noisy, expected ids that differ "
                "by more than their suffix."
            )
        names[sample_id] = name
    return names


def names_of_images(loaded: LoadedBundle, limit: int | None = None) -> dict[str, str]:
    """The file name of every image that is to be attacked, by sample id; the data are read once.

    Args:
        loaded: the bundle.
        limit: that many images only, >= 1; None for all.

    Raises:
        ValueError: if there is no image, an id comes twice, two have the same file name, or the images have no such
            channels as are to be attacked, or the network predicts no sample independently of its batch.
    """
    sample_ids = _sample_ids(loaded, limit)
    check_any(sample_ids)
    return output_names(sample_ids)


def save_attacked_images(
    loaded: LoadedBundle,
    attack: Attack,
    eps: float,
    folder: Path,
    limit: int | None = None,
    seed: int = 0,
    names: Mapping[str, str] | None = None,
) -> list[AttackedImage]:
    """Attack a bundle's images and save them; batches that an interrupted run has written are left out.

    Args:
        loaded: the bundle.
        attack: what its images are attacked with.
        eps: perturbation budget, > 0, in the units that the network sees, or of the attack's perturbation.
        folder: to write to, new or of an interrupted run with the same arguments.
        limit: attack that many images only, >= 1; None for all.
        seed: of the random starts.
        names: of :func:`names_of_images` for the same arguments; None: they are found here.

    Returns:
        What became of each image.

    Raises:
        ValueError: as :func:`names_of_images`, or if an image cannot be attacked.
    """
    names = names_of_images(loaded, limit) if names is None else names
    folder.mkdir(parents=True, exist_ok=True)
    inferer = gradient_inferer(loaded.inferer)
    records = RecordFile(folder / RECORDS, AttackedImage, workers().rank)
    share = Share(records)
    done = {record.sample_id: record for record in share.begin(names)}
    seen = 0
    with attack_mode(loaded.network), workers().checked():
        for index, batchdata in enumerate(tqdm(loaded.data_loader, desc="attacking", disable=not workers().leader)):
            if limit is not None and seen >= limit:
                break
            image, label, *extra = loaded.prepare_batch(batchdata, loaded.device)
            sample_ids = batch_sample_ids(batchdata, image)
            check_labels(label, batchdata, image)
            wanted = sample_ids if limit is None else sample_ids[: limit - seen]
            seen += len(wanted)
            if all(sample_id in done for sample_id in wanted) or not share.claim(index):
                continue
            predictor = Predictor.prepared(inferer, loaded.network, len(image), extra)
            generators = per_sample_generators(f"{seed}/{eps}", sample_ids)
            try:
                result = attack(predictor, image, label, eps, generators)
            except SampleError as error:
                raise error.named(sample_ids) from None
            moved = label if result.label is None else result.label
            dice = _dice(loaded, predictor, ((image, label), (result.image, moved)))
            adversarial, clean = (decollate_batch(batch.detach().cpu()) for batch in (result.image, image))
            for sample_id, *pair in zip(wanted, adversarial, clean, strict=False):
                _save(folder / names[sample_id], pair[0], pair[1], loaded)
            unknown = result.clean_score.isnan().tolist()
            correct, broken = result.clean_correct.tolist(), (result.success & result.clean_correct).tolist()
            attacked = [
                AttackedImage(
                    sample_id=sample_id, correct=None if unknown[k] else correct[k], broken=broken[k], dice=dice[k]
                )
                for k, sample_id in enumerate(wanted)
            ]
            records.append(attacked)
            done |= {record.sample_id: record for record in attacked}
            share.deliver(index)
    done |= {record.sample_id: record for record in share.collect()}
    return [done[sample_id] for sample_id in names]


def _dice(
    loaded: LoadedBundle, predictor: Predictor, pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]
) -> list[tuple[float, float] | None]:
    """The mean foreground Dice of every image without noise and with it; None where its label has no foreground."""
    if not isinstance(loaded.criterion, SegmentationCriterion):
        return [None] * len(pairs[0][0])
    lowest = loaded.criterion.lowest_dice()
    with torch.no_grad():
        scores = [lowest.scores_by_class(choose_output(predictor(image), label=label), label) for image, label in pairs]
    means = zip(*([mean_of_known(row) for row in score.tolist()] for score in scores), strict=True)
    return [None if math.isnan(clean) else (clean, noisy) for clean, noisy in means]


def _sample_ids(loaded: LoadedBundle, limit: int | None) -> list[str]:
    """The ids of the samples that are attacked, known before work starts."""
    found: dict[str, None] = {}
    network_check = NetworkCheck(loaded)
    for batchdata in tqdm(loaded.data_loader, desc="sample ids", leave=False, disable=not workers().leader):
        if limit is not None and len(found) >= limit:
            break
        prepared = loaded.prepare_batch(batchdata, loaded.device)
        image = prepared[0]
        attacked_channels(check_channels(loaded.channels), image)
        note_ids(batch_sample_ids(batchdata, image), found)
        network_check(prepared)
    return list(found)[:limit]


def _save(stem: Path, noisy: torch.Tensor, clean: torch.Tensor, loaded: LoadedBundle) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    if noisy.ndim == 2:
        np.savetxt(f"{stem}_noisy.csv", noisy.numpy(), delimiter=",", fmt="%.8g")
        return
    if noisy.ndim == 3:
        noisy = noisy if loaded.channels is None else noisy[list(loaded.channels)]
        lo, hi = loaded.bounds or (float(noisy.min()), float(noisy.max()))
        picture = (noisy - lo) / ((hi - lo) or 1)
        writer = SaveImage(output_ext=".png", scale=255, resample=False, print_log=False, writer="PILWriter")
        writer.set_options(write_kwargs={"reverse_indexing": _axes_swapped(loaded)})
        writer(picture, filename=f"{stem}_noisy")
        return
    noise = noisy.clone()
    noise.copy_(noisy - clean)
    for name, volume in (("noisy", noisy), ("noise", noise)):
        restored = on_own_grid(volume, _transform(loaded), loaded.name)
        writer = SaveImage(output_ext=".nii.gz", resample=False, print_log=False, output_dtype="float32")
        writer(restored, filename=f"{stem}_{name}")


def _axes_swapped(loaded: LoadedBundle) -> bool:
    """Pictures are read as ``[C, width, height]``, MONAI's default, unless the bundle's reader was told otherwise."""
    transforms = getattr(_transform(loaded), "transforms", ())
    loaders = [t for t in transforms if isinstance(t, LoadImaged)]
    readers = [r for loader in loaders for r in loader._loader.readers if isinstance(r, PILReader)]
    return readers[-1].reverse_indexing if readers else bool(loaders)


def _transform(loaded: LoadedBundle) -> Any:
    return getattr(getattr(loaded.data_loader, "dataset", None), "transform", None)
