"""What the user states of a foreign bundle, and what is read where nothing is stated."""

from __future__ import annotations

import json
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from conftest import REPO
from monai.bundle import ConfigParser
from wild_bundles import STYLES, part

from monai_ima.__main__ import main
from monai_ima.criteria import BinaryCriterion, ClassificationCriterion, DiceCriterion
from monai_ima.harden.loading import _of_training, find_evaluation, load_bundle
from monai_ima.harden.parts import find_parts
from monai_ima.harden.reading import read_training_config
from monai_ima.harden.settings import Stated
from monai_ima.harden.task import find_task

SILENT = {
    "loss": "$lambda pred, label: (pred - label).square().mean()",
    "validate::key_metric": {"score": "$monai.handlers.MeanSquaredError(output_transform=lambda output: output)"},
    "train::postprocessing": part("Compose", transforms=[]),
    "validate::postprocessing": part("Compose", transforms=[]),
}
"""Loss, metric and post-processing that do not say what the network is for."""


def changed(root: Path, style: str, **ids: object) -> Path:
    """A wild bundle with other contents of some ids."""
    STYLES[style](root)
    file = root / "configs" / "train.json"
    parser = ConfigParser(json.loads(file.read_text()))
    for name, content in ids.items():
        parser[name] = content
    file.write_text(json.dumps(parser.get()))
    return root


@pytest.fixture
def silent(tmp_path) -> Path:
    """A 3-D bundle that nowhere says what it is for."""
    root = changed(tmp_path / "silent", "zoo_segmentation", **SILENT)
    (root / "configs" / "metadata.json").unlink()
    return root


def loaded(root: Path, **stated):
    network = ConfigParser(json.loads((root / "configs" / "train.json").read_text())).get_parsed_content("network_def")
    torch.save(network.state_dict(), root / "weights.pt")
    return load_bundle(root, checkpoint=root / "weights.pt", stated=Stated(**stated))


