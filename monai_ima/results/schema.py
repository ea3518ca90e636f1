"""What ``results.json`` says, read and checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from .fields import Field, read_json

__all__ = [
    "FORMAT",
    "AttackCurve",
    "Case",
    "Check",
    "Crosscheck",
    "Curve",
    "Groups",
    "Minimum",
    "Noise",
    "Results",
    "Sample",
    "Units",
    "read_results",
]

FORMAT = 2
PNG = b"\x89PNG\r\n\x1a\n"
SURFACE_METRICS = {"surface_dice": 1.0, "hd95": float("inf")}

Curve = list[float | None]
"""One value a level; None where none is defined."""
Intervals = list[tuple[float, float] | None]


@dataclass(frozen=True)
class AttackCurve:
    """The score at every level under an attack and all before it, with 95 % intervals."""

    name: str
    values: Curve
    intervals: Intervals


@dataclass(frozen=True)
class Units:
    """``level * per_unit`` is the level in the data's own intensity, such as HU."""

    name: str
    per_unit: float


@dataclass(frozen=True)
class Noise:
    """Share of the white-noise draws, in 0..1 at every level, that turn a right prediction."""

    draws: int
    failure_rate: Curve


@dataclass(frozen=True)
class Minimum:
    """Smallest noise that turns a sample, searched up to ε = ``up_to``; ``of`` counts the rightly predicted samples."""

    up_to: float
    found: int
    of: int
    median: float | None


@dataclass(frozen=True)
class Groups:
    """Scores by subgroup of the samples; ``largest_gap`` is (level, one group, other group, gap)."""

    column: str
    samples: dict[str, int]
    values: dict[str, Curve]
    intervals: dict[str, Intervals]
    largest_gap: tuple[float, str, str, float] | None


@dataclass(frozen=True)
class Check:
    """A check against false robustness; ``status`` is passed, failed or not run."""

    title: str
    status: str
    numbers: dict[str, float | None]
    says: str
    means: str


@dataclass(frozen=True)
class Crosscheck:
    """Scores at one level by independent code; rows are (by, theirs, ours, agrees)."""

    epsilon: float
    samples: int
    rows: list[tuple[str, float, float, bool]]


@dataclass(frozen=True)
class Case:
    """One of the worst cases, with the bytes of its PNG picture."""

    sample_id: str
    epsilon: float
    says: str
    picture: bytes


@dataclass(frozen=True)
class Sample:
    """A sample of a classification.

    Attributes:
        right: predicted rightly without noise.
        broken_at: first level at which any of the attacks turns it; None when it stands at every level.
        distance: norm of the smallest noise found; None when none was found or searched.
    """

    right: bool
    broken_at: float | None
    distance: float | None


@dataclass(frozen=True)
class Results:
    """One ``results.json``.

    Attributes:
        file: it was read from; ``digest`` is the SHA-256 of its bytes.
        model: its name; ``network`` is the network's, ``parameters`` their number.
        data: its name.
        settings: option and value of the evaluation, as texts.
        norm: ``"l2"`` or ``"linf"``.
        levels: ε, rising.
        attacks: cumulative; the last is the strongest.
        surface: ``surface_dice`` and ``hd95`` (mm) at every level; empty for classifications.
        by_class: score by class under the last attack; ``surface_by_class`` the same for both of ``surface``.
        samples: of a classification, in the file's order; empty for segmentations.
        label: what the reader calls the model; None means its own name.
    """

    file: Path
    digest: str
    task: str
    metric: str
    model: str
    model_version: str | None
    network: str
    parameters: int
    checkpoint: str
    data: str
    licence: str | None
    synthetic: bool
    sample_count: int
    patients: int | None
    command: str
    settings: dict[str, str]
    machine: str
    versions: dict[str, str]
    norm: str
    levels: list[float]
    units: Units | None
    attacks: list[AttackCurve]
    surface: dict[str, Curve]
    by_class: dict[str, Curve]
    surface_by_class: dict[str, dict[str, Curve]]
    noise: Noise | None
    minimum: Minimum | None
    groups: Groups | None
    checks: list[Check] | None
    crosscheck: Crosscheck | None
    cases: list[Case]
    samples: list[Sample]
    label: str | None = None

    @property
    def strongest(self) -> AttackCurve:
        """The curve that counts: under all attacks."""
        return self.attacks[-1]

    @property
    def failed(self) -> list[Check]:
        """The checks against false robustness that failed."""
        return [check for check in self.checks or () if check.status == "failed"]


