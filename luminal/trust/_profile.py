"""What the text of a unit says that it does: open sockets, start processes, and so on.

A profile is made from syntax trees; nothing of the unit runs. It says what the text
names, not what the code can do: names that are computed when it runs are not seen. Its
use is in comparing two versions of one unit, and in showing a person where to look.
"""

from __future__ import annotations

import ast
import marshal
import warnings
from typing import TYPE_CHECKING, Any

import attrs

from luminal.trust._kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["Capability", "Drift", "Profile", "drift", "names_of", "profile_of"]

_LARGEST = 8 * 2**20
"""Bytes of a file that is read."""

_LARGE = 2**18
"""Bytes of a unit that is read in the compiler process: it stops no thread of the host
meanwhile, and a text that crashes the parser crashes only that process."""

_NATIVE = (".so", ".pyd", ".dll", ".dylib")


@attrs.frozen
class Capability:
    """One thing that a text says it does.

    Attributes:
        kind: Which kind of thing.
        at_import: Whether it is done when the unit is imported; else in a function that
            the text does not call at import.
        file: Path of the first file that says so, below the unit's directory.
        line: Number of the line there; 0 where it is the file itself.
        name: What is called or named there.
    """

    kind: Kind
    at_import: bool
    file: str
    line: int
    name: str

    @property
    def key(self) -> str:
        """Kind and time as one text, as a lock file keeps them."""
        return f"{self.kind}:{'import' if self.at_import else 'function'}"

    @property
    def place(self) -> str:
        """The file, and the line where there is one."""
        return f"{self.file}:{self.line}" if self.line else self.file

    def __str__(self) -> str:
        when = "at import" if self.at_import else "in a function"
        return f"{self.kind.meaning} {when}, {self.place} ({self.name})"


