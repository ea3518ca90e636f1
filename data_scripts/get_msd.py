"""Get a public task of the Medical Segmentation Decathlon ready: hippocampus, heart or prostate (CC BY-SA 4.0).

Addresses and MD5 checksums of the archives are those of MONAI's DecathlonDataset.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from archives import unpack_source
from monai.apps import DecathlonDataset
from scripting import check_one_source, check_options, find_unpacked, new_folder, refusals, run
from tqdm import tqdm

from monai_ima.data import check_volumes, volume_scans
from monai_ima.data.folders import is_visible
from monai_ima.data.volume_msd import labelled_scans
from monai_ima.data.volume_phantom import TASKS

ARCHIVES = {"hippocampus": "Task04_Hippocampus", "heart": "Task02_Heart", "prostate": "Task05_Prostate"}
"""Names of the tasks in ``DecathlonDataset``, and of the folders in their archives."""


def get(
    out: str = "",
    task: str = "",
    from_file: str | None = None,
    from_dir: str | None = None,
    skip_checksum: bool = False,
    **unknown: object,
) -> None:
    """Download, unpack, check and count the scans of a task.

    Args:
        out: folder to write to, empty or missing; required.
        task: hippocampus, heart or prostate; required.
        from_file: the archive, when it is here already; without it and from_dir it is downloaded: a broken download is
            taken up where it stopped, and the archive is kept beside ``out``.
        from_dir: a folder that holds the unpacked archive; its visible files are copied.
        skip_checksum: take a from_file with another checksum than the published one.
        unknown: refused.
    """
    with refusals():
        check_options(unknown, "out, task, from_file, from_dir or skip_checksum", out)
        if task not in ARCHIVES:
            raise ValueError(f"Got --task {task}, expected {', '.join(ARCHIVES)}.")
        check_one_source(from_file=from_file, from_dir=from_dir)
        if skip_checksum and from_file is None:
            raise ValueError("Got --skip_checksum without --from_file, expected it with an archive of your own only.")
        with new_folder(out) as (target, ready):
            find = partial(find_task, task=task)
            if from_dir is not None:
                copy_visible(find_unpacked(from_dir, find, target), ready)
            else:
                url, md5 = DecathlonDataset.resource[ARCHIVES[task]], DecathlonDataset.md5[ARCHIVES[task]]
                digest = None if skip_checksum else md5
                find(unpack_source(from_file, url, digest, "md5", target, ready)).rename(ready)
            counts = report(ready, task)
    print(counts)
    print(f"Ready: {target}")


def copy_visible(root: Path, ready: Path) -> None:
    """Copy a folder without its hidden files."""
    files = [path for path in root.rglob("*") if path.is_file() and is_visible(path.relative_to(root))]
    for file in tqdm(files, desc="copying"):
        copy = ready / file.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)


def find_task(folder: Path, task: str) -> Path:
    """The folder that holds dataset.json: the one with the task's published name, or the only one there is.

    Raises:
        ValueError: when there is none, or several.
    """
    files = [path for path in folder.rglob("dataset.json") if is_visible(path.relative_to(folder))]
    roots = sorted(file.parent for file in files)
    named = [root for root in roots if root.name == ARCHIVES[task]] or roots
    if len(named) != 1:
        found = f"{len(named)} folders with a dataset.json were found"
        raise ValueError(f"{found}, expected that of {ARCHIVES[task]} only.")
    return named[0]


def report(root: Path, task: str) -> str:
    """Check every labelled scan and count."""
    items = labelled_scans(root)
    check_volumes(items, len(TASKS[task].modality), len(TASKS[task].labels))
    others = {item["sample_id"] for item in volume_scans(root)} - {item["sample_id"] for item in items}
    return f"{len(items)} labelled scans, all readable; {len(others)} without a label."


if __name__ == "__main__":
    run(get)
