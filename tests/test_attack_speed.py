"""``benchmarks/attack_speed.py`` on noise: what is compared makes the passes that the page says; its ratios."""

from __future__ import annotations

import copy

import pytest
import torch
from study_runs import table_rows
from torch.nn.modules.module import register_module_forward_pre_hook

import attack_speed
from attack_speed import DEFAULTS, FULL, LEVELS, METHODS, PAPER, SAME, Data, Ratio, Training, bare_attack, in_turn
from gpu_steps import FORWARD, GRADIENT, TRAINING, Recorded
from monai_ima.attacks import PGD
from monai_ima.networks import FashionMNISTNet


def noise(images: int, test: int = 6) -> Data:
    draws = torch.Generator().manual_seed(0)
    parts = [torch.rand(n, 1, 28, 28, generator=draws) for n in (images, test)]
    return Data(parts[0], torch.arange(images) % 10, parts[1], torch.arange(test) % 10)


@pytest.fixture
def shown():
    """The passes that the networks were shown, as a hook of torch sees them."""
    passes: list[tuple[str, int]] = []

    def note(module, inputs):
        if isinstance(module, FashionMNISTNet):
            kind = GRADIENT if inputs[0].requires_grad else TRAINING
            passes.append((kind if torch.is_grad_enabled() else FORWARD, len(inputs[0])))

    handle = register_module_forward_pre_hook(note)
    yield passes
    handle.remove()


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tiny(monkeypatch, threads):
    monkeypatch.setattr(attack_speed, "load", lambda images: noise(12, images))
    monkeypatch.setattr(attack_speed, "METHODS", {name: {**METHODS[name], "steps": 3} for name in METHODS})
    monkeypatch.setattr(attack_speed, "LEVELS", (0.1, 2.0))
    monkeypatch.setattr(attack_speed, "STEPS", 3)
    monkeypatch.setattr(attack_speed, "TOOLS", {})


@pytest.fixture
def half_right():
    """A training on 6 images of which 4 carry the network's own answers."""
    torch.manual_seed(0)
    network, image = FashionMNISTNet().eval(), noise(6).image
    with torch.no_grad():
        label = network(image).argmax(1)
    label[4:] = (label[4:] + 1) % 10
    return Training(network, image, label)


def test_passes_of_a_step_in_which_nobody_crosses_are_those_of_the_algorithm(half_right, shown):
    """Clean batch; of its 4 right samples a clean prediction, all steps and the last iterate; their noisy batch.

    With cosine steps the clean prediction's own pass gives the first step's gradient.
    """
    for name, clean, steps in ((PAPER, [(FORWARD, 4)], 20), (DEFAULTS, [], 11)):
        passes = half_right.step(half_right.method([1e-6] * 6, **METHODS[name]))
        counts = [(TRAINING, 6), *clean, *[(GRADIENT, 4)] * steps, (FORWARD, 4), (TRAINING, 4)]
        assert passes == shown == counts
        shown.clear()


def test_a_bare_loop_makes_the_passes_of_the_step_with_gradients_and_a_step_of_the_optimizer(half_right, shown):
    method = half_right.method([0.01, 0.1, 1.0, 3.0, 1.0, 1.0], **METHODS[DEFAULTS])
    before = copy.deepcopy(half_right.network.state_dict())
    steps: list[bool] = []
    half_right.optimizer.register_step_pre_hook(
        lambda optimizer, *_: steps.append(all(p.grad is not None for p in half_right.network.parameters()))
    )
    passes = half_right.step(method)
    assert passes == shown
    crossed, attacked = method.scalar("boundary_fraction")
    assert 0 < crossed < attacked == 4, "some leave and are searched, some stay"
    assert [kind for kind, _ in passes].count(FORWARD) == 1 + METHODS[DEFAULTS]["binary_steps"]
    shown.clear()
    half_right.bare(passes)
    assert shown == passes
    assert steps == [True, True]
    after = half_right.network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items()), "every step does the same"
    assert half_right.step(method) == passes


def test_margins_are_those_that_are_asked_for(half_right):
    method = half_right.method([0.1, 0.2, 0.3, 1.0, 2.0, 3.0], **METHODS[PAPER])
    assert method.margins.lookup(half_right.sample_ids).tolist() == pytest.approx([0.1, 0.2, 0.3, 1.0, 2.0, 3.0])
    assert (method.training_attack.schedule, method.training_attack.steps) == ("constant", 20)
    assert max(LEVELS) == method.margins.eps_max