@attrs.frozen
class Profile:
    """What the text of a unit says that it does.

    Attributes:
        capabilities: One for each kind and time, by its first place; sorted.
        unread: Files that could not be read, and why.
    """

    capabilities: tuple[Capability, ...] = ()
    unread: tuple[tuple[str, str], ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """Kinds and times, such as ``network:import``; what a lock file keeps."""
        names = [capability.key for capability in self.capabilities]
        return (*names, *(f"unread:{path}" for path, _ in self.unread))

    def of(self, kinds: Collection[str]) -> tuple[Capability, ...]:
        """Return the capabilities of some *kinds*."""
        return tuple(c for c in self.capabilities if c.kind in kinds)


@attrs.frozen
class Drift:
    """One thing that a new version says it does, and the old one did not.

    Attributes:
        capability: What it is; None where a file cannot be read any more.
        file: The file.
        why: Why the file cannot be read, else an empty text.
    """

    capability: Capability | None
    file: str
    why: str = ""

    @property
    def kind(self) -> str:
        """The kind of capability; ``unread`` for a file that cannot be read."""
        return str(self.capability.kind) if self.capability else "unread"

    @property
    def at_import(self) -> bool:
        """Whether it is done at import; a file that cannot be read may do anything."""
        return self.capability is None or self.capability.at_import

    def __str__(self) -> str:
        if self.capability is None:
            return f"now has a file that cannot be read, {self.file}: {self.why}"
        when = "at import" if self.at_import else "in a function"
        return f"now {self.capability.kind.meaning} {when}, {self.capability.place}"


def drift(old: Profile | Collection[str], new: Profile) -> list[Drift]:
    """Return what *new* does and *old* did not, what is done at import first.

    What the old text did at import, and the new one does in a function, is not new.

    Args:
        old: Of the old version: its profile, or its `Profile.keys`.
        new: Of the new version.
    """
    known = set(old.keys if isinstance(old, Profile) else old)
    known |= {key.replace(":import", ":function") for key in known}
    found = [Drift(c, c.file) for c in new.capabilities if c.key not in known]
    found += [
        Drift(None, path, why)
        for path, why in new.unread
        if f"unread:{path}" not in known
    ]
    # A kind that is new at both times is told once, with the graver one.
    graver = {each.kind for each in found if each.at_import}
    found = [each for each in found if each.at_import or each.kind not in graver]
    return sorted(found, key=lambda each: (not each.at_import, each.kind, each.file))


def names_of(profile: Profile) -> list[str]:
    """Return what a lock file keeps of *profile*, see `Profile.keys`."""
    return list(profile.keys)


def profile_of(files: Mapping[str, bytes]) -> Profile:
    """Return the profile of a unit. Its text is parsed, and never run.

    A large unit is read in the compiler process of `luminal.compiling`.

    Args:
        files: Path below the unit's directory, with ``/`` → the bytes of the file.
            Files that are no Python and no native code are ignored.

    Returns:
        The profile. A file that cannot be parsed, or is nested too deeply, is in
        `Profile.unread`; it is never an exception.
    """
    texts, native, unread = _sorted_out(files)
    size = sum(map(len, texts.values()))
    rows = _read(texts) if size <= _LARGE else _read_apart(texts, size)
    capabilities = [
        Capability(Kind(kind), at_import, file, line, name)
        for kind, at_import, file, line, name in rows[0]
    ]
    if native:
        capabilities = [c for c in capabilities if c.key != "native:import"]
        capabilities.append(Capability(Kind.NATIVE, True, native[0], 0, "native code"))
    capabilities.sort(key=lambda c: (c.kind, not c.at_import))
    unread += [(path, why) for path, why in rows[1]]
    return Profile(tuple(capabilities), tuple(sorted(unread)))


def _sorted_out(
    files: Mapping[str, bytes],
) -> tuple[dict[str, bytes], list[str], list[tuple[str, str]]]:
    """Return the texts of *files*, the native files, and what cannot be read."""
    texts: dict[str, bytes] = {}
    native: list[str] = []
    unread: list[tuple[str, str]] = []
    for path in sorted(files):
        name = path.rpartition("/")[2].lower()
        data = files[path]
        if name.endswith((".py", ".pyw")):
            if len(data) > _LARGEST:
                unread.append((path, f"it has more than {_LARGEST >> 20} MiB"))
            else:
                texts[path] = bytes(data)
        elif name.endswith(_NATIVE) or ".so." in name:
            native.append(path)
        elif name.endswith((".pyc", ".pyo")) and "__pycache__" not in path.split("/"):
            unread.append((path, "compiled code without its text"))
    return texts, native, unread


def _read_apart(texts: dict[str, bytes], size: int) -> tuple[list[Any], list[Any]]:
    """Read *texts* in the compiler process."""
    from luminal.compiling import CompilerCrashedError, NoCompilerError, run_in_compiler

    try:
        answer: Any = run_in_compiler(
            "luminal.trust._profile:answer_for", marshal.dumps(texts)
        )
    except CompilerCrashedError as error:
        why = f"reading the unit crashes Python's parser: {error}"
        return [], [(path, why) for path in texts]
    except NoCompilerError as error:
        if size > _LARGEST:
            return [], [(path, f"not read: {error}") for path in texts]
        return _read(texts)
    return answer[0], answer[1]


def answer_for(data: bytes) -> tuple[list[Any], list[Any]]:
    """Return the rows of texts; in the compiler process.

    Args:
        data: The texts by path, marshalled by the host.
    """
    return _read(marshal.loads(data))  # noqa: S302 - from the host


def _read(texts: dict[str, bytes]) -> tuple[list[Any], list[Any]]:
    """Return a row for each capability of *texts*, and one for each unread file."""
    from luminal.trust._reader import Reader

    trees: dict[str, ast.Module] = {}
    unread: dict[str, str] = {}
    for path, data in texts.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                trees[path] = ast.parse(data)
        except (RecursionError, MemoryError):
            unread[path] = "too deep to read"
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None)
            unread[path] = (
                f"no Python of this version{f', line {line}' if line else ''}"
            )
    first: dict[tuple[Kind, bool], tuple[str, int, str]] = {}

    def note(kind: Kind, at_import: bool, path: str, line: int, name: str) -> None:
        place = path, line, name
        key = kind, at_import
        if key not in first or place < first[key]:
            first[key] = place

    # Texts have one expression in some four bytes, and each is read once or twice.
    reader = Reader(trees, note, 100_000 + 10 * sum(map(len, texts.values())))
    reader.read()
    unread |= reader.unread
    rows = [[str(kind), when, *place] for (kind, when), place in first.items()]
    return rows, [[path, why] for path, why in unread.items()]
