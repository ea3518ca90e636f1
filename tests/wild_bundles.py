# ruff: noqa: E501 - configs, a component a line
"""Small bundles in the styles that are found in the wild, with tiny data, each able to train for an epoch."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import yaml
from monai.networks.nets import ResNet


def part(target: str, **arguments: Any) -> dict[str, Any]:
    """A component of a config."""
    return {"_target_": target, **arguments}


def trainer(**arguments: Any) -> dict[str, Any]:
    """A trainer with the ids that most bundles give its arguments."""
    ids = {"device": "@device", "train_data_loader": "@train#dataloader", "network": "@network"}
    ids |= {"loss_function": "@loss", "optimizer": "@optimizer", "train_handlers": "@train#handlers"}
    return part("SupervisedTrainer", **{"max_epochs": 1, **ids, **arguments})


def evaluator(**arguments: Any) -> dict[str, Any]:
    """An evaluator with the ids that most bundles give its arguments."""
    ids = {"device": "@device", "val_data_loader": "@validate#dataloader", "network": "@network"}
    ids |= {"postprocessing": "@validate#postprocessing", "key_val_metric": "@validate#key_metric"}
    return part("SupervisedEvaluator", **{**ids, **arguments})


def softmax_post(pred: str, label: str) -> dict[str, Any]:
    """The post-processing of two exclusive classes."""
    transforms = [
        part("Activationsd", keys=pred, softmax=True),
        part("AsDiscreted", keys=[pred, label], argmax=[True, False], to_onehot=2),
    ]
    return part("Compose", transforms=transforms)


SIGMOID_POST = part(
    "Compose",
    transforms=[part("Activationsd", keys="pred", sigmoid=True), part("AsDiscreted", keys="pred", threshold=0.5)],
)
STATS = part(
    "StatsHandler", tag_name="train_loss", output_transform="$monai.handlers.from_engine(['loss'], first=True)"
)
SAVER = part(
    "CheckpointSaver",
    save_dir="@ckpt_dir",
    save_dict={"model": "@network"},
    save_key_metric=True,
    key_metric_filename="model.pt",
)
FROM_ENGINE = "$monai.handlers.from_engine(['pred', 'label'])"
CPU = "$torch.device('cpu')"
RUN = {"initialize": ["$monai.utils.set_determinism(seed=123)"], "run": ["$@train#trainer.run()"]}


def write(folder: Path, name: str, content: dict[str, Any]) -> None:
    text = yaml.safe_dump(content, sort_keys=False) if name.endswith("yaml") else json.dumps(content, indent=2)
    (folder / "configs").mkdir(parents=True, exist_ok=True)
    (folder / "configs" / name).write_text(text)


def write_scripts(folder: Path, name: str, code: str) -> None:
    """A module of the bundle's own code."""
    (folder / "scripts").mkdir()
    (folder / "scripts" / "__init__.py").touch()
    (folder / "scripts" / name).write_text(code)


def metadata(folder: Path, modality: str = "MR", kind: str = "", shape: list[int] | None = None) -> None:
    inputs = {"image": {"type": "image", "modality": modality, "num_channels": 1, "spatial_shape": shape or ["*"]}}
    outputs = {"pred": {"type": "image", "format": kind}} if kind else {}
    write(folder, "metadata.json", {"version": "1", "network_data_format": {"inputs": inputs, "outputs": outputs}})


def write_pictures(folder: Path, count: int = 8, classes: int = 2, size: int = 32) -> None:
    """Images whose brightness is their class, as ``data/{class}_{k}.npy``, in 0 .. 255."""
    draw = np.random.default_rng(0)
    (folder / "data").mkdir(parents=True)
    for k in range(count):
        label = k % classes
        image = draw.normal(60 + 120 * label, 25, (1, size, size)).clip(0, 255).astype("float32")
        np.save(folder / "data" / f"{label}_{k}.npy", image)


