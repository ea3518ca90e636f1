"""The overlay: the config that, merged over a bundle's own, hardens its training."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from monai.engines import SupervisedEvaluator

from monai_ima.methods import PerSampleMethod
from monai_ima.utils.attack_names import passes, strongest
from monai_ima.utils.metric_names import robust_name

from .own_configs import bundle_line, own_lines, shell_word
from .parts import CRITERION, SAVERS
from .plan import Plan, handler_class
from .reading import SEPARATOR, SUFFIXES, Component, evaluation_files, merged_config, readable, reference
from .sample_ids import sample_id_override
from .settings import METHODS, Stated

__all__ = ["SECTION", "evaluation_lines", "make_overlay", "overlay_text", "run_lines"]

SECTION = "harden"
"""Everything that is new in a config stands below this id."""
WEIGHTS = "model"
FOLDER = "$str(@bundle_root) + '/models'"
OWN_WEIGHTS = "$str(@bundle_root) + '/models/model.pt'"
OWN = {"additional_metrics", "iteration_update", "key_val_metric", "prepare_batch", "val_handlers"}
"""Arguments of evaluators that the robust one gets on its own, or does without."""
SHARED = sorted({"_requires_", *inspect.signature(SupervisedEvaluator).parameters} - OWN)
"""Arguments that the robust evaluator takes over from the clean one."""


def make_overlay(plan: Plan) -> dict[str, Any]:
    """The overlay's content.

    It adds a section ``harden`` and sets single ids of the bundle's config: the trainer's ``_target_``, which becomes
    :func:`monai_ima.engines.with_handlers` so that the trainer's own handlers stay what they are, also when
    ``multi_gpu_train.json`` changes them; the folder that the bundle's own savers write to, so that the weights that
    training starts from are not written over; the number of epochs; and, where ids are added, the data or transforms.
    """
    parts, section = plan.parts, _section(plan)
    trainer = readable(parts.trainer.id)
    before, after = ("baseline", "handler"), ("resumable", "start", "validation", "validate")
    return {
        **({} if "bundle_root" in parts.config else {"bundle_root": "."}),
        SECTION: section,
        **({} if plan.epochs is None else {readable(parts.epochs_id): plan.epochs}),
        **sample_id_override(parts.config, parts.dataset, parts.dataset_argument, plan.sample_ids, plan.image_key),
        **_redirected(parts.savers, plan.settings.method),
        f"{trainer}#_target_": "monai_ima.engines.with_handlers",
        f"{trainer}#engine_class": {"_target_": parts.trainer.config["_target_"], "_mode_": "callable"},
        f"{trainer}#handlers_before": [f"@harden#{name}" for name in before if name in section],
        f"{trainer}#handlers_after": [f"@harden#{name}" for name in after if name in section],
    }


def run_lines(plan: Plan) -> list[str]:
    """The commands that train: on one device, and on several where the bundle has a config for that."""
    config, run_id = plan.parts.config, plan.parts.run_id
    names = [file.name for file in config.files]
    lines = [bundle_line(config.root, [*names, plan.overlay_file.name], run_id)]
    several = [
        f"{name}.{suffix}"
        for name in ("multi_gpu_train", "train_multigpu", "train-multigpu")
        for suffix in SUFFIXES
        if (config.root / "configs" / f"{name}.{suffix}").is_file()
    ]
    if several and several[0] not in names:
        files = [*names, several[0], plan.overlay_file.name]
        lines.append(bundle_line(config.root, files, run_id, "torchrun --nproc_per_node=2"))
    return lines


def evaluation_lines(plan: Plan) -> list[str]:
    """Where the hardened weights will be, what measures how robust they are, and the bundle's own configs with them."""
    root, name = plan.parts.config.root.resolve(), f"model_{plan.settings.method}"
    best, last = f"models/{name}.pt", f"models/{name}_last.pt"
    weights = best if plan.robust_validation else last
    about = f"the best under attack; the last: {last}" if plan.robust_validation else "of the last epoch"
    command = (
        f"cd {shell_word(str(root))} && python -m monai_ima evaluate --bundle . --checkpoint {weights} "
        f"{_levels(plan)} --out eval/robustness_{plan.settings.method}"
        + "".join(f" --{name} {shell_word(value)}" for name, value in _stated(plan).items())
    )
    attack = strongest(plan.task.kind == "segmentation")
    return [
        f"Weights: {root / weights} ({about}).",
        "To evaluate:",
        command,
        f"(That attacks with {attack}: at each ε up to about {passes(attack)} passes forward and back of every image, "
        "each as long as a training step; --attack pgd20 is quicker and weaker.)",
        *own_lines(root, [file.name for file in plan.parts.config.files], weights, flat=plan.robust_validation),
    ]


