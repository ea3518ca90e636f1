"""An evaluation of files as configs of a MONAI bundle: ``evaluate.json``, ``train.json`` and ``metadata.json``."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from monai_ima.harden.channels import CHANNELS_ID

from .model import LoadedModel
from .reading import Files
from .trial import Outputs

__all__ = ["evaluation_config", "metadata", "training_config"]

Config = dict[str, Any]

BATCH = 16
"""Images of one size that a classifier takes at a time."""
FROM_ENGINE = "$monai.handlers.from_engine(['pred', 'label'])"
COUNTED = "$lambda items: tuple([i[key] for i in items if i['label'] != {}] for key in ('pred', 'label'))"
"""Predictions and labels of a classifier, without those of the label that counts nowhere."""
SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"


def _part(target: str, **arguments: Any) -> Config:
    return {"_target_": target, **arguments}


CHECKPOINT = _part("CheckpointLoader", load_path="@ckpt_path", load_dict={"model": "@network"}, map_location="@device")


def _evaluator(loader: str, handlers: str, files: Files, outputs: Outputs) -> Config:
    return _part(
        "SupervisedEvaluator",
        device="@device",
        val_data_loader=loader,
        network="@network",
        inferer="@inferer",
        postprocessing="@postprocessing",
        key_val_metric={"score": _metric(files, outputs)},
        val_handlers=handlers,
    )


def evaluation_config(files: Files, model: LoadedModel, outputs: Outputs, weights: str, torchscript: str) -> Config:
    """The config that evaluates, of ``monai-ima evaluate`` and of ``python -m monai.bundle run``.

    Args:
        files: what is evaluated on.
        model: the network.
        outputs: of the network.
        weights: expression or path of the file of its weights.
        torchscript: that of a TorchScript network's file.
    """
    return {
        **_common(files, model, outputs, weights, torchscript),
        "criterion": _criterion(files, outputs),
        "dataset": _part("Dataset", data="@datalist", transform="@preprocessing"),
        "dataloader": _part("DataLoader", dataset="@dataset", batch_size="@batch_size", num_workers="@num_workers"),
        "handlers": [
            CHECKPOINT,
            _part("StatsHandler", iteration_log=False),
            _part("MetricsSaver", save_dir="@output_dir", metrics="*"),
        ],
        "evaluator": _evaluator("@dataloader", "@handlers", files, outputs),
        "initialize": ["$monai.utils.set_determinism(seed=@seed)"],
        "run": ["$@evaluator.run()"],
    }


def training_config(files: Files, model: LoadedModel, outputs: Outputs, weights: str, torchscript: str) -> Config:
    """A plain training on the same files, every fifth of them for validation, to be changed by hand and hardened.

    Args:
        files: what is trained on.
        model: the network.
        outputs: of the network.
        weights: expression or path of the file of its weights, which training starts from.
        torchscript: that of a TorchScript network's file.
    """
    loader = {"batch_size": "@batch_size", "num_workers": "@num_workers"}
    return {
        **_common(files, model, outputs, weights, torchscript),
        "ckpt_dir": "$@bundle_root + '/models'",
        "epochs": 20,
        "learning_rate": 0.0001,
        "train_items": "$[item for k, item in enumerate(@datalist) if k % 5]",
        "val_items": "$@datalist[::5]",
        "loss": _loss(files, outputs),
        "optimizer": _part("torch.optim.Adam", params="$@network.parameters()", lr="@learning_rate"),
        "train": {
            "preprocessing": _part("Compose", transforms=[*files.transforms, *_training_steps(files, outputs)]),
            "dataset": _part("Dataset", data="@train_items", transform="@train#preprocessing"),
            "dataloader": _part("DataLoader", dataset="@train#dataset", shuffle=True, **loader),
            "handlers": [
                CHECKPOINT,
                _part("ValidationHandler", validator="@validate#evaluator", epoch_level=True, interval=1),
                _part(
                    "StatsHandler",
                    tag_name="train_loss",
                    output_transform="$monai.handlers.from_engine(['loss'], first=True)",
                ),
            ],
            "trainer": _part(
                "SupervisedTrainer",
                max_epochs="@epochs",
                device="@device",
                train_data_loader="@train#dataloader",
                network="@network",
                optimizer="@optimizer",
                loss_function="@loss",
                inferer=_inferer(files, outputs, None),
                train_handlers="@train#handlers",
            ),
        },
        "validate": _validation(files, loader, outputs),
        "initialize": ["$monai.utils.set_determinism(seed=@seed)"],
        "run": ["$@train#trainer.run()"],
    }


def _validation(files: Files, loader: Config, outputs: Outputs) -> Config:
    return {
        "dataset": _part("Dataset", data="@val_items", transform="@preprocessing"),
        "dataloader": _part("DataLoader", dataset="@validate#dataset", **loader),
        "handlers": [
            _part("StatsHandler", iteration_log=False),
            _part(
                "CheckpointSaver",
                save_dir="@ckpt_dir",
                save_dict={"model": "@network"},
                save_key_metric=True,
                key_metric_filename="model_trained.pt",
            ),
        ],
        "evaluator": _evaluator("@validate#dataloader", "@validate#handlers", files, outputs),
    }


def metadata(files: Files, model: LoadedModel, outputs: Outputs) -> Config:
    """The bundle's metadata: what is known of a network from its file and the images."""
    names = _class_names(files, outputs)
    spatial = list(outputs.image_shape[1:])
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": "n/a",
        "num_channels": outputs.image_shape[0],
        "spatial_shape": spatial,
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": files.settings.window is not None,
        "channel_def": {str(k): f"channel {k}" for k in range(outputs.image_shape[0])},
    }
    segments = outputs.task == "segmentation"
    prediction = {
        "type": "image" if segments else "probabilities",
        "format": "segmentation" if segments else "classes",
        "num_channels": outputs.channels,
        "spatial_shape": list(outputs.shape[1:]) if segments else [1, outputs.channels],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": files.settings.window is not None,
        "channel_def": dict(zip(map(str, range(len(names))), names, strict=True)),
    }
    return {
        "schema": SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": "written by monai-ima evaluate --save_bundle"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch"),
        "numpy_version": version("numpy"),
        "required_packages_version": {"monai-ima": version("monai-ima"), "pytorch-ignite": version("pytorch-ignite")},
        "supported_apps": {},
        "name": model.file.stem,
        "task": f"{outputs.task}, {outputs.channels} output(s)",
        "description": f"The network of {model.file.name}.",
        "authors": "unknown",
        "copyright": "unknown",
        "data_source": f"images in {files.settings.images}",
        "intended_use": "Research only. Not for clinical use.",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": prediction}},
    }