def write_volumes(folder: Path, count: int = 4, shape: tuple[int, ...] = (16, 16, 16), foreground: int = 1) -> None:
    """Volumes with a bright box (100 of -100 .. 150) and its label map, as ``data/{image,label}{k}.npy``."""
    draw = np.random.default_rng(0)
    (folder / "data").mkdir(parents=True)
    for k in range(count):
        label = np.zeros((foreground, *shape), "uint8")
        for channel in range(foreground):
            label[(channel, *(slice(3 + k % 3 + channel, 10 + channel) for _ in shape))] = 1
        image = draw.normal(0, 20, (1, *shape)) + 100 * label.max(0, keepdims=True)
        np.save(folder / "data" / f"image{k}.npy", image.astype("float32"))
        np.save(folder / "data" / f"label{k}.npy", label)


PAIRS = "$[{'image': i, 'label': i.replace('image', 'label')} for i in sorted(glob.glob(@dataset_dir + '/image*.npy'))]"
LABELLED = "$[{'image': i, 'label': int(os.path.basename(i)[0])} for i in sorted(glob.glob(@dataset_dir + '/*.npy'))]"
DATA = {"bundle_root": ".", "dataset_dir": "$@bundle_root + '/data'"}
UNET = {"spatial_dims": 3, "in_channels": 1, "channels": [4, 8], "strides": [2], "num_res_units": 0}


def small_resnet() -> dict[str, Any]:
    """A component: two classes of grey pictures."""
    return part(
        "ResNet",
        block="basic",
        layers=[1, 1, 1, 1],
        block_inplanes=[4, 4, 4, 4],
        spatial_dims=2,
        n_input_channels=1,
        num_classes=2,
        conv1_t_size=3,
    )


def zoo_classification(root: Path) -> None:
    """JSON with the ids of the specification; summed cross-entropy; batch norm; weights; for several processes too."""
    write_pictures(root)
    metadata(root, "XR", "classification", [32, 32])
    fixed = [
        part("LoadImaged", keys="image"),
        part("ScaleIntensityRanged", keys="image", a_min=0, a_max=255, b_min=0, b_max=1, clip=True),
    ]
    post = [{"_target_": "AsDiscreted", "keys": ["pred", "label"], "argmax": [True, False], "to_onehot": [2, 2]}]
    accuracy = {"_target_": "ignite.metrics.Accuracy", "output_transform": FROM_ENGINE}
    network = small_resnet()
    train = {
        "imports": ["$import glob", "$import os", "$import ignite"],
        **DATA,
        "ckpt_dir": "$@bundle_root + '/models'",
        "output_dir": "$@bundle_root + '/eval'",
        "val_interval": 1,
        "epochs": 4,
        "items": LABELLED,
        "device": CPU,
        "network_def": network,
        "network": "$@network_def.to(@device)",
        "loss": part("torch.nn.CrossEntropyLoss", reduction="sum"),
        "optimizer": part("torch.optim.Adam", params="$@network.parameters()", lr=0.001),
        "lr_scheduler": part("torch.optim.lr_scheduler.StepLR", optimizer="@optimizer", step_size=1),
        "train": {
            "deterministic_transforms": fixed,
            "random_transforms": [part("RandFlipd", keys="image", prob=0.5, spatial_axis=0)],
            "preprocessing": part("Compose", transforms="$@train#deterministic_transforms + @train#random_transforms"),
            "dataset": part("CacheDataset", data="@items", transform="@train#preprocessing", progress=False),
            "dataloader": part("DataLoader", dataset="@train#dataset", batch_size=4, shuffle=True),
            "inferer": part("SimpleInferer"),
            "postprocessing": part("Compose", transforms=post),
            "handlers": [
                part("LrScheduleHandler", lr_scheduler="@lr_scheduler", print_lr=False),
                part("ValidationHandler", validator="@validate#evaluator", epoch_level=True, interval="@val_interval"),
                STATS,
                part("TensorBoardStatsHandler", log_dir="@output_dir"),
            ],
            "key_metric": {"train_accu": accuracy},
            "trainer": trainer(
                max_epochs="@epochs",
                inferer="@train#inferer",
                postprocessing="@train#postprocessing",
                key_train_metric="@train#key_metric",
            ),
        },
        "validate": {
            "preprocessing": part("Compose", transforms="%train#deterministic_transforms"),
            "dataset": part("CacheDataset", data="@items", transform="@validate#preprocessing", progress=False),
            "dataloader": part("DataLoader", dataset="@validate#dataset", batch_size=4),
            "inferer": part("SimpleInferer"),
            "postprocessing": part("Compose", transforms="%train#postprocessing"),
            "handlers": [part("StatsHandler", iteration_log=False), SAVER],
            "key_metric": {"val_accu": accuracy},
            "evaluator": evaluator(inferer="@validate#inferer", val_handlers="@validate#handlers"),
        },
        **RUN,
    }
    write(root, "train.json", train)
    write(root, "multi_gpu_train.json", several_processes())
    (root / "models").mkdir()
    torch.save(trained_on_pictures(), root / "models" / "model.pt")


