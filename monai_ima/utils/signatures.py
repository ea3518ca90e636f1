from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["named_settings"]


def named_settings(
    initializer: Callable[..., Any], shared: Callable[..., Any], settings: type
) -> list[inspect.Parameter]:
    """All arguments of a class whose ``__init__`` takes ``**settings``, these by their names.

    Args:
        initializer: the class's ``__init__``.
        shared: the ``__init__`` that declares the settings, with their defaults.
        settings: the ``TypedDict`` of the settings.
    """
    declared = list(inspect.signature(initializer).parameters.values())[1:]
    if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in declared):
        return declared
    defaults = inspect.signature(shared).parameters
    named = [parameter for parameter in declared if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
    return [*named, *(defaults[name].replace(kind=inspect.Parameter.KEYWORD_ONLY) for name in settings.__annotations__)]