def _common(files: Files, model: LoadedModel, outputs: Outputs, weights: str, torchscript: str) -> Config:
    """What evaluation and training share."""
    settings = files.settings
    folders = {"image_dir": str(Path(str(settings.images)).resolve())}
    if settings.labels is not None:
        folders["label_dir"] = str(Path(settings.labels).resolve())
    network = (
        _part("torch.jit.load", f=torchscript, map_location="cpu") if model.definition is None else model.definition
    )
    limits = {"bounds": settings.bounds, CHANNELS_ID: settings.channels}
    return {
        "imports": ["$import torch", "$import monai", "$import monai_ima"],
        "bundle_root": ".",
        **folders,
        "output_dir": "$@bundle_root + '/eval'",
        "ckpt_path": weights,
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "seed": 0,
        "batch_size": BATCH if files.classes is not None and files.alike else 1,
        "num_workers": 0,
        "class_names": _class_names(files, outputs),
        "network_def": network,
        "network": "$@network_def.to(@device)",
        "datalist": files.datalist,
        "preprocessing": _part("Compose", transforms=files.transforms),
        "inferer": _inferer(files, outputs, settings.window),
        "postprocessing": _part("Compose", transforms=_postprocessing(files, outputs)),
        **{name: list(values) for name, values in limits.items() if values is not None},
    }


def _inferer(files: Files, outputs: Outputs, window: Sequence[int] | None) -> Config:
    """From images to the output that counts."""
    inferer = _part("SimpleInferer")
    if window is not None:
        inferer = _part("SlidingWindowInferer", roi_size=list(window), sw_batch_size=1, overlap=0.25)
    if not outputs.several:
        return inferer
    return _part("monai_ima.inferers.OutputInferer", inferer=inferer, output=files.settings.output)


