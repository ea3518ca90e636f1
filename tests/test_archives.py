"""Archives of others: nothing is written outside the folder, whatever they hold."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile

import pytest
from archives import download, unpack


def tar_of(file, *members):
    """A tar archive of ``(name, content)``, or of a ready TarInfo."""
    with tarfile.open(file, "w") as pack:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                pack.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                pack.addfile(info, io.BytesIO(member[1]))
    return file


def entry(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_of(file, *members, mode=0):
    with zipfile.ZipFile(file, "w") as pack:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            pack.writestr(info, content)
    return file


@pytest.mark.parametrize(
    "name", ["/etc/cron.d/x", "../x", "a/../../x", "..\\x", "C:\\x", "C:x", "\\\\server\\share\\x", "a/b/../../../x"]
)
def test_names_that_lead_out_are_refused(name, tmp_path):
    for make, kind in ((tar_of, "tar"), (zip_of, "zip")):
        file = make(tmp_path / f"a.{kind}", ("good.txt", b"1"), (name, b"2"))
        with pytest.raises(ValueError, match="names a file outside its folder"):
            unpack(file, tmp_path / kind)
        assert {path.name for path in tmp_path.rglob("*")} <= {"a.tar", "a.zip", "tar", "zip", "good.txt"}


@pytest.mark.parametrize(
    "member",
    [
        entry("link", tarfile.SYMTYPE, "/etc/passwd"),
        entry("link", tarfile.SYMTYPE, "good.txt"),
        entry("link", tarfile.LNKTYPE, "good.txt"),
        entry("null", tarfile.CHRTYPE),
        entry("pipe", tarfile.FIFOTYPE),
    ],
    ids=["symbolic link", "link inside", "hard link", "device", "pipe"],
)
def test_links_and_devices_are_refused(member, tmp_path):
    with pytest.raises(ValueError, match="holds a link or a device"):
        unpack(tar_of(tmp_path / "a.tar", ("good.txt", b"1"), member), tmp_path / "out")
    assert not (tmp_path / "out" / member.name).exists()


def test_a_symbolic_link_in_a_zip_is_refused(tmp_path):
    file = zip_of(tmp_path / "a.zip", ("link", "/etc/passwd"), mode=stat.S_IFLNK | 0o777)
    with pytest.raises(ValueError, match="holds a link or a device"):
        unpack(file, tmp_path / "out")


def test_a_long_chain_of_links_cannot_be_used_to_write_elsewhere(tmp_path):
    """CVE-2025-4517: names so deep that ``os.path.realpath`` gives up, over links that lead out of the folder."""
    secret = tmp_path / "secret.txt"
    secret.write_text("kept")
    folder, step, members = "d" * 200, "", []
    for letter in "abcdefghijklmnop":
        members.append(entry(f"{step}{folder}", tarfile.DIRTYPE))
        members.append(entry(f"{step}{letter}", tarfile.SYMTYPE, folder))
        step += f"{letter}/"
    members.append(entry(f"{step}{'l' * 200}", tarfile.SYMTYPE, "../" * 16))
    members.append(entry("escape", tarfile.SYMTYPE, f"{step}{'l' * 200}/../secret.txt"))
    with pytest.raises(ValueError, match="holds a link or a device"):
        unpack(tar_of(tmp_path / "a.tar", *members, ("escape", b"overwritten")), tmp_path / "out")
    assert secret.read_text() == "kept"


def test_an_archive_larger_than_the_limit_is_refused(tmp_path):
    parts = [(f"{k}.bin", bytes(600)) for k in range(3)]
    for make, kind in ((tar_of, "tar"), (zip_of, "zip")):
        file = make(tmp_path / f"a.{kind}", *parts)
        with pytest.raises(ValueError, match="would unpack to more than 1500 bytes"):
            unpack(file, tmp_path / f"small_{kind}", limit=1500)
        unpack(file, tmp_path / kind, limit=1800)
        assert [path.stat().st_size for path in sorted((tmp_path / kind).iterdir())] == [600] * 3


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/a.zip", "/etc/passwd", "data:,x"])
def test_only_http_addresses_are_read(url, tmp_path):
    with pytest.raises(ValueError, match=r"expected one that begins with http:// or https://"):
        download(url, tmp_path)
    assert not list(tmp_path.iterdir())
