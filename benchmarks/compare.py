"""Every training method side by side on one data set: same start, epochs and batch order, same attacks afterwards.

A method's radius (and what else ``compare.json`` lists for it) is chosen on validation images by one rule for all: the
highest mean of clean and robust accuracy (20-step PGD) among the settings whose clean accuracy is within 3 points of
plain training; where there is none, the highest clean accuracy. Each method has three settings; IMA on ECG in L2 has
a weaker one more, because with seed 0 none of its three was within 3 points. The chosen ones are attacked on test
images by 100-step PGD with 2 restarts, APGD on cross-entropy and on the difference of logits ratio, and DDN (L2): a
sample counts as robust when it stands against all of them ("strongest"). SPSA on the first images and white noise are
shown beside. With --seeds the chosen settings are trained and attacked again from other starts, on other subsets: how
far a figure may be luck. With --choose_seeds all settings are trained from as many starts, and chosen on the validation
samples of all of them together: for data whose validation set is small. Without --subset Fashion-MNIST is taken in
full, with the bundle's epochs and batches; for a GPU, with --settings that a run on a subset chose.

``ecg_averaged`` asks whether the order on ECG beats is that of the methods or of their last steps at a constant
learning rate: not the last weights of a training are measured but their exponential moving average over its steps.
Each method has two settings, the one that was chosen in ``ecg`` and a stronger one.

    python benchmarks/compare.py --bundle fashion_mnist --subset 4000 --seeds 3 --data DIR
    python benchmarks/compare.py --bundle fashion_mnist --data DIR --settings "{pgd: [1], trades: [2], ...}"
    python benchmarks/compare.py --bundle ecg --norm l2 --seeds 3 --choose_seeds 3 --data DIR
    python benchmarks/compare.py --bundle ecg_averaged --norm linf --seeds 3 --choose_seeds 3 --data DIR

Writes docs/results/NAME.md, .csv and .png; weights and records stay in ``runs/compare``, and a broken-off run goes on
there. Uses the GPU when there is one.
"""

from __future__ import annotations

import csv
import json
import logging
import math
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from statistics import fmean, median
from typing import Any

import fire
import torch
from monai.bundle import ConfigWorkflow
from tqdm import tqdm

from monai_ima.attacks import DDN, attack_from_name, attack_mode
from monai_ima.bundle.load import OpenBundle, open_bundle
from monai_ima.bundle.run_folder import check_folder, start_folder
from monai_ima.engines import RobustnessEvaluator
from monai_ima.sample_ids import batch_sample_ids
from monai_ima.statistics import bootstrap_intervals
from monai_ima.streams import sample_streams
from monai_ima.visualize import robustness_curves
from studies import REPO, RESULTS, add_time, cells, last_epoch, replace_figure, setting, table, total_time, write_page

CONFIG = Path(__file__).with_suffix(".json")
NAMES = {"fashion_mnist": "Fashion-MNIST", "ecg": "ECG beats", "ecg_averaged": "ECG, mean weights"}
TITLES = {
    "plain": "plain training",
    "pgd": "PGD training",
    "trades": "TRADES",
    "ddn": "DDN training",
    "iaat": "IAAT",
    "mma": "MMA",
    "ima": "IMA",
}
HANDLERS = {
    "pgd": "PGDTrainingHandler",
    "trades": "TRADESHandler",
    "ddn": "DDNHandler",
    "iaat": "IAATHandler",
    "mma": "MMAHandler",
    "ima": "IMAHandler",
}
STEPS = {"ddn": 20}
"""Steps of a method's training attack; 10 for the others."""
WITH_MARGINS = {"iaat", "mma", "ima"}
IMA = {"update": "online"}
QUICK = "pgd20"
WHITE_BOX = ["pgd100x2", "apgd100-ce", "apgd100-dlr"]
BLACK_BOX_IMAGES = 100
NOISE = "noise100"
WITHIN = 0.03
TIE = 1e-9


