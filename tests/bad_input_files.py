"""Good and damaged files for the table of bad inputs."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import torch
from report_results import classification, segmentation, write, write_margins
from torch import nn
from wild_bundles import write as write_config
from wild_bundles import zoo_classification

__all__ = ["snapshot", "write_files"]


def write_files(root: Path) -> None:
    """A bundle, its weights, groups, results, margins, interrupted runs, and damaged ones of each."""
    zoo_classification(root / "bundle")
    shutil.copy(root / "bundle" / "models" / "model.pt", root / "weights.pt")
    train = json.loads((root / "bundle" / "configs" / "train.json").read_text())
    write_config(root / "bundle", "train.json", {**train, "bounds": [0.0, 1.0], "batch_size": 4})
    _write_checkpoints(root)
    _write_margins(root)
    _write_groups(root)
    _write_results(root)
    _write_interrupted_runs(root)


def snapshot(root: Path) -> dict[str, object]:
    """Every file's content and every folder below a folder."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
        if "__pycache__" not in path.parts
    }


def _write_checkpoints(root: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), root / "other_network.pt")
    whole = (root / "weights.pt").read_bytes()
    (root / "truncated.pt").write_bytes(whole[: len(whole) // 2])
    (root / "empty.pt").touch()
    (root / "text.pt").write_text("these are no weights\n")
    (root / "folder.pt").mkdir()
    torch.save([1, 2], root / "list.pt")
    torch.save({"model": {"weight": 1}}, root / "numbers.pt")


def _write_margins(root: Path) -> None:
    state = torch.load(write_margins(root / "margins.pt", [1.0, 2.0, 4.0]), weights_only=True)["margins"]
    changes = {
        "no_ids": {"ids": None},
        "short": {"ids": ["s0"]},
        "nan": {"margins": torch.tensor([1.0, float("nan"), 2.0])},
        "eps_max": {"eps_max": -1.0},
        "eps_text": {"eps_max": "large"},
        "delta": {"delta": -1.0},
        "delta_text": {"delta": "small"},
        "id_numbers": {"ids": [1, 2, 3]},
        "table": {"margins": torch.zeros(3, 2)},
        "words": {"margins": ["a", "b", "c"]},
        "no_rows": {"ids": [], "margins": torch.zeros(0)},
    }
    for name, change in changes.items():
        torch.save({"margins": {**state, **change}}, root / f"margins_{name}.pt")


def _write_groups(root: Path) -> None:
    ids = [file.name for file in sorted((root / "bundle" / "data").iterdir())]
    rows = [["sample_id", "site"], *([name, "A"] for name in ids)]
    tables = {
        "groups": rows,
        "groups_short": rows[:-1],
        "groups_no_site": [row[:1] for row in rows],
        "groups_twice": [*rows, rows[-1]],
        "groups_gap": [*rows[:-1], [rows[-1][0], ""]],
    }
    for name, table in tables.items():
        with open(root / f"{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows(table)
    (root / "groups_empty.csv").touch()
    (root / "groups_latin.csv").write_bytes("sample_id,site\na,Köln\n".encode("latin-1"))
    (root / "groups_binary.csv").write_bytes(bytes(range(256)))
    (root / "groups_nul.csv").write_bytes(b"sample_id,site\n\x00,\x00\n")


def _write_results(root: Path) -> None:
    write(root / "results", classification())
    write(root / "results_scans", segmentation())
    text = (root / "results" / "results.json").read_text()
    damaged = {"cut": text[: len(text) // 2], "empty": "", "list": "[]", "number": "3", "nan": "NaN", "words": "yes"}
    for name, content in damaged.items():
        (root / f"results_{name}.json").write_text(content)
    (root / "results_binary.json").write_bytes(bytes(range(256)))
    changes = {"task": "sorting", "levels": "many", "format": 99, "samples": 5, "accuracy": [2.0] * 4, "attacks": []}
    for name, value in changes.items():
        (root / f"results_{name}.json").write_text(json.dumps(classification(**{name: value})))
    shutil.rmtree(root / "results" / "cases" / "none", ignore_errors=True)
    (root / "logs_empty").mkdir()
    (root / "logs_damaged").mkdir()
    (root / "logs_damaged" / "events.out.tfevents.1.a").write_bytes(b"no events at all, though the name says so")


def _write_interrupted_runs(root: Path) -> None:
    for verb in ("evaluate", "attack"):
        for name, content in {"cut": '{"bundle": ', "list": "[]", "empty": "", "other": '{"bundle": "other"}'}.items():
            folder = root / f"{verb}_settings_{name}"
            folder.mkdir()
            (folder / "settings.json").write_text(content)
        (root / f"{verb}_settings_binary").mkdir()
        (root / f"{verb}_settings_binary" / "settings.json").write_bytes(bytes(range(256)))
    (root / "full").mkdir()
    (root / "full" / "letter.txt").write_text("mine")
    (root / "a_file").write_text("mine")
