"""Results for the tests of the paper pack: names that LaTeX trips over, and perturbations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from report_results import classification, samples, write

from monai_ima.results.schema import Results

NASTY = r"50%_of {A}&B#1 \x $y$ ^~|<> \"q\" `t -- ε α é ł 扫描 [@z]"
"""A name with everything that means something to LaTeX or Markdown, and letters that pdflatex does not have."""


def perturbation(name: str = "bias_field", title: str = "bias field", torchio: bool = False) -> dict[str, Any]:
    """Ten samples at sizes 0, 10 and 20 %: worst case 0.9, 0.6 and 0.2, average case 0.9, 0.75 and 0.5."""
    worst = [[float(k < 9), float(k < 6), float(k < 2)] for k in range(10)]
    average = [[float(k < 9), 0.75, 0.5] for k in range(10)]
    case = {"values": [0.9, 0.6, 0.2], "intervals": [[0.6, 0.98], [0.31, 0.83], [0.06, 0.51]]}
    mean = {"values": [0.9, 0.75, 0.5], "intervals": [[0.6, 0.98], [0.7, 0.8], [0.45, 0.55]]}
    more = {"torchio": mean} if torchio else {}
    return {
        "name": name,
        "title": title,
        "unit": "%",
        "levels": [0.0, 10.0, 20.0],
        "attacks": ["pgd20x1"],
        "draws": 4,
        "worst": case,
        "average": mean,
        "degradation": {"worst": 0.556, "average": 0.306, **({"torchio": 0.306} if torchio else {})},
        **more,
        "samples": [
            {
                "sample_id": f"s{k}",
                "patient": f"p{k // 2}",
                "worst": worst[k],
                "average": average[k],
                **({"torchio": average[k]} if torchio else {}),
            }
            for k in range(10)
        ],
        "case": None,
    }


def other(**changes: Any) -> dict[str, Any]:
    """A classifier that stands one step longer than that of ``classification``: 0.9, 0.9, 0.7 and 0.4."""
    longer = {0.0: 0.0, 0.5: 1.0, 1.0: 2.0, 2.0: None, None: None}
    stronger = [
        {**one, "broken_at": {name: longer[eps] for name, eps in one["broken_at"].items()}} for one in samples()
    ]
    content = classification(samples=stronger, **changes)
    content["model"] |= {"name": "hardened"}
    content["accuracy"] = [0.9, 0.9, 0.7, 0.4]
    for attack, values in zip(content["attacks"], ([0.9, 0.9, 0.8, 0.6], [0.9, 0.9, 0.7, 0.4]), strict=True):
        attack["values"] = values
    return content


def unattacked(**changes: Any) -> dict[str, Any]:
    """A classifier at ε = 0 alone, 9 of 10 samples right: there is nothing to attack there."""
    absent = dict.fromkeys(("noise", "minimum", "groups", "checks", "crosscheck"))
    content = classification(**absent, levels=[0.0], accuracy=[0.9], **changes)
    content["attacks"] = [{**one, "values": [0.9], "intervals": [None]} for one in content["attacks"]]
    content["accuracy_by_class"] = {name: [1.0] for name in content["classes"]}
    for sample in content["samples"]:
        broken = 0.0 if sample["sample_id"] == "s0" else None
        sample |= {"broken_at": dict.fromkeys(sample["broken_at"], broken), "noise_failures": None, "distance": None}
    return content


def read(folder: Path, *contents: dict[str, Any]) -> list[Results]:
    """Written into a folder each, and read again."""
    return [Results.read(write(folder / f"model{k}", content)) for k, content in enumerate(contents)]
