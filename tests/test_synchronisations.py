"""How often an attack reads a value, for which the host waits for an accelerator: counted on the CPU, where the same
operators are called."""

import sys

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from monai_ima.attacks import APGD, DDN, PGD, SPSA, AdaptiveNormPGD, BoundaryPGD, UniformNoise
from monai_ima.attacks.health import Health
from monai_ima.criteria import BinaryCriterion, ClassificationCriterion, DiceCriterion
from monai_ima.perturbations import BiasField, Compose, Gain
from monai_ima.utils.generators import per_sample_generators

BATCH = 12
READS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::item")


@pytest.fixture
def lists_read(monkeypatch):
    """Where this package called ``Tensor.tolist``, which copies from the device and is no operator of its own.

    MONAI's ``DiceLoss`` calls it too, of a tensor of its own on the CPU.
    """
    calls = []
    tolist = torch.Tensor.tolist

    def counted(tensor):
        caller = sys._getframe(1).f_code.co_filename
        if "monai_ima" in caller:
            calls.append(caller)
        return tolist(tensor)

    monkeypatch.setattr(torch.Tensor, "tolist", counted)
    return calls


def reads(attack, problem, lists_read) -> int:
    lists_read.clear()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        attack(*problem)
    counts = {event.key: event.count for event in profiler.key_averages()}
    assert counts.get("aten::item", 0) == counts.get("aten::_local_scalar_dense", 0)
    return sum(counts.get(name, 0) for name in READS[:2]) + len(lists_read)


def classification(criterion):
    torch.manual_seed(0)
    outputs = 1 if isinstance(criterion, BinaryCriterion) else 3
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, outputs))
    image = torch.rand(BATCH, 1, 6, 6)
    logits = network(image)
    label = (logits > 0).long() if outputs == 1 else logits.argmax(dim=1)
    return network, image, label, 0.3, per_sample_generators("r", [str(k) for k in range(BATCH)])


def segmentation():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1))
    image = torch.rand(BATCH, 1, 8, 8)
    label = network(image).argmax(dim=1, keepdim=True)
    return network, image, label, 1.0, per_sample_generators("r", [str(k) for k in range(BATCH)])


PROBLEMS = {
    "classes": lambda: (ClassificationCriterion(), classification(ClassificationCriterion())),
    "one logit": lambda: (BinaryCriterion(), classification(BinaryCriterion())),
    "label map": lambda: (DiceCriterion(0.8), segmentation()),
    "ignored labels": lambda: (DiceCriterion("relative:0.9", ignore_index=255), segmentation()),
}
ATTACKS = {
    "PGD": lambda steps, **more: PGD("l2", steps, 1, **more),
    "PGD of adversarial training": lambda steps, **more: PGD("linf", steps, 1, early_stop=False, **more),
    "BoundaryPGD": lambda steps, **more: BoundaryPGD("l2", steps, 10, **more),
    "BoundaryPGD, cosine": lambda steps, **more: BoundaryPGD("linf", steps, 10, schedule="cosine", **more),
    "APGD": lambda steps, **more: APGD("l2", steps, 1, **more),
    "DDN": lambda steps, **more: DDN(steps, **more),
    "AN-PGD": lambda steps, **more: AdaptiveNormPGD(1.0, "l2", steps, **more),
    "uniform noise": lambda steps, **more: UniformNoise("l2", steps, **more),
    "SPSA": lambda steps, **more: SPSA("l2", steps, 4, **more),
}


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("name", ATTACKS)
def test_a_step_reads_at_most_two_values(name, problem, lists_read):
    criterion, case = PROBLEMS[problem]()
    few, many = (reads(ATTACKS[name](steps, criterion=criterion), case, lists_read) for steps in (3, 8))
    assert many - few <= 2 * 5
    assert few <= 2 * 3 + 16, "what an attack reads once: its input, labels, who is correct, what was not finite"


def test_a_chain_of_perturbations_reads_no_more(lists_read):
    criterion, case = PROBLEMS["label map"]()
    chain = Compose([Gain(), BiasField()], [10.0, 10.0])
    attacks = [PGD("l2", steps, 1, criterion=criterion, perturbation=chain) for steps in (3, 8)]
    few, many = (reads(attack, case, lists_read) for attack in attacks)
    assert many - few <= 2 * 5


def test_finiteness_is_read_once(monkeypatch):
    checks = []
    check = Health.check
    monkeypatch.setattr(Health, "check", lambda health: checks.append(1) or check(health))
    _, case = PROBLEMS["classes"]()
    BoundaryPGD("l2", 20, 10)(*case)
    assert len(checks) == 1
