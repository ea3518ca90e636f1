"""BoundaryNoised: an image becomes its boundary sample, against the closed form of a linear network."""

from __future__ import annotations

import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from torch import nn

from monai_ima.criteria import DiceCriterion
from monai_ima.margins import MarginTable
from monai_ima.transforms import BoundaryNoised


@pytest.fixture
def linear():
    """A two-class linear network, images with metadata, and their L2 distances from the boundary."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(12, 2))
    image = torch.randn(20, 1, 3, 4)
    w, b = network[2].weight[1] - network[2].weight[0], network[2].bias[1] - network[2].bias[0]
    signed = ((image.flatten(1) @ w + b) / w.norm()).detach()
    affine = torch.diag(torch.tensor([1.0, 2.0, 1.0, 1.0]))
    data = [
        {
            "image": MetaTensor(image[k], affine=affine, meta={"filename_or_obj": f"/data/case{k}.nii.gz"}),
            "label": int(signed[k] > 0),
            "sample_id": f"case{k}",
        }
        for k in range(20)
    ]
    return network, data, signed.abs()


def test_images_within_eps_of_the_boundary_end_on_it_and_keep_their_metadata(linear):
    network, data, distance = linear
    eps = float(distance.median()) * 1.001
    for k, item in enumerate(Dataset(data, BoundaryNoised("image", network, eps, steps=40, binary_steps=30))):
        assert item["on_boundary"] == bool(distance[k] < eps)
        noise = (item["image"] - data[k]["image"]).norm().item()
        assert noise == pytest.approx(item["boundary_distance"], rel=1e-5)
        assert noise <= eps * (1 + 1e-5)
        if item["on_boundary"]:
            gap = network.eval()(torch.as_tensor(item["image"])[None]).detach().diff(dim=1).abs().item()
            assert gap < 1e-4
            assert noise >= float(distance[k]) * (1 - 1e-4)
        assert isinstance(item["image"], MetaTensor)
        assert torch.equal(item["image"].affine, data[k]["image"].affine)
        assert item["image"].meta["filename_or_obj"] == f"/data/case{k}.nii.gz"
    network.train()
    next(iter(DataLoader(Dataset(data, BoundaryNoised("image", network, eps)), batch_size=5)))
    assert network.training
    assert network[1].training


def test_a_margin_table_gives_every_scan_its_own_radius(linear):
    network, data, _ = linear
    table = MarginTable(1.0, 0.001)
    for k in range(19):
        table[f"case{k}"] = 0.001 * (k + 1)
    noised = BoundaryNoised("image", network, table, norm="linf", steps=10)
    for k in (0, 7, 18):
        assert noised(data[k])["boundary_distance"] <= 0.001 * (k + 1) + 1e-6
    assert noised(data[18])["boundary_distance"] > 0.001 * 5
    with pytest.raises(ValueError, match="'case19' has no margin"):
        noised(data[19])


def test_a_segmentation_is_moved_to_its_threshold():
    network = nn.Conv3d(1, 2, 1)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1, 1))
        network.bias.zero_()
    label = torch.zeros(1, 6, 6, 6)
    label[:, 2:5, 2:5, 2:5] = 1
    item = {"image": label * 2 - 1 + 0.1 * torch.randn_like(label), "label": label, "sample_id": "a"}
    noised = BoundaryNoised("image", network, 20.0, criterion=DiceCriterion(0.7), steps=30, binary_steps=20)
    out = noised(item)
    assert out["on_boundary"]
    score = DiceCriterion(0.7).score(network(out["image"][None]), label[None]).item()
    assert 0.7 <= score < 0.78
    wrong = {**item, "image": -item["image"]}
    with pytest.raises(ValueError, match=r"'a' is misclassified before the attack .* has no boundary"):
        noised(wrong)
    left = BoundaryNoised("image", network, 20.0, criterion=DiceCriterion(0.7), allow_wrong=True)(wrong)
    assert torch.equal(left["image"], wrong["image"])
    assert not left["on_boundary"]


def test_it_refuses_to_run_without_a_label_or_with_bad_arguments(linear):
    network, data, _ = linear
    noised = BoundaryNoised("image", network, 0.1)
    with pytest.raises(ValueError, match="'case0' has no label under 'label'"):
        noised({key: value for key, value in data[0].items() if key != "label"})
    with pytest.raises(ValueError, match=r"'/data/case0.nii.gz' has label 5"):
        noised({"image": data[0]["image"], "label": 5})
    with pytest.raises(ValueError, match="has an image with NaN"):
        noised({**data[0], "image": data[0]["image"] * float("nan")})
    with pytest.raises(ValueError, match="expected one, of the network"):
        BoundaryNoised(["image", "label"], network, 0.1)
    with pytest.raises(ValueError, match="expected a number > 0 or a MarginTable"):
        BoundaryNoised("image", network, 0.0)