@pytest.mark.parametrize("words", [["evaluate", "--levels", "0"], ["attack", "--eps", "1"]])
def test_a_bundle_that_nowhere_says_its_task_is_refused_with_the_option_that_says_it(silent, words, capsys):
    named_as_image = silent / "configs" / "train.json"
    named_as_image.write_text(
        named_as_image.read_text().replace('"label"]', '"map"]').replace('"_target_": "UNet"', '"_target_": "mine.Net"')
    )
    assert main([words[0], "--bundle", str(silent), *words[1:]]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("The task of ")
    assert "its loss (an expression), metrics and metadata, expected --task, one of classification, " in error
    assert not (silent / "eval").exists()


@pytest.mark.parametrize(
    ("stated", "kind", "sigmoid", "ignored"),
    [
        ({"task": "segmentation"}, DiceCriterion, False, None),
        ({"task": "segmentation", "sigmoid": True}, DiceCriterion, True, None),
        ({"task": "segmentation", "ignore_index": 7}, DiceCriterion, False, 7),
        ({"task": "multi-label"}, BinaryCriterion, None, None),
        ({"task": "classification"}, type(None), None, None),
        ({"task": "classification", "ignore_index": -1}, ClassificationCriterion, None, -1),
    ],
)
def test_what_is_stated_is_what_counts(silent, stated, kind, sigmoid, ignored):
    criterion = loaded(silent, **stated).criterion
    assert type(criterion) is kind
    assert getattr(criterion, "sigmoid", None) is sigmoid
    assert getattr(criterion, "ignore_index", None) == ignored
    assert getattr(criterion, "include_background", sigmoid) is sigmoid, "of independent outputs all count"


def test_bounds_channels_and_output_may_be_stated_too(silent):
    found = loaded(silent, task="segmentation", bounds=(0, 0.5), channels=[0], output="logits")
    assert (found.bounds, found.channels, found.output) == ((0.0, 0.5), (0,), "logits")
    assert loaded(silent, task="segmentation").bounds == (0.0, 1.0), "those of its transforms"


def test_what_the_config_says_itself_cannot_be_stated(silent, capsys):
    config = silent / "configs" / "train.json"
    content = json.loads(config.read_text())
    content["criterion"] = part("monai_ima.criteria.DiceCriterion", threshold="lowest")
    config.write_text(json.dumps(content))
    assert isinstance(loaded(silent).criterion, DiceCriterion)
    weights = ["--checkpoint", str(silent / "weights.pt")]
    assert main(["evaluate", "--bundle", str(silent), "--levels", "0", *weights, "--sigmoid", "True"]) == 2
    assert "says itself what is correct (id criterion), expected no --sigmoid" in capsys.readouterr().err


def test_an_evaluation_without_a_training_is_read_by_its_own_post_processing(tmp_path, caplog):
    """Three overlapping outputs are independent, whether or not a training config says so."""
    for sigmoid in (True, False):
        root = changed(tmp_path / str(sigmoid), "zoo_segmentation")
        content = json.loads((root / "configs" / "train.json").read_text())
        content["validate"]["postprocessing"] = part(
            "Compose", transforms=[part("Activationsd", keys="pred", **{"sigmoid" if sigmoid else "softmax": True})]
        )
        del content["train"]["trainer"], content["train"]["handlers"]
        (root / "configs" / "train.json").unlink()
        content["validate"]["preprocessing"]["transforms"] = content["train"]["deterministic_transforms"]
        (root / "configs" / "evaluate.json").write_text(json.dumps(content))
        parts = find_evaluation(root, ["evaluate.json"])
        assert find_task(parts.clues).sigmoid is sigmoid
        caplog.clear()
        torch.save(
            ConfigParser(content).get_parsed_content("network_def").state_dict(),
            root / "weights.pt",
        )
        criterion = load_bundle(root, checkpoint=root / "weights.pt").criterion
        assert isinstance(criterion, DiceCriterion)
        assert criterion.sigmoid is sigmoid
        assert "holds no train.json" in caplog.text
        assert "evaluated as a segmentation" in caplog.text


def test_a_segmentation_of_which_nothing_says_sigmoid_or_softmax_is_warned_of(silent, caplog):
    clues = find_parts(read_training_config(silent)).clues
    assert not find_task(clues, "segmentation").sigmoid
    assert "taken as softmax; --sigmoid says otherwise" in caplog.text
    caplog.clear()
    for stated in ({"task": "segmentation", "sigmoid": False}, {"task": "classification"}, {"task": "multi-label"}):
        find_task(clues, **stated)
    assert caplog.text == ""


def test_the_printed_evaluation_repeats_what_was_stated(silent, capsys):
    stated = ["--task", "segmentation", "--sigmoid", "True", "--bounds", "0,0.5", "--ignore_index", "255"]
    assert main(["harden", "--bundle", str(silent), *stated, "--channels", "0", "--output", "first one"]) == 0
    shown = capsys.readouterr().out
    words = shlex.split(shown.split("To evaluate:\n")[1].splitlines()[0])
    given = dict(pairwise(words))
    assert {
        name: given[f"--{name}"] for name in ("task", "sigmoid", "bounds", "ignore_index", "channels", "output")
    } == {
        "task": "segmentation",
        "sigmoid": "True",
        "bounds": "0.0,0.5",
        "ignore_index": "255",
        "channels": "0",
        "output": "first one",
    }
    assert "attacks with pgd100x2+pgd100x2-dice+pgd100x2-ce: at each ε up to about 600 passes" in shown


def printed(shown: str) -> list[str]:
    """The words of the line that evaluates."""
    return shlex.split(shown.split("To evaluate:\n")[1].splitlines()[0].split("-m monai_ima ")[1])


@pytest.mark.parametrize("evaluated", ["by the training config", "by one of its own", "by an overlay"])
def test_the_printed_evaluation_is_of_what_was_hardened_also_by_another_config(
    evaluated, tmp_path, monkeypatch, capsys
):
    """train.json is a softmax training; train_sigmoid.json, which was hardened, has independent outputs."""
    root = changed(tmp_path / "two", "zoo_segmentation")
    content = json.loads((root / "configs" / "train.json").read_text())
    content["loss"] = part("DiceLoss", sigmoid=True, to_onehot_y=True)
    for side in ("train", "validate"):
        content[side]["postprocessing"] = part(
            "Compose", transforms=[part("Lambdad", keys="pred", func="$lambda p: p")]
        )
    (root / "configs" / "train_sigmoid.json").write_text(json.dumps(content))
    if evaluated == "by one of its own":
        own = json.loads(json.dumps(content))
        own["validate"]["preprocessing"] = content["train"]["preprocessing"] | {
            "transforms": content["train"]["deterministic_transforms"]
        }
        del own["train"]
        (root / "configs" / "evaluate.json").write_text(json.dumps(own))
    if evaluated == "by an overlay":
        (root / "configs" / "evaluate.json").write_text(json.dumps({"validate#dataloader#batch_size": 1}))
    assert main(["harden", "--bundle", str(root), "--config", "train_sigmoid.json", "--threshold", "0.5"]) == 0
    words = printed(capsys.readouterr().out)
    network = ConfigParser(content).get_parsed_content("network_def")
    (root / "models").mkdir(exist_ok=True)
    torch.save(network.state_dict(), root / "models" / "model_ima.pt")
    monkeypatch.chdir(root)
    found = []

    def evaluate(settings, loaded, units):
        found.append(loaded.criterion)
        raise ValueError("enough")

    monkeypatch.setattr("monai_ima.cli.evaluation_run.evaluate_loaded", evaluate)
    assert main(words) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "enough"
    (criterion,) = found
    assert (criterion.sigmoid, criterion.include_background) == (True, True)


def test_an_override_of_a_part_counts_where_a_bundle_is_read_too(tmp_path):
    root = changed(tmp_path / "b", "zoo_segmentation")
    name = "train#deterministic_transforms#1#a_max"
    read = {value: find_evaluation(root, ["train.json"], {name: value} if value else {}) for value in (None, 400)}
    slopes = {value: parts.normalisation.slope for value, parts in read.items()}
    assert slopes == {None: pytest.approx(250.0), 400: pytest.approx(500.0)}, "HU of one unit, 150 + 100 and 400 + 100"
    assert find_evaluation(root, ["train.json"], {"none#such": 1, "train#5": 2}).normalisation.slope == 250.0


@pytest.mark.parametrize(
    ("named", "source", "name"),
    [
        (True, None, "data in {data}"),
        (True, "Public scans", "Public scans"),
        (False, None, "the data set of the bundle"),
    ],
)
def test_data_are_called_after_the_folder_that_the_config_names(tmp_path, named, source, name):
    data = tmp_path / "zoo" / "data"
    root = changed(tmp_path / "zoo", "zoo_segmentation", **({"dataset_dir": str(data)} if named else {}))
    file = root / "configs" / "metadata.json"
    content = json.loads(file.read_text())
    content.pop("data_source", None)
    file.write_text(json.dumps(content | ({} if source is None else {"data_source": source})))
    assert loaded(root).data_name == name.format(data=data)


def test_data_that_the_training_validates_on_are_called_so(tmp_path):
    root = changed(tmp_path / "zoo", "zoo_segmentation")
    assert loaded(root).data(1, None).validation
    overlay = root / "configs" / "evaluate.json"
    overlay.write_text(json.dumps({"validate::evaluator::amp": False}))
    assert loaded(root).data(1, None).validation, "an evaluation may change other things"
    overlay.write_text(json.dumps({"validate::dataset::data": "$[{'image': 'a.npy', 'label': 'b.npy'}]"}))
    assert not loaded(root).data(1, None).validation


@pytest.mark.parametrize("name", ["hippocampus_segmentation_ima", "oct_classification_ima"])
def test_our_bundles_evaluate_on_other_data_than_they_validate_on(name):
    parts = find_evaluation(REPO / "bundles" / name, ["evaluate.json"])
    assert not _of_training(parts, {})
    training = find_evaluation(REPO / "bundles" / name, ["train.json"])
    assert _of_training(training, {})
