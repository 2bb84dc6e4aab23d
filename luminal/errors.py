"""Every error that Luminal raises.

Each has a stable code and says what failed, where, why, and what to do about it. All
derive from `LuminalError`. Where a built-in error fits, the class derives from it too,
so that ``except FileNotFoundError`` works.

This module imports nothing of Luminal, so that every package can raise its errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "ERROR_CODES",
    "AuditLogError",
    "DirectoryNotFoundError",
    "FleetError",
    "HostNotRunningError",
    "LockFileError",
    "LuminalError",
    "LuminalWarning",
    "MissingExtraError",
    "NoThreadsFoundError",
    "PathTakenError",
    "PhotonAlreadyLoadedError",
    "PhotonBatchError",
    "PhotonCapabilityError",
    "PhotonConflictError",
    "PhotonDependencyError",
    "PhotonDisabledError",
    "PhotonFinalizeError",
    "PhotonImportError",
    "PhotonNotFoundError",
    "PhotonNotInitializedError",
    "PhotonOutdatedError",
    "PhotonQuarantinedError",
    "PhotonRaisedError",
    "PhotonReloadError",
    "PhotonRollbackError",
    "PhotonSendError",
    "PhotonSettingsError",
    "PhotonStartError",
    "PhotonStateError",
    "PhotonSyntaxError",
    "PhotonTimeoutError",
    "PhotonTornError",
    "PhotonUnreadableError",
    "PhotonValidationError",
    "PhotonVerificationError",
    "ScanError",
    "SecondFactorError",
    "ThreadLimitReachedError",
    "ThreadManagerAlreadyRunningError",
    "ThreadsAlreadyRunningError",
    "TrustSettingsError",
]

ERROR_CODES: dict[str, type[LuminalError]] = {}
"""Code → class. Each class below enters itself."""


class LuminalError(Exception):
    """The base class of all errors of Luminal.

    Args:
        what: What failed: one line, in lower case.
        photon: Name of the photon that failed, if there is one.
        file: Path of the file that caused the failure.
        line: Line in *file*, counted from 1.
        why: The cause, usually the text of the underlying exception.
        hint: How to fix it, as an imperative.

    Attributes:
        code: Stable code of the class, such as ``LUM101``.
        consequence: What else does not work because of it; None if that is unknown.
        frames: The calls that the photon's exception passed, as `luminal.model.Frame`,
            the innermost last.
    """

    code: ClassVar[str] = "LUM000"

    def __init__(
        self,
        what: str,
        *,
        photon: str | None = None,
        file: str | None = None,
        line: int | None = None,
        why: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.photon = photon
        self.file = file
        self.line = line
        self.why = why
        self.hint = hint
        self.consequence: str | None = None
        self.frames: tuple[Any, ...] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "code" in vars(cls) and ERROR_CODES.setdefault(cls.code, cls) is not cls:
            other = ERROR_CODES[cls.code].__name__
            raise TypeError(f"{cls.__name__} and {other} have one code: {cls.code}")

    @property
    def where(self) -> str:
        """``file:line``, or ``file`` if the line is unknown, or an empty string."""
        if self.file is None:
            return ""
        return f"{self.file}:{self.line}" if self.line else self.file

    def __str__(self) -> str:
        subject = f"photon {self.photon!r}: " if self.photon else ""
        text = f"{subject}{self.what} [{self.code}]"
        for label, value in (
            ("at", self.where),
            ("because", self.why),
            ("so", self.consequence),
            ("try", self.hint),
        ):
            if value:
                text += f"\n  {label}: {value}"
        return escaped(text)

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions are rebuilt from ``args`` alone; the rest is restored as state.
        return (type(self), (self.what,), dict(self.__dict__))


class PhotonNotFoundError(LuminalError, FileNotFoundError):
    """A file does not exist, or no photon of that name is loaded."""

    code = "LUM101"


class DirectoryNotFoundError(LuminalError, FileNotFoundError):
    """A directory does not exist, or the path is one of a file."""

    code = "LUM102"


class PhotonUnreadableError(LuminalError, OSError):
    """A file cannot be read as Python source, for its permissions, size or encoding."""

    code = "LUM103"


class PhotonSyntaxError(LuminalError, SyntaxError):
    """A photon's file has a syntax error."""

    code = "LUM104"

    def __init__(
        self,
        what: str,
        *,
        photon: str | None = None,
        file: str | None = None,
        line: int | None = None,
        why: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(what, photon=photon, file=file, line=line, why=why, hint=hint)
        # `traceback` prints these of a SyntaxError.
        self.msg: str = why or what
        self.filename = file
        self.lineno = line


class PhotonImportError(LuminalError, ImportError):
    """A photon's module raised an exception while it was executed."""

    code = "LUM105"


class PhotonDependencyError(LuminalError, ModuleNotFoundError):
    """A photon's requirement is missing, has the wrong version, or is circular."""

    code = "LUM106"


class PhotonValidationError(LuminalError, TypeError):
    """A file has no valid photon: none at all, an abstract one, or a bad name."""

    code = "LUM107"


class PhotonConflictError(LuminalError):
    """Two photons have the same name; neither replaces the other."""

    code = "LUM108"


class PhotonVerificationError(LuminalError):
    """A photon's bytes do not have the checksum that they should have."""

    code = "LUM109"


class PhotonStartError(LuminalError):
    """A photon's ``__init__`` or ``start`` raised an exception. It does not run."""

    code = "LUM110"


class PhotonTimeoutError(LuminalError, TimeoutError):
    """A photon's method did not return within its deadline."""

    code = "LUM111"


class PhotonFinalizeError(LuminalError):
    """A photon's ``finalize`` raised an exception or returned a false value."""

    code = "LUM112"


class PhotonNotInitializedError(LuminalError):
    """A photon cannot be stopped, since it was never started."""

    code = "LUM113"


class PhotonStateError(LuminalError):
    """The photon's state does not allow the step."""

    code = "LUM114"


class PhotonReloadError(LuminalError):
    """A reload was rejected. The old generation still runs."""

    code = "LUM115"


class PhotonRollbackError(LuminalError):
    """A photon could not be rolled back to the generation before."""

    code = "LUM116"


class PhotonBatchError(LuminalError, ExceptionGroup[LuminalError]):
    """Several photons of one batch failed. The others are loaded.

    Args:
        what: What failed: one line, in lower case.
        errors: One error for each photon that failed.
    """

    code = "LUM117"

    def __new__(cls, what: str, errors: list[LuminalError]) -> Self:
        """Make the group; `ExceptionGroup` fixes its members at creation."""
        return ExceptionGroup.__new__(cls, what, errors)

    def __init__(self, what: str, errors: list[LuminalError]) -> None:  # noqa: ARG002 - `__new__` takes them
        super().__init__(what)

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *(str(e) for e in self.exceptions)])

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.what, list(self.exceptions)))


