"""Turn what a photon's code raised into an error that names file, line and remedy.

`load_failure`, `start_failure` and `finalize_failure` are for the three steps in which
a photon may fail. Nothing in here keeps a frame of the photon's, and nothing raises.
"""

from __future__ import annotations

import builtins
import linecache
import os
import re
import sys
from inspect import signature
from typing import TYPE_CHECKING, cast

import pluggy

from luminal._plain import (
    cause_of,
    error_text,
    names_of,
    namespace_of,
    plain,
    steps_of,
    traceback_of,
)
from luminal.errors import (
    LockFileError,
    LuminalError,
    PhotonConflictError,
    PhotonDependencyError,
    PhotonFinalizeError,
    PhotonImportError,
    PhotonStartError,
    PhotonSyntaxError,
    PhotonUnreadableError,
    PhotonValidationError,
    PhotonVerificationError,
    did_you_mean,
)
from luminal.interfaces import hookimpl, hookspec
from luminal.model import Frame

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType
    from typing import TypeGuard

__all__ = [
    "error_position",
    "finalize_failure",
    "frames_of",
    "load_failure",
    "start_failure",
    "suggestion",
]

_FIRST, _LAST = 4, 12
"""Frames of a long traceback that are kept: at its beginning and at its end."""

_WIDTH = 200
"""Characters that are kept of a line."""

_OURS = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")
_STANDARD = os.path.join(os.path.dirname(os.__file__), "")
_SITES = ("site-packages", "dist-packages")


def frames_of(error: BaseException, location: str) -> tuple[Frame, ...]:
    """Return the traceback of *error* as values, the innermost frame last.

    Of a long traceback some frames are kept: of the author's and of other people's.

    Args:
        error: What was raised.
        location: The photon's file; what lies beside and below it is its author's.
    """
    folder = _author_folder(location)
    trace = [
        (frame, line, _is_own(frame.f_code.co_filename, folder))
        for frame, line in steps_of(error)
    ]
    kept: set[int] = set()
    for kind in (True, False):
        indices = [i for i, (_, _, is_own) in enumerate(trace) if is_own is kind]
        kept |= {*indices[:_FIRST], *indices[-_LAST:]}
    return tuple(_frame(*trace[index]) for index in sorted(kept))


def _frame(frame: FrameType, line: int, is_own: bool) -> Frame:
    code = frame.f_code
    text = _text(frame, code.co_filename, line) if is_own else ""
    return Frame(code.co_filename, line, code.co_qualname, text, is_own)


def _author_folder(location: str) -> str:
    """Return how the paths of the author's files begin."""
    directory, _ = os.path.split(location)
    if not directory or os.path.basename(directory) in _SITES:
        return location  # a lone module among those of others
    return os.path.join(directory, "")


def _is_own(file: str, folder: str) -> bool:
    if folder and file.startswith(folder):
        return True
    is_library = any(f"{os.sep}{site}{os.sep}" in file for site in _SITES)
    return not (is_library or file.startswith(("<", _OURS, _STANDARD)))


def _text(frame: FrameType, file: str, line: int) -> str:
    """Return a line as it was compiled; the file may have changed since."""
    try:
        loader = frame.f_globals["__loader__"]
        source = loader.get_source(frame.f_globals["__name__"]).split("\n")
        return str(source[line - 1]).strip()[:_WIDTH]
    except BaseException:  # noqa: BLE001 - a module may hold anything there
        return linecache.getline(file, line).strip()[:_WIDTH]


# Compiled when something has failed, not at start-up.
_OPTION = r"(\w+)\.__call__\(\) got an unexpected keyword argument '(\w+)'"
_IMPORT = r"cannot import name '(\w+)'"


def suggestion(error: BaseException, before: str = "") -> str:
    """Return "did you mean 'x'?" where *error* says that a name does not exist.

    Python itself suggests names in printed tracebacks only, and not every version for
    every kind of error. Where nothing is similar, the string is empty.

    Args:
        error: What was raised.
        before: Put before the question.
    """
    try:
        name, known = _missing_name(error)
        # A private name is hardly what was meant.
        public = [each for each in map(plain, known) if not each.startswith("_")]
        return did_you_mean(name, public, before)
    except BaseException:  # noqa: BLE001 - a photon's own class may do anything
        return ""