def _levels(plan: Plan) -> str:
    if plan.perturbation is None:
        return f"--norm {plan.norm} --levels 0,{plan.val_eps:g},{plan.eps_max:g}"
    sizes = f"{plan.settings.perturbation}@{plan.val_eps:g}:{plan.eps_max:g}"
    return f"--levels 0 --perturbation {shell_word(sizes)}"


def _stated(plan: Plan) -> dict[str, str]:
    """What an evaluation does not find by itself, as its options: the config, the task where it is read elsewhere, and
    what the user stated of the bundle; what is correct is not where the config says so."""
    root, names = plan.parts.config.root, [file.name for file in plan.parts.config.files]
    task = plan.task
    settings = replace(plan.settings, output=plan.output)
    config: dict[str, Any] = {}
    try:
        by_itself = [file.name for file in merged_config(root, None)[0]]
    except FileNotFoundError:
        by_itself = []
    if names != by_itself:
        settings = replace(settings, task=task.kind, sigmoid=task.sigmoid, ignore_index=task.ignore_index)
        files = evaluation_files(root, training=names)
        config = {"config": tuple(files)} if set(files) & set(names) else {}
    given = {**config, **Stated.of(settings).given}
    own = ("task", "sigmoid", "ignore_index") if CRITERION in plan.parts.config else ()
    return {
        name: ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        for name, value in given.items()
        if name not in own
    }


def _section(plan: Plan) -> dict[str, Any]:
    """The content of the id ``harden``, in the order in which it is read."""
    parts, method = plan.parts, plan.settings.method
    averages = _averages(plan)
    section: dict[str, Any] = {
        "eps_max": plan.eps_max,
        **_measured(plan, settings=True),
        "bounds": None if plan.bounds is None else list(plan.bounds),
        **({} if plan.guidance is None else {"channels": list(plan.guidance.channels)}),
        "folder": FOLDER,
        "name": f"{WEIGHTS}_{method}",
        "resume": None,
        "overwrite": False,
        **_given(
            pretrained=_pretrained(plan), threshold=plan.threshold, criterion=_criterion(plan), output=plan.output
        ),
        "handler": _handler(plan),
    }
    if plan.threshold == "baseline" and parts.evaluator is not None:
        clean = f"@{readable(parts.evaluator.id)}"
        section["baseline"] = _ours(
            "handlers.BaselineThreshold", criterion="@harden#criterion", evaluator=clean, output=_output(plan)
        )
    if plan.pretrained is not None:
        network, kept = f"@{readable(parts.trainer.id)}#network", list(averages.values()) or None
        section["start"] = _ours("handlers.StartWeights", network=network, file="@harden#pretrained", averages=kept)
    margins = "$@harden#handler.margins" if issubclass(handler_class(method).method_class, PerSampleMethod) else None
    if plan.robust_validation:
        section |= _robust_validation(plan, margins)
    section["resumable"] = _resumable(plan, averages, margins)
    return section


