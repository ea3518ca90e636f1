"""A result belongs to one network and one data set, a folder to one run, and an interrupted run to both."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from monai_ima.attacks import PGD
from monai_ima.criteria import ClassificationCriterion
from monai_ima.evaluation import attacked_images, evaluate
from monai_ima.evaluation.attacked_images import save_attacked_images
from monai_ima.evaluation.fingerprint import data_digest
from monai_ima.evaluation.loaded import LoadedBundle
from monai_ima.evaluation.pipeline import evaluate_loaded
from monai_ima.harden.loading import load_bundle
from monai_ima.report import build_report
from monai_ima.report.markdown import markdown
from monai_ima.results.provenance import commit, has_other_weights
from monai_ima.results.records import AttackedImage
from monai_ima.results.run_folder import check_folder, one_writer, start_folder
from monai_ima.results.schema import Results
from monai_ima.results.settings import EvaluationSettings
from monai_ima.utils.weights import load_weights, weights_digest

BUNDLE = Path(__file__).resolve().parent.parent / "bundles" / "fashion_mnist_classification_ima"


def problem(seed: int = 0, labels=(0, 1, 0, 1, 0, 1)) -> LoadedBundle:
    """A linear network of two classes on six signals, in batches of two."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Flatten(), nn.Linear(5, 2))
    signals = torch.rand(6, 1, 5, generator=torch.Generator().manual_seed(7))
    batches = [
        {
            "image": signals[k : k + 2],
            "label": torch.tensor(labels[k : k + 2]),
            "sample_id": [f"s{k}", f"s{k + 1}"],
        }
        for k in (0, 2, 4)
    ]
    return LoadedBundle(
        name="linear",
        network=network.eval(),
        data_loader=batches,
        prepare_batch=lambda batch, device: (batch["image"], batch["label"]),
        inferer=lambda image, call, *args, **kwargs: call(image),
        device=torch.device("cpu"),
        bounds=None,
        criterion=None,
        classes=["a", "b"],
        checkpoint=None,
        synthetic=True,
        metadata={},
    )


def settings(out: Path, **changes) -> EvaluationSettings:
    return EvaluationSettings(levels=(0.1,), attack="pgd5x1", out=str(out), **changes)


def interrupted(out: Path, loaded: LoadedBundle, monkeypatch) -> None:
    """An evaluation that ends before its results are written."""
    with monkeypatch.context() as patch:
        patch.setattr(Results, "write", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            evaluate_loaded(settings(out), loaded)
    assert not (out / "results.json").exists()


def test_an_interrupted_evaluation_goes_on_only_with_the_same_weights(tmp_path, monkeypatch):
    interrupted(tmp_path / "a", problem(), monkeypatch)
    with pytest.raises(FileExistsError, match="other weights of the network \\(weights_sha256 "):
        evaluate_loaded(settings(tmp_path / "a"), problem(seed=1))
    resumed = evaluate_loaded(settings(tmp_path / "a"), problem())
    whole = evaluate_loaded(settings(tmp_path / "b"), problem())
    assert resumed.samples == whole.samples
    assert resumed.model.sha256 == whole.model.sha256 == weights_digest(problem().network)


@pytest.mark.parametrize("change", ["label", "id", "size"])
def test_an_interrupted_evaluation_goes_on_only_with_the_same_data(change, tmp_path, monkeypatch):
    interrupted(tmp_path, problem(), monkeypatch)
    other = problem(labels=(0, 1, 0, 1, 1, 1)) if change == "label" else problem()
    if change == "id":
        other.data_loader[1]["sample_id"][0] = "other"
    if change == "size":
        other.data_loader[2]["image"] = other.data_loader[2]["image"].reshape(2, 5, 1)
    assert data_digest(other) != data_digest(problem())
    with pytest.raises(FileExistsError, match="other data \\(data_sha256 "):
        evaluate_loaded(settings(tmp_path), other)


def test_results_say_what_when_and_of_which_code(tmp_path):
    results = evaluate_loaded(settings(tmp_path), problem())
    assert results.data.sha256 == data_digest(problem())
    assert len(results.date) == len("2026-11-27")
    assert results.commit == commit()
    assert Results.read(tmp_path).model_dump() == results.model_dump()


def test_a_commit_is_known_only_inside_of_a_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert commit() is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit() is None


def test_a_report_says_that_the_weights_have_changed_since(tmp_path):
    file = tmp_path / "model.pt"
    loaded = replace(problem(), checkpoint=file)
    torch.save({"model": loaded.network.state_dict()}, file)
    evaluate_loaded(settings(tmp_path / "r"), loaded)
    sentence = "holds other weights now than those that were measured"
    assert sentence not in markdown(build_report([Results.read(tmp_path / "r")]))
    torch.save(problem(seed=1).network.state_dict(), file)
    assert sentence in markdown(build_report([Results.read(tmp_path / "r")]))
    file.write_bytes(b"no checkpoint")
    assert sentence in markdown(build_report([Results.read(tmp_path / "r")]))
    file.unlink()
    assert sentence not in markdown(build_report([Results.read(tmp_path / "r")]))


def test_the_digest_of_a_file_is_that_of_its_network(tmp_path):
    network, file = problem().network, tmp_path / "model.pt"
    for content in (network.state_dict(), {"model": network.state_dict(), "optimizer": {}}):
        torch.save(content, file)
        assert weights_digest(load_weights(file)) == weights_digest(network)
        assert not has_other_weights(str(file), weights_digest(network))
    assert weights_digest(nn.DataParallel(network)) == weights_digest(network)
    assert has_other_weights(str(file), "0" * 64)
    assert not has_other_weights(str(file), None)


def test_one_process_writes_to_a_folder(tmp_path):
    folder = tmp_path / "out"
    with one_writer(folder):
        with pytest.raises(FileExistsError, match="Another process is writing to folder"), one_writer(folder):
            pass
        with pytest.raises(FileExistsError, match="Another process"):
            evaluate_loaded(settings(folder), problem())
    assert not folder.exists(), "nothing is left of a run that wrote nothing"
    evaluate_loaded(settings(folder), problem())
    assert ".lock" not in [path.name for path in folder.iterdir()]


def test_a_run_that_fails_before_its_first_sample_leaves_nothing_behind(tmp_path):
    broken = problem()
    broken.data_loader[0]["image"] = torch.full((2, 1, 5), torch.nan)
    with pytest.raises(ValueError, match="NaN or infinity"):
        evaluate_loaded(settings(tmp_path / "out"), broken)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "5"])
