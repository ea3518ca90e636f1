"""``benchmarks/compare.py``: the settings by its rule, the arithmetic of its pages, and its records."""

from __future__ import annotations

import importlib
import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from bundle_runs import load
from small_beat_files import write_beats
from study_runs import correct_beats, refusal, table_rows

import compare
import compare_page
import compare_records
import compare_run
from compare_study import RULE, Study, known_studies
from monai_ima.networks import ECGNet

LEVELS = [0.5, 1.0, 2.0, 3.0]
STUDY = Study("fashion_mnist", "l2", synthetic=True)


@pytest.mark.parametrize(
    ("name", "norm", "eps_n", "fixed"),
    [
        ("fashion_mnist", "l2", 5.0, [0.5, 1.0, 2.0]),
        ("fashion_mnist", "linf", 0.3, [0.03, 0.06, 0.12]),
        ("ecg", "l2", 1.5, [0.15, 0.3, 0.6]),
        ("ecg", "linf", 0.3, [0.03, 0.06, 0.12]),
        ("svhn", "l2", 2.0, [0.2, 0.4, 0.8]),
        ("svhn", "linf", 0.3, [2 / 255, 6 / 255, 10 / 255]),
        ("oct", "l2", 1.5, [0.15, 0.3, 0.6]),
        ("oct", "linf", 0.3, [0.03, 0.06, 0.12]),
    ],
)
def test_every_setting_follows_the_rule(name, norm, eps_n, fixed):
    """ε_n of section 3 of the paper; the fixed ε are written out here."""
    study = Study(name, norm)
    assert study.bundle_config["paper_eps_max"][norm] == eps_n
    handlers = {method: own.handler for method, own in study.methods.items()}
    assert handlers.pop("ce") is None
    assert [value["eps"] for key, value in handlers.items() if key.startswith("pgd_")] == pytest.approx(fixed)
    assert all(value["beta"] == 0.5 for key, value in handlers.items() if key.startswith("pgd_"))
    assert ("ddn" in handlers) == (norm == "l2")
    assert handlers["trades"]["eps"] == pytest.approx(eps_n / 5)
    assert handlers["trades"]["beta"] == 6
    assert handlers["iaat"]["warmup_eps"] == pytest.approx(eps_n / 5)
    for method in {"ddn", "iaat", "mma", "ima", "ima_ball"} & set(handlers):
        assert handlers[method]["eps_max"] == eps_n
    assert all(handler["steps"] == 20 for handler in handlers.values())
    assert all(handler.get("norm", "l2") == norm for handler in handlers.values())
    ima = handlers["ima"]
    beta, interval = (0.01, 3) if name == "oct" else (0.5, 1)
    assert (ima["beta"], ima["update_interval"], ima["margin_steps"], ima["binary_steps"]) == (beta, interval, 50, 10)
    assert (ima["update"], ima["noisy_samples"], ima["start"]) == ("epoch", "all", "clean")
    assert handlers["ima_ball"] == {**ima, "start": "ball"}


def test_every_handler_of_every_study_can_be_built():
    for name, config in known_studies().items():
        for norm in config["norms"]:
            for own in Study(name, norm).methods.values():
                if own.handler is not None:
                    settings = {**own.handler, "bounds": (0, 1), "seed": 0}
                    package, _, kind = settings.pop("_target_").rpartition(".")
                    getattr(importlib.import_module(package), kind)(**settings)


def test_the_rule_of_the_pages_is_that_of_the_program():
    assert RULE in " ".join(compare.__doc__.split())


def test_one_character_a_sample_says_where_it_broke():
    text = compare_records.encode([0.0, 0.5, 3.0, None], LEVELS)
    assert text == "014-"
    assert compare_records.decode(text, LEVELS).tolist() == [0.0, 0.5, 3.0, math.inf]
    with pytest.raises(ValueError, match="Got the character 'x'"):
        compare_records.decode("0x", LEVELS)


