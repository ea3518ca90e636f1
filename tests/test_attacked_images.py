"""Files of attacked images: below the folder, one for each sample."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import default_prepare_batch
from monai.inferers import SimpleInferer
from monai.transforms import (
    CenterSpatialCropd,
    Compose,
    ConcatItemsd,
    CopyItemsd,
    EnsureChannelFirstd,
    EnsureTyped,
    Flipd,
    Lambdad,
    LoadImaged,
    Orientationd,
    Spacingd,
    SpatialPadd,
    ToTensord,
)
from torch import nn

from monai_ima.attacks import FGSM, PGD, UniformNoise
from monai_ima.cli.attack import _outcome
from monai_ima.criteria import ClassificationCriterion, DiceCriterion
from monai_ima.evaluation.attacked_images import RECORDS, output_names, save_attacked_images
from monai_ima.evaluation.loaded import LoadedBundle
from monai_ima.perturbations import Gain, Translation


@pytest.mark.parametrize(
    ("sample_ids", "names"),
    [
        (["1.2.840.113619.2.55", "1.2.840.113619.2.56"], ["1.2.840.113619.2.55", "1.2.840.113619.2.56"]),
        (["a.b.nii.gz", "a.c.NII", "v1.5.png"], ["a.b", "a.c", "v1.5"]),
        (["/data/x/1.png", "/data/y/1.png"], ["x/1", "y/1"]),
        (["/data/x/1.png"], ["1"]),
        (["../scans/1.nii", "../../scans/2.nii"], ["scans/1", "scans/2"]),
        (["C:\\scans\\a\\1.dcm", "C:\\scans\\b\\1.dcm"], ["a/1", "b/1"]),
        (["sub/a.png", "sub/b.png"], ["sub/a", "sub/b"]),
        (["7"], ["7"]),
    ],
)
def test_names_are_distinct_and_below_the_folder(sample_ids, names):
    assert list(output_names(sample_ids).values()) == names


@pytest.mark.parametrize("pair", [("a.png", "a.jpg"), ("a/1", "../a/1"), ("A.nii", "a.nii.gz")])
def test_two_ids_of_one_name_are_refused(pair):
    with pytest.raises(ValueError, match=f"Samples '{pair[0]}' and '{pair[1]}' would both be written to"):
        output_names(pair)


@pytest.mark.parametrize("sample_id", ["..", "", "a/.png"])
def test_an_id_without_a_name_is_refused(sample_id):
    with pytest.raises(ValueError, match=f"Sample id {re.escape(repr(sample_id))} leaves no file name"):
        output_names([sample_id])


def bundle(batches: Any, size: int = 4) -> LoadedBundle:
    torch.manual_seed(0)
    return LoadedBundle(
        name="small",
        network=nn.Sequential(nn.Flatten(), nn.Linear(size, 2)),
        data_loader=batches,
        prepare_batch=default_prepare_batch,
        inferer=SimpleInferer(),
        device=torch.device("cpu"),
        bounds=(0, 1),
        criterion=None,
        classes=[],
        checkpoint=None,
        synthetic=False,
        metadata={},
    )


def batch(sample_ids: list[str], **further) -> dict:
    count = len(sample_ids)
    image = torch.rand(count, 1, 2, 2, generator=torch.Generator().manual_seed(3))
    return {"image": image, "label": torch.zeros(count, dtype=torch.int64), "sample_id": sample_ids, **further}


def written(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.name != RECORDS
    )


def test_every_sample_has_a_file_of_its_own(tmp_path):
    loaded = bundle([batch(["1.2.55", "1.2.56"]), batch(["1.2.57"])])
    assert len(save_attacked_images(loaded, FGSM("linf"), 0.1, tmp_path / "out")) == 3
    assert written(tmp_path) == [f"out/1.2.{k}_noisy.png" for k in (55, 56, 57)]


def test_without_ids_nothing_is_written_beside_the_scans(tmp_path):
    scans = [tmp_path / "scans" / name for name in ("a.png", "b.png")]
    image = MetaTensor(torch.rand(2, 1, 2, 2), meta={"filename_or_obj": [str(scan) for scan in scans]})
    loaded = bundle([{"image": image, "label": torch.zeros(2, dtype=torch.int64)}])
    save_attacked_images(loaded, FGSM("linf"), 0.1, tmp_path / "out")
    assert written(tmp_path) == ["out/a_noisy.png", "out/b_noisy.png"]


def test_names_are_looked_at_before_anything_is_attacked(tmp_path):
    loaded = bundle([batch(["a.png"]), batch(["a.jpg"])])
    with pytest.raises(ValueError, match=r"Samples 'a.png' and 'a.jpg' would both be written to a_noisy"):
        save_attacked_images(loaded, FGSM("linf"), 0.1, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert len(save_attacked_images(loaded, FGSM("linf"), 0.1, tmp_path / "out", limit=1)) == 1


def test_an_id_that_comes_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Sample id 'a' comes twice"):
        save_attacked_images(bundle([batch(["a"]), batch(["a"])]), FGSM("linf"), 0.1, tmp_path)


def test_signals_are_rows_of_numbers(tmp_path):
    signal = torch.rand(1, 2, 2)
    loaded = bundle([{"image": signal, "label": torch.zeros(1, dtype=torch.int64), "sample_id": ["p1.dat"]}])
    save_attacked_images(loaded, FGSM("linf"), 0.1, tmp_path / "out")
    found = np.loadtxt(tmp_path / "out" / "p1_noisy.csv", delimiter=",")
    assert np.abs(found - signal[0].numpy()).max() <= 0.1 + 1e-6


def test_under_a_perturbation_the_changed_signal_is_saved(tmp_path):
    signal = torch.tensor([[[0.0, 0.25, 0.5, 0.25]]])
    label = bundle([]).network(signal).argmax(1)
    loaded = bundle([{"image": signal, "label": label, "sample_id": ["p1.dat"]}])
    save_attacked_images(loaded, PGD(steps=4, restarts=1, perturbation=Gain()), 20.0, tmp_path / "out")
    found = np.loadtxt(tmp_path / "out" / "p1_noisy.csv", delimiter=",")
    factor = found[2] / 0.5
    np.testing.assert_allclose(found, factor * signal[0, 0].numpy(), atol=1e-6)
    assert 0.01 < abs(factor - 1) <= 0.2 + 1e-6


def test_the_dice_of_a_moved_object_is_against_the_moved_label(tmp_path):
    image = torch.zeros(1, 1, 9, 9)
    image[..., 2:5, 3:6] = 1
    network = nn.Conv2d(1, 2, 1)
    network.load_state_dict({"weight": torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1), "bias": torch.tensor([0.5, -0.5])})
    batches = [{"image": image, "label": image.long(), "sample_id": ["a.png"]}]
    loaded = replace(bundle(batches), network=network, criterion=DiceCriterion("lowest"))
    attack = UniformNoise(draws=1, criterion=DiceCriterion("lowest"), perturbation=Translation(spacing=1.0))
    (found,) = save_attacked_images(loaded, attack, 3.0, tmp_path / "out", seed=1)
    assert found.dice is not None
    clean, noisy = found.dice
    assert clean == 1.0
    assert 0.6 < noisy <= 1.0, "against the label that stayed it would be near 0"


def test_the_outcome_is_what_the_network_says_of_the_saved_signals(tmp_path):
    generator = torch.Generator().manual_seed(4)
    signals, labels = torch.rand(40, 1, 4, generator=generator), torch.randint(2, (40,), generator=generator)
    batches = [
        {"image": signals[k : k + 8], "label": labels[k : k + 8], "sample_id": [f"s{i}" for i in range(k, k + 8)]}
        for k in range(0, 40, 8)
    ]
    loaded = bundle(batches)
    weight = torch.tensor([1.0, 1.0, -1.0, -1.0])
    loaded.network[1].load_state_dict({"weight": torch.stack([weight, -weight]), "bias": torch.zeros(2)})
    images = save_attacked_images(loaded, FGSM("linf"), 0.1, tmp_path / "out")
    saved = np.stack([np.loadtxt(tmp_path / "out" / f"s{i}_noisy.csv", delimiter=",", ndmin=2) for i in range(40)])
    with torch.no_grad():
        before, after = (
            (loaded.network(x).argmax(1) == labels).tolist()
            for x in (signals, torch.from_numpy(saved).float().view(40, 1, 4))
        )
    assert [image.correct for image in images] == before
    assert [image.broken for image in images] == [b and not a for b, a in zip(before, after, strict=True)]
    broken = sum(image.broken for image in images)
    assert 0 < broken < sum(before) < 40
    assert _outcome(images, segments=False) == (
        f"{broken} of {sum(before)} correct answers became wrong ({40 - sum(before)} were wrong without noise and are "
        "saved as they are)"
    )
    assert save_attacked_images(loaded, FGSM("linf"), 0.1, tmp_path / "out") == images, "as they were noted"


def test_a_sample_without_a_label_is_neither_right_nor_wrong(tmp_path):
    generator = torch.Generator().manual_seed(4)
    signals, labels = torch.rand(8, 1, 4, generator=generator), torch.tensor([0, 1, -1, 0, 1, 0, -1, 1])
    loaded = bundle([{"image": signals, "label": labels, "sample_id": [f"s{k}" for k in range(8)]}])
    loaded = replace(loaded, criterion=ClassificationCriterion(ignore_index=-1))
    attack = PGD("linf", 5, 1, criterion=loaded.attack_criterion)
    images = save_attacked_images(loaded, attack, 0.3, tmp_path / "out")
    right = (loaded.network(signals).argmax(1) == labels).tolist()
    assert [image.correct for image in images] == [None if y == -1 else r for y, r in zip(labels, right, strict=True)]
    assert not any(image.broken for image in images if image.correct is None)
    wrong = 6 - sum(right)
    assert 0 < wrong < 6
    assert _outcome(images, segments=False) == (
        f"{sum(image.broken for image in images)} of {sum(right)} correct answers became wrong ({wrong} were wrong "
        "without noise and 2 have no label and are saved as they are)"
    )
    assert save_attacked_images(loaded, attack, 0.3, tmp_path / "out") == images, "as they were noted"


@pytest.mark.parametrize("background", [(True, True), (False, True)], ids=["both", "one"])
def test_a_segmentation_whose_labels_hold_no_foreground_has_no_dice_and_the_outcome_says_so(background, tmp_path):
    labels = torch.ones(2, 1, 4, 4, dtype=torch.int64)
    labels[list(background)] = 0
    image = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    loaded = bundle([{"image": image, "label": labels, "sample_id": ["a", "b"]}])
    loaded = replace(loaded, network=nn.Conv2d(1, 2, 1), criterion=DiceCriterion("lowest"))
    images = save_attacked_images(loaded, FGSM("linf", criterion=loaded.attack_criterion), 0.1, tmp_path / "out")
    assert [image.dice is None for image in images] == list(background)
    outcome = _outcome(images, loaded.segments)
    if all(background):
        assert outcome == "no Dice, none of their labels holds a foreground"
    else:
        assert re.fullmatch(
            r"mean Dice \d\.\d{3} without noise, \d\.\d{3} with it \(1 whose label holds no foreground left out\)",
            outcome,
        )


def load_scan(file: Path) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_filename(file)


@pytest.mark.parametrize("last", [[], [ToTensord("image")]], ids=["flipped back", "ToTensord forgets the flip"])
def test_volumes_are_saved_on_their_own_grid_or_it_is_said_that_they_are_not(last, tmp_path, caplog):
    """The noisy volume minus the noise is the scan as it is in its file, or as the network sees it."""
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    scan = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
    nib.save(nib.Nifti1Image(scan, affine), tmp_path / "scan.nii.gz")
    steps = [LoadImaged("image"), EnsureChannelFirstd("image"), Flipd("image", 0), *last]
    items = [{"image": str(tmp_path / "scan.nii.gz"), "label": 0, "sample_id": "scan.nii.gz"}]
    loader = DataLoader(Dataset(items, Compose(steps)), 1)
    save_attacked_images(bundle(loader, scan.size), FGSM("linf"), 0.1, tmp_path / "out")
    noisy, noise = (load_scan(tmp_path / "out" / f"scan_{name}.nii.gz") for name in ("noisy", "noise"))
    np.testing.assert_allclose(noisy.get_fdata() - noise.get_fdata(), scan[::-1] if last else scan, atol=1e-6)
    assert ("The transforms of small cannot be undone" in caplog.text) == bool(last)
    if not last:
        np.testing.assert_allclose(noisy.affine, affine)


def own_volumes(folder: Path, steps: list, items: dict) -> list[nib.Nifti1Image]:
    """The noisy volume and its noise that are saved of one scan of shape (6, 7, 4)."""
    loader = DataLoader(Dataset([{**items, "label": 0, "sample_id": "scan"}], Compose(steps)), 1)
    image = next(iter(loader))["image"]
    save_attacked_images(bundle(loader, image.numel()), FGSM("linf"), 0.1, folder / "out")
    return [load_scan(folder / "out" / f"scan_{name}.nii.gz") for name in ("noisy", "noise")]


@pytest.fixture
def scans(tmp_path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Two scans of one patient: their files and their values, (6, 7, 4) at 2 x 2 x 3 mm, left to right reversed."""
    values = {key: np.random.default_rng(k).random((6, 7, 4)).astype(np.float32) for k, key in enumerate(("t1", "t2"))}
    for key, value in values.items():
        nib.save(nib.Nifti1Image(value, AFFINE), tmp_path / f"{key}.nii.gz")
    return {key: str(tmp_path / f"{key}.nii.gz") for key in values}, values


