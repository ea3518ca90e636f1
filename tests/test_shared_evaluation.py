"""Several processes share an evaluation: one result, that of a single process, whatever ends one of them."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import REPO
from filelock import FileLock
from shared_evaluation import process, run

from monai_ima.results.records import AttackedImage
from monai_ima.results.run_folder import RecordFile, one_writer
from monai_ima.utils.workers import _own_gpu

LIMIT = 120
"""Seconds after which a process is killed, and its test fails."""
TIMELESS = ("command", "date", "settings")


class Ended(NamedTuple):
    """What has become of a process."""

    code: int | None
    out: str
    err: str


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> ForkServerContext:
    """Starts processes that need not import everything first."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["shared_evaluation"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(REPO), str(REPO / "tests"), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("OMP_NUM_THREADS", "1")
        first = context.Process()
        first.start()
        first.join()
    return context


@pytest.fixture
def shared(server, tmp_path) -> Callable[..., list[Ended]]:
    """Evaluates in several processes; what became of each, by rank."""

    def run(out: Path, how: str = "", size: int = 2) -> list[Ended]:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        logs = [tmp_path / f"{how or 'plain'} {size} {rank}.log" for rank in range(size)]
        processes = [
            server.Process(target=process, args=(out, how, rank, size, port, log)) for rank, log in enumerate(logs)
        ]
        for each in processes:
            each.start()
        until = time.monotonic() + LIMIT
        for each in processes:
            each.join(max(0, until - time.monotonic()))
            each.kill()
            each.join()
        texts = [[log.with_suffix(suffix).read_text() for suffix in (".out", ".err")] for log in logs]
        return [Ended(each.exitcode, *text) for each, text in zip(processes, texts, strict=True)]

    return run


def results(out: Path) -> dict:
    """What results.json holds, but for what differs from run to run."""
    content = json.loads((out / "results.json").read_text())
    return {name: value for name, value in content.items() if name not in TIMELESS}


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict:
    """The results of one process."""
    out = tmp_path_factory.mktemp("alone") / "r"
    run(out, "", 0)
    return results(out)


def test_two_processes_write_the_results_of_one(alone, shared, tmp_path):
    done = shared(tmp_path / "r")
    assert [(code, out) for code, out, _ in done] == [(0, "20 samples\n")] * 2, done
    assert results(tmp_path / "r") == alone
    assert sorted("under attack:" in err for *_, err in done) == [False, True], "one shows how far they are"
    lines = (tmp_path / "r" / "records.jsonl").read_text().splitlines()
    ids, all_ids = [json.loads(line)["sample_id"] for line in lines], [f"s{k}" for k in range(20)]
    assert sorted(ids) == sorted(all_ids)
    assert ids != all_ids, "both did some: the lines of the second process come behind those of the first"
    left = {path.name for path in (tmp_path / "r").iterdir()}
    assert left == {"curve.png", "records.jsonl", "results.csv", "results.json", "settings.json"}


def test_two_processes_share_the_samples_under_perturbations(shared, tmp_path):
    run(tmp_path / "alone", "perturbed", 0)
    done = shared(tmp_path / "r", "perturbed")
    assert [(code, out) for code, out, _ in done] == [(0, "20 samples\n")] * 2, done
    found = results(tmp_path / "r")
    assert [one["name"] for one in found["perturbations"]] == ["gain", "baseline_wander"]
    assert found == results(tmp_path / "alone")
    assert not list((tmp_path / "r").glob("perturbation*.1.jsonl"))


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_other_with_a_sentence_and_one_process_goes_on(alone, shared, tmp_path, killed):
    done = shared(tmp_path / "r", f"kill {killed}")
    assert done[killed][0] == -9
    code, _, stderr = done[1 - killed]
    assert code == 2
    assert stderr.count("is gone: it was killed") == 1
    assert "Give the same command again: it goes on where it was." in stderr
    assert not (tmp_path / "r" / "results.json").exists()
    parts = [tmp_path / "r" / name for name in ("records.jsonl", "records.1.jsonl")]
    kept = [line for part in parts if part.is_file() for line in part.read_text().splitlines()]
    assert len(kept) == len(set(kept)) >= 2
    with open(parts[1], "a") as part:
        part.write(kept[0][:30])
    assert [code for code, *_ in shared(tmp_path / "r", size=1)] == [0]
    assert results(tmp_path / "r") == alone
    lines = (tmp_path / "r" / "records.jsonl").read_text().splitlines()
    assert set(kept) <= set(lines)
    assert len(lines) == len(set(lines)) == 20
    assert not parts[1].exists()


