"""The bundles of Fashion-MNIST, SVHN and CIFAR-10 through MONAI's own tools, on small synthetic data."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runs import (
    SMALL,
    bundle_of,
    copy_bundle,
    load,
    open_small,
    options,
    read_metrics,
    read_rows,
    run_small,
    verify_and_export,
)
from conftest import REPO
from monai.bundle import ConfigWorkflow
from PIL import Image
from small_image_files import write_cifar10, write_cifar100, write_fashion_mnist, write_svhn

from monai_ima.__main__ import main
from monai_ima.data import CIFAR10_CLASSES, CIFAR100_CLASSES, FASHION_MNIST_CLASSES, SVHN_CLASSES, cifar10_datalist
from monai_ima.networks import FashionMNISTNet, SVHNNet
from monai_ima.utils.errors import root_cause

CLASSES = {"fashion_mnist": FASHION_MNIST_CLASSES, "svhn": SVHN_CLASSES, "cifar10": CIFAR10_CLASSES}
WRITERS = {"fashion_mnist": write_fashion_mnist, "svhn": write_svhn, "cifar10": write_cifar10}
SHAPES = {"fashion_mnist": (1, 28, 28), "svhn": (3, 32, 32), "cifar10": (3, 32, 32)}
NAMES = list(CLASSES)
NETS = {"fashion_mnist": FashionMNISTNet, "svhn": SVHNNet}
CIFAR = bundle_of("cifar10_classification")


@pytest.fixture(scope="module", params=NAMES)
def trained(request, tmp_path_factory) -> tuple[str, Path]:
    """A bundle's checkpoints after an epoch of IMA (CIFAR-10: after one of plain training) on small synthetic data."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp(request.param)
    built = run_small(request.param, ["train.json"], out)
    metrics = built.parser.get_parsed_content("train#trainer").state.metrics
    assert {"ima/margin_mean", "ima/loss_noisy", "train_accuracy"} <= set(metrics)
    return request.param, out


@pytest.mark.parametrize("name", NAMES)
def test_the_bundle_is_complete_and_its_settings_are_those_that_were_agreed_on(name):
    root, oct_bundle = bundle_of(f"{name}_classification"), REPO / "bundles" / "oct_classification_ima"

    def files(folder):
        found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.suffix != ".pt")
        return {path.as_posix() for path in found if path.parts[0] != "eval"}

    assert files(oct_bundle) <= files(root)
    assert (root / "LICENSE").read_text() == (REPO / "LICENSE").read_text()
    parser = open_small(name, ["train.json"], Path("unused")).parser
    keys = ("norm", "eps_max", "beta", "update", "update_interval", "bounds")
    settings = {key: parser.get_parsed_content(key) for key in keys}
    eps_max = {"fashion_mnist": 5.0, "svhn": 2.0, "cifar10": 3.0}[name]
    expected = {"norm": "l2", "eps_max": eps_max, "beta": 0.5, "update": "epoch", "update_interval": 1}
    assert settings == {**expected, "bounds": [0.0, 1.0]}
    assert parser["train#handlers#0#_target_"] == "monai_ima.handlers.IMAHandler"


@pytest.mark.parametrize("name", NETS)
def test_the_settings_are_those_of_the_paper(name, tmp_path):
    """Sections 3.2 and 3.3, which refer to 3.1; the paper gives no batch size."""
    parser = open_small(name, ["train.json"], tmp_path).parser
    config = json.loads((bundle_of(f"{name}_classification") / "configs" / "train.json").read_text())
    expected = {"epochs": 60, "learning_rate": 0.001, "beta": 0.5, "steps": 20, "margin_steps": 50, "binary_steps": 10}
    assert {key: config[key] for key in (*expected, "delta")} == {**expected, "delta": None}
    assert isinstance(parser.get_parsed_content("optimizer"), torch.optim.Adam)
    assert isinstance(parser.get_parsed_content("network"), NETS[name])


@pytest.mark.parametrize("name", NETS)
def test_images_of_another_size_are_refused_in_a_sentence(name, tmp_path):
    torch.save(NETS[name]().state_dict(), tmp_path / "model.pt")
    with pytest.raises(RuntimeError) as caught:
        run_small(name, ["inference.json"], tmp_path, ckpt_path=str(tmp_path / "model.pt"), image_size=20)
    channels, *size = SHAPES[name]
    expected = f"Got images of shape [30, {channels}, 20, 20], expected [B, {channels}, {size[0]}, {size[1]}]."
    assert str(root_cause(caught.value)) == expected


