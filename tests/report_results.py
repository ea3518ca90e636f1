"""Hand-made results.json files for the tests of the report."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw

from monai_ima.margins import MarginTable

CLASSES = ["NORMAL", "CNV", "DME"]
LEVELS = [0.0, 0.5, 1.0, 2.0]


def samples() -> list[dict[str, Any]]:
    """Ten samples: one misclassified, then broken at 0.5, 0.5, 1, 1, 1, 2, 2 and two never by the last attack."""
    last = [0.0, 0.5, 0.5, 1.0, 1.0, 1.0, 2.0, 2.0, None, None]
    first = [0.0, 0.5, 1.0, 1.0, 2.0, 2.0, 2.0, None, None, None]
    distances = [None, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.6, None, None]
    return [
        {
            "sample_id": f"s{k}",
            "label": k % 3,
            "predicted": (k + 1) % 3 if k == 0 else k % 3,
            "broken_at": {"pgd100x2": first[k], "apgd100-dlr": last[k]},
            "noisy_predicted": (k + 1) % 3,
            "distance": distances[k],
            "noise_failures": [0, 0, 0, 1] if k else None,
            "patient": f"p{k // 2}",
            "group": "A" if k < 4 else "B",
        }
        for k in range(10)
    ]


def classification(**changes: Any) -> dict[str, Any]:
    """Results of a classifier with everything measured; ``changes`` replace entries."""
    content = {
        "format": 3,
        "task": "classification",
        "metric": "accuracy",
        "model": {
            "name": "oct_classification_ima",
            "version": "0.3.0",
            "network": "DenseNet121",
            "parameters": 6956931,
            "checkpoint": "models/model.pt",
            "sha256": "e" * 64,
            "output": None,
        },
        "data": {
            "name": "OCT phantom",
            "licence": "Apache-2.0",
            "synthetic": True,
            "samples": 10,
            "patients": 5,
            "sha256": "d" * 64,
            "validation": False,
        },
        "command": "python -m monai_ima evaluate --bundle bundles/oct --levels 0,0.5,1,2 --norm l2",
        "settings": {"bundle": "bundles/oct", "attack": "pgd100x2+apgd100-dlr", "seed": 7, "levels": LEVELS},
        "machine": "x86_64 CPU, 2 cores",
        "date": "2026-11-27",
        "commit": None,
        "versions": {"monai-ima": "0.1.0", "torch": "2.13.0"},
        "norm": "l2",
        "levels": LEVELS,
        "units": {"name": "HU", "per_unit": 20.0},
        "image_values": {"fewest": 1600, "median": 1600.0, "most": 1600, "dimensions": 2},
        "bounds": None,
        "noise_scale": None,
        "classes": CLASSES,
        "attacks": [
            {
                "name": "pgd100x2",
                "values": [0.9, 0.8, 0.6, 0.3],
                "intervals": [[0.7, 1.0], [0.55, 0.98], [0.31, 0.87], [0.1, 0.6]],
            },
            {
                "name": "apgd100-dlr",
                "values": [0.9, 0.7, 0.4, 0.2],
                "intervals": [[0.7, 1.0], [0.41, 0.96], [0.12, 0.71], [0.02, 0.52]],
            },
        ],
        "accuracy": [0.9, 0.7, 0.4, 0.2],
        "accuracy_by_class": {
            "NORMAL": [0.75, 0.755, 0.505, 0.255],
            "CNV": [1.0, 0.667, 0.333, 0.0],
            "DME": [1.0, 0.668, 0.334, None],
        },
        "noise": {"draws": 20, "failure_rate": [0.0, 0.0, 0.0125, 0.1]},
        "minimum": {"up_to": 2.0, "found": 7, "of": 9, "median": 1.0},
        "groups": {
            "column": "scanner",
            "samples": {"A": 4, "B": 6},
            "values": {"A": [0.75, 0.25, 0.125, 0.0], "B": [1.0, 1.0, 0.583, 0.333]},
            "intervals": {
                "A": [[0.25, 1.0], [0.0, 0.75], [0.0, 0.5], [0.0, 0.0]],
                "B": [[1.0, 1.0], [1.0, 1.0], [0.167, 0.917], [0.0, 0.667]],
            },
            "largest_gap": {"level": 0.5, "between": ["A", "B"], "gap": 0.75},
        },
        "checks": [
            {
                "name": "more_steps",
                "title": "More steps never help the defence",
                "status": "passed",
                "samples": 10,
                "numbers": {"20 steps": 0.412, "50 steps": 0.401},
                "summary": "More steps of the attack change accuracy by -0.011.",
                "interpretation": "The attack had not converged.",
            },
            {
                "name": "large_noise",
                "title": "Unbounded perturbations break everything",
                "status": "passed",
                "samples": 10,
                "numbers": {"accuracy": 0.0},
                "summary": "Perturbations without limit leave nothing correct.",
                "interpretation": "Gradients are masked.",
            },
            {
                "name": "transfer",
                "title": "Perturbations of another network are weaker",
                "status": "not run",
                "samples": None,
                "numbers": {},
                "summary": "No other network was given.",
                "interpretation": "Gradients are masked.",
            },
        ],
        "crosscheck": {
            "epsilon": 1.0,
            "samples": 8,
            "rows": [
                {"by": "ART 1.20 AutoAttack", "theirs": 0.415, "ours": 0.4, "agrees": True},
                {"by": "torchattacks 3.5 PGD", "theirs": 0.625, "ours": 0.4, "agrees": False},
            ],
        },
        "perturbations": [],
        "cases": [
            {
                "sample_id": f"case{k}",
                "epsilon": 0.5,
                "summary": f"NORMAL, predicted NORMAL, under attack DME ({k})",
                "picture": f"cases/0{k}.png",
            }
            for k in range(3)
        ],
        "samples": samples(),
    }
    return {**content, **changes}


def segmentation(**changes: Any) -> dict[str, Any]:
    """Results of a segmentation on real data, with what is not measured left null."""
    common = classification()
    content = {
        **{key: common[key] for key in ("format", "command", "machine", "date", "commit", "versions", "settings")},
        "task": "segmentation",
        "metric": "dice",
        "model": {
            "name": "hippocampus_ima",
            "version": None,
            "network": "UNet",
            "parameters": 1200,
            "checkpoint": "model.pt",
            "sha256": None,
            "output": None,
        },
        "data": {
            "name": "MSD Task04",
            "licence": "CC-BY-SA 4.0",
            "synthetic": False,
            "samples": 2,
            "patients": None,
            "sha256": None,
            "validation": False,
        },
        "norm": "l2",
        "levels": [0.0, 5.0, 10.0],
        **dict.fromkeys(
            ("units", "image_values", "bounds", "noise_scale", "noise", "minimum", "groups", "checks", "crosscheck")
        ),
        "classes": ["anterior", "posterior"],
        "attacks": [
            {
                "name": "pgd100x2",
                "values": [0.842, 0.733, 0.535],
                "intervals": [[0.8, 0.88], [0.7, 0.76], [0.5, 0.57]],
            }
        ],
        "dice": [0.842, 0.733, 0.535],
        "surface_dice": [0.951, 0.812, None],
        "hd95": [1.25, 3.456, None],
        "dice_by_class": {"anterior": [0.85, 0.74, 0.54], "posterior": [0.834, 0.726, 0.53]},
        "surface_dice_by_class": {"anterior": [0.961, 0.822, None], "posterior": [0.941, 0.802, None]},
        "hd95_by_class": {"anterior": [1.2, 3.4, None], "posterior": [1.3, 3.512, None]},
        "hd95_undefined": [0, 0, 2],
        "perturbations": [],
        "cases": [],
        "samples": [
            {
                "sample_id": f"scan{k}",
                "scores": [{"dice": [0.8, None], "surface_dice": [0.9, None], "hd95": [1.0, None]}] * 3,
                "after": {"pgd100x2": [0.8, 0.8, 0.8]},
                "unit": "mm",
                "patient": None,
                "group": None,
            }
            for k in range(2)
        ],
    }
    return {**content, **changes}


def perturbed(changes: Iterable[tuple[str, str, float]], worst: float) -> list[dict[str, Any]]:
    """Results under perturbations: (title, unit, size) of each, and the score in the worst case of that size."""
    return [
        {
            "name": title.replace(" ", "_"),
            "title": title,
            "unit": unit,
            "levels": [0.0, size],
            "attacks": ["pgd100x2"],
            "draws": 10,
            "worst": {"values": [0.9, worst], "intervals": [None, None]},
            "average": {"values": [0.9, 0.875], "intervals": [None, None]},
            "degradation": {"worst": (0.9 - worst) / 0.9, "average": 0.025 / 0.9},
            "samples": [],
            "case": None,
        }
        for title, unit, size in changes
    ]


def write(folder: Path, content: dict[str, Any]) -> Path:
    """Write results.json and the pictures it names."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, case in enumerate(content["cases"]):
        picture = folder / case["picture"]
        picture.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("L", (310, 100), 20)
        draw = ImageDraw.Draw(image)
        for panel in range(3):
            draw.ellipse((110 * panel + 15, 20 + 5 * k, 110 * panel + 75, 80), fill=60 + 60 * panel)
        image.save(picture)
    file = folder / "results.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def write_margins(file: Path, margins: Iterable[float]) -> Path:
    """A checkpoint with margins, ε_max 4 and δ 1."""
    table = MarginTable(4.0, delta=1.0)
    for k, eps in enumerate(margins):
        table[f"s{k}"] = eps
    torch.save({"margins": table.state_dict()}, file)
    return file
