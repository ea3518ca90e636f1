"""Python processes that are forked off one which has imported torch, MONAI and this package: a start takes no seconds.

``python warm_python.py serve SOCKET`` is that process. ``python warm_python.py SOCKET NAME arguments...`` runs a
command line in a fork of it, with the caller's folder, environment and standard streams, and ends with its exit status;
NAME is ``python`` or ``monai-ima``. SIGINT and SIGTERM are passed on to the fork, and it ends a moment after who asked
for it has ended. What a process imports and says at its very start is not seen in such a fork: tests of these start a
process of their own.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

STREAMS = 3
NAMES = ("python", "python3", "monai-ima")


def serve(path: str) -> None:
    """Fork for every connection, until the parent process is gone."""
    preload()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    listener.settimeout(1)
    parent = os.getppid()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while os.getppid() == parent:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            answer(connection)
        connection.close()


def preload() -> None:
    """What most commands import."""
    import ignite.handlers
    import matplotlib.pyplot
    import monai.bundle.scripts
    import monai.data
    import monai.engines
    import monai.networks.nets
    import monai.transforms
    import sklearn.metrics
    import torch
    import torch._dynamo

    import monai_ima.cli.app
    import monai_ima.evaluation
    import monai_ima.handlers
    import monai_ima.report

    assert all((ignite, matplotlib, monai, monai_ima, sklearn, torch))
    look_through_modules_once()
    monai.bundle.ComponentLocator().get_component_module_name("UNet")
    collect_less()


def collect_less() -> None:
    """What is there by now stays: collections of garbage leave it alone, and come seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def look_through_modules_once() -> None:
    """MONAI lists what each of its modules holds anew for every config; here each module is looked at once."""
    from monai.bundle import ComponentLocator

    look = ComponentLocator._find_classes_or_functions
    held = functools.cache(lambda module: list(look(None, module)))

    def found(_, modules):
        table = {}
        for module in modules:
            for name in held(module):
                table.setdefault(name, []).append(module)
        return table

    ComponentLocator._find_classes_or_functions = found


def answer(connection: socket.socket) -> None:
    """Run what a connection asks for in a further fork, and send its exit status."""
    request, streams, _, _ = socket.recv_fds(connection, 1 << 16, STREAMS)
    while not request.endswith(b"\n"):
        request += connection.recv(1 << 16)
    runner = os.fork()
    if runner == 0:
        connection.close()
        for k, stream in enumerate(streams):
            os.dup2(stream, k)
            os.close(stream)
        asked = json.loads(request)
        os.chdir(asked["folder"])
        os.environ.clear()
        os.environ.update(asked["environment"])
        os._exit(ended(lambda: run(asked["name"], asked["arguments"])))
    ended_by_itself = os.pidfd_open(runner)
    watched: list[Any] = [ended_by_itself, connection]
    while ended_by_itself not in select.select(watched, [], [])[0]:
        for number in connection.recv(64) or [signal.SIGKILL]:
            os.kill(runner, number)
    _, status = os.waitpid(runner, 0)
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def run(name: str, arguments: list[str]) -> None:
    """As ``python`` or ``monai-ima`` would."""
    if not name.startswith("python"):
        sys.argv = [name, *arguments]
        from monai_ima.cli.app import main

        sys.exit(main())
    if arguments[0] == "-u":
        sys.stdout.reconfigure(write_through=True)
        arguments = arguments[1:]
    if arguments[0] == "-m":
        sys.path[0] = os.getcwd()
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif arguments[0] == "-c":
        sys.path[0] = ""
        sys.argv = ["-c", *arguments[2:]]
        exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.path[0] = os.path.dirname(os.path.realpath(arguments[0]))
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")


def ended(program: Callable[[], None]) -> int:
    """The exit status of a program, at whose end Python does what it does at a process's end."""
    status = 0
    try:
        program()
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        status = 1 if isinstance(stop.code, str) else int(stop.code or 0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return status


def ask(path: str, name: str, arguments: list[str]) -> int:
    """Have a command line run; returns its exit status, or ends by the signal that ended it."""
    request = {"folder": os.getcwd(), "environment": dict(os.environ), "name": name, "arguments": arguments}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        data = json.dumps(request).encode() + b"\n"
        sent = socket.send_fds(connection, [data], list(range(STREAMS)))
        connection.sendall(data[sent:])
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: connection.sendall(bytes([number])))
        status = int(connection.recv(64))
    if status < 0:
        with contextlib.suppress(OSError):  # SIGKILL is as it was
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(ask(sys.argv[1], os.path.basename(sys.argv[2]), sys.argv[3:]))