@cache
def trained_on_pictures() -> dict[str, torch.Tensor]:
    """Weights of :func:`small_resnet` on what :func:`write_pictures` writes."""
    with TemporaryDirectory() as folder, torch.random.fork_rng():
        write_pictures(Path(folder))
        files = sorted(Path(folder, "data").iterdir())
        images = torch.stack([torch.from_numpy(np.load(file)) / 255 for file in files])
        labels = torch.tensor([int(file.name[0]) for file in files])
        torch.manual_seed(1)
        trained = ResNet(**{key: value for key, value in small_resnet().items() if key != "_target_"})
        optimizer = torch.optim.Adam(trained.parameters(), lr=0.02)
        for _ in range(30):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(trained(images), labels).backward()
            optimizer.step()
    return trained.state_dict()


def several_processes() -> dict[str, Any]:
    """The changes that the model zoo's bundles make for several processes, on CPUs."""
    return {
        "network": part("torch.nn.parallel.DistributedDataParallel", module="$@network_def.to(@device)"),
        "train#sampler": part("DistributedSampler", dataset="@train#dataset", even_divisible=True),
        "train#dataloader#sampler": "@train#sampler",
        "train#dataloader#shuffle": False,
        "train#trainer#train_handlers": "$@train#handlers[: -2 if dist.get_rank() > 0 else None]",
        "validate#sampler": part("DistributedSampler", dataset="@validate#dataset", shuffle=False),
        "validate#dataloader#sampler": "@validate#sampler",
        "validate#evaluator#val_handlers": "$None if dist.get_rank() > 0 else @validate#handlers",
        "initialize": [
            "$import torch.distributed as dist",
            "$dist.is_initialized() or dist.init_process_group(backend='gloo')",
            "$monai.utils.set_determinism(seed=123)",
        ],
        "run": ["$@train#trainer.run()"],
        "finalize": ["$dist.is_initialized() and dist.destroy_process_group()"],
    }


def zoo_segmentation(root: Path) -> None:
    """JSON, 3-D CT: two crops a scan, sliding window, macros, mixed precision asked for, a loss over the whole batch."""
    write_volumes(root)
    metadata(root, "CT", "segmentation", [8, 8, 8])
    both = ["image", "label"]
    train = {
        "imports": ["$import glob", "$import os"],
        **DATA,
        "ckpt_dir": "$@bundle_root + '/models'",
        "items": PAIRS,
        "device": CPU,
        "network_def": part("UNet", **UNET, out_channels=2, norm="batch"),
        "network": "$@network_def.to(@device)",
        "loss": part("DiceCELoss", include_background=False, to_onehot_y=True, softmax=True, batch=True),
        "optimizer": part("torch.optim.Adam", params="$@network.parameters()", lr=0.0001),
        "train": {
            "deterministic_transforms": [
                part("LoadImaged", keys=both),
                part("ScaleIntensityRanged", keys="image", a_min=-100, a_max=150, b_min=0, b_max=1, clip=True),
            ],
            "random_transforms": [
                part("RandCropByPosNegLabeld", keys=both, label_key="label", spatial_size=[8, 8, 8], num_samples=2)
            ],
            "preprocessing": part("Compose", transforms="$@train#deterministic_transforms + @train#random_transforms"),
            "dataset": part("CacheDataset", data="$@items[:-2]", transform="@train#preprocessing", progress=False),
            "dataloader": part("DataLoader", dataset="@train#dataset", batch_size=2, shuffle=True),
            "postprocessing": softmax_post("pred", "label"),
            "handlers": [part("ValidationHandler", validator="@validate#evaluator", interval=1), STATS],
            "trainer": trainer(postprocessing="@train#postprocessing", amp=True),
        },
        "validate": {
            "preprocessing": part("Compose", transforms="%train#deterministic_transforms"),
            "dataset": part("Dataset", data="$@items[-2:]", transform="@validate#preprocessing"),
            "dataloader": part("DataLoader", dataset="@validate#dataset", batch_size=1),
            "inferer": part("SlidingWindowInferer", roi_size=[8, 8, 8], sw_batch_size=4, overlap=0),
            "postprocessing": "%train#postprocessing",
            "handlers": [SAVER],
            "key_metric": {"val_mean_dice": part("MeanDice", include_background=False, output_transform=FROM_ENGINE)},
            "evaluator": evaluator(inferer="@validate#inferer", val_handlers="@validate#handlers", amp=True),
        },
        **RUN,
    }
    write(root, "train.json", train)