def _ours(target: str, **arguments: Any) -> dict[str, Any]:
    """A component of this package, without the arguments that are None."""
    return {"_target_": f"monai_ima.{target}", **_given(**arguments)}


def _given(**entries: Any) -> dict[str, Any]:
    """The entries that are not None."""
    return {name: value for name, value in entries.items() if value is not None}


def _output(plan: Plan) -> str | None:
    return None if plan.output is None else "@harden#output"


def _pretrained(plan: Plan) -> str | None:
    if plan.pretrained is None:
        return None
    return OWN_WEIGHTS if plan.settings.pretrained is None else str(plan.pretrained.resolve())


def _handler(plan: Plan) -> dict[str, Any]:
    method = plan.settings.method
    return {
        "_target_": f"monai_ima.handlers.{METHODS[method]}",
        "eps" if method in ("pgd", "trades") else "eps_max": "@harden#eps_max",
        **_measured(plan),
        **plan.settings.handler_options,
        "bounds": "@harden#bounds",
        **_channels(plan),
        **({} if _criterion(plan) is None else {"criterion": "@harden#criterion"}),
        **_given(output=_output(plan)),
        **({"first_pass": True} if method == "ima" and plan.pretrained is not None else {}),
    }


def _measured(plan: Plan, settings: bool = False) -> dict[str, Any]:
    """What ε measures: as the arguments of handler and attack, or as the settings that they refer to."""
    if plan.perturbation is not None:
        name = plan.settings.perturbation
        named = _ours("perturbations.perturbation_from_name", text="@harden#perturbation")
        return {"perturbation": name if settings else named}
    if settings:
        return {"norm": plan.norm}
    return {} if plan.settings.method == "ddn" else {"norm": "@harden#norm"}


def _channels(plan: Plan) -> dict[str, str]:
    return {} if plan.guidance is None else {"channels": "@harden#channels"}


def _resumable(plan: Plan, averages: dict[str, str], margins: str | None) -> dict[str, Any]:
    trainer = readable(plan.parts.trainer.id)
    objects = {
        "model": f"@{trainer}#network",
        "optimizer": f"@{trainer}#optimizer",
        **_schedulers(plan),
        **averages,
        **_given(margins=margins),
        **({} if plan.threshold is None else {"criterion": "@harden#criterion"}),
        **({"validation": "@harden#validation"} if plan.robust_validation else {}),
    }
    names = {"folder": "folder", "prefix": "name", "resume": "resume", "overwrite": "overwrite"}
    given = {argument: f"@harden#{name}" for argument, name in names.items()}
    return _ours("handlers.Resumable", objects=objects, **given)


def _criterion(plan: Plan) -> dict[str, Any] | None:
    if plan.task.kind == "segmentation":
        return _ours(
            "criteria.DiceCriterion",
            threshold="@harden#threshold",
            include_background=plan.task.include_background,
            sigmoid=plan.task.sigmoid,
            ignore_index=plan.task.ignore_index,
        )
    if plan.task.sigmoid:
        return _ours("criteria.BinaryCriterion", ignore_index=plan.task.ignore_index)
    if plan.task.ignore_index is not None:
        return _ours("criteria.ClassificationCriterion", ignore_index=plan.task.ignore_index)
    return None


def _robust_validation(plan: Plan, margins: str | None) -> dict[str, Any]:
    parts = plan.parts
    assert parts.evaluator is not None
    clean = f"@{readable(parts.evaluator.id)}"
    section = {
        "val_eps": plan.val_eps,
        "min_clean": plan.settings.min_clean,
        "attack": _validation_attack(plan),
        "robust_evaluator": _robust_evaluator(plan, parts.evaluator),
        "validation": _ours(
            "handlers.RobustValidation",
            evaluator=clean,
            robust_evaluator="@harden#robust_evaluator",
            network=f"{clean}#network",
            folder="@harden#folder",
            name="@harden#name",
            min_clean="@harden#min_clean",
            margins=margins,
        ),
    }
    if not parts.validated:
        section["validate"] = {"_target_": "ValidationHandler", "validator": clean, "interval": 1}
    return section