def test_two_processes_go_on_where_one_was_killed(alone, shared, tmp_path):
    assert [code for code, *_ in shared(tmp_path / "r", "kill 0", size=1)] == [-9] * 1
    kept = (tmp_path / "r" / "records.jsonl").read_text()
    assert kept.count("\n") == 2
    assert [code for code, *_ in shared(tmp_path / "r")] == [0, 0]
    assert results(tmp_path / "r") == alone
    assert (tmp_path / "r" / "records.jsonl").read_text().startswith(kept)


def test_what_is_wrong_is_said_once(shared, tmp_path):
    done = shared(tmp_path / "r", "bad sample")
    assert [code for code, *_ in done] == [2, 2]
    assert "".join(ended.err for ended in done).count("Sample 's9' has an image with NaN") == 1


def test_processes_with_other_samples_are_refused(shared, tmp_path):
    done = shared(tmp_path / "r", "other data")
    assert [code for code, *_ in done] == [2, 2]
    said = "".join(stderr for *_, stderr in done)
    assert said.count("Process 1 of 2 has another data_sha256") == 1
    assert "no DistributedSampler is needed" in said
    assert not (tmp_path / "r" / "records.jsonl").exists()


def test_processes_of_a_group_share_an_evaluation_called_from_python(alone, shared, tmp_path):
    assert [(code, out) for code, out, _ in shared(tmp_path / "r", "group")] == [(0, "20 samples\n")] * 2
    assert results(tmp_path / "r") == alone


def test_a_process_of_a_group_evaluates_alone_where_the_other_does_not_call_it(alone, shared, tmp_path):
    assert [(code, out) for code, out, _ in shared(tmp_path / "r", "group alone")] == [(0, ""), (0, "20 samples\n")]
    assert results(tmp_path / "r") == alone


def test_processes_of_a_group_that_write_to_folders_of_their_own_share_nothing(alone, shared, tmp_path):
    assert [code for code, *_ in shared(tmp_path, "group apart")] == [0, 0]
    assert results(tmp_path / "0") == results(tmp_path / "1") == alone


def test_parts_become_lines_of_the_file_once_even_if_joining_them_was_interrupted(tmp_path):
    first, second, third = (AttackedImage(sample_id=name, correct=True, broken=False) for name in "abc")
    whole = RecordFile(tmp_path / "records.jsonl", AttackedImage)
    part = RecordFile(tmp_path / "records.3.jsonl", AttackedImage)
    whole.append([first])
    RecordFile(whole.file, AttackedImage, part=3).append([second, third])
    kept = part.file.read_text()
    assert whole.peek() == [first]
    assert whole.read() == [first, second, third]
    assert not part.file.exists()
    part.file.write_text(kept + '{"sample')
    assert whole.read() == whole.peek() == [first, second, third]
    assert not part.file.exists()


def test_a_folder_is_not_taken_while_another_process_still_adds_to_its_part(tmp_path):
    refused = pytest.raises(FileExistsError, match="Another process is writing")
    with FileLock(tmp_path / ".lock.1"), refused, one_writer(tmp_path):
        pass
    (tmp_path / ".lock.2").touch()
    with one_writer(tmp_path):
        assert not (tmp_path / ".lock.2").exists(), "left by a process that was killed"


def test_each_process_sees_its_own_gpu():
    assert _own_gpu({"LOCAL_RANK": "1"}, 4) == {"CUDA_VISIBLE_DEVICES": "1", "LOCAL_RANK": "0"}
    assert _own_gpu({"LOCAL_RANK": "1", "CUDA_VISIBLE_DEVICES": "6,7"}, 2)["CUDA_VISIBLE_DEVICES"] == "7"
    assert _own_gpu({"LOCAL_RANK": "3"}, 2)["CUDA_VISIBLE_DEVICES"] == "1", "more processes than GPUs share them"
    assert _own_gpu({"LOCAL_RANK": "1"}, 1) == _own_gpu({}, 4) == {}
