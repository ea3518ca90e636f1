"""The overlay: the config that, merged over a bundle's own, hardens its training."""

from __future__ import annotations

import json
import shlex
from typing import Any

from monai_ima.methods import PerSampleMethod

from .plan import METHODS, Plan
from .reading import SEPARATOR, readable, reference

__all__ = ["SECTION", "make_overlay", "overlay_name", "run_lines"]

SECTION = "harden"
"""Everything that is new in a config stands below this id."""
WEIGHTS = "model"
SHARED = (
    "_requires_",
    "amp",
    "amp_kwargs",
    "compile",
    "compile_kwargs",
    "decollate",
    "device",
    "epoch_length",
    "event_names",
    "event_to_attr",
    "inferer",
    "metric_cmp_fn",
    "mode",
    "network",
    "non_blocking",
    "postprocessing",
    "to_kwargs",
    "val_data_loader",
)
"""Arguments that the robust evaluator takes over from the clean one."""


def overlay_name(method: str) -> str:
    """The overlay's file name."""
    return f"train_{method}.json"


def make_overlay(plan: Plan) -> dict[str, Any]:
    """The overlay's content.

    It adds a section ``harden`` and sets single ids of the bundle's config: the trainer's ``_target_``, which becomes
    :func:`monai_ima.engines.with_handlers` so that the trainer's own handlers stay what they are, also when
    ``multi_gpu_train.json`` changes them; the folder that the bundle's own savers write to, so that the weights that
    training starts from are not written over; the number of epochs; and, where ids are added, the data or transforms.
    """
    parts, section = plan.parts, _section(plan)
    trainer = parts.trainer.id
    overlay: dict[str, Any] = {}
    if "bundle_root" not in parts.config:
        overlay["bundle_root"] = "."
    overlay[SECTION] = section
    if plan.epochs is not None:
        overlay[readable(plan.epochs_id)] = plan.epochs
    overlay |= _sample_ids(plan)
    for saver in parts.savers:
        overlay[readable(f"{saver.id}{SEPARATOR}save_dir")] = _subfolder(saver.config.get("save_dir", "."), plan.method)
    before = ["@harden#handler"] if "baseline" not in section else ["@harden#baseline", "@harden#handler"]
    after = [f"@harden#{name}" for name in ("resumable", "start", "validation", "validate") if name in section]
    overlay[f"{readable(trainer)}#_target_"] = "monai_ima.engines.with_handlers"
    overlay[f"{readable(trainer)}#engine_class"] = {
        "_target_": parts.trainer.config["_target_"],
        "_mode_": "callable",
    }
    overlay[f"{readable(trainer)}#handlers_before"] = before
    overlay[f"{readable(trainer)}#handlers_after"] = after
    return overlay


def run_lines(plan: Plan) -> list[str]:
    """The commands that train: on one device, and on several where the bundle has a config for that."""
    config = plan.parts.config
    root = shlex.quote(str(config.root.resolve()))
    names = [file.name for file in config.files]
    run = "" if plan.parts.run_id == "run" else f" {plan.parts.run_id}"

    def line(start: str, files: list[str]) -> str:
        listed = ",".join(f"'configs/{name}'" for name in files)
        return f'cd {root} && {start} -m monai.bundle run{run} --config_file "[{listed}]" --bundle_root .'

    lines = [line("python", [*names, overlay_name(plan.method)])]
    several = [
        f"{name}.{suffix}"
        for name in ("multi_gpu_train", "train_multigpu", "train-multigpu")
        for suffix in ("json", "yaml", "yml")
        if (config.root / "configs" / f"{name}.{suffix}").is_file()
    ]
    if several and several[0] not in names:
        lines.append(line("torchrun --nproc_per_node=2", [*names, several[0], overlay_name(plan.method)]))
    return lines


