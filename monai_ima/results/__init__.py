"""``results.json``: its schema, statistics, subgroups, and the folder that an evaluation writes to."""

from .paired import PairedDifference, differences_from_first, paired_differences

__all__ = ["PairedDifference", "differences_from_first", "paired_differences"]
