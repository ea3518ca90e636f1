"""A bundle's evaluator, built and described by what hardening reads in the bundle's configs."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from monai_ima.criteria import BinaryCriterion, ClassificationCriterion, Criterion, DiceCriterion
from monai_ima.data.image_table import is_table
from monai_ima.evaluation.loaded import LoadedBundle
from monai_ima.utils.devices import check_device
from monai_ima.utils.weights import fit_weights, load_weights

from .building import buildable, quiet_workflow
from .channels import find_channels
from .intensity import Normalisation, find_normalisation
from .modules import make_importable
from .parts import CRITERION, EVALUATOR_ID, Clues, evaluators_of, find_parts, network_of, transforms_of
from .reading import Component, TrainingConfig, evaluation_files, read_training_config, readable
from .sample_ids import find_sample_ids, sample_id_override
from .settings import Stated
from .task import Task, find_task, image_key

__all__ = ["EvaluationParts", "added_sample_ids", "bundle_channels", "find_evaluation", "load_bundle"]

logger = logging.getLogger(__name__)

DATA_ID = re.compile(
    r"^(?!phantom)(?!.*(output|ckpt|checkpoint|bundle|model)).*(data|image|scan|dir|root|path)", re.IGNORECASE
)
"""Ids of configs that name a folder of data."""


@dataclass(frozen=True)
class EvaluationParts:
    """Where the parts of a bundle's evaluation are.

    Attributes:
        config: the evaluation's config, as text.
        evaluator: the evaluator.
        dataset: what its loader loads from; None where an expression makes it.
        dataset_argument: id of the loader's argument that names it.
        transforms: of the dataset, in their order, as far as they can be read.
        image_key: key of the images in the data.
        normalisation: how images are scaled; None where that cannot be inferred.
    """

    config: TrainingConfig
    evaluator: Component
    dataset: Component | None
    dataset_argument: str
    transforms: list[Component]
    image_key: str
    normalisation: Normalisation | None

    @property
    def clues(self) -> Clues:
        """What tells the task, where the training does not."""
        key_metric = self.evaluator.at("key_val_metric")
        return Clues(
            config=self.config,
            transforms=self.transforms,
            network=network_of(self.config, self.evaluator.at("network")),
            loss=None,
            loss_path=None,
            key_metric=key_metric if self.config.get(key_metric) is not None else None,
            postprocessing=[self.evaluator.at("postprocessing")],
        )

    @property
    def channels(self) -> tuple[int, ...] | None:
        """Those of the images that noise may change; None means all.

        Raises:
            ValueError: if clicks or other guidance are among the channels, but the others cannot be counted.
        """
        network = network_of(self.config, self.evaluator.at("network"))
        guidance = find_channels(self.config, self.transforms, self.image_key, network)
        return None if guidance is None else guidance.channels


def find_evaluation(
    bundle: str | Path, files: Sequence[str] | None, overrides: dict[str, Any] | None = None
) -> EvaluationParts:
    """Find the parts of an evaluation; nothing in the config is evaluated.

    Args:
        bundle: the bundle's folder.
        files: names of the config files; None means the training's.
        overrides: values of config ids.

    Raises:
        ValueError: if there is no evaluator, or several that could be meant.
    """
    config = read_training_config(bundle, files, overrides)
    evaluators = evaluators_of(config)
    named = config.component("evaluator") or config.component(EVALUATOR_ID)
    if named is None and len(evaluators) != 1:
        names = ", ".join(readable(c.id) for c in evaluators) or "none"
        raise ValueError(
            f"Config {config.files[-1]} has no evaluator, expected the id 'evaluator' or 'validate#evaluator', or one "
            f"SupervisedEvaluator (found: {names})."
        )
    evaluator = named or evaluators[0]
    loader = config.inner(evaluator, "val_data_loader")
    dataset = config.inner(loader, "dataset")
    transforms = [] if dataset is None else transforms_of(config, dataset.at("transform"))
    key = image_key(config, transforms)
    return EvaluationParts(
        config=config,
        evaluator=evaluator,
        dataset=dataset,
        dataset_argument="" if loader is None else loader.at("dataset"),
        transforms=transforms,
        image_key=key,
        normalisation=find_normalisation(config, transforms, key),
    )


def bundle_channels(
    bundle: str | Path, config: str | None = None, overrides: dict[str, Any] | None = None
) -> tuple[int, ...] | None:
    """The channels of a bundle's images that noise may change; None means all.

    The config is read as text; no expression in it is evaluated.

    Args:
        bundle: the bundle's folder.
        config: see :func:`evaluation_files`.
        overrides: values of config ids.

    Raises:
        ValueError: if there is guidance among the channels, but they cannot be counted.
    """
    return find_evaluation(bundle, evaluation_files(bundle, config), overrides).channels


def load_bundle(
    bundle: str | Path,
    config: str | None = None,
    checkpoint: str | Path | None = None,
    stated: Stated | None = None,
    **overrides: Any,
) -> LoadedBundle:
    """Build the evaluator of a MONAI bundle. **This runs the bundle's own expressions.**

    Task, bounds and sample ids are those that hardening the bundle gives: the ids ``criterion``, ``bounds`` and
    ``class_names`` of the config where it has them, else what its losses, post-processing, transforms and metadata say.
    Whether it was given no data says the id ``synthetic``, else an empty ``dataset_dir``.
    The bundle's folder is put in front of ``sys.path`` for its own modules.

    Args:
        bundle: the bundle's folder.
        config: see :func:`~monai_ima.harden.reading.evaluation_files`.
        checkpoint: weights; None means the config's ``ckpt_path``, else ``models/model.pt``.
        stated: what the user says of the bundle in place of what would be read; None: nothing.
        overrides: values of config ids.

    Raises:
        FileNotFoundError: if the folder is no bundle, or config or checkpoint are missing.
        ValueError: if the config has no evaluator, the checkpoint is of another network, its task cannot be inferred or
            is stated otherwise than the config has it, or there is guidance among the channels but they cannot be
            counted.
    """
    root, stated = Path(bundle), stated or Stated()
    parts = find_evaluation(root, evaluation_files(root, config), overrides)
    task = _task(parts, stated)
    make_importable(root)
    if checkpoint is not None and "ckpt_path" in parts.config:
        overrides["ckpt_path"] = str(checkpoint)
    with buildable(parts.config.files[-1]):
        return _loaded(parts, task, checkpoint, stated, overrides)


def _loaded(
    parts: EvaluationParts,
    task: Task | None,
    checkpoint: str | Path | None,
    stated: Stated,
    overrides: dict[str, Any],
) -> LoadedBundle:
    root = parts.config.root
    workflow = quiet_workflow(parts.config.files, root, **added_sample_ids(parts), **overrides)
    parser = workflow.parser
    if checkpoint is None:
        given = parser.get_parsed_content("ckpt_path") if "ckpt_path" in parser else None
        checkpoint = given or root / "models" / "model.pt"
    weights = load_weights(checkpoint)
    if "device" in parser:
        check_device(parser.get_parsed_content("device"))
    workflow.initialize()
    if "network_def" in parser:
        fit_weights(parser.get_parsed_content("network_def"), weights, checkpoint)
    evaluator = parser.get_parsed_content(parts.evaluator.id)
    fit_weights(evaluator.network, weights, checkpoint)
    metadata = parts.config.metadata
    normalisation = parts.normalisation
    bounds = None if normalisation is None or normalisation.described else normalisation.bounds
    bounds = parser.get_parsed_content("bounds") if "bounds" in parser else bounds
    output = None if task is None else task.output
    return LoadedBundle(
        name=str(metadata.get("name") or root.resolve().name),
        network=evaluator.network,
        data_loader=evaluator.data_loader,
        prepare_batch=evaluator.prepare_batch,
        inferer=evaluator.inferer,
        device=evaluator.state.device,
        bounds=bounds if stated.bounds is None else stated.bounds,
        criterion=parser.get_parsed_content(CRITERION) if task is None else _criterion(task),
        classes=_class_names(parser, parts.config),
        checkpoint=Path(checkpoint),
        synthetic=_is_synthetic(parser),
        data_folder=_data_folder(overrides) or _data_folder({} if metadata.get("data_source") else _own_data(parser)),
        metadata=metadata,
        channels=parts.channels if stated.channels is None else stated.channels,
        output=output if stated.output is None else stated.output,
        validation=_of_training(parts, overrides),
    )


def _of_training(parts: EvaluationParts, overrides: dict[str, Any]) -> bool:
    """Whether the samples are those that the training's evaluator loads."""
    try:
        mine, of_training = _samples(parts), _samples(find_evaluation(parts.config.root, None, overrides))
    except (OSError, ValueError):
        return False
    return mine is not None and mine == of_training