def template(root: Path) -> None:
    """YAML with ids of its own, keys as expressions, a thread loader, disabled handlers, several key metrics."""
    write_volumes(root, shape=(16, 16))
    both = ["@image", "@label"]
    train = {
        "imports": ["$import os", "$import glob"],
        "image": "$monai.utils.CommonKeys.IMAGE",
        "label": "$monai.utils.CommonKeys.LABEL",
        "pred": "$monai.utils.CommonKeys.PRED",
        "both_keys": both,
        "rank": 0,
        "is_not_rank0": "$@rank > 0",
        "num_epochs": 1,
        "num_classes": 2,
        "device": CPU,
        **DATA,
        "ckpt_path": "$@bundle_root + '/models/model.pt'",
        "output_dir": "$@bundle_root + '/results'",
        "network_def": part("UNet", **{**UNET, "spatial_dims": 2}, out_channels="@num_classes"),
        "network": "$@network_def.to(@device)",
        "base_transforms": [part("LoadImaged", keys="@both_keys", image_only=True)],
        "train_transforms": [
            part("RandGaussianNoised", keys="@image", prob=0.5, std=0.05),
            part("ScaleIntensityd", keys="@image"),
        ],
        "val_transforms": [part("ScaleIntensityd", keys="@image")],
        "preprocessing": part("Compose", transforms="$@base_transforms + @train_transforms"),
        "val_preprocessing": part("Compose", transforms="$@base_transforms + @val_transforms"),
        "items": PAIRS.replace("'image': i", "@image: i").replace("'label': i", "@label: i"),
        "train_dataset": part("Dataset", data="$@items[:3]", transform="@preprocessing"),
        "val_dataset": part("Dataset", data="$@items[3:]", transform="@val_preprocessing"),
        "train_dataloader": part("ThreadDataLoader", dataset="@train_dataset", batch_size=2, repeats=1, num_workers=0),
        "val_dataloader": part("DataLoader", dataset="@val_dataset", batch_size=1),
        "lossfn": part("DiceLoss", to_onehot_y=True, softmax=True),
        "optimizer": part("torch.optim.Adam", params="$@network.parameters()", lr=0.001),
        "inferer": part("SimpleInferer"),
        "postprocessing": softmax_post("@pred", "@label"),
        "val_handlers": [
            part("StatsHandler", name=None, output_transform="$lambda x: None"),
            part(
                "CheckpointSaver",
                _disabled_="@is_not_rank0",
                save_dir="@output_dir",
                save_dict={"model": "@network"},
                epoch_level=False,
                save_key_metric=True,
                key_metric_name="val_mean_dice",
            ),
        ],
        "evaluator": evaluator(
            val_data_loader="@val_dataloader",
            postprocessing="@postprocessing",
            key_val_metric={
                "val_mean_dice": part(
                    "MeanDice",
                    include_background=False,
                    output_transform="$monai.handlers.from_engine([@pred, @label])",
                )
            },
            val_handlers="@val_handlers",
        ),
        "metriclogger": part("MetricLogger", evaluator="@evaluator"),
        "handlers": [
            "@metriclogger",
            part(
                "CheckpointLoader",
                _disabled_="$not os.path.exists(@ckpt_path)",
                load_path="@ckpt_path",
                load_dict={"model": "@network"},
            ),
            part("ValidationHandler", validator="@evaluator", epoch_level=True, interval=1),
            part("LogfileHandler", _disabled_=True, output_dir="@output_dir"),
            part(
                "CheckpointSaver",
                _disabled_="@is_not_rank0",
                save_dir="@output_dir",
                save_dict={"model": "@network", "logger": "@metriclogger"},
                save_final=True,
            ),
        ],
        "trainer": trainer(
            max_epochs="@num_epochs",
            train_data_loader="@train_dataloader",
            inferer="@inferer",
            loss_function="@lossfn",
            key_train_metric=None,
            train_handlers="@handlers",
        ),
        **RUN,
        "run": ["$@trainer.run()"],
    }
    write(root, "train.yaml", train)