def test_rounding_a_distance_does_not_move_it_across_a_level():
    rounded_up = compare_records.rounded_up
    rng = np.random.default_rng(0)
    for distance in [*rng.uniform(0, 4, 1000), *LEVELS, *np.nextafter(LEVELS, 0), *np.nextafter(LEVELS, 9)]:
        assert [rounded_up(distance) <= level for level in LEVELS] == [distance <= level for level in LEVELS]
    assert rounded_up(None) is None


def record_of(broken_at, ddn=None):
    return {"note": {"levels": STUDY.levels}, "broken_at": broken_at, "ddn": ddn, "samples": {"count": 4}}


def test_a_sample_is_robust_only_under_all_attacks():
    record = record_of({"pgd100x2": "014-"}, [None, 1.7, 1.7, None])
    assert compare_page.robust(STUDY, record, ["pgd100x2", "ddn"]).tolist() == [
        [False] * 5,
        [True, False, False, False, False],
        [True, True, True, False, False],
        [True] * 5,
    ]
    assert compare_page.robust(STUDY, record, ["ddn"]).mean(axis=0).tolist() == [1.0, 1.0, 1.0, 0.5, 0.5]


def test_the_distance_from_ima_is_paired_by_sample():
    """PGD training is robust one level further than IMA on half of 40 samples: +0.2 on these, so +0.1 in the mean."""
    attacks = {name: "2" * 40 for name in STUDY.strongest if name != "ddn"}
    further = {name: "3" * 20 + "2" * 20 for name in attacks}
    records = {method: record_of(attacks, [None] * 40) for method in STUDY.methods}
    records["pgd_1"] = record_of(further, [None] * 40)
    cells = table_rows(compare_page._order(STUDY, records)[-1])
    less, interval = cells["fixed ε = 1 (adv 1)"]
    low, high = (float(end) for end in interval.split(" to "))
    # 40 samples with a standard deviation of 0.1
    assert less == "+0.100"
    assert low == pytest.approx(0.1 - 1.96 * 0.1 / 40**0.5, abs=0.006)
    assert high == pytest.approx(0.1 + 1.96 * 0.1 / 40**0.5, abs=0.006)
    assert cells["TRADES (ε = 1)"] == ["+0.000", "+0.000 to +0.000"]
    assert "IMA (ε_n = 5)" not in cells


def test_other_seeds_stand_beside_the_page_s_own(tmp_path):
    """Seed 1: IMA breaks at the third of four levels, a mean of 3/5; MMA at the fourth on half of the samples."""
    study = replace(STUDY, records=str(tmp_path))
    other = replace(study, seed=1)
    broken = {"ce": "0" * 10 + "1" * 30, "ima": "3" * 40, "mma": "4" * 20 + "3" * 20}
    for method, text in broken.items():
        record = {**record_of(dict.fromkeys(study.attacks, text), [None] * 40), "note": other.note(method)}
        compare_records.write_record(other.record_file(method), {**record, "samples": {"count": 40}})
    own = {method: record_of(dict.fromkeys(study.attacks, "2" * 40), [None] * 40) for method in study.methods}
    rows = [line.strip("|").split("|") for line in compare_page._seeds(study, own)[-1].splitlines()]
    cells = {(row[0].strip(), row[1].strip()): [cell.strip() for cell in row[2:]] for row in rows}
    assert cells["0", "MMA (d_max = 5)"] == ["1.000", "0.400", "+0.000", "+0.000 to +0.000"]
    assert cells["1", "MMA (d_max = 5)"][:3] == ["1.000", "0.700", "+0.100"]
    low, high = (float(end) for end in cells["1", "MMA (d_max = 5)"][3].split(" to "))
    assert (low, high) == pytest.approx((0.1 - 1.96 * 0.1 / 40**0.5, 0.1 + 1.96 * 0.1 / 40**0.5), abs=0.006)
    assert cells["1", "IMA (ε_n = 5)"] == ["1.000", "0.600", "", ""]
    assert cells["1", "plain training (ce)"][:2] == ["0.750", "0.150"], "a quarter is misclassified without noise"
    assert ("1", "TRADES (ε = 1)") not in cells
    assert "not known" in compare_page._seeds(replace(STUDY, records=str(tmp_path / "none")), own)[0]


