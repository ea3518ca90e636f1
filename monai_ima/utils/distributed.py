from __future__ import annotations

from typing import Any, cast

import ignite.distributed as idist

__all__ = ["gather_all"]


def gather_all(value: Any) -> list[Any]:
    """The values of all processes in the order of their ranks, the same on each of them; picklable objects."""
    return list(cast(list, idist.all_gather(value))) if idist.get_world_size() > 1 else [value]