def channels(root: Path) -> None:
    """JSON of an old kind (``training``), independent channels, z-scores, a cache on disk that keeps no metadata."""
    write_volumes(root, shape=(12, 12), foreground=2)
    both = ["image", "label"]
    train = {
        "imports": ["$import glob"],
        **DATA,
        "epochs": 1,
        "amp": False,
        "device": CPU,
        "items": PAIRS,
        "network_def": part(
            "SegResNet", spatial_dims=2, init_filters=8, out_channels=2, blocks_down=[1, 1], blocks_up=[1]
        ),
        "network": "$@network_def.to(@device)",
        "loss": part("DiceLoss", squared_pred=True, to_onehot_y=False, sigmoid=True),
        "optimizer": part("torch.optim.Adam", params="$@network.parameters()", lr=0.001),
        "train": {
            "preprocessing_transforms": [
                part("LoadImaged", keys=both),
                part("NormalizeIntensityd", keys="image", nonzero=True, channel_wise=True),
            ],
            "random_transforms": [
                part("RandSpatialCropd", keys=both, roi_size=[8, 8], random_size=False),
                part("RandShiftIntensityd", keys="image", offsets=0.1, prob=1.0),
            ],
            "preprocessing": part("Compose", transforms="$@train#preprocessing_transforms + @train#random_transforms"),
            "dataset": part(
                "PersistentDataset",
                data="@items",
                transform="@train#preprocessing",
                cache_dir="$@bundle_root + '/cache'",
            ),
            "dataloader": part("DataLoader", dataset="@train#dataset", batch_size=2, shuffle=True),
            "inferer": part("SimpleInferer"),
            "handlers": [part("ValidationHandler", validator="@validate#evaluator", interval=1), STATS],
            "trainer": trainer(max_epochs="@epochs", inferer="@train#inferer", amp="@amp"),
        },
        "validate": {
            "preprocessing": part("Compose", transforms="$@train#preprocessing_transforms"),
            "dataset": part("Dataset", data="$@items[:2]", transform="@validate#preprocessing"),
            "dataloader": part("DataLoader", dataset="@validate#dataset", batch_size=1),
            "inferer": part("SlidingWindowInferer", roi_size=[8, 8], sw_batch_size=2),
            "postprocessing": SIGMOID_POST,
            "key_metric": {"val_mean_dice": part("MeanDice", output_transform=FROM_ENGINE)},
            "evaluator": evaluator(inferer="@validate#inferer", amp="@amp"),
        },
        "training": ["$monai.utils.set_determinism(seed=123)", "$@train#trainer.run()"],
    }
    write(root, "train.json", train)


