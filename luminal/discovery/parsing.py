"""Bytes → syntax tree, as the interpreter reads them, or an error with its line."""

from __future__ import annotations

import ast
import contextlib
import threading
import warnings

from luminal.errors import PhotonSyntaxError, PhotonUnreadableError

__all__ = ["parse"]

_FILTERS = threading.Lock()


def parse(data: bytes, path: str) -> ast.Module:
    """Return the syntax tree of *data*; encoding cookies and marks are honoured.

    Raises:
        PhotonUnreadableError: It holds null bytes or is not in its encoding.
        PhotonSyntaxError: It is not Python.
    """
    null = data.find(b"\0")
    if null >= 0:
        raise PhotonUnreadableError(
            "is not text",
            file=path,
            line=data.count(b"\n", 0, null) + 1,
            why="it holds null bytes",
            hint="save it as UTF-8",
        )
    try:
        return _compiled(data, path)
    except SyntaxError as error:
        _check_encoding(data, path)
        raise PhotonSyntaxError(
            "is not valid Python",
            file=path,
            line=error.lineno,
            why=error.msg,
            hint="mend the syntax",
        ) from None
    except (ValueError, LookupError, OverflowError) as error:
        _check_encoding(data, path)
        raise PhotonSyntaxError(
            "is not valid Python", file=path, why=str(error), hint="mend the syntax"
        ) from None


def _compiled(data: bytes, path: str) -> ast.Module:
    quiet = contextlib.ExitStack()
    if b"\\" in data:
        # The parser warns of escapes that it does not know. That is for the author,
        # not for the host, which may even turn warnings into errors. The filters are
        # the process's, so they are changed by one thread at a time, and briefly.
        quiet.enter_context(_FILTERS)
        quiet.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
    with quiet:
        tree = compile(data, path, "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
    assert isinstance(tree, ast.Module)  # noqa: S101  (what "exec" makes)
    return tree


def _check_encoding(data: bytes, path: str) -> None:
    import io
    import tokenize

    encoding = "utf-8"
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        data.decode(encoding)
    except (SyntaxError, ValueError, LookupError) as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        raise PhotonUnreadableError(
            "is not in its encoding",
            file=path,
            line=data.count(b"\n", 0, start) + 1,
            why=str(error),
            hint="save it as UTF-8, or name its encoding in the first line (PEP 263)",
        ) from None
