"""Small trained networks and folders of scans and pictures, SYNTHETIC, for the tests of evaluations from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.data import DataLoader, Dataset
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, ScaleIntensityRanged
from PIL import Image
from torch import nn

from monai_ima.data import image_label_pairs

UNET: dict[str, Any] = {
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 2,
    "channels": [4, 8],
    "strides": [2],
    "num_res_units": 0,
}
SCALE = "-100:200"


def write_scans(root: Path, count: int = 4, size: int = 12, suffix: str = ".nii.gz") -> tuple[Path, Path]:
    """Scans with a box that is brighter than its noisy surroundings, and the maps of the boxes."""
    draw = np.random.default_rng(0)
    folders = root / "scans", root / "masks"
    for folder in folders:
        folder.mkdir(parents=True)
    for k in range(count):
        label = np.zeros((size, size, size), np.uint8)
        label[2 + k % 3 : 8 + k % 3, 3:9, 2:8] = 1
        image = draw.normal(0, 15, label.shape) + 60 * label
        for folder, values in zip(folders, (image.astype(np.float32), label), strict=True):
            nib.save(nib.Nifti1Image(values, np.diag([2, 1, 1, 1])), folder / f"case{k}{suffix}")
    return folders


def scan_loader(images: Path, labels: Path) -> DataLoader:
    """What ``--scale -100:200`` stands for, written by hand."""
    both = ["image", "label"]
    steps = [
        LoadImaged(keys=both),
        EnsureChannelFirstd(keys=both),
        ScaleIntensityRanged(keys="image", a_min=-100, a_max=200, b_min=0, b_max=1, clip=True),
    ]
    return DataLoader(Dataset(image_label_pairs(images, labels), Compose(steps)), batch_size=1)


def train_unet(loader: DataLoader, epochs: int = 12) -> UNet:
    """A plain training that is short, but not trivial."""
    torch.manual_seed(0)
    network = UNet(**UNET)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    loss_function = DiceCELoss(to_onehot_y=True, softmax=True)
    for _ in range(epochs):
        for batch in loader:
            optimizer.zero_grad()
            loss_function(network(batch["image"].as_tensor()), batch["label"].as_tensor()).backward()
            optimizer.step()
    return network.eval()


def write_pictures(root: Path, count: int = 6, suffix: str = ".png", size: tuple[int, int] = (8, 6)) -> Path:
    """Pictures, dark or bright, with the table ``labels.csv`` of which they are and of whom."""
    draw = np.random.default_rng(0)
    root.mkdir(parents=True)
    rows = ["image,label,patient"]
    for k in range(count):
        values = draw.normal(70 + 110 * (k % 2), 20, size[::-1]).clip(0, 255).astype(np.uint8)
        Image.fromarray(values).save(root / f"p{k}{suffix}")
        rows.append(f"p{k}{suffix},{('dark', 'bright')[k % 2]},{k // 2}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root


class Brightness(nn.Module):
    """Tells bright pictures (class 0, of the names the first) from dark ones, half the range apart."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(8.0))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        value = self.scale * (image.mean(dim=[1, 2, 3]) - 0.5)
        return torch.stack([value, -value], 1)


class WithoutGradient(nn.Module):
    """The same, without a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Brightness()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return self.network(image)