def deep_supervision(root: Path) -> None:
    """YAML with deep supervision (a list out), a smart cache, ``_requires_``, handlers cut by an expression, percentiles."""
    write_volumes(root, shape=(16, 16))
    both = ["image", "label"]
    train = {
        "imports": ["$import glob"],
        **DATA,
        "device": CPU,
        "items": PAIRS,
        "network_def": part(
            "SegResNetDS",
            spatial_dims=2,
            init_filters=8,
            in_channels=1,
            out_channels=2,
            norm="instance",
            blocks_down=[1, 1, 1],
            dsdepth=2,
        ),
        "network": "$@network_def.to(@device)",
        "single_loss": part("DiceCELoss", to_onehot_y=True, softmax=True),
        "loss": part("NoSuchLoss", _disabled_=True),
        "deep_loss": part("DeepSupervisionLoss", loss="@single_loss"),
        "optimizer": part("torch.optim.SGD", params="$@network.parameters()", lr=0.01),
        "seeds": ["$monai.utils.set_determinism(seed=1)"],
        "train": {
            "transforms": part(
                "Compose",
                transforms=[
                    part("LoadImaged", keys=both),
                    part(
                        "ScaleIntensityRangePercentilesd",
                        keys=["image"],
                        lower=1,
                        upper=99,
                        b_min=-1,
                        b_max=1,
                        clip=True,
                    ),
                    part("RandFlipd", keys=both, prob=0.5),
                ],
            ),
            "dataset": part(
                "SmartCacheDataset",
                data="@items",
                transform="@train#transforms",
                replace_rate=0.5,
                cache_num=2,
                progress=False,
            ),
            "dataloader": part("DataLoader", dataset="@train#dataset", batch_size=2),
            "handlers": [
                part("SmartCacheHandler", smartcacher="@train#dataset"),
                part("ValidationHandler", validator="@validate#evaluator", interval=1),
                part("ignite.handlers.ProgressBar"),
            ],
            "trainer": trainer(
                _requires_="@seeds",
                max_epochs=2,
                loss_function="@deep_loss",
                train_handlers="$@train#handlers[:-1]",
            ),
        },
        "validate": {
            "evaluator": evaluator(
                val_data_loader=part(
                    "DataLoader",
                    dataset=part(
                        "Dataset",
                        data="$@items[:2]",
                        transform="$monai.transforms.Compose(@train#transforms.transforms[:2])",
                    ),
                    batch_size=1,
                ),
                postprocessing=part("AsDiscreted", keys=["pred", "label"], argmax=[True, False], to_onehot=2),
                key_val_metric={"dice": part("MeanDice", output_transform=FROM_ENGINE)},
            )
        },
        "run": ["$@train#trainer.run()"],
    }
    write(root, "train.yaml", train)


SCRIPTS = '''
import torch
from monai.data import Dataset
from monai.engines import PrepareBatch, SupervisedTrainer
from monai.inferers import Inferer


class Trainer(SupervisedTrainer):
    def __init__(self, patience=3, **kwargs):
        super().__init__(**kwargs)
        self.patience = patience


class AgeNetwork(torch.nn.Module):
    """Takes an age beside the image; the main output comes first in a dictionary."""

    def __init__(self, classes):
        super().__init__()
        self.features = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU())
        self.head = torch.nn.Linear(5, classes)

    def forward(self, image, age, scale=None):
        pooled = self.features(image).mean((2, 3))
        logits = self.head(torch.cat([pooled, age.float().reshape(-1, 1)], 1))
        return {"logits": logits, "features": pooled}


class Loss(torch.nn.Module):
    def forward(self, pred, label):
        return torch.nn.functional.cross_entropy(pred["logits"], label, reduction="none")


class WithAge(PrepareBatch):
    def __call__(self, batchdata, device=None, non_blocking=False, **kwargs):
        image, label = batchdata["image"].to(device), batchdata["label"].to(device)
        return image, label, (batchdata["age"].to(device),), {"scale": 1}


class First(Inferer):
    def __call__(self, inputs, network, *args, **kwargs):
        return network(inputs, *args, **kwargs)


class Folder(Dataset):
    def __init__(self, folder, transform):
        import glob
        import os

        files = sorted(glob.glob(folder + "/*.npy"))
        super().__init__([{"image": f, "label": int(os.path.basename(f)[0]), "age": 40} for f in files], transform)
'''


