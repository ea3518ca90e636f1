from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from ignite.engine import Engine, Events
from torch import nn

from monai_ima.utils.checks import check_instance, check_path
from monai_ima.utils.weights import load_network

__all__ = ["StartWeights"]

logger = logging.getLogger(__name__)


class StartWeights:
    """Loads a plain-trained network's weights when training starts; a resumed run keeps what it had.

    The weights may be flat in the file or under ``model``, ``network``, ``net`` or ``state_dict``, and the network may
    be inside ``DistributedDataParallel``. Attach it after handlers that load weights of their own. A warning says when
    weights that were loaded after this handler was attached (a federated server's, say) are replaced.

    Args:
        network: the network that is trained.
        file: the checkpoint.
        averages: moving averages of the network's weights (``EMAHandler.ema_model``), which start from the same ones.

    Example:
        >>> StartWeights(nn.Linear(1, 1), "models/model_ce.pt").file
        'models/model_ce.pt'
    """

    def __init__(self, network: nn.Module, file: str | os.PathLike, averages: Sequence[nn.Module] = ()) -> None:
        self.network = check_instance("network", network, nn.Module, "a torch.nn.Module")
        self.file = check_path("file", file)
        self.averages = averages

    def attach(self, engine: Engine) -> None:
        """Hook into ``STARTED``.

        Args:
            engine: the trainer.
        """
        self._attached = self._versions()
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Load the weights.

        Raises:
            FileNotFoundError: when the file does not exist.
            ValueError: when it holds no weights, or another network's.
        """
        if engine.state.epoch == 0:
            if self._versions() != self._attached:
                logger.warning(
                    "The network's weights were changed after it was built, and those of %s take the place of what was "
                    "loaded (in federated training of the server's weights: disable StartWeights there).",
                    self.file,
                )
            for network in (self.network, *self.averages):
                load_network(network, os.fspath(self.file))

    def _versions(self) -> list[int]:
        """How often each weight was written to."""
        return [weight._version for weight in (*self.network.parameters(), *self.network.buffers())]
