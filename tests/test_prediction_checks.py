"""Outputs that are probabilities, and predictions that depend on batch or call, are found out; honest ones are not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_ima.criteria import BinaryCriterion, ClassificationCriterion, DiceCriterion
from monai_ima.evaluation import EvaluationBatch
from monai_ima.evaluation.prediction_checks import batch_independence, logits
from monai_ima.utils.predictor import Predictor

CLASSES, SIDE = 3, 4


class Linear(nn.Module):
    """Logits of a fixed linear map, of the size of those of trained networks."""

    def __init__(self, outputs=CLASSES):
        super().__init__()
        self.weight = 3 * torch.randn(outputs, SIDE * SIDE, generator=torch.Generator().manual_seed(1))

    def forward(self, image):
        return image.flatten(1) @ self.weight.T


class Pixels(nn.Module):
    """Logits of every pixel: a multiple of its intensity for each class."""

    def __init__(self, *factors):
        super().__init__()
        self.factors = torch.tensor(factors).view(1, -1, 1, 1)

    def forward(self, image):
        return image * self.factors


def batches(network, *sizes, side=SIDE):
    """Batches of these sizes of random images."""
    draw = torch.Generator().manual_seed(0)
    made = []
    for n, size in enumerate(sizes):
        image = torch.randn(size, 1, side, side, generator=draw)
        ids = [f"{n}/{k}" for k in range(size)]
        made.append(EvaluationBatch(Predictor.of(network, size), image, torch.zeros(size).long(), ids, [None] * size))
    return made


def scans(network, *sides):
    draw = torch.Generator().manual_seed(0)
    made = []
    for n, side in enumerate(sides):
        image = torch.randn(1, 1, side, side, generator=draw)
        made.append(EvaluationBatch(Predictor.of(network, 1), image, (image > 0).long(), [f"{n}"], [None]))
    return made


class Last(nn.Module):
    """A network with one more layer."""

    def __init__(self, network, layer):
        super().__init__()
        self.network, self.layer = network, layer

    def forward(self, image):
        return self.layer(self.network(image))


@pytest.mark.parametrize(
    ("layer", "status"),
    [
        (nn.Identity(), "passed"),
        (nn.Softmax(dim=1), "failed"),
        (nn.LogSoftmax(dim=1), "passed"),
        (lambda x: x.softmax(dim=1).half().float(), "failed"),
        (nn.Sigmoid(), "passed"),  # in 0..1, but no sum of one: classes one of which is correct, judged on their own
    ],
)
def test_outputs_that_sum_to_one_in_every_sample_are_no_logits(layer, status):
    found = logits(batches(Last(Linear(), layer), 2, 1), ClassificationCriterion())
    assert (found.status, found.samples) == (status, 3)
    assert ("log-probabilities" in found.summary) == isinstance(layer, nn.LogSoftmax)
    assert found.summary.endswith("sum to one: they are probabilities.") == (status == "failed")


def test_one_sample_of_logits_is_enough_to_see_that_not_all_are_probabilities():
    class Mixed(nn.Module):
        def forward(self, image):
            output = Linear()(image)
            return torch.cat([output[:1], output[1:].softmax(dim=1)])

    assert logits(batches(Mixed(), 12), ClassificationCriterion()).status == "passed"


def test_log_probabilities_mask_nothing_from_cross_entropy():
    one, two = (
        logits(batches(Last(Linear(), layer), 5), ClassificationCriterion())
        for layer in (nn.Identity(), nn.LogSoftmax(1))
    )
    assert one.numbers["highest output"] > 1
    assert two.numbers["highest output"] <= 0
    (batch,) = batches(Linear(), 5)
    output, label = Linear()(batch.image), batch.label
    losses = [nn.functional.cross_entropy(x, label, reduction="none") for x in (output, output.log_softmax(dim=1))]
    assert torch.allclose(*losses)
    assert not torch.allclose(losses[0], nn.functional.cross_entropy(output.softmax(dim=1), label, reduction="none"))


@pytest.mark.parametrize(
    ("outputs", "layer", "status"),
    [
        (1, nn.Identity(), "passed"),
        (1, nn.Sigmoid(), "failed"),
        (4, nn.Sigmoid(), "failed"),
        (4, nn.Softmax(1), "failed"),
    ],
)
def test_sigmoid_outputs_in_0_to_1_are_no_logits(outputs, layer, status):
    assert logits(batches(Last(Linear(outputs), layer), 10), BinaryCriterion()).status == status


def test_few_outputs_in_0_to_1_may_be_chance():
    few = logits(batches(Last(Linear(1), nn.Sigmoid()), 9), BinaryCriterion())
    assert (few.status, few.samples) == ("not run", None)
    assert few.summary.endswith("of fewer than 10 samples that may be chance.")
    assert logits(batches(Linear(1), 2), BinaryCriterion()).status == "passed"


@pytest.mark.parametrize(
    ("layer", "status"), [(nn.Identity(), "passed"), (nn.Softmax(1), "failed"), (nn.LogSoftmax(1), "passed")]
)
def test_a_segmentations_outputs_are_looked_at_in_every_voxel(layer, status):
    found = logits(scans(Last(Pixels(-4.0, 4.0, 1.0), layer), 8, 6), DiceCriterion())
    assert (found.status, found.samples) == (status, 2)


@pytest.mark.parametrize(("layer", "status"), [(nn.Identity(), "passed"), (nn.Sigmoid(), "failed")])
def test_one_scan_of_sigmoid_outputs_is_enough(layer, status):
    assert logits(scans(Last(Pixels(4.0), layer), 8), DiceCriterion(sigmoid=True)).status == status


class Centred(nn.Module):
    """Logits less their mean over the batch, as batch normalisation in training mode takes it."""

    def forward(self, image):
        output = Linear()(image)
        return output - output.mean(dim=0)


class Placed(nn.Module):
    """Logits that depend on a sample's place in the batch."""

    def forward(self, image):
        return Linear()(image) + torch.arange(len(image)).view(-1, 1)


