"""Windows of several volumes go through the network together, with a gradient too, and results stay what they were."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.data import Dataset
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import UNet
from torch import nn
from torch.utils.data import DataLoader

from monai_ima.attacks import PGD
from monai_ima.criteria import DiceCriterion
from monai_ima.engines import AdversarialPrepareBatch
from monai_ima.evaluation import SegmentationEvaluator
from monai_ima.inferers import GradientSlidingWindowInferer

WINDOW, WINDOWS = (8, 8, 8), 3
"""Of a volume of 8 x 8 x 16 voxels with overlap 0.5."""
STEPS = 3


class Counted(nn.Module):
    """Keeps how many windows came at once, and whether for a gradient."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = UNet(3, 1, 2, (4, 8), (2,), num_res_units=1, norm="instance")
        self.sizes: list[tuple[int, bool]] = []

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        self.sizes.append((len(window), torch.is_grad_enabled()))
        return self.inner(window)


def inferer(windows: int) -> SlidingWindowInferer:
    return SlidingWindowInferer(WINDOW, windows, overlap=0.5, mode="gaussian")


def scans(count: int = 3) -> list[dict[str, Any]]:
    """SYNTHETIC scans: a bright slab in noise."""
    generator = torch.Generator().manual_seed(3)
    label = torch.zeros(1, 8, 8, 16)
    label[:, 2:6, 2:6, 4:12] = 1
    return [
        {"image": label + 0.3 * torch.randn(1, 8, 8, 16, generator=generator), "label": label, "sample_id": f"scan{k}"}
        for k in range(count)
    ]


def attack() -> PGD:
    return PGD("l2", STEPS, restarts=1, criterion=DiceCriterion("lowest"))


def batches(windows: int, volumes: int) -> list[int]:
    """Sizes of the batches that so many volumes' windows make."""
    left = volumes * WINDOWS
    return [min(windows, left - k) for k in range(0, left, windows)]


@pytest.mark.parametrize("windows", [1, 2, 4, 20])
def test_windows_of_several_volumes_share_a_batch_in_both_passes(windows):
    network = Counted().eval()
    volumes = torch.stack([scan["image"] for scan in scans()]).requires_grad_()
    prediction = GradientSlidingWindowInferer(WINDOW, windows, overlap=0.5)(volumes, network)
    expected = batches(windows, 3)
    assert [size for size, _ in network.sizes] == expected
    torch.autograd.grad(prediction.square().sum(), volumes)
    assert sorted(size for size, _ in network.sizes) == sorted(2 * expected)  # computed again in the backward pass


def test_a_batch_holds_the_windows_that_follow_each_other():
    seen: list[list[float]] = []

    def network(window: torch.Tensor) -> torch.Tensor:
        seen.append(window.detach().flatten(1)[:, 0].tolist())
        return window.exp()  # whose gradient needs it again

    volumes = torch.stack([torch.full((1, 8, 8, 16), float(k)) for k in range(2)]).requires_grad_()
    prediction = GradientSlidingWindowInferer(WINDOW, 4, overlap=0.5)(volumes, network)
    torch.autograd.grad(prediction.sum(), volumes)
    assert sorted(seen) == sorted(2 * [[0.0, 0.0, 0.0, 1.0], [1.0, 1.0]])


def evaluated(windows: int, volumes: int) -> tuple[Any, dict[str, torch.Tensor]]:
    """The outcome at two ε, and the noisy scans at one, through so many windows and volumes at once."""
    loader = DataLoader(Dataset(scans()), batch_size=volumes)
    evaluator = SegmentationEvaluator(Counted(), attack(), inferer=inferer(windows), seed=5)
    outcome = evaluator.run(loader, [1.0, 3.0], progress=False)
    examples = evaluator.examples(loader, {f"scan{k}": 3.0 for k in range(3)})
    return outcome, {name: example.noisy for name, example in examples.items()}


@pytest.mark.parametrize(("windows", "volumes"), [(1, 3), (4, 1), (4, 3), (2, 2)])
def test_an_evaluation_is_that_of_single_windows_and_volumes(windows, volumes):
    expected, noisy = evaluated(1, 1)
    outcome, found = evaluated(windows, volumes)
    for name, image in noisy.items():
        assert torch.allclose(found[name], image, atol=1e-4), name
    assert outcome.mean("dice") == pytest.approx(expected.mean("dice"), abs=5e-3)
    assert expected.mean("dice")[2] < expected.mean("dice")[0] - 0.01
    if windows == 1:  # the network is called with the same batches
        assert outcome.records == expected.records
        assert all(torch.equal(found[name], image) for name, image in noisy.items())


def test_every_pass_of_an_evaluation_fills_its_batches():
    network = Counted()
    loader = DataLoader(Dataset(scans()), batch_size=3)
    SegmentationEvaluator(network, attack(), inferer=inferer(4)).run(loader, [1.0, 3.0], progress=False)
    levels, passes = 2, batches(4, 3)
    with_gradient = [size for size, gradient in network.sizes if gradient]
    without = [size for size, gradient in network.sizes if not gradient]
    assert passes == [4, 4, 1]
    # Each step is a forward pass, and the same once more in the backward pass.
    assert sorted(with_gradient) == sorted(levels * STEPS * 2 * passes)
    # Clean once; in each attack clean, the last iterate and what was found.
    assert sorted(without) == sorted((1 + levels * 3) * passes)


def test_robust_validation_attacks_a_batch_of_volumes_as_single_ones():
    items = scans()
    alone = []
    for item in items:
        batch = next(iter(DataLoader(Dataset([item]), batch_size=1)))
        alone.append(AdversarialPrepareBatch(Counted(), attack(), 2.0, inferer=inferer(1))(batch)[0])
    network = Counted()
    batch = next(iter(DataLoader(Dataset(items), batch_size=3)))
    together = AdversarialPrepareBatch(network, attack(), 2.0, inferer=inferer(4))(batch)[0]
    assert torch.allclose(together, torch.cat(alone), atol=1e-4)
    assert (together - batch["image"]).flatten(1).norm(dim=1) == pytest.approx(torch.full((3,), 2.0), rel=1e-3)
    assert {size for size, gradient in network.sizes if gradient} == {4, 1}
    same_batches = AdversarialPrepareBatch(Counted(), attack(), 2.0, inferer=inferer(1))(batch)[0]
    assert torch.equal(same_batches, torch.cat(alone))
