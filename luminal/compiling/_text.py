"""Compile a text in the compiler process, as if it had been compiled here."""

from __future__ import annotations

import builtins
import marshal
import threading
import warnings
from hashlib import sha512
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from types import CodeType

__all__ = ["LARGE", "answer_for", "compile_text", "is_large"]

LARGE = 32_000
"""Bytes of text from which on it is worth a process. Parsing or compiling as many takes
7 to 30 ms, by how dense the text is; a round trip to the process takes 0.2 ms."""

_FIELDS = ("msg", "filename", "lineno", "offset", "text", "end_lineno", "end_offset")


def is_large(data: bytes) -> bool:
    """Whether reading the text *data* would stop other threads for long.

    Where this is the only thread, there is nobody to be stopped.
    """
    return len(data) >= LARGE and threading.active_count() > 1


def compile_text(data: bytes, path: str, digest: str) -> tuple[CodeType, bytes | None]:
    """Compile *data* as ``compile(data, path, "exec", dont_inherit=True)`` does.

    A large text is compiled in the compiler process, where there is one. Errors and
    warnings are the same.

    Args:
        data: The text.
        path: Path of the file, for tracebacks.
        digest: SHA-512 hex digest of *data*. What is compiled elsewhere is compared
            with it, here and there.

    Returns:
        The code, and the same marshalled where it came marshalled.

    Raises:
        SyntaxError: It is no Python.
        ValueError: It holds null bytes; or it is not what *digest* was made of.
        OverflowError, MemoryError, RecursionError: It is too large or too deep.
    """
    if is_large(data):
        from luminal.compiling._process import (
            CompilerCrashedError,
            NoCompilerError,
            run_in_compiler,
        )

        if sha512(data).hexdigest() != digest:
            raise ValueError("it is not the text that was hashed")
        name = f"{__name__}:answer_for"
        try:
            answer: Any = run_in_compiler(name, data, path, digest, None)
            stop = _warn(answer[-1], path)
            if stop is not None:  # the host has made an error of this warning
                answer = run_in_compiler(name, data, path, digest, stop)
        except CompilerCrashedError as error:
            raise MemoryError(str(error)) from error
        except NoCompilerError:
            pass
        else:
            return _code_of(answer)
    # Without the __future__ flags of this module.
    return compile(data, path, "exec", dont_inherit=True), None


def _warn(warned: list[tuple[str, str, int]], path: str) -> int | None:
    """Repeat the compiler's warnings; return the number of the one that is an error."""
    for number, (category, message, line) in enumerate(warned):
        kind = getattr(builtins, category)
        try:
            warnings.warn_explicit(message, kind, path, line)
        except kind:
            return number
    return None


def _code_of(answer: tuple[str, Any, object]) -> tuple[CodeType, bytes | None]:
    kind, value, _ = answer
    if kind == "code":
        return cast("CodeType", marshal.loads(value)), value  # noqa: S302
    arguments, fields = value
    error = getattr(builtins, kind)(*arguments)
    # The compiler sets some of them later, so they are not all arguments.
    for name, field in zip(_FIELDS, fields, strict=False):
        setattr(error, name, field)
    raise error


def answer_for(
    data: bytes, path: str, digest: str, stop: int | None
) -> tuple[str, object, list[tuple[str, str, int]]]:
    """Compile *data*; in the compiler process.

    Args:
        data: The text.
        path: Path of the file.
        digest: SHA-512 hex digest of *data*.
        stop: Number of the warning that is an error, or None.

    Returns:
        ("code", marshalled code, warnings); or the name of an exception, its arguments
        and fields, and the warnings before it.

    Raises:
        ValueError: *data* is not what *digest* was made of.
    """
    if sha512(data).hexdigest() != digest:
        raise ValueError("the text was changed on its way")
    warned: list[tuple[str, str, int]] = []

    def show(
        message: Warning | str, category: type, _: str, line: int, *__: Any
    ) -> None:
        if len(warned) == stop:
            raise category(str(message))
        warned.append((category.__name__, str(message), line))

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = show  # type: ignore[assignment]
        try:
            code = compile(data, path, "exec", dont_inherit=True)
        except SyntaxError as error:
            fields = tuple(getattr(error, name) for name in _FIELDS)
            return type(error).__name__, (error.args, fields), warned
        except (ValueError, OverflowError, MemoryError, RecursionError) as error:
            return type(error).__name__, ((str(error),), ()), warned
    return "code", marshal.dumps(code), warned