class PhotonDisabledError(LuminalError):
    """A photon was skipped: it is disabled, or not on the host's list."""

    code = "LUM118"


class PhotonAlreadyLoadedError(LuminalError):
    """The photons of a file are loaded already. Nothing has changed."""

    code = "LUM119"


class PhotonSettingsError(LuminalError, ValueError):
    """The host's settings for a photon are not what the photon declares."""

    code = "LUM120"


class PhotonTornError(PhotonUnreadableError):
    """A distribution is incomplete: its files are not those that its RECORD lists.

    Its installation may be under way.
    """

    code = "LUM121"


class PhotonOutdatedError(LuminalError):
    """A photon uses code that the host has imported, and no reload renews.

    Its file or its library has changed since, or the host has a copy of its own.
    """

    code = "LUM122"


class PhotonSendError(LuminalError, TypeError):
    """A function or class of a photon cannot be sent to another process."""

    code = "LUM123"


class PhotonRaisedError(LuminalError):
    """A photon's hook, task, thread or callback raised an exception.

    It was contained: the host goes on, and so does the photon.
    """

    code = "LUM124"


class PhotonQuarantinedError(LuminalError):
    """A hook of a photon has failed many times in a row, and is skipped for a time."""

    code = "LUM125"


class LockFileError(LuminalError, ValueError):
    """A ``luminal.lock`` cannot be read, written, or trusted. Nothing was changed."""

    code = "LUM131"


