"""Fetch, compare and count the files of a public image data set: Fashion-MNIST, SVHN, CIFAR-10 or CIFAR-100."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from archives import check_digest, download, unpack
from scripting import check_one_source, check_options, refusals

from monai_ima.data import LabelledImages, read_cifar10, read_cifar100, read_fashion_mnist, read_svhn
from monai_ima.data.folders import as_table, is_visible

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


FILES = {
    "fashion_mnist": PublicFiles(
        url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        md5={
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
        read=read_fashion_mnist,
    ),
    "svhn": PublicFiles(
        url="http://ufldl.stanford.edu/housenumbers/",
        md5={
            "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
            "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
        },
        read=read_svhn,
    ),
    "cifar10": PublicFiles(
        url="https://www.cs.toronto.edu/~kriz/",
        md5={
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
        },
        read=read_cifar10,
        archive="cifar-10-python.tar.gz",
        archive_md5="c58f30108f718f92721af3b95e74349a",
    ),
    "cifar100": PublicFiles(
        url="https://www.cs.toronto.edu/~kriz/",
        md5={
            "train": "16019d7e3df5f24257cddd939b257f8d",
            "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
            "meta": "7973b15100ade9c7d40fb424638fde48",
        },
        read=read_cifar100,
        archive="cifar-100-python.tar.gz",
        archive_md5="eb9058c3a382ffc7106e4002c42a8d85",
    ),
}
"""Addresses are those of the authors, checksums of files those of the authors or torchvision."""

CIFAR = {10: "cifar10", 100: "cifar100"}
"""By number of classes."""


def command(data_set: str) -> Callable[..., None]:
    """The command line, as a function, of the script that gets a data set: a key of :data:`FILES`."""

    def get(
        out: str = "",
        from_dir: str | None = None,
        url: str | None = None,
        skip_checksum: bool = False,
        classes: int | None = None,
        **unknown: object,
    ) -> None:
        """Get what a folder lacks, check everything and count.

        Args:
            out: folder to write to; required. Files that are there already are compared and left as they are.
            from_dir: folder that holds the files, or the published archive, at any depth; they are copied.
            url: address of a folder to download from instead of the published one; a broken download is taken up where
                it stopped, and an archive is kept beside ``out``.
            skip_checksum: with from_dir or url: take files with other checksums than the published ones.
            classes: of CIFAR only: 10 (the default) or 100.
            unknown: refused.
        """
        name = data_set
        with refusals():
            if data_set not in CIFAR.values() and classes is not None:
                unknown = {"classes": classes, **unknown}
            elif classes is not None:
                if not isinstance(classes, int) or classes not in CIFAR:
                    raise ValueError(f"Got --classes {classes}, expected 10 (CIFAR-10) or 100 (CIFAR-100).")
                name = CIFAR[classes]
            check_options(unknown, "out, from_dir, url or skip_checksum", out)
            check_one_source(from_dir=from_dir, url=url)
            if skip_checksum and from_dir is None and url is None:
                raise ValueError(
                    "Got --skip_checksum alone, expected it with --from_dir or --url, for files of your own only."
                )
            _get(FILES[name], Path(str(out)).absolute(), from_dir, url, skip_checksum)

    return get


def _get(files: PublicFiles, target: Path, from_dir: str | None, url: str | None, skip_checksum: bool) -> None:
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
    print(f"{len(there)} of {len(files.md5)} files were there already.\n{counts}\nReady: {target}")


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
    """Download; a file with another checksum is not kept, so that the next run downloads it again."""
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
    counts = [(name, len(part), *np.bincount(part.label, minlength=classes)) for name, part in parts.items()]
    return as_table([("images", "all", *range(classes)), *counts])
