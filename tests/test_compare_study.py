"""The arithmetic of ``benchmarks/compare.py``, on records made by hand."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def compare(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("compare")


@pytest.fixture
def study(compare, tmp_path):
    return compare.Study(
        "fashion_mnist", "l2", None, 10, 0, str(tmp_path), {"plain": [0], "pgd": [0, 1], "ima": [0, 1]}
    )


def keep(compare, study, task, stage, attack, broken):
    file = compare.record_file(study, *task, stage, attack)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({f"s{k}": level for k, level in enumerate(broken)}))


def test_a_sample_stands_only_against_all_attacks(compare, study):
    task = ("ima", 0)
    keep(compare, study, task, "test", "pgd100x2", [0.0, 0.5, 3.0, None])
    keep(compare, study, task, "test", "ddn", [None, 1.7, 1.7, None])
    own = compare.standing(study, *task, "test", ["pgd100x2", "ddn"])
    assert own == {
        "s0": [False] * 5,
        "s1": [True, False, False, False, False],
        "s2": [True, True, True, False, False],
        "s3": [True] * 5,
    }
    found = compare.accuracies(study, *task, "test", ["pgd100x2", "ddn"])
    assert found == pytest.approx([0.75, 0.5, 0.5, 0.25, 0.25])
    assert compare.accuracies(study, *task, "test", ["ddn"]) == pytest.approx([1.0, 1.0, 1.0, 0.5, 0.5])


def records(clean, robust, count=100):
    """``clean`` samples are right without noise, ``robust`` of them at every level."""
    return [None] * robust + [0.5] * (clean - robust) + [0.0] * (count - clean)


@pytest.mark.parametrize(
    ("ima", "number"),
    [
        ([records(87, 40), records(90, 30)], 0),
        ([records(86, 40), records(90, 30)], 1),
        ([records(80, 70), records(85, 10)], 1),
    ],
    ids=["3 points below are near", "4 points below are not", "none is near: the highest clean accuracy"],
)
def test_settings_are_chosen_by_the_rule(compare, study, ima, number):
    keep(compare, study, ("plain", 0), "val", "pgd20", records(90, 5))
    keep(compare, study, ("pgd", 0), "val", "pgd20", records(89, 50))
    keep(compare, study, ("pgd", 1), "val", "pgd20", records(90, 49))
    for k, own in enumerate(ima):
        keep(compare, study, ("ima", k), "val", "pgd20", own)
    assert compare.choose(compare.validated([study])) == {"plain": 0, "pgd": 0, "ima": number}


def test_settings_are_chosen_on_all_seeds_together(compare, study):
    """PGD training's first setting is better with seed 0, and by more worse with seed 1; IMA's is 3 points below."""
    again = compare.replace(study, seed=1)
    settings = {
        ("plain", 0): [records(90, 0), records(84, 0)],
        ("pgd", 0): [records(90, 50), records(90, 40)],
        ("pgd", 1): [records(90, 48), records(90, 46)],
        ("ima", 0): [records(80, 60), records(88, 50)],
        ("ima", 1): [records(90, 40), records(84, 40)],
    }
    for task, seeds in settings.items():
        for own, broken in zip((study, again), seeds, strict=True):
            keep(compare, own, task, "val", "pgd20", broken)
    assert compare.choose(compare.validated([study])) == {"plain": 0, "pgd": 0, "ima": 1}
    found = compare.validated([study, again])
    assert found[("pgd", 0)] == pytest.approx([0.9, 0.45, 0.45, 0.45, 0.45])
    assert compare.choose(found) == {"plain": 0, "pgd": 1, "ima": 0}


def test_the_distance_from_ima_is_paired_and_over_all_seeds(compare, study):
    """PGD training holds on half of the samples one level more with seed 0, two with seed 1."""
    again = compare.replace(study, seed=1)
    for own in (study, again):
        keep(compare, own, ("ima", 0), "test", "pgd100x2", [1.0] * 40)
        better = [2.0 if own is study else 3.0] * 20
        keep(compare, own, ("pgd", 1), "test", "pgd100x2", better + [1.0] * 20)
    pgd, ima = (
        [compare.standing(own, *task, "test", ["pgd100x2"]) for own in (study, again)]
        for task in (("pgd", 1), ("ima", 0))
    )
    lines = compare._order(study, {("pgd", 1): pgd, ("ima", 0): ima})
    (row,) = [line for line in lines if line.startswith("| PGD")]
    title, less, interval = (cell.strip() for cell in row.strip("|").split("|"))
    assert (title, less) == ("PGD training (eps 1.5)", "+0.150")
    low, high = (float(end) for end in interval.split(" to "))
    # Half of the 40 samples gain 0.3, seeds taken together: standard deviation 0.15. For 80 records drawn one by one it
    # is 0.166, and the ends would be 0.010 nearer.
    assert low == pytest.approx(0.15 - 1.96 * 0.15 / 40**0.5, abs=0.006)
    assert high == pytest.approx(0.15 + 1.96 * 0.15 / 40**0.5, abs=0.006)
    assert compare._order(study, {("pgd", 1): pgd}) == []


def test_weights_and_records_of_other_settings_are_refused(compare, study):
    folder = compare.open_folder(study, "pgd", 1)
    assert json.loads((folder / "settings.json").read_text())["handler"]["eps"] == 1.5
    keep(compare, study, ("pgd", 1), "val", "pgd20", records(90, 5))
    assert compare.open_folder(study, "pgd", 1) == folder
    for changed in (["training", "epochs"], ["norms", "l2", "levels"], ["norms", "l2", "methods", "pgd"]):
        other = compare.replace(study)
        place = other.config
        for key in changed[:-1]:
            place = place[key]
        place[changed[-1]] = {"epochs": 3, "levels": [0.5], "pgd": [{}, {"eps": 9.0}]}[changed[-1]]
        with pytest.raises(FileExistsError, match=r"pgd_1 was made with other settings than compare\.json has"):
            compare.open_folder(other, "pgd", 1)
    with pytest.raises(FileExistsError, match="pgd_1 was made"):
        compare.open_folder(compare.replace(study, data="real"), "pgd", 1)
    keep(compare, study, ("ima", 0), "val", "pgd20", records(90, 5))
    with pytest.raises(FileExistsError, match="give another --out"):
        compare.open_folder(study, "ima", 0)


@pytest.mark.parametrize("method", ["plain", "ima"])
def test_averaged_weights_follow_the_network_step_by_step_also_in_a_resumed_run(compare, tmp_path, method):
    """One step an epoch, so that the checkpoints of two epochs show the average before and after a step."""
    study = compare.Study("ecg_averaged", "linf", None, None, 0, str(tmp_path))
    study.config["training"].update(epochs=2, batch_size=4096, average=0.3)
    name = "model_ce" if method == "plain" else "model"
    last = compare.train(study, method, 0)
    first, second = (
        torch.load(last.with_name(f"{name}_checkpoint_epoch={epoch}.pt"), weights_only=True) for epoch in (1, 2)
    )
    for key, average in torch.load(last, weights_only=True)["model"].items():
        torch.testing.assert_close(average, 0.7 * first["model"][key] + 0.3 * second["network"][key])
        assert not torch.equal(average, second["network"][key])
    last.unlink()
    last.with_name(f"{name}_checkpoint_epoch=2.pt").unlink()
    again = torch.load(compare.train(study, method, 0), weights_only=True)
    for part in ("model", "network"):
        assert all(torch.equal(again[part][key], value) for key, value in second[part].items())
