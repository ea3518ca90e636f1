"""Which output of a network counts: of attacks, training methods, evaluators and the command line."""

from __future__ import annotations

import json
import logging
import re

import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.networks.nets import BasicUNetPlusPlus, SegResNetDS
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
)
from monai_ima.criteria import BinaryCriterion, DiceCriterion
from monai_ima.engines import AdversarialPrepareBatch
from monai_ima.evaluation import ClassificationEvaluator, SegmentationEvaluator, evaluate
from monai_ima.handlers import (
    DDNHandler,
    IAATHandler,
    IMAHandler,
    MMAHandler,
    PGDTrainingHandler,
    TRADESHandler,
)
from monai_ima.losses import TRADESLoss
from monai_ima.utils.outputs import choose_label, choose_output

ATTACKS = {
    "pgd": lambda **s: PGD("l2", 4, 2, **s),
    "fgsm": lambda **s: FGSM("linf", **s),
    "ifgsm": lambda **s: IFGSM("linf", 3, **s),
    "boundary": lambda **s: BoundaryPGD("l2", 4, 3, **s),
    "apgd": lambda **s: APGD("linf", 5, 2, **s),
    "ddn": lambda **s: DDN(6, **s),
    "adaptive": lambda **s: AdaptiveNormPGD(1.5, "l2", 4, 3, **s),
    "minimum": lambda **s: MinimumNorm("l2", 4, 2, **s),
    "spsa": lambda **s: SPSA("linf", 3, 4, **s),
    "spsa on a loss": lambda **s: SPSA(
        "linf", 3, 4, loss=lambda z, y: nn.functional.cross_entropy(z, y, reduction="none"), **s
    ),
    "noise": lambda **s: UniformNoise("linf", 5, **s),
    "worst of": lambda **s: WorstOf([PGD("l2", 2, 1, **s), APGD("l2", 3, 1, **s)]),
}
METHODS = {
    "ima": lambda **s: IMAHandler(1.5, delta=0.3, steps=3, margin_steps=4, **s),
    "pgd": lambda **s: PGDTrainingHandler(0.5, steps=3, **s),
    "trades": lambda **s: TRADESHandler(0.5, steps=3, **s),
    "ddn": lambda **s: DDNHandler(1.0, steps=5, **s),
    "iaat": lambda **s: IAATHandler(1.0, steps=3, warmup_epochs=1, **s),
    "mma": lambda **s: MMAHandler(1.0, steps=3, **s),
}


class Several(nn.Module):
    """A network that returns its logits behind or among other tensors."""

    def __init__(self, inner: nn.Module, kind: str) -> None:
        super().__init__()
        self.inner, self.kind = inner, kind

    def forward(self, image):
        logits, features = self.inner(image), image.flatten(1)
        if self.kind == "tuple":
            return features, logits
        return {"features": features, "logits": logits, "name": "text"}


OUTPUTS: dict[str, list[int | str]] = {"tuple": [1, -1], "dictionary": ["logits"]}
KINDS = [(kind, output) for kind, outputs in OUTPUTS.items() for output in outputs]


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize(("kind", "output"), KINDS)
def test_every_attack_finds_on_one_of_several_outputs_what_it_finds_on_that_alone(name, kind, output):
    network = small_network().eval()
    image, label = stacked(blobs(12))
    expected = ATTACKS[name]()(network, image, label, 3.0)
    found = ATTACKS[name](output=output)(Several(network, kind), image, label, 3.0)
    assert expected.success.any()
    for field in ("image", "success", "distance", "clean_correct", "clean_score"):
        assert torch.equal(getattr(found, field), getattr(expected, field))
    labels = {"features": image, "logits": label}
    if output == "logits":
        found = ATTACKS[name](output=output)(Several(network, kind), image, labels, 3.0)
        assert torch.equal(found.image, expected.image)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("kind", "output"), KINDS[1:])
def test_every_method_trains_on_one_of_several_outputs_as_on_that_alone(name, kind, output):
    bare, several = small_network(dropout=0.2), Several(small_network(dropout=0.2), kind)
    seen = []

    def whole(prediction, label):
        seen.append(prediction)
        return nn.functional.cross_entropy(prediction[output], label)

    handlers = METHODS[name](), METHODS[name](output=output)
    for network, handler, loss in zip((bare, several), handlers, (None, whole), strict=True):
        torch.manual_seed(0)
        make_trainer(network, blobs(), [handler], epochs=2, loss_function=loss).run()
    assert_same_weights(several.inner.state_dict(), bare.state_dict())
    assert all(len(prediction) == len(Several(bare, kind)(torch.zeros(1, 1, 4, 4))) for prediction in seen)
    if hasattr(handlers[0].method, "margins"):
        assert handlers[1].margins.ids() == handlers[0].margins.ids()
        assert torch.equal(handlers[1].margins.values(), handlers[0].margins.values())


