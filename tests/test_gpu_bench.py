"""``benchmarks/gpu.py`` without a GPU: its parts, its page, and that a bare loop makes the passes of the step."""

from __future__ import annotations

import json
import subprocess
import time
from functools import partial

import pytest
import torch
from study_runs import refusal, table_rows
from torch import nn

import gpu
import gpu_steps
from gpu_steps import FORWARD, GRADIENT, TRAINING, Measured, Recorded, kernel_time, make_problem, measure, variants
from monai_ima.attacks import BoundaryPGD

CPU = torch.device("cpu")


def run(folder, *arguments):
    """Call the program; returns its records by part and the page."""
    places = ["--out", str(folder), "--work", str(folder), "--page", str(folder / "gpu.md")]
    gpu.main(["--device", "cpu", "--tiny", *arguments, *places])
    return json.loads((folder / "gpu.json").read_text())["parts"], (folder / "gpu.md").read_text()


def measured(step, bare):
    passes = [(TRAINING, 4), (FORWARD, 4), (GRADIENT, 4), (GRADIENT, 2), (TRAINING, 3)]
    return Measured([step] * 3, [bare] * 3, passes, 0.5, None, None, 0.9 * step)


def test_a_bare_loop_makes_the_passes_of_the_step_and_of_the_attack():
    """Counted beside the step: B-PGD alone, on the same images and radii, shows the network as many of each size."""
    problem = make_problem("FashionMNISTNet", CPU, tiny=True)
    shown = []
    problem.network.register_forward_pre_hook(
        lambda network, inputs: shown.append((len(inputs[0]), inputs[0].requires_grad, network.training))
    )
    found = measure(problem, variants()["float32"], rounds=1)
    end = len(found.passes)
    alone = shown[-end:]
    assert [size for size, *_ in alone] == [size for _, size in found.passes], "what is timed as the network's share"
    assert [gradient for _, gradient, _ in alone] == [kind == GRADIENT for kind, _ in found.passes]
    assert [training for *_, training in alone] == [kind == TRAINING for kind, _ in found.passes]
    assert alone == shown[-2 * end : -end] == shown[-3 * end : -2 * end], "three times"
    step = shown[-4 * end : -3 * end]
    assert step == alone, "what the profiled step itself made"
    bare, timed = shown[-5 * end : -4 * end], shown[-6 * end : -5 * end]
    assert bare == timed == step, "what was timed: step and bare loop"

    assert found.passes[0] == found.passes[-1] == (TRAINING, 6), "the clean batch and the noisy one"
    assert found.passes[1] == (FORWARD, 6), "the attack's clean prediction"
    kinds = [kind for kind, _ in found.passes]
    assert kinds.count(GRADIENT) == problem.steps
    assert kinds.count(FORWARD) == 1 + 1 + 10, "the clean one, the last iterate, the bisections"
    assert found.counts[TRAINING] == {"passes": 2, "images": 12}
    assert 0 < found.boundary_fraction < 1
    assert len(found.step_seconds) == len(found.bare_seconds) == 1


def test_radii_lie_around_the_median_distance_to_the_boundary():
    problem = make_problem("FashionMNISTNet", CPU, tiny=True)
    label = problem.network.eval()(problem.image).argmax(dim=1)
    radii = torch.tensor(gpu_steps._margins(problem, problem.network, label))
    distance = BoundaryPGD("l2", 100)(problem.network, problem.image, label, 100.0).distance
    middle = float(distance.median())
    assert float(radii.min()) == pytest.approx(middle / 2, rel=0.2)
    assert float(radii.max()) == pytest.approx(2 * middle, rel=0.2)


def test_passes_are_told_apart():
    network, image = Recorded(nn.Flatten()), torch.rand(3, 2)
    network(image)
    network(image.clone().requires_grad_())
    with torch.no_grad():
        network(image[:1])
    assert network.passes == [(TRAINING, 3), (GRADIENT, 3), (FORWARD, 1)]


def test_the_time_of_kernels_is_their_sum_without_copies():
    events = [
        {"cat": "kernel", "dur": 1500.0, "name": "gemm"},
        {"cat": "kernel", "dur": 500.0, "name": "conv"},
        {"cat": "gpu_memcpy", "dur": 9000.0},
        {"cat": "cuda_runtime", "dur": 9000.0},
        {"ph": "M"},
    ]
    assert kernel_time(events) == pytest.approx(0.002)
    assert kernel_time(events[2:]) is None


