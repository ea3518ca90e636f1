"""Runs of the data scripts in this process, and a server of the files that they download, for the tests."""

from __future__ import annotations

import http.server
import io
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fire
import pytest


class Script:
    """A script's function, run with the arguments of a command line; ``stderr`` is that of the last run.

    Args:
        command: the function.
        capsys: of the test.
        always: the first arguments of every run; a later one of the same name counts.
    """

    def __init__(self, command: Callable[..., None], capsys: pytest.CaptureFixture, *always: object) -> None:
        self.command, self.capsys, self.always, self.stderr = command, capsys, always, ""

    def run(self, *arguments: object) -> str:
        """What it prints; it must succeed."""
        status, out = self._call(arguments)
        assert status == 0, self.stderr
        return out

    def refused(self, *arguments: object) -> str:
        """The last line of stderr, after progress bars; the exit status must be 2."""
        status, _ = self._call(arguments)
        assert status == 2, arguments
        return self.stderr.replace("\r", "\n").strip().rpartition("\n")[2]

    def _call(self, arguments: Iterable[object]) -> tuple[Any, str]:
        status: Any = 0
        try:
            fire.Fire(self.command, [str(a) for a in (*self.always, *arguments)])
        except SystemExit as stop:
            status = stop.code
        out, self.stderr = self.capsys.readouterr()
        return status, out


@contextmanager
def serve(read: Callable[[str], bytes]) -> Iterator[SimpleNamespace]:
    """Serve files over HTTP, whole or from a byte on.

    Args:
        read: gives the bytes of a file by its name.

    Yields:
        ``url`` of a folder; ``asked``, name and range of every request; ``break_at``, by name, the number of bytes
        after which the next answer breaks off.
    """
    state = SimpleNamespace(asked=[], break_at={}, read=read)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name, asked = self.path.rpartition("/")[2], self.headers.get("Range")
            state.asked.append((name, asked))
            data = state.read(name)
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            if asked and start >= len(data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(data)}")
                self.end_headers()
                return
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(data) - start))
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.end_headers()
            self.wfile.write(data[start : state.break_at.pop(name, None)])

        def log_message(self, *_: object) -> None:
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, args=(0.05,), daemon=True).start()
    state.url = f"http://127.0.0.1:{httpd.server_port}/files"
    yield state
    httpd.shutdown()
    httpd.server_close()


def make_tar(path: Path, content: Mapping[str, bytes] | Iterable[tuple[str, bytes]], mode: str = "w:gz") -> Path:
    """Write an archive of names and bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as pack:  # type: ignore[call-overload]
        for name, data in dict(content).items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            pack.addfile(info, io.BytesIO(data))
    return path


def refusal(script: Script, folder: Path, options: list[str]) -> str:
    """The line on stderr of a phantom script that must refuse; USED is a folder with a file in it, NEW is missing."""
    (folder / "USED").mkdir()
    (folder / "USED" / "mine.txt").touch()
    error = script.refused(*[folder / o if o.isupper() else o for o in options])
    assert script.stderr.count("\n") == 1
    assert [p.name for p in folder.rglob("*")] == ["USED", "mine.txt"]
    return error
