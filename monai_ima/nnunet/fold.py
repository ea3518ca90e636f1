"""A trained fold of nnU-Net and its validation cases."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor, list_data_collate
from monai.utils import ImageMetaKey
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from monai_ima.utils.checks import check_bool, check_text, shown

from .checkpoint import read_checkpoint
from .labels import judged_label
from .training import nnUNetTrainerIMA, nnUNetTrainerPGD

__all__ = ["TrainedFold", "open_fold"]


@dataclass(frozen=True)
class TrainedFold:
    """A trained fold; iterated: its validation cases as batches of one, as nnU-Net has preprocessed them.

    Attributes:
        name: data set, trainer, plans, configuration and fold.
        predictor: nnU-Net's, with the fold's weights in ``predictor.network``.
        checkpoint: the file of the weights.
        data: folder of the preprocessed cases.
        keys: of the validation cases, sorted.

    Example:
        >>> TrainedFold("Dataset004 fold 0", None, Path("fold_0/checkpoint_final.pth"), Path("data"), ["scan_1"]).name
        'Dataset004 fold 0'
    """

    name: str
    predictor: Any
    checkpoint: Path
    data: Path
    keys: list[str]

    @property
    def classes(self) -> list[str]:
        """Names of the outputs, the background first where it is one of them."""
        manager, labels = self.predictor.label_manager, self.predictor.dataset_json["labels"]
        if manager.has_regions:
            return [name for name, value in labels.items() if name not in ("background", "ignore") and value != 0]
        return sorted((name for name in labels if name != "ignore"), key=lambda name: int(labels[name]))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        cases = infer_dataset_class(str(self.data))(str(self.data), list(self.keys))
        for key in self.keys:
            image, label, _, properties = cases.load_case(key)
            volume = torch.from_numpy(np.array(image[:], np.float32))
            meta = {ImageMetaKey.FILENAME_OR_OBJ: str(self.data / key)}
            item = {
                "image": MetaTensor(volume, affine=self._affine(properties), meta=meta),
                "label": self._label(torch.from_numpy(np.array(label[:], np.int16))),
                "sample_id": key,
            }
            yield list_data_collate([item])

    def __len__(self) -> int:
        return len(self.keys)

    def _label(self, label: torch.Tensor) -> torch.Tensor:
        """As in nnU-Net's validation: outside the body is background, and classes become regions."""
        manager = self.predictor.label_manager
        transforms = nnUNetTrainer.get_validation_transforms(
            None,
            foreground_labels=manager.foreground_labels,
            regions=manager.foreground_regions if manager.has_regions else None,
            ignore_label=manager.ignore_label,
        )
        target = transforms(image=torch.zeros_like(label, dtype=torch.float32), segmentation=label)["segmentation"]
        return judged_label(target[None], manager)[0]

    def _affine(self, properties: dict[str, Any]) -> torch.Tensor:
        """Of the preprocessed grid's spacing."""
        own = [properties["spacing"][axis] for axis in self.predictor.plans_manager.transpose_forward]
        spacing = list(self.predictor.configuration_manager.spacing)
        return torch.diag(torch.tensor([*own[: 3 - len(spacing)], *spacing, 1.0], dtype=torch.float64))


