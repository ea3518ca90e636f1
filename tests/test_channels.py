"""Noise on some channels of the image only: the others stay as they are, whatever draws, measures or trains."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from attack_problems import labelled_batch, length, smooth_network, streams
from torch import nn
from training_runs import assert_same_weights, blobs, make_trainer, small_network, stacked

from monai_ima.attacks import (
    APGD,
    DDN,
    FGSM,
    IFGSM,
    PGD,
    SPSA,
    AdaptiveNormPGD,
    BoundaryPGD,
    MinimumNorm,
    UniformNoise,
    WorstOf,
    attack_from_name,
)
from monai_ima.criteria import DiceCriterion
from monai_ima.evaluation import ClassificationEvaluator, SegmentationEvaluator, evaluate
from monai_ima.evaluation.batch import EvaluationBatch
from monai_ima.evaluation.gradient_masking import GradientMaskingChecks
from monai_ima.handlers import DDNHandler, IAATHandler, IMAHandler, MMAHandler, PGDTrainingHandler, TRADESHandler
from monai_ima.transforms import BoundaryNoised, RandUniformNoised
from monai_ima.utils.checks import check_channels
from monai_ima.utils.predictor import Predictor

SHAPE = (4, 5, 6)
NOISY, KEPT = (0, 2), (1, 3)


class Inside:
    """A network of the channels that noise may change, the others fixed inside; without the package's code."""

    def __init__(self, network: nn.Module, image: torch.Tensor) -> None:
        self.network, self.image = network, image

    def __call__(self, part: torch.Tensor) -> torch.Tensor:
        first, second = part.split(1, dim=1)
        return self.network(torch.cat([first, self.image[:, 1:2], second, self.image[:, 3:4]], dim=1))

    def select(self, index: torch.Tensor) -> Inside:
        return Inside(self.network, self.image[index])


def problem() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """Images whose kept channels lie outside of the bounds 0 .. 1, and correct labels but for one."""
    network = smooth_network(SHAPE)
    image, _ = labelled_batch(network, SHAPE)
    image[:, 1], image[:, 3] = 0.0, 3 * image[:, 3] + 1
    label = network(image).argmax(1)
    label[3] = (label[3] + 1) % 3
    return network, image, label


def attacks(norm: str, **settings: Any) -> dict[str, Any]:
    found = {
        "pgd": PGD(norm, 6, 2, **settings),
        "last iterate": PGD(norm, 6, 1, early_stop=False, **settings),
        "fgsm": FGSM(norm, **settings),
        "ifgsm": IFGSM(norm, 5, **settings),
        "apgd": APGD(norm, 8, 2, **settings),
        "dlr": APGD(norm, 8, objective="dlr", **settings),
        "spsa": SPSA(norm, 3, 8, **settings),
        "noise": UniformNoise(norm, 5, **settings),
        "boundary": BoundaryPGD(norm, 8, 6, **settings),
        "boundary from the ball": BoundaryPGD(norm, 8, 6, "ball", 3, delta=0.01, **settings),
        "adaptive norm": AdaptiveNormPGD(0.5, norm, **settings),
        "minimum": MinimumNorm(norm, 6, 2, **settings),
        "worst of": WorstOf([PGD(norm, 4, 1, **settings), APGD(norm, 4, **settings)]),
        "by name": attack_from_name(
            "pgd4+apgd4-dlr+noise3", norm, settings["bounds"], channels=settings.get("channels")
        ),
    }
    return {**found, "ddn": DDN(10, **settings)} if norm == "l2" else found


@pytest.mark.parametrize(
    ("norm", "name"), [(norm, name) for norm in ("l2", "linf") for name in attacks(norm, bounds=None)]
)
def test_an_attack_is_that_on_a_network_with_the_other_channels_fixed_inside(norm, name):
    network, image, label = problem()
    before = image.clone()
    eps = torch.full((len(image),), 0.25 if norm == "l2" else 0.05, dtype=image.dtype)
    attack = attacks(norm, bounds=(0, 1), channels=NOISY[::-1])[name]
    found = attack(network, image, label, eps, streams(range(len(image))))
    inside = attacks(norm, bounds=(0, 1))[name]
    expected = inside(Inside(network, image), image[:, NOISY], label, eps, streams(range(len(image))))
    assert torch.equal(image, before)
    assert torch.equal(found.image[:, KEPT], image[:, KEPT])
    assert torch.equal(found.image[:, NOISY], expected.image)
    assert torch.equal(found.success, expected.success)
    assert torch.equal(found.distance, expected.distance)
    torch.testing.assert_close(found.distance, length(found.image - image, norm))
    assert (found.distance > 0).sum() > 5, "noise was found"


