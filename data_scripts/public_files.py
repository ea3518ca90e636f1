"""Fetch, compare and count the files of a public image data set; shared by the ``get_*.py`` scripts of such."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from archives import check_digest, download, unpack

from monai_ima.data import LabelledImages
from monai_ima.data.kermany import is_visible

Reader = Callable[[Path], tuple[LabelledImages, LabelledImages]]


@dataclass(frozen=True)
class PublicFiles:
    """A published data set of training and test images.

    Attributes:
        url: folder that holds the files, or the archive; ends in a slash.
        md5: published checksum of each file by its name; None for any.
        read: reads training and test images from a folder, and refuses what is damaged.
        archive: name of the archive that holds the files, where they are not published one by one.
        archive_md5: its published checksum; None for any.
    """

    url: str
    md5: Mapping[str, str | None]
    read: Reader
    archive: str | None = None
    archive_md5: str | None = None


def get_public_files(
    files: PublicFiles,
    out: str,
    from_dir: str | None,
    url: str | None,
    skip_checksum: bool,
    unknown: Mapping[str, object],
) -> None:
    """Get what ``out`` lacks, check everything and count; a failure is said in one line, with exit status 2.

    A file that is there already is compared and left as it is. A broken download is taken up where it stopped. An
    archive is kept beside ``out``.

    Args:
        files: the data set.
        out: folder to write to.
        from_dir: folder that holds the files, or the archive, at any depth; they are copied.
        url: where to download from instead of the published address.
        skip_checksum: take files with other checksums than the published ones.
        unknown: options that do not exist; refused.
    """
    try:
        _check_use(out, from_dir, url, skip_checksum, unknown)
        target = Path(str(out)).absolute()
        if target.exists() and not target.is_dir():
            raise FileExistsError(f"{target} is a file, expected a folder.")
        if skip_checksum:
            files = replace(files, md5=dict.fromkeys(files.md5), archive_md5=None)
        there = [name for name in files.md5 if (target / name).is_file()]
        for name in there:
            check_digest(target / name, files.md5[name], "md5")
        lacking = {name: md5 for name, md5 in files.md5.items() if name not in there}
        if lacking and from_dir is not None:
            _copy_from(Path(str(from_dir)), files, lacking, target)
        elif lacking:
            _download(url or files.url, files, lacking, target)
        counts = _read(files, target, lacking if skip_checksum else ())
    except (ValueError, OSError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)
    print(f"{len(there)} of {len(files.md5)} files were there already.\n{counts}\nReady: {target}")


def _check_use(
    out: str, from_dir: str | None, url: str | None, skip_checksum: bool, unknown: Mapping[str, object]
) -> None:
    if unknown:
        raise ValueError(f"Unknown option --{next(iter(unknown))}, expected out, from_dir, url or skip_checksum.")
    if out == "":
        raise ValueError("Option --out is missing, expected the folder to write to.")
    if from_dir is not None and url is not None:
        raise ValueError("Got several sources, expected one of --from_dir and --url.")
    if skip_checksum and from_dir is None and url is None:
        raise ValueError("Got --skip_checksum alone, expected it with --from_dir or --url, for files of your own only.")


def _copy_from(folder: Path, files: PublicFiles, lacking: Mapping[str, str | None], target: Path) -> None:
    if not folder.is_dir():
        raise FileNotFoundError(f"Folder {folder} does not exist, expected one that holds the files.")
    archive = _find(folder, files.archive) if files.archive else None
    if archive is not None and any(_find(folder, name) is None for name in lacking):
        check_digest(archive, files.archive_md5, "md5")
        _unpack(archive, lacking, target)
        return
    found = _checked(folder, f"Folder {folder}", lacking)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target, prefix=".copying-") as scratch:
        for name, file in found.items():
            copy = shutil.copyfile(file, Path(scratch) / name)
            copy.rename(target / name)


def _download(url: str, files: PublicFiles, lacking: Mapping[str, str | None], target: Path) -> None:
    base = url.rstrip("/")
    target.mkdir(parents=True, exist_ok=True)
    if files.archive is not None:
        _unpack(_fetch(f"{base}/{files.archive}", files.archive_md5, target.parent), lacking, target)
        return
    for name, md5 in lacking.items():
        _fetch(f"{base}/{name}", md5, target).rename(target / name)


def _fetch(url: str, md5: str | None, folder: Path) -> Path:
    """Download; a file with another checksum is not kept, so that the next try begins anew."""
    fetched = download(url, folder)
    try:
        check_digest(fetched, md5, "md5")
    except ValueError:
        fetched.unlink()
        raise
    return fetched


def _unpack(archive: Path, lacking: Mapping[str, str | None], target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target, prefix=".unpacking-") as scratch:
        unpacked = Path(scratch) / "unpacked"
        unpack(archive, unpacked)
        for name, file in _checked(unpacked, f"Archive {archive}", lacking).items():
            file.rename(target / name)


def _checked(folder: Path, source: str, lacking: Mapping[str, str | None]) -> dict[str, Path]:
    """The files below a folder, all there and with the expected checksums; ``source`` names the folder in errors."""
    found = {}
    for name, md5 in lacking.items():
        file = _find(folder, name)
        if file is None:
            raise FileNotFoundError(f"{source} holds no {name}, expected {', '.join(lacking)} in it.")
        check_digest(file, md5, "md5")
        found[name] = file
    return found


def _find(folder: Path, name: str) -> Path | None:
    """The uppermost visible file of that name."""
    found = [path for path in folder.rglob(name) if path.is_file() and is_visible(path.relative_to(folder))]
    return min(found, key=lambda path: (len(path.parts), path), default=None)


def _read(files: PublicFiles, target: Path, unverified: Iterable[str]) -> str:
    """Read everything and count; files without a checksum that cannot be read are not left behind."""
    try:
        train, test = files.read(target)
    except ValueError:
        for name in unverified:
            (target / name).unlink()
        raise
    classes = 1 + int(max(train.label.max(), test.label.max()))
    parts = {"train": train, "test": test}
    rows = [("images", "all", *range(classes)), *(_row(name, part, classes) for name, part in parts.items())]
    return "\n".join(f"{row[0]:8}" + "".join(f"{cell:>8}" for cell in row[1:]) for row in rows)


def _row(name: str, images: LabelledImages, classes: int) -> tuple[object, ...]:
    return (name, len(images), *np.bincount(images.label, minlength=classes).tolist())
