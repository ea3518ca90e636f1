"""Claims about training and attacks on a GPU; ``benchmarks/gpu.py`` runs them where there is one."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.distributed as dist
from attack_problems import SHAPES, labelled_batch, smooth_network, two_classes
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from training_runs import blobs, make_trainer, small_network

from monai_ima.attacks import PGD, AttackResult, BoundaryPGD
from monai_ima.handlers import IMAHandler, Resumable
from monai_ima.utils.generators import per_sample_generators

DEVICE = "cuda"
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")]
EPS_MAX, DELTA = 4.0, 0.5


@pytest.fixture(autouse=True)
def _float32_convolutions(monkeypatch):
    """cuDNN's are in TF32 otherwise, with the rounding of float16."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def on_gpu(**settings: Any) -> tuple[nn.Module, IMAHandler, Any]:
    """A network on the GPU, its handler and its trainer of the small data set."""
    network = settings.pop("network", None) or small_network().to(DEVICE)
    handler = IMAHandler(EPS_MAX, delta=DELTA, steps=5, margin_steps=5, binary_steps=8)
    return network, handler, make_trainer(network, blobs(24), [handler], device=DEVICE, **settings)


def state(network: nn.Module, handler: IMAHandler) -> tuple[torch.Tensor, torch.Tensor]:
    """All weights, and the margins in the order of their ids."""
    weights = torch.cat([value.detach().flatten().cpu() for value in network.state_dict().values()])
    return weights, handler.margins.values()


def conv_network() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A convolutional network of three classes on the GPU, images and its own answers for them."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 8, 3, padding=1), nn.Tanh(), nn.Flatten()
    ).append(nn.Linear(8 * 64, 3))
    image = torch.rand(64, 1, 8, 8)
    return network.to(DEVICE), image.to(DEVICE), network(image.to(DEVICE)).argmax(dim=1)


