"""What discovery found, before anything is imported, and what is wrong with it."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

import attrs

from luminal.errors import ERROR_CODES, LuminalError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Candidate", "Frame", "Problem", "Source", "as_frames"]


@attrs.frozen
class Frame:
    """One call on the way to an exception.

    Attributes:
        file: Path of its file, or what stands for one.
        line: Line that was executed, counted from 1; 0 where unknown.
        function: Its qualified name.
        text: The line as it was compiled, without indentation; empty where unknown.
        is_own: Whether the code is the author's: not Luminal's, not the standard
            library's, and not another distribution's.
    """

    file: str
    line: int = 0
    function: str = ""
    text: str = ""
    is_own: bool = True


def as_frames(rows: Iterable[Frame | Mapping[str, Any]]) -> tuple[Frame, ...]:
    """Return *rows* as frames.

    Args:
        rows: Frames, or mappings with the names of the attributes as keys.
    """
    return tuple(row if isinstance(row, Frame) else Frame(**row) for row in rows)


class Source(enum.StrEnum):
    """Where a photon was found."""

    DIRECTORY = "directory"
    DISTRIBUTION = "distribution"
    BUNDLE = "bundle"


@attrs.frozen
class Problem:
    """Why a photon is not loaded, as a value that can be listed and serialised.

    Attributes:
        code: Code of the error class that it stands for, see `luminal.errors`.
        phase: The step that failed: ``discovery``, ``order``, ``read``,
            ``compile``, ``verify``, ``import``, ``validate``, ``start`` or
            ``finalize``.
        what: One line in lower case.
        file: Path of the file to blame, or an empty string.
        line: Line in *file*, counted from 1; 0 where there is none.
        why: The cause, or an empty string.
        hint: What to do, as an imperative, or an empty string.
        consequence: What follows from it, or an empty string.
        frames: The calls that the exception passed, the innermost last; empty where
            nothing was executed. They do not count when problems are compared.
    """

    code: str
    phase: str
    what: str
    file: str = ""
    line: int = 0
    why: str = ""
    hint: str = ""
    consequence: str = ""
    frames: tuple[Frame, ...] = attrs.field(
        default=(), converter=as_frames, eq=False, repr=False
    )

    @classmethod
    def of(cls, error: LuminalError, phase: str) -> Problem:
        """Describe *error*, raised during *phase*."""
        return cls(
            code=error.code,
            phase=phase,
            what=error.what,
            file=error.file or "",
            line=error.line or 0,
            why=error.why or "",
            hint=error.hint or "",
            consequence=error.consequence or "",
            frames=error.frames,
        )

    def values(self) -> tuple[Any, ...]:
        """Return the arguments that make an equal problem, without frames."""
        return (
            self.code,
            self.phase,
            self.what,
            self.file,
            self.line,
            self.why,
            self.hint,
            self.consequence,
        )

    def error(self, photon: str) -> LuminalError:
        """Return the error that this problem stands for, naming *photon*."""
        error = ERROR_CODES.get(self.code, LuminalError)(
            self.what,
            photon=photon,
            file=self.file or None,
            line=self.line or None,
            why=self.why or None,
            hint=self.hint or None,
        )
        error.consequence = self.consequence or None
        error.frames = self.frames
        return error


@attrs.frozen(slots=False)
class Candidate:
    """A photon as discovery sees it: static facts only, nothing imported.

    Attributes:
        name: Name of the photon, unique in a host.
        source: Whether a directory, an installed distribution or a bundle brought it.
        origin: That directory's absolute path, or ``name version`` of the distribution
            or bundle.
        location: Absolute path of the file that holds the photon (a package's
            ``__init__.py``, a bundle's ``.photon``); empty where an entry point leads
            to no file.
        target: The object in that file: a class's name for a directory,
            ``package.module:Photon`` for a distribution or a bundle; empty where the
            file could not be parsed.
        line: Line of the class in *location*; 0 where unknown.
        version: Version of the photon, or an empty string.
        author: Author of the photon, or an empty string.
        description: One-line description, or an empty string.
        tags: Free labels.
        checksum: SHA-512 hex digest of the file at *location*, or empty.
        requirements: Names of other photons, with PEP 440 ranges
            (``"geo>=1.2"``), that must be loaded before this one.
        before: Names of photons that this one wants to come before.
        after: Names of photons that this one wants to come after.
        api: PEP 440 range of the host's API version that it asks for, or empty.
        group: Entry-point group that a distribution names it in; empty for a
            directory.
        owns: Names of libraries that are the photon's own: replaced with it, and seen
            by no one else.
        files: Patterns of its data files, relative to the folder of *location*.
        roots: Absolute paths of further directories whose modules are the photons' own,
            as the host has declared them.
        distribution: Normalised name of the distribution (PEP 503); empty for a
            directory.
        metadata: Absolute path of the distribution's ``.dist-info`` or ``.egg-info``
            folder; empty where it has none on disk, and for a directory.
        root: Full name of what all modules of a bundle lie below; empty for others.
        enabled: False where the author or the host has switched it off.
        problem: Why it cannot be loaded, or None.
    """

    name: str
    source: Source
    origin: str
    location: str
    target: str = ""
    line: int = 0
    version: str = ""
    author: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    checksum: str = ""
    requirements: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    api: str = ""
    group: str = ""
    owns: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    distribution: str = ""
    metadata: str = ""
    root: str = ""
    enabled: bool = True
    problem: Problem | None = None
