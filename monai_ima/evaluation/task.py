"""What an evaluation needs of a task, beyond the steps that are the same for all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic

from matplotlib.figure import Figure

from monai_ima.results.schema import ClassificationResults, SegmentationResults
from monai_ima.results.settings import EvaluationSettings

from .evaluator import Example, Outcome, Record, SampleEvaluator
from .loaded import LoadedBundle

__all__ = ["Task"]


class Task(ABC, Generic[Record, Outcome, Example]):
    """Classification or segmentation.

    Args:
        loaded: what is evaluated.
        settings: of the evaluation.

    Attributes:
        evaluator: attacks the samples.
        overview: file name of one picture beside the curve.
        max_verified: how many samples are checked for gradient masking and verified with independent code.
    """

    overview: ClassVar[str]
    max_verified: ClassVar[int]
    evaluator: SampleEvaluator[Record, Outcome, Example]

    def __init__(self, loaded: LoadedBundle, settings: EvaluationSettings) -> None:
        self.loaded, self.settings = loaded, settings
        self.attack_names = settings.attack_names(loaded.segments)
        self.attacks = loaded.attacks(self.attack_names, settings.norm)

    @abstractmethod
    def results(self, outcome: Outcome, common: Mapping[str, Any]) -> ClassificationResults | SegmentationResults:
        """The results.

        Args:
            outcome: what the evaluator found.
            common: fields that every task has.
        """

    @abstractmethod
    def curve(self, results: Any) -> Figure:
        """Score against ε."""

    @abstractmethod
    def tables(self, results: Any) -> dict[str, list[Sequence[Any]]]:
        """Rows of the CSV files, by file name; the first row is the header."""

    @abstractmethod
    def drawn(self, outcome: Outcome) -> tuple[list[str], dict[str, float]]:
        """The sample ids of the cases, the one that is broken most easily first; ε by id of all that are drawn."""

    @abstractmethod
    def picture(self, results: Any, example: Example, limit: float) -> tuple[str, Figure]:
        """What happened to a case, in words and as a picture.

        Args:
            results: of the evaluation.
            example: the case.
            limit: noise that the colour scale of all cases ends at, on both sides of 0.
        """

    @abstractmethod
    def draw_overview(self, folder: Path, results: Any, examples: Mapping[str, Example]) -> None:
        """Write the picture named :attr:`overview`; those of the cases are there."""
