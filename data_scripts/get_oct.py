"""Get the public retinal OCT data set of Kermany et al. 2018 ready for the bundle ``oct_classification_ima``.

The data are published on Mendeley Data (doi 10.17632/rscbjbr9sj, CC BY 4.0): version 3 is ZhangLabData.zip (8 GB),
version 2 OCT2017.tar.gz (5 GB). Where the server turns scripts away, download with a browser and give ``--from_file``.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from archives import unpack_source
from scripting import check_one_source, check_options, find_unpacked, new_folder, refusals, run

from monai_ima.data import CLASSES, kermany_datalist, scan_datalist, summarize
from monai_ima.data.folders import SPLITS, is_visible
from monai_ima.data.pictures import decode_all

PUBLIC_URL = (
    "https://data.mendeley.com/public-files/datasets/rscbjbr9sj/files/810b2ce2-11c3-4424-996e-3bef36600907/"
    "file_downloaded"
)
"""ZhangLabData.zip, version 3 of the data set; its scans are in CellData/OCT."""


def get(
    out: str = "",
    from_file: str | None = None,
    from_dir: str | None = None,
    url: str | None = None,
    sha256: str | None = None,
    **unknown: object,
) -> None:
    """Download, unpack, check and count the OCT scans; at most one of from_file, from_dir and url.

    Args:
        out: folder to write to, empty or missing; required.
        from_file: the archive, .zip or .tar.gz.
        from_dir: a folder that holds the unpacked archive; the scans are copied.
        url: address of the archive, by default the public one; a broken download is taken up where it stopped, and the
            archive is kept beside ``out``.
        sha256: checksum of the archive; refused when it differs.
        unknown: refused.
    """
    with refusals():
        check_options(unknown, "out, from_file, from_dir, url or sha256", out)
        check_one_source(from_file=from_file, from_dir=from_dir, url=url)
        if from_dir is not None and sha256 is not None:
            raise ValueError("Got --sha256 and --from_dir, expected a checksum with an archive only.")
        with new_folder(out) as (target, ready):
            if from_dir is not None:
                root = find_unpacked(from_dir, find_layout, target)
            else:
                digest = None if sha256 is None else str(sha256)
                root = find_layout(unpack_source(from_file, url or PUBLIC_URL, digest, "sha256", target, ready))
            ready.mkdir()
            place: Callable[[Path, Path], object] = shutil.move if from_dir is None else shutil.copytree
            for name, folder in _parts(root).items():
                place(folder, ready / name)
            report(ready)
    print(f"Ready: {target}")


def find_layout(folder: Path) -> Path:
    """The uppermost folder that holds Kermany's layout, either its splits or the classes themselves.

    Raises:
        ValueError: when there is none.
    """
    below = [path for path in folder.rglob("*") if path.is_dir() and is_visible(path.relative_to(folder))]
    for root in sorted([folder, *below], key=lambda path: (len(path.parts), path)):
        splits = [path for name, path in _parts(root).items() if name in SPLITS]
        if any(_looks_like_classes(path) for path in [root, *splits]):
            return root
    raise ValueError(f"No folder with the classes {', '.join(CLASSES)} was found, expected Kermany's layout.")


def report(root: Path) -> None:
    """Check the layout and every image, and print the counts per class and split and the patients in two splits."""
    datalist = kermany_datalist(root, check_images=False)
    items = scan_datalist(root)
    decode_all([Path(item["image"]) for item in items])
    published: dict[str, set[str]] = defaultdict(set)
    for item in items:
        sample = Path(item["sample_id"])
        published[sample.parts[0]].add(sample.stem.split("-")[1])
    print(summarize(datalist))
    print(f"{len(items)} scans, all readable, of {len(set().union(*published.values()))} patients.")
    for one, other in (("train", "test"), ("train", "val"), ("val", "test")):
        if published[one] and published[other]:
            shared = len(published[one] & published[other])
            patients = f"{shared} patients are both in {one} and in {other}"
            print(f"Published split: {patients}; {one} goes without their scans.")


def _parts(root: Path) -> dict[str, Path]:
    """The visible folders of a layout by their names, split folders' names without the blanks around them."""
    folders = [path for path in root.iterdir() if path.is_dir() and is_visible(path.relative_to(root))]
    parts = {path.name.strip() if path.name.strip() in SPLITS else path.name: path for path in folders}
    if len(parts) < len(folders):
        raise ValueError(f"Folder {root} holds a split twice, expected each of {', '.join(SPLITS)} at most once.")
    return parts


def _looks_like_classes(folder: Path) -> bool:
    """Two of the classes are there: a misspelt or missing one is then named by the reader."""
    return sum((folder / name).is_dir() for name in CLASSES) >= 2


if __name__ == "__main__":
    run(get)