AFFINE = np.diag([-2.0, 2.0, 3.0, 1.0])


def turned(*keys: str) -> list:
    """Transforms that lose no voxel: axes turned, borders added."""
    return [Orientationd(keys, "RAS"), SpatialPadd(keys, (8, 8, 8))]


@pytest.mark.parametrize("before", [True, False, None], ids=["before", "after", "one before and one after"])
def test_volumes_put_together_of_several_scans_are_saved_on_the_scans_grid(before, scans, tmp_path, caplog):
    files, values = scans
    both = ("t1", "t2")
    joined = ConcatItemsd(both, name="image")
    steps = {True: [*turned(*both), joined], False: [joined, *turned("image")]}.get(
        before, [turned(*both)[0], joined, turned("image")[1]]
    )
    noisy, noise = own_volumes(tmp_path, [LoadImaged(both), EnsureChannelFirstd(both), *steps], files)
    assert noisy.shape == (6, 7, 4, 2)
    np.testing.assert_allclose(noisy.affine, AFFINE)
    clean = noisy.get_fdata() - noise.get_fdata()
    np.testing.assert_allclose(clean, np.stack([values["t1"], values["t2"]], -1), atol=1e-6)
    assert "cannot be undone" not in caplog.text


def test_resampled_volumes_have_the_scans_shape_and_affine_whatever_their_key(scans, tmp_path, caplog):
    files, _ = scans
    both = ("t1", "t2")
    steps = [LoadImaged(both), EnsureChannelFirstd(both), Spacingd(both, (1.5, 1.5, 1.5)), SpatialPadd(both, (16,) * 3)]
    steps += [CenterSpatialCropd(both, (8, 8, 8)), CopyItemsd("t2", names="image")]
    noisy, noise = own_volumes(tmp_path, steps, files)
    for volume in (noisy, noise):
        assert volume.shape == (6, 7, 4)
        np.testing.assert_allclose(volume.affine, AFFINE)
    assert "cannot be undone" not in caplog.text


