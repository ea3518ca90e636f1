"""Which samples trained, validated and tested, kept beside the weights, so that no evaluation tests what trained."""

from __future__ import annotations

import json
import os
from pathlib import Path

from monai_ima.utils.checks import check_path
from monai_ima.utils.distributed import rank
from monai_ima.utils.files import whole_file

from .folders import SPLITS, Datalist
from .volume_split import read_split

__all__ = ["check_split_is_known", "keep_split", "kept_split"]

SPLIT_FILE = "split.json"


def keep_split(folder: str | os.PathLike, datalist: Datalist, overwrite: bool = False) -> None:
    """Write down which samples train, validate and test; the first of several processes does.

    Args:
        folder: of the weights.
        datalist: of a training.
        overwrite: weights in the folder may have been trained on samples that test now.

    Raises:
        ValueError: if the split that is there trains or validates a sample that tests now, and must not be overwritten.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> keep_split(folder, {"train": [{"sample_id": "a.png"}], "val": [], "test": []})
        >>> Path(kept_split(folder)).name
        'split.json'
    """
    file = Path(check_path("folder", folder)) / SPLIT_FILE
    if rank() > 0:
        return
    ids = {name: [item["sample_id"] for item in datalist[name]] for name in SPLITS}
    if file.is_file() and not overwrite:
        kept = read_split(file)
        for name in ("train", "val"):
            if both := sorted({*kept[name]} & {*ids["test"]}):
                raise ValueError(
                    f"Folder {folder} holds weights with {both[0]} in {name}, which would test now, expected the split "
                    f"of {SPLIT_FILE}: name another ckpt_dir, or set overwrite."
                )
    with whole_file(file) as unfinished:
        unfinished.write_text(json.dumps(ids, indent=1) + "\n", encoding="utf-8")


def kept_split(folder: str | os.PathLike, overwrite: bool = False) -> str | None:
    """The file that :func:`keep_split` wrote into a folder; None where there is none, or ``overwrite`` is set."""
    file = Path(check_path("folder", folder)) / SPLIT_FILE
    return str(file) if file.is_file() and not overwrite else None


def check_split_is_known(known: bool, name: str, root: str | os.PathLike, options: tuple[str, str]) -> None:
    """Refuse an evaluation for which a split would have to be drawn: samples that trained could be in it.

    Args:
        known: lists of samples were given that name some of the data.
        name: of the split that is evaluated.
        root: the data, for the error.
        options: names of those that give the lists and the split's name, for the error.

    Raises:
        ValueError: if it is not known.

    Example:
        >>> check_split_is_known(True, "test", "data", ("split", "split_name"))
    """
    if not known:
        lists, choice = options
        raise ValueError(
            f"Nothing says which samples of {root} are the split {name}, expected their names in {SPLIT_FILE} beside "
            f"the weights, where a training keeps it, or in a file (--{lists} FILE), or every one (--{choice} all)."
        )
