"""What went wrong in a photon's code, as one of our errors that names the place."""

from __future__ import annotations

import builtins
import linecache
import os
import re
import sys
from inspect import signature
from traceback import walk_tb
from typing import TYPE_CHECKING

import attrs

from luminal.errors import (
    LuminalError,
    PhotonConflictError,
    PhotonDependencyError,
    PhotonFinalizeError,
    PhotonImportError,
    PhotonStartError,
    PhotonSyntaxError,
    PhotonUnreadableError,
    PhotonValidationError,
)
from luminal.interfaces import hookimpl, hookspec
from luminal.model import (
    Event,
    EventKind,
    Frame,
    Outcome,
    OutcomeResult,
    Problem,
    Report,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import FrameType

    from luminal.lifecycle._handler import Handler
    from luminal.lifecycle._runtime import Events
    from luminal.model import Candidate

__all__ = [
    "Ledger",
    "blame",
    "explain",
    "finalize_failure",
    "frames_of",
    "meant",
    "start_failure",
    "words_of",
]

# === lifecycle.frames ===
# The way that an exception took, as small values.
#
# Comes in: an exception that a photon raised. Goes out: its frames, the outermost first,
# bounded in number. Must never keep a frame, nor raise.

_FIRST, _LAST = 4, 12
"""How many frames of each kind are kept: where a long way began, where it ended."""

_WIDTH = 200
"""Characters that are kept of a line."""

_OURS = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")
_STANDARD = os.path.join(os.path.dirname(os.__file__), "")
_SITES = ("site-packages", "dist-packages")


def frames_of(error: BaseException, location: str) -> tuple[Frame, ...]:
    """Return the frames that *error* came through, the innermost last.

    Args:
        error: What was raised.
        location: The photon's file; what lies beside and below it is its author's.
    """
    home = _home(location)
    way = [
        (frame, line or 0, _is_own(frame.f_code.co_filename, home))
        for frame, line in walk_tb(error.__traceback__)
    ]
    kept: set[int] = set()
    for kind in (True, False):
        places = [at for at, (_, _, is_own) in enumerate(way) if is_own is kind]
        kept |= {*places[:_FIRST], *places[-_LAST:]}
    return tuple(_frame(*way[at]) for at in sorted(kept))


def _frame(frame: FrameType, line: int, is_own: bool) -> Frame:
    code = frame.f_code
    text = _text(frame, code.co_filename, line) if is_own else ""
    return Frame(code.co_filename, line, code.co_qualname, text, is_own)


def _home(location: str) -> str:
    """Return how the paths of the author's files begin."""
    directory, _ = os.path.split(location)
    if not directory or os.path.basename(directory) in _SITES:
        return location  # a lone module among those of others
    return os.path.join(directory, "")


def _is_own(file: str, home: str) -> bool:
    if home and file.startswith(home):
        return True
    is_library = any(f"{os.sep}{site}{os.sep}" in file for site in _SITES)
    return not (is_library or file.startswith(("<", _OURS, _STANDARD)))


def _text(frame: FrameType, file: str, line: int) -> str:
    """Return a line as it was compiled; the file may hold another by now."""
    try:
        loader = frame.f_globals["__loader__"]
        source = loader.get_source(frame.f_globals["__name__"]).splitlines()
        return str(source[line - 1]).strip()[:_WIDTH]
    except Exception:  # noqa: BLE001 - a module may hold anything under these names
        return linecache.getline(file, line).strip()[:_WIDTH]


# === lifecycle.suggesting ===
# What the author of a photon may have meant, where a name was misspelt.
#
# Comes in: an exception. Goes out: the nearest name, or nothing. Must never raise.

_OPTION = re.compile(r"(\w+)\.__call__\(\) got an unexpected keyword argument '(\w+)'")
_IMPORT = re.compile(r"cannot import name '(\w+)'")


def meant(error: BaseException) -> str:
    """Return the name that *error* misses under another one, or an empty string.

    Python tells it in a traceback only, and not each version for each kind.

    Args:
        error: What was raised.
    """
    try:
        name, known = _missing(error)
    except Exception:  # noqa: BLE001 - a photon's own class may do anything when asked
        return ""
    import difflib

    # A private name is hardly what was meant.
    public = [each for each in known if not each.startswith("_")]
    return next(iter(difflib.get_close_matches(name, public, 1)), "")


def _missing(error: BaseException) -> tuple[str, Iterable[str]]:
    """Return the name that was not found, and those that were there."""
    match error:
        case NameError(name=str(name)):
            return name, _in_sight(error)
        case AttributeError(name=str(name)):
            return name, dir(error.obj)
        case ModuleNotFoundError(name=str(name)):
            return name, {*sys.stdlib_module_names, *sys.modules}
        case ImportError(name=str(module)):
            found = _IMPORT.search(str(error))
            return found[1] if found else "", dir(sys.modules.get(module))
        case TypeError():
            return _option(str(error))
    return "", ()


def _in_sight(error: BaseException) -> set[str]:
    """Return the names that the code saw in which *error* was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return set()
    frame = trace.tb_frame
    return {*frame.f_locals, *frame.f_globals, *dir(builtins)}


def _option(text: str) -> tuple[str, Iterable[str]]:
    """Return the option of a marker that *text* refuses, and those that it has."""
    found = _OPTION.search(text)
    for marker in (hookimpl, hookspec):
        if found and found[1] == type(marker).__name__:
            return found[2], signature(marker).parameters
    return "", ()


# === lifecycle.wreck ===
# What went wrong in a photon's code, as one of our errors that names the place.

NOT_LOADED = "it is not loaded"
NOT_STARTED = "it does not run; what it had started has been ended"

_PHASES: tuple[tuple[type[LuminalError], str], ...] = (
    (PhotonUnreadableError, "read"),
    (PhotonSyntaxError, "compile"),
    (PhotonDependencyError, "order"),
    (PhotonValidationError, "validate"),
    (PhotonConflictError, "validate"),
)


def explain(
    cause: BaseException, photon: str, location: str
) -> tuple[LuminalError, str]:
    """Return *cause* as an error that names *photon*, and the phase it struck in.

    Args:
        cause: What was raised.
        photon: Name of the photon.
        location: Its file.
    """
    if isinstance(cause, LuminalError):
        phase = next((p for kind, p in _PHASES if isinstance(cause, kind)), "import")
        cause.photon = cause.photon or photon
        cause.file = cause.file or location
        cause.consequence = cause.consequence or NOT_LOADED
        cause.frames = cause.frames or frames_of(cause, location)
        return cause, phase
    file, line = blame(cause, location)
    why = words_of(cause)
    error: LuminalError
    if isinstance(cause, ModuleNotFoundError) and cause.name:
        error = PhotonDependencyError(
            f"needs the module {cause.name!r}",
            photon=photon,
            file=file,
            line=line,
            why=why,
            hint=_hint(
                cause, f"install what brings {cause.name!r}, or correct the import"
            ),
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


def words_of(error: BaseException) -> str:
    """Return the kind of *error* and what it says, if it can say it."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - a photon's own exception class
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def start_failure(cause: BaseException, photon: str, filepath: str) -> LuminalError:
    """Return what *photon* raised while it was started as an error that names it."""
    if isinstance(cause, LuminalError):
        cause.photon = cause.photon or photon
        cause.file = cause.file or filepath
        cause.consequence = cause.consequence or NOT_STARTED
        cause.frames = cause.frames or frames_of(cause, filepath)
        return cause
    file, line = blame(cause, filepath)
    error = PhotonStartError(
        "could not be started",
        photon=photon,
        file=file,
        line=line,
        why=words_of(cause),
        hint=_hint(cause, "correct it, then start or reload the photon"),
    )
    error.consequence = NOT_STARTED
    error.frames = frames_of(cause, filepath)
    return error


def finalize_failure(cause: BaseException, filepath: str) -> LuminalError:
    """Return what a photon raised while it was finalized as an error."""
    if isinstance(cause, LuminalError):
        cause.frames = cause.frames or frames_of(cause, filepath)
        return cause
    file, line = blame(cause, filepath)
    error = PhotonFinalizeError(
        "could not be finalized",
        file=file,
        line=line,
        why=words_of(cause),
        hint=_hint(cause, "correct 'finalize'"),
    )
    error.consequence = "what it held has been ended by force"
    error.frames = frames_of(cause, filepath)
    return error


def _hint(cause: BaseException, mend: str) -> str:
    name = meant(cause)
    return f"{mend}; did you mean {name!r}?" if name else mend


def blame(error: BaseException, filepath: str) -> tuple[str, int | None]:
    """Return the innermost ``file, line`` of *error* below the photon's directory."""
    directory = os.path.dirname(filepath) + os.sep
    found: tuple[str, int | None] = (filepath, None)
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and found[1] is None and id(cause) not in seen:
        seen.add(id(cause))
        trace = cause.__traceback__
        while trace is not None:
            name = trace.tb_frame.f_code.co_filename
            if name == filepath or name.startswith(directory):
                found = (name, trace.tb_lineno)
            trace = trace.tb_next
        cause = cause.__cause__
    return found


# === lifecycle.ledger ===
# What became of each photon of a batch, noted as it is decided.


@attrs.define(eq=False)
class Ledger:
    """Outcomes and errors of one batch. It is not kept: errors hold frames.

    Args:
        events: Who is told of photons that are left out.
    """

    events: Events
    errors: list[LuminalError] = attrs.Factory(list)
    _outcomes: list[Outcome] = attrs.Factory(list)

    def report(self) -> Report:
        """Return the outcomes so far."""
        return Report(tuple(self._outcomes))

    def load(self, handler: Handler) -> None:
        """Note that a photon is loaded."""
        self._outcomes.append(handler.outcome())

    def skip(self, candidate: Candidate, problem: Problem) -> None:
        """Note that *candidate* is left out on purpose."""
        self._note(candidate, OutcomeResult.SKIPPED, EventKind.SKIPPED, problem)

    def refuse(self, candidate: Candidate, problem: Problem) -> None:
        """Note that *candidate* was found to be broken before anything ran."""
        self.errors.append(problem.error(candidate.name))
        self._note(candidate, OutcomeResult.FAILED, EventKind.REJECTED, problem)

    def fail(self, candidates: Sequence[Candidate], cause: BaseException) -> None:
        """Note that the unit of *candidates* could not be loaded because of *cause*.

        It is one error, however many photons the unit has.
        """
        first = candidates[0]
        error, phase = explain(cause, first.name, first.location)
        if error.line is None and error.file == first.location:
            error.line = first.line or None
        self.errors.append(error)
        problem = Problem.of(error, phase)
        for candidate in candidates:
            self._note(candidate, OutcomeResult.FAILED, EventKind.REJECTED, problem)

    def _note(
        self,
        candidate: Candidate,
        result: OutcomeResult,
        kind: EventKind,
        problem: Problem,
    ) -> None:
        self._outcomes.append(
            Outcome(
                candidate.name,
                result,
                candidate.origin,
                candidate.location,
                problem=problem,
            )
        )
        self.events.emit(
            Event(kind, candidate.name, file=candidate.location, problem=problem)
        )
