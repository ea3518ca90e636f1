"""The parts of a bundle's training that hardening needs, found by following the trainer's arguments."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from monai.bundle import ReferenceResolver

from monai_ima import handlers as our_handlers

from .reading import SEPARATOR, Component, TrainingConfig, readable
from .source import ends_in_own_iteration, is_supervised

__all__ = [
    "CRITERION",
    "EVALUATOR_ID",
    "SAVERS",
    "AlreadyHardenedError",
    "Clues",
    "Parts",
    "evaluators_of",
    "find_parts",
    "network_of",
    "run_id_of",
    "transforms_of",
]

SAVERS = {"CheckpointSaver": "save_dir", "Resumable": "folder", "BestWeights": "folder"}
"""Handlers that save weights, and the argument that says where."""
CRITERION = "criterion"
"""Id of a config that says itself what is correct."""
TRAINER_ID, EVALUATOR_ID = f"train{SEPARATOR}trainer", f"validate{SEPARATOR}evaluator"
"""Of MONAI's specification of bundles."""
NEEDED = ("train_data_loader", "network", "loss_function")
WRAPPERS = ("DistributedDataParallel", "DataParallel")

UNSUITED = (
    (r"G[Aa][Nn](?:Trainer|Loss)|AdversarialTrainer|PatchAdversarialLoss", "trains a GAN"),
    (r"(?i)detect(?:or|ion)|retinanet|anchorgenerator|boxselector", "trains a detector, whose labels are boxes"),
    (
        r"(?i)regunet|globalnet|localnet\b|voxelmorph|normalizedcrosscorrelation|mutualinformationloss|bendingenergy"
        r"|diffusionloss",
        "trains an image registration, which has no labels that could be right or wrong",
    ),
    (r"(?i)diffusion|ddpm|ddim|pndm|rflowscheduler|controlnet", "trains a diffusion model"),
    (r"(?i)autoencoder|vqvae|perceptualloss|jukeboxloss|contrastiveloss|ssimloss", "learns to reproduce images"),
    (
        r"(?i)^(?:mse|l1|smoothl1|huber|poissonnll|gaussiannll)loss$",
        "trains a regression, where nothing is right or wrong",
    ),
)
"""Names of trainers, networks, losses, inferers and batch preparations, and why no method applies to them."""


@dataclass(frozen=True)
class Clues:
    """What tells a bundle's task, in its training or else its evaluation; None where there is none.

    Attributes:
        config: the config that all of it is in.
        transforms: of the data.
        network: whatever wraps it.
        loss: of the training, where it is a component.
        loss_path: its id, also where it is an expression.
        key_metric: id of the evaluator's key metric.
        postprocessing: ids of the engines' post-processing, the one that decides first.
    """

    config: TrainingConfig
    transforms: list[Component]
    network: Component | None
    loss: Component | None
    loss_path: str | None
    key_metric: str | None
    postprocessing: list[str]


@dataclass(frozen=True)
class Parts:
    """Where the parts of a bundle's training are; None where a bundle has none.

    Attributes:
        config: the training config.
        trainer: the trainer.
        dataset: what the trainer's loader loads from.
        dataset_argument: id of the loader's argument that names it.
        transforms: of the dataset, in their order, as far as they can be read.
        network: the network itself, whatever wraps it.
        loss: the trainer's loss.
        interaction: what goes before each of the trainer's own iterations, such as simulated clicks.
        evaluator: validates without noise.
        validated: some handler runs the evaluator.
        savers: components that write checkpoints.
        key_metric: id of the evaluator's key metric.
        run_id: id of the expressions that run the training.
    """

    config: TrainingConfig
    trainer: Component
    dataset: Component | None
    dataset_argument: str
    transforms: list[Component]
    network: Component | None
    loss: Component | None
    interaction: Component | None
    evaluator: Component | None
    validated: bool
    savers: list[Component]
    key_metric: str | None
    run_id: str

    @property
    def clues(self) -> Clues:
        """What tells its task."""
        engines = [engine for engine in (self.evaluator, self.trainer) if engine is not None]
        return Clues(
            config=self.config,
            transforms=self.transforms,
            network=self.network,
            loss=self.loss,
            loss_path=self.trainer.at("loss_function"),
            key_metric=self.key_metric,
            postprocessing=[engine.at("postprocessing") for engine in engines],
        )

    @property
    def all_transforms(self) -> list[Component]:
        """Those of the dataset and of the interaction, which goes on with their batches."""
        given = [] if self.interaction is None else transforms_of(self.config, self.interaction.at("transforms"))
        return [*self.transforms, *given]

    @property
    def epochs_id(self) -> str:
        """Id of the number of epochs, references followed."""
        return self.config.follow(self.trainer.at("max_epochs"))[0]