class PhotonCapabilityError(PhotonVerificationError):
    """A photon's text says that it does what the host's settings do not let it do."""

    code = "LUM134"


class TrustSettingsError(LuminalError, ValueError):
    """The table ``[tool.luminal.trust]`` says what it must not."""

    code = "LUM135"


class SecondFactorError(LuminalError, PermissionError):
    """An operation from outside needs a second factor, and it is missing or wrong."""

    code = "LUM136"


class AuditLogError(LuminalError):
    """The log of accepted operations was changed, or cannot be read or written."""

    code = "LUM137"


class ScanError(LuminalError):
    """A scanner is missing, has crashed or has timed out: nothing was scanned."""

    code = "LUM138"


class LuminalWarning(UserWarning):
    """A call or setting has no effect, or a check is skipped."""


class ThreadManagerAlreadyRunningError(LuminalError, RuntimeError):
    """A thread manager runs already, or a directory is watched already."""

    code = "LUM201"


class ThreadsAlreadyRunningError(LuminalError, RuntimeError):
    """The queued threads were started already."""

    code = "LUM202"


class NoThreadsFoundError(LuminalError, LookupError):
    """No thread is queued that could be started."""

    code = "LUM203"


class ThreadLimitReachedError(LuminalError, RuntimeError):
    """As many threads run as the limit allows."""

    code = "LUM204"


class MissingExtraError(LuminalError, ImportError):
    """A feature needs an optional dependency that is not installed."""

    code = "LUM401"


class PathTakenError(LuminalError, FileExistsError):
    """A file exists already and is not overwritten. Nothing has changed."""

    code = "LUM402"


class HostNotRunningError(LuminalError, ConnectionError):
    """No host runs at that address, or it does not answer."""

    code = "LUM403"


class FleetError(LuminalError, RuntimeError):
    """A fleet cannot decide, or its journal cannot be used. Nothing was decided."""

    code = "LUM404"


_KEPT = "\t\xa0"
"""Characters that are not printable, and harmless."""


def escaped(text: str) -> str:
    """Return *text* with a backslash escape for each character that is not printable.

    Those are control characters but line ends and tabs, those that change the direction
    of a text, and lone surrogates, which no encoding of Unicode can represent.

    Args:
        text: Any text.
    """
    if text.isprintable():
        return text
    return "\n".join(
        line
        if line.isprintable()
        else "".join(
            c if c.isprintable() or c in _KEPT else c.encode("unicode_escape").decode()
            for c in line
        )
        for line in text.split("\n")
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the one of *known* that is spelt most like *name*.

    Args:
        name: A name that does not exist, or is of something else.
        known: The names that exist.

    Returns:
        An empty string if none is similar.
    """
    import difflib

    others = [each for each in known if each != name]
    return next(iter(difflib.get_close_matches(name, others, 1)), "")


def did_you_mean(name: str, known: Iterable[str], before: str = "") -> str:
    """Return "did you mean 'x'?" for the one of *known* that is most like *name*.

    Args:
        name: A name that does not exist.
        known: The names that exist.
        before: Put before the question, such as ``"; "`` after another hint.

    Returns:
        An empty string if none is similar.
    """
    found = nearest(name, known)
    return f"{before}did you mean {found!r}?" if found else ""


def did_you_mean_path(path: str | None) -> str:
    """Return a question for the nearest existing name beside *path*.

    Args:
        path: A path that does not exist.
    """
    import os

    directory, name = os.path.split((path or "").rstrip(os.sep))
    try:
        beside = os.listdir(directory or os.curdir)
    except OSError:
        is_relative = directory and directory != path
        return did_you_mean_path(directory) if is_relative else ""
    return did_you_mean(name, beside, "; ")