def _samples(parts: EvaluationParts) -> dict[str, Any] | None:
    """All that the config says of which samples there are; None where it has no data set."""
    if parts.dataset is None:
        return None
    names = [name for name in parts.dataset.config if name != "transform"]
    return {path: content for name in names for path, content in parts.config.reachable(parts.dataset.at(name))}


def _is_synthetic(parser: ConfigParser) -> bool:
    """Whether the bundle was given no data: its id ``synthetic`` says so, else its ``dataset_dir``."""
    if "synthetic" in parser:
        return bool(parser.get_parsed_content("synthetic"))
    return "dataset_dir" in parser and parser.get_parsed_content("dataset_dir") in (None, "")


def added_sample_ids(parts: EvaluationParts) -> dict[str, Any]:
    """The config id, and its content, that adds sample ids where the evaluation's data have none."""
    source = find_sample_ids(parts.config, parts.dataset, parts.transforms, parts.image_key)
    return sample_id_override(
        parts.config, parts.dataset, parts.dataset_argument, source, parts.image_key, distinct=True
    )


def _task(parts: EvaluationParts, stated: Stated) -> Task | None:
    """What the training is for, else what the evaluation says; None where the config itself says what is correct.

    Raises:
        ValueError: if it cannot be inferred, or is stated although the config says it.
    """
    given = {name: value for name, value in stated.given.items() if name in ("task", "sigmoid", "ignore_index")}
    if CRITERION in parts.config:
        for name in given:
            raise ValueError(
                f"{parts.config.files[-1]} says itself what is correct (id {CRITERION}), expected no --{name}."
            )
        return None
    try:
        training = parts.config
        if not any(component.name.endswith("Trainer") for component in training.everything()):
            training = read_training_config(training.root)
        clues, cause = find_parts(training, hardened=True).clues, None
    except (ValueError, OSError) as error:
        clues, cause = parts.clues, error
    try:
        task = find_task(clues, **given)
    except ValueError as error:
        raise error if cause is None else ValueError(f"{str(error).rstrip('.')}; of its training: {cause}") from None
    if cause is not None:
        logger.warning("The bundle is evaluated as a %s, as its evaluation says: %s", task.description, cause)
    return task


def _criterion(task: Task) -> Criterion | None:
    if task.kind == "segmentation":
        return DiceCriterion("lowest", task.include_background, task.sigmoid, task.ignore_index)
    if task.sigmoid:
        return BinaryCriterion(ignore_index=task.ignore_index)
    return None if task.ignore_index is None else ClassificationCriterion(task.ignore_index)


def _own_data(parser: ConfigParser) -> dict[str, Any]:
    """What the config itself says of data, by id."""
    return {name: value for name, value in parser.get().items() if "data" in name.lower()}


def _data_folder(overrides: Mapping[str, Any]) -> str | None:
    """The folder, or table, that is named as that of the data."""
    named = (str(value) for name, value in overrides.items() if DATA_ID.search(name) and isinstance(value, (str, Path)))
    return next((place for place in named if Path(place).is_dir() or is_table(place)), None)


def _class_names(parser: ConfigParser, config: TrainingConfig) -> list[str]:
    if "class_names" in parser:
        return list(map(str, parser.get_parsed_content("class_names")))
    channels = config.described("outputs", "pred").get("channel_def")
    return [str(name) for _, name in sorted((channels or {}).items(), key=lambda pair: int(pair[0]))]
