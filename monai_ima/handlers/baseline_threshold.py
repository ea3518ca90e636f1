from __future__ import annotations

import logging
import math

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator

from monai_ima.attacks import attack_mode
from monai_ima.criteria import SegmentationCriterion
from monai_ima.utils.checks import check_count, check_instance, check_output
from monai_ima.utils.distributed import gather_all
from monai_ima.utils.errors import SampleError
from monai_ima.utils.outputs import Output, choose_label, choose_output
from monai_ima.utils.predictor import Predictor, unwrap
from monai_ima.utils.sample_ids import batch_files, check_labels
from monai_ima.utils.tensors import plain

from .engine_access import autocast, prepared

__all__ = ["BaselineThreshold"]

logger = logging.getLogger(__name__)


class BaselineThreshold:
    """Finds the threshold of a criterion with ``threshold="baseline"`` when the adversarial method sets in.

    τ is the mean score, without noise, of the network as it is then (plain-trained) over the evaluator's data. Put the
    criterion into the ``save_dict`` of ``CheckpointSaver`` and the ``load_dict`` of ``CheckpointLoader``: a resumed
    run goes on with the same τ. A criterion whose threshold is a number is left alone.

    Args:
        criterion: the criterion that the training handler has too.
        evaluator: the one that validates without noise; its data loader, ``prepare_batch``, inferer and network count.
        start_epoch: epochs of plain training before τ is found, as the training handler's ``start_epoch``, >= 0.
        output: index or key of the network's output that counts, as the training handler's.

    Raises:
        ValueError: if ``start_epoch`` < 0, or ``output`` can name none.

    Example:
        >>> from monai.networks.nets import UNet
        >>> from monai_ima.criteria import DiceCriterion
        >>> batch = {"image": torch.rand(1, 1, 8, 8), "label": torch.ones(1, 1, 8, 8)}
        >>> evaluator = SupervisedEvaluator("cpu", [batch], UNet(2, 1, 2, (4, 8), (2,)))
        >>> 0 <= BaselineThreshold(DiceCriterion("baseline"), evaluator).mean_score() <= 1
        True
    """

    def __init__(
        self,
        criterion: SegmentationCriterion,
        evaluator: SupervisedEvaluator,
        start_epoch: int = 0,
        output: Output = None,
    ) -> None:
        kind = "a criterion of segmentations such as DiceCriterion()"
        self.criterion = check_instance("criterion", criterion, SegmentationCriterion, kind)
        self.evaluator = check_instance("evaluator", evaluator, SupervisedEvaluator, "a SupervisedEvaluator")
        self.start_epoch = check_count("start_epoch", start_epoch, 0)
        self.output = check_output(output)

    def attach(self, engine: Engine) -> None:
        """Hook into ``EPOCH_STARTED``.

        Args:
            engine: the trainer.
        """
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Find the threshold when the first adversarial epoch starts.

        Raises:
            ValueError: when a validation sample's label does not fit, a run is resumed without its threshold, the
                evaluator has no scored sample, or the network scores 0.
        """
        if not self.criterion.awaits_baseline or engine.state.epoch <= self.start_epoch:
            return
        if engine.state.epoch > self.start_epoch + 1:
            raise ValueError(
                f"Training goes on at epoch {engine.state.epoch} but the baseline threshold of its first epoch is not "
                "known, expected the criterion in the checkpoint (save_dict and load_dict) or a number as threshold."
            )
        baseline = self.mean_score()
        if not baseline > 0:
            raise ValueError(
                f"The baseline threshold would be {baseline:.3g}: the network is not trained yet, expected a "
                "plain-trained start (start_epoch epochs of plain training, or trained weights)."
            )
        self.criterion.threshold = baseline
        logger.info("Baseline threshold: mean clean validation score %.4f.", baseline)

    @torch.no_grad()
    def mean_score(self) -> float:
        """The mean of the scores of all samples that have one, over all processes; NaN when there is none."""
        evaluator = self.evaluator
        network = unwrap(evaluator.network)
        total, count = 0.0, 0
        with attack_mode(network), autocast(evaluator):
            for batchdata in evaluator.data_loader:
                image, label, *extra = prepared(evaluator, batchdata)
                check_labels(label, batchdata, image)
                forward = Predictor.prepared(evaluator.inferer, network, len(image), extra)
                try:
                    label = plain(choose_label(label, self.output))
                    logits = choose_output(forward(image), self.output, label)
                    scores = self.criterion.score(plain(logits), label)
                except SampleError as error:
                    files = batch_files(image) or [f"{error.sample} of a validation batch"] * len(image)
                    raise error.named(files) from None
                scores = scores[~scores.isnan()].double()
                total, count = total + float(scores.sum()), count + len(scores)
        parts = gather_all((total, count))
        total, count = math.fsum(part[0] for part in parts), sum(part[1] for part in parts)
        return total / count if count else math.nan
