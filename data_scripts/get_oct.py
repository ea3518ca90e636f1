"""Get the public retinal OCT data set of Kermany et al. 2018 ready for the bundle ``oct_classification_ima``.

The data are published on Mendeley Data (doi 10.17632/rscbjbr9sj, CC BY 4.0). Take the archive's address from the
page of that doi and give it as ``--url``, or give an archive or folder that is there already.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from collections import defaultdict
from pathlib import Path
from urllib.error import URLError
from urllib.parse import unquote, urlparse

import fire
from tqdm import tqdm

from monai_ima.data import CLASSES, kermany_datalist, summarize
from monai_ima.data.kermany import SPLITS

CHUNK = 1 << 20


def get(
    out: str,
    from_file: str | None = None,
    from_dir: str | None = None,
    url: str | None = None,
    sha256: str | None = None,
) -> None:
    """Unpack, check and count the OCT scans; exactly one of from_file, from_dir and url.

    Args:
        out: folder to write to, empty or missing.
        from_file: the archive, .zip or .tar.gz.
        from_dir: a folder that holds the unpacked archive; it is copied.
        url: address of the archive; a broken download is taken up where it stopped.
        sha256: checksum of the archive; refused when it differs.
    """
    try:
        target = Path(out)
        if sum(source is not None for source in (from_file, from_dir, url)) != 1:
            raise ValueError("Expected exactly one of --from_file, --from_dir and --url.")
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise FileExistsError(f"{target} exists already, expected an empty or missing folder.")
        target.parent.mkdir(parents=True, exist_ok=True)
        archive = download(url, target.parent) if url is not None else Path(from_file or "")
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".get_oct-") as scratch:
            found = Path(scratch) / "unpacked"
            if from_dir is not None:
                shutil.copytree(_existing_folder(from_dir), found)
            else:
                check_sha256(archive, sha256)
                unpack(archive, found)
            root = find_layout(found)
            report(root)
            target.exists() and target.rmdir()
            root.rename(target)
        print(f"Ready: {target}")
    except (ValueError, OSError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)


def download(url: str, folder: Path) -> Path:
    """Download to ``folder``, going on from ``<name>.part`` when a former download broke off; returns the file.

    Raises:
        OSError: when the server does not answer or sends less than it announced.
    """
    name = Path(unquote(urlparse(url).path)).name or "archive"
    done, part = folder / name, folder / f"{name}.part"
    if done.is_file():
        return done
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            resumed = answer.status == 206
            have = have if resumed else 0
            length = answer.headers.get("Content-Length")
            total = None if length is None else have + int(length)
            with (
                open(part, "ab" if resumed else "wb") as file,
                tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=name) as bar,
            ):
                while block := answer.read(CHUNK):
                    file.write(block)
                    bar.update(len(block))
    except URLError as error:
        raise OSError(f"Cannot download {url}: {error.reason}; what is there is kept in {part}.") from error
    if total is not None and part.stat().st_size != total:
        raise OSError(f"Download of {url} broke off at {part.stat().st_size} of {total} bytes: run it again to go on.")
    part.rename(done)
    return done


def check_sha256(archive: Path, expected: str | None) -> None:
    """Compare an archive's checksum.

    Raises:
        FileNotFoundError: when the archive does not exist.
        ValueError: when the checksum differs.
    """
    if not archive.is_file():
        raise FileNotFoundError(f"Archive {archive} does not exist, expected a .zip or .tar.gz file.")
    if expected is None:
        return
    with open(archive, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected.lower():
        raise ValueError(f"Archive {archive} has sha256 {found}, expected {expected.lower()}.")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive; nothing leaves ``folder``.

    Raises:
        ValueError: when the file is damaged or no such archive, or a member points out of the folder.
    """
    folder.mkdir()
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as pack:
                for member in tqdm(pack.infolist(), desc="unpacking"):
                    if not (folder / member.filename).resolve().is_relative_to(folder.resolve()):
                        raise ValueError(f"Member {member.filename} of {archive} points out of the target folder.")
                    pack.extract(member, folder)
        else:
            with tarfile.open(archive) as pack:
                for member in tqdm(pack, desc="unpacking"):
                    pack.extract(member, folder, filter="data")
    except (tarfile.FilterError, tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"Archive {archive} cannot be unpacked safely: {error}.") from error


def find_layout(folder: Path) -> Path:
    """The folder that holds Kermany's layout, with split folders' names made clean.

    Raises:
        ValueError: when there is none.
    """
    for root in sorted([folder, *(p for p in folder.rglob("*") if p.is_dir())], key=lambda p: len(p.parts)):
        if "__MACOSX" in root.parts:
            continue
        children = {p.name.strip(): p for p in root.iterdir() if p.is_dir()}
        splits = [children[name] for name in SPLITS if name in children and _has_classes(children[name])]
        if splits:
            for split in splits:
                split.rename(split.with_name(split.name.strip()))
            return root
        if _has_classes(root):
            return root
    raise ValueError(f"No folder with the classes {', '.join(CLASSES)} was found, expected Kermany's layout.")


def report(root: Path) -> None:
    """Check every image and print counts per class, split and patient."""
    patients: dict[str, set[str]] = defaultdict(set)
    for split in SPLITS:
        patients[split] = {file.stem.split("-")[1] for file in root.glob(f"{split}/*/*-*-*.*")}
    print(summarize(kermany_datalist(root)))
    shared = patients["train"] & (patients["test"] | patients["val"])
    print(f"Published split: {len(shared)} patients are both in train and in test or val; they are left out of train.")


def _has_classes(folder: Path) -> bool:
    return all((folder / name).is_dir() for name in CLASSES)


def _existing_folder(path: str) -> Path:
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"Folder {folder} does not exist, expected the unpacked archive.")
    return folder


if __name__ == "__main__":
    fire.Fire(get)