def test_training_leaves_best_and_last_checkpoint_and_margins(trained):
    name, out = trained
    last = load(out / "models" / "model_last.pt")
    scheduler = {"lr_scheduler"} if name == "cifar10" else set()
    assert set(last) == {"model", "optimizer", "trainer", "margins", "best", "random_states"} | scheduler
    assert len(last["margins"]["ids"]) == 40
    assert last["margins"]["ids"][0] == "synthetic-train-00000"
    assert load(out / "models" / "model.pt").keys() == last["model"].keys()
    assert (out / "models" / "model_margins.pt").is_file()
    assert list(out.glob("events.out.tfevents*"))


def test_evaluation_and_inference_agree_on_synthetic_data_and_on_picture_files(trained, tmp_path):
    name, out = trained
    weights = {"ckpt_path": str(out / "models" / "model_last.pt")}
    run_small(name, ["evaluate.json"], tmp_path, eval_steps=2, **weights)
    clean, robust = (read_metrics(tmp_path / kind / "metrics.csv") for kind in ("clean", "robust"))
    assert clean["accuracy"] >= robust["robust_accuracy"]
    assert set(robust) == {"robust_accuracy", "robust_balanced_accuracy"}
    run_small(name, ["inference.json"], tmp_path, **weights)
    synthetic = read_rows(tmp_path / "predictions.csv")
    built = open_small(name, ["evaluate.json"], tmp_path, **weights)
    items = built.parser.get_parsed_content("datalist")["test"]
    label = {item["sample_id"]: CLASSES[name][item["label"]] for item in items}
    assert [row["sample_id"] for row in synthetic] == sorted(label)
    right = sum(row["predicted"] == label[row["sample_id"]] for row in synthetic) / 30
    assert right == pytest.approx(clean["accuracy"])
    folder = tmp_path / "pictures" / "deep"
    folder.mkdir(parents=True)
    for item in items:
        Image.fromarray(item["image"].transpose(1, 2, 0).squeeze()).save(folder / f"{item['sample_id']}.png")
    run_small(name, ["inference.json"], tmp_path / "p", dataset_dir=str(folder.parent), **weights)
    pictures = read_rows(tmp_path / "p" / "predictions.csv")
    for picture, row in zip(pictures, synthetic, strict=True):
        assert picture["sample_id"] == f"deep/{row['sample_id']}.png"
        probabilities = [float(picture[key]) for key in CLASSES[name]]
        assert probabilities == [float(row[key]) for key in CLASSES[name]]
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert picture["predicted"] == CLASSES[name][int(np.argmax(probabilities))]


def test_pictures_of_another_size_and_kind_are_cropped_and_scaled(trained, tmp_path):
    name, out = trained
    folder = tmp_path / "pictures"
    folder.mkdir()
    for mode, file in (("RGBA", "a.png"), ("L", "b.jpg"), ("P", "c.png")):
        Image.effect_noise((90, 60), 80).convert(mode).save(folder / file)
    settings = {"ckpt_path": str(out / "models" / "model_last.pt"), "dataset_dir": str(folder)}
    run_small(name, ["inference.json"], tmp_path, **settings)
    assert [row["sample_id"] for row in read_rows(tmp_path / "predictions.csv")] == ["a.png", "b.jpg", "c.png"]


def test_monai_verifies_and_exports_the_network(trained, tmp_path):
    name, out = trained
    root, weights = bundle_of(f"{name}_classification"), out / "models" / "model.pt"
    exported = verify_and_export(root, tmp_path / "model.ts", weights, **SMALL[name])
    image = torch.rand(2, *SHAPES[name])
    network = open_small(name, ["train.json"], tmp_path).parser.get_parsed_content("network_def")
    network.load_state_dict(load(weights))
    assert torch.allclose(exported(image), network.eval()(image), atol=1e-6)


def test_cifar10_goes_on_from_plain_trained_weights_without_plain_epochs(tmp_path):
    run_small("cifar10", ["train.json", "train_ce.json"], tmp_path / "plain", plain_epochs=0)
    start = tmp_path / "plain" / "models" / "model_ce.pt"
    config = str(CIFAR / "configs" / "train.json")
    for given, plain_epochs, learning_rate in ((None, 60, 0.1), (str(start), 0, 0.01)):
        parser = ConfigWorkflow(config_file=config, logging_file=False, start=given).parser
        assert parser.get_parsed_content("plain_epochs") == plain_epochs
        assert parser.get_parsed_content("learning_rate") == learning_rate
    run_small("cifar10", ["train.json"], tmp_path / "ima", start=str(start), plain_epochs=0, learning_rate=0)
    weights, first = (load(file) for file in (tmp_path / "ima" / "models" / "model_last.pt", start))
    assert torch.equal(weights["model"]["stem.weight"], first["stem.weight"])
    other = open_small("cifar10", ["train.json"], tmp_path, start=str(start), **{"network_def#depth": 16})
    with pytest.raises(RuntimeError) as caught:
        other.initialize()
    assert "model_ce.pt is of another network" in str(caught.value.__cause__)


