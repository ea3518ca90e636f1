"""What an evaluation needs of a bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.inferers import Inferer
from torch import nn

from monai_ima.attacks import Attack, attack_from_name
from monai_ima.criteria import Criterion, DiceCriterion, SegmentationCriterion
from monai_ima.results.parts import Data, Model
from monai_ima.utils.weights import fit_weights, load_weights

__all__ = ["LoadedBundle", "load_bundle"]


@dataclass(frozen=True)
class LoadedBundle:
    """What an evaluation needs of a bundle, its weights loaded.

    Attributes:
        name: of the model, from the metadata, else the bundle's folder's.
        network: on ``device``.
        data_loader: the evaluator's.
        prepare_batch: the evaluator's.
        inferer: the evaluator's.
        device: the evaluator's.
        bounds: valid intensities, from the id ``bounds``; None where there is none.
        criterion: from the id ``criterion``, else one for segmentations where the metadata speak of one; None else.
            It decides whether the network segments.
        classes: names of the classes, from the id ``class_names``, else from the metadata.
        checkpoint: the file that the weights came from; None where it is not known.
        synthetic: no data were given and the bundle uses its synthetic phantom.
        metadata: of the bundle, such as ``version``, ``data_source`` and ``data_license``.
    """

    name: str
    network: nn.Module
    data_loader: Iterable
    prepare_batch: Callable
    inferer: Inferer
    device: torch.device
    bounds: Sequence[float] | None
    criterion: Criterion | None
    classes: list[str]
    checkpoint: Path | None
    synthetic: bool
    metadata: dict[str, Any]

    @property
    def segments(self) -> bool:
        """Its network segments."""
        return isinstance(self.criterion, SegmentationCriterion)

    @property
    def attack_criterion(self) -> Criterion | None:
        """The criterion of attacks: on segmentations the lowest Dice, whatever the bundle's threshold."""
        if isinstance(self.criterion, SegmentationCriterion):
            return DiceCriterion("lowest", self.criterion.include_background, self.criterion.sigmoid)
        return self.criterion

    @property
    def model(self) -> Model:
        """The network, for results.json."""
        return Model(
            name=self.name,
            version=self._metadata("version"),
            network=type(self.network).__name__,
            parameters=sum(parameter.numel() for parameter in self.network.parameters()),
            checkpoint=None if self.checkpoint is None else str(self.checkpoint),
        )

    @property
    def data_name(self) -> str:
        """What kind of data is evaluated on; synthetic data is called synthetic."""
        return "synthetic phantom" if self.synthetic else self._metadata("data_source") or "data set of the bundle"

    def data(self, samples: int, patients: int | None) -> Data:
        """The data, for results.json.

        Args:
            samples: how many were evaluated.
            patients: whom they are of; None where the data do not say.
        """
        return Data(
            name=self.data_name,
            licence=None if self.synthetic else self._metadata("data_license"),
            synthetic=self.synthetic,
            samples=samples,
            patients=patients,
        )

    def attacks(self, names: str, norm: str) -> dict[str, Attack]:
        """The attacks whose names are joined by ``+``, each on its own.

        Raises:
            ValueError: if a name is unknown, or does not go with the norm.
        """
        return {name: attack_from_name(name, norm, self.bounds, self.attack_criterion) for name in names.split("+")}

    def _metadata(self, key: str) -> str | None:
        value = self.metadata.get(key)
        return str(value) if value not in (None, "") else None


def load_bundle(
    bundle: str | Path, config: str = "evaluate.json", checkpoint: str | Path | None = None, **overrides: Any
) -> LoadedBundle:
    """Build the evaluator of a MONAI bundle. **This runs the bundle's own expressions.**

    Args:
        bundle: the bundle's folder.
        config: file name(s) in ``configs``, several separated by commas.
        checkpoint: weights; None means the config's ``ckpt_path``, else ``models/model.pt``.
        overrides: values of config ids.

    Raises:
        FileNotFoundError: if the folder is no bundle, or config or checkpoint are missing.
        ValueError: if the config has no evaluator, or the checkpoint is of another network.
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
        fit_weights(parser.get_parsed_content("network_def"), weights, checkpoint)
    evaluator = parser.get_parsed_content(found)
    fit_weights(evaluator.network, weights, checkpoint)
    metadata = parser.get("_meta_", {})
    output = parser.get("_meta_#network_data_format#outputs#pred", {})
    criterion = parser.get_parsed_content("criterion") if "criterion" in parser else None
    if criterion is None and output.get("format") == "segmentation":
        criterion = DiceCriterion("lowest")
    return LoadedBundle(
        name=str(metadata.get("name") or root.resolve().name),
        network=evaluator.network,
        data_loader=evaluator.data_loader,
        prepare_batch=evaluator.prepare_batch,
        inferer=evaluator.inferer,
        device=evaluator.state.device,
        bounds=parser.get_parsed_content("bounds") if "bounds" in parser else None,
        criterion=criterion,
        classes=_class_names(parser, output),
        checkpoint=Path(checkpoint),
        synthetic="dataset_dir" in parser and parser.get_parsed_content("dataset_dir") in (None, ""),
        metadata=metadata,
    )


def _class_names(parser: ConfigParser, output: dict[str, Any]) -> list[str]:
    if "class_names" in parser:
        return list(map(str, parser.get_parsed_content("class_names")))
    return [name for _, name in sorted(output.get("channel_def", {}).items(), key=lambda pair: int(pair[0]))]
