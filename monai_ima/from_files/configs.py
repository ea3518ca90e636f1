"""An evaluation of files as configs of a MONAI bundle: ``evaluate.json``, ``train.json`` and ``metadata.json``."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from .model import LoadedModel
from .reading import Files
from .trial import Outputs

__all__ = ["evaluation_config", "metadata", "training_config"]

Config = dict[str, Any]

BATCH = 16
"""Images of one size that a classifier takes at a time."""
FROM_ENGINE = "$monai.handlers.from_engine(['pred', 'label'])"
SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"


def _part(target: str, **arguments: Any) -> Config:
    return {"_target_": target, **arguments}


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
        **({} if files.settings.bounds is None else {"bounds": list(files.settings.bounds)}),
        "dataset": _part("Dataset", data="@datalist", transform="@preprocessing"),
        "dataloader": _part("DataLoader", dataset="@dataset", batch_size="@batch_size", num_workers="@num_workers"),
        "handlers": [
            _part("CheckpointLoader", load_path="@ckpt_path", load_dict={"model": "@network"}, map_location="@device"),
            _part("StatsHandler", iteration_log=False),
            _part("MetricsSaver", save_dir="@output_dir", metrics="*"),
        ],
        "evaluator": _part(
            "SupervisedEvaluator",
            device="@device",
            val_data_loader="@dataloader",
            network="@network",
            inferer="@inferer",
            postprocessing="@postprocessing",
            key_val_metric={"score": _metric(outputs)},
            val_handlers="@handlers",
        ),
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
    checkpoint = _part(
        "CheckpointLoader", load_path="@ckpt_path", load_dict={"model": "@network"}, map_location="@device"
    )
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
                checkpoint,
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
                inferer=_part("SimpleInferer"),
                train_handlers="@train#handlers",
            ),
        },
        "validate": _validation(loader, outputs),
        "initialize": ["$monai.utils.set_determinism(seed=@seed)"],
        "run": ["$@train#trainer.run()"],
    }


def _validation(loader: Config, outputs: Outputs) -> Config:
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
        "evaluator": _part(
            "SupervisedEvaluator",
            device="@device",
            val_data_loader="@validate#dataloader",
            network="@network",
            inferer="@inferer",
            postprocessing="@postprocessing",
            key_val_metric={"score": _metric(outputs)},
            val_handlers="@validate#handlers",
        ),
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
    window = settings.window
    sliding = {} if window is None else {"roi_size": list(window), "sw_batch_size": 1, "overlap": 0.25}
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
        "inferer": _part("SlidingWindowInferer" if sliding else "SimpleInferer", **sliding),
        "postprocessing": _part("Compose", transforms=_postprocessing(outputs)),
    }


def _class_names(files: Files, outputs: Outputs) -> list[str]:
    """A name for every output, and two for a classifier's single logit."""
    if files.classes is None:
        first = [] if outputs.sigmoid else ["background"]
        return [*first, *map(str, range(len(first), outputs.channels))]
    return [*files.classes, *map(str, range(len(files.classes), outputs.channels))]


def _criterion(files: Files, outputs: Outputs) -> Config:
    """What is correct."""
    ignored = {} if files.settings.ignore_index is None else {"ignore_index": files.settings.ignore_index}
    if outputs.task == "segmentation":
        both = {"include_background": outputs.sigmoid, "sigmoid": outputs.sigmoid}
        return _part("monai_ima.criteria.DiceCriterion", threshold="lowest", **both, **ignored)
    name = "BinaryCriterion" if outputs.sigmoid else "ClassificationCriterion"
    return _part(f"monai_ima.criteria.{name}", **ignored)


def _loss(files: Files, outputs: Outputs) -> Config:
    if outputs.task == "segmentation":
        own = (
            {"sigmoid": True}
            if outputs.sigmoid
            else {"include_background": False, "to_onehot_y": True, "softmax": True}
        )
        return _part("DiceCELoss", **own)
    if outputs.sigmoid:
        return _part("torch.nn.BCEWithLogitsLoss")
    ignored = {} if files.settings.ignore_index is None else {"ignore_index": files.settings.ignore_index}
    return _part("torch.nn.CrossEntropyLoss", **ignored)


def _training_steps(files: Files, outputs: Outputs) -> list[Config]:
    """What is added to the transforms for training: a window at random, labels of a single logit as numbers."""
    if files.settings.window is not None:
        window = {"keys": ["image", "label"]}
        return [
            _part("SpatialPadd", **window, spatial_size=list(files.settings.window)),
            _part("RandSpatialCropd", **window, roi_size=list(files.settings.window), random_size=False),
        ]
    if files.classes is not None and outputs.sigmoid:
        return [_part("Lambdad", keys="label", func="$lambda label: torch.tensor([float(label)])")]
    return []


def _postprocessing(outputs: Outputs) -> list[Config]:
    if outputs.sigmoid:
        return [
            _part("Activationsd", keys="pred", sigmoid=True),
            _part("AsDiscreted", keys="pred", threshold=0.5),
        ]
    if outputs.task == "segmentation":
        both = {"keys": ["pred", "label"], "argmax": [True, False], "to_onehot": outputs.channels}
        return [_part("AsDiscreted", **both)]
    return [_part("Activationsd", keys="pred", softmax=True)]


def _metric(outputs: Outputs) -> Config:
    if outputs.task == "segmentation":
        return _part("MeanDice", include_background=outputs.sigmoid, output_transform=FROM_ENGINE)
    return _part("ignite.metrics.Accuracy", output_transform=FROM_ENGINE)