@pytest.fixture(scope="module")
def beats(tmp_path_factory):
    return write_beats(tmp_path_factory.mktemp("beats"))


class Program:
    """Calls of compare.py on one small data set, with folders of their own."""

    def __init__(self, root, beats):
        self.root, self.beats = root, beats

    def __call__(self, *arguments, data=True, runs="runs"):
        given = ["--data", self.beats] if data else []
        folders = ["--out", self.root / runs, "--records", self.root / "records", "--pages", self.root / "pages"]
        study = ["--bundle", "ecg", "--norm", "linf", "--epochs", "10"]
        compare.main(list(map(str, [*study, *given, *folders, *arguments])))

    @property
    def study(self):
        folders = {"runs": str(self.root / "runs"), "records": str(self.root / "records")}
        return Study("ecg", "linf", str(self.beats), epochs=10, **folders)

    def fill(self, *, but=()):
        """Records of the methods that were not trained: those of plain training under their own notes."""
        made = json.loads(self.study.record_file("ce").read_text())
        for method in self.study.methods:
            file = self.study.record_file(method)
            if not file.exists() and method not in but:
                compare_records.write_record(file, {**made, "note": self.study.note(method)})


@pytest.fixture(scope="module")
def trained(tmp_path_factory, beats, warm_starts):
    """Plain training and IMA, trained and attacked by the program."""
    program = Program(tmp_path_factory.mktemp("study"), beats)
    program("--methods", "ce,ima", "--workers", "2")
    return program


@pytest.fixture
def program(trained, tmp_path):
    """A copy of what the two trainings left."""
    shutil.copytree(trained.root / "records", tmp_path / "study" / "records")
    return Program(tmp_path / "study", trained.beats)


def test_a_record_holds_what_its_weights_do(trained):
    study = trained.study
    for method in ("ce", "ima"):
        record = json.loads(study.record_file(method).read_text())
        checkpoint = study.run_folder(method) / "model_last.pt"
        correct = correct_beats(checkpoint, trained.beats).tolist()
        for attack in ("pgd100x2", "apgd100-ce", "apgd100-dlr", "noise100", "spsa20x32"):
            assert [symbol != "0" for symbol in record["broken_at"][attack]] == correct
        assert record["note"]["training"]["epochs"] == 10
        assert record["note"]["synthetic"] is False
        assert record["samples"]["count"] == 10
        assert record["parameters"] == sum(parameter.numel() for parameter in ECGNet(num_classes=5).parameters())
    assert json.loads(study.record_file("ce").read_text())["margins"] is None
    margins = load(checkpoint)["margins"]["margins"].numpy()
    assert record["margins"]["mean"] == pytest.approx(margins.mean(), abs=1e-5)
    assert record["margins"]["median"] == pytest.approx(np.median(margins), abs=1e-5)
    assert record["margins"]["share_at_eps_max"] == pytest.approx((margins >= 0.3).mean(), abs=1e-4)


def test_without_all_records_there_is_no_page_but_a_sentence(program, capsys):
    program("--minutes", "0")
    assert "records of pgd_0.03, pgd_0.06, pgd_0.12, trades, iaat, mma, ima_ball" in capsys.readouterr().out
    assert not (program.root / "pages").exists()


def test_with_all_records_the_same_page_is_written_anywhere_without_data(program):
    program.fill()
    pages = program.root / "pages"
    program()
    first = {file.name: file.read_bytes() for file in pages.iterdir()}
    assert set(first) == {f"paper_ecg_linf.{ending}" for ending in ("md", "csv", "png")}
    shutil.rmtree(pages)
    program(data=False, runs="elsewhere")
    assert {file.name: file.read_bytes() for file in pages.iterdir()} == first
    assert not (program.root / "elsewhere").exists()
    text = first["paper_ecg_linf.md"].decode()
    assert "SYNTHETIC" not in text
    assert text.count("\n| IMA (ε_n = 0.3) | ") == 7  # strongest, 3 attacks, noise, black box, margins


