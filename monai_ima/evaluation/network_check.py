"""Whether a network can be attacked, found out before the work starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai_ima.attacks.independence import refuse_batch_dependence
from monai_ima.utils.predictor import Predictor
from monai_ima.utils.tensors import plain

from .loaded import LoadedBundle

__all__ = ["NetworkCheck"]


class NetworkCheck:
    """Refuses a network that looks at the other samples of a batch; the first batch of two or more samples tells.

    Args:
        loaded: its network, with its inferer.
    """

    def __init__(self, loaded: LoadedBundle) -> None:
        self.loaded = loaded
        self._done = False

    def __call__(self, prepared: Sequence[Any]) -> None:
        """Check the network, unless an earlier batch could tell.

        Args:
            prepared: what ``prepare_batch`` makes of a batch: image, label and extra network inputs.

        Raises:
            ValueError: if a sample's prediction depends on its batch.
        """
        if self._done:
            return
        image, _, *extra = prepared
        predict = Predictor.prepared(self.loaded.inferer, self.loaded.network, len(image), extra)
        self._done = refuse_batch_dependence(predict, plain(image))