def _validation_attack(plan: Plan) -> dict[str, Any]:
    criterion: Any = None if _criterion(plan) is None else "@harden#criterion"
    if plan.task.kind == "segmentation":
        criterion = {**(_criterion(plan) or {}), "threshold": "lowest"}
    steps = plan.settings.val_steps
    common = {"bounds": "@harden#bounds", **_channels(plan), "criterion": criterion, "output": _output(plan)}
    measured = {"norm": "@harden#norm"} if plan.perturbation is None else _measured(plan)
    return _ours("attacks.PGD", **measured, steps=steps, restarts=1, **common)


def _robust_evaluator(plan: Plan, evaluator: Component) -> dict[str, Any]:
    """The clean evaluator's copy whose batches are attacked."""
    clean, config = f"@{readable(evaluator.id)}", evaluator.config
    assert plan.parts.key_metric is not None
    return {
        "_target_": config["_target_"],
        **{name: config[name] if name.startswith("_") else f"{clean}#{name}" for name in SHARED if name in config},
        "prepare_batch": {
            "_target_": "monai_ima.engines.AdversarialPrepareBatch",
            "network": f"{clean}#network",
            "attack": "@harden#attack",
            "eps": "@harden#val_eps",
            **{name: f"{clean}#{name}" for name in ("prepare_batch", "inferer") if config.get(name) is not None},
        },
        "key_val_metric": _copied_metrics(plan, plan.parts.key_metric),
    }


def _copied_metrics(plan: Plan, path: str) -> Any:
    """The clean evaluator's key metric once more, as macros, so that each evaluator has its own; names say robust."""
    config = plan.parts.config
    path, value = config.follow(path)
    if isinstance(value, dict) and "_target_" not in value:
        ends = {name: config.follow(f"{path}{SEPARATOR}{name}")[0] for name in value}
        return {robust_name(name): f"%{readable(end)}" for name, end in ends.items()}
    return f"%{readable(path)}"


def _schedulers(plan: Plan) -> dict[str, Any]:
    """The schedulers that the trainer's handlers step."""
    components = plan.parts.config.components(plan.parts.trainer.id)
    values = [c.config.get("lr_scheduler") for c in components if c.name == "LrScheduleHandler"]
    schedulers = dict.fromkeys(v for v in values if isinstance(v, str) and reference(v) is not None)
    return {f"lr_scheduler{k or ''}": value for k, value in enumerate(schedulers)}


def _averages(plan: Plan) -> dict[str, Any]:
    """The moving averages of the weights that the bundle keeps."""
    handlers = [c for c in plan.parts.config.everything() if c.name == "EMAHandler"]
    return {f"average{k or ''}": f"$@{readable(c.id)}.ema_model" for k, c in enumerate(handlers)}


def _redirected(savers: Sequence[Component], name: str) -> dict[str, Any]:
    """The bundle's own savers, each with a folder below the one that it writes to, which is the hardened training's."""
    changes: dict[str, Any] = {}
    for saver in savers:
        argument = SAVERS[saver.name]
        changes[readable(saver.at(argument))] = _below(str(saver.config.get(argument, ".")), name)
        if saver.name == "Resumable":
            changes[readable(saver.at("overwrite"))] = True
    return changes


def _below(text: str, name: str) -> str:
    """A folder below one that is given as text, reference or expression."""
    if text.startswith("$"):
        return f"$str({text[1:].strip()}) + '/{name}'"
    return f"$str({text}) + '/{name}'" if reference(text) else f"{text}/{name}"


def overlay_text(overlay: dict[str, Any]) -> str:
    """The overlay as it is written to the file."""
    return json.dumps(overlay, indent=4, ensure_ascii=False) + "\n"