def find_parts(config: TrainingConfig, trainer: str | None = None, hardened: bool = False) -> Parts:
    """Find the parts of a training.

    Args:
        config: as read.
        trainer: id of the trainer; None means ``train#trainer``, else the component that looks like one.
        hardened: the training may be hardened already.

    Raises:
        AlreadyHardenedError: if the training is an adversarial one of ours, and ``hardened`` is False.
        ValueError: if there is no trainer, a reference leads nowhere, or the training is of a kind that cannot be
            hardened; the sentence says why.
    """
    engine = _trainer(config, trainer)
    run_id = run_id_of(config, engine.id)
    for root in (engine.id, *(key for key in ("initialize", run_id) if key in config)):
        list(config.reachable(root))
    loss = config.inner(engine, "loss_function")
    loader = config.inner(engine, "train_data_loader")
    dataset = config.inner(loader, "dataset")
    network = network_of(config, engine.at("network"))
    if not hardened:
        _refuse_hardened(config, engine)
    _refuse(config, engine, network, loss)
    run = [c for c in config.components(engine.id) if c.name == "ValidationHandler" and c.config.get("validator")]
    evaluator = _evaluator(config, [config.inner(handler, "validator") for handler in run])
    key_metric = evaluator.at("key_val_metric") if evaluator else None
    return Parts(
        config=config,
        trainer=engine,
        dataset=dataset,
        dataset_argument="" if loader is None else loader.at("dataset"),
        transforms=[] if dataset is None else transforms_of(config, dataset.at("transform")),
        network=network,
        loss=loss,
        interaction=config.inner(engine, "iteration_update"),
        evaluator=evaluator,
        validated=bool(run),
        savers=[c for c in config.everything() if c.name in SAVERS],
        key_metric=key_metric if key_metric and config.get(key_metric) is not None else None,
        run_id=run_id,
    )


def _trainer(config: TrainingConfig, trainer_id: str | None) -> Component:
    if trainer_id is not None:
        path = ReferenceResolver.normalize_id(trainer_id)
        component = config.component(path)
        if component is None:
            raise ValueError(f"Id {trainer_id!r} of {config.files[-1]} is no component, expected the trainer's id.")
        return component
    if TRAINER_ID in config:
        component = config.component(TRAINER_ID)
        if component is not None:
            return component
        if isinstance(config.follow(TRAINER_ID)[1], str):
            raise ValueError(
                f"Trainer {readable(TRAINER_ID)!r} of {config.files[-1]} is an expression, expected a component with "
                "_target_, whose arguments can be read."
            )
    components = list(config.everything())
    trainers = [c for c in components if c.name == "SupervisedTrainer" or all(key in c.config for key in NEEDED)]
    trainers = trainers or [c for c in components if c.name.endswith("Trainer")]
    if not trainers:
        raise ValueError(
            f"Config {config.files[-1]} has no trainer, expected a component whose _target_ is SupervisedTrainer or a "
            "class derived from it."
        )
    if len(trainers) > 1:
        names = ", ".join(readable(c.id) for c in trainers)
        raise ValueError(
            f"Config {config.files[-1]} has several trainers ({names}), expected one of them as --trainer."
        )
    return trainers[0]


def run_id_of(config: TrainingConfig, engine: str) -> str:
    """The id of the expressions that run an engine, ``run`` where the config has it."""
    if "run" in config:
        return "run"
    for key, value in config.content.items():
        lines = value if isinstance(value, list) else [value]
        if any(isinstance(line, str) and f"@{engine}.run(" in line.replace("#", SEPARATOR) for line in lines):
            return str(key)
    return "run"


def network_of(config: TrainingConfig, path: str) -> Component | None:
    """The one component that the network is made from, unwrapped; None when an expression chooses or builds it."""
    networks: dict[str, Component] = {}
    waiting = [path] if path in config else []
    while waiting:
        here, value = config.follow(waiting.pop())
        if isinstance(value, str):
            waiting += [ref for ref in ReferenceResolver.match_refs_pattern(value) if ref in config]
        elif isinstance(value, dict) and "_target_" in value:
            component = Component(here, value)
            if component.name not in WRAPPERS:
                networks[here] = component
            elif "module" in value:
                waiting.append(component.at("module"))
    return next(iter(networks.values())) if len(networks) == 1 else None