def open_fold(
    dataset: int | str,
    configuration: str,
    fold: int,
    trainer: str = "nnUNetTrainer",
    plans: str = "nnUNetPlans",
    checkpoint: str = "checkpoint_final.pth",
    mirroring: bool = False,
    device: torch.device | str = "cpu",
) -> TrainedFold:
    """Find and load what nnU-Net has trained; nothing is written.

    Args:
        dataset: number or name.
        configuration: such as ``"3d_fullres"``.
        fold: its number, >= 0.
        trainer: name of the trainer's class.
        plans: name of the plans.
        checkpoint: name of the file in the fold's folder.
        mirroring: predict mirrored windows too, as nnU-Net does by default.
        device: of the predictor.

    Raises:
        ValueError: if an environment variable is not set, or data set, training, fold or checkpoint are not there.
    """
    for name, value in (("configuration", configuration), ("trainer", trainer), ("plans", plans)):
        check_text(name, value)
    preprocessed, results = (_variable(name) for name in ("nnUNet_preprocessed", "nnUNet_results"))
    title = _dataset(dataset, preprocessed)
    training = f"{trainer}__{plans}__{configuration}"
    trained = _one_of("training", training, _folders(results / title), f"in {results / title}")
    fold_name = _one_of("fold", f"fold_{fold}", [p for p in _folders(trained) if "fold_" in p.name], f"of {training}")
    file = fold_name / check_text("checkpoint", checkpoint)
    if not file.is_file():
        there = [path.name for path in sorted(fold_name.glob("checkpoint_*.pth"))]
        expected = f"one of {', '.join(there)}" if there else "a fold that has been trained"
        raise ValueError(f"Fold {fold} of {training} has no {checkpoint}, expected {expected}.")
    predictor = _predictor(trained, configuration, file, check_bool("mirroring", mirroring), torch.device(device))
    data = preprocessed / title / predictor.configuration_manager.data_identifier
    if not data.is_dir():
        raise ValueError(f"There is no folder {data}, expected the preprocessed cases (nnUNetv2_preprocess).")
    return TrainedFold(
        f"{title} {training} fold {fold}", predictor, file, data, _validation(preprocessed / title, fold)
    )


def _variable(name: str) -> Path:
    value = os.environ.get(name)
    if not value or not Path(value).is_dir():
        has = "is not set" if not value else f"is {value}, which is no folder"
        raise ValueError(f"Environment variable {name} {has}, expected nnU-Net's folder of that name.")
    return Path(value)


def _dataset(dataset: int | str, preprocessed: Path) -> str:
    try:
        name = str(maybe_convert_to_dataset_name(dataset))
    except (RuntimeError, ValueError, TypeError):
        name = ""
    if not name or not (preprocessed / name).is_dir():
        there = ", ".join(path.name for path in _folders(preprocessed)) or "one that nnU-Net has preprocessed"
        raise ValueError(
            f"Unknown data set {shown(dataset)}, expected number or name of one in {preprocessed}: {there}."
        )
    return name


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_dir())


def _one_of(what: str, name: str, there: Sequence[Path], where: str) -> Path:
    for path in there:
        if path.name == name:
            return path
    names = ", ".join(path.name for path in there)
    raise ValueError(f"There is no {what} {name} {where}, expected {f'one of {names}' if names else 'a trained one'}.")


def _predictor(trained: Path, configuration: str, file: Path, mirroring: bool, device: torch.device) -> Any:
    content = read_checkpoint(file)
    weights, trainer = content["network_weights"], content["trainer_name"]
    plans = PlansManager(str(trained / "plans.json"))
    labels = json.loads((trained / "dataset.json").read_text(encoding="utf-8"))
    used = plans.get_configuration(configuration)
    if used.previous_stage_name is not None:
        raise ValueError(f"Configuration {configuration} is a second stage, expected one without a previous stage.")
    with redirect_stdout(io.StringIO()):
        network = _trainer_class(trainer).build_network_architecture(
            plans,
            used,
            determine_num_input_channels(plans, used, labels),
            plans.get_label_manager(labels).num_segmentation_heads,
            enable_deep_supervision=False,
        )
        predictor = nnUNetPredictor(use_mirroring=mirroring, device=device, allow_tqdm=False)
    network.load_state_dict(weights)
    axes = content["inference_allowed_mirroring_axes"]
    predictor.manual_initialization(network.to(device).eval(), plans, used, None, labels, trainer, axes)
    return predictor


def _trainer_class(name: str) -> Any:
    for known in (nnUNetTrainer, nnUNetTrainerIMA, nnUNetTrainerPGD):
        if known.__name__ == name:
            return known
    try:
        return recursive_find_trainer_class_by_name(name)
    except (RuntimeError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"Unknown trainer {name}, expected nnUNet_extTrainer with its folder: {reason}.") from None


def _validation(folder: Path, fold: int) -> list[str]:
    file = folder / "splits_final.json"
    if not file.is_file():
        raise ValueError(f"There is no file {file}, expected the folds that nnU-Net wrote when it trained.")
    splits = json.loads(file.read_text(encoding="utf-8"))
    if fold >= len(splits):
        raise ValueError(f"Fold {fold} is not in {file}, expected one of 0..{len(splits) - 1}.")
    return sorted(splits[fold]["val"])
