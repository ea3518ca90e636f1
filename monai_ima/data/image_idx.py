"""Reader for IDX files, the format of MNIST and Fashion-MNIST."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np

__all__ = ["read_idx"]

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""Types of the values by the third byte of the file."""

GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """The array in an IDX file: two zero bytes, type, number of dimensions, their sizes (big-endian), the values.

    Args:
        path: the file; one that is compressed by gzip is known by its first bytes, whatever its name.

    Returns:
        the array in the machine's own byte order.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is damaged, cut short, longer than its header says, or no IDX file.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"File {file} does not exist, expected an IDX file.")
    content = _content(file)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in TYPES or content[3] == 0:
        raise ValueError(f"File {file} starts with the bytes {content[:4].hex()}, expected the header of an IDX file.")
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise ValueError(f"File {file} ends inside its header of {start} bytes, expected the sizes of the array there.")
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    dtype = np.dtype(TYPES[content[2]])
    expected = start + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise ValueError(f"File {file} holds {len(content)} bytes, expected {expected} for an array of shape {shape}.")
    values = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return values.astype(dtype.newbyteorder("="))


def _content(file: Path) -> bytes:
    content = file.read_bytes()
    if not content.startswith(GZIP_MAGIC):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"File {file} cannot be decompressed: {error}.") from error
