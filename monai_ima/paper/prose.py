"""Numbers and lists in English sentences."""

from __future__ import annotations

from collections.abc import Sequence

from monai_ima.results.parts import Data
from monai_ima.utils.plain_numbers import counted

__all__ = ["changes", "count", "joined", "samples"]

CHANGES = {"dice": "changes as scanners make them", "accuracy": "changes as they arise in acquisition"}


def changes(metric: str) -> str:
    """What perturbations with parameters are called; what a classifier sees need not be from a scanner.

    Example:
        >>> changes("dice")
        'changes as scanners make them'
    """
    return CHANGES[metric]


def count(number: int, noun: str) -> str:
    """A number of things.

    Example:
        >>> count(1, "restart"), count(12000, "sample")
        ('1 restart', '12,000 samples')
    """
    return counted(number, noun, ",")


def joined(parts: Sequence[str]) -> str:
    """Parts of a sentence as a list.

    Example:
        >>> joined(["A"]), joined(["A", "B"]), joined(["A", "B", "C"])
        ('A', 'A and B', 'A, B and C')
    """
    *others, last = parts
    return f"{', '.join(others)} and {last}" if others else last


def samples(data: Data) -> str:
    """How many samples, synthetic ones called so, and from how many patients where that is known.

    Example:
        >>> samples(Data(name="phantom", licence=None, synthetic=True, samples=10, patients=5))
        '10 synthetic samples from 5 simulated patients'
    """
    kinds = ("synthetic ", "simulated ") if data.synthetic else ("", "")
    whom = "" if data.patients is None else f" from {count(data.patients, f'{kinds[1]}patient')}"
    return count(data.samples, f"{kinds[0]}sample") + whom
