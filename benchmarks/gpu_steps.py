"""IMA training steps and bare loops of the same passes, for ``benchmarks/gpu.py``.

A step is an iteration of MONAI's ``SupervisedTrainer`` with an ``IMAHandler`` (margins moved online), on one batch that
lies on the device already: no loading. Images are SYNTHETIC noise, labels the network's own answers, so that every
sample is attacked, and the learning rate is 0, so that every step does the same. The margins lie between half and twice
the median distance to the boundary: some samples cross early, some late, some never.

After each step, the passes that it made of the network, with their batch sizes, are made again by a bare loop: forward
and input-gradient passes, forward passes of the bisection, forward and backward of the training losses, the optimizer's
step. Its attack passes take cross-entropy.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser
from monai.engines import SupervisedTrainer
from monai.losses import DiceCELoss
from torch import nn
from torch.profiler import ProfilerActivity, profile

from monai_ima.attacks import BoundaryPGD
from monai_ima.criteria import ClassificationCriterion, Criterion, DiceCriterion
from monai_ima.handlers import IMAHandler
from monai_ima.networks import FashionMNISTNet, OCTNet
from studies import REPO, read_json

TRAINING, GRADIENT, FORWARD = "training", "input gradient", "forward"
WARM = 3
"""Steps before the first that counts."""

Pass = tuple[str, int]
"""Kind and batch size."""


@dataclass(frozen=True)
class Problem:
    """A network in training on one batch.

    Attributes:
        network: on the device.
        image: ``[B, C, *spatial]``, SYNTHETIC noise.
        loss_function: of the training.
        criterion: of the attack.
        optimizer: its class.
        steps: of the training attack.
    """

    network: nn.Module
    image: torch.Tensor
    loss_function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    criterion: Criterion
    optimizer: Callable[..., torch.optim.Optimizer]
    steps: int

    @property
    def segments(self) -> bool:
        """The labels are maps."""
        return isinstance(self.criterion, DiceCriterion)


def _octnet(tiny: bool) -> tuple[nn.Module, tuple[int, ...]]:
    if tiny:
        return OCTNet(channels=(8, 8, 16, 16), blocks=(1, 1, 1, 1)), (3, 1, 40, 40)
    return OCTNet(), (32, 1, 224, 224)


def _dynunet(tiny: bool) -> tuple[nn.Module, tuple[int, ...]]:
    config = read_json(REPO / "bundles" / "hippocampus_segmentation_ima" / "configs" / "train.json")
    definition = {**config["networks"]["dynunet"], "_disabled_": False}
    if tiny:
        definition["filters"] = [8, 8, 16, 16]
    network = ConfigParser({"network": definition}).get_parsed_content("network")
    return network, ((2, 1, 16, 16, 16) if tiny else (8, 1, 40, 56, 40))


def _fashion_mnist(tiny: bool) -> tuple[nn.Module, tuple[int, ...]]:
    return FashionMNISTNet(), ((6 if tiny else 128), 1, 28, 28)


NETWORKS: dict[str, tuple[Callable[[bool], tuple[nn.Module, tuple[int, ...]]], Callable[..., Any], int]] = {
    "OCTNet": (_octnet, torch.optim.Adamax, 20),
    "DynUNet": (_dynunet, torch.optim.AdamW, 10),
    "FashionMNISTNet": (_fashion_mnist, torch.optim.Adam, 20),
}
"""What makes a network and its batch's shape, the optimizer of its bundle, and the steps of that training's attack."""


def make_problem(name: str, device: torch.device, tiny: bool) -> Problem:
    """One of :data:`NETWORKS`, its weights and images drawn with seed 0.

    Args:
        name: of the network.
        device: where it is trained.
        tiny: small networks and batches, for a test.
    """
    torch.manual_seed(0)
    make, optimizer, steps = NETWORKS[name]
    network, shape = make(tiny)
    image = torch.randn(shape) if name == "DynUNet" else torch.rand(shape)
    segments = name == "DynUNet"
    return Problem(
        network.to(device),
        image.to(device),
        DiceCELoss(include_background=False, to_onehot_y=True, softmax=True) if segments else nn.CrossEntropyLoss(),
        DiceCriterion(0.8) if segments else ClassificationCriterion(),
        optimizer,
        min(steps, 4) if tiny else steps,
    )


class Autocast(nn.Module):
    """A network whose passes are made in bfloat16 where autocast says so; its output is float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        with torch.autocast(image.device.type, torch.bfloat16):
            return self.network(image).float()


def _channels_last(network: nn.Module) -> nn.Module:
    volumes = any(isinstance(layer, nn.Conv3d) for layer in network.modules())
    memory_format = torch.channels_last_3d if volumes else torch.channels_last
    return network.to(memory_format=memory_format)  # type: ignore[call-overload]  # torch's stubs know 4-D only


def variants() -> dict[str, Callable[[nn.Module], nn.Module]]:
    """What is done to a network before it is trained and attacked, by name; the first is nothing."""
    return {
        "float32": lambda network: network,
        "channels_last": _channels_last,
        "bf16 autocast": Autocast,
        "bf16 autocast, channels_last": lambda network: Autocast(_channels_last(network)),
    }


