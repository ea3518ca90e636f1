"""``python -m monai_ima VERB ...``"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence

import fire

from monai_ima.cli.attack import attack
from monai_ima.cli.evaluate import evaluate
from monai_ima.cli.harden import harden
from monai_ima.cli.margins import margins
from monai_ima.cli.report import report

VERBS: dict[str, Callable[..., None]] = {
    "attack": attack,
    "evaluate": evaluate,
    "harden": harden,
    "margins": margins,
    "report": report,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; 0 on success, 2 on bad use or bad input, with one line on stderr."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _check(arguments)
        if arguments[1:] and {"--help", "-h"} & set(arguments[1:]):
            arguments = [arguments[0], "--", "--help"]
        fire.Fire(VERBS, arguments, name="python -m monai_ima")
    except (ValueError, OSError, KeyError, RuntimeError) as error:
        root = _root(error)
        if isinstance(root, RuntimeError):
            raise
        message = root.args[0] if isinstance(root, KeyError) and root.args else root
        print(" ".join(str(message).split()), file=sys.stderr)
        return 2
    return 0


def _check(arguments: Sequence[str]) -> None:
    """Refuse an unknown verb, an unknown option or a missing one before anything runs."""
    verbs = ", ".join(VERBS)
    if not arguments or arguments[0] in ("--help", "-h"):
        return
    if arguments[0] not in VERBS:
        raise ValueError(f"Unknown verb {arguments[0]!r}, expected one of {verbs}.")
    given = {a[2:].split("=")[0].replace("-", "_") for a in arguments[1:] if a.startswith("--")}
    if given & {"help"} or "-h" in arguments:
        return
    parameters = inspect.signature(VERBS[arguments[0]]).parameters.values()
    known = {p.name for p in parameters}
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
    strange = sorted(given - known)
    if strange and not open_ended:
        raise ValueError(f"Unknown option --{strange[0]}, expected one of {', '.join(sorted(known))}.")
    positional = sum(
        1 for k, a in enumerate(arguments[1:]) if not a.startswith("-") and not _is_value(arguments, k + 1)
    )
    required = [p.name for p in parameters if p.default is p.empty and p.kind is not inspect.Parameter.VAR_KEYWORD]
    missing = [name for name in required[positional:] if name not in given]
    if missing:
        raise ValueError(f"Option --{missing[0]} is missing, expected a value for it (see --help).")


def _is_value(arguments: Sequence[str], position: int) -> bool:
    before = arguments[position - 1]
    return before.startswith("--") and "=" not in before


def _root(error: BaseException) -> BaseException:
    """MONAI wraps what a component raised when it was built: the error that it began with."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


if __name__ == "__main__":
    sys.exit(main())