def test_a_record_with_another_note_is_refused(program, capsys):
    program.fill()
    file = program.study.record_file("ima")
    record = json.loads(file.read_text())
    record["note"]["handler"]["beta"] = 0.9
    file.write_text(json.dumps(record))
    expected = f"{file} was made with other settings: handler.beta is 0.9 there and 0.5 here."
    assert refusal(program, capsys) == expected
    assert not (program.root / "pages").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"samples": {"count": 10, "first": "test-00001", "sha256": "00" * 32}}, "was measured on other test samples"),
        ({"broken_at": {"pgd100x2": "0"}}, "is damaged, expected results of every attack"),
        ({"note": "none"}, "is damaged, expected a record that compare.py wrote"),
    ],
    ids=["other samples", "too few results", "no note"],
)
def test_records_that_cannot_stand_beside_the_others_are_refused(program, capsys, change, sentence):
    file = program.study.record_file("ima")
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    message = refusal(program, capsys, "--minutes", "0")
    assert str(file) in message
    assert sentence in message


def test_records_of_other_data_are_refused_before_anything_is_trained(program, capsys, tmp_path):
    program.beats = write_beats(tmp_path / "more", test_per_class=3)
    message = refusal(program, capsys, runs="elsewhere")
    assert "than" in message
    assert "(10 samples, first 'test-00001'" in message
    assert not (program.root / "elsewhere").exists()


def test_real_records_are_not_completed_with_a_phantom(program, capsys):
    program.fill(but=["mma"])
    assert "those of mma are missing: give --data." in refusal(program, capsys, data=False)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--bundle", "ecg", "--worker", "2"], "unrecognized arguments: --worker 2"),
        (["--bundle", "ekg"], "Got bundle 'ekg', expected one of fashion_mnist, ecg, svhn, oct."),
        (["--bundle", "ecg", "--norm", "l1"], "Got norm 'l1', expected one of l2, linf."),
        (["--bundle", "ecg", "--subset", "5"], "Got subset for ecg"),
        (["--bundle", "ecg", "--methods", "ima,pgd_7"], "Got method 'pgd_7', expected some of ce, pgd_0.15,"),
        (["--bundle", "ecg", "--minutes", "soon"], "got 'soon', expected minutes, a number >= 0"),
        (["--bundle", "ecg", "--data", "nowhere"], "Dataset folder"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_bad_use_is_one_sentence(arguments, sentence, capsys, tmp_path):
    folders = ["--out", str(tmp_path / "runs"), "--records", str(tmp_path / "records"), "--pages", str(tmp_path)]
    assert sentence in refusal(compare.main, capsys, [*arguments, *folders])
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("method", ["ce", "trades", "ima"])
def test_an_interrupted_training_resumes_where_it_was(beats, tmp_path, method):
    study = Study("ecg", "l2", str(beats), epochs=2, runs=str(tmp_path))
    last = compare_run.train(study, method)
    whole = load(last)
    last.unlink()
    last.with_name("model_checkpoint_epoch=2.pt").unlink()
    again = load(compare_run.train(study, method))
    for key, value in whole["model"].items():
        torch.testing.assert_close(again["model"][key], value, rtol=0, atol=0)
    if method == "ima":
        assert torch.equal(again["margins"]["margins"], whole["margins"]["margins"])
        assert again["margins"]["delta"] == pytest.approx(1.5 / 2)
    assert again["trainer"]["iteration"] == whole["trainer"]["iteration"] > 0


def test_an_empty_checkpoint_is_no_finished_training(tmp_path):
    study = replace(STUDY, runs=str(tmp_path))
    last = study.run_folder("ima") / "model_last.pt"
    last.parent.mkdir(parents=True)
    last.touch()
    with pytest.raises(ValueError, match=r"model_last\.pt is no checkpoint"):
        compare_run.train(study, "ima")


def test_a_run_folder_of_other_settings_is_refused(tmp_path):
    study = replace(STUDY, runs=str(tmp_path), epochs=3)
    folder = compare_run.open_run_folder(study, "ima")
    assert compare_run.open_run_folder(study, "ima") == folder
    expected = r"ima.settings\.json was made with other settings: training\.epochs"
    with pytest.raises(compare_records.RecordError, match=expected):
        compare_run.open_run_folder(replace(study, epochs=2), "ima")
