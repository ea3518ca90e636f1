"""Perturbation budgets that depend on the norm, for the bundles' configs.

The paper (arXiv 2005.09147, section 3) sets ε_n, here ``eps_max``, for each data set and norm. A config holds these
values, takes the one of its ``norm``, and warns where a given ``eps_max`` looks like that of the other norm:

.. code-block:: json

    "paper_eps_max": {"linf": 0.3, "l2": 1.5},
    "eps_max": "$by_norm(@paper_eps_max, @norm)",
    "initialize": ["$warn_of_other_norm(@eps_max, @norm, @paper_eps_max)"]
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from .checks import check_choice, check_positive

__all__ = ["by_norm", "warn_of_other_norm"]

logger = logging.getLogger(__name__)


def by_norm(values: Mapping[str, float], norm: str) -> float:
    """The value of a norm.

    Args:
        values: one for each norm, ``{"linf": 0.3, "l2": 1.5}``.
        norm: one of these.

    Raises:
        ValueError: if there is no value of that norm.

    Example:
        >>> by_norm({"linf": 0.3, "l2": 1.5}, "l2")
        1.5
    """
    return values[check_choice("norm", norm, sorted(values))]


def warn_of_other_norm(eps_max: float, norm: str, paper: Mapping[str, float]) -> None:
    """Log a warning if ``eps_max`` is nearer, in ratio, to the paper's value of another norm than to that of its own.

    Args:
        eps_max: ε_max in use, > 0, in the units that the network sees.
        norm: of ``eps_max``, one of ``paper``.
        paper: the paper's ε_n by norm, each > 0.

    Raises:
        ValueError: if ``norm`` is not in ``paper`` or ``eps_max`` <= 0.

    Example:
        >>> warn_of_other_norm(5.0, "linf", {"linf": 0.3, "l2": 1.5})  # logs a warning
    """
    budget = by_norm(paper, norm)
    ratio = {name: abs(math.log(check_positive("eps_max", eps_max) / value)) for name, value in paper.items()}
    nearest = min(paper, key=lambda name: ratio[name])
    if ratio[nearest] < ratio[norm]:
        logger.warning(
            "Got eps_max %g for norm %s, expected about %g, the paper's: it is nearer to the paper's %g for norm %s.",
            *(eps_max, norm, budget, paper[nearest], nearest),
        )
