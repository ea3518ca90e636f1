"""The Python that README and docs show is run as it stands there, block after block of a document, on tiny networks."""

from __future__ import annotations

import re

import pytest
import torch
from conftest import REPO
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from torch import nn

DOCUMENTS = {
    "README.md": ["trainer", "result"],
    "docs/perturbations.md": ["result"],
    "docs/segmentation.md": ["trainer"],
    "docs/howto/loop.md": ["scalars"],
    "docs/howto/robustness.md": ["results", "table", "one"],
}
"""Each document with the names that its blocks must have defined in the end."""

ELSEWHERE = {
    "docs/howto/federated.md": "test_federated.py",
    "docs/howto/nnunet.md": "test_nnunet.py",
    "docs/howto/script.md": "test_script_page.py",
}
"""Documents whose Python a test file of their own runs."""


def python_blocks(document: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (REPO / document).read_text(encoding="utf-8"), re.DOTALL)


def classifier() -> dict:
    image = torch.rand(8, 1, 4, 4)
    items = [{"image": x, "label": k % 2, "sample_id": f"s{k}"} for k, x in enumerate(image)]
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    batch = {"image": image, "label": torch.tensor([k % 2 for k in range(8)]), "eps": 0.1}
    hardened = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    return {**names(network, items), "hardened_network": hardened, "loss_function": nn.CrossEntropyLoss(), **batch}


def segmentation() -> dict:
    network = UNet(2, 1, 2, (4, 8), (2,))
    items = []
    for k, image in enumerate(torch.rand(4, 1, 8, 8)):
        label = torch.zeros(1, 8, 8, dtype=torch.long)
        label[0, 2:6, 2:6] = 1
        items.append({"image": image + label, "label": label, "sample_id": f"s{k}"})
    known = names(network, items)
    known["evaluator"] = SupervisedEvaluator("cpu", known["loader"], network)
    return {**known, "loss_function": DiceCELoss(softmax=True, to_onehot_y=True)}


def names(network, items) -> dict:
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    loader = DataLoader(Dataset(items), batch_size=4)
    return {"device": "cpu", "epochs": 2, "loader": loader, "network": network, "optimizer": optimizer}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_python_that_a_document_shows_runs(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    known = segmentation() if "segmentation" in document else classifier()
    blocks = python_blocks(document)
    assert blocks
    for block in blocks:
        exec(block, known)
    for name in DOCUMENTS[document]:
        assert name in known
    if "trainer" in known:
        known["trainer"].run()
        assert known["trainer"].state.epoch == 2
        assert list((tmp_path / "models").glob("*.pt"))


def test_no_document_with_python_is_forgotten():
    shown = [path for path in [REPO / "README.md", *(REPO / "docs").rglob("*.md")] if "```python" in path.read_text()]
    assert sorted(str(path.relative_to(REPO)) for path in shown) == sorted([*DOCUMENTS, *ELSEWHERE])
    for document, test in ELSEWHERE.items():
        assert document in (REPO / "tests" / test).read_text()
