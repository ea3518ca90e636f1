"""The scripts that get Fashion-MNIST, SVHN, CIFAR-10 and CIFAR-100, on small files of the same formats."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import tarfile

import public_files
import pytest
from script_runs import Script, serve
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
def script(published, capsys):
    name, chosen = ("cifar10", ["--classes", 100]) if published.classes == 100 else (published.name, [])
    return Script(importlib.import_module(f"get_{name}").get, capsys, *chosen)


@pytest.fixture
def server(published):
    """Serves the files at the published address."""
    content = {file.name: file.read_bytes() for file in published.served}
    with serve(lambda name: content[name]) as state:
        published.know(url=f"{state.url}/")
        yield state


def visible(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_files_are_downloaded_checked_and_counted(published, script, server, tmp_path):
    lines = script.run("--out", tmp_path / "data" / "o").splitlines()
    assert visible(tmp_path / "data" / "o") == published.names
    assert lines[0] == f"0 of {len(published.names)} files were there already."
    classes = published.classes
    assert lines[1].split() == ["images", "all", *map(str, range(classes))]
    assert lines[2].split() == ["train", str(4 * classes), *["4"] * classes]
    assert lines[3].split() == ["test", str(2 * classes), *["2"] * classes]
    asked = len(server.asked)
    again = script.run("--out", tmp_path / "data" / "o")
    assert again.startswith(f"{len(published.names)} of {len(published.names)} files were there already.")
    assert len(server.asked) == asked == len(published.served)


def test_only_what_is_not_there_is_fetched(published, script, server, tmp_path):
    script.run("--out", tmp_path / "o")
    gone = tmp_path / "o" / published.names[1]
    kept = {name: (tmp_path / "o" / name).stat().st_mtime_ns for name in published.names if name != gone.name}
    gone.unlink()
    server.asked.clear()
    script.run("--out", tmp_path / "o")
    assert visible(tmp_path / "o") == published.names
    assert {name: (tmp_path / "o" / name).stat().st_mtime_ns for name in kept} == kept
    assert server.asked == ([] if published.files.archive else [(gone.name, None)])


def test_a_broken_download_goes_on_where_it_stopped(published, script, server, tmp_path):
    server.break_at[published.files.archive or next(iter(published.files.md5))] = 100
    assert "broke off at 100 of" in script.refused("--out", tmp_path / "a" / "o")
    script.run("--out", tmp_path / "a" / "o")
    assert server.asked[:2] == [(server.asked[0][0], None), (server.asked[0][0], "bytes=100-")]
    assert visible(tmp_path / "a" / "o") == published.names


def test_a_download_with_another_checksum_is_refused_and_not_kept(published, script, server, tmp_path):
    whole, server.read = server.read, lambda name: whole(name)[::-1]
    assert "has md5" in script.refused("--out", tmp_path / "a" / "o")
    assert not [path for path in (tmp_path / "a").rglob("*") if path.is_file()]
    server.read = whole
    script.run("--out", tmp_path / "a" / "o")


def test_files_of_a_folder_are_copied_and_left_as_they_were(published, script, tmp_path):
    for archive in (tmp_path / "served").glob("*.tar.gz"):
        archive.unlink()
    before = sorted(tmp_path.rglob("served/**/*"))
    script.run("--out", tmp_path / "o", "--from-dir", tmp_path / "served")
    assert visible(tmp_path / "o") == published.names
    assert sorted(tmp_path.rglob("served/**/*")) == before


def test_an_archive_in_a_folder_is_unpacked(published, script, tmp_path):
    if published.files.archive is None:
        pytest.skip("its files are published one by one")
    (tmp_path / "there").mkdir()
    published.served[0].rename(tmp_path / "there" / published.served[0].name)
    script.run("--out", tmp_path / "o", "--from_dir", tmp_path / "there")
    assert visible(tmp_path / "o") == published.names
    first, *_, last = published.files.md5
    with tarfile.open(tmp_path / "there" / published.served[0].name, "w:gz") as pack:
        pack.add(tmp_path / "o" / last, last)
    poor = script.refused("--out", tmp_path / "p", "--from_dir", tmp_path / "there", "--skip_checksum")
    assert f"{published.files.archive} holds no {first}, expected {first}, " in poor


def test_a_damaged_file_is_named_also_without_checksums(published, script, tmp_path):
    for archive in published.folder.glob("*.tar.gz"):
        archive.unlink()
    (victim,) = published.folder.rglob(published.names[-1])
    victim.write_bytes(victim.read_bytes()[:-20])
    source = ("--out", tmp_path / "o", "--from_dir", published.folder)
    assert f"{victim.name} has md5" in script.refused(*source)
    assert not (tmp_path / "o").exists()
    assert victim.name in script.refused(*source, "--skip_checksum")
    assert visible(tmp_path / "o") == []


def test_a_file_that_is_there_but_differs_is_named_and_not_written_over(published, script, tmp_path):
    (tmp_path / "o").mkdir()
    mine = tmp_path / "o" / published.names[0]
    mine.write_text("mine")
    assert f"{mine} has md5" in script.refused("--out", tmp_path / "o", "--from_dir", published.folder)
    assert visible(tmp_path / "o") == [mine.name]
    assert mine.read_text() == "mine"


def test_bad_use_is_refused_in_one_sentence(published, script, tmp_path):
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
        assert words in script.refused(*arguments)


@pytest.mark.parametrize("name", NAMES)
def test_the_published_names_and_checksums_are_complete(name):
    files = public_files.FILES[name]
    checksums = [*files.md5.values(), *([files.archive_md5] if files.archive else [])]
    assert all(len(value) == 32 and int(value, 16) for value in checksums)
    assert len(set(checksums)) == len(checksums)
    assert files.url.endswith("/")


def test_other_numbers_of_classes_than_cifars_are_refused_before_anything_is_fetched(tmp_path, capsys):
    cifar, svhn = (Script(public_files.command(name), capsys) for name in ("cifar10", "svhn"))
    for classes in ("20", "0", "ten", "[100]", "100.0"):
        cifar.refused("--out", tmp_path / "o", "--classes", classes)
        assert cifar.stderr == f"Got --classes {classes}, expected 10 (CIFAR-10) or 100 (CIFAR-100).\n"
    svhn.refused("--out", tmp_path / "o", "--classes", 10)
    assert svhn.stderr == "Unknown option --classes, expected out, from_dir, url or skip_checksum.\n"
    assert not (tmp_path / "o").exists()