def test_figures_of_the_page_are_the_measured_ones(tmp_path, monkeypatch):
    seconds = {"float32": (0.110, 0.100), "channels_last": (0.055, 0.05)}
    asked: list[str] = []
    monkeypatch.setattr(gpu, "variants", lambda: dict.fromkeys(seconds, lambda network: network))
    monkeypatch.setattr(gpu, "measure", lambda problem, variant, rounds: measured(*seconds[asked[-1]]))
    whole = gpu.Bench._measured
    monkeypatch.setattr(gpu.Bench, "_measured", lambda self, name, way: asked.append(way) or whole(self, name, way))
    parts, page = run(tmp_path, "--minutes", "1", "--parts", "shares,steps,variants", "--networks", "OCTNet")
    assert parts["shares"]["OCTNet"]["share"] == pytest.approx(0.9)
    rows = [line for line in page.splitlines() if line.startswith("| OCTNet")]
    passes = "training 2 (7); forward 1 (4); input gradient 2 (6)"
    assert rows == [
        "| OCTNet | 110.0 ms |  |  | 99.0 ms, 90.0% |",
        f"| OCTNet | 110.0 ms | 1.100 (1.100 to 1.100) | 50% | {passes} |",
        "| OCTNet, channels_last | 55.0 ms | 2.00 | 1.100 |",
    ]
    assert "A trial with tiny networks and batches" in page
    assert "--parts shares,steps,variants --networks OCTNet --out DIR" in page


def test_parts_that_fail_or_no_longer_fit_are_listed_and_an_earlier_call_counts(tmp_path, monkeypatch):
    def broken(name, device, tiny):
        raise ValueError(f"{name} is broken.")

    monkeypatch.setattr(gpu, "make_problem", broken)
    parts, page = run(tmp_path, "--minutes", "1", "--parts", "steps,paper,dynunet")
    assert parts["steps"]["OCTNet"]["error"] == "ValueError: OCTNet is broken."
    assert list(parts["steps"]) == list(gpu_steps.NETWORKS), "the script goes on"
    assert parts["paper"]["fashion_mnist, l2"]["not_run"].startswith("needs 3 minutes, 1.0 were left")
    rows = table_rows(page)
    assert rows["steps, DynUNet"] == ["ValueError: DynUNet is broken."]
    assert rows["dynunet, hippocampus"][0].startswith("needs 4 minutes")

    monkeypatch.setattr(gpu, "measure", lambda *_, **__: measured(0.2, 0.1))
    monkeypatch.setattr(gpu, "make_problem", lambda *_: None)
    parts, _ = run(tmp_path, "--minutes", "1", "--parts", "steps", "--networks", "OCTNet")
    assert parts["steps"]["OCTNet"]["ratio"] == [2.0, 2.0, 2.0]
    assert "error" in parts["steps"]["DynUNet"]
    parts, page = run(tmp_path, "--minutes", "0", "--parts", "steps")
    assert parts["steps"]["OCTNet"]["ratio"] == [2.0, 2.0, 2.0], "kept, though there was no time to make it again"
    assert len([line for line in page.splitlines() if line.startswith("    python benchmarks/gpu.py")]) == 3


def test_a_study_that_outlasts_the_minutes_tells_how_far_it_came(tmp_path, monkeypatch):
    def slow(self, command, allowed):
        (tmp_path / "dynunet" / "start").mkdir(parents=True)
        (tmp_path / "dynunet" / "start" / "epochs.jsonl").write_text("{}\n" * 7)
        raise subprocess.TimeoutExpired(command, 60 * allowed)

    monkeypatch.setattr(gpu.Bench, "process", slow)
    parts, page = run(tmp_path, "--minutes", "5", "--parts", "dynunet", "--data", str(tmp_path))
    assert parts["dynunet"]["hippocampus"]["epochs"] == {"start": 7}
    assert "Not finished; epochs done: start 7." in page


def test_what_takes_too_long_is_broken_off():
    with pytest.raises(gpu.OutOfTimeError, match="broken off after 0 s"), gpu.time_limit(0.05):
        time.sleep(30)


def test_bad_arguments_are_refused(capsys, tmp_path):
    said = refusal(gpu.main, capsys, ["--parts", "steps,rest", "--device", "cpu"])
    assert said == "Got part 'rest', expected some of tests, shares, steps, options, variants, paper, dynunet."
    assert refusal(gpu.main, capsys, ["--networks", "UNet", "--device", "cpu"]).startswith("Got network 'UNet'")
    if not torch.cuda.is_available():
        said = refusal(gpu.main, capsys, ["--out", str(tmp_path)])
        assert said == "Got --device cuda, and there is no GPU here: expected --device cpu."


@pytest.mark.slow
@pytest.mark.usefixtures("warm_starts")
def test_all_quick_parts_run_on_a_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    parts, page = run(tmp_path, "--minutes", "4", "--parts", "tests,shares,steps", "--networks", "DynUNet")
    assert parts["tests"]["test_gpu.py"]["exit_code"] == 0
    assert "skipped" in parts["tests"]["test_gpu.py"]["last_line"] or torch.cuda.is_available()
    assert 0 < parts["shares"]["DynUNet"]["share"] < 3
    low, middle, high = parts["steps"]["DynUNet"]["ratio"]
    assert 0 < low <= middle <= high
    parts, page = run(tmp_path, "--minutes", "4", "--parts", "options,variants", "--networks", "FashionMNISTNet")
    assert parts["variants"]["FashionMNISTNet, bf16 autocast"]["step"] > 0
    for record in parts["options"].values():
        assert record["same"] == 1
    assert parts["options"]["FashionMNISTNet, compile=True"]["apart"] < 1e-5
    assert "## Options of attacks" in page
    assert "## Training in another memory format or precision" in page