def test_a_bare_attack_makes_the_passes_of_pgd(half_right, shown):
    network, image, label = half_right.network.network, half_right.image, half_right.label
    recorded = Recorded(network)
    PGD("l2", 5, 2)(recorded, image, label, 1e-6)
    passes = list(recorded.passes)
    assert shown == passes
    assert passes.count((GRADIENT, 4)) == 2 * 5, "the 4 right samples take all steps of both paths"
    shown.clear()
    bare_attack(network, image, label, passes)
    assert shown == passes


def test_what_the_program_compares_makes_the_passes_that_it_says(tiny, shown, monkeypatch, capsys):
    made: list[dict[str, list[tuple[str, int]]]] = []

    def once(runs, rounds):
        made.append({})
        for name, run in runs.items():
            shown.clear()
            run()
            made[-1][name] = list(shown)
        return {name: [2.0 if name in ("step", DEFAULTS, "ours") else 4.0] * rounds for name in runs}

    monkeypatch.setattr(attack_speed, "in_turn", once)
    attack_speed.main(rounds=2, images=5)
    overheads, levels, attacks = made[:2], made[2:4], made[4]
    assert len(made) == 5
    for runs in overheads:
        assert runs["step"] == runs["bare"]
        assert {kind for kind, _ in runs["step"]} == {TRAINING, FORWARD, GRADIENT}
    gradients = [sum(size for kind, size in runs[DEFAULTS] if kind == GRADIENT) for runs in levels]
    assert attacks["ours"] == attacks[SAME]
    assert attacks[FULL] == [(GRADIENT, 5)] * 6, "3 steps, 2 restarts, all 5 images"

    page = capsys.readouterr().out
    rows = table_rows(page)
    assert rows["defaults: schedule cosine, steps 3, search itp, binary_steps 4"][1:3] == [
        "0.500 (0.500 to 0.500)",
        "at most 1.1: met",
    ]
    assert [rows[eps][1].split(", ")[1] for eps in ("0.1", "2")] == [str(count) for count in gradients]
    assert rows["2"][3:5] == ["0.500 (0.500 to 0.500)", "at most 0.65: met"]
    assert rows[FULL][1:3] == ["0.500 (0.500 to 0.500)", "at most 0.85: met"]
    assert "input gradient 6 (30)" in page
    assert "2 rounds" in page
    assert "--only" not in page


def test_a_library_that_is_not_installed_has_a_row_that_says_so(tiny, monkeypatch, capsys):
    def absent(*_):
        raise ImportError("No module named no_such_library", name="no_such_library")

    def present(network, eps, steps, step, restarts, batch):
        assert (eps, steps, step, restarts, batch) == (1.0, 3, 0.04, 2, 4)
        return lambda image, label: image

    monkeypatch.setattr(attack_speed, "TOOLS", {"foolbox": absent, "torchattacks": absent, "art": present})
    monkeypatch.setattr(attack_speed, "version", lambda package: "9.8")
    attack_speed.main(rounds=1, only="pgd", images=4)
    page = capsys.readouterr().out
    rows = table_rows(page)
    assert rows["foolbox"][0] == rows["torchattacks"][0] == "not installed (no_such_library)"
    assert rows["ART 9.8"][2].startswith("at most 0.6: ")
    assert "--only pgd" in page
    assert "A training step" not in page


def test_each_round_begins_with_the_next_and_ratios_are_of_one_round(monkeypatch):
    clock, order = [0.0], []
    monkeypatch.setattr(attack_speed.time, "process_time", lambda: clock[0])

    def run(name, seconds):
        order.append(name)
        clock[0] += seconds[order.count(name) - 1]

    runs = {"a": lambda: run("a", [1, 2, 6]), "b": lambda: run("b", [2, 8, 6])}
    seconds = in_turn(runs, 3)
    assert "".join(order) == "abbaab"
    assert seconds == {"a": [1, 2, 6], "b": [2, 8, 6]}
    ratio = Ratio(seconds["a"], seconds["b"], 0.5)
    assert (str(ratio), ratio.verdict) == ("0.500 (0.250 to 1.000)", "at most 0.5: met")
    assert Ratio([3.0], [5.0], 0.5).verdict == "at most 0.5: NOT MET"
    assert Ratio([3.0], [5.0]).verdict == ""


def test_bad_use_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="Got part 'rest', expected some of overhead, defaults, pgd"):
        attack_speed.main(only="pgd,rest")
    monkeypatch.delenv("MONAI_IMA_DATA", raising=False)
    with pytest.raises(SystemExit, match="MONAI_IMA_DATA is not set"):
        attack_speed.load(1)