class Recorded(nn.Module):
    """A network whose passes are noted: kind and batch size, in order."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.passes: list[Pass] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        with_gradient = GRADIENT if image.requires_grad else TRAINING
        self.passes.append((with_gradient if torch.is_grad_enabled() else FORWARD, len(image)))
        return self.network(image)


@dataclass
class Measured:
    """What steps and bare loops took.

    Attributes:
        step_seconds: of each step, by wall clock.
        bare_seconds: of the bare loop of its passes.
        passes: of the last step.
        boundary_fraction: of the attacked samples.
        step_kernels: seconds of all GPU kernels of one more step; None without a GPU.
        network_kernels: seconds of the GPU kernels of the network's passes in that step, made once more; None without.
        network_seconds: wall time of these passes.
    """

    step_seconds: list[float] = field(default_factory=list)
    bare_seconds: list[float] = field(default_factory=list)
    passes: list[Pass] = field(default_factory=list)
    boundary_fraction: float = 0.0
    step_kernels: float | None = None
    network_kernels: float | None = None
    network_seconds: float = 0.0

    @property
    def step(self) -> float:
        """Median seconds of a step."""
        return statistics.median(self.step_seconds)

    @property
    def ratio(self) -> list[float]:
        """Smallest, median and largest of step / bare loop."""
        ratios = [ours / bare for ours, bare in zip(self.step_seconds, self.bare_seconds, strict=True)]
        return [min(ratios), statistics.median(ratios), max(ratios)]

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """How many passes the last step made and of how many images, by kind."""
        passes, images = Counter(kind for kind, _ in self.passes), Counter[str]()
        for kind, size in self.passes:
            images[kind] += size
        return {kind: {"passes": passes[kind], "images": images[kind]} for kind in passes}


class BareLoops:
    """Times every step of a trainer, and after it a bare loop of its passes; the last step is profiled instead.

    Args:
        network: the trainer's.
        image: the batch.
        classes: its labels as class indices, int64 ``[B]`` or ``[B, *spatial]``.
        label: as the training's loss takes them.
        loss_function: the training's.
        optimizer: the training's.
        rounds: steps that count.
        seconds: after that time no further round begins.
    """

    def __init__(
        self,
        network: Recorded,
        image: torch.Tensor,
        classes: torch.Tensor,
        label: torch.Tensor,
        loss_function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        optimizer: torch.optim.Optimizer,
        rounds: int,
        seconds: float,
    ) -> None:
        self.network, self.image, self.classes, self.label = network, image, classes, label
        self.loss_function, self.optimizer = loss_function, optimizer
        self.rounds, self.deadline = rounds, time.monotonic() + seconds
        self.found = Measured()
        self._kernels: KernelTimes | None = None
        self._begin = 0.0

    def attach(self, engine: Engine) -> None:
        """Hook into a trainer, before the handler that it times."""
        engine.add_event_handler(Events.ITERATION_STARTED, self.begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.end)

    @property
    def _enough(self) -> bool:
        done = len(self.found.step_seconds)
        return done >= self.rounds or (done > 0 and time.monotonic() > self.deadline)

    def begin(self, engine: Engine) -> None:
        """Start the clock, or the profiler."""
        self.network.passes.clear()
        if self._enough and self.image.is_cuda:
            self._kernels = KernelTimes()
            self._kernels.start()
        self._begin = now(self.image.device)

    def end(self, engine: Engine) -> None:
        """Stop it, and time the bare loop."""
        seconds = now(self.image.device) - self._begin
        found, passes = self.found, list(self.network.passes)
        if self._enough:
            found.passes = passes
            found.step_kernels = None if self._kernels is None else self._kernels.stop()
            engine.terminate_epoch()
            return
        begin = now(self.image.device)
        self.bare(passes)
        bare = now(self.image.device) - begin
        if engine.state.iteration > WARM:
            found.step_seconds.append(seconds)
            found.bare_seconds.append(bare)

    def bare(self, passes: list[Pass]) -> None:
        """The same passes with losses and optimizer, nothing else."""
        network = self.network.network
        self.optimizer.zero_grad()
        losses = []
        for kind, image in self._replayed(passes):
            size = len(image)
            if kind == TRAINING:
                losses.append(self.loss_function(network(image), self.label[:size]))
            elif kind == GRADIENT:
                torch.autograd.grad(F.cross_entropy(network(image), self.classes[:size]), image)
            else:
                network(image)
        torch.stack(losses).sum().backward()
        self.optimizer.step()

    def network_alone(self, passes: list[Pass]) -> None:
        """The network's part of these passes: forward and backward, without a loss and without the optimizer."""
        network, trained = self.network.network, []
        for kind, image in self._replayed(passes):
            logits = network(image)
            if kind == TRAINING:
                trained.append(logits)
            elif kind == GRADIENT:
                torch.autograd.grad(logits, image, self._slope(logits))
        torch.autograd.backward(trained, [self._slope(logits) for logits in trained])

    def _slope(self, logits: torch.Tensor) -> torch.Tensor:
        """Gradient of a loss with respect to the logits, kept from before."""
        if not hasattr(self, "_slopes"):
            self._slopes = torch.ones(len(self.image), *logits.shape[1:], device=logits.device)
        return self._slopes[: len(logits)].to(logits.dtype)

    def _replayed(self, passes: list[Pass]) -> Iterator[tuple[str, torch.Tensor]]:
        """Kind and images of each pass, the network in the mode and torch in the gradient mode of the step."""
        network, mode = self.network.network, True
        for kind, size in passes:
            if mode != (kind == TRAINING):
                mode = kind == TRAINING
                network.train(mode)
            image = self.image[:size].detach().requires_grad_(kind == GRADIENT)
            with torch.set_grad_enabled(kind != FORWARD):
                yield kind, image
        network.train()


