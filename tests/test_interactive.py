"""Bundles of interactive segmentation: which channels are clicks, and whose iteration a training ends in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.apps.deepedit.interaction import Interaction as DeepEdit
from monai.apps.deepgrow.interaction import Interaction as DeepGrow
from monai.bundle import ConfigParser
from monai.networks.nets import UNet
from test_harden import QUICK, harden, refused, summary
from torch import nn
from training_runs import blobs, make_trainer, small_network
from wild_bundles import STYLES, UNET, part

from monai_ima.__main__ import main
from monai_ima.evaluation import attacked_images
from monai_ima.handlers import AdversarialTrainingHandler
from monai_ima.harden.channels import find_channels
from monai_ima.harden.parts import transforms_of
from monai_ima.harden.reading import Component, TrainingConfig
from monai_ima.harden.source import ends_in_own_iteration
from monai_ima.methods import TrainingMethod
from monai_ima.results.schema import Results


class Seeing(TrainingMethod):
    name = "seeing"

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.seen: list[tuple[torch.Tensor, list[str]]] = []

    def adversarial_loss(self, batch, prediction, loss_function, clean_loss):
        self.seen.append((batch.image.clone(), batch.sample_ids))
        return clean_loss


class SeeingHandler(AdversarialTrainingHandler, method=Seeing):
    """Notes the batches that a method is given."""


class Clicked(nn.Module):
    """A network of the first of two channels."""

    def __init__(self) -> None:
        super().__init__()
        self.network = small_network()

    def forward(self, image):
        return self.network(image[:, :1])


@pytest.mark.parametrize("kind", ["deepedit", "deepgrow"])
def test_a_method_is_given_the_batch_of_the_iteration_that_an_interaction_ends_in(kind):
    items = [{**item, "image": torch.cat([item["image"], 0 * item["image"]])} for item in blobs(4)]

    def click(item: dict[str, Any]) -> dict[str, Any]:
        return {**item, "image": torch.stack([item["image"][0], item["image"][1] + 1])}

    interactions = {
        "deepedit": DeepEdit(1.0, [click], train=True, max_interactions=3),
        "deepgrow": DeepGrow([click], 3, train=True),
    }
    handler = SeeingHandler()
    make_trainer(Clicked(), items, [handler], batch_size=2, iteration_update=interactions[kind]).run()
    method = handler.method
    assert isinstance(method, Seeing)
    assert len(method.seen) == 2
    for k, (image, sample_ids) in enumerate(method.seen):
        expected = items[2 * k : 2 * k + 2]
        assert sample_ids == [item["sample_id"] for item in expected]
        assert torch.equal(image[:, 0], torch.stack([item["image"][0] for item in expected]))
        assert (image[:, 1] == 3).all(), "three interactions, each of which clicks once"


POINTS = {"image": np.full((4, 9, 9), 7.0, "float32"), "foreground": [[3, 4]], "guidance": [[[4, 4]], [[1, 7]]]}
POINTS |= {"label": (np.arange(81).reshape(1, 9, 9) == 40).astype("uint8"), "others": np.zeros((1, 9, 9), "uint8")}
NAMED = {**POINTS, "guidance": {"spleen": [[4, 4]], "background": [[1, 7]]}}


def config(transforms: list[dict[str, Any]], total: int | None = None, **network: Any) -> TrainingConfig:
    metadata = {"network_data_format": {"inputs": {"image": {"num_channels": total}}}}
    return TrainingConfig(Path(), [Path("train.json")], {"t": transforms, "net": part("UNet", **network)}, metadata)


def channels(content: TrainingConfig, image: str = "image") -> tuple[int, ...] | None:
    network = Component("net", content.content["net"])
    found = find_channels(content, transforms_of(content, "t"), image, network)
    return None if found is None else found.channels


@pytest.mark.parametrize(
    ("transform", "item", "total"),
    [
        (
            part("monai.apps.deepedit.transforms.AddGuidanceSignalDeepEditd", keys="image", number_intensity_ch=2),
            NAMED,
            4,
        ),
        (part("monai.apps.deepedit.transforms.AddGuidanceSignalDeepEditd", keys=["image"]), NAMED, 3),
        (part("monai.apps.deepgrow.transforms.AddGuidanceSignald", number_intensity_ch=3), POINTS, 5),
        (part("monai.apps.nuclick.transforms.AddPointGuidanceSignald"), POINTS, 6),
        (part("monai.apps.nuclick.transforms.AddPointGuidanceSignald", add_exclusion_map=False), POINTS, 5),
        (part("monai.apps.nuclick.transforms.AddClickSignalsd", bb_size=9), POINTS, 6),
        (part("monai.apps.nuclick.transforms.AddLabelAsGuidanced", keys="image"), POINTS, 5),
    ],
)
def test_the_intensities_are_the_channels_that_monais_own_transform_leaves(transform, item, total):
    done = ConfigParser({"t": transform}).get_parsed_content("t")(dict(item))["image"]
    image = torch.as_tensor(np.asarray(done)).reshape(-1, 9, 9)
    assert len(image) == total
    intensities = tuple(k for k, channel in enumerate(image) if (channel == 7).all())
    assert 0 < len(intensities) < total
    assert channels(config([transform], total)) == intensities
    assert channels(config([transform], 99, in_channels=total)) == intensities, "the network knows better"


def concatenated(*keys: str) -> dict[str, Any]:
    return part("ConcatItemsd", keys=list(keys), name="image")


@pytest.mark.parametrize(
    ("transforms", "total", "expected"),
    [
        ([], 3, None),
        ([part("AddInitialSeedPointd"), part("AddRandomGuidanced")], 3, None),
        ([part("AddGuidanceSignald", image="other")], 3, None),
        ([part("scripts.AddGuidanceSignalCustomd", keys="image")], 3, (0,)),
        ([part("AddPointGuidanceSignald"), part("AddLabelAsGuidanced", keys="image")], 4, (0,)),
        ([part("AddPointGuidanceSignald")], 2, "t#0"),
        ([part("AddPointGuidanceSignald")], None, "t#0"),
        ([part("AddGuidanceSignald", number_intensity_ch="$len(1)")], 3, "t#0"),
        ([concatenated("t1", "t2", "flair")], 3, None),
        ([concatenated("t1", "clicks", "t2")], 3, (0, 2)),
        ([concatenated("t1", "clicks", "t2")], 4, "t#0"),
        ([concatenated("guidance")], 1, "t#0"),
    ],
)
def test_guidance_is_counted_or_asked_for(transforms, total, expected):
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=rf"^{expected} .* puts guidance into the image, .*--channels\.$"):
            channels(config(transforms, total))
    else:
        assert channels(config(transforms, total)) == expected


OWN = """
import monai.apps.deepgrow.interaction as other
from monai.apps.deepedit.interaction import Interaction as Base
from .further import Further


