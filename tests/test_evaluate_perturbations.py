"""``evaluate --perturbation``: worst and average case under perturbations with parameters, against brute force."""

from __future__ import annotations

import csv
import json
from typing import Any

import numpy as np
import pytest
import torch
from model_files import Brightness, write_pictures
from monai.data import MetaTensor
from report_results import classification, write
from torch import nn

from monai_ima.__main__ import main
from monai_ima.attacks import UniformNoise, attack_from_name
from monai_ima.criteria import ClassificationCriterion, DiceCriterion
from monai_ima.evaluation import ClassificationEvaluator, EvaluationSettings, SegmentationEvaluator, evaluate
from monai_ima.evaluation.perturbed import PerturbationEvaluator
from monai_ima.perturbations import PERTURBATIONS, InMillimetres, IntensityShift, Perturbation
from monai_ima.report import build_report, html_page, json_summary, markdown
from monai_ima.results.perturbation_list import perturbation_list
from monai_ima.results.perturbed import mean_degradation
from monai_ima.results.schema import Results
from monai_ima.utils.generators import per_sample_generators
from monai_ima.visualize import perturbation_curves, perturbation_strip

COUNT = 24
TIMELESS = {"command", "date", "settings"}


def images(shape: tuple[int, ...] = (6, 6)) -> torch.Tensor:
    return torch.rand(COUNT, 1, *shape, generator=torch.Generator().manual_seed(3))


def linear(classes: int = 2, inputs: int = 36) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, classes))


def batches(image: torch.Tensor, label: torch.Tensor, size: int = 5) -> list[dict[str, Any]]:
    return [
        {
            "image": image[k : k + size],
            "label": label[k : k + size],
            "sample_id": [f"s{n}" for n in range(k, min(k + size, len(image)))],
            "patient": [f"p{n // 2}" for n in range(k, min(k + size, len(image)))],
        }
        for k in range(0, len(image), size)
    ]


def classified(size: int = 5) -> tuple[nn.Sequential, list[dict[str, Any]]]:
    """A linear network, and samples that it classifies right but for the first."""
    network, image = linear(), images()
    label = network(image).argmax(dim=1)
    label[0] = 1 - label[0]
    return network, batches(image, label, size)


def threshold(image: torch.Tensor) -> torch.Tensor:
    """Foreground is what is brighter than a half."""
    return torch.cat([0.5 - image, image - 0.5], dim=1)


def scores(results: Any, k: int = 0) -> dict[str, tuple[list[float], list[float]]]:
    return {one.sample_id: (one.worst, one.average) for one in results.perturbations[k].samples}


def test_the_worst_case_of_a_linear_network_is_the_closed_form_and_the_average_that_of_a_loop(tmp_path):
    network, loader = classified()
    found = evaluate(
        network, loader, [0.0], attack="pgd20", out=tmp_path / "r", perturbation="intensity_shift@5:15:60", draws=4
    )
    kind, sizes = IntensityShift(), [0.0, 5.0, 15.0, 60.0]
    worst, average = [], []
    for n, (x, y) in enumerate(zip(images(), torch.cat([one["label"] for one in loader]), strict=True)):
        theta = torch.zeros(1, 2, requires_grad=True)
        logits = network(kind.apply(x[None], theta))[0]
        margin = logits[y] - logits[1 - y]
        (slope,) = torch.autograd.grad(margin, theta)  # the margin is linear in θ, lowest at a corner of the box
        worst.append([float(margin > size * slope.abs().sum()) for size in sizes])
        row = [float(margin > 0)]
        for size in sizes[1:]:
            (draws,) = per_sample_generators(f"0/intensity_shift/draws/{size}", [f"s{n}"])
            right = 0
            for _ in range(4):
                drawn = 2 * torch.rand(1, 2, generator=draws) - 1
                right += int(network(kind.apply(x[None], drawn * size / drawn.abs().max())).argmax() == y)
            row.append(right / 4)
        average.append(row)
    one = found.perturbations[0]
    assert one.levels == sizes
    assert [sample.worst for sample in one.samples] == worst
    assert [sample.average for sample in one.samples] == average
    assert one.worst.values == pytest.approx(np.mean(worst, axis=0))
    assert one.average.values == pytest.approx(np.mean(average, axis=0))
    clean = one.worst.values[0]
    assert one.degradation.worst == pytest.approx(np.mean([(clean - v) / clean for v in one.worst.values[1:]]))
    assert 1 > clean > one.worst.values[-1]
    assert any(0 < value < 1 for row in average for value in row)


