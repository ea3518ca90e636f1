from __future__ import annotations

import csv

import numpy as np
import pytest

from monai_ima.data import (
    BEAT_CLASSES,
    balanced,
    beat_datalist,
    ecg_datalist,
    ecg_phantom,
    ecg_phantom_datalist,
    heartbeat_datalist,
)

COUNTS = (40, 10, 20, 3, 1)


def beats(counts=COUNTS, seed=0):
    """Rows of the public layout, the classes mixed."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(range(len(counts)), counts))
    return np.column_stack([rng.random((len(labels), 187)), labels])


def write(path, rows):
    np.savetxt(path, rows, fmt="%.18e", delimiter=",")
    return path


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "mitbih_train.csv", beats())
    write(tmp_path / "mitbih_test.csv", beats((5, 5, 0, 0, 2), seed=1))
    return tmp_path


def labels_of(items):
    return np.bincount([item["label"] for item in items], minlength=5).tolist()


def ids_of(items):
    return [item["sample_id"] for item in items]


def test_rows_become_items_in_the_order_of_the_file(folder):
    rows = beats((5, 5, 0, 0, 2), seed=1)
    items = heartbeat_datalist(folder)["test"]
    assert ids_of(items) == [f"test-{number:05d}" for number in range(1, 13)]
    for item, row in zip(items, rows, strict=True):
        assert item["image"].dtype == np.float32
        np.testing.assert_array_equal(item["image"], row[None, :187].astype(np.float32))
        assert item["label"] == row[187]
        assert isinstance(item["label"], int)


def test_validation_beats_are_the_same_share_of_every_class_and_given_by_the_seed(folder):
    one, same, other = (heartbeat_datalist(folder, val_fraction=0.2, seed=seed) for seed in (3, 3, 4))
    assert labels_of(one["val"]) == [8, 2, 4, 1, 0], "20 %, at least one, and a class's only beat trains"
    assert labels_of(one["train"]) == [32, 8, 16, 2, 1]
    assert sorted(ids_of(one["train"] + one["val"])) == [f"train-{number:05d}" for number in range(1, 75)]
    assert ids_of(one["train"]) == sorted(ids_of(one["train"]))
    assert ids_of(one["val"]) == ids_of(same["val"])
    assert ids_of(one["val"]) != ids_of(other["val"])


def test_the_public_training_file_is_split_into_the_papers_numbers_of_beats(tmp_path):
    """Section 3.1: 70043 and 17511 of 87554. Beats of each class as counted in the public file, samples all 0."""
    rows = [f"{'0,' * 187}{label}\n" for label in range(5)]
    counts = (72471, 2223, 5788, 641, 6431)
    (tmp_path / "mitbih_train.csv").write_text("".join(row * count for row, count in zip(rows, counts, strict=True)))
    (tmp_path / "mitbih_test.csv").write_text("".join(rows))
    datalist = heartbeat_datalist(tmp_path)
    assert (len(datalist["train"]), len(datalist["val"])) == (70043, 17511)


def test_validation_beats_are_whole_records_where_records_are_known(tmp_path):
    rng = np.random.default_rng(0)
    records = np.repeat([str(100 + k) for k in range(10)], 20)
    rows = beats((160, 20, 10, 6, 4))
    rows = rows[np.argsort(rows[:, 187] == 4, kind="stable")]
    assert set(records[rows[:, 187] == 4]) == {"109"}, "the only record with class Q"
    write(tmp_path / "mitbih_train.csv", rows)
    write(tmp_path / "mitbih_test.csv", beats())
    with open(tmp_path / "mitbih_train_records.csv", "w", newline="") as file:
        csv.writer(file).writerows([["record", "sample"], *([name, rng.integers(9)] for name in records)])
    chosen = set()
    for seed in range(8):
        datalist = heartbeat_datalist(tmp_path, val_fraction=0.15, seed=seed)
        names = {split: {records[int(i[-5:]) - 1] for i in ids_of(datalist[split])} for split in ("train", "val")}
        assert names["train"] | names["val"] == set(records)
        assert not names["train"] & names["val"]
        assert len(names["val"]) == 2, "15 % of ten equal records, whole ones"
        assert all(np.array(labels_of(datalist["train"])) >= np.array([80, 10, 5, 3, 2]))
        chosen |= names["val"]
    assert len(chosen) > 4
    assert "109" not in chosen


def test_records_that_do_not_fit_are_refused(folder):
    file = folder / "mitbih_train_records.csv"
    for content, words in [
        ("record\n" + "100\n" * 73, "names 73 records, expected one for each of 74 beats"),
        ("name\n" + "100\n" * 74, "no column 'record'"),
        ("record\n" + "100\n" * 74, "too few records"),
    ]:
        file.write_text(content)
        with pytest.raises(ValueError, match=words):
            heartbeat_datalist(folder)


def changed(rows, row, column, value):
    cells = [",".join(f"{v:.6g}" for v in line).split(",") for line in rows]
    cells[row - 1][column - 1] = value
    return "\n".join(",".join(line) for line in cells) + "\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda rows: changed(rows, 7, 20, "nan"), "Row 7 of {file} holds nan in column 20, expected samples in"),
        (lambda rows: changed(rows, 7, 187, "1.01"), "Row 7 of {file} holds 1.01 in column 187"),
        (lambda rows: changed(rows, 2, 1, "-0.1"), "Row 2 of {file} holds -0.1 in column 1"),
        (lambda rows: changed(rows, 3, 1, "inf"), "Row 3 of {file} holds inf in column 1"),
        (lambda rows: changed(rows, 3, 5, "abc"), "Row 3 of {file} holds text \\(.*'abc'"),
        (lambda rows: changed(rows, 3, 5, ""), "Row 3 of {file} holds text"),
        (lambda rows: changed(rows, 4, 188, "2.5"), "Row 4 of {file} has class 2.5, expected one of 0 N, 1 S"),
        (lambda rows: changed(rows, 4, 188, "5"), "Row 4 of {file} has class 5"),
        (lambda rows: changed(rows, 4, 188, "nan"), "Row 4 of {file} has class nan"),
        (lambda rows: changed(rows, 74, 1, "0")[:-300], "Row 74 of {file} has .* values, expected 188.*cut short"),
        (lambda rows: changed(rows[:, :187], 1, 1, "0"), "Row 1 of {file} has 187 values, expected 188"),
        (lambda rows: "a,b\n", "Row 1 of {file} has 2 values"),
        (lambda rows: "", "File {file} is empty"),
        (lambda rows: "\n\n", "File {file} is empty"),
        (lambda rows: changed(rows[rows[:, 187] != 4], 1, 1, "0"), "File {file} has no beat of class 4 Q"),
    ],
)
def test_a_damaged_file_is_refused_by_file_and_row(folder, content, words):
    file = folder / "mitbih_train.csv"
    file.write_text(content(beats()))
    with pytest.raises(ValueError, match=words.format(file=file)) as refused:
        heartbeat_datalist(folder)
    assert str(refused.value).count("\n") == 0


def test_a_file_that_is_no_text_is_refused(folder):
    (folder / "mitbih_test.csv").write_bytes(bytes(range(256)) * 4)
    with pytest.raises(ValueError, match=r"Row 1 of .*mitbih_test.csv has"):
        heartbeat_datalist(folder)


def test_missing_files_and_bad_fractions_are_refused(folder):
    for fraction in (0, 1, -0.1, float("nan")):
        with pytest.raises(ValueError, match="val_fraction"):
            heartbeat_datalist(folder, fraction)
    (folder / "mitbih_test.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"mitbih_test.csv does not exist"):
        heartbeat_datalist(folder)
    with pytest.raises(FileNotFoundError, match=r"Dataset folder .*none does not exist"):
        heartbeat_datalist(folder / "none")


def test_line_ends_and_blank_lines_of_other_editors_do_no_harm(folder):
    file = folder / "mitbih_test.csv"
    rows = heartbeat_datalist(folder)["test"]
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    for item, other in zip(rows, heartbeat_datalist(folder)["test"], strict=True):
        np.testing.assert_array_equal(item.pop("image"), other.pop("image"))
        assert item == other


def test_beats_for_inference_may_lack_the_class(folder):
    rows = beats()
    labelled = beat_datalist(write(folder / "a.csv", rows))
    plain = beat_datalist(write(folder / "b.csv", rows[:, :187]))
    assert ids_of(labelled)[:2] == ["a-00001", "a-00002"]
    assert ids_of(plain)[-1] == "b-00074"
    assert set(labelled[0]) == set(plain[0]) == {"image", "sample_id"}
    for one, other in zip(labelled, plain, strict=True):
        np.testing.assert_array_equal(one["image"], other["image"])
    assert ids_of(beat_datalist(folder))[0] == "mitbih_test-00001"
    with pytest.raises(FileNotFoundError, match=r"none.csv does not exist"):
        beat_datalist(folder / "none.csv")
    (folder / "c.csv").write_text((folder / "a.csv").read_text() + (folder / "b.csv").read_text())
    with pytest.raises(ValueError, match=r"Row 75 of .*c.csv has 187 values, expected 188 in every row"):
        beat_datalist(folder / "c.csv")


def test_up_sampling_makes_classes_of_equal_size_and_repeats_beats_evenly(folder):
    train = heartbeat_datalist(folder, 0.2)["train"]
    assert labels_of(train) == [32, 8, 16, 2, 1]
    one, same, other = (balanced(train, seed) for seed in (1, 1, 2))
    assert labels_of(one) == [32] * 5
    assert ids_of(one) == ids_of(same)
    names, occurrences = np.unique(ids_of(one), return_counts=True)
    assert names.tolist() == sorted(ids_of(train))
    times = dict(zip(names.tolist(), occurrences.tolist(), strict=True))
    assert [{times[i["sample_id"]] for i in train if i["label"] == k} for k in range(5)] == [{1}, {4}, {2}, {16}, {32}]
    odd = [item for item in train if item["label"] != 0][:-1]
    assert ids_of(balanced(odd, 1)) == ids_of(balanced(odd, 1))
    assert ids_of(other) == ids_of(one), "nothing is drawn where the sizes divide evenly"


def test_up_sampling_draws_which_beats_occur_once_more():
    items = [{"label": 0, "sample_id": f"a{k}"} for k in range(10)] + [
        {"label": 1, "sample_id": f"b{k}"} for k in range(4)
    ]
    drawn = set()
    for seed in range(5):
        occurrences = [ids_of(balanced(items, seed)).count(f"b{k}") for k in range(4)]
        assert sorted(occurrences) == [2, 2, 3, 3]
        drawn.add(tuple(occurrences))
    assert len(drawn) > 1
    assert balanced([]) == []


def test_a_synthetic_beat_is_given_by_its_seed_and_looks_like_those_of_the_files():
    tails = []
    for label in range(5):
        for seed in range(20):
            beat = ecg_phantom(label, np.random.default_rng(seed))
            assert beat.dtype == np.float32
            assert beat.shape == (187,)
            assert (beat.min(), beat.max()) == (0, 1)
            np.testing.assert_array_equal(beat, ecg_phantom(label, np.random.default_rng(seed)))
            tails.append(187 - 1 - np.flatnonzero(beat)[-1])
    period = (187 - np.array(tails)) / 1.2 / 125
    assert 0.59 < period.min() < 0.75
    assert 1.0 < period.max() < 1.16
    with pytest.raises(ValueError, match="label 5"):
        ecg_phantom(5, np.random.default_rng(0))


def test_synthetic_classes_differ_in_shape_and_not_in_length_or_size_alone():
    draw = np.random.default_rng(1)
    x = np.array([[ecg_phantom(label, draw) for _ in range(60)] for label in range(5)], dtype=float)
    lengths = np.array([[np.flatnonzero(beat)[-1] for beat in own] for own in x])
    assert lengths.mean(1).std() < 0.3 * lengths.std(1).mean()
    centres = x[:, :30].mean(1)
    nearest = ((x[:, 30:, None] - centres) ** 2).sum(-1).argmin(-1)
    assert (nearest == np.arange(5)[:, None]).mean() > 0.5, "chance is 0.2"


def test_synthetic_data_have_unequal_classes_and_the_shape_of_real_ones(folder):
    datalist = ecg_phantom_datalist(100, seed=2)
    assert {split: labels_of(items) for split, items in datalist.items()} == {
        "train": [60, 12, 14, 5, 9],
        "val": [14, 2, 2, 1, 1],
        "test": [31, 6, 7, 2, 4],
    }
    real = heartbeat_datalist(folder)
    assert {k: type(v) for k, v in datalist["val"][0].items()} == {k: type(v) for k, v in real["val"][0].items()}
    assert datalist["val"][0]["image"].shape == (1, 187)
    names = [i for items in datalist.values() for i in ids_of(items)]
    assert len(set(names)) == 170
    more = ecg_phantom_datalist({"test": 50, "train": 100, "val": 20}, seed=2)
    np.testing.assert_array_equal(more["val"][3]["image"], datalist["val"][3]["image"])
    beats_seen = {item["image"].tobytes() for items in datalist.values() for item in items}
    assert len(beats_seen) == 170


@pytest.mark.parametrize("beats", [0, 4, "abc", 100.0, {"train": 10}, {"train": 10, "val": 4, "test": 10}])
def test_bad_settings_of_the_phantom_are_refused(beats):
    with pytest.raises(ValueError, match="Got beats"):
        ecg_phantom_datalist(beats)
    with pytest.raises(ValueError, match="seed -1"):
        ecg_phantom_datalist(100, -1)


@pytest.mark.parametrize("unset", [None, ""])
def test_without_data_the_log_says_synthetic(caplog, unset):
    datalist = ecg_datalist(unset, balance=True, phantom_beats=50)
    assert caplog.records[0].levelname == "WARNING"
    assert "SYNTHETIC" in caplog.records[0].message
    assert labels_of(datalist["train"]) == [31] * 5
    assert labels_of(datalist["test"]) == labels_of(ecg_phantom_datalist(50)["test"])


def test_a_word_in_place_of_true_or_false_is_refused():
    with pytest.raises(ValueError, match="Got balance 'false'"):
        ecg_datalist(None, balance="false")


def test_a_folder_is_read_and_only_its_training_beats_are_up_sampled(folder, caplog):
    datalist = ecg_datalist(folder, 0.2, balance=True, seed=3)
    plain = heartbeat_datalist(folder, 0.2, seed=3)
    assert labels_of(datalist["train"]) == [32] * 5
    assert ids_of(datalist["val"]) == ids_of(plain["val"])
    assert ids_of(datalist["test"]) == ids_of(plain["test"])
    assert ids_of(ecg_datalist(folder, 0.2, seed=3)["train"]) == ids_of(plain["train"])
    assert "SYNTHETIC" not in caplog.text


def test_the_real_beats_are_read(real_data):
    datalist = heartbeat_datalist(real_data / "heartbeat")
    assert {split: labels_of(items) for split, items in datalist.items()} == {
        "train": [80] * 5,
        "val": [20] * 5,
        "test": [100] * 5,
    }
    first = np.loadtxt(real_data / "heartbeat" / "mitbih_test.csv", delimiter=",", max_rows=1)
    np.testing.assert_array_equal(datalist["test"][0]["image"][0], first[:187].astype(np.float32))
    assert datalist["test"][0]["label"] == first[187]
    assert BEAT_CLASSES == ("N", "S", "V", "F", "Q")