class Derived(Base):
    pass


class Calls:
    def __call__(self, trainer, batch):
        if batch is None:
            return trainer._iteration(trainer, {})
        return trainer._iteration(trainer, batch)


class Replaces:
    def __call__(self, engine, batch):
        if batch is None:
            return engine._iteration(engine, batch)
        return {"loss": 0}


class Nothing:
    def __call__(self, engine, batch):
        engine._iteration(engine, batch)


def function(engine, batch):
    return engine._iteration(engine, batch)
"""


@pytest.mark.parametrize(
    ("target", "ends"),
    [
        ("Interaction", True),
        ("monai.apps.deepedit.interaction.Interaction", True),
        ("monai.apps.deepgrow.interaction.Interaction", True),
        ("monai.engines.SupervisedTrainer", False),
        ("scripts.own.Derived", True),
        ("scripts.own.Further", True),
        ("scripts.own.Calls", True),
        ("scripts.own.function", True),
        ("scripts.own.Replaces", False),
        ("scripts.own.Nothing", False),
        ("scripts.own.Missing", False),
        ("somewhere.else.Interaction", False),
    ],
)
def test_an_interaction_ends_in_the_trainers_own_iteration_by_its_source(target, ends, tmp_path):
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "own.py").write_text(OWN)
    (tmp_path / "scripts" / "further.py").write_text("from .own import Calls\nclass Further(Calls):\n    x = 1\n")
    assert ends_in_own_iteration(tmp_path, target) == ends


@pytest.fixture
def interactive(tmp_path) -> Path:
    STYLES["interactive"](tmp_path / "bundle")
    (tmp_path / "bundle" / "models").mkdir()
    torch.manual_seed(0)
    network = UNet(**{**UNET, "in_channels": 3}, out_channels=2)
    torch.save(network.state_dict(), tmp_path / "bundle" / "models" / "model.pt")
    return tmp_path / "bundle"


def test_harden_says_which_channels_are_attacked_and_why(interactive, capsys):
    assert harden(interactive, "--dry_run", "--norm", "l2") == 0
    rows = summary(capsys.readouterr().out)
    assert rows["channels"] == (
        "noise on 0: train#preprocessing#transforms#6 (AddGuidanceSignalDeepEditd) puts guidance into the others"
    )
    assert rows["interaction"].startswith("train#trainer#iteration_update (Clicks)")
    assert rows["sample ids"].startswith("added to the items of the data"), "ToNumpyd of the clicks drops file names"
    assert rows["eps_max"] == "1.9 (7.42 HU a pixel, RMS)", "0.03 sqrt(16³), of one channel; 1.9 / 64 of 250 HU"
    assert harden(interactive, "--channels", "0,2", *QUICK) == 0
    assert summary(capsys.readouterr().out)["channels"] == "noise on 0, 2: as given"
    overlay = ConfigParser.load_config_file(interactive / "configs" / "train_ima.json")["harden"]
    assert overlay["channels"] == [0, 2]
    assert overlay["handler"]["channels"] == overlay["attack"]["channels"] == "@harden#channels"


def test_channels_that_cannot_be_are_refused_in_one_sentence(interactive, capsys):
    refused(interactive, capsys, "Got channels (3,) for images of 3 channels", "--channels", "3")
    refused(interactive, capsys, "Got channels (1, 1), expected different integers", "--channels", "1,1")
    for verb in (["evaluate", "--levels", "0,1"], ["attack", "--eps", "1"]):
        for value, words in (("0.5", "Got channels 0.5"), ("a", "Got channels 'a'"), ("[]", "Got channels []")):
            assert main([*verb, "--bundle", str(interactive), "--channels", value]) == 2
            error = capsys.readouterr().err
            assert error.startswith(f"{words}, expected different integers >= 0")
            assert error.count("\n") == 1
        out = ["--out", str(interactive.parent / verb[0]), "--channels", "4"]
        assert main([*verb, "--bundle", str(interactive), *out]) == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert last == "Got channels (4,) for images of 3 channels, expected some of 0 .. 2."


@pytest.mark.parametrize("given", [None, (0, 1)])
def test_evaluate_and_attack_leave_the_clicks_alone(given, interactive, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(attacked_images, "_save", lambda _, noisy, clean, __: saved.append(noisy - clean))
    attacked = given or (0,)
    words = ["--bundle", str(interactive), *([] if given is None else ["--channels", ",".join(map(str, given))])]
    out = tmp_path / "results"
    assert main(["evaluate", *words, "--levels", "0,0.1", "--attack", "pgd2", "--cases", "1", "--out", str(out)]) == 0
    results = Results.read(out)
    assert results.settings["channels"] == list(attacked)
    assert f"--channels {','.join(map(str, attacked))}" in results.command
    out = tmp_path / "attacked"
    assert main(["attack", *words, "--eps", "0.1", "--attack", "pgd2", "--limit", "1", "--out", str(out)]) == 0
    (noise,) = saved
    assert [bool((channel != 0).any()) for channel in noise] == [k in attacked for k in range(3)]


def test_an_interrupted_evaluation_of_a_bundle_is_resumed_with_its_channels(interactive, tmp_path, capsys):
    words = [
        "evaluate",
        "--bundle",
        str(interactive),
        "--levels",
        "0,0.1",
        "--attack",
        "fgsm",
        "--out",
        str(tmp_path / "r"),
    ]
    assert main(words) == 0
    (tmp_path / "r" / "results.json").unlink()
    assert main([*words, "--channels", "1"]) == 2
    assert "an interrupted run with other settings" in capsys.readouterr().err
    assert main(words) == 0