def test_draws_fit_the_clean_images_once_and_predict_each_changed_image_once():
    fits, shown = [], []

    class Fitting(IntensityShift):
        def constants(self, image: torch.Tensor, spacing: torch.Tensor | None) -> Any:
            fits.append(len(image))
            return super().constants(image, spacing)

    class Counted(nn.Flatten):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            shown.append(len(image))
            return super().forward(image)[:, :2]

    attack = attack_from_name("noise1", "linf", perturbation=Fitting())
    evaluator = PerturbationEvaluator(ClassificationEvaluator(Counted(), attack), {"noise1": attack}, "x", draws=7)
    loader = batches(images(), torch.zeros(COUNT, dtype=torch.long), COUNT)
    evaluator.run(loader, [10.0, 20.0], progress=False)
    attacks = 2
    assert len(fits) == 1 + attacks
    draws, clean, of_attack = 2 * 7, 2, 3  # clean: the score, and whose label counts; noise1: clean, noisy, its score
    assert len(shown) == draws + clean + attacks * of_attack


def test_the_worst_dice_is_that_of_a_grid(tmp_path):
    x = images()
    label = (x > 0.45).float()
    options: dict[str, Any] = {"criterion": DiceCriterion("lowest"), "perturbation": "gain@10:30"}
    found = evaluate(threshold, batches(x, label), [0.0], attack="pgd20", out=tmp_path / "r", **options)
    floor = x.flatten(1).amin(dim=1).view(-1, 1, 1, 1)
    for k, size in enumerate([10.0, 30.0], 1):
        grid = []
        for theta in np.linspace(-size, size, 401):
            predicted = (floor + (1 + theta / 100) * (x - floor) > 0.5).float()
            both = (predicted * label).flatten(1).sum(dim=1)
            grid.append(2 * both / (predicted + label).flatten(1).sum(dim=1))
        lowest = torch.stack(grid).amin(dim=0).tolist()
        assert [one.worst[k] for one in found.perturbations[0].samples] == pytest.approx(lowest, abs=1e-6)
        assert [one.average[k] >= one.worst[k] for one in found.perturbations[0].samples] == [True] * COUNT


def test_results_depend_neither_on_batches_nor_on_order_nor_on_other_perturbations(tmp_path):
    network, loader = classified()
    common: dict[str, Any] = {"attack": "pgd5+noise3", "draws": 3}
    first = evaluate(network, loader, [0.0], out=tmp_path / "a", perturbation="noise@5:20,bias_field@10:200", **common)
    _, singles = classified(size=1)
    other = evaluate(network, singles[::-1], [0.0], out=tmp_path / "b", perturbation="bias_field@10:200", **common)
    assert scores(first, 1) == scores(other)
    assert any(0 < average[-1] < 1 for _, average in scores(other).values())


class Stopped(list):
    """Batches of which the loader gives no more than ``left``, over all passes."""

    left = 10**9

    def __iter__(self):
        for batch in list.__iter__(self):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            yield batch


def test_an_interrupted_evaluation_goes_on_and_equals_the_unbroken_one(tmp_path):
    network, loader = classified()
    asked: dict[str, Any] = {"attack": "pgd5", "perturbation": "noise@5:20,gain@10:40", "draws": 3}
    whole = evaluate(network, loader, [0.0], out=tmp_path / "whole", **asked)
    stopped = Stopped(loader)
    stopped.left = 3 * len(loader) + 4  # data, additive noise and the first perturbation, and some of the second
    with pytest.raises(KeyboardInterrupt):
        evaluate(network, stopped, [0.0], out=tmp_path / "r", **asked)
    file = tmp_path / "r" / "perturbation1.jsonl"
    begun = file.read_text()
    assert 0 < len(begun.splitlines()) < COUNT
    file.write_text(begun[:-20])
    with pytest.raises(FileExistsError, match="other settings"):
        evaluate(network, loader, [0.0], out=tmp_path / "r", **{**asked, "draws": 4})
    with pytest.raises(FileExistsError, match="other settings"):
        evaluate(network, loader, [0.0], out=tmp_path / "r", attack="pgd5")
    resumed = evaluate(network, loader, [0.0], out=tmp_path / "r", **asked)
    assert resumed.model_dump(exclude=TIMELESS) == whole.model_dump(exclude=TIMELESS)