def test_trades_loss_compares_the_output_that_counts():
    one, two = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    label = torch.tensor([0, 1, 2])
    expected = TRADESLoss(nn.CrossEntropyLoss()).robust(one[0], label, two[0])
    assert TRADESLoss(nn.CrossEntropyLoss(), output=1).robust((one[1], one[0]), label, (two[1], two[0])) == expected


@pytest.mark.parametrize("given", ["attack", "evaluator"])
def test_evaluators_score_and_attack_the_output_that_counts(given):
    network = small_network().eval()
    loader = DataLoader(Dataset(blobs()), batch_size=8)
    expected = ClassificationEvaluator(network, PGD("l2", 4, 1)).run(loader, [0.4], progress=False)
    by_attack = {"output": -1} if given == "attack" else {}
    by_evaluator = {"output": -1} if given == "evaluator" else {}
    found = ClassificationEvaluator(Several(network, "tuple"), PGD("l2", 4, 1, **by_attack), **by_evaluator)
    assert found.run(loader, [0.4], progress=False).records == expected.records


def test_an_evaluator_under_attack_attacks_the_output_that_counts():
    network = small_network().eval()
    image, label = stacked(blobs(6))
    batch = {"image": image, "label": label}
    expected, _ = AdversarialPrepareBatch(network, PGD("l2", 4, 1), 0.5)(batch)
    several = Several(network, "dictionary")
    found, _ = AdversarialPrepareBatch(several, PGD("l2", 4, 1, output="logits"), 0.5)(batch)
    assert torch.equal(found, expected)


def test_evaluation_takes_the_output_and_notes_it_and_is_resumed_with_no_other(tmp_path):
    network = small_network().eval()
    loader = DataLoader(Dataset(blobs()), batch_size=8)
    expected = evaluate(network, loader, [0.4], "l2", "pgd4", cases=0, out=tmp_path / "bare")
    out, several = tmp_path / "several", Several(network, "tuple")
    found = evaluate(several, loader, [0.4], "l2", "pgd4", out=out, output=-1, checks=True)
    assert found.samples == expected.samples
    assert json.loads((out / "settings.json").read_text())["output"] == -1
    (out / "results.json").unlink()
    with pytest.raises(FileExistsError, match="other settings"):
        evaluate(several, loader, [0.4], "l2", "pgd4", out=out, output=1, checks=True)
    assert evaluate(several, loader, [0.4], "l2", "pgd4", out=out, output=-1, checks=True).samples == found.samples


def scans(count=4):
    generator = torch.Generator().manual_seed(0)
    label = (torch.rand(count, 1, 32, 32, generator=generator) > 0.5).long()
    image = label + 0.3 * torch.randn(count, 1, 32, 32, generator=generator)
    return image, label


def test_of_unet_plus_plus_with_deep_supervision_the_finest_output_is_the_last():
    """``BasicUNetPlusPlus`` returns the outputs of its nodes X(0, 1) to X(0, 4); the last is its only one without."""
    torch.manual_seed(0)
    settings = {"spatial_dims": 2, "features": (4, 4, 4, 4, 4, 4), "out_channels": 2}
    deep, plain = (BasicUNetPlusPlus(deep_supervision=deep, **settings).eval() for deep in (True, False))
    plain.load_state_dict(deep.state_dict())
    image, label = scans()
    criterion = DiceCriterion("lowest")
    expected = PGD("linf", 3, 1, criterion=criterion)(plain, image, label, 0.1)
    found = PGD("linf", 3, 1, criterion=criterion, output=-1)(deep, image, label, 0.1)
    assert torch.equal(found.image, expected.image)
    assert torch.equal(found.clean_score, expected.clean_score)
    coarsest = PGD("linf", 3, 1, criterion=criterion)(deep, image, label, 0.1)
    assert not torch.equal(coarsest.clean_score, expected.clean_score)


