"""What went wrong in a photon's code, as one of our errors that names the place."""

from __future__ import annotations

import os

from luminal.errors import (
    LuminalError,
    PhotonConflictError,
    PhotonDependencyError,
    PhotonFinalizeError,
    PhotonImportError,
    PhotonStartError,
    PhotonStateError,
    PhotonSyntaxError,
    PhotonUnreadableError,
    PhotonValidationError,
)
from luminal.lifecycle.frames import frames_of
from luminal.lifecycle.suggesting import meant

__all__ = [
    "blame",
    "explain",
    "finalize_failure",
    "has_left",
    "start_failure",
    "words_of",
]

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


def has_left(photon: str, filepath: str) -> PhotonStateError:
    """Return what is said to who starts a photon that is gone."""
    return PhotonStateError(
        "cannot be started: it has been unloaded",
        photon=photon,
        file=filepath,
        hint="load it again, and start what that returns",
    )


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
