"""A plan as the summary that the user reads."""

from __future__ import annotations

from monai_ima.margins import coarse_delta

from .channels import GuidanceChannels
from .plan import Plan
from .reading import Component, readable
from .settings import METHODS

__all__ = ["delta_warning", "summarize_plan"]

BATCH_NORM = {True: "yes, attacks leave its statistics alone", False: "no", None: "unknown"}


def summarize_plan(plan: Plan) -> str:
    """One line for each setting: what was found in the bundle, and how it will be trained."""
    parts, method = plan.parts, plan.settings.method
    config = parts.config
    epochs = _epochs(plan)
    rows = {
        "bundle": f"{config.root} ({', '.join(file.name for file in config.files)})",
        "trainer": f"{readable(parts.trainer.id)} ({parts.trainer.name})",
        "task": plan.task.description,
        **({} if plan.task.ignore_index is None else {"ignored": f"label {plan.task.ignore_index}, counts nowhere"}),
        "network": _name(parts.network),
        "loss": _name(parts.loss),
        "batch norm": BATCH_NORM[plan.batch_norm],
        "method": f"{method} ({METHODS[method]}), norm {plan.norm}",
        **({} if plan.perturbation is None else {"ε measures": plan.perturbation.label}),
        "intensities": plan.normalisation.description if plan.normalisation else "unknown normalisation",
        "eps_max": _with_unit(plan, plan.eps_max),
        **({"delta": _delta_text(plan)} if method == "ima" else {}),
        "bounds": "none" if plan.bounds is None else f"[{plan.bounds[0]:g}, {plan.bounds[1]:g}]",
        **({} if plan.guidance is None else {"channels": _channels(plan.guidance)}),
        **({} if parts.interaction is None else {"interaction": _interaction(parts.interaction)}),
        "correct when": _correct_when(plan),
        "sample ids": plan.sample_ids.value,
        "start": f"weights of {plan.pretrained}" if plan.pretrained else "as the bundle starts, no checkpoint given",
        "epochs": "as in the bundle" if epochs is None else f"{epochs} (id {readable(parts.epochs_id)})",
        "validation": _validation(plan),
    }
    return "\n".join(f"{name:>12}  {text}" for name, text in rows.items())


def _channels(guidance: GuidanceChannels) -> str:
    return f"noise on {', '.join(map(str, guidance.channels))}: {guidance.description}"


def _interaction(interaction: Component) -> str:
    return f"{_name(interaction)} before each iteration; margin passes and validation under attack do without it"


def _with_unit(plan: Plan, eps: float) -> str:
    size = plan.pixel_size.text(eps)
    return f"{eps:.4g}" + (f" ({size})" if size else "")


def delta_warning(plan: Plan) -> str | None:
    """What is wrong with the δ of a plan, see :func:`~monai_ima.margins.coarse_delta`; None where it is not known."""
    delta = _delta(plan) if plan.settings.method == "ima" else None
    return None if delta is None else coarse_delta(plan.eps_max, delta)


def _delta_text(plan: Plan) -> str:
    delta = _delta(plan)
    return "eps_max / epochs" if delta is None else _with_unit(plan, delta)


def _delta(plan: Plan) -> float | None:
    """δ as given, else as ``IMAHandler`` will set it; None where the number of epochs is not known."""
    options, epochs = plan.settings.handler_options, _epochs(plan)
    if options.get("delta") is not None:
        return float(options["delta"])
    if not isinstance(epochs, int) or not epochs:
        return None
    interval = options.get("update_interval", 1) if options.get("update") != "online" else 1
    return min(plan.eps_max / epochs * interval, plan.eps_max)


def _epochs(plan: Plan) -> int | None:
    return plan.epochs or plan.parts.config.value(plan.parts.epochs_id)


def _correct_when(plan: Plan) -> str:
    return _criterion(plan) + ("" if plan.output is None else f", in the network's output {plan.output!r}")


def _criterion(plan: Plan) -> str:
    if plan.task.kind == "segmentation":
        return f"Dice reaches the threshold {plan.threshold}"
    return "every output is on its side of 0.5" if plan.task.sigmoid else "the label's logit is the largest"


def _validation(plan: Plan) -> str:
    if not plan.robust_validation:
        return "none under attack: the bundle has no evaluator with a key metric"
    least = plan.settings.min_clean
    keep = "" if least is None else f", weights are kept while the clean metric is at least {least:g}"
    return f"clean, and under PGD of {plan.settings.val_steps} steps at eps {_with_unit(plan, plan.val_eps)}{keep}"


def _name(component: Component | None) -> str:
    return "an expression" if component is None else f"{readable(component.id)} ({component.name})"
