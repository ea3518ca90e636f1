"""``results.json``, written and read by one class for each task.

``docs/results_schema.json`` is what :func:`json_schema` returns.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple, Self

from pydantic import Field, JsonValue, PrivateAttr, TypeAdapter, ValidationError, model_validator
from pydantic_core import from_json

from monai_ima.utils.checks import check_path
from monai_ima.utils.files import whole_file

from .base import Bounds, Count, Curve, Distances, Fraction, Levels, Part, Positive, mismatch, one_sentence, shown
from .parts import AttackCurve, Case, Data, Groups, ImageValues, Minimum, Model, Noise, Units, Verification
from .perturbed import PerturbationResult
from .pixel_size import PixelSize
from .records import CheckResult, SampleRecord, ScanRecord
from .tidy import summary_lines, tidy_rows

__all__ = ["FORMAT", "RESULTS", "ClassificationResults", "Results", "SegmentationResults", "Source", "json_schema"]

FORMAT: Final = 3
RESULTS = "results.json"
PNG = b"\x89PNG\r\n\x1a\n"


class Source(NamedTuple):
    """The file that results were read from: its SHA-256, and the PNG picture of each case and of each perturbation."""

    file: Path
    digest: str
    pictures: list[bytes]
    strips: list[bytes | None]


class Results(Part):
    """What every ``results.json`` says, whatever the task.

    Attributes:
        command: that measured it.
        settings: option and value of the evaluation.
        date: of its end, ``2026-11-27``; None in results of older versions.
        commit: of the git repository that it was started in, with ``+`` where files were changed; None outside of one.
        levels: perturbation budgets ε, rising.
        units: None where ε has no size in the data's own intensity.
        image_values: None in results of older versions.
        bounds: lowest and highest intensity that attacks keep to, as the network sees them, each None where there is
            none; None where there are no bounds, and in results of older versions.
        attacks: cumulative; the last is the strongest.
        noise: uniform random noise beside the attacks; None where it was not drawn.
        minimum, groups, checks, crosscheck: None where they were not asked for.
        cases: those that are broken most easily come first.
        noise_scale: noise that the colour scale of all cases ends at, on both sides of 0; None without cases, and in
            results of older versions, whose cases have a grey scale each.
        perturbations: with parameters, beside the noise of ``levels``; empty where none was asked for.

    Example:
        >>> Results.read("eval/robustness")
        Traceback (most recent call last):
        FileNotFoundError: File eval/robustness does not exist, expected results of 'python -m monai_ima evaluate'.
    """

    curves: ClassVar[tuple[str, ...]] = ()
    """Fields with a value for every ε; of each there is one by class too."""

    format: Literal[3]
    task: str
    metric: str
    model: Model
    data: Data
    command: str
    settings: dict[str, JsonValue]
    machine: str
    date: str | None = None
    commit: str | None = None
    versions: dict[str, str]
    norm: Literal["l2", "linf"]
    levels: Levels
    units: Units | None
    image_values: ImageValues | None = None
    bounds: Bounds | None = None
    classes: list[str]
    attacks: list[AttackCurve]
    noise: Noise | None
    minimum: Minimum | None
    groups: Groups | None
    checks: list[CheckResult] | None
    crosscheck: Verification | None
    cases: list[Case]
    noise_scale: Positive | None = None
    perturbations: list[PerturbationResult] = Field(default_factory=list)

    _source: Source | None = PrivateAttr(None)
    _label: str | None = PrivateAttr(None)

    @property
    def strongest(self) -> AttackCurve:
        """The curve that counts: under all attacks."""
        return self.attacks[-1]

    @property
    def pixel_size(self) -> PixelSize:
        """What ε is worth in a pixel."""
        return PixelSize(self.norm, self.units, self.image_values, self.bounds)

    @property
    def failed(self) -> list[CheckResult]:
        """The checks for gradient masking that failed."""
        return [result for result in self.checks or () if result.status == "failed"]

    @property
    def by_class(self) -> Mapping[str, Curve]:
        """Score of every class under all attacks, by the class's name."""
        return getattr(self, f"{self.metric}_by_class")

    @property
    def source(self) -> Source:
        """What they were read from.

        Raises:
            ValueError: if they were not read from a file.
        """
        if self._source is None:
            raise ValueError("These results were not read from a file, expected those of Results.read.")
        return self._source

    @property
    def origin(self) -> str:
        """What errors call them: the file that they were read from, else the label."""
        return self.label if self._source is None else str(self._source.file)

    @property
    def label(self) -> str:
        """What the reader calls the model, else its own name."""
        return self._label or self.model.name

    def named(self, label: str) -> Self:
        """The same results of a model that the reader calls ``label``."""
        copy = self.model_copy()
        copy._label = label
        return copy

    def __repr__(self) -> str:
        return "\n".join(summary_lines(self))

    __str__ = __repr__

    def to_dataframe(self) -> Any:
        """The samples as a ``pandas.DataFrame`` with a row for each sample, attack and ε.

        Returns:
            the columns sample_id, patient, group, attack, epsilon and score, as :func:`~monai_ima.results.tidy_rows`.

        Raises:
            ImportError: if pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise ImportError("A DataFrame needs pandas, expected it installed: pip install pandas.") from None
        return pandas.DataFrame(list(tidy_rows(self)))

    def command_with(self, *options: str) -> str | None:
        """The command, or the call from Python, with more options of an evaluation switched on; None where it is none,
        as of results that a study made.
        """
        if self.command.endswith(")"):
            return f"{self.command[:-1]}, {', '.join(f'{option}=True' for option in options)})"
        if " evaluate " not in self.command:
            return None
        return " ".join([self.command, *(f"--{option}" for option in options)])

    @staticmethod
    def read(path: str | Path) -> ClassificationResults | SegmentationResults:
        """Read and check a results file.

        Args:
            path: the file, or the folder that holds it as ``results.json``.

        Raises:
            FileNotFoundError: if the file, or a picture that it names, does not exist.
            ValueError: if it is not as an evaluation of this version writes it; names file and key.
        """
        file = Path(check_path("path", path))
        file = file / RESULTS if file.is_dir() else file
        if not file.is_file():
            inside = sorted(str(one.parent) for depth in ("*", "*/*") for one in file.parent.glob(f"{depth}/{RESULTS}"))
            hint = f"; there are some in {', '.join(inside)}" if inside else ""
            raise FileNotFoundError(
                f"File {file} does not exist, expected results of 'python -m monai_ima evaluate'{hint}."
            )
        text = file.read_bytes()
        kind = TASKS[_task(file, text)]
        try:
            results = kind.model_validate_json(text)
        except ValidationError as error:
            raise ValueError(one_sentence(error, file)) from None
        pictures = [_picture(file, f"cases[{k}]", case.picture) for k, case in enumerate(results.cases)]
        strips = [
            None if one.case is None else _picture(file, f"perturbations[{k}].case", one.case.picture)
            for k, one in enumerate(results.perturbations)
        ]
        results._source = Source(file, hashlib.sha256(text).hexdigest(), pictures, strips)
        return results

    def write(self, folder: Path) -> Path:
        """Write ``results.json`` into a folder, under another name first: it is there whole or not at all."""
        file = folder / RESULTS
        with whole_file(file) as unfinished:
            unfinished.write_text(json.dumps(self.model_dump(), indent=1, allow_nan=False), encoding="utf-8")
        return file

    @model_validator(mode="after")
    def _one_value_for_every_level(self) -> Self:
        if not self.attacks:
            raise mismatch(["attacks"], self.attacks, "at least one attack")
        found: dict[tuple[str | int, ...], Sequence[Any]] = {(name,): getattr(self, name) for name in self.curves}
        for k, attack in enumerate(self.attacks):
            found |= {("attacks", k, name): getattr(attack, name) for name in ("values", "intervals")}
        if self.noise is not None:
            found["noise", "failure_rate"] = self.noise.failure_rate
        tables: dict[tuple[str, ...], Any] = {
            (f"{name}_by_class",): getattr(self, f"{name}_by_class") for name in self.curves
        }
        if self.groups is not None:
            tables |= {("groups", name): getattr(self.groups, name) for name in ("values", "intervals")}
        found |= {(*key, name): curve for key, table in tables.items() for name, curve in table.items()}
        for place, curve in found.items():
            if len(curve) != len(self.levels):
                raise mismatch(place, curve, f"{len(self.levels)} entries, one for each of levels")
        return self

    @model_validator(mode="after")
    def _classes_agree(self) -> Self:
        for name in self.curves:
            key = f"{name}_by_class"
            missing = set(self.by_class) - set(getattr(self, key))
            if missing:
                raise mismatch([key], list(getattr(self, key)), f"an entry for the class {min(missing)}")
        return self


class ClassificationResults(Results):
    """``results.json`` of a classification; accuracy is under all attacks.

    Of independent outputs (multi-label) a sample is correct if every one of them is right; ``accuracy_by_class`` has
    for each output the share of the samples whose output is right.
    """

    curves = ("accuracy",)

    task: Literal["classification"]
    metric: Literal["accuracy"]
    accuracy: list[Fraction]
    accuracy_by_class: Mapping[str, Curve]
    samples: list[SampleRecord]

    @property
    def multi_label(self) -> bool:
        """The network has several outputs, independent of each other."""
        return any(isinstance(sample.label, list) for sample in self.samples)

    def labelled(self, k: int) -> int:
        """How many samples are of class ``k``; of independent outputs, of how many its label is known."""
        labels = [sample.label for sample in self.samples]
        return sum(label == k if isinstance(label, int) else label[k] is not None for label in labels)

    @model_validator(mode="after")
    def _samples_agree(self) -> Self:
        _check_count(self.data, self.samples)
        self._check_outputs()
        for k, sample in enumerate(self.samples):
            for name, eps in sample.broken_at.items():
                if eps is not None and eps not in self.levels:
                    raise mismatch(["samples", k, "broken_at", name], eps, "one of the levels")
        found = sum(sample.correct and sample.distance is not None for sample in self.samples)
        if self.minimum is not None and self.minimum.found != found:
            expected = f"{found}, the correctly classified samples that have a distance"
            raise mismatch(["minimum", "found"], self.minimum.found, expected)
        return self

    def _check_outputs(self) -> None:
        if not self.multi_label:
            return
        for k, sample in enumerate(self.samples):
            for name in ("label", "predicted", "noisy_predicted"):
                value = getattr(sample, name)
                if not isinstance(value, list) or len(value) != len(self.classes):
                    expected = f"{len(self.classes)} entries, one for each of classes"
                    raise mismatch(["samples", k, name], value, expected)


class SegmentationResults(Results):
    """``results.json`` of a segmentation; means over scans, under all attacks, distances in :attr:`distance_unit`."""

    curves = ("dice", "surface_dice", "hd95")

    task: Literal["segmentation"]
    metric: Literal["dice"]
    dice: Curve
    surface_dice: Curve
    hd95: Distances
    dice_by_class: Mapping[str, Curve]
    surface_dice_by_class: Mapping[str, Curve]
    hd95_by_class: Mapping[str, Distances]
    hd95_undefined: list[Count]
    samples: list[ScanRecord]

    @property
    def distance_unit(self) -> str:
        """``mm``; ``voxels`` where the images do not know how large these are."""
        return " or ".join(sorted({sample.unit for sample in self.samples}))

    @model_validator(mode="after")
    def _samples_agree(self) -> Self:
        _check_count(self.data, self.samples)
        if len(self.hd95_undefined) != len(self.levels):
            raise mismatch(
                ["hd95_undefined"], self.hd95_undefined, f"{len(self.levels)} entries, one for each of levels"
            )
        return self


def _check_count(data: Data, samples: Sequence[Any]) -> None:
    if len(samples) != data.samples:
        raise mismatch(["data", "samples"], data.samples, f"{len(samples)}, the number of entries of samples")


TASKS: Mapping[str, type[ClassificationResults | SegmentationResults]] = {
    "classification": ClassificationResults,
    "segmentation": SegmentationResults,
}


def json_schema() -> str:
    """The JSON schema of ``results.json``."""
    kinds: TypeAdapter[Any] = TypeAdapter(
        Annotated[ClassificationResults | SegmentationResults, Field(discriminator="task")]
    )
    return json.dumps(kinds.json_schema(), indent=1, ensure_ascii=False) + "\n"


def _task(file: Path, text: bytes) -> str:
    """The task of a results file of this format."""
    try:
        content = from_json(text)
    except ValueError as error:
        raise ValueError(f"{file} is not JSON ({error}), expected results of 'python -m monai_ima evaluate'.") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file} is {shown(content)}, expected an object, results of 'python -m monai_ima evaluate'.")
    found = content.get("format")
    if found != FORMAT:
        raise ValueError(f"{file} has format {found!r}, expected {FORMAT}: evaluate again with this monai_ima.")
    if "task" not in content:
        raise ValueError(f"{file} has no task, expected it as 'python -m monai_ima evaluate' writes it.")
    if content["task"] not in TASKS:
        raise ValueError(f"task in {file} is {shown(content['task'])}, expected one of {', '.join(TASKS)}.")
    return content["task"]


def _picture(file: Path, owner: str, name: str) -> bytes:
    """The bytes of the picture that an entry of the file names."""
    key, folder = f"{owner}.picture in {file}", file.parent.resolve()
    picture = (folder / name).resolve()
    if not picture.is_relative_to(folder):
        raise ValueError(f"{key} is {shown(name)}, expected a file in the folder of the results.")
    if not picture.is_file():
        raise FileNotFoundError(f"Picture {picture}, named by {key}, does not exist.")
    content = picture.read_bytes()
    if not content.startswith(PNG):
        raise ValueError(f"Picture {picture}, named by {key}, is not a PNG file.")
    return content
