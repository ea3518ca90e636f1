"""Get CIFAR-10 or CIFAR-100 (Krizhevsky 2009), Python version, ready for the bundle ``cifar10_classification_ima``.

The address and the archives' MD5 checksums are their author's (https://www.cs.toronto.edu/~kriz/cifar.html), the files'
checksums torchvision's. The files are pickles, and are read by a reader that runs nothing in them.

    python data_scripts/get_cifar10.py --out DIR
    python data_scripts/get_cifar10.py --classes 100 --out DIR
"""

from __future__ import annotations

import sys

import fire
from public_files import PublicFiles, get_public_files

from monai_ima.data import read_cifar10, read_cifar100

URL = "https://www.cs.toronto.edu/~kriz/"

FILES = {
    10: PublicFiles(
        url=URL,
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
    100: PublicFiles(
        url=URL,
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
"""By number of classes."""


def get(
    out: str = "",
    from_dir: str | None = None,
    url: str | None = None,
    skip_checksum: bool = False,
    classes: int = 10,
    **unknown: object,
) -> None:
    """Download and unpack the archive, check and count; 170 MB.

    Args:
        out: folder to write to; required. Files that are there already are compared and left as they are.
        from_dir: folder that holds the files, or the archive cifar-10-python.tar.gz (cifar-100-python.tar.gz), at any
            depth; they are copied.
        url: address of a folder to download the archive from instead of the published one; a broken download is taken
            up where it stopped, and the archive is kept beside ``out``.
        skip_checksum: with from_dir or url: take files with other checksums than the published ones.
        classes: 10 for CIFAR-10, 100 for CIFAR-100.
        unknown: refused.
    """
    if not isinstance(classes, int) or classes not in FILES:
        print(f"Got --classes {classes}, expected 10 (CIFAR-10) or 100 (CIFAR-100).", file=sys.stderr)
        sys.exit(2)
    get_public_files(FILES[classes], out, from_dir, url, skip_checksum, unknown)


if __name__ == "__main__":
    fire.Fire(get, ["--", "--help"] if {"--help", "-h"} & set(sys.argv[1:]) else None)