def _missing_name(error: BaseException) -> tuple[str, Iterable[str]]:
    """Return the name that was not found, and those that were there."""
    # Nothing is asked that the class of the exception may define itself.
    kind = type(error)
    if issubclass(kind, NameError):
        return _field(NameError, "name", error), _visible_names(error)
    if issubclass(kind, AttributeError):
        of = vars(AttributeError)["obj"].__get__(error)
        return _field(AttributeError, "name", error), names_of(of)
    if issubclass(kind, ModuleNotFoundError):
        known = {*sys.stdlib_module_names, *sys.modules}
        return _field(ImportError, "name", error), known
    if issubclass(kind, ImportError):
        found = re.search(_IMPORT, plain(error))
        module = sys.modules.get(_field(ImportError, "name", error))
        return found[1] if found else "", names_of(module)
    return _option(plain(error)) if issubclass(kind, TypeError) else ("", ())


def _field(cls: type[BaseException], name: str, error: BaseException) -> str:
    """Return the text that *cls*, a class of Python's own, keeps as *name*."""
    value = vars(cls)[name].__get__(error)
    return plain(value, _WIDTH) if issubclass(type(value), str) else ""


def _visible_names(error: BaseException) -> set[str]:
    """Return the names that the code could use which raised *error*."""
    trace = traceback_of(error)
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return set()
    frame = trace.tb_frame
    return {*frame.f_locals, *frame.f_globals, *dir(builtins)}


def _option(text: str) -> tuple[str, Iterable[str]]:
    """Return the option that a marker does not have by *text*, and those it has."""
    found = re.search(_OPTION, text)
    for marker in (hookimpl, hookspec):
        if found and found[1] == type(marker).__name__:
            return found[2], signature(marker).parameters
    return "", ()


NOT_LOADED = "it is not loaded"
NOT_STARTED = "it does not run; what it had started has been ended"

_PHASES: tuple[tuple[type[LuminalError], str], ...] = (
    (PhotonUnreadableError, "read"),
    (PhotonSyntaxError, "compile"),
    (PhotonDependencyError, "order"),
    (PhotonValidationError, "validate"),
    (PhotonConflictError, "validate"),
    (PhotonVerificationError, "verify"),
    (LockFileError, "verify"),
)


def _remedy(name: str, location: str) -> str:
    """Return what to do where a module is missing.

    Args:
        name: Its full name.
        location: File of the photon that imports it.
    """
    above = os.path.dirname(os.path.dirname(location))
    folder = os.path.join(above, name.partition(".")[0])
    if os.path.isdir(folder):  # beside the directory of the photon
        return f"declare the folder with roots=[{folder!r}], or correct the import"
    if getattr(sys, "frozen", False):
        return f"add it to the frozen program: --hidden-import {name}"
    return f"install the package that provides {name!r}, or correct the import"


def load_failure(
    cause: BaseException, photon: str, location: str
) -> tuple[LuminalError, str]:
    """Return what was raised while *photon* was loaded, and the phase of the load.

    Args:
        cause: What was raised.
        photon: Name of the photon.
        location: Its file.
    """
    cause = _misfit(cause) or cause
    if _is_complete(cause, photon, location, NOT_LOADED):
        kind = type(cause)
        phase = next((p for of, p in _PHASES if issubclass(kind, of)), "import")
        return cause, phase
    file, line = error_position(cause, location)
    why = error_text(cause)
    error: LuminalError
    if missing := _missing_module(cause):
        error = PhotonDependencyError(
            f"needs the module {missing!r}",
            photon=photon,
            file=file,
            line=line,
            why=why,
            hint=_hint(cause, _remedy(missing, location)),
        )
    else:
        error = PhotonImportError(
            "could not be imported",
            photon=photon,
            file=file,
            line=line,
            why=why,
            hint=_hint(cause, "correct the line, then load it again"),
        )
    error.__cause__ = cause
    error.consequence = NOT_LOADED
    error.frames = frames_of(cause, location)
    return error, "import"


