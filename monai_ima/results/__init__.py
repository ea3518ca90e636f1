"""What an evaluation writes: ``results.json`` and the tables beside it, and models compared pair by pair."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .paired import PairedDifference, differences_from_first, paired_differences

__all__ = ["PairedDifference", "differences_from_first", "paired_differences"]


def __getattr__(name: str) -> Any:
    """On first use, since the command line imports this package and is to answer ``--help`` without NumPy."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import paired

    return getattr(paired, name)