def test_mixed_precision_with_a_gradient_scaler_trains_every_parameter():
    """Of one set of weights, losses in float16 are those in float32 within 1 %, margins within 5 % for 9 in 10."""
    network, handler, trainer = on_gpu(epochs=3, amp=True)
    before, types, gradients = copy.deepcopy(network.state_dict()), set(), []

    def note_type(layer: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        if len(output) > 2:  # the handler's check of batch dependence shows two samples, in full precision
            types.add(output.dtype)

    network[-1].register_forward_hook(note_type)
    optimizer = trainer.optimizer
    optimizer.register_step_pre_hook(lambda *_: gradients.append([p.grad.abs().sum() for p in network.parameters()]))
    trainer.run()
    assert types == {torch.float16}, "the attack's passes too"
    assert trainer.scaler.is_enabled()
    assert trainer.scaler.get_scale() >= 1
    assert 7 <= len(gradients) <= 9, "a scale that is too large costs a step"
    assert all(0 < float(total) < float("inf") for totals in gradients for total in totals)
    assert not any(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert len(handler.margins) == 24

    losses, margins = {}, {}
    for amp in (False, True):
        _, fixed_handler, still = on_gpu(epochs=1, lr=0.0, amp=amp)
        still.run()
        losses[amp] = [still.state.metrics[f"ima/{name}"] for name in ("loss_clean", "loss_noisy")]
        margins[amp] = fixed_handler.margins.values()
    assert losses[True] == pytest.approx(losses[False], rel=0.01)
    assert (((margins[True] - margins[False]).abs() < 0.05 * margins[False]).float().mean()) >= 0.9


def test_margins_move_in_mixed_precision():
    _, handler, trainer = on_gpu(epochs=3, amp=True)
    trainer.run()
    values = handler.margins.values()
    assert ((values >= DELTA) & (values <= EPS_MAX)).all()
    assert len(values.unique()) > 3


@pytest.mark.parametrize("attack", [PGD("l2", 40, 1, random_start=False), BoundaryPGD("l2", 40)], ids=["pgd", "b-pgd"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_attacks_under_autocast_agree_with_float32(attack, dtype, tolerance):
    """Decisions of 95 % of the samples, and distances of 95 % of those that both cross within 10 % (2 % in float16).

    PGD's are those of iterates, which a step of α ε / N lies between.
    """
    network, image, label = conv_network()
    eps = float(BoundaryPGD("l2", 40)(network, image, label, 50.0).distance.median())
    exact = attack(network, image, label, eps)
    assert 0.2 < exact.success.float().mean() < 0.8, "the test needs samples of both kinds"
    with torch.autocast(DEVICE, dtype=dtype):
        assert network(image).dtype == dtype
        rough = attack(network, image, label, eps)
    assert (rough.success == exact.success).float().mean() >= 0.95
    both = rough.success & exact.success
    step = 0.0 if isinstance(attack, BoundaryPGD) else attack.alpha * eps / attack.steps
    near = (rough.distance - exact.distance)[both].abs() < tolerance * exact.distance[both] + step
    assert near.float().mean() >= 0.95


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize(
    ("precision", "tolerance"), [(torch.float32, 0.01), (torch.float16, 0.02), (torch.bfloat16, 0.1)]
)
def test_boundary_distances_of_a_linear_network_are_the_closed_form(norm, precision, tolerance):
    """Within 1 % in float32, as on a CPU; in half precision where a logit's rounding is below the tolerance."""
    network, image, label, margins = two_classes()
    network, image, label = network.float().to(DEVICE), image.float().to(DEVICE), label.to(DEVICE)
    margin = margins[norm].float().to(DEVICE)
    attack = BoundaryPGD(norm, steps=100)
    half = precision != torch.float32
    with torch.autocast(DEVICE, dtype=precision) if half else nullcontext():
        beyond = attack(network, image, label, margin * (1 + tolerance))
        before = attack(network, image, label, margin * (1 - tolerance))
    logits = network(image).detach()
    rounding = torch.finfo(precision).eps * logits.abs().amax(dim=1) / logits.diff(dim=1).abs().squeeze(1)
    told = rounding < tolerance / 4
    assert told.sum() >= 8, "the test needs samples away from the boundary"
    assert beyond.success[told].all()
    assert not before.success[told].any()
    assert ((beyond.distance / margin - 1).abs() < 2 * tolerance)[told].all()


def test_one_nccl_rank_trains_as_without(tmp_path):
    network, handler, trainer = on_gpu(epochs=2)
    trainer.run()
    alone = state(network, handler)
    dist.init_process_group("nccl", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        wrapped = DistributedDataParallel(small_network().to(DEVICE))
        _, other, trainer = on_gpu(epochs=2, network=wrapped)
        trainer.run()
        torch.testing.assert_close(state(wrapped.module, other), alone)
    finally:
        dist.destroy_process_group()


def test_a_compiled_network_under_attack_agrees_with_the_eager_one():
    """Decisions of all samples, distances within 0.1 %, although the batch shrinks from pass to pass."""
    network, image, label = conv_network()
    network.eval()
    compiled = torch.compile(network, dynamic=True)
    calls = []

    def predict(x: torch.Tensor) -> torch.Tensor:
        calls.append(len(x))
        return compiled(x)

    eps = float(BoundaryPGD("l2", 40)(network, image, label, 50.0).distance.median())
    attack = BoundaryPGD("l2", 20)
    exact, found = attack(network, image, label, eps), attack(predict, image, label, eps)
    assert len(set(calls)) > 3
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1
    assert torch.equal(found.success, exact.success)
    torch.testing.assert_close(found.distance, exact.distance, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("kind", [PGD, BoundaryPGD])
def test_a_sample_in_a_batch_ends_as_it_does_alone(kind, norm):
    network = smooth_network(SHAPES[2])
    image, label = labelled_batch(network, SHAPES[2])
    network, image, label = network.to(DEVICE), image.to(DEVICE), label.to(DEVICE)
    eps = torch.linspace(0.05, 1.0, len(image), dtype=torch.float64, device=DEVICE)

    def attacked(rows: slice) -> AttackResult:
        ids = [str(k) for k in range(len(image))][rows]
        attack = BoundaryPGD(norm, 8, start="ball") if kind is BoundaryPGD else PGD(norm, 8)
        return attack(network, image[rows], label[rows], eps[rows], per_sample_generators("key", ids))

    together = attacked(slice(None))
    assert 0 < together.success.sum() < len(image)
    for i in range(len(image)):
        alone = attacked(slice(i, i + 1))
        torch.testing.assert_close(together.image[i : i + 1], alone.image, rtol=0, atol=1e-9)
        assert bool(together.success[i]) == bool(alone.success)


def test_an_interrupted_training_resumes_its_margins(tmp_path):
    def train(folder: str, epochs: int, resume: str | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        network, handler, trainer = on_gpu(epochs=epochs, shuffle=True)
        objects = {"network": network, "margins": handler.margins, "optimizer": trainer.optimizer}
        Resumable(tmp_path / folder, "model", objects, resume=resume, overwrite=resume is not None).attach(trainer)
        torch.manual_seed(1)
        trainer.run()
        return state(network, handler)

    whole, half = train("whole", 4), train("parts", 2)
    assert len(whole[1].unique()) > 3
    assert not torch.equal(whole[1], half[1])
    torch.testing.assert_close(train("parts", 4, "last"), whole)