@pytest.mark.parametrize(
    ("last", "moves", "warned"),
    [
        (EnsureTyped("image", track_meta=False), True, True),
        (EnsureTyped("image", track_meta=False), False, False),
        (Lambdad("image", lambda image: image.as_tensor()), True, True),
        (Lambdad("image", lambda image: MetaTensor(image.as_tensor())), True, True),
    ],
    ids=["no MetaTensor", "nothing to undo", "as_tensor", "history lost"],
)
def test_an_image_that_lost_its_history_is_warned_of_if_it_was_moved(last, moves, warned, scans, tmp_path, caplog):
    files, _ = scans
    steps = [
        LoadImaged("t1"),
        EnsureChannelFirstd("t1"),
        *(turned("t1") if moves else []),
        ConcatItemsd(["t1"], "image"),
    ]
    noisy, _ = own_volumes(tmp_path, [*steps, last], files)
    assert noisy.shape == ((8, 8, 8) if moves else (6, 7, 4))
    assert ("The transforms of small cannot be undone" in caplog.text) == warned
    assert ("the image no longer knows what Orientationd, SpatialPadd did" in caplog.text) == warned


def test_a_history_that_no_transform_of_the_data_knows_is_warned_of(scans, tmp_path, caplog):
    files, _ = scans

    inner = Compose([LoadImaged("t1"), EnsureChannelFirstd("t1"), *turned("t1"), CopyItemsd("t1", names="image")])

    def load(item: dict) -> dict:
        return dict(inner(item))

    noisy, _ = own_volumes(tmp_path, [load], files)
    assert noisy.shape == (8, 8, 8)
    assert "The transforms of small cannot be undone (the data set has none that says how)" in caplog.text