def _section(plan: Plan) -> dict[str, Any]:
    parts, method = plan.parts, plan.method
    trainer = readable(parts.trainer.id)
    fixed = method in ("pgd", "trades")
    averages = _averages(plan)
    section: dict[str, Any] = {
        "eps_max": plan.eps_max,
        "norm": plan.norm,
        "bounds": None if plan.bounds is None else list(plan.bounds),
        "folder": "$str(@bundle_root) + '/models'",
        "name": f"{WEIGHTS}_{method}",
        "resume": None,
    }
    if plan.pretrained is not None:
        section["pretrained"] = (
            "$str(@bundle_root) + '/models/model.pt'" if plan.pretrained_in_bundle else str(plan.pretrained.resolve())
        )
    criterion = _criterion(plan)
    if plan.threshold is not None:
        section["threshold"] = plan.threshold
    if criterion is not None:
        section["criterion"] = criterion
    handler: dict[str, Any] = {
        "_target_": f"monai_ima.handlers.{METHODS[method].__name__}",
        "eps" if fixed else "eps_max": "@harden#eps_max",
        **({} if method == "ddn" else {"norm": "@harden#norm"}),
        **plan.arguments,
        "bounds": "@harden#bounds",
        **({} if criterion is None else {"criterion": "@harden#criterion"}),
        **({"first_pass": True} if method == "ima" and plan.pretrained is not None else {}),
    }
    section["handler"] = handler
    if plan.threshold == "baseline" and parts.evaluator is not None:
        section["baseline"] = {
            "_target_": "monai_ima.handlers.BaselineThreshold",
            "criterion": "@harden#criterion",
            "evaluator": f"@{readable(parts.evaluator.id)}",
        }
    if plan.pretrained is not None:
        section["start"] = {
            "_target_": "monai_ima.handlers.StartWeights",
            "network": f"@{trainer}#network",
            "file": "@harden#pretrained",
            **({"averages": list(averages.values())} if averages else {}),
        }
    margins = "$@harden#handler.margins" if issubclass(METHODS[method].method_class, PerSampleMethod) else None
    if plan.robust_validation:
        section |= _robust_validation(plan, margins)
    section["resumable"] = {
        "_target_": "monai_ima.handlers.Resumable",
        "folder": "@harden#folder",
        "prefix": "@harden#name",
        "objects": {
            "model": f"@{trainer}#network",
            "optimizer": f"@{trainer}#optimizer",
            **_schedulers(plan),
            **averages,
            **({} if margins is None else {"margins": margins}),
            **({"criterion": "@harden#criterion"} if plan.threshold is not None else {}),
            **({"validation": "@harden#validation"} if plan.robust_validation else {}),
        },
        "resume": "@harden#resume",
    }
    return section


def _criterion(plan: Plan) -> dict[str, Any] | None:
    if plan.task.kind == "segmentation":
        return {
            "_target_": "monai_ima.criteria.DiceCriterion",
            "threshold": "@harden#threshold",
            "include_background": plan.task.include_background,
            "sigmoid": plan.task.sigmoid,
        }
    return {"_target_": "monai_ima.criteria.BinaryCriterion"} if plan.task.sigmoid else None


