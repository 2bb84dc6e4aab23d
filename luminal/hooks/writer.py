"""Writes the code of one caller, with objects among its constants.

In come lines of source, out comes a code object. Callers of one shape share the
compilation; each has a copy of the code of its own, in which CPython specialises what
this caller calls.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, Final

from luminal.hooks.failure import GENERATED

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ABSENT", "Writer", "agateway", "gateway"]

ABSENT: Final = object()
"""Stands for an argument that the caller did not give."""

_cache: dict[str, types.CodeType] = {}
"""Source → code with placeholders. Hooks of one shape share the compilation."""

_CACHE_LIMIT: Final = 512


class Writer:
    """The lines of one caller and the constants in them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.constants: dict[str, object] = {}

    def constant(self, value: object) -> str:
        """Return an expression that evaluates to *value*."""
        key = f"\0{len(self.constants)}"
        self.constants[key] = value
        # The compiler folds the condition away but does not warn of a call of a
        # string, as it would without it.
        return f"({key!r} if 1 else 0)"

    def add(self, depth: int, *lines: str) -> None:
        """Add *lines*, indented by *depth*."""
        self.lines.extend(" " * depth + line for line in lines)

    def code(self, name: str) -> types.CodeType:
        """Compile the lines and put the constants in place of their keys."""
        source = "\n".join(self.lines)
        code = _cache.get(source)
        if code is None:
            if len(_cache) >= _CACHE_LIMIT:
                _cache.clear()
            module = compile(source, GENERATED, "exec", dont_inherit=True)
            code = _function_in(module)
            _cache[source] = code
        constants = self.constants
        return code.replace(
            co_consts=tuple(
                [constants.get(c, c) if type(c) is str else c for c in code.co_consts]
            ),
            co_filename=f"{GENERATED}{name}>",
        )


def _function_in(module: types.CodeType) -> types.CodeType:
    return next(c for c in module.co_consts if isinstance(c, types.CodeType))


def gateway(target: Callable[[dict[str, Any]], Any], name: str) -> types.CodeType:
    """Return code that hands a call's arguments to *target* as a dict."""
    writer = Writer()
    writer.add(
        0,
        "def __call__(luminal_self, /, **luminal_kwargs):",
        f" return {writer.constant(target)}(luminal_kwargs)",
    )
    return writer.code(name)


def agateway(target: Callable[[dict[str, Any]], Any], name: str) -> types.CodeType:
    """Return code that hands an async call's arguments to *target* as a dict."""
    writer = Writer()
    writer.add(
        0,
        "async def __call__(luminal_self, /, **luminal_kwargs):",
        f" return await {writer.constant(target)}(luminal_kwargs)",
    )
    return writer.code(name)