def own_code(root: Path) -> None:
    """JSON whose trainer, network (a dictionary out, an age in), loss (one value a sample), batch preparation and
    dataset (without ``data``) are the bundle's own; images lose their file names."""
    write_pictures(root)
    metadata(root, "XR", "classification")
    write_scripts(root, "parts.py", SCRIPTS)
    logits = "$lambda output: (torch.stack([o['pred']['logits'] for o in output]), torch.stack([torch.as_tensor(o['label']) for o in output]))"
    transforms = [
        part("LoadImaged", keys=["image"]),
        part("NormalizeIntensityd", keys=["image"], subtrahend=127.5, divisor=127.5),
        part("ToNumpyd", keys=["image"]),
    ]
    train = {
        "imports": ["$import ignite", "$import scripts.parts"],
        **DATA,
        "gpu": CPU,
        "net": part("scripts.parts.AgeNetwork", classes=2),
        "my_loss": part("scripts.parts.Loss"),
        "opt": part("torch.optim.Adam", params="$@net.parameters()"),
        "prepare": part("scripts.parts.WithAge"),
        "pipeline": part("Compose", transforms=transforms),
        "training_set": part("scripts.parts.Folder", folder="@dataset_dir", transform="@pipeline"),
        "loader": part("DataLoader", dataset="@training_set", batch_size=4),
        "checker": part(
            "SupervisedEvaluator",
            device="@gpu",
            val_data_loader="@loader",
            network="@net",
            prepare_batch="@prepare",
            inferer=part("scripts.parts.First"),
            key_val_metric={"accuracy": part("ignite.metrics.Accuracy", output_transform=logits)},
        ),
        "main": part(
            "scripts.parts.Trainer",
            patience=5,
            max_epochs=1,
            device="@gpu",
            train_data_loader="@loader",
            network="@net",
            loss_function="@my_loss",
            optimizer="@opt",
            prepare_batch="@prepare",
            inferer=part("scripts.parts.First"),
            train_handlers=[part("ValidationHandler", validator="@checker", interval=1)],
        ),
        "run": ["$@main.run()"],
    }
    write(root, "train.json", train)


def multi_label(root: Path) -> None:
    """JSON, several labels at once, images that come as arrays, handlers filtered by an expression, an evaluator
    that nothing runs."""
    write(root, "metadata.json", {"version": "1"})
    train = {
        "bundle_root": ".",
        "device": CPU,
        "items": "$[{'image': torch.full((1, 8, 8), k / 8), 'label': torch.tensor([float(k > 3), k % 2])} for k in range(8)]",
        "network_def": part("Regressor", in_shape=[1, 8, 8], out_shape=[2], channels=[4], strides=[2]),
        "optimizer": part("torch.optim.Adam", params="$@network_def.parameters()"),
        "train": {
            "dataset": part(
                "Dataset",
                data="@items",
                transform=part("ScaleIntensityRanged", keys="image", a_min=0, a_max=1, b_min=0, b_max=1),
            ),
            "handlers": [part("StatsHandler", _disabled_="$True", name="x")],
            "trainer": trainer(
                _target_="monai.engines.SupervisedTrainer",
                train_data_loader=part("DataLoader", dataset="@train#dataset", batch_size=4),
                network="@network_def",
                loss_function=part("torch.nn.BCEWithLogitsLoss", reduction="none"),
                train_handlers="$list(filter(bool, @train#handlers))",
            ),
        },
        "validate": {
            "evaluator": evaluator(
                val_data_loader="@train#trainer#train_data_loader",
                network="@network_def",
                postprocessing=SIGMOID_POST,
                key_val_metric={"mae": part("MeanAbsoluteError", output_transform=FROM_ENGINE)},
                metric_cmp_fn="$lambda new, best: new < best",
            )
        },
        "run": ["$@train#trainer.run()"],
    }
    write(root, "train.json", train)


def no_validation(root: Path) -> None:
    """YAML without any validation; a tuple out of the network, focal loss, no handlers, no ids but the trainer's."""
    write_volumes(root, shape=(8, 8))
    write_scripts(
        root,
        "net.py",
        "import torch\n\n\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.conv = torch.nn.Conv2d(1, 1, 3, padding=1)\n\n"
        "    def forward(self, x):\n        return self.conv(x), x.mean()\n\n\n"
        "def first(loss):\n    return lambda pred, label: loss(pred[0], label)\n",
    )
    train = {
        "imports": ["$import glob", "$from scripts.net import Net, first", "$from scripts.net import first"],
        **DATA,
        "device": CPU,
        "net": "$Net()",
        "focal": part("FocalLoss", reduction="sum"),
        "train": {
            "trainer": part(
                "SupervisedTrainer",
                max_epochs=1,
                device="@device",
                train_data_loader=part(
                    "DataLoader",
                    batch_size=2,
                    dataset=part(
                        "CacheDataset",
                        data=PAIRS,
                        transform=[part("LoadImaged", keys=["image", "label"]), part("ScaleIntensityd", keys="image")],
                        progress=False,
                    ),
                ),
                network="@net",
                loss_function="$first(@focal)",
                optimizer="$torch.optim.SGD(@net.parameters(), lr=0.1)",
            )
        },
        "run": ["$@train#trainer.run()"],
    }
    write(root, "train.yaml", train)


