"""Bundles as ``benchmarks/zoo.py`` makes them pass what the model zoo's ``ci/verify_bundle.py`` asks of a bundle.

Its own checks, with MONAI's own tools: files, version, the keys of the metadata, net in and out, TorchScript.
What it downloads, the JSON schema of the metadata, stands here as the keys that the schema requires.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import REPO
from monai.bundle import ConfigParser, ckpt_export, verify_net_in_out

from monai_ima.cli.bundle import shipped_bundles
from zoo import assemble

BUNDLES = shipped_bundles()
SYNTHETIC = sorted(name for name, root in BUNDLES.items() if (root / "configs" / "synthetic.json").is_file())
REQUIRED = {
    "schema",
    "version",
    "monai_version",
    "pytorch_version",
    "numpy_version",
    "required_packages_version",
    "task",
    "description",
    "authors",
    "copyright",
    "network_data_format",
}
TENSOR = {"type", "format", "num_channels", "spatial_shape", "dtype", "value_range"}
TEXTS = REQUIRED - {"required_packages_version", "network_data_format"} | {"data_source", "data_type", "intended_use"}


@pytest.fixture(params=sorted(BUNDLES))
def bundle(request, tmp_path) -> Path:
    """A bundle's zoo-ready copy."""
    assemble(BUNDLES[request.param], tmp_path / request.param)
    return tmp_path / request.param


def test_the_model_zoo_takes_it(bundle):
    for file in ("configs/metadata.json", "configs/inference.json", "LICENSE", "models/model.pt", "docs/README.md"):
        assert (bundle / file).is_file(), file
    assert (bundle / "models" / "model.pt").stat().st_size < 3e6
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"]
    assert metadata.keys() >= REQUIRED
    assert {name for name in TEXTS if not isinstance(metadata[name], str)} == set()
    for tensors in (metadata["network_data_format"][side] for side in ("inputs", "outputs")):
        assert all(tensor.keys() >= TENSOR for tensor in tensors.values())

    files = {"meta_file": str(bundle / "configs" / "metadata.json"), "bundle_root": str(bundle)}
    files["config_file"] = str(bundle / "configs" / "inference.json")
    verify_net_in_out("network_def", device="cpu", **files)
    weights, exported = bundle / "models" / "model.pt", bundle / "models" / "verify_model.ts"
    ckpt_export("network_def", filepath=str(exported), ckpt_file=str(weights), **files)

    parser = ConfigParser()
    parser.read_config(files["config_file"])
    parser["bundle_root"] = str(bundle)
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(weights, weights_only=True), strict=True)  # the export skips what does not fit
    image = metadata["network_data_format"]["inputs"]["image"]
    batch = torch.rand(2, image["num_channels"], *image["spatial_shape"])
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.load(exported)(batch), network(batch))


@pytest.mark.parametrize("name", SYNTHETIC)
def test_weights_on_synthetic_data_are_called_so_in_their_card_and_the_metadata(name, tmp_path):
    card = (BUNDLES[name] / "models" / "synthetic" / "README.md").read_text()
    for stated in (
        "SYNTHETIC",
        "Research only",
        "| seed |",
        "| machine |",
        "| licence |",
        "bundle_weights.py",
        "Limits",
    ):
        assert stated in card
    assemble(BUNDLES[name], tmp_path / name)
    assert (tmp_path / name / "models" / "README.md").read_text() == card
    assert not (tmp_path / name / "configs" / "synthetic.json").exists()
    metadata = json.loads((tmp_path / name / "configs" / "metadata.json").read_text())
    assert "SYNTHETIC" in metadata["description"]
    assert "no weights" not in metadata["description"].lower()


def test_every_bundle_has_weights_and_a_training_writes_over_none_of_them():
    for name, root in BUNDLES.items():
        shipped = root / "models" / ("synthetic/model.pt" if name in SYNTHETIC else "model.pt")
        assert shipped.is_file(), name
        if name in SYNTHETIC:
            overlay = json.loads((root / "configs" / "synthetic.json").read_text())
            assert overlay["ckpt_dir"].startswith("$@output_dir")
            assert overlay["output_dir"] == "$@bundle_root + '/eval/synthetic'"


def test_ids_of_the_overlay_are_those_of_the_training_config():
    for name in SYNTHETIC:
        configs = REPO / "bundles" / name / "configs"
        train, overlay = (json.loads((configs / f"{file}.json").read_text()) for file in ("train", "synthetic"))
        assert {id_.partition("#")[0] for id_ in overlay} - set(train) == {"ckpt_path"}, name