def test_the_additive_curve_is_what_it_was(tmp_path):
    network, loader = classified()
    plain = evaluate(network, loader, [0.1, 0.3], "l2", "pgd5", cases=0, out=tmp_path / "plain")
    both = evaluate(
        network, loader, [0.1, 0.3], "l2", "pgd5", cases=0, out=tmp_path / "both", perturbation="gain@10", draws=2
    )
    without = {*TIMELESS, "perturbations"}
    assert both.model_dump(exclude=without) == plain.model_dump(exclude=without)
    assert plain.perturbations == []
    assert "perturbation" not in plain.command
    assert "perturbation='gain@10', draws=2" in both.command
    for name in ("records.jsonl", "results.csv"):
        assert (tmp_path / "both" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    assert not (tmp_path / "plain" / "perturbations.csv").exists()


class Shifted(Perturbation):
    """Moves images by whole voxels along their first axis, and labels with them."""

    name, title, unit, levels, geometric = "shifted", "shift", "voxels", (1.0, 2.0), True

    def shape(self, image):
        return (1,)

    def change(self, image, theta, constants):
        return self._moved(image, theta) - image + 0 * theta.view(-1, *[1] * (image.ndim - 1))

    def change_label(self, label, theta, constants):
        return self._moved(label, theta)

    def _moved(self, values, theta):
        steps = theta.flatten().round().int().tolist()
        return torch.stack([row.roll(step, dims=1) for row, step in zip(values, steps, strict=True)])


def test_labels_move_with_geometric_perturbations(tmp_path, monkeypatch):
    monkeypatch.setitem(PERTURBATIONS, "shifted", Shifted)
    x = images()
    loader = batches(x, (x > 0.5).float())
    common: dict[str, Any] = {"criterion": DiceCriterion("lowest"), "attack": "noise5", "draws": 5}
    moved = evaluate(threshold, loader, [0.0], out=tmp_path / "moved", perturbation="shifted", **common)
    assert moved.perturbations[0].worst.values == moved.perturbations[0].average.values == [1.0, 1.0, 1.0]
    monkeypatch.setattr(Shifted, "geometric", False)
    stayed = evaluate(threshold, loader, [0.0], out=tmp_path / "stayed", perturbation="shifted", **common)
    assert stayed.perturbations[0].average.values[1] < 0.7


class Half(InMillimetres):
    """Multiplies images by a half if their voxels are 2 mm; else they stay."""

    name, title, unit, levels = "half", "half", "mm", (1.0,)

    def shape(self, image):
        return (1,)

    def change(self, image, theta, constants):
        factor = -0.5 * ((constants["spacing"][:, :1] == 2) & (theta != 0))
        return (factor + 0 * theta).view(-1, *[1] * (image.ndim - 1)) * image


def test_voxel_sizes_of_images_count_and_their_lack_is_said_before_work(tmp_path, monkeypatch):
    monkeypatch.setitem(PERTURBATIONS, "half", Half)
    x = 0.4 + 0.4 * images()
    loader = batches(x, (x > 0.5).float())
    common: dict[str, Any] = {"criterion": DiceCriterion("lowest"), "attack": "noise1", "perturbation": "half"}
    with pytest.raises(ValueError, match="do not know how large their voxels are, which half needs"):
        evaluate(threshold, loader, [0.0], out=tmp_path / "none", **common)
    assert not (tmp_path / "none").exists()
    for size, worst in ((2.0, 0.0), (3.0, 1.0)):
        affine = torch.diag(torch.tensor([size, 1.0, 1.0, 1.0]))
        known = [
            {**one, "image": MetaTensor(one["image"], affine=affine.repeat(5, 1, 1)[: len(one["image"])])}
            for one in loader
        ]
        found = evaluate(threshold, known, [0.0], out=tmp_path / str(size), **common)
        assert found.perturbations[0].worst.values == [1.0, worst]
    found = evaluate(threshold, loader, [0.0], out=tmp_path / "given", **{**common, "perturbation": "half(spacing=2)"})
    assert found.perturbations[0].name == "half(spacing=2)"
    assert found.perturbations[0].worst.values == [1.0, 0.0]


def test_samples_whose_label_is_ignored_are_left_out_and_bounds_hold(tmp_path):
    network, loader = classified()
    for one in loader[:2]:
        one["label"] = torch.full_like(one["label"], 9)
    criterion = ClassificationCriterion(ignore_index=9)
    seen: list[torch.Tensor] = []

    def predict(image):
        seen.append(image.detach())
        return network(image)

    found = evaluate(
        predict,
        loader,
        [0.0],
        attack="pgd3",
        out=tmp_path / "r",
        perturbation="gain@300",
        criterion=criterion,
        bounds=(0, 1),
    )
    assert [one.sample_id for one in found.perturbations[0].samples] == [one.sample_id for one in found.samples]
    assert len(found.samples) == COUNT - 10
    everything = torch.cat([one.flatten() for one in seen])
    assert (float(everything.min()), float(everything.max())) == (0.0, 1.0)


def test_only_the_attacked_channels_change(tmp_path):
    torch.manual_seed(0)
    network, x = linear(inputs=72), torch.rand(6, 2, 6, 6)
    seen: list[torch.Tensor] = []

    def predict(image):
        seen.append(image.detach())
        return network(image)

    loader = batches(x, network(x).argmax(dim=1), 6)
    evaluate(predict, loader, [0.0], attack="pgd3", out=tmp_path / "r", perturbation="gain@30", channels=[1])
    assert all(torch.equal(one[:, 0], x[:, 0]) for one in seen if len(one) == 6)
    assert any((one[:, 1] != x[:, 1]).any() for one in seen if len(one) == 6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"perturbation": "motoin"}, "Got perturbation 'motoin', expected one of bias_field"),
        ({"perturbation": "noise,"}, "Got perturbation '', expected one of bias_field"),
        ({"perturbation": ""}, "perturbation"),
        ({"perturbation": "noise,noise@5"}, "Got the perturbation noise twice in 'noise,noise@5', expected each once."),
        ({"perturbation": "noise@5:2"}, "Got levels '5:2' in 'noise@5:2', expected rising numbers > 0"),
        ({"perturbation": "noise@5:5"}, "Got levels '5:5' in 'noise@5:5', expected rising numbers > 0"),
        ({"perturbation": "noise@-5:5"}, "expected rising numbers > 0"),
        ({"perturbation": "noise@0:5"}, "expected rising numbers > 0"),
        ({"perturbation": "noise@nan"}, "expected rising numbers > 0"),
        ({"perturbation": "noise@"}, "expected rising numbers > 0"),
        ({"perturbation": "noise@x"}, "expected rising numbers > 0"),
        ({"perturbation": "bias_field(point=6)"}, "Got setting 'point' of bias_field, expected one of points, norm"),
        ({"perturbation": "bias_field:30+noise"}, "expected a radius for each link"),
        (
            {"perturbation": "noise", "attack": "ddn5", "norm": "l2"},
            "for DDN, expected a perturbation in the norm 'l2'",
        ),
        ({"perturbation": "noise", "draws": "0"}, "Got draws 0, expected an integer >= 1"),
        ({"perturbation": "noise", "draws": "10001"}, "Got draws 10001"),
        ({"draws": "5"}, "Option --draws is for --perturbation, expected both."),
    ],
)
def test_options_are_refused_before_anything_is_loaded(options, words, tmp_path, capsys):
    given = {"bundle": str(tmp_path / "none"), "out": str(tmp_path / "out"), "levels": "0.1", **options}
    assert main(["evaluate", *(f"--{name}={value}" for name, value in given.items())]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert not captured.out
    assert not list(tmp_path.iterdir())


def test_commas_in_parentheses_do_not_split_and_levels_have_a_default():
    found = perturbation_list("bias_field(points=6,norm=l2)@10:20, noise ,bias_field:30+noise:5@0.5:1")
    assert [one.name for one in found] == ["bias_field(points=6,norm=l2)", "noise", "bias_field:30+noise:5"]
    assert [one.levels for one in found] == [(0, 10, 20), (0, 2, 5, 10), (0, 0.5, 1)]
    assert [one.title for one in found] == [
        "bias field (points=6,norm=l2)",
        "noise level",
        "bias field 30 %, noise level 5 %",
    ]
    settings = EvaluationSettings(levels=0.1, norm="l2", attack="ddn5", perturbation="bias_field(norm=l2)")
    assert settings.perturbations[0].perturbation.norm.name == "l2"


def test_an_attack_by_name_climbs_in_the_parameters():
    for name in ("pgd2", "apgd2", "ifgsm2", "fgsm", "spsa2x2", "noise2", "pgd2+noise2"):
        assert isinstance(attack_from_name(name, "linf", perturbation=IntensityShift()).perturbation, IntensityShift)


def test_mean_degradation_is_relative_to_clean():
    assert mean_degradation([0.8, 0.6, 0.2]) == pytest.approx((0.25 + 0.75) / 2)
    assert mean_degradation([0.8, None, 0.2]) is None
    assert mean_degradation([0.0, 0.0]) is mean_degradation([0.5]) is mean_degradation([None, 0.5]) is None


@pytest.mark.parametrize("draws", [0, -1, 1.5, "x", True])
def test_an_evaluator_checks_its_draws(draws):
    attack = UniformNoise("linf", 1, criterion=DiceCriterion("lowest"), perturbation=IntensityShift())
    with pytest.raises((ValueError, TypeError), match="draws"):
        PerturbationEvaluator(SegmentationEvaluator(linear(), attack), {"noise1": attack}, "x", draws)


@pytest.fixture(scope="module")
def from_files(tmp_path_factory) -> Any:
    """Pictures from files on the command line, twice: as asked for, and with fewer perturbations."""
    root = tmp_path_factory.mktemp("files")
    pictures = write_pictures(root / "pictures", count=8)
    torch.jit.script(Brightness()).save(root / "bright.ts")
    common = [f"--model={root / 'bright.ts'}", f"--images={pictures}", f"--labels={pictures / 'labels.csv'}"]
    common += ["--levels=0", "--attack=pgd5", "--scale=0:255", "--draws=3"]
    for name, asked in (("a", "intensity_shift@5:100,noise"), ("b", "intensity_shift@5:20")):
        assert main(["evaluate", *common, f"--out={root / name}", f"--perturbation={asked}"]) == 0
    return root


def test_files_are_evaluated_and_results_are_read_as_they_were_written(from_files, tmp_path):
    folder = from_files / "a"
    found = Results.read(folder)
    assert [one.title for one in found.perturbations] == ["brightness and contrast", "noise level"]
    assert found.perturbations[0].worst.values == [1.0, 1.0, 0.0]
    assert "--perturbation intensity_shift@5:100,noise --draws 3" in found.command
    assert found.perturbations[0].case is not None
    assert found.perturbations[0].case.epsilon == 100
    assert "correct clean, wrong in the worst case" in found.perturbations[0].case.summary
    assert json.loads((folder / "results.json").read_text()) == found.model_dump(mode="json")
    pictures = ["perturbations.png", *(one.case.picture for one in found.perturbations if one.case)]
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    with open(folder / "perturbations.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8 * (3 + 4)
    for row in rows:
        one = next(one for one in found.perturbations if one.name == row["perturbation"])
        sample = next(sample for sample in one.samples if sample.sample_id == row["sample_id"])
        k = one.levels.index(float(row["size"]))
        assert (float(row["worst"]), float(row["average"])) == (sample.worst[k], sample.average[k])
        assert (row["unit"], row["patient"]) == ("%", sample.patient)


def test_files_of_before_are_read_and_others_refused(tmp_path):
    old = classification()
    del old["perturbations"]
    assert Results.read(write(tmp_path / "old", old)).perturbations == []
    case = {"values": [1.0, 0.5], "intervals": [None, None]}
    one = {
        "name": "gain",
        "title": "gain",
        "unit": "%",
        "levels": [0.0, 10.0],
        "attacks": ["pgd5"],
        "draws": 3,
        "worst": case,
        "average": {**case, "values": [1.0]},
        "degradation": {"worst": 0.5, "average": None},
        "samples": [],
        "case": None,
    }
    with pytest.raises(
        ValueError, match=r"perturbations\[0\].average.values in .* expected 2 entries, one for each of"
    ):
        Results.read(write(tmp_path / "short", classification(perturbations=[one])))
    good = {**one, "average": case}
    assert Results.read(write(tmp_path / "good", classification(perturbations=[good]))).perturbations[0].draws == 3
    gone = {**good, "case": {"sample_id": "s1", "epsilon": 10.0, "summary": "", "picture": "none.png"}}
    with pytest.raises(FileNotFoundError, match=r"named by perturbations\[0\].case.picture"):
        Results.read(write(tmp_path / "gone", classification(perturbations=[gone])))


def test_the_report_has_a_section_with_figure_table_and_pictures(from_files, tmp_path):
    one = Results.read(from_files / "a").named("one")
    page, text = html_page(build_report([one])), markdown(build_report([one]))
    for written in (page, text):
        assert "Noise that scanners make" in written
        assert "Boone et al. 2023" in written
        assert "brightness and contrast, 100 %" in written
    assert "| brightness and contrast | 100 % | 0.000 |" in text
    assert "| brightness and contrast | mean degradation | 0.500 |" in text
    part = page[page.index('<section id="perturbations"') :].partition("</section>")[0]
    assert part.count("<svg") == 2
    assert part.count('role="img" aria-label=') == 2
    assert part.count("<img") == part.count('alt="p') == 2
    assert '<th scope="col">worst case</th>' in part
    assert [found["name"] for found in json.loads(json_summary([one]))["models"][0]["perturbations"]] == [
        "intensity_shift",
        "noise",
    ]
    other = Results.read(from_files / "b").named("other")
    both = markdown(build_report([one, other]))
    assert (
        "| perturbation | size | one, worst case | one, average case | other, worst case | other, average case |"
        in both
    )
    assert "| brightness and contrast | 100 % | 0.000 | " in both
    assert both.count("| noise level |") == 5
    assert "| noise level | mean degradation | 0.000 | 0.000 | – | – |" in both
    old = Results.read(write(tmp_path / "old", classification()))
    assert "Noise that scanners make" not in html_page(build_report([old]))


def test_a_strip_shows_the_labelled_slice_and_a_signed_difference():
    clean, changed = torch.zeros(1, 4, 5, 6), torch.zeros(1, 4, 5, 6)
    clean[0, 1, 2, 4] = 1.0
    changed[0, 1, 2, 4] = 0.25
    foreground = torch.zeros(4, 5, 6, dtype=torch.bool)
    foreground[1, 2, 4] = True
    figure = perturbation_strip(clean, changed, foreground, "gain, 10 %")
    shown = figure.axes[2].images[0]
    assert shown.get_array().min() == pytest.approx(-0.75)
    assert shown.get_clim() == (pytest.approx(-0.75), pytest.approx(0.75))
    assert figure.get_suptitle() == "gain, 10 % – axis 2, slice 4"
    signal = perturbation_strip(torch.zeros(1, 8), torch.linspace(0, 1, 8)[None])
    assert signal.axes[2].lines[0].get_ydata().tolist() == pytest.approx(np.linspace(0, 1, 8).tolist())
    assert perturbation_strip(torch.zeros(3, 4, 4), torch.ones(3, 4, 4)).axes[2].images[0].get_array().max() == 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: perturbation_strip(None, torch.zeros(1, 8)), "clean"),
        (lambda: perturbation_strip(torch.zeros(1, 8), 5), "changed"),
        (lambda: perturbation_strip(torch.zeros(8), torch.zeros(8)), "expected the same shape"),
        (lambda: perturbation_strip(torch.zeros(1, 8), torch.zeros(1, 9)), "expected the same shape"),
        (lambda: perturbation_strip(torch.zeros(1, 8), torch.zeros(1, 8), torch.zeros(9)), "Got a foreground of shape"),
        (lambda: perturbation_strip(torch.zeros(1, 8), torch.zeros(1, 8), 5), "foreground"),
        (lambda: perturbation_curves([], "Dice"), "Got no results"),
        (lambda: perturbation_curves(5, "Dice"), "results"),
    ],
)
def test_figures_check_their_input(make, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make()


def test_signals_and_volumes_are_drawn(tmp_path):
    network = linear(inputs=12)
    x = images((12,))
    signals = evaluate(
        network,
        batches(x, network(x).argmax(dim=1)),
        [0.0],
        attack="pgd3",
        out=tmp_path / "1",
        perturbation="baseline_wander",
    )
    volumes = images((4, 4, 4))
    options: dict[str, Any] = {"criterion": DiceCriterion("lowest"), "perturbation": "gain@20", "draws": 2}
    scans = evaluate(
        threshold, batches(volumes, (volumes > 0.5).float()), [0.0], attack="pgd3", out=tmp_path / "3", **options
    )
    for k, results in ((1, signals), (3, scans)):
        case = results.perturbations[0].case
        assert case is not None
        assert (tmp_path / str(k) / case.picture).is_file()
    assert scans.perturbations[0].case is not None
    worst = {one.sample_id: one.worst[-1] for one in scans.perturbations[0].samples}
    assert worst[scans.perturbations[0].case.sample_id] == min(worst.values())
    assert f"{min(worst.values()):.3f} in the worst case" in scans.perturbations[0].case.summary
