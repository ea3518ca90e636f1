"""``monai_ima.evaluation.evaluate``: the command line's numbers, for any network and any batches."""

from __future__ import annotations

import json
import math

import pytest
import torch
from conftest import REPO
from torch import nn

from monai_ima.__main__ import main
from monai_ima.criteria import DiceCriterion
from monai_ima.evaluation import EvaluationSettings, evaluate
from monai_ima.harden.loading import load_bundle
from monai_ima.networks import FashionMNISTNet
from monai_ima.results.schema import Results

BUNDLE = REPO / "bundles" / "fashion_mnist_classification_ima"


def batches(count: int = 6, classes: int = 3) -> list[dict]:
    """Batches of four images and labels."""
    draws = torch.Generator().manual_seed(1)
    return [
        {
            "image": torch.rand(4, 1, 8, 8, generator=draws),
            "label": torch.arange(4) % classes,
            "sample_id": [f"s{first + k}" for k in range(4)],
        }
        for first in range(0, 4 * count, 4)
    ]


def network(classes: int = 3, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, classes))


def test_the_numbers_are_those_of_the_command_line(tmp_path):
    torch.manual_seed(0)
    trained = FashionMNISTNet()
    torch.save(trained.state_dict(), tmp_path / "model.pt")
    common = ["--checkpoint", tmp_path / "model.pt", "--phantom_per_class", 2, "--batch_size", 4]
    asked = ["--levels", "0,0.3,1", "--norm", "l2", "--attack", "noise5+pgd10", "--minimum"]
    asked += ["--cases", 3, "--out", tmp_path / "cli"]
    assert main([str(part) for part in ["evaluate", "--bundle", BUNDLE, *common, *asked]]) == 0
    loaded = load_bundle(BUNDLE, checkpoint=tmp_path / "model.pt", phantom_per_class=2, batch_size=4)
    plain = [{key: batch[key] for key in ("image", "label", "sample_id")} for batch in loaded.data_loader]
    found = evaluate(
        trained.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        plain,
        (0, 0.3, 1),
        "l2",
        "noise5+pgd10",
        out=tmp_path / "api",
        bounds=(0, 1),
        minimum=True,
        classes=loaded.classes,
        cases=3,
    )
    other = Results.read(tmp_path / "cli")
    for field in ("accuracy", "attacks", "noise", "minimum", "samples", "levels"):
        assert getattr(found, field) == getattr(other, field), field
    assert found.bounds == other.bounds == (0, 1), "those of the call, and those of the bundle"
    assert Results.read(tmp_path / "api").model_dump() == found.model_dump()
    for name in ("records.jsonl", "minimum.csv", "cases/00.png"):
        assert (tmp_path / "api" / name).read_bytes() == (tmp_path / "cli" / name).read_bytes()
    assert found.command.startswith("monai_ima.evaluation.evaluate(network, loader, levels=[0.0, 0.3, 1.0], norm='l2'")
    assert found.command_with("checks").endswith(", checks=True)")
    assert main(["report", "--results", str(tmp_path / "api")]) == 0


def test_bounds_on_one_side_are_kept(tmp_path):
    found = evaluate(network(), batches(1), [0.1], attack="pgd2", cases=0, out=tmp_path / "r", bounds=(0, math.inf))
    assert found.bounds == Results.read(tmp_path / "r").bounds == (0, None)


class Interrupted(list):
    """Batches that are read once as a whole, for their fingerprint, and then up to the second one."""

    whole = True

    def __iter__(self):
        yield from list.__iter__(self) if self.whole else self[:2]
        if not self.whole:
            raise KeyboardInterrupt
        self.whole = False


def test_a_function_on_segmentations_and_an_interrupted_call_is_resumed(tmp_path):
    scans = [{**one, "label": (one["image"] > 0.5).float()} for one in batches(3)]

    def predict(image):
        return torch.cat([0.5 - image, image - 0.5], dim=1)

    def call(loader, out, **changes):
        settings = {"attack": "pgd5+pgd5-ce", "criterion": DiceCriterion("lowest"), "metadata": {"name": "threshold"}}
        return evaluate(predict, loader, [0.5, 1.0], "l2", cases=0, out=tmp_path / out, **{**settings, **changes})

    whole = call(scans, "whole")
    assert (whole.task, whole.model.name, whole.data.samples) == ("segmentation", "threshold", 12)
    assert whole.dice[0] == 1 > whole.dice[1] > whole.dice[2]

    with pytest.raises(KeyboardInterrupt):
        call(Interrupted(scans), "r")
    assert not (tmp_path / "r" / "results.json").exists()
    with pytest.raises(FileExistsError, match="holds an interrupted run with other settings"):
        call(scans, "r", seed=1)
    lines = (tmp_path / "r" / "records.jsonl").read_text()
    (tmp_path / "r" / "records.jsonl").write_text(lines[:-40])
    resumed = call(scans, "r")
    of_the_folder = {"command", "settings"}
    assert resumed.model_dump(exclude=of_the_folder) == whole.model_dump(exclude=of_the_folder)
    with pytest.raises(FileExistsError, match="is not empty"):
        call(scans, "r")


