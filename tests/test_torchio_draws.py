"""``evaluate --torchio``: TorchIO's random transforms have exactly the size they are asked for, measured on images."""

from __future__ import annotations

import csv
import itertools
import math
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation as ScipyRotation
from test_evaluate_perturbations import TIMELESS, Stopped, batches, classified, images, threshold
from torch import nn

from monai_ima.__main__ import main
from monai_ima.criteria import DiceCriterion
from monai_ima.evaluation import evaluate
from monai_ima.evaluation.torchio_draws import CHANGES, TorchIODraw, check_torchio
from monai_ima.perturbations import (
    BaselineWander,
    BiasField,
    Blur,
    Elastic,
    Gain,
    GammaContrast,
    Ghosting,
    Motion,
    MotionRotation,
    NoiseLevel,
    Perturbation,
    Rotation,
    Spike,
    Translation,
)
from monai_ima.report import build_report, markdown
from monai_ima.results.schema import Results
from monai_ima.utils.generators import per_sample_generators
from monai_ima.visualize import perturbation_curves

PLANE, VOLUME = (33, 29), (25, 21, 17)
DRAWS = 4
GRIDS = pytest.mark.parametrize("grid", [PLANE, VOLUME], ids=["2-D", "3-D"])


@pytest.fixture
def tio() -> Any:
    return pytest.importorskip("torchio", reason="TorchIO is not installed (extra torchio)")


