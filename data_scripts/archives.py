"""Download, compare and unpack the archives of public data sets; shared by the ``get_*.py`` scripts."""

from __future__ import annotations

import hashlib
import stat
import tarfile
import urllib.request
import zipfile
import zlib
from http.client import HTTPException
from pathlib import Path, PureWindowsPath
from urllib.error import HTTPError
from urllib.parse import unquote, urlparse

from tqdm import tqdm

CHUNK = 1 << 20
LIMIT = 64 << 30
"""Bytes that an archive may unpack to, eight times what the largest of these data sets (OCT) does."""


def download(url: str, folder: Path) -> Path:
    """Download into ``folder``, resuming from the ``.part`` file of an interrupted download.

    The file's name holds a digest of the address, so that no other address's file is taken for it.

    Returns:
        the file; one that is complete already is not downloaded again.

    Raises:
        OSError: when the server does not answer, or sends less than it announced.
        ValueError: when the address is not one of http or https.
    """
    if urlparse(url).scheme not in ("http", "https"):
        raise ValueError(f"Got the address {url!r}, expected one that begins with http:// or https://.")
    name = Path(unquote(urlparse(url).path)).name or "archive"
    done = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{name}"
    part = done.with_name(f"{done.name}.part")
    if done.is_file():
        return done
    try:
        total = _fetch(url, part)
    except (OSError, HTTPException) as error:
        raise OSError(f"Cannot download {url} ({error}): run it again to go on from {part}.") from error
    found = part.stat().st_size
    if total is not None and found != total:
        raise OSError(f"Download of {url} broke off at {found} of {total} bytes: run it again to go on from {part}.")
    part.rename(done)
    return done


def _fetch(url: str, part: Path) -> int | None:
    """Append to ``part`` what it lacks; returns the size that the server announces for the whole file."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except HTTPError as error:
        if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{have}":
            return have
        raise
    with answer:
        if answer.status == 206 and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise OSError(f"the server sent another part than the one from byte {have}")
        start = have if answer.status == 206 else 0
        length = answer.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        with (
            open(part, "ab" if start else "wb") as file,
            tqdm(total=total, initial=start, unit="B", unit_scale=True, desc="downloading") as bar,
        ):
            while block := answer.read(CHUNK):
                file.write(block)
                bar.update(len(block))
    return total


def check_digest(archive: Path, expected: str | None, kind: str) -> None:
    """Compare an archive's checksum of some kind, such as "sha256"; None means that only the file must be there.

    Raises:
        FileNotFoundError: when the archive does not exist.
        ValueError: when the checksum differs.
    """
    if not archive.is_file():
        raise FileNotFoundError(f"Archive {archive} does not exist, expected a zip or tar file.")
    if expected is None:
        return
    with open(archive, "rb") as file:
        found = hashlib.file_digest(file, kind).hexdigest()
    if found != expected.lower():
        raise ValueError(f"Archive {archive} has {kind} {found}, expected {expected.lower()}.")


def unpack_source(from_file: str | None, url: str, digest: str | None, kind: str, target: Path, ready: Path) -> Path:
    """Unpack the archive of a data set beside the folder that is made ready.

    Args:
        from_file: the archive; None downloads it to the folder that holds ``target``.
        url: its address.
        digest: its expected checksum; None for any.
        kind: of the checksum, such as "sha256".
        target: the data set's folder in the end.
        ready: the data set's folder in the scratch folder.

    Returns:
        the folder that it was unpacked to.
    """
    archive = Path(str(from_file)) if from_file is not None else download(url, target.parent)
    check_digest(archive, digest, kind)
    unpacked = ready.with_name("unpacked")
    unpack(archive, unpacked)
    return unpacked


def unpack(archive: Path, folder: Path, limit: int = LIMIT) -> None:
    """Unpack a zip or tar archive of plain files and folders; nothing leaves ``folder``.

    Args:
        archive: the file.
        folder: is made.
        limit: bytes that may be unpacked.

    Raises:
        ValueError: when the file is damaged or no such archive, holds a link or a device, names a file outside the
            folder, or would unpack to more than ``limit``.
    """
    folder.mkdir()
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as pack:
                left = limit
                for info in tqdm(pack.infolist(), desc="unpacking"):
                    kind = stat.S_IFMT(info.external_attr >> 16)
                    plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
                    left -= _check_member(archive, info.filename, plain, info.file_size, left, limit)
                    pack.extract(info, folder)
        else:
            with tarfile.open(archive) as pack:
                left = limit
                for member in tqdm(pack, desc="unpacking"):
                    plain = member.isreg() or member.isdir()
                    left -= _check_member(archive, member.name, plain, member.size, left, limit)
                    pack.extract(member, folder, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise ValueError(f"Archive {archive} cannot be unpacked safely: {error}.") from error


def _check_member(archive: Path, name: str, plain: bool, size: int, left: int, limit: int) -> int:
    """The size of a member that may be unpacked.

    Raises:
        ValueError: if it may not.
    """
    parts = PureWindowsPath(name)
    if parts.is_absolute() or parts.drive or parts.root or ".." in parts.parts:
        raise ValueError(f"Archive {archive} names a file outside its folder ({name}), expected none.")
    if not plain:
        raise ValueError(f"Archive {archive} holds a link or a device ({name}), expected files and folders only.")
    if size > left:
        raise ValueError(f"Archive {archive} would unpack to more than {limit} bytes, expected at most as many.")
    return size
