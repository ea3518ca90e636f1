"""Process groups: all that the package takes of Ignite outside of handlers and engines."""

from __future__ import annotations

from typing import Any, cast

import ignite.distributed as idist
from ignite.distributed import get_world_size, one_rank_first

__all__ = ["gather_all", "get_world_size", "one_rank_first"]


def gather_all(value: Any) -> list[Any]:
    """The values of all processes in the order of their ranks, the same on each of them; picklable objects."""
    return list(cast(list, idist.all_gather(value))) if get_world_size() > 1 else [value]
