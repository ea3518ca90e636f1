from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow
from monai.inferers import Inferer
from torch import nn

from monai_ima.criteria import Criterion, DiceCriterion

__all__ = ["OpenBundle", "load_checkpoint", "load_network", "load_weights", "open_bundle"]

WEIGHT_KEYS = ("model", "network", "net", "state_dict")


@dataclass(frozen=True)
class OpenBundle:
    """What an evaluation needs of a bundle, its weights loaded.

    Attributes:
        network: on ``device``.
        data_loader: the evaluator's.
        prepare_batch: the evaluator's.
        inferer: the evaluator's.
        device: the evaluator's.
        bounds: valid intensities, from the id ``bounds``; None where there is none.
        criterion: from the id ``criterion``, else one for segmentations where the metadata speak of one; None else.
        classes: names of the classes, from the metadata.
        checkpoint: the file that the weights came from.
        synthetic: no data were given and the bundle uses its synthetic phantom.
    """

    network: nn.Module
    data_loader: Iterable
    prepare_batch: Callable
    inferer: Inferer
    device: torch.device
    bounds: Sequence[float] | None
    criterion: Criterion | None
    classes: list[str]
    checkpoint: Path
    synthetic: bool


def open_bundle(
    bundle: str | Path, config: str = "evaluate.json", checkpoint: str | Path | None = None, **overrides: Any
) -> OpenBundle:
    """Build the evaluator of a MONAI bundle. **This runs the bundle's own expressions.**

    Args:
        bundle: the bundle's folder.
        config: file name(s) in ``configs``, several separated by commas.
        checkpoint: weights; None means the config's ``ckpt_path``, else ``models/model.pt``.
        overrides: values of config ids.

    Raises:
        FileNotFoundError: when the folder is no bundle, or config or checkpoint are missing.
        ValueError: when the config has no evaluator, or the checkpoint is of another network.
    """
    root = Path(bundle)
    folder = root / "configs"
    if not folder.is_dir():
        raise FileNotFoundError(f"Folder {root} is no MONAI bundle, expected a folder 'configs' in it.")
    files = [folder / name.strip() for name in str(config).split(",")]
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"Config {file} does not exist, expected it in the bundle.")
    workflow = ConfigWorkflow(
        config_file=[str(file) for file in files], logging_file=False, bundle_root=str(root), **overrides
    )
    parser = workflow.parser
    found = next((key for key in ("evaluator", "validate#evaluator") if key in parser), None)
    if found is None:
        raise ValueError(f"Config {files[-1]} has no evaluator, expected the id 'evaluator' or 'validate#evaluator'.")
    if checkpoint is None:
        given = parser.get_parsed_content("ckpt_path") if "ckpt_path" in parser else None
        checkpoint = given or root / "models" / "model.pt"
    weights = load_weights(checkpoint)
    workflow.initialize()
    if "network_def" in parser:
        _fit(parser.get_parsed_content("network_def"), weights, checkpoint)
    evaluator = parser.get_parsed_content(found)
    _fit(evaluator.network, weights, checkpoint)
    output = parser.get("_meta_#network_data_format#outputs#pred", {})
    criterion = parser.get_parsed_content("criterion") if "criterion" in parser else None
    if criterion is None and output.get("format") == "segmentation":
        criterion = DiceCriterion("lowest")
    return OpenBundle(
        network=evaluator.network,
        data_loader=evaluator.data_loader,
        prepare_batch=evaluator.prepare_batch,
        inferer=evaluator.inferer,
        device=evaluator.state.device,
        bounds=parser.get_parsed_content("bounds") if "bounds" in parser else None,
        criterion=criterion,
        classes=[name for _, name in sorted(output.get("channel_def", {}).items(), key=lambda pair: int(pair[0]))],
        checkpoint=Path(checkpoint),
        synthetic="dataset_dir" in parser and parser.get_parsed_content("dataset_dir") in (None, ""),
    )


def load_checkpoint(file: str | Path) -> Any:
    """The content of a checkpoint, loaded with ``weights_only=True``.

    Raises:
        FileNotFoundError: when the file does not exist.
        ValueError: when it is no checkpoint.
    """
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"Checkpoint {path} does not exist, expected a file written by torch.save.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"File {path} is no checkpoint that loads safely, expected one of tensors only.") from error


def load_weights(file: str | Path) -> dict[str, torch.Tensor]:
    """The network's weights in a checkpoint, flat or under one of ``model``, ``network``, ``net``, ``state_dict``.

    Raises:
        FileNotFoundError: when the file does not exist.
        ValueError: when it holds no weights.
    """
    content = load_checkpoint(file)
    if isinstance(content, dict):
        for candidate in (content, *(content.get(key) for key in WEIGHT_KEYS)):
            if isinstance(candidate, dict) and candidate and all(torch.is_tensor(v) for v in candidate.values()):
                return candidate
    raise ValueError(f"Checkpoint {file} holds no network weights, expected them at the top or under 'model'.")


def load_network(network: nn.Module, file: str | Path) -> None:
    """Load a checkpoint's weights into a network, such as a plain-trained start.

    Raises:
        FileNotFoundError: when the file does not exist.
        ValueError: when it holds no weights, or another network's.
    """
    _fit(network, load_weights(file), file)


def _fit(network: nn.Module, weights: dict[str, torch.Tensor], checkpoint: str | Path) -> None:
    expected = network.state_dict()
    for name in sorted(expected.keys() | weights.keys()):
        ours, theirs = expected.get(name), weights.get(name)
        if ours is None or theirs is None or ours.shape != theirs.shape:
            raise ValueError(
                f"Checkpoint {checkpoint} is of another network: {name} is {_shape(theirs)} there, expected "
                f"{_shape(ours)} as in the bundle."
            )
    network.load_state_dict(weights)


def _shape(tensor: torch.Tensor | None) -> str:
    return "missing" if tensor is None else f"of shape {tuple(tensor.shape)}"
