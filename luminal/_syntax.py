"""Syntax trees of texts that are not trusted, parsed while other threads parse."""

from __future__ import annotations

import ast
import threading
import warnings
from typing import Final

__all__ = ["UNREADABLE", "parse"]

UNREADABLE: Final = (
    SyntaxError,
    ValueError,
    LookupError,
    OverflowError,
    RecursionError,
    MemoryError,
)
"""What `parse`, and a walk over what it returns, raise for an odd text."""

_TRIES: Final = 100

_FILTERS = threading.Lock()


def parse(text: str | bytes, path: str = "<unknown>") -> ast.Module:
    """Return the syntax tree of *text*; encoding cookies and marks are honoured.

    CPython 3.11 has one count of nested nodes for all threads. Where the garbage
    collector lets another thread run in the middle, `compile` may raise `SystemError`
    ("AST constructor recursion depth mismatch"), so it is tried again.

    Args:
        text: The text, or its bytes.
        path: Path of its file, for errors.

    Raises:
        SyntaxError: It is no Python.
        ValueError, LookupError, OverflowError: It is no text.
        RecursionError, MemoryError: It is nested too deeply to be read here and now.
    """
    sign = "\\" if isinstance(text, str) else b"\\"
    if sign not in text:  # type: ignore[operator]
        return _parse(text, path)
    # The parser warns of escapes that it does not know. That is for the author, not for
    # the host, which may even turn warnings into errors. The filters are the process's,
    # so they are changed by one thread at a time, and briefly.
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _parse(text, path)


def _parse(text: str | bytes, path: str) -> ast.Module:
    for _ in range(_TRIES):
        try:
            tree = compile(text, path, "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
        except SystemError:
            continue
        assert isinstance(tree, ast.Module)  # noqa: S101  (what "exec" makes)
        return tree
    raise RecursionError("the interpreter has lost count of nested nodes")
