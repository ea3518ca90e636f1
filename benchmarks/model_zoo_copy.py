"""A working copy of a bundle that is small enough for a CPU: rules that walk its configs, and what the table adds.

The rules hold for every bundle: sizes of crops, patches and windows at most :data:`SIZE`, narrow networks, batches of
two, one epoch, no worker processes, no mixed precision, no pretrained weights, no GPU. ``model_zoo.json`` says what
cannot be inferred: where a config keeps its data list, say, or a size that is written into a network's source.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

__all__ = ["SIZE", "Entry", "literal", "make_copy", "read_config", "training_config"]

SIZE = 32
SIZES = ("roi_size", "spatial_size", "img_size", "patch_size", "region_size", "k_divisible")
AT_MOST = {"batch_size": 2, "num_samples": 2, "sw_batch_size": 2, "cache_rate": 1.0}
FIXED = {
    "num_workers": 0,
    "amp": False,
    "epochs": 1,
    "max_epochs": 1,
    "num_epochs": 1,
    "val_interval": 1,
    "pretrained": False,
}
NARROW: dict[str, dict[str, Any]] = {
    "DenseNet121": {"init_features": 8, "growth_rate": 4, "block_config": [2, 2, 2, 2]},
    "DynUNet": {"filters": [4, 4, 8, 8, 8, 8]},
    "FlexibleUNet": {"backbone": "efficientnet-b0"},
    "SEResNet50": {"layers": [1, 1, 1, 1]},
    "SegResNet": {"init_filters": 8},
    "SwinUNETR": {"feature_size": 12},
    "TopologyInstance": {"channel_mul": 0.25, "num_blocks": 3},
}
WIDTHS = ("channels", "features")
MAX_WIDTH = 8
DATA = "DATA/"
NOT_CONFIGS = ("metadata", "logging")

Entry = Mapping[str, Any]
"""What ``model_zoo.json`` says of a bundle."""


def make_copy(source: Path, target: Path, entry: Entry) -> None:
    """Copy a bundle and make the copy small; its data folder is ``target/data``.

    Args:
        source: the bundle, which stays as it is.
        target: the copy, made anew.
        entry: of the table.
    """
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    (target / "models").mkdir(exist_ok=True)
    data = f"{target.resolve()}/data/"
    for file in _configs(target):
        config = read_config(file)
        for key in set(config) & {"network_def", "dints_space"}:
            config[key] = _narrow(config[key])
        small = {key: _small(key, value, entry.get("size", SIZE)) for key, value in config.items()}
        if "dataset_dir" in small:
            small["dataset_dir"] = data
        _amend(small, entry, data)
        text = json.dumps(small, indent=4) if file.suffix == ".json" else yaml.safe_dump(small, sort_keys=False)
        file.write_text(text, encoding="utf-8")
    for name, edits in entry.get("edits", {}).items():
        _edit(target / name, edits)
    if entry.get("search"):
        _save_architecture(target / "models" / "search_code_18590.pt")


def training_config(bundle: Path) -> Path | None:
    """The config that trains the bundle; None where it has none of the usual name."""
    files = (bundle / "configs" / f"train.{suffix}" for suffix in ("json", "yaml"))
    return next((file for file in files if file.is_file()), None)


def read_config(file: Path) -> dict[str, Any]:
    """The content of a JSON or YAML config."""
    text = file.read_text(encoding="utf-8")
    content = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    assert isinstance(content, dict), file
    return content


def literal(config: Mapping[str, Any], target: str, name: str) -> Any:
    """The argument of the first component with that ``_target_``, where it is no expression; None else."""
    if config.get("_target_") == target and not isinstance(config.get(name), str):
        return config.get(name)
    for value in config.values():
        for inner in value if isinstance(value, list) else [value]:
            found = literal(inner, target, name) if isinstance(inner, Mapping) else None
            if found is not None:
                return found
    return None


def _configs(bundle: Path) -> list[Path]:
    """The files of a bundle that are configs; data lists are none."""
    files = [file for file in sorted((bundle / "configs").iterdir()) if file.suffix in (".json", ".yaml")]
    names = ("train", "evaluate", "inference", "test", "multi", "search")
    return [file for file in files if file.stem.startswith(names) and not file.stem.startswith(NOT_CONFIGS)]


def _narrow(network: Any) -> Any:
    """The definition of a network with few channels."""
    if not isinstance(network, dict):
        return network
    name = str(network.get("_target_")).rpartition(".")[2]
    narrow = {key: [min(width, MAX_WIDTH) for width in network[key]] for key in WIDTHS if key in network}
    return network | narrow | NARROW.get(name, {})


def _small(key: str, value: Any, size: int) -> Any:
    """A part of a config with the rules applied to it and to all that it holds."""
    if key in FIXED and not isinstance(value, (dict, list)):
        return FIXED[key]
    if key in AT_MOST and isinstance(value, (int, float)):
        return min(value, AT_MOST[key])
    if key in SIZES:
        return _cut(value, size)
    if isinstance(value, dict):
        return {name: _small(name, inner, size) for name, inner in value.items()}
    if isinstance(value, list):
        return [_small("", inner, size) for inner in value]
    return _on_few_samples(value) if isinstance(value, str) else value


def _cut(value: Any, size: int) -> Any:
    """Numbers, alone or in a list, that are at most ``size``."""
    if isinstance(value, list):
        return [_cut(inner, size) for inner in value]
    return min(value, size) if isinstance(value, int) else value


def _on_few_samples(text: str) -> str:
    """An expression that takes the last two samples for validation, in place of more, and computes on the CPU."""
    text = re.sub(r"\[(:?)-(9|10)(:?)\]", r"[\1-2\3]", text)
    return re.sub(r"torch\.device\('cuda'\)", "torch.device('cpu')", text)


def _amend(config: dict[str, Any], entry: Entry, data: str) -> None:
    """What the table sets and drops, in a config that has the component in question."""
    for path, value in entry.get("set", {}).items():
        parent, _, name = path.rpartition("#")
        node = _node(config, parent)
        if isinstance(node, dict) and (parent or name in node):
            node[name] = value.replace(DATA, data) if isinstance(value, str) else value
    for path in entry.get("drop", ()):
        parent, _, name = path.rpartition("#")
        node = _node(config, parent)
        if isinstance(node, dict):
            node.pop(name, None)


def _node(config: dict[str, Any], path: str) -> Any:
    """The part of a config at an id, itself for ``""``; None where it has none."""
    node: Any = config
    for key in path.split("#") if path else ():
        node = node[int(key)] if isinstance(node, list) else node.get(key) if isinstance(node, dict) else None
    return node


def _edit(file: Path, edits: list[list[str]]) -> None:
    """Replace what stands in a file of source code, each at least once."""
    text = file.read_text(encoding="utf-8")
    for old, new in edits:
        assert old in text, f"{file} holds no {old!r}"
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")


def _save_architecture(file: Path, blocks: int = 3, paths: int = 10, depths: int = 4) -> None:
    """A found architecture as DiNTS reads it: every path is active, with one operation that is drawn."""
    operations = np.random.RandomState(0).randint(0, 5, (blocks, paths))
    architecture = {
        "arch_code_a": np.ones((blocks, paths)),
        "arch_code_c": operations,
        "node_a": torch.ones((blocks + 1, depths)),
    }
    torch.save(architecture, file)