def test_all_channels_by_name_are_the_attack_without_channels():
    network, image, label = problem()
    plain = PGD("l2", 6)(network, image, label, 0.3)
    named = PGD("l2", 6, channels=range(4))(network, image, label, 0.3)
    assert torch.equal(plain.image, named.image)
    assert torch.equal(plain.distance, named.distance)


@pytest.mark.parametrize("channels", [[], [-1], [0, 0], [0.5], [True], "0", [float("nan")], None])
def test_channels_are_different_integers(channels):
    if channels is None:
        assert check_channels(None) is None
        assert check_channels([2, 0.0]) == (0, 2)
        assert check_channels(3) == (3,)
        return
    for make in (PGD, UniformNoise, DDN):
        with pytest.raises(ValueError, match=r"^Got channels .*, expected different integers >= 0, at least one"):
            make(channels=channels)
    with pytest.raises(ValueError, match="expected different integers"):
        IMAHandler(eps_max=0.1, channels=channels)


def test_a_channel_that_the_image_does_not_have_is_refused():
    network, image, label = problem()
    with pytest.raises(
        ValueError, match=r"^Got channels \(0, 4\) for images of 4 channels, expected some of 0 .. 3\.$"
    ):
        PGD("l2", 2, channels=[0, 4])(network, image, label, 0.1)
    with pytest.raises(ValueError, match=r"^Got channels \(1,\) for images of 1 channels"):
        RandUniformNoised("image", 0.1, prob=1.0, channels=[1])({"image": torch.zeros(1, 4, 4)})
    with pytest.raises(ValueError, match=r"different channels \(\(0,\) and \(1,\)\)"):
        WorstOf([PGD("l2", 2, channels=[0]), PGD("l2", 2, channels=[1])])


