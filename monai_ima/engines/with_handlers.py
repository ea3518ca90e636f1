from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ignite.engine import Engine

from monai_ima.utils.checks import shown

__all__ = ["with_handlers"]


def with_handlers(
    engine_class: Callable[..., Engine],
    handlers_before: Iterable[Any] = (),
    handlers_after: Iterable[Any] = (),
    train_handlers: Any = None,
    **arguments: Any,
) -> Engine:
    """Build a trainer with more handlers, whatever its handlers are made from: a list, a reference, an expression.

    In a bundle's overlay it takes the place of the trainer's ``_target_``; all other arguments stay as they are and can
    still be overridden, by ``multi_gpu_train.json`` say.

    Args:
        engine_class: the trainer's class.
        handlers_before: attached before those of the trainer; None among them (a disabled component) is left out.
        handlers_after: attached after them; likewise.
        train_handlers: those of the trainer: several, one or None.
        arguments: the trainer's other arguments.

    Raises:
        TypeError: if ``engine_class`` cannot be called, or a further handler has no method ``attach``.
    """
    if not callable(engine_class):
        raise TypeError(f"Got engine_class {shown(engine_class)}, expected the class of a trainer.")
    single = hasattr(train_handlers, "attach")
    given = [] if train_handlers is None else [train_handlers] if single else train_handlers
    before, after = ([handler for handler in more if handler is not None] for more in (handlers_before, handlers_after))
    for handler in (*before, *after):
        if not hasattr(handler, "attach"):
            raise TypeError(f"Got the handler {shown(handler)}, expected one with a method attach.")
    return engine_class(train_handlers=[*before, *given, *after], **arguments)