def test_a_network_that_returns_one_tensor_under_attack_needs_no_choice():
    """``SegResNetDS`` returns a list in training mode, and its finest output alone in evaluation mode."""
    torch.manual_seed(0)
    network = SegResNetDS(2, init_filters=4, in_channels=1, out_channels=2, blocks_down=(1, 1, 1), dsdepth=2)
    image, label = scans()
    network.train()
    assert isinstance(network(image), list)
    chosen, first = (PGD("linf", 2, 1, criterion=DiceCriterion("lowest"), output=k) for k in (0, None))
    assert torch.equal(chosen(network, image, label, 0.1).image, first(network, image, label, 0.1).image)


class Coarse(nn.Module):
    """Deep supervision whose first output has half the resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv2d(1, 2, 1)

    def forward(self, image):
        fine = self.fine(image)
        return [fine[..., ::2, ::2], fine]


def test_a_coarse_first_output_is_refused_with_the_one_that_fits():
    image, label = scans()
    sentence = r"first output has shape \(4, 2, 16, 16\) and its label \(4, 1, 32, 32\).* expected output=-1"
    with pytest.raises(ValueError, match=sentence):
        PGD("linf", 2, criterion=DiceCriterion("lowest"))(Coarse(), image, label, 0.1)
    items = [{"image": i, "label": y, "sample_id": f"s{k}"} for k, (i, y) in enumerate(zip(image, label, strict=True))]
    trainer = make_trainer(Coarse(), items, [IMAHandler(0.1, criterion=DiceCriterion("relative:0.9"))])
    with pytest.raises(ValueError, match="expected output=-1"):
        trainer.run()
    evaluator = SegmentationEvaluator(Coarse(), PGD("linf", 2, 1, criterion=DiceCriterion("lowest")))
    with pytest.raises(ValueError, match="expected output=-1"):
        evaluator.run(DataLoader(Dataset(items), batch_size=4), [0.1], progress=False)
    found = PGD("linf", 2, criterion=DiceCriterion("lowest"), output=-1)(Coarse(), image, label, 0.1)
    assert found.image.shape == image.shape


@pytest.mark.parametrize(
    ("prediction", "output", "sentence"),
    [
        ({"a": torch.zeros(1), "b": torch.ones(1)}, None, "a dictionary with the keys 'a', 'b', expected output="),
        ({"a": torch.zeros(1), "b": torch.ones(1)}, "c", "Got output='c', but the network returned a dictionary with "),
        ({"a": torch.zeros(1), "b": torch.ones(1)}, 0, "Got output=0, but the network returned a dictionary with the"),
        ((torch.zeros(1), torch.ones(1)), 2, "Got output=2, but the network returned a tuple of 2"),
        ([torch.zeros(1), torch.ones(1)], -3, "Got output=-3, but the network returned a list of 2"),
        ([torch.zeros(1)], "a", "Got output='a', but the network returned a list of 1"),
        ((torch.zeros(1), "text"), 1, "Output 1 of the network is str, expected a tensor"),
        ((torch.zeros(1), [torch.ones(1)]), -1, "Output -1 of the network is a list of 1, expected a tensor"),
    ],
)
def test_an_output_that_is_not_there_is_refused_with_what_is(prediction, output, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        choose_output(prediction, output)
    image, label = torch.zeros(1, 1, 2), torch.tensor([0])
    with pytest.raises(ValueError, match=re.escape(sentence)):
        PGD("l2", 2, output=output)(lambda _: prediction, image, label, 0.1)


def test_a_dictionary_of_labels_needs_the_key_that_counts():
    labels = {"maps": torch.zeros(1), "types": torch.ones(1)}
    assert choose_label(labels, "types") is labels["types"]
    for output in (None, 0, "other"):
        with pytest.raises(ValueError, match="labels as a dictionary with the keys 'maps', 'types' and output="):
            choose_label(labels, output)


@pytest.mark.parametrize("output", [1.5, True, (0,)])
def test_what_names_no_output_is_refused_at_once(output):
    for make in (
        lambda: PGD("l2", output=output),
        lambda: IMAHandler(1.0, output=output),
        lambda: ClassificationEvaluator(small_network(), PGD("l2"), output=output),
        lambda: TRADESLoss(nn.CrossEntropyLoss(), output=output),
        lambda: evaluate(small_network(), [], [0.1], out="nowhere", output=output),
    ):
        with pytest.raises(ValueError, match="expected the index or the key"):
            make()
    with pytest.raises(ValueError, match="different output"):
        WorstOf([PGD("l2", output=0), PGD("l2", output=1)])


def warnings_of(caplog, handler, network, epochs=3):
    with caplog.at_level(logging.WARNING, "monai_ima"):
        make_trainer(network, blobs(), [handler], epochs=epochs, lr=0.0).run()
    return [record.message for record in caplog.records if "samples was correct" in record.message]


class Constant(nn.Module):
    """Logits for a class that no sample has."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor([0.0, 0.0, 5.0]))

    def forward(self, image):
        return self.shift + 0 * image.flatten(1)[:, :3]


