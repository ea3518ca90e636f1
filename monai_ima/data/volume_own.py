"""Volumes and labels of one's own, as data lists for training and evaluation."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from monai_ima.utils.checks import check_choice, check_count, check_path

from .folders import ALL, SPLITS, Datalist, Item, check_fractions
from .headers import read_header
from .kept_split import check_split_is_known
from .pairs import CHANNEL, check_grids, image_label_pairs
from .patients import patients_by_file
from .phantom import check_phantom
from .volume_files import channel_files
from .volume_msd import labelled_scans, volume_scans
from .volume_phantom import write_volume_phantom
from .volume_split import SplitLists, groups_split, names_any, split_scans

__all__ = ["own_scans", "own_volumes"]

PHANTOM = "hippocampus"

logger = logging.getLogger(__name__)


def own_volumes(
    images: str | os.PathLike | None = None,
    labels: str | os.PathLike | None = None,
    dataset_dir: str | os.PathLike | None = None,
    phantom_dir: str | os.PathLike = "synthetic_volumes",
    phantom_scans: int = 20,
    phantom_size: int | Sequence[int] | None = None,
    phantom_seed: int = 0,
    split: SplitLists | None = None,
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    seed: int = 0,
    patient_pattern: str | None = None,
    patient_csv: str | os.PathLike | None = None,
    evaluated: str | None = None,
    phantom: bool = True,
) -> Datalist:
    """Volumes with labels, split by a list or at random, no patient in two splits; or the SYNTHETIC phantom.

    The data are two folders (``images`` and ``labels``, see :func:`~monai_ima.data.image_label_pairs`) or one in the
    layout of the Medical Segmentation Decathlon (``dataset_dir``). Only headers are read. Without both, volumes of the
    hippocampus phantom are written and the log says so; of several processes one writes them while the others wait.

    Args:
        images: folder of images.
        labels: folder of labels.
        dataset_dir: folder with dataset.json, or with imagesTr and labelsTr.
        phantom_dir: where the phantom is written, or found again.
        phantom_scans: see :func:`~monai_ima.data.write_volume_phantom`.
        phantom_size: see :func:`~monai_ima.data.write_volume_phantom`.
        phantom_seed: see :func:`~monai_ima.data.write_volume_phantom`.
        split: ``{"train": ids, "val": ids, "test": ids}`` or a JSON file of that; None: at random, by scikit-learn's
            ``GroupShuffleSplit``. With the phantom it is ignored, as the next four are.
        fractions: shares of the patients in train, val and test of a random split; each gets one at least.
        seed: of the random split, from 0 to 2^32 - 1.
        patient_pattern: regular expression with one group, the patient, searched for in every image's file name.
        patient_csv: table of patients; without pattern and table every scan is a patient of its own.
        evaluated: the only split that will be used, which ``split`` must give; "all": all scans, not split. None: every
            split will be, for a training.
        phantom: the phantom may stand in for data; False for weights that were trained on scans of one's own.

    Returns:
        for each of train, val and test (or for ``"all"``) a list of ``{"image": file(s), "label": file, "sample_id":
        name}``, with ``"patient"`` where it is given, sorted by id.

    Raises:
        FileNotFoundError: if a folder or file is missing.
        ValueError: if images come without labels or with a dataset_dir, an image has no label or one on another grid,
            images are not 3-D or differ in their channels, there are too few scans, the split or the patients are not
            as expected, nothing says which scans the evaluated split has, or there are no data and no ``phantom``.
    """
    check_fractions(fractions)
    if evaluated is not None:
        check_choice("split", evaluated, (*SPLITS, ALL))
    items, root = _labelled(images, labels, dataset_dir)
    given = root is not None
    if root is None:
        check_phantom(phantom, "images and labels, or dataset_dir")
        logger.warning("No images or dataset_dir were given: these are SYNTHETIC scans (seed %d).", phantom_seed)
        root = write_volume_phantom(phantom_dir, PHANTOM, phantom_scans, phantom_size, phantom_seed)
        items, fractions, seed = labelled_scans(root), (0.7, 0.1, 0.2), 0
        split, patient_pattern, patient_csv = None, None, None
    check_grids(items)
    _check_volumes_alike(items)
    files = [Path(channel_files(item)[0]) for item in items]
    patients = patients_by_file(files, root.resolve(), patient_pattern, patient_csv)
    items = [item | ({"patient": patients[file]} if patients else {}) for file, item in zip(files, items, strict=True)]
    by_id = {item["sample_id"]: item for item in items}
    people = {sample_id: item.get("patient", sample_id) for sample_id, item in by_id.items()}
    if given and evaluated not in (None, ALL):
        known = split is not None and names_any(split, by_id, evaluated)
        check_split_is_known(known, str(evaluated), root, ("split", "split_name"))
    ids = split_scans(people, split, fractions, seed, root, evaluated, groups_split)
    logger.info("Scans in %s: %s.", root, ", ".join(f"{len(own)} {name}" for name, own in ids.items()))
    return {name: [by_id[sample_id] for sample_id in sorted(own)] for name, own in ids.items()}


def _labelled(
    images: str | os.PathLike | None, labels: str | os.PathLike | None, dataset_dir: str | os.PathLike | None
) -> tuple[list[Item], Path | None]:
    """The scans and the folder that they are in, which is None where none is given."""
    given = {"images": images, "labels": labels, "dataset_dir": dataset_dir}
    names = [name for name, folder in given.items() if folder not in (None, "")]
    if names not in ([], ["images", "labels"], ["dataset_dir"]):
        raise ValueError(f"Got {' and '.join(names)}, expected images and labels, or dataset_dir alone.")
    if names == ["dataset_dir"] and dataset_dir is not None:
        return labelled_scans(dataset_dir), Path(dataset_dir)
    if not names or images is None or labels is None:
        return [], None
    image_folder, label_folder = Path(check_path("images", images)), Path(check_path("labels", labels))
    return image_label_pairs(image_folder.resolve(), label_folder.resolve()), image_folder


def _check_volumes_alike(items: Sequence[Item]) -> None:
    """All images are 3-D and have as many channels as the first one."""
    first = channel_files(items[0])[0]
    expected = None
    for item in items:
        headers = [read_header(file) for file in channel_files(item)]
        file = channel_files(item)[0]
        for header in headers:
            if len(header.shape) != 3 or header.affine is None:
                raise ValueError(f"Image {file} is {len(header.shape)}-D, expected volumes of three axes in mm.")
        channels = sum(header.channels for header in headers)
        expected = channels if expected is None else expected
        if channels != expected:
            raise ValueError(f"Image {file} has {channels} channel(s), expected {expected} as {first} has.")


def own_scans(images: str | os.PathLike, channels: int) -> list[Item]:
    """The volumes of a folder, for inference by a network that takes so many channels.

    Args:
        images: folder of NIfTI files, see :func:`~monai_ima.data.volume_scans`.
        channels: of every image, in one file or in files called as in nnU-Net, ``case_0000``, ``case_0001``, ...

    Returns:
        ``{"image": file(s), "sample_id": name}`` for each, sorted by id.

    Raises:
        FileNotFoundError: if the folder is missing or holds no volumes.
        ValueError: if an image has another number of channels.

    Example:
        >>> import tempfile
        >>> from monai_ima.data import write_volume_phantom
        >>> root = write_volume_phantom(tempfile.mkdtemp(), "hippocampus", 1, 16)
        >>> [scan["sample_id"] for scan in own_scans(root / "imagesTr", 1)]
        ['hippocampus_000']
    """
    channels = check_count("channels", channels, 1)
    items = volume_scans(check_path("images", images))
    if channels > 1:
        items = _joined(items)
    for item in items:
        found = sum(read_header(file).channels for file in channel_files(item))
        if found != channels:
            raise ValueError(
                f"Image {channel_files(item)[0]} has {found} channel(s), expected {channels} as the network takes."
            )
    return items


def _joined(items: Sequence[Item]) -> list[Item]:
    """Images with a file for each channel as one item; others as they are."""
    cases: dict[str, list[str]] = {}
    for item in items:
        match = CHANNEL.fullmatch(item["sample_id"])
        cases.setdefault(match[1] if match else item["sample_id"], []).append(item["image"])
    return [
        {"image": files[0] if len(files) == 1 else files, "sample_id": name} for name, files in sorted(cases.items())
    ]
