"""Reports on real data, as `python -m monai_ima evaluate` and `report` make them, and the page that shows them.

Fashion-MNIST: plain training and IMA of ``benchmarks/compare.py --bundle fashion_mnist --norm l2``, whose weights have
to be in ``runs/compare``; the first 200 test images. Hippocampus: the weights that the bundle ships, its
40 test scans.

    python benchmarks/gallery.py --data DIR      (with fashion_mnist.npz or IDX files, and Task04_Hippocampus)
    python benchmarks/gallery.py --data DIR --only Hippocampus

Writes docs/gallery.md with docs/gallery/; an interrupted run is resumed in ``runs/gallery``.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import fire

from monai_ima.cli.evaluation_run import run_evaluation
from monai_ima.cli.report import report
from monai_ima.results.settings import EvaluationSettings
from studies import REPO, chosen, level_titles, read_json, setting, table, write_page

PAGE, PICTURES = REPO / "docs" / "gallery.md", REPO / "docs" / "gallery"
FASHION: dict[str, Any] = {
    "bundle": "bundles/fashion_mnist_classification_ima",
    "levels": (0.0, 0.5, 1.0, 2.0, 3.0),
    "norm": "l2",
    "attack": "pgd100x2+apgd100-ce+apgd100-dlr+ddn100",
    "minimum": True,
    "overrides": {"test_subset": 200, "batch_size": 50},
}
HIPPOCAMPUS: dict[str, Any] = {
    "bundle": "bundles/hippocampus_segmentation_ima",
    "levels": (0.0, 5.0, 15.0),
    "norm": "l2",
    "attack": "pgd100x2+pgd100x2-dice+pgd100x2-ce",
    "overrides": {"check_files": False},
}
SHOWN = 3


def measure(prefix: str, settings: dict[str, Any], data: str, plain: Path, ima: Path) -> dict[str, Path]:
    """Evaluate plain training and IMA, or resume it; returns the folders of their results."""
    settings = {**settings, "overrides": {**settings["overrides"], "dataset_dir": data}}
    folders = {"plain training": Path(f"{prefix}_plain"), "IMA": Path(f"{prefix}_ima")}
    for folder, checkpoint, other in zip(folders.values(), (plain, ima), (ima, plain), strict=True):
        if not (folder / "results.json").is_file():
            run_evaluation(
                EvaluationSettings(**settings, out=folder, checkpoint=checkpoint, checks=True, transfer_from=other)
            )
    return folders


def section(title: str, about: str, page: str, folders: dict[str, Path]) -> list[str]:
    """Paragraphs on one data set: where the report is, what the models score, the worst cases."""
    found = {name: read_json(folder / "results.json") for name, folder in folders.items()}
    head = ["training", *level_titles(next(iter(found.values()))["levels"])]
    rows, checks = [], []
    for name, content in found.items():
        last = content["attacks"][-1]
        ends = zip(last["values"], last["intervals"], strict=True)
        rows.append([name, *(f"{value:.3f} ({lo:.3f} to {hi:.3f})" for value, (lo, hi) in ends)])
        failed = [check["title"] for check in content["checks"] if check["status"] == "failed"]
        said = f"fails: {'; '.join(failed)}" if failed else "no check for gradient masking fails"
        checks.append(f"- {name}: {said}.")
    paragraphs = [f"## {title}", about, f"The whole report: [{page}](gallery/{page}).", table(head, rows)]
    paragraphs += ["\n".join(checks), f"The {SHOWN} cases that are changed most easily, by training:"]
    for name, content in found.items():
        for k, case in enumerate(content["cases"][:SHOWN]):
            picture = f"{Path(page).stem}_{name.split()[0].lower()}_{k}.png"
            shutil.copyfile(folders[name] / case["picture"], PICTURES / picture)
            words = f"{name}, {case['sample_id']}, ε = {case['epsilon']:g}: {case['summary']}"
            paragraphs += [f"![{words}](gallery/{picture})", f"*{words}*"]
    return paragraphs


def kept() -> dict[str, list[str]]:
    """The sections of the page as it is, by title, a section as one paragraph."""
    parts = PAGE.read_text(encoding="utf-8").split("\n## ")[1:] if PAGE.is_file() else []
    return {part.partition("\n")[0]: [f"## {part.strip()}"] for part in parts}


def fashion(data: str, out: str, compare: str) -> list[str]:
    """The section on Fashion-MNIST."""
    plain, ima = (Path(compare) / method / "model_last.pt" for method in ("ce", "ima"))
    for file in (plain, ima):
        if not file.is_file():
            print(f"Weights {file} do not exist: run benchmarks/compare.py first.", file=sys.stderr)
            sys.exit(2)
    folders = measure(f"{out}/fashion", FASHION, data, plain, ima)
    written("fashion_mnist.html", folders, str(ima), data)
    return section(
        "Fashion-MNIST",
        "Accuracy on 200 test images (Xiao et al. 2017, MIT licence) in L2, strongest of 100-PGD x 2, "
        "APGD-CE, APGD-DLR, DDN and a search for the smallest perturbation. Weights of `benchmarks/compare.py "
        "--bundle fashion_mnist --norm l2`. Pictures: clean image, perturbation (one colour "
        "scale in all cases of a model), adversarial image.",
        "fashion_mnist.html",
        folders,
    )


def hippocampus(data: str, out: str, compare: str) -> list[str]:
    """The section on the hippocampus."""
    shipped = Path(HIPPOCAMPUS["bundle"]) / "models"
    start, robust = shipped / "model_ce.pt", shipped / "model.pt"
    folders = measure(f"{out}/hippocampus", HIPPOCAMPUS, f"{data}/Task04_Hippocampus", start, robust)
    written("hippocampus.html", folders, None, data)
    return section(
        "Hippocampus",
        f"Mean foreground Dice on 40 test scans (MSD Task04, CC BY-SA 4.0) in L2, strongest of 100-PGD "
        f"x 2 on three losses; `--only Hippocampus`, monai_ima {version('monai_ima')}. The bundle's small network with "
        "the weights that it ships. Pictures: made from "
        "these scans, under the same licence. More levels and training at fixed ε: "
        "[results/hippocampus.md](results/hippocampus.md).",
        "hippocampus.html",
        folders,
    )


def written(page: str, folders: dict[str, Path], last: str | None, data: str) -> None:
    """Write the report of a section; the folder of the data is called DIR in it, as in the command."""
    file = PICTURES / page
    file.unlink(missing_ok=True)
    report([str(one) for one in folders.values()], str(file), checkpoint=last, names=list(folders))
    file.write_text(file.read_text(encoding="utf-8").replace(data, "DIR"), encoding="utf-8")


SECTIONS: dict[str, Callable[[str, str, str], list[str]]] = {"Fashion-MNIST": fashion, "Hippocampus": hippocampus}


def main(
    data: str, out: str = "runs/gallery", compare: str = "runs/compare/fashion_mnist_l2", only: str | None = None
) -> None:
    """Evaluate, make the reports, write the page.

    Args:
        data: folder with the data of both.
        out: folder for the evaluations, below the repository's; an interrupted run in it is resumed.
        compare: what benchmarks/compare.py left of Fashion-MNIST, likewise.
        only: a section to make anew, Fashion-MNIST or Hippocampus; the other stays as it is.
    """
    names = chosen("section", only, SECTIONS)
    data = str(Path(data).resolve())
    os.chdir(REPO)
    PICTURES.mkdir(exist_ok=True)
    sections = {**kept(), **{name: SECTIONS[name](data, out, compare) for name in names}}
    write_page(
        PAGE,
        [
            "# Gallery",
            "What `python -m monai_ima evaluate` and `report` make of real data. Each page is one file that needs no "
            "network; download it and open it in a browser.",
            f"    python benchmarks/gallery.py --data DIR        (seed 0; {setting(1, 'process')})",
            "Values in brackets: 95 % intervals.",
            *(paragraph for name in SECTIONS for paragraph in sections[name]),
        ],
    )


if __name__ == "__main__":
    fire.Fire(main)