@dataclass(frozen=True)
class Study:
    """One data set and norm; the same for every process."""

    name: str
    norm: str
    data: str | None
    subset: int | None
    seed: int
    out: str
    numbers: dict[str, list[int]] | None = None

    @cached_property
    def config(self) -> dict[str, Any]:
        return json.loads(CONFIG.read_text(encoding="utf-8"))[self.name]

    @property
    def bundle(self) -> Path:
        return REPO / "bundles" / self.config["bundle"]

    @property
    def levels(self) -> list[float]:
        return self.config["norms"][self.norm]["levels"]

    @property
    def black_box(self) -> str:
        """Name of the attack that sees no gradients."""
        return self.config["black_box"]

    @property
    def full(self) -> bool:
        """All images of a data set that is otherwise taken in part."""
        return "full" in self.config and self.subset is None

    @property
    def training(self) -> dict[str, Any]:
        """Epochs, batches, size of the validation set, and ``average``, the momentum of the weights' moving average."""
        return self.config["full" if self.full else "training"]

    @property
    def settings(self) -> dict[str, Any]:
        """Config ids that training and evaluation share."""
        training = self.training
        shared = {"dataset_dir": self.data, "seed": self.seed}
        for key in ("val_count", "val_fraction"):
            if key in training:
                shared[key] = training[key]
        if self.subset is not None:
            shared["subset"] = self.subset
        return shared

    def candidates(self) -> list[tuple[str, int]]:
        """Method and number of setting of every training."""
        methods = self.config["norms"][self.norm]["methods"]
        every = {method: list(range(max(1, len(settings)))) for method, settings in methods.items()}
        numbers = every if self.numbers is None else self.numbers
        return [(method, k) for method in every if method in numbers for k in numbers[method]]

    def handler(self, method: str, number: int) -> dict[str, Any]:
        """Config of the method's handler."""
        own = {"steps": STEPS.get(method, 10), "bounds": "@bounds", "seed": "@seed"}
        if method != "ddn":
            own["norm"] = self.norm
        if method == "ima":
            own |= IMA
        settings = self.config["norms"][self.norm]["methods"][method][number]
        return {"_target_": f"monai_ima.handlers.{HANDLERS[method]}", **own, **settings}

    def title(self, method: str, number: int) -> str:
        if method == "plain":
            return TITLES[method]
        settings = self.config["norms"][self.norm]["methods"][method][number]
        return f"{TITLES[method]} ({', '.join(f'{key} {value}' for key, value in settings.items())})"

    def folder(self, method: str, number: int) -> Path:
        part = f"{self.name}_{self.subset}" if self.subset is not None else self.name
        return Path(self.out) / f"{part}_{self.norm}_{self.seed}" / f"{method}_{number}"


def open_folder(study: Study, method: str, number: int) -> Path:
    """The folder of a setting, made with a note of what is trained and attacked in it.

    Raises:
        FileExistsError: when there is one, with another note or none.
    """
    folder = study.folder(method, number)
    note = {
        "training": study.training,
        "handler": None if method == "plain" else study.handler(method, number),
        "levels": study.levels,
        "test_subset": study.config.get("test_subset"),
        "synthetic": study.data is None,
    }
    try:
        check_folder(folder, note)
    except FileExistsError as error:
        raise FileExistsError(
            f"Folder {folder} was made with other settings than {CONFIG.name} has: give another --out."
        ) from error
    start_folder(folder, note)
    return folder


def train(study: Study, method: str, number: int) -> Path:
    """Train, or go on with it; returns the last epoch's checkpoint."""
    folder = study.folder(method, number)
    name = "model_ce" if method == "plain" else "model"
    done = folder / f"{name}_last.pt"
    if done.is_file():
        return done
    training = study.training
    changes: dict[str, Any] = {}
    files = ["train.json"]
    if method == "plain":
        files.append("train_ce.json")
    else:
        changes["train#handlers#0"] = study.handler(method, number)
        if method not in WITH_MARGINS:
            changes["train#checkpoint"] = {"model": "@network", "optimizer": "@optimizer", "trainer": "@train#trainer"}
            changes["validate#robust_handlers#3#save_dict"] = {"model": "@network"}
    if "average" in training:
        changes["average"] = {
            "_target_": "ignite.handlers.EMAHandler",
            "model": "@network",
            "momentum": training["average"],
        }
        changes["train#checkpoint#model"] = "$@average.ema_model"
        changes["train#checkpoint#network"] = "@network"
    begin = time.perf_counter()
    workflow = ConfigWorkflow(
        config_file=[str(study.bundle / "configs" / file) for file in files],
        logging_file=False,
        bundle_root=str(study.bundle),
        output_dir=str(folder / "log"),
        ckpt_dir=str(folder),
        resume=last_epoch(folder, name),
        val_interval=training["epochs"] + 1,
        **study.settings,
        **{key: training[key] for key in ("epochs", "batch_size", "learning_rate")},
        **changes,
    )
    workflow.initialize()
    if "average" in training:
        workflow.parser.get_parsed_content("average").attach(workflow.trainer)
    workflow.run()
    workflow.finalize()
    add_time(folder, time.perf_counter() - begin)
    return done


