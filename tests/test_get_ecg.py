from __future__ import annotations

import hashlib
import sys

import ecg_beats
import get_ecg
import numpy as np
import pytest
from bundle_runs import read_rows
from script_runs import Script, serve

from monai_ima.data import BEAT_CLASSES, ecg_phantom_datalist, heartbeat_datalist

SECONDS, RR = 21, 288
"""Length of the recordings made here, and samples at 360 Hz between two beats: 100 samples at 125 Hz."""


@pytest.fixture
def script(capsys):
    return Script(get_ecg.get, capsys)


def wave(time):
    """A smooth periodic signal, its period that of the beats: known at any time in seconds, and at any rate."""
    phase = 2 * np.pi * time * 360 / RR
    return np.cos(phase) + 0.5 * np.cos(3 * phase + 0.4) + 0.2 * np.sin(7 * phase)


def write_record(folder, name, symbols, leads=("MLII", "V1")):
    """A recording in PhysioNet's format 212 with a beat every ``RR`` samples, and a rhythm mark that is no beat."""
    wfdb = pytest.importorskip("wfdb")
    time = np.arange(SECONDS * 360) / 360
    signal = np.stack([wave(time) if lead == "MLII" else np.sin(time) for lead in leads], axis=1)
    wfdb.wrsamp(name, 360, ["mV"] * 2, list(leads), signal, fmt=["212"] * 2, write_dir=str(folder))
    peaks = 72 + RR * np.arange(len(symbols))
    samples, notes = np.array([18, *peaks]), ["(N", *[""] * len(symbols)]
    wfdb.wrann(name, "atr", samples, ["+", *symbols], aux_note=notes, write_dir=str(folder))


TRAIN, TEST, BEATS = ("101", "106", "108"), ("100",), "NVFQAN|Le/jESaJfRN"


@pytest.fixture
def recordings(tmp_path):
    """A small published database: three records of DS1, one of DS2, and one that is in neither."""
    folder = tmp_path / "served"
    folder.mkdir()
    for name in (*TRAIN, *TEST, "104"):
        write_record(folder, name, BEATS, ("V5", "MLII") if name == "108" else ("MLII", "V1"))
    (folder / "RECORDS").write_text("".join(f"{name}\n" for name in (*TRAIN, *TEST, "104")))
    write_checksums(folder)
    return folder


def write_checksums(folder):
    files = sorted(p for p in folder.iterdir() if p.suffix in (".hea", ".dat", ".atr"))
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()} {p.name}\n" for p in files]
    (folder / "SHA256SUMS.txt").write_text("".join(lines))


CHOICE = ("--records", ",".join((*TRAIN, *TEST)))


def scaled(part):
    return (part - part.min()) / (part.max() - part.min())


def test_beats_start_at_their_peaks_last_one_fifth_more_than_a_period_and_fill_0_to_1():
    signal = wave(np.arange(1300) / ecg_beats.RATE)
    peaks = np.array([7, 67, 127, 187, 1240, 1260])
    beats, chosen = ecg_beats.cut_beats(signal, peaks)
    assert chosen.tolist() == [0, 1, 2, 3], "the recording ends before 1240 + 72, and 1260 is alone in its window"
    assert beats.dtype == np.float32
    for beat, peak in zip(beats, peaks, strict=False):
        np.testing.assert_allclose(beat[:72], scaled(signal[peak : peak + 72]), atol=1e-6)
        assert (beat[72:] == 0).all()


def test_the_period_is_that_of_the_ten_seconds_around():
    signal = np.linspace(0, 1, 2500)
    peaks = np.array([0, 50, 100, 200, 1250, 1330, 1410])
    beats, chosen = ecg_beats.cut_beats(signal, peaks)
    lengths = [np.flatnonzero(beat)[-1] + 1 for beat in beats]
    assert chosen.tolist() == list(range(7))
    assert lengths == [60, 60, 60, 60, 96, 96, 96]


def test_a_long_beat_is_scaled_before_it_is_cut():
    signal = np.linspace(0, 1, 1000)
    beats, _ = ecg_beats.cut_beats(signal, np.array([100, 300]))
    assert int(1.2 * 200) == 240
    np.testing.assert_allclose(beats[0], np.arange(187) / 239, atol=1e-6)


def test_flat_unknown_and_single_beats_are_left_out():
    signal = np.sin(np.arange(3000.0))
    signal[400:700] = 3.0
    signal[950] = np.nan
    _, chosen = ecg_beats.cut_beats(signal, np.array([200, 300, 400, 500, 800, 900, 1000, 1100, 2600]))
    assert chosen.tolist() == [0, 1, 4, 6, 7]
    beats, chosen = ecg_beats.cut_beats(signal, np.array([], dtype=int))
    assert beats.shape == (0, 187)
    assert chosen.shape == (0,)


