"""What the scripts share: options, refusals in one line with exit status 2, and a folder that appears whole or not."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import fire


def run(command: Callable[..., None]) -> None:
    """Make a command line of a function; ``--help`` prints its docstring."""
    fire.Fire(command, ["--", "--help"] if {"--help", "-h"} & set(sys.argv[1:]) else None)


@contextmanager
def refusals() -> Iterator[None]:
    """Print an error on one line of stderr and exit with status 2."""
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)


def check_options(unknown: Mapping[str, object], known: str, out: str) -> None:
    """Refuse options that do not exist, and a missing ``--out``.

    Args:
        unknown: the options that the script does not know.
        known: those that it knows, for the error.
        out: the folder to write to; "" if it was not given.

    Raises:
        ValueError: if there is an unknown option or ``--out`` is missing.
    """
    if unknown:
        raise ValueError(f"Unknown option --{next(iter(unknown))}, expected {known}.")
    if out == "":
        raise ValueError("Option --out is missing, expected the folder to write to.")


def check_one_source(**sources: object) -> None:
    """Refuse more than one source of data.

    Args:
        sources: value of each option that names a source; None if it was not given.

    Raises:
        ValueError: if two or more are given.
    """
    if sum(source is not None for source in sources.values()) > 1:
        *names, last = (f"--{name}" for name in sources)
        raise ValueError(f"Got several sources, expected one of {', '.join(names)} and {last}.")


def find_unpacked(from_dir: str, find: Callable[[Path], Path], target: Path) -> Path:
    """The folder of a data set below one that holds its unpacked archive, to be copied.

    Args:
        from_dir: folder that holds the unpacked archive.
        find: finds the data set's folder below it.
        target: where it is copied to.

    Raises:
        FileNotFoundError: when there is no such folder.
        ValueError: when the target is inside the folder that would be copied.
    """
    source = Path(str(from_dir))
    if not source.is_dir():
        raise FileNotFoundError(f"Folder {source} does not exist, expected the unpacked archive.")
    root = find(source)
    if target.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"Folder {target} is inside the scans' own folder {root}, expected one outside of it.")
    return root


@contextmanager
def new_folder(out: str) -> Iterator[tuple[Path, Path]]:
    """A folder that is written beside its target and moved there when all went well.

    Args:
        out: the target, an empty or missing folder.

    Yields:
        the target's absolute path, and the path in a scratch folder to write to: it does not exist yet, and the scratch
        folder around it is removed at the end.

    Raises:
        FileExistsError: if the target is a file or holds anything.
    """
    target = Path(str(out)).absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target} exists already, expected an empty or missing folder.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".getting-") as scratch:
        ready = Path(scratch) / "ready"
        yield target, ready
        if target.exists():
            target.rmdir()
        ready.rename(target)