def _is_complete(
    cause: BaseException, photon: str | None, file: str, consequence: str | None
) -> TypeGuard[LuminalError]:
    """Whether *cause* is an error of ours; what it does not say is added.

    A photon may raise one too, with anything in it, and derive a class from ours that
    does anything; such a class is none of ours.
    """
    if not issubclass(type(cause), LuminalError) or (
        namespace_of(type(cause)).get("__module__") != LuminalError.__module__
    ):
        return False
    error = cast("LuminalError", cause)
    error.what = plain(error.what)
    for name in ("why", "hint", "photon", "file", "consequence"):
        value = getattr(error, name)
        setattr(error, name, None if value is None else plain(value) or None)
    error.photon = error.photon or photon
    if photon is not None:
        error.file = error.file or file
    error.consequence = error.consequence or consequence
    error.frames = error.frames or frames_of(error, file)
    return True


def _missing_module(cause: BaseException) -> str:
    """Return the name of the module that was not found, or an empty string."""
    if not issubclass(type(cause), ModuleNotFoundError):
        return ""
    return _field(ImportError, "name", cause)


def start_failure(cause: BaseException, photon: str, filepath: str) -> LuminalError:
    """Return what *photon* raised while it was started, as an error."""
    cause = _misfit(cause) or cause
    if _is_complete(cause, photon, filepath, NOT_STARTED):
        return cause
    file, line = error_position(cause, filepath)
    error = PhotonStartError(
        "could not be started",
        photon=photon,
        file=file,
        line=line,
        why=error_text(cause),
        hint=_hint(cause, "correct it, then start or reload the photon"),
    )
    error.consequence = NOT_STARTED
    error.frames = frames_of(cause, filepath)
    return error


def finalize_failure(cause: BaseException, filepath: str) -> LuminalError:
    """Return what a photon raised while it was finalized as an error."""
    if _is_complete(cause, None, filepath, None):
        return cause
    file, line = error_position(cause, filepath)
    error = PhotonFinalizeError(
        "could not be finalized",
        file=file,
        line=line,
        why=error_text(cause),
        hint=_hint(cause, "correct 'finalize'"),
    )
    error.consequence = "what it held has been ended by force"
    error.frames = frames_of(cause, filepath)
    return error


def _misfit(error: BaseException) -> PhotonValidationError | None:
    """Return an error with the place of an implementation that does not fit its hook.

    None where *error* is of another kind.
    """
    if type(error) is not pluggy.PluginValidationError:
        return None
    hook, impl = vars(error).get("luminal_misfit", (None, None))
    code = getattr(getattr(impl, "function", None), "__code__", None)
    if hook is None or code is None:
        return None
    known = hook.spec.argnames
    wrong = [name for name in impl.argnames if name not in known]
    meant = did_you_mean(wrong[0], known, "; ") if wrong else ""
    _, _, why = str(error).partition("\n")
    return PhotonValidationError(
        f"implements the hook {hook.name!r}, and does not fit it",
        file=code.co_filename,
        line=code.co_firstlineno,
        why=" ".join(why.split()),
        hint=f"the hook is {hook.name}({', '.join(known)}){meant}",
    )


def _hint(cause: BaseException, fix: str) -> str:
    return fix + suggestion(cause, before="; ")


def error_position(error: BaseException, filepath: str) -> tuple[str, int | None]:
    """Return the innermost ``file, line`` of *error* below the photon's directory."""
    directory = os.path.dirname(filepath) + os.sep
    found: tuple[str, int | None] = (filepath, None)
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and found[1] is None and id(cause) not in seen:
        seen.add(id(cause))
        for frame, line in steps_of(cause):
            name = frame.f_code.co_filename
            if name == filepath or name.startswith(directory):
                found = (name, line)
        cause = cause_of(cause)
    return found
