"""Every error that Luminal raises: a stable code, what, where, why, and a mend.

The lowest floor of the house: it imports nothing of ours, so that every room can
raise these. One root, `LuminalError`; where a built-in error fits, the class is
that too, so that ``except FileNotFoundError`` keeps working.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

__all__ = [
    "ERROR_CODES",
    "DirectoryNotFoundError",
    "HostNotRunningError",
    "LuminalError",
    "LuminalWarning",
    "MissingExtraError",
    "NoThreadsFoundError",
    "PathTakenError",
    "PhotonAlreadyLoadedError",
    "PhotonBatchError",
    "PhotonConflictError",
    "PhotonDependencyError",
    "PhotonDisabledError",
    "PhotonFinalizeError",
    "PhotonImportError",
    "PhotonNotFoundError",
    "PhotonNotInitializedError",
    "PhotonReloadError",
    "PhotonRollbackError",
    "PhotonSettingsError",
    "PhotonStartError",
    "PhotonStateError",
    "PhotonSyntaxError",
    "PhotonTimeoutError",
    "PhotonTornError",
    "PhotonUnreadableError",
    "PhotonValidationError",
    "PhotonVerificationError",
    "ThreadLimitReachedError",
    "ThreadManagerAlreadyRunningError",
    "ThreadsAlreadyRunningError",
]

ERROR_CODES: dict[str, type[LuminalError]] = {}
"""Stable code → class, filled as the classes below are made."""


class LuminalError(Exception):
    """Root of all errors: says which photon, where, why, and what to do.

    Args:
        what: One line in lower case that says what went wrong.
        photon: Name of the photon, where one is concerned.
        file: Path of the file that is to blame.
        line: Line in *file*, counted from 1.
        why: The cause, usually the text of the underlying error.
        hint: The mend, as an imperative.

    Attributes:
        consequence: What follows from it, where whoever raised it knows that.
        frames: The way that a photon's exception took, see `luminal.model.Frame`; the
            innermost call last.
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
            raise TypeError(f"{cls.__name__} has a code that is taken: {cls.code}")

    @property
    def where(self) -> str:
        """``file:line`` as far as it is known, else an empty string."""
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
        return text

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions are rebuilt from ``args`` alone; the rest travels as state.
        return (type(self), (self.what,), dict(self.__dict__))


class PhotonNotFoundError(LuminalError, FileNotFoundError):
    """A path names no file, or a name names no loaded photon."""

    code = "LUM101"


class DirectoryNotFoundError(LuminalError, FileNotFoundError):
    """A path names no directory."""

    code = "LUM102"


class PhotonUnreadableError(LuminalError, OSError):
    """A file cannot be read as Python source: permission, kind, size, encoding."""

    code = "LUM103"


class PhotonSyntaxError(LuminalError, SyntaxError):
    """A photon's text does not compile."""

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
        # What `traceback` prints of a SyntaxError.
        self.msg = why or what
        self.filename = file
        self.lineno = line


class PhotonImportError(LuminalError, ImportError):
    """A photon's module raised while it was executed."""

    code = "LUM105"


class PhotonDependencyError(LuminalError, ModuleNotFoundError):
    """Something that a photon requires is missing, of a wrong version, or a cycle."""

    code = "LUM106"


class PhotonValidationError(LuminalError, TypeError):
    """What a file holds is not a photon: wrong base, abstract, bad name, nothing."""

    code = "LUM107"


class PhotonConflictError(LuminalError):
    """Two photons have one name; neither is loaded over the other."""

    code = "LUM108"


class PhotonVerificationError(LuminalError):
    """The bytes of a photon are not those that were promised."""

    code = "LUM109"


class PhotonStartError(LuminalError):
    """A photon's ``__init__`` or ``start`` raised; it has been finalized."""

    code = "LUM110"


class PhotonTimeoutError(LuminalError, TimeoutError):
    """A photon did not come back within its deadline."""

    code = "LUM111"


class PhotonFinalizeError(LuminalError):
    """A photon's ``finalize`` raised or said that it did not go well."""

    code = "LUM112"


class PhotonNotInitializedError(LuminalError):
    """A photon was asked to stop that was never started."""

    code = "LUM113"


class PhotonStateError(LuminalError):
    """A step was asked for that the photon's state does not allow."""

    code = "LUM114"


class PhotonReloadError(LuminalError):
    """A reload was refused; everything is as it was before."""

    code = "LUM115"


class PhotonRollbackError(LuminalError):
    """A photon could not be brought back to the generation before."""

    code = "LUM116"


class PhotonBatchError(LuminalError, ExceptionGroup[LuminalError]):
    """Several photons of one batch failed; the others are loaded.

    Args:
        what: One line that says what failed.
        errors: The failures, one a photon.
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
    """A photon was left out on purpose: switched off, or not on the host's list."""

    code = "LUM118"


class PhotonAlreadyLoadedError(LuminalError):
    """A file was to be loaded whose photons are loaded; nothing has changed."""

    code = "LUM119"


class PhotonSettingsError(LuminalError, ValueError):
    """What the host has set for a photon is not what the photon declares."""

    code = "LUM120"


class PhotonTornError(PhotonUnreadableError):
    """A distribution's files are not what its RECORD says; it may be in the making."""

    code = "LUM121"


class LuminalWarning(UserWarning):
    """Something was asked for that has no effect."""


class ThreadManagerAlreadyRunningError(LuminalError, RuntimeError):
    """A thread manager or a watcher runs already."""

    code = "LUM201"


class ThreadsAlreadyRunningError(LuminalError, RuntimeError):
    """The queued threads have been started already."""

    code = "LUM202"


class NoThreadsFoundError(LuminalError, LookupError):
    """There is no queued thread to start."""

    code = "LUM203"


class ThreadLimitReachedError(LuminalError, RuntimeError):
    """No thread can be started before one of the running ones ends."""

    code = "LUM204"


class MissingExtraError(LuminalError, ImportError):
    """A feature needs an optional dependency that is not installed."""

    code = "LUM401"


class PathTakenError(LuminalError, FileExistsError):
    """A file was to be written where there is one; nothing has changed."""

    code = "LUM402"


class HostNotRunningError(LuminalError, ConnectionError):
    """A running host was asked, and there is none, or it does not answer."""

    code = "LUM403"