@pytest.mark.parametrize("name", METHODS)
def test_an_epoch_without_a_correct_sample_is_told_of_once(caplog, name):
    told = warnings_of(caplog, METHODS[name](start_epoch=1), Constant())
    assert len(told) == 1
    assert told[0].startswith("None of 24 samples was correct without noise in epoch 2")
    assert all(word in told[0] for word in ("criterion (ClassificationCriterion)", "(the first)", "labels"))


def test_plain_training_and_correct_samples_are_not_told_of(caplog):
    assert warnings_of(caplog, IMAHandler(0.5, start_epoch=3), Constant()) == []
    assert warnings_of(caplog, IMAHandler(0.5, steps=1, margin_steps=1), small_network()) == []


def test_the_warning_names_the_output(caplog):
    class Wrong(Constant):
        def forward(self, image):
            return {"wrong": super().forward(image), "right": image.flatten(1)[:, :2]}

    handler = PGDTrainingHandler(0.5, steps=1, output="wrong")
    with caplog.at_level(logging.WARNING, "monai_ima"):
        make_trainer(
            Wrong(), blobs(), [handler], loss_function=lambda p, y: nn.functional.cross_entropy(p["wrong"], y)
        ).run()
    assert "(output='wrong')" in caplog.text


def test_a_binary_criterion_takes_the_output_that_counts():
    logit = nn.Sequential(nn.Flatten(), nn.Linear(16, 1))
    image, label = stacked(blobs(8))
    expected = PGD("l2", 3, criterion=BinaryCriterion())(logit, image, label, 0.5)
    found = PGD("l2", 3, criterion=BinaryCriterion(), output=1)(Several(logit, "tuple"), image, label, 0.5)
    assert torch.equal(found.image, expected.image)


class TwoHeads(nn.Module):
    """Classes, and the image's mean beside them, as HoVerNet's several maps."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, image):
        return {"mean": image.flatten(1).mean(dim=1), "class": self.inner(image)}


def two_labels(batchdata, device=None, non_blocking=False, **kwargs):
    image = batchdata["image"]
    return image, {"class": batchdata["label"], "mean": image.flatten(1).mean(dim=1)}


@pytest.mark.parametrize("name", METHODS)
def test_a_dictionary_of_labels_follows_its_samples_into_the_trainers_loss(name):
    """The second label is the mean of its clean image: its distance from the noisy image's mean is within ε / √16."""
    bare, several, calls = small_network(), TwoHeads(small_network()), []

    def loss(prediction, label):
        calls.append((len(label["class"]), float((prediction["mean"] - label["mean"]).detach().abs().max())))
        return nn.functional.cross_entropy(prediction["class"], label["class"])

    handlers = METHODS[name](), METHODS[name](output="class")
    make_trainer(bare, blobs(), [handlers[0]], epochs=2).run()
    make_trainer(several, blobs(), [handlers[1]], epochs=2, loss_function=loss, prepare_batch=two_labels).run()
    assert_same_weights(several.inner.state_dict(), bare.state_dict())
    assert max(far for _, far in calls) <= 1.5 / 4 + 1e-5, "every noisy row meets the label of its own sample"
    assert name not in ("ima", "mma") or min(rows for rows, _ in calls) < 8, "some batches lost samples"


def test_an_evaluator_takes_the_label_of_the_output_that_counts():
    network = small_network().eval()
    loader = DataLoader(Dataset(blobs()), batch_size=8)
    expected = ClassificationEvaluator(network, PGD("l2", 4, 1)).run(loader, [0.4], progress=False)
    evaluator = ClassificationEvaluator(TwoHeads(network), PGD("l2", 4, 1), prepare_batch=two_labels, output="class")
    assert evaluator.run(loader, [0.4], progress=False).records == expected.records
    with pytest.raises(ValueError, match="labels as a dictionary with the keys 'class', 'mean'"):
        ClassificationEvaluator(network, PGD("l2", 4, 1), prepare_batch=two_labels, output=0).run(
            loader, [0.4], progress=False
        )
