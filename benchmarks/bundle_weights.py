"""Small weights, trained on SYNTHETIC data, for every bundle without weights of its own, with their model cards.

Each bundle is trained by its ``configs/train.json`` with ``configs/synthetic.json`` on top, which makes data and
network small, and attacked on its test samples. Weights and card go to ``models/synthetic`` of the bundle. An
interrupted run goes on where it was; to make weights anew, remove their folder and ``eval/synthetic`` of the bundle.

    nice python benchmarks/bundle_weights.py --bundles ecg_classification,oct_classification
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from monai_ima.cli.app import main as monai_ima
from monai_ima.margins import load_margins
from monai_ima.results.base import as_numbers
from monai_ima.results.schema import ClassificationResults, Results, SegmentationResults
from monai_ima.utils.weights import load_weights
from studies import REPO, CommandLine, cells, chosen, level_titles, setting, table, train_bundle, write_page

OVERLAY = "synthetic.json"
BUNDLES = {
    file.parent.parent.name.removesuffix("_ima"): file.parent.parent
    for file in sorted((REPO / "bundles").glob(f"*/configs/{OVERLAY}"))
}
ATTACKS = {"classification": "pgd50x2", "segmentation": "pgd20"}
KEPT = ("model.pt", "plan.json")
"""What of a training is shipped."""


def recipe(root: Path) -> dict[str, Any]:
    """The training's config, settings of ``configs/synthetic.json`` on top; nothing is built."""
    files = [root / "configs" / name for name in ("train.json", OVERLAY)]
    return ConfigParser.load_config_files([str(file) for file in files])


def make(root: Path) -> None:
    """Train and attack a bundle; write its weights and their card."""
    made, work = root / "models" / "synthetic", root / "eval" / "synthetic"
    last = work / "models" / "model_last.pt"
    train_bundle(root, last, [OVERLAY], output_dir=str(work))
    made.mkdir(exist_ok=True)
    for name in KEPT:
        if (last.parent / name).is_file():
            shutil.copyfile(last.parent / name, made / name)
    command = evaluation(root, last)
    if not (work / "robustness" / "results.json").is_file() and monai_ima(command) != 0:
        raise SystemExit(f"The evaluation of {root.name} failed.")
    write_page(made / "README.md", card(root, Results.read(work / "robustness"), last, command))


def evaluation(root: Path, last: Path) -> list[str]:
    """The words of the command that attacks the test samples, clean, at half of ε_max and at ε_max."""
    margins = load_margins(last)
    place = root.relative_to(REPO)
    options = {
        "bundle": place,
        "config": f"evaluate.json,{OVERLAY}",
        "levels": f"0,{margins.eps_max / 2:g},{margins.eps_max:g}",
        "norm": margins.norm,
        "attack": ATTACKS[root.name.split("_")[-2]],
        "out": place / "eval" / "synthetic" / "robustness",
    }
    return ["evaluate", *(word for name, value in options.items() for word in (f"--{name}", str(value)))]


def card(root: Path, results: ClassificationResults | SegmentationResults, last: Path, command: list[str]) -> list[str]:
    """The model card, in paragraphs."""
    metadata = json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))
    metric = "Dice" if isinstance(results, SegmentationResults) else "accuracy"
    values = as_numbers(results.dice if isinstance(results, SegmentationResults) else results.accuracy)
    return [
        f"# Weights on SYNTHETIC data: {metadata['name']}",
        "They show that training, evaluation, inference and export of this bundle work, without a download. **On real "
        "data they mean nothing**: for that, train with data of your own. Research only, not for clinical use.",
        table(["", ""], _facts(root, results, last, metadata["data_without_dataset_dir"])),
        f"On {results.data.samples} synthetic test samples, under {results.attacks[-1].name} in {results.norm}:",
        table(["", *level_titles(results.levels)], [[metric, *cells(values)]]),
        f"(`monai-ima {' '.join(command)}`, which also gives 95 % intervals.)",
        "Limits: one seed, few samples, a network and a training made small so that the file is small and made within "
        "minutes. The figures are no measure of what IMA reaches (`docs/results` of the project has those), and "
        "nothing is said about data of another kind.",
        f"Inference on the synthetic test samples: `{_run(root, 'inference.json')}`",
    ]


def _facts(root: Path, results: Results, last: Path, data: str) -> list[list[str]]:
    config, margins = recipe(root), load_margins(last)
    parameters = sum(weight.numel() for weight in load_weights(last).values())
    plain = f"{config['plain_epochs']} epochs of plain training, then " if "plain_epochs" in config else ""
    planned = (root / "models" / "synthetic" / "plan.json").is_file()
    settings = f"{margins.norm}, ε_max {margins.eps_max:g}, δ {margins.delta:g}, β {config['beta']:g}"
    return [
        ["files", "`model.pt`" + (", and `plan.json`, which says how images are read" if planned else "")],
        ["network", f"`network_def` with the settings of `configs/{OVERLAY}`: {parameters} numbers"],
        ["data", f"**SYNTHETIC**: {data}; {len(margins)} training and {results.data.samples} test samples"],
        ["training", f"{plain}{config['epochs']} epochs of IMA ({settings}); weights of the best epoch under attack"],
        ["command", f"`python benchmarks/bundle_weights.py --bundles {root.name.removesuffix('_ima')}`, which runs "
         f"`{_run(root, 'train.json')}`"],
        ["seed", str(config["seed"])],
        ["machine", setting(1, "training")],
        ["licence", "Apache 2.0, as the code that made data and weights"],
    ]  # fmt: skip


def _run(root: Path, config: str) -> str:
    place = root.relative_to(REPO)
    files = f"\"['{place}/configs/{config}','{place}/configs/{OVERLAY}']\""
    return f"python -m monai.bundle run --config_file {files} --bundle_root {place}"


def main() -> None:
    """Make the weights of the bundles that are asked for."""
    parser = CommandLine(__doc__)
    parser.add_argument("--bundles", help=f"some of {', '.join(BUNDLES)}, separated by commas; default: all")
    arguments = parser.parse_args()
    try:
        names = chosen("bundle", arguments.bundles, BUNDLES)
    except ValueError as error:
        parser.error(str(error))
    for name in names:
        make(BUNDLES[name])


if __name__ == "__main__":
    main()
