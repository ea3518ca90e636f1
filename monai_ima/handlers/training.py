"""The training methods as handlers: one more entry in a trainer's handlers."""

from __future__ import annotations

from monai_ima.methods import DDN, IAAT, IMA, MMA, TRADES, PGDTraining

from .base import AdversarialTrainingHandler

__all__ = ["DDNHandler", "IAATHandler", "IMAHandler", "MMAHandler", "PGDTrainingHandler", "TRADESHandler"]


class IMAHandler(AdversarialTrainingHandler, method=IMA):
    """Increasing-Margin Adversarial training in a MONAI trainer, Algorithms 1 and 2 of arXiv 2005.09147.

    Arguments: those of :class:`monai_ima.methods.IMA`, and ``sample_key``, the key of the sample ids in a batch (None
    means ``"sample_id"``, else the image file's name). Events: :class:`AdversarialTrainingHandler`. Margins are in
    ``margins``: put the table into the ``save_dict`` of ``CheckpointSaver`` and the ``load_dict`` of
    ``CheckpointLoader``. Scalars: ``ima/loss_clean``, ``ima/loss_noisy``, ``ima/correct_fraction``,
    ``ima/boundary_fraction``, ``ima/margin_mean``, ``ima/margin_max_fraction``.

    Example:
        >>> handler = IMAHandler(eps_max=0.1, norm="linf", bounds=(0, 1))
        >>> handler.margins.eps_max
        0.1
    """


class PGDTrainingHandler(AdversarialTrainingHandler, method=PGDTraining):
    """Adversarial training at one fixed ε; arguments of :class:`monai_ima.methods.PGDTraining`, and ``sample_key``.

    Events: :class:`AdversarialTrainingHandler`. Scalars: ``pgd/loss_clean`` and ``pgd/loss_noisy``.

    Example:
        >>> PGDTrainingHandler(eps=0.1, norm="linf").method.eps
        0.1
    """


class TRADESHandler(AdversarialTrainingHandler, method=TRADES):
    """TRADES; arguments of :class:`monai_ima.methods.TRADES`, and ``sample_key``.

    Events: :class:`AdversarialTrainingHandler`. Scalars: ``trades/loss_clean`` and ``trades/loss_robust``.

    Example:
        >>> TRADESHandler(eps=0.1, norm="linf").method.beta
        6.0
    """


class DDNHandler(AdversarialTrainingHandler, method=DDN):
    """DDN training; arguments of :class:`monai_ima.methods.DDN`, and ``sample_key``.

    Events: :class:`AdversarialTrainingHandler`. Scalars: ``ddn/loss_clean``, ``ddn/loss_noisy``, ``ddn/distance_mean``
    and ``ddn/found_fraction``.

    Example:
        >>> DDNHandler(eps_max=1.0).method.eps_max
        1.0
    """


class IAATHandler(AdversarialTrainingHandler, method=IAAT):
    """Instance adaptive adversarial training; arguments of :class:`monai_ima.methods.IAAT`, and ``sample_key``.

    Events: :class:`AdversarialTrainingHandler`; ``margins`` belongs into checkpoints. Scalars: ``iaat/loss_clean``,
    ``iaat/loss_noisy``, ``iaat/correct_fraction``, ``iaat/margin_mean`` and ``iaat/margin_max_fraction``.

    Example:
        >>> IAATHandler(eps_max=0.2).method.warmup_eps
        0.1
    """


class MMAHandler(AdversarialTrainingHandler, method=MMA):
    """Max-margin adversarial training; arguments of :class:`monai_ima.methods.MMA`, and ``sample_key``.

    Events: :class:`AdversarialTrainingHandler`; ``margins`` belongs into checkpoints. Scalars: ``mma/loss_clean``,
    ``mma/loss_margin``, ``mma/correct_fraction``, ``mma/margin_mean`` and ``mma/margin_max_fraction``.

    Example:
        >>> MMAHandler(eps_max=0.2).margins.delta
        0.01
    """
