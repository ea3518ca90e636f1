"""The scripts that get Fashion-MNIST, SVHN, CIFAR-10 and CIFAR-100, on small files of the same formats."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import subprocess
import sys
import tarfile

import public_files
import pytest
from conftest import REPO
from script_runs import run_script, serve
from small_image_files import write_cifar10, write_cifar100, write_fashion_mnist, write_svhn

WRITERS = {
    "fashion_mnist": write_fashion_mnist,
    "svhn": write_svhn,
    "cifar10": write_cifar10,
    "cifar100": write_cifar100,
}
NAMES = list(WRITERS)


class Published:
    """Small published files of a data set, whose checksums the scripts know."""

    def __init__(self, name, folder, monkeypatch):
        self.name, self.folder, self.monkeypatch = name, folder, monkeypatch
        self.classes = 100 if name == "cifar100" else 10
        WRITERS[name](folder)
        files = {file.name: file for file in folder.rglob("*") if file.is_file()}
        self.served = list(files.values())
        self.know(md5={key: md5(files[key]) for key in self.files.md5})
        if self.files.archive:
            self.served = [folder / self.files.archive]
            (inside,) = [path for path in folder.iterdir() if path.is_dir()]
            with tarfile.open(self.served[0], "w:gz") as pack:
                pack.add(inside, inside.name)
            self.know(archive_md5=md5(self.served[0]))
        self.names = sorted(self.files.md5)

    @property
    def files(self):
        return public_files.FILES[self.name]

    def know(self, **changes):
        """Change what the scripts know of the files."""
        self.monkeypatch.setitem(public_files.FILES, self.name, dataclasses.replace(self.files, **changes))


def md5(file):
    return hashlib.md5(file.read_bytes()).hexdigest()


@pytest.fixture(params=NAMES)
def published(request, tmp_path, monkeypatch):
    return Published(request.param, tmp_path / "served", monkeypatch)


@pytest.fixture
def run(published, capsys):
    name, chosen = ("cifar10", ["--classes", 100]) if published.classes == 100 else (published.name, [])
    script = importlib.import_module(f"get_{name}")
    return lambda *arguments: run_script(script.get, capsys, *arguments, *chosen)


@pytest.fixture
def server(published):
    """Serves the files at the published address."""
    content = {file.name: file.read_bytes() for file in published.served}
    with serve(lambda name: content[name]) as state:
        published.know(url=f"{state.url}/")
        yield state


def visible(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_files_are_downloaded_checked_and_counted(published, run, server, tmp_path):
    done = run("--out", tmp_path / "data" / "o")
    assert done.status == 0, done.error
    assert visible(tmp_path / "data" / "o") == published.names
    lines = done.out.splitlines()
    assert lines[0] == f"0 of {len(published.names)} files were there already."
    classes = published.classes
    assert lines[1].split() == ["images", "all", *map(str, range(classes))]
    assert lines[2].split() == ["train", str(4 * classes), *["4"] * classes]
    assert lines[3].split() == ["test", str(2 * classes), *["2"] * classes]
    asked = len(server.asked)
    again = run("--out", tmp_path / "data" / "o")
    assert again.status == 0, again.error
    assert again.out.startswith(f"{len(published.names)} of {len(published.names)} files were there already.")
    assert len(server.asked) == asked == len(published.served)


def test_only_what_is_not_there_is_fetched(published, run, server, tmp_path):
    assert run("--out", tmp_path / "o").status == 0
    gone = tmp_path / "o" / published.names[1]
    kept = {name: (tmp_path / "o" / name).stat().st_mtime_ns for name in published.names if name != gone.name}
    gone.unlink()
    server.asked.clear()
    assert run("--out", tmp_path / "o").status == 0
    assert visible(tmp_path / "o") == published.names
    assert {name: (tmp_path / "o" / name).stat().st_mtime_ns for name in kept} == kept
    assert server.asked == ([] if published.files.archive else [(gone.name, None)])


def test_a_broken_download_goes_on_where_it_stopped(published, run, server, tmp_path):
    server.break_at[published.files.archive or next(iter(published.files.md5))] = 100
    broken = run("--out", tmp_path / "a" / "o")
    assert broken.status == 2
    assert "broke off at 100 of" in broken.error
    whole = run("--out", tmp_path / "a" / "o")
    assert whole.status == 0, whole.error
    assert server.asked[:2] == [(server.asked[0][0], None), (server.asked[0][0], "bytes=100-")]
    assert visible(tmp_path / "a" / "o") == published.names


def test_a_download_with_another_checksum_is_refused_and_not_kept(published, run, server, tmp_path):
    whole, server.read = server.read, lambda name: whole(name)[::-1]
    spoilt = run("--out", tmp_path / "a" / "o")
    assert spoilt.status == 2
    assert "has md5" in spoilt.error
    assert not [path for path in (tmp_path / "a").rglob("*") if path.is_file()]
    server.read = whole
    assert run("--out", tmp_path / "a" / "o").status == 0


def test_files_of_a_folder_are_copied_and_left_as_they_were(published, run, tmp_path):
    for archive in (tmp_path / "served").glob("*.tar.gz"):
        archive.unlink()
    before = sorted(tmp_path.rglob("served/**/*"))
    done = run("--out", tmp_path / "o", "--from-dir", tmp_path / "served")
    assert done.status == 0, done.error
    assert visible(tmp_path / "o") == published.names
    assert sorted(tmp_path.rglob("served/**/*")) == before


def test_an_archive_in_a_folder_is_unpacked(published, run, tmp_path):
    if published.files.archive is None:
        pytest.skip("its files are published one by one")
    (tmp_path / "there").mkdir()
    published.served[0].rename(tmp_path / "there" / published.served[0].name)
    done = run("--out", tmp_path / "o", "--from_dir", tmp_path / "there")
    assert done.status == 0, done.error
    assert visible(tmp_path / "o") == published.names
    first, *_, last = published.files.md5
    with tarfile.open(tmp_path / "there" / published.served[0].name, "w:gz") as pack:
        pack.add(tmp_path / "o" / last, last)
    poor = run("--out", tmp_path / "p", "--from_dir", tmp_path / "there", "--skip_checksum")
    assert poor.status == 2
    assert f"{published.files.archive} holds no {first}, expected {first}, " in poor.error


def test_a_damaged_file_is_named_also_without_checksums(published, run, tmp_path):
    for archive in published.folder.glob("*.tar.gz"):
        archive.unlink()
    (victim,) = published.folder.rglob(published.names[-1])
    victim.write_bytes(victim.read_bytes()[:-20])
    refused = run("--out", tmp_path / "o", "--from_dir", published.folder)
    assert refused.status == 2
    assert f"{victim.name} has md5" in refused.error
    assert not (tmp_path / "o").exists()
    unread = run("--out", tmp_path / "o", "--from_dir", published.folder, "--skip_checksum")
    assert unread.status == 2
    assert victim.name in unread.error
    assert visible(tmp_path / "o") == []


def test_a_file_that_is_there_but_differs_is_named_and_not_written_over(published, run, tmp_path):
    (tmp_path / "o").mkdir()
    mine = tmp_path / "o" / published.names[0]
    mine.write_text("mine")
    refused = run("--out", tmp_path / "o", "--from_dir", published.folder)
    assert refused.status == 2
    assert f"{mine} has md5" in refused.error
    assert visible(tmp_path / "o") == [mine.name]
    assert mine.read_text() == "mine"


def test_bad_use_is_refused_in_one_sentence(published, run, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    out = ("--out", tmp_path / "o")
    for arguments, words in [
        ((), "--out is missing"),
        ((*out, "--formdir", "x"), "Unknown option --formdir, expected out, from_dir"),
        ((*out, "--from_dir", tmp_path, "--url", "http://x"), "Got several sources"),
        ((*out, "--skip_checksum"), "Got --skip_checksum alone"),
        ((*out, "--from_dir", tmp_path / "none"), "none does not exist"),
        ((*out, "--from_dir", tmp_path / "empty"), f"empty holds no {next(iter(published.files.md5))}"),
        (("--out", tmp_path / "file", "--from_dir", tmp_path), "is a file, expected a folder"),
        ((*out, "--url", "http://127.0.0.1:9"), "Cannot download http://127.0.0.1:9/"),
    ]:
        done = run(*arguments)
        assert done.status == 2, arguments
        assert words in done.error


@pytest.mark.parametrize("name", NAMES)
def test_the_published_names_and_checksums_are_complete(name):
    files = public_files.FILES[name]
    checksums = [*files.md5.values(), *([files.archive_md5] if files.archive else [])]
    assert all(len(value) == 32 and int(value, 16) for value in checksums)
    assert len(set(checksums)) == len(checksums)
    assert files.url.endswith("/")


def test_other_numbers_of_classes_than_cifars_are_refused_before_anything_is_fetched(tmp_path, capsys):
    for classes in ("20", "0", "ten", "[100]", "100.0"):
        refused = run_script(public_files.command("cifar10"), capsys, "--out", tmp_path / "o", "--classes", classes)
        assert refused.status == 2
        assert refused.err == f"Got --classes {classes}, expected 10 (CIFAR-10) or 100 (CIFAR-100).\n"
    other = run_script(public_files.command("svhn"), capsys, "--out", tmp_path / "o", "--classes", 10)
    assert other.status == 2
    assert other.err == "Unknown option --classes, expected out, from_dir, url or skip_checksum.\n"
    assert not (tmp_path / "o").exists()


def test_help_names_the_options():
    done = subprocess.run(
        [sys.executable, str(REPO / "data_scripts" / "get_svhn.py"), "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "from_dir" in done.stdout + done.stderr
