"""Damaged files of an interrupted run: refused before work goes on, and left as they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from bad_input_files import snapshot, write_files

from monai_ima.__main__ import main
from monai_ima.attacks import Attack
from monai_ima.results.run_folder import RecordFile

RECORDS = {"evaluate": "records.jsonl", "attack": "attacked.jsonl"}
OPTIONS = {"evaluate": ["--levels=0,0.1", "--checks"], "attack": ["--eps=0.1"]}


def command(verb: str) -> list[str]:
    fixed = ["--bundle=bundle", "--checkpoint=weights.pt", "--out=out", "--attack=fgsm"]
    return [verb, *fixed, *OPTIONS[verb]]


@pytest.fixture(scope="module", params=RECORDS)
def interrupted(request, tmp_path_factory) -> tuple[str, Path]:
    """A verb, and a folder with a run of it that stopped after the first batch."""
    folder = tmp_path_factory.mktemp(request.param)
    write_files(folder)
    append = RecordFile.append

    def append_and_stop(records: RecordFile, *batch: object) -> None:
        append(records, *batch)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.setattr(RecordFile, "append", append_and_stop)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            main(command(request.param))
    assert (folder / "out" / RECORDS[request.param]).read_text().count("\n") == 4
    return request.param, folder


@pytest.mark.parametrize(
    "content", [b"[]\n", b"{}\n", b"\n", b'{"sample_id": 5}\n', b"x\n", b"\xff\xfe\n", b"{\n", None]
)
def test_damaged_records_are_refused_and_kept(interrupted, content, tmp_path, monkeypatch, capsys):
    verb, folder = interrupted
    shutil.copytree(folder, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    damaged = Path("out") / RECORDS[verb]
    if content is None:
        damaged.unlink()
        damaged.mkdir()
    else:
        damaged.write_bytes(content + damaged.read_bytes())
    before = snapshot(Path())
    monkeypatch.setattr(Attack, "__call__", None)
    assert main(command(verb)) == 2
    sentence = capsys.readouterr().err.split("\r")[-1]
    where = (
        f"{damaged} is no file of records" if content in (None, b"\xff\xfe\n") else f"Line 1 of {damaged} is damaged"
    )
    assert sentence.startswith(where)
    assert sentence.endswith("another --out.\n")
    assert snapshot(Path()) == before


def test_damaged_results_of_checks_are_refused_before_the_rest_of_the_samples(interrupted, monkeypatch, capsys):
    verb, folder = interrupted
    if verb == "attack":
        pytest.skip("has no checks")
    monkeypatch.chdir(folder)
    (folder / "out" / "checks.jsonl").write_text("[]\n")
    before = snapshot(folder)
    monkeypatch.setattr(Attack, "__call__", None)
    assert main(command(verb)) == 2
    assert capsys.readouterr().err.split("\r")[-1].startswith("Line 1 of out/checks.jsonl is damaged")
    assert snapshot(folder) == before
