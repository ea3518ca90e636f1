from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data.utils import set_rnd

from monai_ima.utils.checks import MAX_SEED, check_count
from monai_ima.utils.distributed import rank

__all__ = ["EpochSeed"]


class EpochSeed:
    """Makes every epoch's randomness a function of the seed and the epoch's number.

    At the start of an epoch the generators of Python, NumPy and torch and, when a dataset is given, its random
    transforms are seeded from ``seed``, the epoch and the process's rank. Shuffling, augmentation and dropout of an
    epoch are then the same whether a run reached it without a break or was resumed there. Use it beside
    ``monai.utils.set_determinism``, with data loaders that do not keep persistent workers.

    Args:
        seed: >= 0.
        dataset: the training dataset, for its random transforms where the loader has no workers of its own.

    Raises:
        ValueError: if ``seed`` < 0.

    Example:
        >>> from types import SimpleNamespace
        >>> draws = []
        >>> for epoch in (1, 2, 1):
        ...     EpochSeed(0)(SimpleNamespace(state=SimpleNamespace(epoch=epoch)))
        ...     draws.append(float(torch.rand(1)))
        >>> draws[0] == draws[2], draws[0] == draws[1]
        (True, False)
    """

    def __init__(self, seed: int = 0, dataset: Any = None) -> None:
        self.seed = check_count("seed", seed, 0, MAX_SEED)
        self.dataset = dataset

    def attach(self, engine: Engine) -> None:
        """Hook into ``EPOCH_STARTED``.

        Args:
            engine: the trainer.
        """
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Seed the epoch that starts."""
        seed = (self.seed + 1_000_003 * engine.state.epoch + 7_919 * rank()) % 2**32
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - transforms of others may draw from NumPy's global state
        torch.manual_seed(seed)
        if self.dataset is not None:
            set_rnd(self.dataset, seed=seed)
