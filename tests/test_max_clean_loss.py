"""``monai-ima harden --max_clean_loss``: the largest eps_max of a short search that keeps the clean metric.

The bundle's network is linear and its two classes are 2 x 0.3 apart, eight images of one and four of the other. Where
the ball is smaller than 0.3 a linear network can be right on all of it; where it is larger the worst images of the
classes change places, the best robust network is constant, and clean accuracy falls to the larger class's 8 / 12.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from last_words import only_sentence
from monai.utils import set_determinism
from test_harden import fingerprint, harden
from torch import nn
from wild_bundles import part, zoo_classification

from monai_ima.harden.search import Tried, largest_kept

DISTANCE = 0.3
SIZE = 4
COUNTS = {0: 8, 1: 4}
EPOCHS, LR = 10, 0.1
SEARCH = ("--method", "pgd", "--beta", 1, "--eps_max", 0.8, "--steps", 3, "--search_epochs", EPOCHS)


def images() -> tuple[torch.Tensor, torch.Tensor]:
    """Images in 0 .. 1 and their classes."""
    draw = np.random.default_rng(0)
    labels = [label for label, count in COUNTS.items() for _ in range(count)]
    values = [0.5 + DISTANCE * (2 * label - 1) + draw.uniform(-0.01, 0.01, (1, SIZE, SIZE)) for label in labels]
    return torch.tensor(np.array(values), dtype=torch.float32), torch.tensor(labels)


def network() -> nn.Sequential:
    """That puts the border half way between the classes."""
    linear = nn.Linear(SIZE**2, 2)
    with torch.no_grad():
        linear.weight[:] = torch.tensor([[-0.125], [0.125]])
        linear.bias[:] = torch.tensor([1.0, -1.0])
    return nn.Sequential(nn.Flatten(), linear)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    root = tmp_path / "linear"
    zoo_classification(root)
    for file in (root / "data").iterdir():
        file.unlink()
    for k, (image, label) in enumerate(zip(*images(), strict=True)):
        np.save(root / "data" / f"{int(label)}_{k:02d}.npy", 255 * image.numpy())
    config = json.loads((root / "configs" / "train.json").read_text())
    config["imports"].append("$import torch")
    config["network_def"] = f"$torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear({SIZE**2}, 2))"
    config["loss"] = part("torch.nn.CrossEntropyLoss")
    config["optimizer"] = part("torch.optim.SGD", params="$@network.parameters()", lr=LR)
    config["train"]["dataloader"]["batch_size"] = config["validate"]["dataloader"]["batch_size"] = sum(COUNTS.values())
    (root / "configs" / "train.json").write_text(json.dumps(config))
    torch.save(network().state_dict(), root / "models" / "model.pt")
    return root


def clean_accuracy(eps: float) -> float:
    """After gradient descent from the same start on the worst images of the balls, which a linear network has in closed
    form: each pixel as far as it may go against the label."""
    image, label = images()
    trained = network()
    optimizer = torch.optim.SGD(trained.parameters(), lr=LR)
    for _ in range(EPOCHS):
        weight = trained[1].weight.detach()
        against = (weight[1 - label] - weight[label]).sign().view_as(image)
        optimizer.zero_grad()
        nn.functional.cross_entropy(trained((image + eps * against).clamp(0, 1)), label).backward()
        optimizer.step()
    return float((trained(image).argmax(1) == label).float().mean())


def table(root: Path) -> dict[float, tuple[float, float]]:
    """Clean metric and loss by eps_max."""
    with open(root / "configs" / "train_pgd_search.csv", newline="") as file:
        return {float(r["eps_max"]): (float(r["clean_metric"]), float(r["loss"])) for r in csv.DictReader(file)}


def test_the_largest_eps_that_keeps_the_clean_metric_is_written(bundle, capsys):
    before = fingerprint(bundle)
    assert harden(bundle, *SEARCH, "--max_clean_loss", 0.1) == 0
    out = capsys.readouterr().out
    overlay = json.loads((bundle / "configs" / "train_pgd.json").read_text())
    found = table(bundle)
    assert list(found) == [0, 0.8, 0.4, 0.2]  # 0.1 need not be tried
    assert overlay["harden"]["eps_max"] == 0.2 < DISTANCE < 0.4
    for eps, (metric, loss) in found.items():
        assert metric == pytest.approx(clean_accuracy(eps), abs=1e-6)
        assert loss == pytest.approx(found[0][0] - metric, abs=1e-5)
    assert found[0.4] == pytest.approx((8 / 12, 4 / 12), abs=1e-5)
    assert overlay["harden"]["val_eps"] == 0.1
    assert "0.2  clean metric 1.0000, loss 0.0000 <- chosen" in out
    new = {"configs/train_pgd.json", "configs/train_pgd_search.csv"}
    assert {name: value for name, value in fingerprint(bundle).items() if name not in new} == before


def test_a_limit_of_1_takes_the_largest_and_tries_no_other(bundle):
    assert harden(bundle, *SEARCH[:-1], 2, "--max_clean_loss", 1.0) == 0
    assert list(table(bundle)) == [0, 0.8]
    assert json.loads((bundle / "configs" / "train_pgd.json").read_text())["harden"]["eps_max"] == 0.8


def test_a_limit_that_nothing_meets_is_refused_and_nothing_is_written(bundle, capsys):
    before = fingerprint(bundle)
    arguments = [*SEARCH, "--max_clean_loss", 0.1]
    arguments[arguments.index(0.8)] = 6.4
    assert harden(bundle, *arguments) == 2
    captured = capsys.readouterr()
    sentence = only_sentence(captured.err)
    assert sentence.startswith("No eps_max loses at most 0.1 of the clean metric 1.0000 (6.4 loses 0.3333, ")
    assert "0.8 loses 0.3333), expected a larger --max_clean_loss" in sentence
    assert captured.out.count("clean metric") == 5
    assert fingerprint(bundle) == before


def test_the_search_is_the_same_whatever_the_random_state_is(bundle):
    tables = []
    for seed in (1, 2):
        set_determinism(seed)
        assert harden(bundle, *SEARCH[:-1], 5, "--max_clean_loss", 0.0, "--seed", 0) in (0, 2)
        file = bundle / "configs" / "train_pgd_search.csv"
        tables.append(file.read_text())
        for name in ("train_pgd.json", "train_pgd_search.csv"):
            (bundle / "configs" / name).unlink()
    set_determinism(None)
    assert tables[0] == tables[1]


def test_a_dry_run_searches_and_writes_nothing(bundle, capsys):
    before = fingerprint(bundle)
    assert harden(bundle, *SEARCH[:-1], 1, "--max_clean_loss", 1, "--dry_run") == 0
    assert "<- chosen" in capsys.readouterr().out
    assert fingerprint(bundle) == before


def test_without_trained_weights_the_search_is_refused(bundle, capsys):
    (bundle / "models" / "model.pt").unlink()
    assert harden(bundle, *SEARCH, "--max_clean_loss", 0.1) == 2
    assert "searches from trained weights, expected BUNDLE/models/model.pt or --pretrained" in capsys.readouterr().err


def test_a_table_of_an_earlier_search_is_not_written_over(bundle, capsys):
    (bundle / "configs" / "train_pgd_search.csv").touch()
    assert harden(bundle, *SEARCH, "--max_clean_loss", 0.1) == 2
    assert "train_pgd_search.csv exists, expected a bundle without it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--max_clean_loss", -0.1], "max_clean_loss -0.1"),
        (["--max_clean_loss", "nan"], "max_clean_loss"),
        (["--max_clean_loss", "much"], "max_clean_loss 'much'"),
        (["--max_clean_loss", 0.1, "--search_epochs", 0], "search_epochs 0"),
        (["--search_epochs", 3], "--search_epochs is for --max_clean_loss"),
        (["--max_clean_loss", 0.1, "--optimiser#lr", 1], "expected --optimizer#lr"),
    ],
)
def test_a_bad_option_of_the_search_is_refused_in_one_sentence(bundle, capsys, options, expected):
    assert harden(bundle, *options) == 2
    sentence = only_sentence(capsys.readouterr().err)
    assert expected in sentence


def test_a_metric_that_is_no_number_never_qualifies():
    tried = [Tried(0.0, 0.9, 0.0), Tried(0.2, float("nan"), float("nan")), Tried(0.1, 0.9, 0.0)]
    assert largest_kept(tried, 1.0) == 0.1
    assert largest_kept(tried[:2], 1.0) is None
