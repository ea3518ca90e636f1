"""The picture of one scan under attack: which slices, what is in which panel, where the contours lie."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from nibabel import aff2axcodes

from monai_ima.visualize import Example, attack_examples, case_picture, save_figure, volume_example
from monai_ima.visualize.volumes import COLOURS


def box(shape, *ranges, value=1) -> torch.Tensor:
    label = torch.zeros(shape, dtype=torch.long)
    label[tuple(slice(lo, hi) for lo, hi in ranges)] = value
    return label


@pytest.fixture
def scan():
    """Image, noisy image, label and predictions of a volume whose label is largest in slices 6, 8 and 4."""
    shape = (14, 16, 12)
    image = torch.randn(2, *shape)
    noisy = image + 0.1 * torch.rand(2, *shape)
    noisy[0, 3, 3, 3] = image[0, 3, 3, 3] - 0.25
    label = box(shape, (4, 9), (5, 12), (3, 7))
    label[6, 2, 4] = label[1, 8, 1] = 1
    clean_pred = box(shape, (3, 9), (5, 13), (2, 7))
    noisy_pred = box(shape, (5, 8), (6, 10), (4, 6), value=2)
    return image, noisy, label, clean_pred, noisy_pred


def contours(axes) -> dict[tuple[str, str], tuple[float, ...]]:
    """For every contour its colour and line style, and its left, right, lower and upper end."""
    found = {}
    for drawn in axes.collections:
        points = np.concatenate([path.vertices for path in drawn.get_paths()])
        style = "solid" if drawn.get_linestyle()[0][1] is None else "dashed"
        ends = (points[:, 0].min(), points[:, 0].max(), points[:, 1].min(), points[:, 1].max())
        found[to_hex(drawn.get_edgecolor()[0]), style] = tuple(float(end) for end in ends)
    return found


def test_a_volume_is_cut_where_the_label_is_largest(scan):
    image, noisy, *_ = scan
    figure = volume_example(*scan, 0.25, "linf")  # type: ignore[call-arg]
    assert len(figure.axes) == 10  # 3 rows of 3, and the noise's colour bar
    for row, (axis, index) in enumerate([(0, 6), (1, 8), (2, 4)]):
        clean_axes, noisy_axes, noise_axes = figure.axes[3 * row : 3 * row + 3]
        assert clean_axes.get_ylabel() == f"axis {axis}, slice {index}"
        for axes, values in ((clean_axes, image), (noisy_axes, noisy), (noise_axes, noisy - image)):
            (shown,) = axes.get_images()
            assert np.array_equal(shown.get_array(), values[0].select(axis, index).T)
            assert axes.get_ylim()[0] < axes.get_ylim()[1]  # the second axis of a plane points upwards


def test_of_equal_slices_the_middle_one_is_shown(scan):
    image, noisy, *_ = scan
    empty = torch.zeros(image.shape[1:], dtype=torch.long)
    figure = volume_example(image, noisy, empty, empty, empty, 0.25, "linf")
    assert [figure.axes[k].get_ylabel() for k in (0, 3, 6)] == ["axis 0, slice 7", "axis 1, slice 8", "axis 2, slice 6"]
    assert not any(axes.collections for axes in figure.axes[:9])


def test_contours_lie_on_the_edges_of_label_and_prediction(scan):
    figure = volume_example(*scan, 0.25, "linf")  # type: ignore[call-arg]
    clean_axes, noisy_axes, noise_axes = figure.axes[3:6]  # slice 8 of axis 1: first axis to the right, third upwards
    first, second = COLOURS[0].lower(), COLOURS[1].lower()
    label = (0.5, 8.5, 0.5, 6.5)  # the box 4..8 x 3..6 and the single voxel at (1, 1)
    assert contours(clean_axes) == {(first, "solid"): label, (first, "dashed"): (2.5, 8.5, 1.5, 6.5)}
    assert contours(noisy_axes) == {(first, "solid"): label, (second, "dashed"): (4.5, 7.5, 3.5, 5.5)}
    assert contours(noise_axes) == {}


def test_contours_close_at_the_edge_of_the_image_and_leave_its_limits():
    image, full = torch.randn(1, 8, 6), torch.ones(8, 6)
    figure = volume_example(image, image, full, full, full, 0, "l2")
    assert contours(figure.axes[0])[COLOURS[0].lower(), "solid"] == (-0.5, 5.5, -0.5, 7.5)
    assert figure.axes[0].get_xlim() == (-0.5, 5.5)


def test_an_image_is_one_row_drawn_as_stored(scan):
    image, noisy, *maps = scan
    figure = volume_example(image[..., 4], noisy[..., 4], *(k[None, ..., 4] for k in maps), 0.25, "l2", "scan 1")  # type: ignore[call-arg]
    assert len(figure.axes) == 4
    (shown,) = figure.axes[1].get_images()
    assert np.array_equal(shown.get_array(), noisy[0, ..., 4])
    assert figure.axes[1].get_ylim()[0] > figure.axes[1].get_ylim()[1]
    assert contours(figure.axes[0])[COLOURS[0].lower(), "dashed"] == (4.5, 12.5, 2.5, 8.5)


def test_the_noisy_image_has_the_clean_ones_grey_window_and_the_noise_a_symmetric_one(scan):
    figure = volume_example(*scan, 0.25, "linf")  # type: ignore[call-arg]
    lo, hi = np.percentile(scan[0][0].numpy(), (0.5, 99.5))
    for row in range(3):
        clean, noisy, noise = (axes.get_images()[0].get_clim() for axes in figure.axes[3 * row : 3 * row + 3])
        assert clean == noisy == pytest.approx((lo, hi))
        assert noise == pytest.approx((-0.25, 0.25))
    assert figure.axes[2].get_title() == "noise, at most 0.25"


def test_title_and_legend_say_what_is_seen(scan, tmp_path):
    title = "scan 7: Dice 0.9 without noise, 0.2 with it"
    figure = volume_example(*scan, eps=0.25, norm="linf", title=title)  # type: ignore[call-arg, misc]
    assert figure.get_suptitle() == "scan 7: Dice 0.9 without noise, 0.2 with it\nε = 0.25 (L∞ norm)"
    (legend,) = figure.legends
    entries = [
        (text.get_text(), line.get_linestyle()) for text, line in zip(legend.texts, legend.legend_handles, strict=True)
    ]
    assert entries == [("class 1", "-"), ("class 2", "-"), ("label", "-"), ("prediction", "--")]
    assert [line.get_color() for line in legend.legend_handles[:2]] == list(COLOURS[:2])
    assert save_figure(figure, tmp_path / "scan.png").stat().st_size > 10_000


def test_thick_slices_are_stretched():
    image, maps = torch.randn(1, 40, 40, 4), [box((40, 40, 4), (9, 20), (9, 20), (1, 3))] * 3
    figure = volume_example(image, image, *maps, 0.1, "l2")  # type: ignore[call-arg]
    assert figure.axes[0].get_aspect() == pytest.approx(4)  # 4 rows as high as 0.4 times 40 columns
    assert figure.axes[6].get_aspect() == pytest.approx(1)


def test_bad_shapes_are_refused(scan):
    image, noisy, label, clean_pred, noisy_pred = scan
    with pytest.raises(ValueError, match=r"image of shape \(2, 14\), expected \[C, H, W\] or"):
        volume_example(image[..., 0, 0], noisy, label, clean_pred, noisy_pred, 0.1, "l2")
    with pytest.raises(ValueError, match=r"noisy image of shape \(1, 14, 16, 12\), expected \(2, 14, 16, 12\)"):
        volume_example(image, noisy[:1], label, clean_pred, noisy_pred, 0.1, "l2")
    with pytest.raises(ValueError, match=r"a label of shape \(14, 16\), expected \(14, 16, 12\) or \(1, 14, 16, 12\)"):
        volume_example(image, noisy, label[..., 0], clean_pred, noisy_pred, 0.1, "l2")
    with pytest.raises(ValueError, match=r"a noisy prediction of shape \(2, 14, 16, 12\)"):
        volume_example(image, noisy, label, clean_pred, torch.stack([noisy_pred] * 2), 0.1, "l2")


CODES = {"R": "sagittal", "L": "sagittal", "A": "coronal", "P": "coronal", "S": "axial", "I": "axial"}


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SLA", "ILP"])
def test_planes_are_named_by_the_affine_and_stand_upright(scan, codes):
    """The stored slice of each plane, found by nibabel's codes alone, is what is drawn."""
    image, noisy, label, *predictions = scan
    affine = _affine(codes)
    assert aff2axcodes(affine) == tuple(codes)
    figure = volume_example(image, noisy, label, *predictions, 0.25, "linf", affine=affine)  # type: ignore[call-arg, misc]
    areas = [(label > 0).sum(dim=tuple(k for k in range(3) if k != axis)) for axis in range(3)]
    for row, plane in enumerate(("sagittal", "coronal", "axial")):
        axis = next(k for k, code in enumerate(codes) if CODES[code] == plane)
        name, index = figure.axes[3 * row].get_ylabel().split(", slice ")
        assert name == plane
        assert areas[axis][int(index)] == areas[axis].max(), "the slice of the volume as it is stored"
        drawn = np.asarray(figure.axes[3 * row].get_images()[0].get_array())
        across, up = (letter for letter in "RAS" if CODES[letter] != plane)
        stored = image[0].numpy().take(int(index), axis)
        left = [letter for k, letter in enumerate(codes) if k != axis]
        if CODES[left[0]] != CODES[across]:
            stored, left = stored.T, left[::-1]
        if left[0] != across:
            stored = stored[::-1]
        if left[1] != up:
            stored = stored[:, ::-1]
        assert np.array_equal(drawn, stored.T), "to the right: right or anterior; upwards: superior or anterior"


