"""Get Fashion-MNIST (Xiao, Rasul & Vollgraf 2017, MIT licence) ready for ``fashion_mnist_classification_ima``.

Address and MD5 checksums are those of its authors (https://github.com/zalandoresearch/fashion-mnist), which torchvision
has too.
"""

from __future__ import annotations

import sys

import fire
from public_files import PublicFiles, get_public_files

from monai_ima.data import read_fashion_mnist

FILES = PublicFiles(
    url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    md5={
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    },
    read=read_fashion_mnist,
)


def get(
    out: str = "",
    from_dir: str | None = None,
    url: str | None = None,
    skip_checksum: bool = False,
    **unknown: object,
) -> None:
    """Download the four IDX files, check and count; 30 MB.

    Args:
        out: folder to write to; required. Files that are there already are compared and left as they are.
        from_dir: folder that holds the files at any depth; they are copied.
        url: address of a folder to download from instead of the published one; a broken download is taken up where it
            stopped.
        skip_checksum: with from_dir or url: take files with other checksums than the published ones.
        unknown: refused.
    """
    get_public_files(FILES, out, from_dir, url, skip_checksum, unknown)


if __name__ == "__main__":
    fire.Fire(get, ["--", "--help"] if {"--help", "-h"} & set(sys.argv[1:]) else None)