def with_clicks(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items with a channel of large values behind the image's one."""
    return [{**item, "image": torch.cat([item["image"], 100 + item["image"]])} for item in items]


class First(nn.Module):
    """A network of the first channel."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.network(image[:, :1])


METHODS: dict[str, Any] = {
    "ima": lambda **given: IMAHandler(eps_max=3.0, steps=4, margin_steps=5, binary_steps=4, **given),
    "ima linf": lambda **given: IMAHandler(eps_max=1.0, norm="linf", steps=4, margin_steps=5, first_pass=True, **given),
    "pgd": lambda **given: PGDTrainingHandler(eps=0.3, steps=4, **given),
    "trades": lambda **given: TRADESHandler(eps=0.1, norm="linf", steps=4, **given),
    "iaat": lambda **given: IAATHandler(eps_max=0.4, steps=4, warmup_epochs=1, **given),
    "mma": lambda **given: MMAHandler(eps_max=0.5, steps=4, **given),
    "ddn": lambda **given: DDNHandler(eps_max=0.5, steps=5, **given),
}


@pytest.mark.parametrize("method", METHODS)
def test_training_with_channels_is_training_without_the_others(method):
    plain, clicked = small_network(), small_network()
    bounds = (-5, 5)
    handlers = METHODS[method](bounds=bounds), METHODS[method](bounds=bounds, channels=[0])
    make_trainer(plain, blobs(), [handlers[0]], epochs=2).run()
    make_trainer(First(clicked), with_clicks(blobs()), [handlers[1]], epochs=2).run()
    assert_same_weights(plain.state_dict(), clicked.state_dict())
    if method in ("ima", "ima linf", "iaat", "mma"):
        assert handlers[0].margins.ids() == handlers[1].margins.ids()
        assert torch.equal(handlers[0].margins.values(), handlers[1].margins.values())
        assert len(set(handlers[0].margins.values().tolist())) > 2


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_transforms_leave_the_other_channels_alone(norm):
    item = with_clicks(blobs(1))[0]
    noised = {}
    for name, channels, image in (("both", [0], item["image"]), ("one", None, item["image"][:1])):
        transform = RandUniformNoised("image", 0.5, norm, prob=1.0, bounds=(-2, 2), channels=channels)
        noised[name] = transform.set_random_state(3)({"image": image})["image"]
    assert torch.equal(noised["both"][:1], noised["one"])
    assert torch.equal(noised["both"][1], item["image"][1])
    assert not torch.equal(noised["both"][0], item["image"][0])
    network = First(small_network())
    boundary = BoundaryNoised("image", network, 2.0, norm, channels=[0], allow_wrong=True)(item)
    alone = BoundaryNoised("image", network, 2.0, norm, allow_wrong=True)({**item, "image": item["image"][:1]})
    assert torch.equal(boundary["image"][:1], alone["image"])
    assert torch.equal(boundary["image"][1], item["image"][1])
    assert boundary["boundary_distance"] == alone["boundary_distance"]


def batches(clicks: bool, count: int = 6) -> list[dict[str, Any]]:
    items = with_clicks(blobs(count)) if clicks else blobs(count)
    image, label = stacked(items)
    return [{"image": image, "label": label, "sample_id": [item["sample_id"] for item in items]}]


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    network = small_network()
    make_trainer(network, blobs(), [], epochs=5).run()
    return network.eval()


def test_an_evaluation_of_channels_is_that_without_the_others(trained):
    found = []
    for clicks, network, channels in ((False, trained, None), (True, First(trained), [0])):
        common: dict[str, Any] = {"bounds": (-5, 5), "channels": channels}
        attack, search = PGD("l2", 5, 2, **common), MinimumNorm("l2", 5, 1, **common)
        evaluator = ClassificationEvaluator(network, attack, noise_draws=5, minimum=search)
        outcome = evaluator.run(batches(clicks), [0.6, 1.5], progress=False)
        found.append((outcome, evaluator.examples(batches(clicks), {"case0/001": 0.6})["case0/001"]))
    (plain, example), (clicked, shown_example) = found
    assert clicked.records == plain.records
    assert 0 < clicked.accuracy()[1] < clicked.accuracy()[0]
    assert torch.equal(shown_example.noisy, example.noisy), "the picture shows the channels that noise may change"


def test_the_checks_for_gradient_masking_leave_the_other_channels_alone(trained):
    found = []
    for clicks, network, channels in ((False, trained, None), (True, First(trained), [0])):
        (one,) = batches(clicks, 18)
        batch = EvaluationBatch(Predictor.of(network, 18), one["image"], one["label"], one["sample_id"], [None] * 18)
        checks = GradientMaskingChecks(network, [batch], [PGD("l2", 5, bounds=(-5, 5), channels=channels)], 0.5)
        names = ("more_steps", "black_box", "uniform_noise", "gradients", "loss_surface")
        found.append([getattr(checks, name)() for name in names] + [checks.transfer(network)])
        large = checks.large_eps()
    assert found[0] == found[1]
    assert {check.samples for check in found[0]} <= set(range(10, 19)), "none was left out for want of samples"
    assert large.status == "not run"
    assert large.summary.startswith("Noise may change channels (0,) only")


def test_a_segmentation_of_channels_is_evaluated_as_without_the_others(tmp_path):
    torch.manual_seed(0)
    network = nn.Conv2d(1, 2, 3, padding=1)
    found = []
    for clicks, shown, channels in ((False, network, None), (True, First(network), [0])):
        (one,) = batches(clicks)
        rows = slice(0, 2)
        one = {"image": one["image"][rows], "label": (one["image"][rows, :1] > 0).float(), "sample_id": ["a", "b"]}
        evaluator = SegmentationEvaluator(
            shown, PGD("linf", 3, 1, criterion=DiceCriterion("lowest"), channels=channels)
        )
        found.append((evaluator.run([one], [0.3], progress=False), evaluator.examples([one], {"a": 0.3})["a"]))
    (plain, example), (clicked, shown_example) = found
    assert clicked.records == plain.records
    assert clicked.mean("dice")[1] < clicked.mean("dice")[0]
    assert torch.equal(shown_example.noisy, example.noisy), "the picture shows the channels that noise may change"


def test_an_evaluation_is_resumed_with_the_same_channels_only_and_not_verified(trained, tmp_path):
    network = First(trained)
    with pytest.raises(ValueError, match=r"^Got channels \(0,\), expected all of them for --crosscheck"):
        evaluate(network, batches(True), [0.2], out=tmp_path / "a", channels=[0], crosscheck=True)

    class Loader:
        whole = True

        def __iter__(self):
            yield from batches(True)
            if not self.whole:
                raise KeyboardInterrupt
            self.whole = False

    common = {"attack": "fgsm", "out": tmp_path / "b"}
    with pytest.raises(KeyboardInterrupt):
        evaluate(network, Loader(), [0.2], channels=[0], **common)
    with pytest.raises(FileExistsError, match="an interrupted run with other settings"):
        evaluate(network, batches(True), [0.2], channels=[1], **common)
    assert json.loads((tmp_path / "b" / "settings.json").read_text())["channels"] == [0]
    results = evaluate(network, batches(True), [0.2], channels=[0], **common)
    assert results.settings["channels"] == [0]
    assert results.command.endswith(", channels=[0])")