def _robust_validation(plan: Plan, margins: str | None) -> dict[str, Any]:
    parts = plan.parts
    assert parts.evaluator is not None
    assert parts.key_metric is not None
    clean = readable(parts.evaluator.id)
    given = parts.evaluator.config
    attacked: dict[str, Any] = {"_target_": "monai_ima.attacks.PGD", "norm": "@harden#norm", "steps": plan.val_steps}
    attacked |= {"restarts": 1, "bounds": "@harden#bounds"}
    if plan.task.kind == "segmentation":
        attacked["criterion"] = {**(_criterion(plan) or {}), "threshold": "lowest"}
    elif plan.task.sigmoid:
        attacked["criterion"] = "@harden#criterion"
    noisy = {
        "_target_": "monai_ima.engines.AdversarialPrepareBatch",
        "network": f"@{clean}#network",
        "attack": "@harden#attack",
        "eps": "@harden#val_eps",
        **{name: f"@{clean}#{name}" for name in ("prepare_batch", "inferer") if given.get(name) is not None},
    }
    evaluator = {
        "_target_": given["_target_"],
        **{name: given[name] if name.startswith("_") else f"@{clean}#{name}" for name in SHARED if name in given},
        "prepare_batch": noisy,
        "key_val_metric": _copied_metrics(plan, parts.key_metric),
    }
    validation = {
        "_target_": "monai_ima.handlers.RobustValidation",
        "evaluator": f"@{clean}",
        "robust_evaluator": "@harden#robust_evaluator",
        "network": f"@{clean}#network",
        "folder": "@harden#folder",
        "name": "@harden#name",
        "min_clean": "@harden#min_clean",
        **({} if margins is None else {"margins": margins}),
    }
    section = {
        "val_eps": plan.val_eps,
        "min_clean": plan.min_clean,
        "attack": attacked,
        "robust_evaluator": evaluator,
        "validation": validation,
    }
    if not parts.validated:
        section["validate"] = {"_target_": "ValidationHandler", "validator": f"@{clean}", "interval": 1}
    return section


def _copied_metrics(plan: Plan, path: str) -> Any:
    """The clean evaluator's key metric once more, as macros, so that each evaluator has its own; names say robust."""
    config = plan.parts.config
    path, value = config.follow(path)
    if isinstance(value, dict) and "_target_" not in value:
        return {f"robust_{name}": _copied(plan, f"{path}{SEPARATOR}{name}") for name in value}
    return f"%{readable(path)}"


def _copied(plan: Plan, path: str) -> str:
    return f"%{readable(plan.parts.config.follow(path)[0])}"


def _sample_ids(plan: Plan) -> dict[str, Any]:
    dataset = plan.parts.dataset
    if dataset is None or plan.identity not in ("data", "transform", "dataset"):
        return {}
    if plan.identity == "data":
        added = {"_target_": "monai_ima.data.identified", "data": dataset.config["data"], "keys": plan.image}
        return {readable(f"{dataset.id}{SEPARATOR}data"): added}
    if plan.identity == "dataset":
        given = plan.parts.config.get(plan.parts.dataset_argument)
        added = {"_target_": "monai_ima.data.identified", "data": given, "keys": plan.image}
        return {readable(plan.parts.dataset_argument): added}
    own = dataset.config.get("transform")
    added = {"_target_": "monai_ima.transforms.with_sample_id", "transform": own, "keys": plan.image}
    return {readable(f"{dataset.id}{SEPARATOR}transform"): added}


def _schedulers(plan: Plan) -> dict[str, Any]:
    """The schedulers that the trainer's handlers step."""
    config = plan.parts.config
    found = []
    for handler in config.components(plan.parts.trainer.id):
        value = handler.config.get("lr_scheduler") if handler.name == "LrScheduleHandler" else None
        if isinstance(value, str) and reference(value) is not None and value not in found:
            found.append(value)
    return {f"lr_scheduler{k or ''}": value for k, value in enumerate(found)}


def _averages(plan: Plan) -> dict[str, Any]:
    """The moving averages of the weights that the bundle keeps."""
    found = [c for c in plan.parts.config.everything() if c.name == "EMAHandler"]
    return {f"average{k or ''}": f"$@{readable(c.id)}.ema_model" for k, c in enumerate(found)}


def _subfolder(value: Any, name: str) -> str:
    """A folder below another one that is given as text, reference or expression."""
    text = str(value)
    if text.startswith("$"):
        return f"$str({text[1:].strip()}) + '/{name}'"
    return f"$str({text}) + '/{name}'" if reference(text) else f"{text}/{name}"


def as_text(overlay: dict[str, Any]) -> str:
    """The overlay as it is written to the file."""
    return json.dumps(overlay, indent=4, ensure_ascii=False) + "\n"