def read_results(path: str | Path) -> Results:
    """Read and check a results file of format 2.

    Args:
        path: the file, or the folder that holds it as ``results.json``.

    Raises:
        FileNotFoundError: when the file, or a picture that it names, does not exist.
        ValueError: when it is no results file of format 2, naming file and key.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "results.json"
    content = read_json(file)
    if not isinstance(content.value, dict):
        raise content.error("an object, results of 'python -m monai_ima evaluate'")
    if content.value.get("format") != FORMAT:
        found = content.value.get("format")
        raise ValueError(f"{file} has format {found!r}, expected {FORMAT}: evaluate again with this monai_ima.")
    task = content["task"].choice("classification", "segmentation")
    classified = task == "classification"
    levels = _levels(content["levels"])
    metric = content["metric"].choice("accuracy" if classified else "dice")
    model, data = content["model"], content["data"]
    classes = list(content[f"{metric}_by_class"].entries())
    return Results(
        file=file,
        digest=hashlib.sha256(file.read_bytes()).hexdigest(),
        task=task,
        metric=metric,
        model=model["name"].text(),
        model_version=model["version"].optional_text(),
        network=model["network"].text(),
        parameters=model["parameters"].count(),
        checkpoint=model["checkpoint"].text(),
        data=data["name"].text(),
        licence=data["licence"].optional_text(),
        synthetic=data["synthetic"].flag(),
        sample_count=data["samples"].count(),
        patients=None if data["patients"].missing else data["patients"].count(),
        command=content["command"].text(),
        settings={key: _shown(one.value) for key, one in content["settings"].entries().items()},
        machine=content["machine"].text(),
        versions={key: one.text() for key, one in content["versions"].entries().items()},
        norm=content["norm"].choice("l2", "linf"),
        levels=levels,
        units=_units(content["units"]),
        attacks=_attacks(content["attacks"], len(levels), classified),
        surface={} if classified else {k: _curve(content[k], len(levels), top) for k, top in SURFACE_METRICS.items()},
        by_class={name: _curve(content[f"{metric}_by_class"][name], len(levels)) for name in classes},
        surface_by_class={}
        if classified
        else {
            key: {name: _curve(content[f"{key}_by_class"][name], len(levels), top) for name in classes}
            for key, top in SURFACE_METRICS.items()
        },
        noise=_noise(content["noise"], len(levels)),
        minimum=_minimum(content["minimum"]),
        groups=_groups(content["groups"], len(levels)),
        checks=None if content["checks"].missing else [_check(one) for one in content["checks"].items()],
        crosscheck=_crosscheck(content["crosscheck"]),
        cases=[_case(one) for one in content["cases"].items()],
        samples=_samples(content, levels) if classified else [],
    )


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _levels(field: Field) -> list[float]:
    levels = [one.number(0) for one in field.items()]
    if not levels or any(b <= a for a, b in pairwise(levels)):
        raise field.error("at least one level of noise, rising")
    return levels


def _units(field: Field) -> Units | None:
    if field.missing:
        return None
    per_unit = field["per_unit"]
    if per_unit.number() <= 0:
        raise per_unit.error("a number above 0")
    return Units(field["name"].text(), per_unit.number())


def _curve(field: Field, count: int, top: float = 1.0) -> Curve:
    return [one.optional_number(0, top) for one in field.items(count)]


def _intervals(field: Field, count: int) -> Intervals:
    return [one.interval() for one in field.items(count)]


def _attacks(field: Field, count: int, classified: bool) -> list[AttackCurve]:
    attacks = []
    for one in field.items():
        values = one["values"].items(count)
        curve = [value.number(0, 1) if classified else value.optional_number(0, 1) for value in values]
        attacks.append(AttackCurve(one["name"].text(), curve, _intervals(one["intervals"], count)))
    if not attacks:
        raise field.error("at least one attack")
    return attacks


def _noise(field: Field, count: int) -> Noise | None:
    if field.missing:
        return None
    return Noise(field["draws"].count(), _curve(field["failure_rate"], count))


def _minimum(field: Field) -> Minimum | None:
    if field.missing:
        return None
    up_to = field["up_to"].number(0)
    if up_to == 0:
        raise field["up_to"].error("a number above 0")
    found, of = field["found"].count(), field["of"].count()
    if found > of:
        raise field["found"].error(f"at most {of}, the rightly predicted samples")
    return Minimum(up_to, found, of, field["median"].optional_number(0))


def _groups(field: Field, count: int) -> Groups | None:
    if field.missing:
        return None
    samples = {name: one.count() for name, one in field["samples"].entries().items()}
    if not samples:
        raise field["samples"].error("at least one group")
    values = {name: _curve(field["values"][name], count) for name in samples}
    intervals = {name: _intervals(field["intervals"][name], count) for name in samples}
    return Groups(field["column"].text(), samples, values, intervals, _gap(field["largest_gap"], samples))


def _gap(field: Field, samples: Mapping[str, int]) -> tuple[float, str, str, float] | None:
    if field.missing:
        return None
    between = [one.choice(*samples) for one in field["between"].items()]
    if len(between) != 2:
        raise field["between"].error("the names of two groups")
    return field["level"].number(0), between[0], between[1], field["gap"].number(0, 1)


def _check(field: Field) -> Check:
    return Check(
        title=field["title"].text(),
        status=field["status"].choice("passed", "failed", "not run"),
        numbers={name: one.optional_number() for name, one in field["numbers"].entries().items()},
        says=field["says"].text(),
        means=field["means"].text(),
    )


def _crosscheck(field: Field) -> Crosscheck | None:
    if field.missing:
        return None
    rows = [
        (row["by"].text(), row["theirs"].number(0, 1), row["ours"].number(0, 1), row["agrees"].flag())
        for row in field["rows"].items()
    ]
    return Crosscheck(field["epsilon"].number(0), field["samples"].count(), rows)


def _case(field: Field) -> Case:
    named = field["picture"]
    folder = field.file.parent.resolve()
    picture = (folder / named.text()).resolve()
    if not picture.is_relative_to(folder):
        raise named.error("a file in the folder of the results")
    if not picture.is_file():
        raise FileNotFoundError(f"Picture {picture}, named by {named.key} in {field.file}, does not exist.")
    content = picture.read_bytes()
    if not content.startswith(PNG):
        raise ValueError(f"Picture {picture}, named by {named.key} in {field.file}, is not a PNG file.")
    return Case(field["sample_id"].text(), field["epsilon"].number(0), field["says"].text(), content)


def _samples(content: Field, levels: Sequence[float]) -> list[Sample]:
    samples = [_sample(one, levels) for one in content["samples"].items()]
    counted = content["data"]["samples"]
    if len(samples) != counted.count():
        raise counted.error(f"{len(samples)}, the number of entries of samples")
    if content["minimum"].missing:
        return samples
    found = sum(sample.right and sample.distance is not None for sample in samples)
    if found != content["minimum"]["found"].count():
        raise content["minimum"]["found"].error(f"{found}, the rightly predicted samples that have a distance")
    return samples


def _sample(field: Field, levels: Sequence[float]) -> Sample:
    broken = [_one_of(one, levels) for one in field["broken_at"].entries().values() if not one.missing]
    return Sample(
        right=field["label"].count() == field["predicted"].count(),
        broken_at=min(broken, default=None),
        distance=field["distance"].optional_number(0),
    )


def _one_of(field: Field, levels: Sequence[float]) -> float:
    if field.number() not in levels:
        raise field.error("one of the levels")
    return field.number()