class Counting(nn.Module):
    """Logits that grow by one with every call."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, image):
        self.calls += 1
        return Linear()(image) + self.calls


def test_an_honest_network_predicts_alike_alone_in_a_batch_and_again():
    found = batch_independence(batches(Linear(), 30))
    assert (found.status, found.samples) == ("passed", 8)
    assert all(found.numbers[key] < 1e-4 for key in ("alone or in a batch", "in another order", "in a second call"))


def test_a_network_that_looks_at_the_batch_is_found_out():
    (batch,) = batches(Centred(), 6)
    found = batch_independence([batch])
    output = Linear()(batch.image)
    # Alone the mean is the sample's own, so that nothing is left of it.
    assert found.status == "failed"
    assert found.samples == 6
    assert found.numbers["alone or in a batch"] == pytest.approx(
        float((output - output.mean(dim=0)).abs().max()), rel=1e-5
    )
    assert found.numbers["in another order"] == pytest.approx(0, abs=1e-5)
    assert found.numbers["in a second call"] == 0


def test_a_network_that_looks_at_the_order_is_found_out():
    found = batch_independence(batches(Placed(), 5))
    assert found.status == "failed"
    assert found.numbers["in another order"] == pytest.approx(4, abs=1e-4)
    assert found.numbers["in a second call"] == 0


def test_a_network_that_changes_from_call_to_call_is_found_out():
    found = batch_independence(batches(Counting(), 2))
    assert found.status == "failed"
    # The batch, each of two samples, the batch backwards, the batch again: calls 1 to 5.
    assert found.numbers["in a second call"] == pytest.approx(4, abs=1e-4)


def test_scans_in_batches_of_one_are_put_together_where_they_have_one_size():
    class Mean(nn.Module):
        def forward(self, image):
            return torch.cat([-image, image], dim=1) - image.mean()

    assert batch_independence(scans(Pixels(-4.0, 4.0), 8, 6, 8)).samples == 2
    assert batch_independence(scans(Pixels(-4.0, 4.0), 8, 6, 8)).status == "passed"
    assert batch_independence(scans(Mean(), 8, 6, 8)).status == "failed"


def test_scans_of_different_sizes_have_no_batch_to_depend_on():
    found = batch_independence(scans(Pixels(-4.0, 4.0), 8, 6, 4))
    assert found.status == "not run"
    assert found.summary == "Needs 2 samples in one batch: no two have images of one size."


def test_scans_of_different_sizes_still_show_a_second_call():
    class Drifting(Counting):
        def forward(self, image):
            self.calls += 1
            return torch.cat([-image, image], dim=1) * self.calls

    assert batch_independence(scans(Drifting(), 8, 6)).status == "failed"


def test_averaged_passes_of_a_random_network_are_not_compared():
    class Random(nn.Module):
        def forward(self, image):
            return Linear()(image) + torch.rand(1)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        one, averaged = (batch_independence(batches(Random(), 4), passes) for passes in (1, 16))
    assert one.status == "failed"
    assert (averaged.status, averaged.summary) == ("not run", "The network is random: means of 16 passes never agree.")


def test_extra_inputs_of_the_network_follow_the_samples():
    image = torch.randn(3, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    extra = torch.tensor([[1.0], [20.0], [300.0]])
    predict = Predictor(lambda x, network, more: network(x) + more, Linear(), 3, (extra,))
    batch = EvaluationBatch(predict, image, torch.zeros(3).long(), list("abc"), [None] * 3)
    assert batch_independence([batch]).status == "passed"