def _affine(codes: str) -> np.ndarray:
    """Voxels of 1 mm whose axes run to these directions."""
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for axis, code in enumerate(codes):
        row = "RAS".find(code) if code in "RAS" else "LPI".find(code)
        affine[row, axis] = 1 if code in "RAS" else -1
    return affine


def test_an_affine_without_a_third_axis_names_no_plane(scan):
    figure = volume_example(*scan, eps=0.25, norm="linf", affine=np.diag([1.0, 1.0, 0.0, 1.0]))  # type: ignore[call-arg, misc]
    assert figure.axes[0].get_ylabel() == "axis 0, slice 6"


def test_classes_have_names_and_the_noise_the_scale_of_all_cases(scan):
    figure = volume_example(*scan, eps=0.25, norm="linf", names=["background", "anterior"], limit=0.5)  # type: ignore[call-arg, misc]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == ["anterior", "class 2", "label", "prediction"]
    assert figure.axes[2].get_images()[0].get_clim() == (-0.5, 0.5)
    assert figure.axes[2].get_title() == "noise, at most 0.25"


def test_a_case_of_a_classifier_has_names_and_the_scale_of_all_cases():
    clean = torch.rand(1, 6, 6)
    noisy = clean + 0.1 * torch.ones(1, 6, 6)
    figure = case_picture(clean, noisy, 0.4, ("healthy", "ill with a very long name of a class"))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["clean: healthy", "noise, scale ± 0.4", "noisy: ill with a very lon..."]
    (noise,) = figure.axes[1].get_images()
    assert noise.get_clim() == (-0.4, 0.4)
    assert np.asarray(noise.get_array()) == pytest.approx(np.full((6, 6), 0.1), abs=1e-6)


def test_of_colours_the_channel_that_changes_most_is_shown():
    clean = torch.zeros(3, 2, 2)
    noisy = clean.clone()
    noisy[0, 0, 0], noisy[1, 0, 0], noisy[2, 1, 1] = 0.1, -0.3, 0.2
    (noise,) = case_picture(clean, noisy).axes[1].get_images()
    assert np.asarray(noise.get_array()) == pytest.approx(np.array([[-0.3, 0], [0, 0.2]]), abs=1e-6)
    assert noise.get_clim() == pytest.approx((-0.3, 0.3))


def test_examples_of_one_figure_share_their_scale():
    clean = torch.rand(1, 4, 4)
    examples = [Example(f"s{k}", 0, 0, 1, 0.1, clean, clean + size) for k, size in enumerate((0.1, 0.2))]
    figure = attack_examples(examples, ["a", "b"])
    assert [figure.axes[k].get_images()[0].get_clim() for k in (1, 4)] == [pytest.approx((-0.2, 0.2))] * 2