CIFAR100 = {"classes": 100, "phantom_per_class": {"train": 1, "val": 1, "test": 1}}


@pytest.fixture(scope="module")
def trained_cifar100(tmp_path_factory) -> Path:
    """CIFAR-100's last weights after an epoch of plain training and one of IMA on small synthetic data."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("cifar100")
    run_small("cifar10", ["train.json"], out, **CIFAR100)
    return out / "models" / "model_last.pt"


def test_with_classes_100_the_cifar_bundle_trains_a_network_of_100_logits(trained_cifar100):
    last = load(trained_cifar100)
    assert last["model"]["head.4.weight"].shape[0] == 100
    assert last["margins"]["ids"] == [f"synthetic-train-{k:05d}" for k in range(100)]


def test_cifar100_is_evaluated_and_its_probabilities_bear_its_class_names(trained_cifar100, tmp_path):
    weights = {"ckpt_path": str(trained_cifar100), **CIFAR100}
    run_small("cifar10", ["evaluate.json"], tmp_path, eval_steps=2, **weights)
    run_small("cifar10", ["inference.json"], tmp_path, **weights)
    rows = read_rows(tmp_path / "predictions.csv")
    assert tuple(rows[0]) == ("sample_id", *CIFAR100_CLASSES, "predicted")
    correct = [row["predicted"] == CIFAR100_CLASSES[k] for k, row in enumerate(rows)]
    values = read_metrics(tmp_path / "clean" / "metrics.csv")
    assert sum(correct) / 100 == pytest.approx(values["accuracy"])


def test_robustness_of_cifar100_is_measured_from_the_command_line(trained_cifar100, tmp_path, capsys):
    common = ["evaluate", "--bundle", str(CIFAR), "--checkpoint", str(trained_cifar100)]
    common += [
        "--levels",
        "0,0.5",
        "--norm",
        "l2",
        "--attack",
        "pgd2",
        "--cases",
        "2",
        *options({**SMALL["cifar10"], **CIFAR100}),
    ]
    assert main([*common, "--out", str(tmp_path / "r")]) == 0, capsys.readouterr().err
    found = json.loads((tmp_path / "r" / "results.json").read_text())
    assert sorted(sample["label"] for sample in found["samples"]) == list(range(100))
    assert tuple(found["accuracy_by_class"]) == CIFAR100_CLASSES
    capsys.readouterr()
    for classes, words in [
        ("10", f"Checkpoint {trained_cifar100} is of another network"),
        ("20", "Got classes 20, expected 10 (CIFAR-10) or 100 (CIFAR-100)."),
    ]:
        assert main([*common, "--classes", classes, "--out", str(tmp_path / "s")]) == 2
        error = capsys.readouterr().err
        assert error.splitlines()[-1].startswith(words)
    assert not (tmp_path / "s").exists()


def test_cifar100s_network_is_exported_to_torchscript(trained_cifar100, tmp_path):
    settings = {**SMALL["cifar10"], **CIFAR100, "key_in_ckpt": "model"}
    exported = verify_and_export(CIFAR, tmp_path / "a.ts", trained_cifar100, **settings)
    assert exported(torch.rand(2, 3, 32, 32)).shape == (2, 100)


@pytest.mark.parametrize(
    "files", [["train.json"], ["train.json", "train_ce.json"], ["evaluate.json"], ["inference.json"]]
)
def test_every_cifar_config_refuses_other_numbers_of_classes_before_it_runs(files, tmp_path):
    for classes in (20, 0, "100"):
        built = open_small("cifar10", files, tmp_path, classes=classes)
        begin = built.initialize if files[0] == "train.json" else built.run
        with pytest.raises(RuntimeError) as caught:
            begin()
        assert "expected 10 (CIFAR-10) or 100 (CIFAR-100)" in str(root_cause(caught.value))
    assert not list(tmp_path.iterdir())


def test_cifar_files_are_read_by_classes_and_the_other_set_is_named(tmp_path):
    folders = {10: write_cifar10(tmp_path / "ten"), 100: write_cifar100(tmp_path / "hundred")}
    for classes, folder in folders.items():
        for file in ("train.json", "evaluate.json"):
            settings = {"classes": classes, "dataset_dir": str(folder), "val_count": classes}
            found = open_small("cifar10", [file], tmp_path, **settings).parser.get_parsed_content("datalist")
            assert {item["label"] for item in found["test"]} == set(range(classes))
    built = open_small("cifar10", ["train.json"], tmp_path, dataset_dir=str(folders[10]), classes=100)
    with pytest.raises(RuntimeError) as caught:
        built.initialize()
    assert "has no train, test, meta, expected train, test, meta of CIFAR-100" in str(root_cause(caught.value))


def test_the_cifar_metadata_name_the_classes_of_both_sets():
    metadata = json.loads((CIFAR / "configs" / "metadata.json").read_text())
    ten, hundred = metadata["label_classes"].split("; with --classes 100: ")
    for classes, words in ((CIFAR10_CLASSES, ten), (CIFAR100_CLASSES, hundred)):
        assert words == ", ".join(f"{k} {name}" for k, name in enumerate(classes))


def test_cifar10_training_images_are_moved_and_mirrored_and_validation_images_are_not(tmp_path):
    parser = open_small("cifar10", ["train.json"], tmp_path).parser
    item = cifar10_datalist(None, 1)["train"][0]
    image = torch.from_numpy(item["image"]) / 255
    assert torch.allclose(parser.get_parsed_content("validate#preprocessing")(item)["image"], image)
    padded = torch.nn.functional.pad(image, [4] * 4)
    views = {(y, x): padded[:, y : y + 32, x : x + 32] for y in range(9) for x in range(9)}
    transform = parser.get_parsed_content("train#preprocessing").set_random_state(0)
    seen = set()
    for _ in range(40):
        found = transform(item)["image"]
        assert type(found) is torch.Tensor
        assert found.shape == (3, 32, 32)
        places = [
            (place, turned)
            for place, view in views.items()
            for turned in (False, True)
            if torch.equal(found, view.flip(-1) if turned else view)
        ]
        assert places
        seen.update(places)
    assert {turned for _, turned in seen} == {False, True}
    assert len({place for place, _ in seen}) > 20


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_of_files_is_read(name, tmp_path, caplog):
    folder = WRITERS[name](tmp_path / "data")
    settings = {"dataset_dir": str(folder), "val_count": 10, "subset": 20}
    with caplog.at_level(logging.WARNING):
        found = open_small(name, ["train.json"], tmp_path, **settings).parser.get_parsed_content("datalist")
        tested = open_small(name, ["evaluate.json"], tmp_path, test_subset=10, **settings).parser
    assert {split: len(items) for split, items in found.items()} == {"train": 20, "val": 10, "test": 20}
    assert len(tested.get_parsed_content("dataset")) == 10
    assert "SYNTHETIC" not in caplog.text


def test_robustness_is_measured_from_the_command_line(trained, tmp_path, capsys):
    name, out = trained
    common = ["--bundle", str(copy_bundle(f"{name}_classification", tmp_path / "bundle")), *options(SMALL[name])]
    common += ["--checkpoint", str(out / "models" / "model.pt"), "--norm", "l2", "--attack", "pgd2"]
    command = ["evaluate", *common, "--cases", "2", "--levels", "0,0.5", "--out", str(tmp_path / "r")]
    assert main(command) == 0, capsys.readouterr().err
    found = json.loads((tmp_path / "r" / "results.json").read_text())
    assert found["data"]["synthetic"]
    assert set(found["accuracy_by_class"]) == set(CLASSES[name])
    assert len(found["samples"]) == 30
    command = ["attack", *common, "--eps", "0.5", "--out", str(tmp_path / "a")]
    assert main(command) == 0, capsys.readouterr().err
    pictures = sorted((tmp_path / "a").glob("*_noisy.png"))
    test = open_small(name, ["evaluate.json"], tmp_path).parser.get_parsed_content("datalist")["test"]
    clean = {item["sample_id"]: np.asarray(item["image"], dtype=float) for item in test}
    assert len(pictures) == 30
    distances = []
    for picture in pictures:
        noisy = np.asarray(Image.open(picture), dtype=float)
        before = clean[picture.name.removesuffix("_noisy.png")].reshape(-1, *noisy.shape[:2])
        distances.append(np.linalg.norm((np.moveaxis(noisy, -1, 0) if noisy.ndim == 3 else noisy) - before) / 255)
    assert 0.1 < max(distances) < 0.6


def test_the_real_fashion_mnist_trains(real_data, tmp_path):
    settings = {"dataset_dir": str(real_data), "val_count": 50, "subset": 100, "batch_size": 50}
    built = run_small("fashion_mnist", ["train.json"], tmp_path, **settings)
    assert len(built.parser.get_parsed_content("train#dataset")) == 100
    assert load(tmp_path / "models" / "model_last.pt")["margins"]["ids"][0].startswith("train-")