def test_other_weights_do_not_resume(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        evaluate(network(), Interrupted(batches()), [1.0], "l2", "pgd5", cases=0, out=tmp_path)
    with pytest.raises(FileExistsError, match="with other weights of the network"):
        evaluate(network(seed=1), batches(), [1.0], "l2", "pgd5", cases=0, out=tmp_path)
    assert evaluate(network(), batches(), [1.0], "l2", "pgd5", cases=0, out=tmp_path).data.samples == 24


def test_random_states_and_modes_are_left_as_they_were(tmp_path):
    dropped = nn.Sequential(nn.Dropout(0.5), network()).train()
    state = torch.get_rng_state()
    evaluate(dropped, batches(1), [1.0], "l2", "pgd5", cases=0, out=tmp_path)
    assert torch.equal(torch.get_rng_state(), state)
    assert dropped.training


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loader": iter([])}, "Got loader <list_iterator object at .*, expected a list of batches or a DataLoader"),
        ({"loader": []}, "gave no samples"),
        ({"sede": 1}, "Unknown setting 'sede', expected one of bundle, levels, norm"),
        ({"levels": [-1.0]}, "Got level -1.0, expected a finite number >= 0"),
        ({"levels": "x"}, "Got level 'x'"),
        ({"norm": "l7"}, "Unknown norm 'l7'"),
        ({"seed": "one"}, "Got seed 'one', expected an integer"),
        ({"eot": 0}, "Got eot 0, expected an integer >= 1"),
        ({"checks": "maybe"}, "Got checks 'maybe', expected True or False"),
        ({"criterion": DiceCriterion("lowest"), "minimum": True}, "segments, expected a classifier for --minimum"),
    ],
)
def test_wrong_arguments_are_named_in_one_sentence(tmp_path, changes, message):
    arguments = {"network": network(), "loader": batches(1), "levels": [1.0], "norm": "l2", "attack": "pgd2"}
    with pytest.raises(ValueError, match=message) as caught:
        evaluate(**{**arguments, "out": tmp_path / "r", **changes})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "r" / "results.json").exists()


def test_settings_are_frozen():
    settings = EvaluationSettings(bundle="oct", levels=0.5, overrides={"dataset_dir": "x", "batch_size": 2})
    assert settings.levels == (0.0, 0.5)
    assert list(settings.arguments())[-2:] == ["dataset_dir", "batch_size"]
    assert str(settings.folder) == "oct/eval/robustness"
    assert (settings.attack_names(False), settings.attack_names(True).count("+")) == ("pgd100x2", 2)
    with pytest.raises(ValueError, match="frozen"):
        settings.seed = 1


def test_what_is_not_defined_is_null(tmp_path):
    found = evaluate(network(4), batches(1), [1.0], "l2", "pgd2", cases=0, out=tmp_path, classes=list("abcd"))
    assert found.accuracy_by_class["d"] == [None, None]
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["accuracy_by_class"]["d"] == [None, None]
    assert written["format"] == 3


def test_inside_inference_mode_the_results_are_the_same_and_the_network_can_still_be_trained(tmp_path):
    trained = nn.Sequential(nn.BatchNorm2d(1), network())
    with torch.inference_mode():
        inside = evaluate(trained, batches(2), [0.05], "linf", "pgd5", cases=0, out=tmp_path / "inside")
    outside = evaluate(trained, batches(2), [0.05], "linf", "pgd5", cases=0, out=tmp_path / "outside")
    assert inside.samples == outside.samples
    assert inside.accuracy == outside.accuracy
    trained(batches(1)[0]["image"]).sum().backward()
    assert all(parameter.grad is not None for parameter in trained.parameters())