def open_study(study: Study, checkpoint: Path, split: str) -> OpenBundle:
    """The bundle's evaluator with a network's weights on the images of a split."""
    extra: dict[str, Any] = {"split": split}
    if split == "test" and "test_subset" in study.config and not study.full:
        extra["test_subset"] = study.config["test_subset"]
    extra["batch_size"] = 1000 if torch.cuda.is_available() else 250
    return open_bundle(study.bundle, checkpoint=checkpoint, **study.settings, **extra)


def broken_at(study: Study, opened: OpenBundle, attack: str, levels: list[float], images: int | None) -> dict[str, Any]:
    """For each sample the first level at which it is wrong (0: without noise), None when it stands at all."""
    attacker = attack_from_name(attack, study.norm, opened.bounds, opened.criterion)
    evaluator = RobustnessEvaluator(
        opened.network, attacker, opened.prepare_batch, opened.inferer, opened.device, study.seed
    )
    loader = opened.data_loader if images is None else islice(_in_tens(opened), images // 10)
    result = evaluator.run(loader, levels, progress=False)
    return {record.sample_id: record.broken for record in result.records}


def _in_tens(opened: OpenBundle) -> Any:
    loader: Any = opened.data_loader
    return torch.utils.data.DataLoader(loader.dataset, batch_size=10, collate_fn=loader.collate_fn)


def minimum_distances(study: Study, opened: OpenBundle) -> dict[str, float | None]:
    """The smallest L2 noise that DDN finds for each sample, up to twice the highest level; None where it finds none."""
    attack = DDN(100, init_eps=study.levels[0], bounds=opened.bounds)
    found: dict[str, float | None] = {}
    with attack_mode(opened.network):
        for batch in opened.data_loader:
            image, label, *_ = opened.prepare_batch(batch, opened.device)
            sample_ids = batch_sample_ids(batch, image)
            streams = sample_streams(f"{study.seed}/ddn", sample_ids, opened.device)
            result = attack(opened.network, image, label, 2 * study.levels[-1], streams)
            distances = zip(sample_ids, result.distance.tolist(), result.success.tolist(), strict=True)
            found.update({name: distance if success else None for name, distance, success in distances})
    return found


def planned(study: Study, stage: str) -> dict[str, Any]:
    """The attacks of a stage, each with its levels and number of images; None for smallest distances."""
    if stage == "val":
        return {QUICK: (study.levels, None)}
    tasks: dict[str, Any] = {attack: (study.levels, None) for attack in WHITE_BOX}
    if study.norm == "l2":
        tasks["ddn"] = None
    if stage == "test":
        tasks |= {NOISE: (study.levels, None), study.black_box: (study.levels[1:3], BLACK_BOX_IMAGES)}
    return tasks


def record_file(study: Study, method: str, number: int, stage: str, attack: str) -> Path:
    """Where an attack's records are."""
    return study.folder(method, number) / f"{'val' if stage == 'val' else 'test'}_{attack}.json"


def measure(study: Study, method: str, number: int, stage: str) -> None:
    """Attack validation (stage ``val``) or test images; each attack's records go into a file of their own.

    Stage ``again``, for further seeds, leaves out SPSA and white noise.
    """
    folder = study.folder(method, number)
    checkpoint = folder / ("model_ce_last.pt" if method == "plain" else "model_last.pt")
    opened = None
    for attack, task in planned(study, stage).items():
        file = record_file(study, method, number, stage, attack)
        if file.is_file():
            continue
        opened = opened or open_study(study, checkpoint, "val" if stage == "val" else "test")
        begin = time.perf_counter()
        found = minimum_distances(study, opened) if task is None else broken_at(study, opened, attack, *task)
        file.write_text(json.dumps(found, indent=0), encoding="utf-8")
        add_time(folder, time.perf_counter() - begin)


def one(study: Study, method: str, number: int, stage: str, threads: int) -> None:
    """A training, or the attacks on it, in a process of its own."""
    torch.set_num_threads(threads)
    logging.disable(logging.INFO)
    train(study, method, number)
    measure(study, method, number, stage)


def standing(study: Study, method: str, number: int, stage: str, attacks: list[str]) -> dict[str, list[bool]]:
    """Whether a sample is right without noise and at every level; it has to stand against all the attacks.

    Records are levels that broke a sample, of DDN distances: both are noise that is known to break it.
    """
    found = [_read(study, method, number, stage, attack) for attack in attacks]
    stands = {}
    for sample in found[0]:
        broken = [level for records in found if (level := records[sample]) is not None]
        stands[sample] = [min(broken, default=math.inf) > bound for bound in [0.0, *study.levels]]
    return stands


def shares(stands: dict[str, list[bool]]) -> list[float]:
    """Share of the samples that stand, without noise and at every level."""
    return [fmean(column) for column in zip(*stands.values(), strict=True)]


def accuracies(study: Study, method: str, number: int, stage: str, attacks: list[str]) -> list[float]:
    """Accuracy without noise and at every level, under all the attacks together."""
    return shares(standing(study, method, number, stage, attacks))


def _read(study: Study, method: str, number: int, stage: str, attack: str) -> dict[str, float | None]:
    return json.loads(record_file(study, method, number, stage, attack).read_text(encoding="utf-8"))


def validated(studies: list[Study]) -> dict[tuple[str, int], list[float]]:
    """Accuracies of every setting on validation samples, means over the seeds."""
    candidates = studies[0].candidates()
    return {task: _mean([accuracies(own, *task, "val", [QUICK]) for own in studies]) for task in candidates}


def choose(found: dict[tuple[str, int], list[float]]) -> dict[str, int]:
    """The number of each method's setting by the rule at the top, from its accuracies on validation samples."""
    plain = found[("plain", 0)][0]
    chosen = {}
    for method in dict.fromkeys(method for method, _ in found):
        own = {number: values for (name, number), values in found.items() if name == method}
        near = {number: values for number, values in own.items() if values[0] >= plain - WITHIN - TIE}
        chosen[method] = (
            max(near, key=lambda number: fmean(near[number])) if near else max(own, key=lambda number: own[number][0])
        )
    return chosen


def main(
    bundle: str,
    data: str | None = None,
    norm: str | None = None,
    subset: int | None = None,
    out: str = "runs/compare",
    seeds: int = 1,
    choose_seeds: int = 1,
    workers: int | None = None,
    settings: dict[str, list[int]] | None = None,
) -> None:
    """Train, choose, attack, write the page.

    Args:
        bundle: a study of compare.json: fashion_mnist, ecg or ecg_averaged.
        data: folder of the data; without one the bundle's SYNTHETIC data are used.
        norm: l2 or linf; default is the first one of compare.json.
        subset: that many training images (Fashion-MNIST); default is all of them.
        out: folder for weights and records; a broken-off run in it goes on.
        seeds: of start, subset, batch order and attacks: 0 to seeds - 1.
        choose_seeds: settings are chosen with seeds 0 to choose_seeds - 1; at most ``seeds``.
        workers: trainings at a time; default is 1 on a GPU, else one for each core.
        settings: numbers in compare.json of the settings that are tried for each method, "{ima: [0, 1], pgd: [1]}";
            plain training is always there. Default is all.
    """
    known = json.loads(CONFIG.read_text(encoding="utf-8"))
    if bundle not in known or (norm is not None and norm not in known[bundle]["norms"]):
        print(f"Got bundle {bundle!r} and norm {norm!r}, expected ones of {CONFIG.name}.", file=sys.stderr)
        sys.exit(2)
    norm = norm or next(iter(known[bundle]["norms"]))
    if not 1 <= choose_seeds <= seeds:
        print(f"Got choose_seeds {choose_seeds}, expected 1 to {seeds}, the number of seeds.", file=sys.stderr)
        sys.exit(2)
    methods = known[bundle]["norms"][norm]["methods"]
    if settings is not None:
        settings = {"plain": [0], **settings}
        for method, numbers in settings.items():
            if method not in methods or not all(k in range(max(1, len(methods[method]))) for k in numbers):
                print(f"Got settings {numbers} of {method!r}, expected numbers in {CONFIG.name}.", file=sys.stderr)
                sys.exit(2)
    study = Study(bundle, norm, data, subset, 0, str(Path(out).resolve()), settings)
    studies = [replace(study, seed=seed) for seed in range(seeds)]
    choosing = studies[:choose_seeds]
    cores = os.cpu_count() or 1
    workers = workers or (1 if torch.cuda.is_available() else cores)
    threads = max(1, cores // workers)

    def run(task: tuple[Study, str, int, str]) -> None:
        own, method, number, stage = task
        files = [record_file(*task, attack) for attack in planned(own, stage)]
        if all(file.is_file() for file in files):
            bar.update()
            return
        folder = own.folder(method, number)
        arguments = [own.name, own.norm, own.data or "", str(own.subset or ""), str(own.seed), own.out]
        command = [sys.executable, __file__, "one", *arguments, method, str(number), stage, str(threads)]
        with open(folder / "log.txt", "ab") as log:
            environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
            subprocess.run(command, stdout=log, stderr=log, check=True, env=environment)
        bar.update()

    def all_of(tasks: list[tuple[Study, str, int, str]]) -> None:
        try:
            for own, method, number, _ in tasks:
                open_folder(own, method, number)
        except FileExistsError as error:
            print(error, file=sys.stderr)
            sys.exit(2)
        list(pool.map(run, tasks))

    candidates = study.candidates()
    with ThreadPoolExecutor(workers) as pool:
        with tqdm(total=len(candidates) * choose_seeds, desc="trainings") as bar:
            all_of([(own, *task, "val") for own in choosing for task in candidates])
        validation = validated(choosing)
        chosen = choose(validation)
        with tqdm(total=len(chosen) * seeds, desc="attacks") as bar:
            for own in studies:
                all_of([(own, *task, "again" if own.seed else "test") for task in chosen.items()])
    report(studies, choosing, validation, threads)


def report(
    studies: list[Study], choosing: list[Study], validation: dict[tuple[str, int], list[float]], threads: int
) -> None:
    """docs/results/NAME.md, .csv and .png; accuracies are means over the seeds."""
    chosen = choose(validation)
    study, n, chosen_with = studies[0], len(studies), len(choosing)
    stem = study.name if len(study.config["norms"]) == 1 else f"{study.name}_{study.norm}"
    stem += "_full" if study.full else ""
    attacks = [*WHITE_BOX, *(["ddn"] if study.norm == "l2" else [])]
    stands = {task: [standing(own, *task, "test", attacks) for own in studies] for task in chosen.items()}
    every = {task: list(map(shares, found)) for task, found in stands.items()}
    strongest = {task: _mean(found) for task, found in every.items()}
    images = len(_read(study, "plain", chosen["plain"], "test", WHITE_BOX[0]))
    data = study.config["data"] if study.data else "SYNTHETIC data of the bundle"
    figure = robustness_curves(
        [0.0, *study.levels],
        {TITLES[method]: values for (method, _), values in strongest.items()},
        study.norm,
        f"{NAMES[study.name]}, {images} test samples, strongest of the attacks",
    )
    replace_figure(figure, RESULTS / f"{stem}.png")
    done = [own.folder(*task) for own in choosing for task in study.candidates()]
    done += [own.folder(*task) for own in studies[chosen_with:] for task in chosen.items()]
    hours = sum(map(total_time, done)) / 3600
    head = ["training", "clean", *(f"ε = {level:g}" for level in study.levels)]
    plain = strongest[("plain", chosen["plain"])][0]
    command = f"python benchmarks/compare.py --bundle {study.name} --norm {study.norm}"
    command += f" --subset {study.subset}" if study.subset else ""
    command += f" --seeds {n}" if n > 1 else ""
    command += f" --choose_seeds {chosen_with}" if chosen_with > 1 else ""
    command += f" --settings '{json.dumps(study.numbers)}'" if study.numbers else ""
    lines = [
        f"# {NAMES[study.name]}: every method side by side, {'L2' if study.norm == 'l2' else 'L∞'}",
        "",
        f"{data}; {images} test samples. ε in units of intensity, images and signals scaled to [0, 1].",
        "",
        f"    {command} --data DIR        ({_seeds(n)})",
        "",
        f"{setting(threads, 'training')}; "
        f"{hours:.1f} hours of all processes' wall time, other work beside them. The bundle's network, "
        f"{study.training['epochs']} epochs in batches of {study.training['batch_size']}, the same start and "
        f"batch order for all{_averaged(study)}; each method's setting was chosen on validation samples with "
        f"{_seeds(chosen_with)} (table at the end).",
        "",
        f"## Under the strongest of {len(attacks)} attacks",
        "",
        "A sample counts as right when it stands against all of: "
        + ", ".join(attacks)
        + ". Means over the seeds, each of "
        "which has its own start and training subset; *by seed*: the mean of clean and robust accuracy of each.",
        "",
        *table(
            [*head, "mean", "by seed", "clean within 3 points"],
            [
                [
                    study.title(*task),
                    *cells([*values, fmean(values)]),
                    " ".join(cells(map(fmean, every[task]))),
                    "yes" if values[0] >= plain - WITHIN - TIE else "no",
                ]
                for task, values in strongest.items()
            ],
        ),
        "",
        f"![Accuracy against ε]({stem}.png)",
        "",
        *_order(study, stands),
        "## Attack by attack",
        "",
    ]
    alone = {
        attack: {
            task: [accuracies(own, *task, "test", [attack]) for own in (studies if attack in attacks else [study])]
            for task in chosen.items()
        }
        for attack in [*attacks, NOISE]
    }
    for attack, found in alone.items():
        rows = [[study.title(*task), *cells(_mean(values))] for task, values in found.items()]
        lines += [f"### {attack}{'' if attack in attacks else ', seed 0'}", "", *table(head, rows), ""]
    lines += _black_box(study, chosen)
    if study.norm == "l2":
        rows = []
        for task in chosen.items():
            values = [
                math.inf if distance is None else distance
                for own in studies
                for distance in _read(own, *task, "test", "ddn").values()
            ]
            rows.append([study.title(*task), f"{median(values):.3f}"])
        lines += ["### Smallest noise that DDN finds, median", "", *table(["training", "L2"], rows), ""]
    rows = []
    for (method, number), values in validation.items():
        mark = "chosen" if chosen[method] == number else ""
        rows.append([study.title(method, number), *cells([*values, fmean(values)]), mark])
    lines += [
        "## Choice of settings, on validation samples under 20-step PGD",
        "",
        *table([*head, "mean", ""], rows),
    ]
    write_page(RESULTS / f"{stem}.md", lines)
    with open(RESULTS / f"{stem}.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["training", "attack", "seed", 0.0, *study.levels])
        for task in chosen.items():
            for attack, found in {"strongest": every, **alone}.items():
                for seed, values in enumerate(found[task]):
                    writer.writerow([study.title(*task), attack, seed, *values])


def _order(study: Study, stands: dict[tuple[str, int], list[dict[str, list[bool]]]]) -> list[str]:
    """How far every method's mean is from IMA's, with intervals; nothing where IMA was not trained."""
    ima = next((found for (method, _), found in stands.items() if method == "ima"), None)
    if ima is None:
        return []
    rows = []
    for task, found in stands.items():
        if task[0] == "ima":
            continue
        less, samples = [], []
        for own, other in zip(found, ima, strict=True):
            samples += list(own)
            less += [[fmean(own[sample]) - fmean(other[sample])] for sample in own]
        low, high = bootstrap_intervals(less, samples)[0]
        rows.append([study.title(*task), f"{fmean(one for (one,) in less):+.3f}", f"{low:+.3f} to {high:+.3f}"])
    return [
        "## How sure is the order?",
        "",
        "The mean of clean and robust accuracy less IMA's, sample by sample; 95 % bootstrap intervals over the test "
        "samples, each with all of its seeds. What another start or training subset changes is not in "
        "them: see *by seed*.",
        "",
        *table(["training", "less IMA's", "95 %"], rows),
        "",
    ]


def _black_box(study: Study, chosen: dict[str, int]) -> list[str]:
    levels = study.levels[1:3]
    rows = []
    for task in chosen.items():
        spsa = _read(study, *task, "test", study.black_box)
        white = _read(study, *task, "test", WHITE_BOX[0])
        values = []
        for records in (spsa, {sample: white[sample] for sample in spsa}):
            values += [fmean(v is None or v > level for v in records.values()) for level in levels]
        rows.append([study.title(*task), *cells(values)])
    head = ["training", *(f"SPSA, ε = {level:g}" for level in levels), *(f"PGD, ε = {level:g}" for level in levels)]
    samples = f"the first {BLACK_BOX_IMAGES} test samples"
    return [f"### {study.black_box} beside {WHITE_BOX[0]}, {samples}, seed 0", "", *table(head, rows), ""]


def _averaged(study: Study) -> str:
    if "average" not in study.training:
        return ""
    return f"; weights averaged over the steps (exponential moving average, momentum {study.training['average']:g})"


def _seeds(count: int) -> str:
    return "seed 0" if count == 1 else f"seeds 0 to {count - 1}"


def _mean(found: list[list[float]]) -> list[float]:
    return [fmean(column) for column in zip(*found, strict=True)]


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        name, norm, data, subset, seed, out, method, number, stage, threads = sys.argv[2:12]
        study = Study(name, norm, data or None, int(subset) if subset else None, int(seed), out)
        one(study, method, int(number), stage, int(threads))
    else:
        fire.Fire(main)
