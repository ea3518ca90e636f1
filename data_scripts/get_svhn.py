"""Get the cropped house numbers of SVHN (Netzer et al. 2011, non-commercial use) ready for ``svhn_classification_ima``.

The address is that of its authors (http://ufldl.stanford.edu/housenumbers), MD5 checksums are torchvision's.
"""

from __future__ import annotations

import sys

import fire
from public_files import PublicFiles, get_public_files

from monai_ima.data import read_svhn

FILES = PublicFiles(
    url="http://ufldl.stanford.edu/housenumbers/",
    md5={
        "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
        "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
    },
    read=read_svhn,
)


def get(
    out: str = "",
    from_dir: str | None = None,
    url: str | None = None,
    skip_checksum: bool = False,
    **unknown: object,
) -> None:
    """Download the two MATLAB files, check and count; 250 MB.

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
