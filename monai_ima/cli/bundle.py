from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from shlex import quote
from typing import Annotated

from .arguments import one_of

__all__ = ["copy_bundle", "get_bundle", "list_bundles", "shipped_bundles"]

SHIPPED = re.compile(r"`([\w.-]+\.(?:pt|json))`")
"""The files that README.md beside weights names, weights and their plan; others were made where the package lies."""


def list_bundles() -> None:
    """Show the bundles that monai_ima has: name, version, and what they are for.

    \b
    Example: monai-ima bundle list
    """
    found = [(folder.name, _metadata(folder)) for folder in shipped_bundles().values()]
    width = max(len(name) for name, _ in found)
    for name, metadata in found:
        print(f"{name:{width}}  {metadata['version']}  {metadata['task']}")


def get_bundle(
    name: Annotated[str, "Name of the bundle, as `monai-ima bundle list` shows it."],
    folder: Annotated[str, "Folder to copy it into: it is FOLDER/NAME then."],
) -> None:
    """Copy a bundle out of the installed package, to train it and to change its configs.

    \b
    Example: monai-ima bundle get image_classification_ima my_bundles
    """
    from monai_ima.utils.files import check_can_be_made

    bundles = shipped_bundles()
    if name not in bundles:
        raise ValueError(f"Unknown bundle {name!r}, expected {one_of(bundles, name)}.")
    target = Path(folder) / name
    check_can_be_made(target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target} exists already, expected no such folder or an empty one: give another FOLDER.")
    copy_bundle(bundles[name], target)
    print(f"Written: {target}. Its options and data: {target / 'docs' / 'README.md'}. To train:")
    config, root = (quote(str(path)) for path in (target / "configs" / "train.json", target))
    print(f"python -m monai.bundle run --config_file {config} --bundle_root {root}")


def shipped_bundles() -> dict[str, Path]:
    """The bundles by name: of the wheel, inside the package; of a source tree, beside it."""
    package = Path(__file__).resolve().parent.parent
    root = next((root for root in (package / "bundles", package.parent / "bundles") if root.is_dir()), None)
    if root is None:
        raise FileNotFoundError(f"Package {package} has no bundles, expected them in it: install monai-ima anew.")
    return {file.parent.parent.name: file.parent.parent for file in sorted(root.glob("*/configs/metadata.json"))}


def _metadata(folder: Path) -> dict[str, str]:
    return json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))


def copy_bundle(source: Path, target: Path) -> None:
    """All of a bundle or nothing: it is copied beside its place first."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.part") as unfinished:
        copy = Path(unfinished) / target.name
        shutil.copytree(source, copy, ignore=_not_shipped, copy_function=shutil.copyfile)
        os.replace(copy, target)


def _not_shipped(folder: str, names: list[str]) -> set[str]:
    """What trainings and evaluations left in a source tree."""
    place = Path(folder)
    if "models" not in (place.name, place.parent.name):
        return {"eval", "__pycache__"} & set(names)
    described = place / "README.md"
    weights = set(SHIPPED.findall(described.read_text(encoding="utf-8"))) if described.is_file() else set()
    described_folders = {name for name in names if (place / name / described.name).is_file()}
    return set(names) - {".gitkeep", described.name} - weights - described_folders