def drawn(
    perturbation: Perturbation,
    image: torch.Tensor,
    size: float,
    spacing: float | list[float] = 1.0,
    label: torch.Tensor | None = None,
    **options: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Several draws of one image ``[C, *spatial]``: images and labels, ``[DRAWS, C, *spatial]``."""
    batch = image.expand(DRAWS, *image.shape).clone()
    labels = torch.zeros(DRAWS) if label is None else label.expand(DRAWS, *label.shape).clone()
    voxel = torch.tensor(spacing).expand(DRAWS, image.ndim - 1)
    generators = per_sample_generators("test", [str(k) for k in range(DRAWS)])
    return TorchIODraw(perturbation, **options)(batch, labels, size, generators, voxel)


def positions(grid: tuple[int, ...], spacing: list[float]) -> torch.Tensor:
    """The place of every voxel in mm from the centre: ``[d, *grid]``."""
    axes = [step * (torch.arange(n) - (n - 1) / 2) for n, step in zip(grid, spacing, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def moments(image: torch.Tensor, place: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Centroid and covariance of a bright object, ``[*grid]``."""
    weight = (image / image.sum()).flatten().double()
    points = place.flatten(1).double()
    centre = points @ weight
    points = points - centre[:, None]
    return centre.numpy(), ((points * weight) @ points.T).numpy()


def blob(grid: tuple[int, ...], widths: list[float], spacing: list[float]) -> torch.Tensor:
    """A Gaussian object with another width along each axis, in mm: ``[1, *grid]``."""
    place = positions(grid, spacing)
    scaled = place / torch.tensor(widths).view(-1, *[1] * len(grid))
    return (-scaled.square().sum(dim=0) / 2).exp()[None]


@GRIDS
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_bias_field_deviates_by_exactly_the_size(grid, norm, tio):
    x = 5 * torch.ones(1, *grid)
    centre = tuple(n // 2 for n in grid)
    x[0][centre] = -1.0  # the floor
    perturbation = BiasField(norm=norm)
    size = 20.0 if norm == "linf" else 20.0 * math.sqrt(4 ** len(grid))
    factor = (drawn(perturbation, x, size)[0] + 1) / 6
    factor[(slice(None), 0, *centre)] = 1.0
    assert (factor - 1).flatten(1).abs().amax(dim=1).tolist() == pytest.approx([0.2] * DRAWS, rel=1e-4)
    assert factor.flatten(1).std(dim=1).min() > 0.01


@GRIDS
def test_noise_has_the_size_as_its_deviation_in_every_channel(grid, tio):
    x = torch.zeros(2, *grid)
    x[0].flatten()[0], x[1].flatten()[0] = 1.0, 1000.0
    change = drawn(NoiseLevel(), x, 5.0)[0] - x
    deviation = change.flatten(2).std(dim=2).mean(dim=0)
    assert deviation.tolist() == pytest.approx([0.05, 50.0], rel=0.03)
    assert abs(float(change[:, 0].mean())) < 0.002
    assert len({float(one[0].sum()) for one in change}) == DRAWS


@GRIDS
def test_gamma_is_the_size_either_way(grid, tio):
    x = torch.full((2, *grid), 30.0)
    x[:, 0], x[:, 1] = 10.0, 50.0
    changed = drawn(GammaContrast(), x, 40.0)[0]
    unit = (changed[..., 4, 4] if len(grid) == 2 else changed[..., 4, 4, 4]).sub(10) / 40
    logs = (unit.log() / math.log(0.5)).log()
    assert logs.abs().flatten().tolist() == pytest.approx([0.4] * 2 * DRAWS, rel=1e-3)
    assert set(logs.sign().flatten().tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize("spacing", [[1.0, 2.0], [1.0, 1.5, 2.0]], ids=["2-D", "3-D"])
def test_the_widest_blur_of_a_point_is_the_size(spacing, tio):
    grid = tuple(int(40 / step) + 1 for step in spacing)
    x = torch.zeros(1, *grid)
    x[0][tuple(n // 2 for n in grid)] = 1.0
    widths = []
    for one in drawn(Blur(), x, 4.0, spacing)[0]:
        _, covariance = moments(one[0], positions(grid, spacing))
        widths.append(np.sqrt(np.diag(covariance)))
    assert np.max(widths, axis=1) == pytest.approx(np.full(DRAWS, 4.0), rel=0.02)
    assert np.std(np.min(widths, axis=1)) > 0.1


@pytest.mark.parametrize(("ghosts", "side"), [(1, 34), (3, 36), (2, 33)])
def test_the_strongest_ghost_of_a_point_has_the_size(ghosts, side, tio):
    grid = (side, side)  # its central line is none of the weakened ones, and ghosts lie on voxels
    x = torch.zeros(1, *grid)
    x[0, grid[0] // 2, grid[1] // 2] = 10.0
    changed = drawn(Ghosting(ghosts=ghosts), x, 20.0)[0] / 10
    changed[:, 0, grid[0] // 2, grid[1] // 2] = 0
    largest = changed.flatten(1).abs().amax(dim=1)
    assert largest.tolist() == pytest.approx([0.2] * DRAWS, rel=1e-4)


@GRIDS
def test_a_spike_is_one_wave_of_the_size(grid, tio):
    x = torch.rand(2, *grid, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 300.0]).view(
        2, *[1] * len(grid)
    )
    changes = drawn(Spike(), x, 10.0)[0] - x
    for change, channel in itertools.product(changes, range(2)):
        extent = float(x[channel].max() - x[channel].min())
        assert float(change[channel].abs().max()) / extent == pytest.approx(0.1, rel=1e-3)
        spectrum = torch.fft.fftn(change[channel]).abs() / change[channel].numel() / extent
        assert int((spectrum > 0.01).sum()) <= 2
    assert all(float((a - b)[0].abs().max()) > 0.01 for a, b in itertools.combinations(changes, 2))


def _angle(before: np.ndarray, after: np.ndarray) -> float:
    """The smallest rotation that takes one set of principal axes to another."""
    one, other = (np.linalg.eigh(covariance)[1] for covariance in (before, after))
    turns = [other @ np.diag(signs) @ one.T for signs in itertools.product((-1, 1), repeat=len(before))]
    traces = [np.trace(turn) for turn in turns if np.linalg.det(turn) > 0]
    cosine = max(traces) / 2 if len(before) == 2 else (max(traces) - 1) / 2
    return math.degrees(math.acos(min(1.0, cosine)))


@pytest.mark.parametrize("spacing", [[1.0, 2.0], [1.0, 1.5, 2.0]], ids=["2-D", "3-D"])
def test_a_rotation_turns_by_exactly_the_size_and_labels_follow(spacing, tio):
    grid = tuple(int(44 / step) + 1 for step in spacing)
    x = blob(grid, [3.0, 5.0, 7.5][: len(grid)], spacing)
    y = (x > 0.3).float()
    place = positions(grid, spacing)
    found, labels = drawn(Rotation(), x, 15.0, spacing, y)
    for image, label in zip(found, labels, strict=True):
        centre, covariance = moments(image[0], place)
        assert np.abs(centre).max() < 0.05
        assert _angle(moments(x[0], place)[1], covariance) == pytest.approx(15.0, abs=0.4)
        assert (2 * (label * (image > 0.3)).sum() / (label.sum() + (image > 0.3).sum())) > 0.9
        assert set(label.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("spacing", [[1.0, 2.0], [1.0, 1.5, 2.0]], ids=["2-D", "3-D"])
def test_a_translation_moves_by_exactly_the_size_and_labels_follow(spacing, tio):
    grid = tuple(int(44 / step) + 1 for step in spacing)
    x = blob(grid, [4.0] * len(grid), spacing)
    y = (x > 0.1).to(torch.int64)
    place = positions(grid, spacing)
    found, labels = drawn(Translation(), x, 5.0, spacing, y)
    ways = [moments(image[0], place)[0] for image in found]
    assert [np.linalg.norm(way) for way in ways] == pytest.approx([5.0] * DRAWS, abs=0.05)
    for way, label in zip(ways, labels, strict=True):
        assert (np.abs(moments(label[0].float(), place)[0] - way) <= 0.5 * np.array(spacing) + 0.01).all()
    assert labels.dtype == torch.int64
    assert len({round(float(way[0]), 3) for way in ways}) == DRAWS


@pytest.mark.parametrize("spacing", [[1.0, 2.0], [1.0, 1.5, 2.0]], ids=["2-D", "3-D"])
def test_an_elastic_deformation_moves_no_voxel_by_more_than_the_size(spacing, tio, monkeypatch):
    grid = tuple(int(40 / step) + 1 for step in spacing)
    place = positions(grid, spacing)  # of an image of places the change is the displacement
    inner = (slice(None), slice(None), *[slice(4, -4)] * len(grid))
    y = (place[:1].abs() < 8).float()
    points: list[np.ndarray] = []
    made = tio.ElasticDeformation.__init__
    monkeypatch.setattr(
        tio.ElasticDeformation, "__init__", lambda self, *a, **k: (points.append(a[0]), made(self, *a, **k))[1]
    )
    found, labels = drawn(Elastic(), place, 2.0, spacing, y)
    moved = (found - place)[inner].flatten(1).abs().amax(dim=1)
    assert moved.max() <= 2.0 + 1e-4
    assert moved.min() > 0.3
    assert [float(np.abs(control).max()) for control in points] == pytest.approx([2.0] * DRAWS, rel=1e-6)
    assert all((label != y).any() for label in labels)


@GRIDS
@pytest.mark.parametrize("kind", [Motion, MotionRotation])
def test_movements_have_the_size_and_leave_the_centre_of_k_space(grid, kind, tio, monkeypatch):
    given: list[dict[str, Any]] = []
    made = tio.Motion.__init__
    monkeypatch.setattr(tio.Motion, "__init__", lambda self, **k: (given.append(k), made(self, **k))[1])
    widths = [4.0, 3.0, 2.5][: len(grid)]
    x = blob(grid, widths, [1.0] * len(grid))
    changed = drawn(kind(axis=0), x, 3.0, 1.0)[0]
    for one in given:
        assert len(one["times"]) == 4
        if kind is Motion:
            assert np.abs(one["translation"]).max() == pytest.approx(3.0)
            assert np.abs(one["degrees"]).max() == 0
            continue
        vectors = [ScipyRotation.from_euler("ZXY", [z, x, y], degrees=True).as_rotvec() for x, y, z in one["degrees"]]
        assert np.degrees(np.abs(vectors).max()) == pytest.approx(3.0)
    before, after = (torch.fft.fftn(image, dim=tuple(range(2, 2 + len(grid)))) for image in (x[None], changed))
    centre = (slice(None), 0, *[0] * len(grid))
    assert torch.allclose(after[centre].real, before[centre].real.expand(DRAWS), rtol=1e-4)
    assert ((changed - x).flatten(1).abs().amax(dim=1) > 1e-4).all()


@pytest.mark.parametrize("axis", [0, 1])
def test_motion_smears_along_the_phase_axis_of_the_perturbation(axis, tio):
    """A displacement of an object that is long along one axis shows in lines of the phase axis alone."""
    grid = (40, 40)
    x = torch.zeros(1, *grid)
    x[0, 20, 20] = 1.0
    other = 1 - axis
    changed = drawn(Motion(axis=axis), x, 2.0, 1.0)[0]
    spread = changed[:, 0].abs().sum(dim=(0, 1 + other))
    across = changed[:, 0].abs().sum(dim=(0, 1 + axis))
    far = torch.tensor([abs(k - 20) > 6 for k in range(40)])
    assert float(spread[far].sum()) > 20 * float(across[far].sum())


@pytest.mark.parametrize("kind", CHANGES, ids=lambda kind: kind.name)
def test_a_draw_is_its_samples_own_and_disturbs_no_random_state(kind, tio):
    x = torch.rand(3, 2, 12, 14, generator=torch.Generator().manual_seed(0))
    y = (x[:, :1] > 0.5).float()
    draw, size, voxel = TorchIODraw(kind(), bounds=(0, 1), channels=[1]), kind.levels[0], torch.ones(3, 2)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    image, label = draw(x, y, size, per_sample_generators("k", list("abc")), voxel)
    single, moved = draw(x[1:2], y[1:2], size, per_sample_generators("k", ["b"]), voxel[:1])
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])
    assert torch.equal(image[1:2], single)
    assert torch.equal(label[1:2], moved)
    assert torch.equal(image[:, 0], x[:, 0])
    assert not torch.equal(image[:, 1], x[:, 1])
    assert 0 <= image.min() <= image.max() <= 1
    assert torch.equal(label, y) is not kind.geometric


ASKED: dict[str, Any] = {"attack": "pgd3", "perturbation": "noise@5:100,gain@10,bias_field@60", "draws": 3}
Measured = dict[bool, tuple[Path, Any]]


def few() -> tuple[nn.Module, list[dict[str, Any]]]:
    """Ten samples."""
    network, loader = classified()
    return network, loader[:2]


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Measured:
    """Folder and results of one evaluation with TorchIO and of one without."""
    pytest.importorskip("torchio", reason="TorchIO is not installed (extra torchio)")
    folders = {on: tmp_path_factory.mktemp("run") / "r" for on in (True, False)}
    network, loader = few()
    return {on: (out, evaluate(network, loader, [0.0], out=out, torchio=on, **ASKED)) for on, out in folders.items()}


def test_results_are_the_mean_of_the_draws(measured):
    network, loader = few()
    noise, gain, bias = measured[True][1].perturbations
    assert noise.torchio is not None
    assert bias.torchio is not None
    assert gain.torchio is None
    draw, x = TorchIODraw(NoiseLevel()), images()
    for n, sample in enumerate(noise.samples):
        generators = per_sample_generators("0/noise/torchio/100.0", [sample.sample_id])
        label = loader[n // 5]["label"][n % 5 : n % 5 + 1]
        right = [float(network(draw(x[n : n + 1], label, 100.0, generators)[0]).argmax() == label) for _ in range(3)]
        assert sample.torchio[2] == pytest.approx(np.mean(right))
    assert noise.torchio.values == pytest.approx(np.mean([one.torchio for one in noise.samples], axis=0))
    clean, *rest = noise.torchio.values
    assert noise.degradation.torchio == pytest.approx(np.mean([(clean - one) / clean for one in rest]))
    assert 0 < noise.torchio.values[2] < clean


def test_without_the_option_nothing_is_written_of_it_and_scores_are_the_same(measured):
    (_, found), (folder, plain) = measured[True], measured[False]
    for one, other in zip(plain.perturbations, found.perturbations, strict=True):
        assert (one.worst, one.average) == (other.worst, other.average)
    for name in ("results.json", "perturbation0.jsonl", "perturbations.csv"):
        assert "torchio" not in (folder / name).read_text()
    assert "torchio" not in plain.command
    assert "torchio=True" in found.command


def test_table_csv_figure_and_report_show_it_only_where_measured(measured):
    shown, hidden = (Results.read(measured[on][0]) for on in (True, False))
    rows = list(csv.DictReader((measured[True][0] / "perturbations.csv").open()))
    assert {row["perturbation"] for row in rows if row["torchio"] != ""} == {"noise", "bias_field"}
    assert [len(axes.lines) for axes in perturbation_curves(shown.perturbations, "accuracy").axes] == [3, 2, 3]
    assert [len(axes.lines) for axes in perturbation_curves(hidden.perturbations, "accuracy").axes] == [2, 2, 2]
    assert "random transforms of TorchIO" in markdown(build_report([shown]))
    assert "TorchIO" not in markdown(build_report([hidden]))
    assert "one, TorchIO" in markdown(build_report([shown.named("one"), hidden.named("other")]))


def test_an_interrupted_evaluation_goes_on_and_equals_the_unbroken_one(measured, tmp_path):
    network, loader = few()
    stopped = Stopped(loader)
    stopped.left = 5 * len(loader)  # some of the third perturbation
    with pytest.raises(KeyboardInterrupt):
        evaluate(network, stopped, [0.0], out=tmp_path / "r", torchio=True, **ASKED)
    assert len((tmp_path / "r" / "perturbation2.jsonl").read_text().splitlines()) == 5
    with pytest.raises(FileExistsError, match="other settings"):
        evaluate(network, loader, [0.0], out=tmp_path / "r", **ASKED)
    resumed = evaluate(network, loader, [0.0], out=tmp_path / "r", torchio=True, **ASKED)
    assert resumed.model_dump(exclude=TIMELESS) == measured[True][1].model_dump(exclude=TIMELESS)


def test_moved_labels_are_what_moved_images_are_judged_by(tio, tmp_path):
    x = blob((32, 32), [6.0, 4.0], [1.0, 1.0])[None].repeat(4, 1, 1, 1)
    loader = batches(x, (x > 0.5).float(), 4)
    found = evaluate(
        threshold,
        loader[:1],
        [0.0],
        criterion=DiceCriterion("lowest"),
        attack="noise1",
        perturbation="translation(spacing=1)@8,rotation(spacing=1)@45",
        torchio=True,
        draws=2,
        out=tmp_path / "r",
    )
    for one in found.perturbations:
        assert one.torchio is not None
        assert float(one.torchio.values[1] or 0) > 0.93  # of an unmoved label less than 0.8


def test_signals_have_no_transform(tio, tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(20, 2))
    x = torch.rand(4, 1, 20)
    found = evaluate(
        network,
        batches(x, network(x).argmax(dim=1), 4)[:1],
        [0.0],
        attack="noise1",
        perturbation="noise@5",
        torchio=True,
        draws=1,
        out=tmp_path / "r",
    )
    assert found.perturbations[0].torchio is None
    with pytest.raises(ValueError, match=r"Got images of shape \(4, 1, 20\), expected 2-D or 3-D ones for TorchIO"):
        TorchIODraw(NoiseLevel())(x, torch.zeros(4), 5.0, per_sample_generators("k", list("abcd")))


def test_a_missing_extra_is_said_in_one_sentence_before_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchio", None)
    network, loader = few()
    with pytest.raises(ImportError, match=r"TorchIO is needed .*: pip install 'monai-ima\[torchio\]'$"):
        evaluate(network, loader, [0.0], out=tmp_path / "r", torchio=True, **ASKED)
    assert not (tmp_path / "r").exists()


def test_perturbations_without_any_transform_are_refused(tio):
    with pytest.raises(ValueError, match="has no random transform for gain, baseline_wander, expected at least one of"):
        check_torchio([Gain(), BaselineWander()])
    with pytest.raises(ValueError, match="has no random transform for noise, expected"):
        TorchIODraw(NoiseLevel(kind="rician"))
    check_torchio([Gain(), BiasField()])


def test_the_option_goes_with_perturbation_only(tmp_path, capsys):
    assert main(["evaluate", f"--bundle={tmp_path / 'none'}", "--levels=0.1", "--torchio"]) == 2
    assert capsys.readouterr().err.count("Option --torchio is for --perturbation, expected both.") == 1


@pytest.mark.parametrize("kind", ["index map", "no channel axis", "one-hot"])
def test_label_maps_of_every_shape_move_and_background_comes_in(kind, tio):
    image = torch.zeros(1, 1, 16, 16)
    image[..., 5:10, 6:10] = 1
    index = image.long()
    labels = {"index map": index, "no channel axis": index[:, 0], "one-hot": torch.cat([1 - index, index], 1)}
    draw = TorchIODraw(Translation(spacing=1.0))
    changed, moved = draw(image, labels[kind], 9.0, [torch.Generator().manual_seed(3)])
    assert moved.shape == labels[kind].shape
    foreground = moved[:, 1:] if kind == "one-hot" else moved.view(1, 1, 16, 16)
    assert float((foreground.float() - (changed > 0.5).float()).abs().mean()) < 0.03
    assert not torch.equal(moved, labels[kind])
    if kind == "one-hot":
        assert torch.equal(moved.sum(dim=1), torch.ones_like(index[:, 0]))