def _evaluator(config: TrainingConfig, run: Sequence[Component | None]) -> Component | None:
    """The first of those that the trainer's handlers run, unless it is an ensemble; else the one that looks like it."""
    single = [evaluator for evaluator in run if evaluator is not None and "Ensemble" not in evaluator.name]
    evaluator = single[0] if single else config.component(EVALUATOR_ID)
    others = evaluators_of(config)
    return others[0] if evaluator is None and len(others) == 1 else evaluator


def evaluators_of(config: TrainingConfig) -> list[Component]:
    """The components that look like evaluators."""
    return [c for c in config.everything() if c.name == "SupervisedEvaluator" or "val_data_loader" in c.config]


def transforms_of(config: TrainingConfig, path: str) -> list[Component]:
    """The transforms of a pipeline in their order: a Compose, lists, and lists that an expression adds up."""
    if path not in config:
        return []
    path, value = config.follow(path)
    if isinstance(value, dict) and "_target_" in value:
        here = Component(path, value)
        compose = here.name == "Compose" and "transforms" in value
        return transforms_of(config, here.at("transforms")) if compose else [here]
    if isinstance(value, list):
        return [t for k in range(len(value)) for t in transforms_of(config, f"{path}{SEPARATOR}{k}")]
    if isinstance(value, str) and value.startswith("$"):
        parts = re.findall(r"@(\w+(?:::\w+)*)", value)
        return [t for part in parts if part in config for t in transforms_of(config, part)]
    return []


class AlreadyHardenedError(ValueError):
    """The training is an adversarial one of ours."""


def _refusal(config: TrainingConfig, why: str, kind: type[ValueError] = ValueError) -> ValueError:
    return kind(f"Bundle {config.root} {why}, expected a SupervisedTrainer of a classifier or segmentation network.")


def _refuse_hardened(config: TrainingConfig, trainer: Component) -> None:
    if trainer.name in vars(our_handlers) or trainer.name == "with_handlers":
        raise _refusal(config, "is hardened already", AlreadyHardenedError)
    for handler in config.components(trainer.id):
        if str(handler.config["_target_"]).startswith("monai_ima.handlers.") and _is_method(handler.name):
            why = f"is hardened already ({readable(handler.id)} is {handler.name})"
            raise _refusal(config, why, AlreadyHardenedError)


def _refuse(config: TrainingConfig, trainer: Component, network: Component | None, loss: Component | None) -> None:
    """Say why a training cannot be hardened."""
    if any(key in trainer.config for key in ("g_network", "d_network", "d_loss_function")):
        raise _refusal(config, "trains a GAN")
    named = [trainer, network, loss, config.inner(trainer, "inferer"), config.inner(trainer, "prepare_batch")]
    keys = [key for key in ("inferer", "prepare_batch", "loss_function") if key in trainer.config]
    expressions = [config.follow(trainer.at(key))[1] for key in keys]
    names = [part.name for part in named if part is not None]
    names += [expression for expression in expressions if isinstance(expression, str)]
    names += ["detector"] * ("detector" in trainer.config)
    for pattern, why in UNSUITED:
        if any(re.search(pattern, name) for name in names):
            raise _refusal(config, why)
    missing = [key for key in NEEDED if trainer.config.get(key) is None]
    if missing:
        raise _refusal(config, f"has a trainer ({trainer.name}) without {missing[0]}")
    if not is_supervised(config.root, str(trainer.config["_target_"])):
        raise _refusal(config, f"has a trainer ({trainer.name}) that is no SupervisedTrainer")
    if trainer.config.get("iteration_update") is not None:
        interaction = config.inner(trainer, "iteration_update")
        if interaction is None or not ends_in_own_iteration(config.root, str(interaction.config["_target_"])):
            raise _refusal(config, "replaces the trainer's iteration (iteration_update) by one that does not end in it")


def _is_method(name: str) -> bool:
    handler: Any = getattr(our_handlers, name, None)
    return inspect.isclass(handler) and issubclass(handler, our_handlers.AdversarialTrainingHandler)