def test_the_recording_s_rate_is_changed_without_moving_anything():
    resampled = ecg_beats.resample(wave(np.arange(3600) / 360), 360)
    assert len(resampled) == 1250
    expected = wave(np.arange(1250) / 125)
    np.testing.assert_allclose(resampled[20:-20], expected[20:-20], atol=0.01)


def test_every_annotation_of_a_beat_has_the_class_of_the_aami():
    classes = {symbol: BEAT_CLASSES[label] for symbol, label in ecg_beats.LABELS.items()}
    assert classes == {
        **dict.fromkeys("NLRej", "N"),
        **dict.fromkeys("AaJS", "S"),
        **dict.fromkeys("VE", "V"),
        "F": "F",
        **dict.fromkeys("/fQ", "Q"),
    }


def test_recordings_become_beats_with_their_classes_split_by_patient(tmp_path, recordings, script):
    out = tmp_path / "ecg"
    assert "val is taken out of train; by patient." in script.run("--out", out, "--from_dir", recordings, *CHOICE)
    train, test = (np.loadtxt(out / f"mitbih_{part}.csv", delimiter=",") for part in ("train", "test"))
    symbols = BEATS.replace("|", "")
    assert train.shape == (3 * 17, 188)
    assert test.shape == (17, 188)
    assert "".join(BEAT_CLASSES[int(label)] for label in test[:, 187]) == "NVFQSNNNQNVSSSQNN"
    for row, k in zip(test, [k for k in range(18) if BEATS[k] != "|"], strict=True):
        expected = scaled(wave((25 + 100 * k + np.arange(120)) / 125))
        np.testing.assert_allclose(row[:120], expected, atol=0.01)
        assert (row[120:187] == 0).all()
    origins = read_rows(out / "mitbih_train_records.csv")
    assert [row["record"] for row in origins] == [name for name in TRAIN for _ in range(17)]
    assert [int(row["sample"]) for row in origins[:3]] == [72, 360, 648]
    assert "".join(row["annotation"] for row in origins[:17]) == symbols
    assert {row["record"] for row in read_rows(out / "mitbih_test_records.csv")} == set(TEST)
    datalist = heartbeat_datalist(out)
    assert [len(datalist[split]) for split in ("train", "val", "test")] == [34, 17, 17]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ecg", "served"]


def test_beats_that_are_there_already_are_checked_and_copied(tmp_path, script):
    there = tmp_path / "there"
    there.mkdir()
    for part, items in ecg_phantom_datalist({"train": 50, "val": 5, "test": 20}).items():
        rows = [[*item["image"][0], item["label"]] for item in items]
        np.savetxt(there / f"mitbih_{part}.csv", rows, fmt="%.6g", delimiter=",")
    assert "not by patient" in script.run("--out", tmp_path / "ecg", "--from_csv", there)
    assert sorted(p.name for p in (tmp_path / "ecg").iterdir()) == ["mitbih_test.csv", "mitbih_train.csv"]
    file = there / "mitbih_test.csv"
    assert (tmp_path / "ecg" / file.name).read_bytes() == file.read_bytes()
    file.write_text(file.read_text()[:-20])
    assert "Row 20 of" in script.refused("--out", tmp_path / "again", "--from_csv", there)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ecg", "there"]


def test_the_published_split_shares_no_record_and_no_patient():
    published = {"train": set(map(str, get_ecg.DS1)), "test": set(map(str, get_ecg.DS2))}
    assert [len(names) for names in published.values()] == [22, 22]
    assert not published["train"] & published["test"]
    assert not (published["train"] | published["test"]) & {"102", "104", "107", "217"}, "pacemakers"
    chosen = {part: set(names) for part, names in get_ecg.choose(None, False, False).items()}
    assert chosen == {"train": published["train"] - {"201"}, "test": published["test"]}
    kept = get_ecg.choose(None, True, True)
    assert set(kept["train"]) == published["train"] | {"107"}
    assert set(kept["test"]) == published["test"] | {"217"}


@pytest.fixture
def server(recordings):
    with serve(lambda name: (recordings / name).read_bytes()) as state:
        yield state


def names_asked(server):
    return [name for name, _ in server.asked]


