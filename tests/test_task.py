"""The task that is read from a config's loss, post-processing and network, in components and in expressions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_stated import changed
from wild_bundles import FROM_ENGINE, PAIRS, part, small_resnet

from monai_ima.harden.built import UNREAD, built
from monai_ima.harden.parts import find_parts
from monai_ima.harden.reading import TrainingConfig, read_training_config
from monai_ima.harden.task import Task, find_task

NOTHING = part("Compose", transforms=[])
MONAI = "$monai.transforms."
ACCURACY = {"accuracy": part("ignite.metrics.Accuracy", output_transform=FROM_ENGINE)}


def read(root: Path, loss: Any, post: Any = NOTHING, style: str = "zoo_segmentation", **ids: object) -> Task:
    """The task of a wild bundle with another loss and post-processing."""
    names = {"loss": loss, "train::postprocessing": post, "validate::postprocessing": post, **ids}
    return find_task(find_parts(read_training_config(changed(root, style, **names))).clues)


@pytest.mark.parametrize(
    ("loss", "sigmoid"),
    [
        ("$monai.losses.DiceLoss(sigmoid=True)", True),
        ("$monai.losses.DiceLoss(sigmoid=not False)", True),
        ("$monai.losses.DiceLoss(sigmoid=@yes)", True),
        ("$monai.losses.DiceLoss(True, False, True)", True),
        ("$monai.losses.DiceLoss(sigmoid=@no, softmax=True)", False),
        ("$lambda p, y: monai.losses.DiceLoss(sigmoid=True)(p, y) + torch.nn.BCEWithLogitsLoss()(p, y)", True),
        ("$lambda p, y: torch.nn.functional.binary_cross_entropy_with_logits(p, y)", True),
        ("$lambda p, y: torch.nn.functional.cross_entropy(p, y)", False),
        ("$lambda p, y: @inner(torch.sigmoid(p), y)", True),
        (part("DiceLoss", other_act="$torch.sigmoid"), True),
        (part("DiceLoss", other_act="$lambda x: torch.softmax(x, 1)"), False),
        (part("DiceLoss", sigmoid="$not @no"), True),
        (part("FocalLoss", to_onehot_y=True), True),
        (part("monai.losses.FocalLoss", use_softmax=True), False),
        ("$monai.losses.FocalLoss(to_onehot_y=True)", True),
        ("$monai.losses.DeepSupervisionLoss(monai.losses.FocalLoss())", True),
        (part("torchvision.ops.sigmoid_focal_loss", _mode_="callable"), True),
    ],
)
def test_what_the_loss_takes_outputs_as_is_read_in_expressions_and_from_defaults(loss, sigmoid, tmp_path, caplog):
    inner = part("DiceLoss")
    assert read(tmp_path / "b", loss, yes=True, no=False, inner=inner).sigmoid is sigmoid
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("post", "sigmoid"),
    [
        (MONAI + "Compose([monai.transforms.Activationsd('pred', sigmoid=True)])", True),
        (MONAI + "Compose([monai.transforms.Activationsd('pred', True)])", True),
        (MONAI + "Activationsd(keys='pred', softmax=True)", False),
        (MONAI + "Compose([monai.transforms.Activationsd('pred', softmax=True)] + @steps)", False),
        (MONAI + "Compose(@steps)", True),
        (MONAI + "AsDiscreted('pred', argmax=True)", False),
        (part("Activationsd", keys="pred", other="$torch.sigmoid"), True),
        (part("Activationsd", keys="pred", other="$lambda x: x.softmax(0)"), False),
        (part("Lambdad", keys="pred", func="$torch.sigmoid"), True),
        (part("Lambdad", keys="pred", func="$lambda x: (x.sigmoid() > 0.5).float()"), True),
        (part("Lambdad", keys="pred", func="$lambda x: x.argmax(0, keepdim=True)"), False),
    ],
)
def test_post_processing_is_read_in_expressions_and_functions(post, sigmoid, tmp_path, caplog):
    steps = [part("AsDiscreted", keys="pred", threshold=0.5)]
    loss = part("DiceLoss", softmax=sigmoid is True)
    assert read(tmp_path / "b", loss, post, steps=steps).sigmoid is sigmoid, "and decides before the loss"
    assert caplog.text == ""


def test_post_processing_of_the_label_alone_says_nothing(tmp_path):
    for k, post in enumerate(
        [
            part("Lambdad", keys="label", func="$lambda y: y.argmax(0)"),
            part("AsDiscreted", keys=["label"], argmax=True),
            "$monai.transforms.AsDiscreted('label', argmax=True)",
        ]
    ):
        assert read(tmp_path / str(k), part("DiceLoss", sigmoid=True), post).sigmoid


@pytest.mark.parametrize(
    ("loss", "post"),
    [
        ("$monai.losses.DiceLoss(sigmoid=True) if @one else monai.losses.DiceLoss(softmax=True)", NOTHING),
        (part("DiceLoss"), MONAI + "Activationsd('pred', sigmoid=True) if @one else torch.nn.Softmax()"),
        (part("DiceLoss", sigmoid="$@one == 2"), NOTHING),
        (part("FocalLoss", use_softmax="$@one == 2"), NOTHING),
        ("$monai.losses.DiceLoss(**@arguments)", NOTHING),
    ],
)
def test_what_says_both_or_cannot_be_read_is_warned_of(loss, post, tmp_path, caplog):
    assert not read(tmp_path / "b", loss, post, one=1, arguments={"sigmoid": True}).sigmoid
    assert "taken as softmax; --sigmoid says otherwise" in caplog.text


@pytest.mark.parametrize(
    ("loss", "kind"),
    [
        (part("FocalLoss", to_onehot_y=True), "classification"),
        (part("FocalLoss"), "multi-label"),
        (part("mine.FocalLoss"), "classification"),
        ("$lambda p, y: torch.nn.functional.cross_entropy(p, y)", "classification"),
    ],
)
def test_a_classifier_whose_labels_the_loss_makes_one_hot_has_one_class_right(loss, kind, tmp_path):
    found = read(tmp_path / "b", loss, style="zoo_classification", network_def=small_resnet())
    assert (found.kind, found.sigmoid) == (kind, kind == "multi-label")


@pytest.mark.parametrize(
    "network", ["UNet", "BasicUNetPlusPlus", "SwinUNETR", "AttentionUnet", "SegResNetDS", "VNet", "mine.PlainConvUNet"]
)
def test_a_network_that_gives_maps_is_a_segmentation_whatever_key_the_label_is_loaded_under(network, tmp_path):
    transforms = [part("LoadImaged", keys=["image", "seg"]), part("CopyItemsd", keys="seg", names="label")]
    found = read(
        tmp_path / "b",
        part("torch.nn.CrossEntropyLoss"),
        network_def=part(network, out_channels=2),
        items=PAIRS.replace("'label': i", "'seg': i"),
        **{"train::deterministic_transforms": transforms, "validate::key_metric": ACCURACY},
    )
    assert found == Task("segmentation", 2, False, False)


@pytest.mark.parametrize("network", ["mine.ConvNet", "DenseNet121", "mine.Net"])
def test_other_networks_are_not_taken_for_such(network, tmp_path):
    network_def = part(network, out_channels=2)
    ids = {"train::deterministic_transforms": [part("LoadImaged", keys="image")], "validate::key_metric": ACCURACY}
    root = changed(
        tmp_path / "b", "zoo_segmentation", loss="$torch.nn.CrossEntropyLoss()", network_def=network_def, **ids
    )
    (root / "configs" / "metadata.json").unlink()
    assert find_task(find_parts(read_training_config(root)).clues).kind == "classification"


def test_what_an_expression_builds_has_its_arguments_by_name():
    content = {"a": "$mine.f(1, x=-2, y=[@b, 'c'], z=other(@b))[0]", "b": 3, "c": "$import os"}
    config = TrainingConfig(Path(), [Path("train.json")], content)
    parts = {part.target: part.arguments for parts in built(config, "a") for part in parts}
    assert parts["mine.f"] == {"x": -2, "y": [3, "c"], "z": UNREAD}
    assert parts["other"] == {}
    assert list(built(config, "c")) == [[]]
    assert list(built(config, "none")) == list(built(config, None)) == []
