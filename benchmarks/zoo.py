"""Copies of the bundles as the MONAI model zoo takes them: with ``models/model.pt``, which the zoo's checks ask for.

A bundle with weights on SYNTHETIC data (``models/synthetic``, see bundle_weights.py) gets them as ``models/model.pt``,
its configs the sizes that these weights have, and its description says that they are synthetic. Then the zoo's
``ci/verify_bundle.py`` runs on the folder: ``python ci/verify_bundle.py -b NAME -p zoo``.

    python benchmarks/zoo.py --out zoo
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from bundle_weights import OVERLAY
from monai_ima.cli.arguments import new_folder
from monai_ima.cli.bundle import copy_bundle, shipped_bundles
from studies import CommandLine, write_whole

PLACES = {"output_dir", "ckpt_dir", "ckpt_path"}
"""Ids of the overlay that say where files are: in a zoo bundle they are where its own configs say."""
COPIED = ("train.json", "evaluate.json", "inference.json")


def assemble(source: Path, target: Path) -> None:
    """A copy of a bundle; the weights on synthetic data take the place that its own would have."""
    copy_bundle(source, target)
    synthetic = target / "models" / "synthetic"
    if not synthetic.is_dir():
        return
    for file in synthetic.iterdir():
        file.rename(target / "models" / file.name)
    synthetic.rmdir()
    overlay = target / "configs" / OVERLAY
    sizes = {id_: value for id_, value in json.loads(overlay.read_text(encoding="utf-8")).items() if id_ not in PLACES}
    overlay.unlink()
    for name in COPIED:
        _pin(target / "configs" / name, sizes)
    _describe(target / "configs" / "metadata.json", sizes)


def _pin(file: Path, sizes: dict[str, Any]) -> None:
    """Give the ids that a config has the values of the overlay."""
    parser = ConfigParser(json.loads(file.read_text(encoding="utf-8")))
    for id_, value in sizes.items():
        if id_.partition("#")[0] in parser.get():
            parser[id_] = value
    _write(file, parser.get())


def _describe(file: Path, sizes: dict[str, Any]) -> None:
    """Say in the metadata what the weights were trained on, and the size of their images."""
    metadata = json.loads(file.read_text(encoding="utf-8"))
    shape = metadata["network_data_format"]["inputs"]["image"]["spatial_shape"]
    if "image_size" in sizes:
        shape[:] = [sizes["image_size"]] * 2
    if "patch_size" in sizes:
        shape[:] = sizes["patch_size"]
        metadata["network_data_format"]["outputs"]["pred"]["spatial_shape"] = list(shape)
    data = metadata["data_without_dataset_dir"]
    metadata["description"] = (
        f"{metadata['description'].removesuffix(' No weights are shipped.')} A small network, its weights trained on "
        f"SYNTHETIC data ({data}): they mean nothing on real data."
    )
    _write(file, metadata)


def _write(file: Path, content: Any) -> None:
    write_whole(file, json.dumps(content, indent=4, ensure_ascii=False) + "\n")


def main() -> None:
    """Make a zoo-ready copy of every bundle."""
    parser = CommandLine(__doc__)
    parser.add_argument("--out", default="zoo", help="folder to write to, empty or missing; default: zoo")
    try:
        folder = new_folder(parser.parse_args().out)
    except OSError as error:
        parser.error(str(error))
    for name, source in shipped_bundles().items():
        assemble(source, folder / name)
    print(f"Written to {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")


if __name__ == "__main__":
    main()