CLICKS = """
from monai.apps.deepedit.interaction import Interaction


class Clicks(Interaction):
    def __init__(self, **kwargs):
        super().__init__(max_interactions=2, **kwargs)
"""


def interactive(root: Path) -> None:
    """JSON of interactive segmentation (DeepEdit): clicks in two channels behind the image's, and an iteration of the
    bundle's own, derived from MONAI's, that simulates more of them before the trainer's."""
    write_volumes(root)
    write_scripts(root, "clicks.py", CLICKS)
    metadata(root, "CT", "segmentation", [16, 16, 16])
    both = ["image", "label"]
    signal = part("AddGuidanceSignalDeepEditd", keys="image", sigma=1, number_intensity_ch="@intensities")
    named = {"spleen": 1, "background": 0}
    data = [
        part("LoadImaged", keys=both),
        part("EnsureChannelFirstd", keys=both, channel_dim=0),
        part("NormalizeLabelsInDatasetd", keys="label", label_names="@label_names"),
        part("ScaleIntensityRanged", keys="image", a_min=-100, a_max=150, b_min=0, b_max=1, clip=True),
        part("FindAllValidSlicesMissingLabelsd", keys="label", sids="sids"),
        part("AddInitialSeedPointMissingLabelsd", keys="label", guidance="guidance", sids="sids"),
        signal,
    ]
    clicks = [
        part("Activationsd", keys="pred", softmax=True),
        part("AsDiscreted", keys="pred", argmax=True),
        part("ToNumpyd", keys=["image", "label", "pred"]),
        part("FindDiscrepancyRegionsDeepEditd", keys="label", pred="pred", discrepancy="discrepancy"),
        part("AddRandomGuidanceDeepEditd", keys="NA", guidance="guidance", discrepancy="discrepancy"),
        signal,
        part("ToTensord", keys=both),
    ]
    interaction = part(
        "scripts.clicks.Clicks",
        deepgrow_probability=0.7,
        transforms=part("Compose", transforms=clicks),
        train=True,
        label_names="@label_names",
    )
    train = {
        "imports": ["$import glob", "$import scripts.clicks"],
        **DATA,
        "ckpt_dir": "$@bundle_root + '/models'",
        "items": PAIRS,
        "device": CPU,
        "intensities": 1,
        "label_names": named,
        "network_def": part("UNet", **{**UNET, "in_channels": 3}, out_channels=2),
        "network": "$@network_def.to(@device)",
        "loss": part("DiceCELoss", to_onehot_y=True, softmax=True),
        "optimizer": part("torch.optim.Adam", params="$@network.parameters()", lr=0.001),
        "train": {
            "preprocessing": part("Compose", transforms=data),
            "dataset": part("Dataset", data="$@items[:-2]", transform="@train#preprocessing"),
            "dataloader": part("DataLoader", dataset="@train#dataset", batch_size=1),
            "handlers": [part("ValidationHandler", validator="@validate#evaluator", interval=1), STATS],
            "trainer": trainer(iteration_update=interaction),
        },
        "validate": {
            "dataset": part("Dataset", data="$@items[-2:]", transform="@train#preprocessing"),
            "dataloader": part("DataLoader", dataset="@validate#dataset", batch_size=1),
            "postprocessing": softmax_post("pred", "label"),
            "handlers": [SAVER],
            "key_metric": {"val_mean_dice": part("MeanDice", output_transform=FROM_ENGINE)},
            "evaluator": evaluator(val_handlers="@validate#handlers"),
        },
        **RUN,
    }
    write(root, "train.json", train)


STYLES: dict[str, Callable[[Path], None]] = {
    function.__name__: function
    for function in (
        zoo_classification,
        zoo_segmentation,
        template,
        channels,
        deep_supervision,
        own_code,
        multi_label,
        no_validation,
        interactive,
    )
}