def test_a_broken_download_goes_on_and_only_what_lacks_is_fetched(tmp_path, recordings, script, server):
    folder = tmp_path / "data"
    server.break_at["106.dat"] = (recordings / "106.dat").stat().st_size // 2
    download = ("--out", folder / "ecg", "--url", server.url, *CHOICE)
    assert "106.dat broke off at" in script.refused(*download)
    assert names_asked(server)[-1] == "106.dat"
    before = len(server.asked)
    script.run(*download)
    later = [f"{name}.{suffix}" for name in (*TRAIN, *TEST) for suffix in ("hea", "dat", "atr")]
    assert names_asked(server)[before:] == ["RECORDS", "SHA256SUMS.txt", *later[later.index("106.dat") :]]
    assert sorted(p.name for p in folder.iterdir()) == ["ecg", "ecg-recordings"]
    for name in later:
        assert (folder / "ecg-recordings" / name).read_bytes() == (recordings / name).read_bytes()
    script.run("--out", tmp_path / "same", "--from_dir", folder / "ecg-recordings", *CHOICE)
    for file in (folder / "ecg").iterdir():
        assert (tmp_path / "same" / file.name).read_bytes() == file.read_bytes()


def test_a_file_with_another_checksum_is_refused_and_fetched_again_later(tmp_path, recordings, script, server):
    good = (recordings / "100.atr").read_bytes()
    (recordings / "100.atr").write_bytes(good[:-2] + b"xx")
    download = ("--out", tmp_path / "ecg", "--url", server.url, *CHOICE)
    assert "100.atr has sha256" in script.refused(*download)
    assert not (tmp_path / "ecg").exists()
    (recordings / "100.atr").write_bytes(good)
    script.run(*download)
    assert names_asked(server)[-3:] == ["RECORDS", "SHA256SUMS.txt", "100.atr"]


def test_recordings_that_are_damaged_or_missing_are_refused_by_name(tmp_path, recordings, script):
    def refused(*options):
        error = script.refused("--out", tmp_path / "ecg", "--from_dir", recordings, *options)
        assert not (tmp_path / "ecg").exists()
        return error

    whole = (recordings / "106.dat").read_bytes()
    (recordings / "106.dat").write_bytes(whole[:1000])
    assert "106.dat has sha256" in refused(*CHOICE)
    (recordings / "SHA256SUMS.txt").rename(tmp_path / "sums")
    assert "Record " in (error := refused(*CHOICE))
    assert "106 cannot be read" in error
    (recordings / "106.dat").unlink()
    assert "106.dat does not exist" in refused(*CHOICE)
    (recordings / "106.dat").write_bytes(whole)
    assert "109.hea does not exist" in refused(), "all records of the split are needed"
    write_record(recordings, "108", BEATS, ("V5", "V1"))
    assert "108 has the leads V5, V1, expected MLII" in refused(*CHOICE)
    (recordings / "SHA256SUMS.txt").write_text("abc\n")
    assert "Row 1 of" in refused(*CHOICE)
    (recordings / "SHA256SUMS.txt").write_text("abc 101.hea\n")
    assert "101.hea has sha256" in refused(*CHOICE)


def test_bad_use_is_refused_in_one_sentence(tmp_path, recordings, script, server, monkeypatch):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "x").touch()
    out = ("--out", tmp_path / "o")
    source = ("--from_dir", recordings)
    for arguments, words in [
        ((*source,), "--out is missing"),
        ((*source, "--out", tmp_path / "used"), "used exists already"),
        ((*source, *out, "--pacd"), "Unknown option --pacd"),
        ((*source, *out, "--url", "http://127.0.0.1:9/"), "Got several sources"),
        (("--from_csv", recordings, *out, "--paced"), "Got --from_csv and a choice of records"),
        (("--from_csv", recordings, *out), "mitbih_train.csv does not exist"),
        ((*source, *out, "--records", "101,104"), "Got record 104, expected records of the split: 100, 101, 103"),
        ((*source, *out, "--records", "201,100"), "Got record 201"),
        ((*source, *out, "--records", "101"), "expected at least one of test among them"),
        (("--url", server.url, *out, "--records", "109,100"), "RECORDS has no record 109"),
        (("--url", "http://127.0.0.1:9/", *out), "Cannot download http://127.0.0.1:9/RECORDS"),
    ]:
        assert words in script.refused(*arguments)
        assert not (tmp_path / "o").exists()
    monkeypatch.setitem(sys.modules, "wfdb", None)
    assert "Package wfdb is missing" in script.refused(*source, *out, *CHOICE)
    assert [p.name for p in (tmp_path / "used").iterdir()] == ["x"]