def _class_names(files: Files, outputs: Outputs) -> list[str]:
    """A name for every output, and two for a classifier's single logit."""
    if files.classes is None:
        first = [] if outputs.sigmoid else ["background"]
        return [*first, *map(str, range(len(first), outputs.channels))]
    return [*files.classes, *map(str, range(len(files.classes), outputs.channels))]


def _criterion(files: Files, outputs: Outputs) -> Config:
    """What is correct."""
    ignored = _ignored(files)
    if outputs.task == "segmentation":
        both = {"include_background": outputs.sigmoid, "sigmoid": outputs.sigmoid}
        return _part("monai_ima.criteria.DiceCriterion", threshold="lowest", **both, **ignored)
    name = "BinaryCriterion" if outputs.sigmoid else "ClassificationCriterion"
    return _part(f"monai_ima.criteria.{name}", **ignored)


def _ignored(files: Files) -> Config:
    return {} if files.settings.ignore_index is None else {"ignore_index": files.settings.ignore_index}


def _loss(files: Files, outputs: Outputs) -> Config:
    ignored = _ignored(files)
    if outputs.task == "segmentation" and ignored:
        both = {"include_background": outputs.sigmoid, "sigmoid": outputs.sigmoid}
        return _part("monai_ima.losses.SegmentationLoss", **both, **ignored)
    if outputs.task == "segmentation":
        activation = {"sigmoid": True} if outputs.sigmoid else {"include_background": False, "softmax": True}
        return _part("DiceCELoss", **activation, to_onehot_y=_is_indices(outputs))
    if outputs.sigmoid:
        return _part("torch.nn.BCEWithLogitsLoss")
    return _part("torch.nn.CrossEntropyLoss", **ignored)


def _is_indices(outputs: Outputs) -> bool:
    """Label maps hold one class of several in each voxel."""
    return outputs.channels > 1 and outputs.label_channels == 1


def _training_steps(files: Files, outputs: Outputs) -> list[Config]:
    """What is added to the transforms for training: a window at random, labels of a single logit as numbers."""
    if files.settings.window is not None:
        window = {"keys": ["image", "label"]}
        return [
            _part("SpatialPadd", **window, spatial_size=list(files.settings.window)),
            _part("RandSpatialCropd", **window, roi_size=list(files.settings.window), random_size=False),
        ]
    if files.classes is not None and outputs.sigmoid:
        number = "[float(label)]" if outputs.shape else "float(label)"
        return [_part("Lambdad", keys="label", func=f"$lambda label: torch.tensor({number})")]
    return []


def _postprocessing(files: Files, outputs: Outputs) -> list[Config]:
    if outputs.task != "segmentation":
        return [*_independent()] if outputs.sigmoid else [_part("Activationsd", keys="pred", softmax=True)]
    first = _independent() if outputs.sigmoid else [_part("AsDiscreted", keys="pred", argmax=True)]
    ignored = files.settings.ignore_index
    masked = [] if ignored is None else _masked(ignored)
    maps = {"pred": not outputs.sigmoid, "label": _is_indices(outputs)}
    keys = [key for key, is_indices in maps.items() if is_indices]
    return [*first, *masked, *([_part("AsDiscreted", keys=keys, to_onehot=outputs.channels)] if keys else [])]


def _independent() -> list[Config]:
    return [_part("Activationsd", keys="pred", sigmoid=True), _part("AsDiscreted", keys="pred", threshold=0.5)]


def _masked(ignored: int) -> list[Config]:
    """Background in prediction and label alike where the label is the one that counts nowhere."""
    return [
        _part("CopyItemsd", keys="label", names="counted"),
        _part("Lambdad", keys="counted", func=f"$lambda label: label != {ignored}"),
        _part("MaskIntensityd", keys=["pred", "label"], mask_key="counted"),
    ]


def _metric(files: Files, outputs: Outputs) -> Config:
    if outputs.task == "segmentation":
        return _part("MeanDice", include_background=outputs.sigmoid, output_transform=FROM_ENGINE)
    ignored = files.settings.ignore_index
    counted = FROM_ENGINE if ignored is None else COUNTED.format(ignored)
    return _part("ignite.metrics.Accuracy", output_transform=counted)
