"""Bad arguments of the Python API: one sentence that names the argument and says what was expected."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from matplotlib.figure import Figure
from monai.inferers import SimpleInferer
from torch import nn

from monai_ima import (
    attacks,
    criteria,
    data,
    engines,
    handlers,
    inferers,
    losses,
    margins,
    methods,
    networks,
    report,
    transforms,
    visualize,
)
from monai_ima.evaluation import ClassificationEvaluator, EvaluationSettings, SegmentationEvaluator, evaluate
from monai_ima.perturbations import get_norm
from monai_ima.report import Results, read_logs
from monai_ima.utils.weights import load_checkpoint, load_network, load_weights

NAN, INF = float("nan"), float("inf")
NETWORK = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
FIXED = torch.Generator().manual_seed(0)
IMAGE, LABEL = torch.rand(2, 1, 4, 4, generator=FIXED), torch.tensor([0, 1])
LOGITS, MAPS = torch.rand(2, 3, generator=FIXED), torch.rand(2, 3, 4, 4, generator=FIXED)
MASK = torch.zeros(2, 1, 4, 4, dtype=torch.long)
BATCH = {"image": IMAGE, "label": LABEL, "sample_id": ["a", "b"]}
CE = nn.CrossEntropyLoss()
COUNTS = (0, -1, 1.5, NAN, "5", True, [5], 2**31)
POSITIVE = (0, -1, NAN, INF, "5", True, [5], 1e39, 1e-46)
FRACTIONS = (-1, 2, NAN, "x", True)
SWITCHES = (1, "yes")
NORMS = ("l1", 2, ["l2"])
SEEDS = (-1, 1.5, "x", True)
NO_CRITERION = (5, criteria.DiceCriterion)
NO_NETWORK = (None, 5, nn.Linear)
NO_PATH = (None, 5, "", "a\0b")

ADDRESS = re.compile(r" at 0x[0-9a-f]+")
"""Differs in every process."""

Row = tuple[Callable[[], Any], str]


def each(make: Any, argument: str, *values: Any, named: str | None = None) -> list[Row]:
    """A row for each value of an argument; the message holds its name, or ``named``."""
    return [(partial(make, **{argument: value}), argument if named is None else named) for value in values]


def every(makes: Iterable[Any], argument: str, *values: Any, named: str | None = None) -> list[Row]:
    return [row for make in makes for row in each(make, argument, *values, named=named)]


def attacked(**changes: Any) -> Any:
    return attacks.PGD("l2", 2)(**{"network": NETWORK, "image": IMAGE, "label": LABEL, "eps": 0.1, **changes})


def evaluated(**changes: Any) -> Any:
    given: dict[str, Any] = {"network": NETWORK, "loader": [BATCH], "levels": [0.1], "attack": "pgd2", "out": "out"}
    return evaluate(**{**given, **changes})


STEPPING = [attacks.PGD, attacks.IFGSM, attacks.APGD, attacks.DDN, attacks.SPSA, attacks.BoundaryPGD]
ATTACKS = [*STEPPING, attacks.FGSM, attacks.UniformNoise, attacks.MinimumNorm]
OF_NAME = partial(attacks.attack_from_name, norm="l2")
ATTACK_ROWS = [
    *every(ATTACKS, "criterion", *NO_CRITERION),
    *every(ATTACKS, "bounds", (1, 0), "ab", 5, (0, NAN), (0, 1, 2)),
    *every([make for make in ATTACKS if make is not attacks.DDN], "norm", *NORMS),
    *every([*STEPPING, attacks.MinimumNorm], "steps", *COUNTS),
    *every([attacks.PGD, attacks.FGSM, attacks.SPSA, attacks.BoundaryPGD], "loss", 5, "ce", nn.CrossEntropyLoss),
    *every([attacks.PGD, attacks.UniformNoise], "generator", 5, "seed"),
    *each(attacks.PGD, "channels", [], [-1], [0, 0], "0", True, 1.5),
    *each(attacks.PGD, "output", 1.5, True, [0]),
    *each(attacks.PGD, "alpha", *POSITIVE),
    *each(attacks.PGD, "restarts", *COUNTS),
    *each(attacks.PGD, "random_start", *SWITCHES, None),
    *each(attacks.UniformNoise, "draws", *COUNTS),
    *each(attacks.SPSA, "samples", *COUNTS),
    *each(attacks.BoundaryPGD, "start", "edge", 5, None),
    *each(attacks.BoundaryPGD, "binary_steps", -1, 1.5, "2", True),
    *each(attacks.APGD, "objective", "x", 5, ["ce"]),
    *each(attacks.DDN, "gamma", 0, -1, 2, NAN, "x"),
    *each(attacks.WorstOf, "attacks", [], 5, [5], [attacks.PGD], attacks.PGD("l2")),
    *each(OF_NAME, "name", "x", "", 5, None, ["pgd2"], "pgd0", "pgd2x0", "pgd2+pgd2", "pgd2+", named="attack"),
    *each(attacked, "network", *NO_NETWORK, "net"),
    *each(attacked, "image", None, 5, [[1.0]], "x", torch.zeros(2, dtype=torch.long), torch.zeros(0, 1, 4, 4)),
    *each(attacked, "image", torch.full((2, 1, 4, 4), NAN), named="Sample 0 of the batch has an image with NaN"),
    *each(attacked, "label", None, [0, 1], "x", 5, LABEL[:1], LABEL / 2, torch.tensor([0, 7])),
    *each(attacked, "eps", None, "x", NAN, -1.0, INF, [], [0.1, 0.2, 0.3], True),
    *each(attacked, "generator", 5, "x", [torch.Generator()], [1, 2]),
    *each(attacked, "criterion", *NO_CRITERION),
    *each(get_norm, "name", *NORMS, None, named="norm"),
]

MAP_CRITERIA = [criteria.DiceCriterion, criteria.SurfaceDiceCriterion]
CLASSIFIERS = [criteria.ClassificationCriterion(), criteria.BinaryCriterion()]
CRITERION_ROWS = [
    *every([criteria.ClassificationCriterion, *MAP_CRITERIA], "ignore_index", 1.5, "x", True, NAN),
    *each(criteria.BinaryCriterion, "threshold", 0, 1, NAN, "x", True),
    *every(MAP_CRITERIA, "threshold", 0, 2, -1, NAN, "x", True, None, "relative:2", "relative:", [0.5]),
    *every(MAP_CRITERIA, "sigmoid", *SWITCHES, None),
    *every(MAP_CRITERIA, "include_background", *SWITCHES),
    *each(criteria.SurfaceDiceCriterion, "tolerance", -1, NAN, INF, "x", True),
    *each(criteria.AlwaysCorrect, "criterion", None, *NO_CRITERION),
    *every([partial(made, label=LABEL) for made in CLASSIFIERS], "logits", None, [[1.0]], "x"),
    *every([partial(made, LOGITS) for made in CLASSIFIERS], "label", None, [0, 1], "x", torch.zeros(5)),
    *each(partial(criteria.DiceCriterion(), label=MASK), "logits", None, [1.0], MAPS[0]),
    *each(partial(criteria.DiceCriterion(), MAPS), "label", None, [0, 1], MASK[:, :, :2]),
]

LOSSES = [losses.IMALoss, losses.TRADESLoss, losses.MMALoss]
LOSS_ROWS = [
    *every(LOSSES, "loss_function", None, 5, "ce", nn.CrossEntropyLoss),
    *each(partial(losses.IMALoss, CE), "beta", *FRACTIONS),
    *each(partial(losses.IMALoss, CE), "sums", *SWITCHES),
    *each(partial(losses.TRADESLoss, CE), "beta", -1, NAN, "x", True),
    *each(partial(losses.TRADESLoss, CE), "sigmoid", *SWITCHES),
    *each(partial(losses.MMALoss, CE), "clean_weight", *FRACTIONS),
    *each(losses.SegmentationLoss, "dice_weight", -1, NAN, "x", True, None),
    *each(losses.SegmentationLoss, "ce_weight", -1, NAN, "x", True, None),
    *each(partial(losses.SegmentationLoss, ce_weight=0), "dice_weight", 0),
    *each(losses.SegmentationLoss, "sigmoid", *SWITCHES, None),
    *each(partial(losses.SegmentationLoss(), label=MASK), "logits", None, [1.0]),
    *each(partial(losses.SegmentationLoss(), MAPS), "label", None, [0]),
    *each(partial(losses.soft_logit_margin, label=LABEL), "logits", None, [1.0]),
    *each(partial(losses.soft_logit_margin, LOGITS), "label", None, [0, 1]),
    *each(partial(losses.divergence, logits=LOGITS, label=LABEL), "reference", None, 5),
    *each(partial(losses.divergence, LOGITS, label=LABEL), "logits", None, [1.0], LOGITS[:1]),
    *each(partial(losses.divergence, LOGITS, LOGITS), "label", None, 5),
]

STATE = {"ids": ["a"], "margins": torch.ones(1), "delta": 0.1}
STATES = [{"ids": None}, {"ids": [5]}, {"margins": [1.0]}, {"margins": torch.zeros(1, 2)}, {"margins": torch.zeros(2)}]
TABLE = margins.MarginTable(1.0, 0.1)
MARGIN_ROWS = [
    *each(margins.MarginTable, "eps_max", *POSITIVE, None),
    *each(partial(margins.MarginTable, 1.0), "delta", 0, -1, NAN, 2, "x", True, [1]),
    *[(partial(TABLE.__setitem__, "a", eps), "margin") for eps in (NAN, INF, "x", None, [1], True)],
    (partial(TABLE.__setitem__, 5, 0.5), "sample 5"),
    *each(TABLE.load_state_dict, "state", None, 5, {}, [], named="margins"),
    *each(TABLE.load_state_dict, "state", *[{**STATE, **change} for change in STATES], named="margin"),
    *each(TABLE.load_state_dict, "state", {**STATE, "delta": "x"}, {**STATE, "delta": NAN}, named="delta"),
    *each(margins.summarize_margins, "table", TABLE, named="empty"),
]

WITH_RADIUS: dict[Callable[..., Any], str] = {
    handlers.IMAHandler: "eps_max",
    handlers.IAATHandler: "eps_max",
    handlers.MMAHandler: "eps_max",
    handlers.PGDTrainingHandler: "eps",
    handlers.TRADESHandler: "eps",
    methods.IMA: "eps_max",
    methods.PGDTraining: "eps",
}
MADE = [partial(make, 0.1) for make in WITH_RADIUS]
IMA = partial(handlers.IMAHandler, 0.1)
HANDLER_ROWS = [
    *[row for make, name in WITH_RADIUS.items() for row in each(make, name, *POSITIVE, None)],
    *every(MADE, "criterion", *NO_CRITERION),
    *every(MADE, "norm", *NORMS),
    *every(MADE, "steps", *COUNTS),
    *every(MADE, "seed", *SEEDS),
    *every(MADE, "attack_mode", "x", 5, None, named="attack mode"),
    *each(IMA, "bounds", (1, 0), 5),
    *each(IMA, "start_epoch", -1, 1.5, "x", True),
    *each(IMA, "sample_key", 5, [], ""),
    *each(IMA, "delta", 0, 2, NAN, "x", True),
    *each(IMA, "beta", *FRACTIONS),
    *each(IMA, "margin_steps", *COUNTS),
    *each(IMA, "margin_restarts", *COUNTS),
    *each(IMA, "update", "x", 5, None),
    *each(IMA, "update_interval", *COUNTS),
    *each(IMA, "noisy_samples", "x", 5),
    *each(IMA, "first_pass", *SWITCHES),
    *each(handlers.IMAHandler(0.1).attach, "engine", None, 5, nn.Linear, named="expected a SupervisedTrainer"),
    *each(partial(handlers.TRADESHandler, 0.1), "beta", -1, NAN, "x", True),
    *each(handlers.EpochSeed, "seed", *SEEDS),
    *each(partial(handlers.BestWeights, folder="f", name="n"), "network", *NO_NETWORK),
    *each(partial(handlers.BestWeights, NETWORK, name="n"), "folder", *NO_PATH),
    *each(partial(handlers.StartWeights, NETWORK), "file", *NO_PATH),
    *each(partial(handlers.StartWeights, file="f.pt"), "network", *NO_NETWORK),
    *each(partial(handlers.BaselineThreshold, criteria.DiceCriterion()), "evaluator", None, 5),
    *each(partial(handlers.BaselineThreshold, evaluator=None), "criterion", None, *NO_CRITERION),
    *each(partial(handlers.ClassProbabilityCSV, classes=["a"]), "path", *NO_PATH),
    *each(partial(handlers.ClassProbabilityCSV, "f.csv"), "classes", None, 5, [], "ab"),
    *each(partial(handlers.Resumable, prefix="m", objects={}), "folder", *NO_PATH),
    *each(partial(handlers.Resumable, "f", "m"), "objects", None, 5, []),
    *each(partial(handlers.RobustValidation, None, None, NETWORK, "f"), "name", "n", named="evaluator"),
]

NOISED = partial(transforms.BoundaryNoised, "image")
PARTS = [partial(inferers.AveragedInferer, passes=2), partial(inferers.OutputInferer, output=0), inferers.PadInferer]
NETWORKS = [
    networks.ECGNet,
    networks.FashionMNISTNet,
    networks.SVHNNet,
    networks.OCTNet,
    networks.ResNet2d,
    networks.WideResNet,
]
PART_ROWS = [
    *each(transforms.RandUniformNoise, "eps", -1, NAN, "x", None, True, (1, 0), (0, NAN), [], (0, 1, 2)),
    *each(partial(transforms.RandUniformNoise, 0.1), "prob", *FRACTIONS, None),
    *each(partial(transforms.RandUniformNoise, 0.1), "norm", *NORMS, None),
    *each(partial(transforms.RandUniformNoised, "image"), "eps", -1, "x", None),
    *each(partial(NOISED, eps=0.1), "network", *NO_NETWORK),
    *each(partial(NOISED, NETWORK), "eps", -1, 0, NAN, "x", None, True),
    *each(partial(NOISED, NETWORK, 0.1), "criterion", *NO_CRITERION),
    *each(partial(NOISED, NETWORK, 0.1), "steps", *COUNTS),
    *each(partial(transforms.SampleIdd, "image"), "root", 5, [], ""),
    *every([transforms.intensity_scaling, transforms.intensity_bounds], "scale", "hu", 5, None, "5:1", "1:nan", [], ""),
    *every(PARTS, "inferer", 5, "x", SimpleInferer),
    *each(partial(inferers.AveragedInferer, SimpleInferer()), "passes", *COUNTS),
    *each(partial(inferers.OutputInferer, SimpleInferer()), "output", 1.5, True, []),
    *each(inferers.PadInferer, "k", 0, 1.5, "x", NAN, None, True, [2, 0]),
    *each(inferers.PadInferer, "min_size", -1, 1.5, "x", NAN, None),
    *every(NETWORKS, "num_classes", 0, -1, 1.5, "x", True, None),
    *each(networks.WideResNet, "depth", 11, "x", True, 10.0),
    *each(networks.WideResNet, "dropout", -1, 1, NAN, "x", True),
    *each(networks.OCTNet, "channels", [], [0], 5, "x", None),
    *each(networks.OCTNet, "blocks", [], [0], 5, "x", None),
    *each(networks.ResNet2d, "channels", [], [0], 5, "x", None),
    *each(networks.ResNet2d, "depth", 0, 34, "18", None, 18.5),
    *each(networks.ResNet2d, "norm", "layer", None, 5),
]

DATALISTS = [data.fashion_mnist_datalist, data.svhn_datalist, data.cifar10_datalist, data.ecg_datalist]
CHECKPOINT_READERS: list[Any] = [load_checkpoint, load_weights, margins.load_margins, partial(load_network, NETWORK)]
DATA_ROWS = [
    *each(partial(data.fashion_mnist_datalist, None), "phantom_per_class", 0, -1, 1.5, "x", None, named="per_class"),
    *every(DATALISTS, "dataset_dir", "none", named="none does not exist"),
    *every(DATALISTS, "dataset_dir", 5, [1], True),
    *each(partial(data.own_volumes, labels="b"), "images", 5, "a\0b", True),
    *each(data.own_volumes, "fractions", (1, 0, 0), (0.5, 0.5), "abc", 1),
    *each(data.own_volumes, "evaluated", "training", 5, named="split"),
    *each(partial(data.own_scans, "none"), "channels", *COUNTS),
    *each(partial(data.own_scans, channels=1), "images", *NO_PATH),
    *each(partial(data.volume_plan, network="UNet", strides={"UNet": 16}), "scans", [], 5, None),
    *each(partial(data.volume_plan, ["scan"], strides={"UNet": 16}), "network", "Unet", 5, None, [1]),
    *each(partial(data.volume_plan, ["scan"], "UNet", {"UNet": 16}), "scale", 5, None),
    *each(partial(data.volume_plan, ["scan"], "UNet", {"UNet": 16}), "patch_size", 32, [32, 16, 8], [32.0] * 3, "x"),
    *each(partial(data.volume_plan, ["scan"], "UNet", {"UNet": 16}), "spacing", 1, [1, 1], [1, 1, NAN], "x"),
    *each(partial(data.volume_plan, ["scan"], "UNet", {"UNet": 16}), "class_names", "abc", ["a"]),
    *each(data.msd_class_names, "dataset_dir", *NO_PATH),
    *each(data.kept_plan, "weights", *NO_PATH),
    *each(partial(data.kept_image_plan, own_data=False), "weights", *NO_PATH),
    *each(partial(data.kept_image_plan, "models/model.pt"), "own_data", 5, None),
    *each(partial(data.kept_image_plan, "models/model.pt", False), "depth", "many", 1.5),
    *each(data.kept_split, "folder", *NO_PATH),
    *each(partial(data.keep_split, datalist={"train": [], "val": [], "test": []}), "folder", *NO_PATH),
    *each(partial(data.kept_class_names, dataset_dir=None, otherwise=["a", "b"]), "weights", *NO_PATH),
    *each(partial(data.check_class_names, classes=["a", "b"]), "weights", *NO_PATH),
    *each(partial(data.keep_plan, "models"), "plan", None, {}, "plan.json"),
    *[(partial(read, path), "checkpoint") for read in CHECKPOINT_READERS for path in NO_PATH],
    *[(partial(read, "none.pt"), "none.pt does not exist") for read in CHECKPOINT_READERS],
    *each(partial(data.image_folder_datalist, phantom_dir="p"), "dataset_dir", 5, [1], True),
    *each(partial(data.image_folder_datalist, phantom_dir="p"), "dataset_dir", "none", named="none does not exist"),
    *each(partial(data.image_folder_datalist, "none", "p"), "fractions", [], [1, 0, 0], [0.5, 0.5, 0.5]),
    *each(data.ImageFileReader, "channels", 0, 2, "3", True, None),
    *each(data.ImageFileReader, "intensity_range", [], [1], [1, 0], 5, "ab"),
    *each(partial(data.grouped_split, [0, 1], None, seed=0), "share", 0, 1, NAN, "x", None),
    *each(partial(data.grouped_split, [0, 1], None, 0.5), "seed", *SEEDS),
    *each(partial(data.write_shapes_phantom, "p"), "channels", 0, 2, None),
    *each(Results.read, "path", *NO_PATH),
    *each(Results.read, "path", "none", named="none does not exist"),
    *each(read_logs, "folder", *NO_PATH),
    *each(read_logs, "folder", "none", named="none does not exist"),
]

PGD = attacks.PGD("l2", 2)
UNDER_ATTACK = partial(engines.AdversarialPrepareBatch, NETWORK, PGD, 0.1)
ENGINE_ROWS = [
    *each(partial(engines.AdversarialPrepareBatch, attack=PGD, eps=0.1), "network", *NO_NETWORK, "net"),
    *each(partial(engines.AdversarialPrepareBatch, NETWORK, eps=0.1), "attack", None, 5, "pgd2", attacks.PGD),
    *each(partial(engines.AdversarialPrepareBatch, NETWORK, PGD), "eps", -1, NAN, INF, "x", None, [1], True, 1e39),
    *each(UNDER_ATTACK, "prepare_batch", 5, "x", engines.AdversarialPrepareBatch),
    *each(UNDER_ATTACK, "inferer", 5, "x", SimpleInferer),
    *each(engines.with_handlers, "engine_class", None, 5, "x"),
    *each(partial(engines.with_handlers, Engine), "handlers_before", [5], ["x"], named="handler"),
    *each(partial(engines.with_handlers, Engine), "handlers_after", [5], [nn.Identity()], named="handler"),
]

CURVES, HISTOGRAM = (
    partial(make, **given)
    for make, given in (
        (visualize.robustness_curves, {"levels": [0, 1], "norm": "l2"}),
        (visualize.margin_histogram, {"margins": [0.1]}),
    )
)
SCAN = {"image": IMAGE[0], "noisy": IMAGE[0], "label": MASK[0], "clean_pred": MASK[0], "noisy_pred": MASK[0]}
SHOWN = partial(visualize.volume_example, **SCAN, eps=0.1, norm="l2")
REPORT_ROWS = [
    *each(CURVES, "accuracies", None, 5, [[1, 0]]),
    *each(CURVES, "accuracies", {"a": [1]}, named="Line 'a' has 1 values"),
    *each(HISTOGRAM, "eps_max", *POSITIVE, None),
    *each(partial(HISTOGRAM, eps_max=1.0), "bins", *COUNTS),
    *each(partial(visualize.save_figure, path="f.png"), "figure", None, 5, "f.png"),
    *each(partial(visualize.save_figure, Figure()), "path", *NO_PATH),
    *each(partial(visualize.attack_examples, classes=["a"]), "examples", [], None, 5, [5]),
    *each(partial(visualize.level_pictures, IMAGE[0]), "levels", [], None, 5, [5]),
    *each(
        partial(visualize.level_pictures, IMAGE[0]), "levels", [visualize.Level("a", {"b": IMAGE})], named="Level 'a'"
    ),
    *each(partial(visualize.level_pictures, levels=[]), "clean", None, 5, [1.0]),
    *each(partial(visualize.case_picture, noisy=IMAGE[0]), "clean", None, [1.0], IMAGE),
    *each(partial(visualize.case_picture, IMAGE[0]), "noisy", None, 5, IMAGE),
    *[row for name in SCAN for row in each(SHOWN, name, None, [1.0])],
    *each(SHOWN, "image", IMAGE[0, 0]),
    *every([report.build_report, report.json_summary], "models", [], None, 5, [5], "results.json"),
    *every([report.html_page, report.markdown], "report", None, 5, "report", []),
]
EVALUATOR = partial(ClassificationEvaluator, NETWORK)
ON_MAPS = partial(SegmentationEvaluator, NETWORK, attacks.PGD("l2", 2, criterion=criteria.DiceCriterion()))
UNLABELLED = {key: value for key, value in BATCH.items() if key != "label"}
EVALUATION_ROWS = [
    *each(evaluated, "network", *NO_NETWORK, "x"),
    *each(evaluated, "loader", None, 5, iter([BATCH]), "x"),
    *each(evaluated, "loader", [], named="no samples"),
    *each(evaluated, "loader", [UNLABELLED], [{**BATCH, "label": None}], named="no labels"),
    *each(evaluated, "loader", [{**BATCH, "sample_id": ["a"]}], [BATCH, BATCH], named="id"),
    *each(evaluated, "levels", [], None, "x", [NAN], [INF], [-1], [True], [[1]], 5j, [1e39], [1e-46], named="level"),
    *each(evaluated, "norm", *NORMS, None),
    *each(evaluated, "attack", "x", "", 5, [], "pgd0", "pgd2-dice", "pgd2+pgd2"),
    *each(evaluated, "out", *NO_PATH),
    *each(evaluated, "criterion", *NO_CRITERION),
    *each(evaluated, "bounds", (1, 0), 5, "x", (0, NAN)),
    *each(evaluated, "device", "nonsense", "cuda:99", 5.5, [], "", "meta"),
    *each(evaluated, "classes", 5, "ab", [1]),
    *each(evaluated, "prepare_batch", 5, "x"),
    *each(evaluated, "inferer", 5, "x", SimpleInferer),
    *each(evaluated, "metadata", 5, "x", [1]),
    *each(evaluated, "synthetic", *SWITCHES),
    *each(evaluated, "seed", *SEEDS, 2**63),
    *each(evaluated, "tolerance", -1, NAN, INF, "x", True, None),
    *each(evaluated, "eot", *COUNTS, 10_001),
    *each(evaluated, "cases", -1, 1.5, NAN, "x", True, None, 101),
    *each(evaluated, "channels", [3], [-1], "x", []),
    *each(evaluated, "minimum", *SWITCHES),
    *each(evaluated, "checks", *SWITCHES),
    *each(evaluated, "colour", 1),
    *each(partial(evaluated, checks=True), "transfer_from", 5, ""),
    *each(partial(evaluated, checks=True), "transfer_from", "none.pt", named="none.pt does not exist"),
    *each(partial(evaluated, group_by="site"), "groups", 5, ""),
    *each(partial(evaluated, group_by="site"), "groups", "none.csv", named="none.csv does not exist"),
    *each(partial(EvaluationSettings, levels=[1]), "units", "x", 5, None),
    *each(EVALUATOR, "attack", None, 5, {}, {"a": 5}, attacks.PGD, "pgd2"),
    *each(partial(ClassificationEvaluator, attack=PGD), "network", *NO_NETWORK),
    *each(partial(EVALUATOR, PGD), "noise_draws", -1, 1.5, "x", True),
    *each(partial(EVALUATOR, PGD), "seed", *SEEDS),
    *each(partial(EVALUATOR, PGD), "device", "nonsense", 5.5),
    *each(ON_MAPS, "tolerance", -1, NAN, "x", True),
]
ROWS = [
    *(*ATTACK_ROWS, *CRITERION_ROWS, *LOSS_ROWS, *MARGIN_ROWS),
    *(*HANDLER_ROWS, *PART_ROWS, *DATA_ROWS, *EVALUATION_ROWS, *ENGINE_ROWS, *REPORT_ROWS),
]


def described(row: Row) -> str:
    call = row[0]
    assert isinstance(call, partial)
    name = getattr(call.func, "__qualname__", type(call.func).__name__)
    given: dict[Any, Any] = {**dict(enumerate(call.args)), **call.keywords}
    key, value = list(given.items())[-1]
    return f"{name}({key}={' '.join(ADDRESS.sub('', repr(value)).split())[:40]})"


@pytest.mark.parametrize("row", ROWS, ids=described)
def test_a_bad_argument_is_refused_in_one_sentence(row: Row, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, words = row
    with pytest.raises((ValueError, TypeError, FileNotFoundError, FileExistsError)) as refused:
        call()
    message = str(refused.value)
    assert words in message
    assert "expected" in message
    assert "\n" not in message
    assert message.endswith(".")
    assert list(tmp_path.iterdir()) == []


def test_an_integral_float_is_an_integer():
    ima = methods.IMA(0.1, steps=3.0, margin_steps=4.0, seed=7.0)
    settings = EvaluationSettings(levels=[1], eot=1e1, seed=1e2)
    made = [ima.margin_attack.steps, ima.seed, attacks.PGD(steps=1e3).steps, settings.eot, settings.seed]
    assert made == [4, 7, 1000, 10, 100]
    assert {type(number) for number in made} == {int}


def test_the_tables_evaluation_and_attack_work_with_good_arguments(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(evaluated().samples) == 2
    assert attacked().image.shape == IMAGE.shape