def test_damaged_notes_of_an_interrupted_run_are_refused(content, tmp_path):
    (tmp_path / "settings.json").write_text(content)
    with pytest.raises(FileExistsError, match=r"settings\.json is damaged"):
        check_folder(tmp_path, {"levels": [0.0]})


def test_the_setting_that_differs_is_named(tmp_path):
    start_folder(tmp_path, {"seed": 0, "attack": "pgd5x1", "weights_sha256": "ab"})
    check_folder(tmp_path, {"seed": 0, "attack": "pgd5x1"})
    with pytest.raises(FileExistsError, match='\\(attack "pgd5x1" there, "pgd7x1" here\\)'):
        check_folder(tmp_path, {"seed": 0, "attack": "pgd7x1"})


class TestAttackedImages:
    def save(self, folder: Path, limit: int | None = None) -> list[AttackedImage]:
        attack = PGD("linf", 3, 1, criterion=ClassificationCriterion())
        return save_attacked_images(problem(), attack, 0.3, folder, limit)

    def test_an_interrupted_run_goes_on_where_it_was(self, tmp_path, monkeypatch):
        whole = self.save(tmp_path / "whole")
        files = sorted(path.name for path in (tmp_path / "whole").glob("*.csv"))
        assert len(files) == len(whole) == 6
        saved, save = [], attacked_images._save

        def third(stem, *arguments):
            if len(saved) == 3:
                raise KeyboardInterrupt
            saved.append(stem.name)
            save(stem, *arguments)

        monkeypatch.setattr(attacked_images, "_save", third)
        with pytest.raises(KeyboardInterrupt):
            self.save(tmp_path / "broken")
        monkeypatch.setattr(attacked_images, "_save", lambda stem, *rest: (saved.append(stem.name), save(stem, *rest)))
        assert self.save(tmp_path / "broken") == whole
        assert saved == ["s0", "s1", "s2", "s2", "s3", "s4", "s5"], "the batch that was not finished is made again"
        for name in files:
            one, two = (np.loadtxt(tmp_path / run / name, delimiter=",") for run in ("whole", "broken"))
            assert np.array_equal(one, two)
        assert self.save(tmp_path / "broken") == whole, "a finished run has nothing left to do"
        assert len(saved) == 7

    def test_a_limit_holds_within_a_batch(self, tmp_path):
        assert len(self.save(tmp_path, 3)) == 3
        assert sorted(path.name for path in tmp_path.glob("*.csv")) == [f"s{k}_noisy.csv" for k in range(3)]
        assert len(self.save(tmp_path, 3)) == 3


def test_a_folder_that_the_user_names_is_not_called_the_public_data_set(tmp_path):
    file = tmp_path / "fashion_mnist.npz"
    images, labels = np.zeros((20, 28, 28), np.uint8), np.arange(20, dtype=np.uint8) % 10
    np.savez(file, x_train=images, y_train=labels, x_test=images, y_test=labels)
    from monai_ima.networks import FashionMNISTNet

    torch.save(FashionMNISTNet().state_dict(), tmp_path / "model.pt")
    own = load_bundle(BUNDLE, checkpoint=tmp_path / "model.pt", dataset_dir=str(tmp_path), val_count=2)
    assert own.data(1, None).name == f"data in {tmp_path}"
    assert own.data(1, None).licence is None
    phantom = load_bundle(BUNDLE, checkpoint=tmp_path / "model.pt", phantom_per_class=2)
    assert phantom.data(1, None).name == "synthetic phantom"
    assert json.loads((BUNDLE / "configs" / "metadata.json").read_text())["data_source"] not in own.data_name


def test_the_call_from_python_is_noted_the_same_way(tmp_path):
    loaded = problem()
    results = evaluate(loaded.network, loaded.data_loader, [0.1], "linf", "pgd3x1", cases=0, out=tmp_path)
    assert results.data.sha256 == data_digest(loaded)