def measure(
    problem: Problem, variant: Callable[[nn.Module], nn.Module], rounds: int = 7, seconds: float = 30.0
) -> Measured:
    """Train for some steps, a bare loop of the same passes after each; medians are of those after the warm-up.

    Args:
        problem: what is trained.
        variant: of :func:`variants`.
        rounds: steps that count, >= 1.
        seconds: after that time no further one begins.
    """
    network = Recorded(variant(problem.network))
    image = problem.image
    label, margins = boundary_problem(problem, network)
    classes = label[:, 0].long() if problem.segments else label
    network.train()
    sample_ids = [str(k) for k in range(len(image))]
    ima = IMAHandler(
        2 * max(margins),
        "l2",
        delta=min(margins),
        steps=problem.steps,
        schedule="constant",
        update="online",
        criterion=problem.criterion,
    )
    for sample_id, margin in zip(sample_ids, margins, strict=True):
        ima.margins[sample_id] = margin
    optimizer = problem.optimizer(network.parameters(), lr=0.0)
    loops = BareLoops(network, image, classes, label, problem.loss_function, optimizer, rounds, seconds)
    trainer = SupervisedTrainer(
        image.device,
        1,
        [{"image": image, "label": label, "sample_id": sample_ids}] * (WARM + rounds + 1),
        network,
        optimizer,
        problem.loss_function,
        train_handlers=[loops, ima],
        epoch_length=WARM + rounds + 1,
    )
    trainer.run()
    found = loops.found
    found.boundary_fraction = trainer.state.metrics["ima/boundary_fraction"]
    seconds_alone = []
    for _ in range(3):
        begin = now(image.device)
        loops.network_alone(found.passes)
        seconds_alone.append(now(image.device) - begin)
    found.network_seconds = statistics.median(seconds_alone)
    if image.is_cuda:
        kernels = KernelTimes()
        kernels.start()
        loops.network_alone(found.passes)
        found.network_kernels = kernels.stop()
    return found


def boundary_problem(problem: Problem, network: nn.Module) -> tuple[torch.Tensor, list[float]]:
    """The network's own answers as labels, and a radius for each sample: some cross early, some late, some never.

    Args:
        problem: its images.
        network: its network, or what wraps it; it is in evaluation mode afterwards.
    """
    with torch.no_grad():
        classes = network.eval()(problem.image).argmax(dim=1)
    label = classes[:, None].float() if problem.segments else classes
    return label, _margins(problem, network, label)


def _margins(problem: Problem, network: nn.Module, label: torch.Tensor) -> list[float]:
    """Radii from half to twice the median distance to the boundary, in a fixed mixed order."""
    eps, attack = 0.1, BoundaryPGD("l2", problem.steps, criterion=problem.criterion)
    result = attack(network, problem.image, label, eps)
    while result.success.float().mean() < 0.75:
        eps *= 3
        if eps > 1e6:
            raise ValueError(f"Only {int(result.success.sum())} samples crossed at ε = {eps:g}, expected 75 %.")
        result = attack(network, problem.image, label, eps)
    middle = float(result.distance[result.success].median())
    factors = torch.linspace(0.5, 2.0, len(label))[torch.randperm(len(label), generator=torch.Generator())]
    return (factors * middle).tolist()


def now(device: torch.device) -> float:
    """The clock, once the device has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


class KernelTimes:
    """The time of the GPU kernels between start and stop; copies and fills are none."""

    def start(self) -> None:
        """Begin."""
        torch.cuda.synchronize()
        self._profile = profile(activities=[ProfilerActivity.CUDA])
        self._profile.start()

    def stop(self) -> float | None:
        """Seconds of all kernels since the start, added up; None if the profiler saw none."""
        torch.cuda.synchronize()
        self._profile.stop()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "trace.json")
            self._profile.export_chrome_trace(str(file))
            events = json.loads(file.read_text(encoding="utf-8", errors="replace"))["traceEvents"]
        return kernel_time(events)


def kernel_time(events: list[dict[str, Any]]) -> float | None:
    """Seconds of the kernels in a profiler's trace, whose times are microseconds; None if there are none."""
    durations = [event["dur"] for event in events if event.get("cat") == "kernel"]
    return sum(durations) / 1e6 if durations else None
