"""`luminal.lock`: the units that may run, as a TOML file that people review in git.

The file lies beside the host's ``pyproject.toml``. It is read with `tomllib`, and it is
written sorted, one key a line: a diff of it shows what was accepted. A file that holds
anything unknown is refused and never rewritten, so what a person wrote is not lost.
"""

from __future__ import annotations

import contextlib
import enum
import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any

import attrs

from luminal.errors import LockFileError, PhotonVerificationError, did_you_mean
from luminal.store import lock_descriptor, read_regular, replace_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["LOCK_NAME", "LockEntry", "LockFile", "Mode", "updating"]

LOCK_NAME = "luminal.lock"
"""Name of the file."""

_VERSION = 1
_LIMIT = 16 * 2**20
_DIGEST = re.compile(r"[0-9a-f]{128}")
_MARKERS = ("<<<<<<<", "=======", ">>>>>>>", "|||||||")
_HEAD = (
    "# Which photons may run. Written by `luminal lock`; review it like code.\n"
    "# To accept a change: luminal lock accept NAME\n"
)


class Mode(enum.StrEnum):
    """What a lock does about units; a later one is stricter."""

    OFF = "off"
    PIN = "pin"
    FROZEN = "frozen"
    SIGNED = "signed"

    @property
    def rank(self) -> int:
        """How strict it is, from 0."""
        return _RANKS[self]


_RANKS = {mode: rank for rank, mode in enumerate(Mode)}


SOURCES = ("bundle", "directory", "distribution")


@attrs.frozen
class LockEntry:
    """What was accepted of one unit.

    Attributes:
        name: Its name: that of the distribution or bundle, or for a directory the path
            of the file from the lock's directory; a package's ends with ``/``.
        source: ``distribution``, ``directory`` or ``bundle``.
        version: Its version, or an empty string.
        tree: Digest of all its files, see `luminal.trust.Tree`.
        keys: Names of the keys whose signatures it had when it was accepted.
        capabilities: What its text says that it does, as it was accepted.
        previous: Digest of the version that was accepted before; empty for none.
    """

    name: str
    source: str
    version: str
    tree: str
    keys: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    previous: str = ""


@attrs.frozen
class LockFile:
    """The contents of a lock.

    Attributes:
        path: Its absolute path.
        mode: What is done about units; see `Mode`.
        units: Name → what was accepted of it.
        threshold: How many keys must have signed a unit, in the mode ``signed``.
        keys: Name of a key that may sign → its public key.
        head: Comments at the beginning of the file.
    """

    path: str
    mode: Mode = Mode.PIN
    units: Mapping[str, LockEntry] = attrs.Factory(dict)
    threshold: int = 0
    keys: Mapping[str, str] = attrs.Factory(dict)
    head: str = _HEAD

    @classmethod
    def read(cls, path: str) -> LockFile:
        """Read the file at *path*.

        Raises:
            FileNotFoundError: There is none.
            LockFileError: It cannot be read, or holds what no lock holds; names the
                line.
        """
        return cls.parse(cls.load(path), path)

    @staticmethod
    def load(path: str) -> bytes:
        """Return the bytes of the file at *path*.

        Raises:
            FileNotFoundError: There is none.
            LockFileError: It cannot be read.
        """
        try:
            return read_regular(path, _LIMIT)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _refusal(path, 0, f"cannot be read: {error.strerror}") from error

    @staticmethod
    def parse(data: bytes, path: str) -> LockFile:
        """Return the lock that *data* is.

        Args:
            data: Its bytes.
            path: Of the file, for errors.

        Raises:
            LockFileError: It holds what no lock holds; names the line.
        """
        return _Reader(path, data).read()

    def with_entry(self, entry: LockEntry) -> LockFile:
        """Return the same with *entry*, in the place of an earlier one of its name."""
        return attrs.evolve(self, units={**self.units, entry.name: entry})

    def text(self) -> str:
        """Return the text of the file."""
        lines = [self.head + f"version = {_VERSION}", f"mode = {_quoted(self.mode)}"]
        if self.threshold:
            lines.append(f"threshold = {self.threshold}")
        if self.keys:
            lines += ["", "[keys]"]
            lines += [
                f"{_quoted(n)} = {_quoted(k)}" for n, k in sorted(self.keys.items())
            ]
        for name, entry in sorted(self.units.items()):
            lines += ["", f"[units.{_quoted(name)}]"]
            for key in (
                "capabilities",
                "keys",
                "previous",
                "source",
                "tree",
                "version",
            ):
                value = getattr(entry, key)
                if isinstance(value, tuple):
                    if len(value) > 1:
                        lines.append(f"{key} = [")
                        lines += [f"    {_quoted(each)}," for each in value]
                        lines.append("]")
                        continue
                    value = f"[{''.join(map(_quoted, value))}]"
                else:
                    value = _quoted(value)
                if value not in ('""', "[]"):
                    lines.append(f"{key} = {value}")
        return "\n".join(lines) + "\n"

    def write(self) -> None:
        """Put the file in its place, as a whole or not at all; see `replace_file`.

        Callers hold `updating`.

        Raises:
            OSError: It cannot be written; what was there is there still.
        """
        replace_file(self.path, self.text().encode())


def _quoted(text: str) -> str:
    """Return *text* as a string of TOML; JSON's are such but for one character."""
    return json.dumps(str(text), ensure_ascii=False).replace("\x7f", "\\u007f")


def _refusal(path: str, line: int, why: str, hint: str = "") -> LockFileError:
    return LockFileError(
        "is not a lock that can be used",
        file=path,
        line=line or None,
        why=why,
        hint=hint or "correct the line, or take the file from version control again",
    )


class _Reader:
    """Reads one lock, and names the line of what is wrong."""

    def __init__(self, path: str, data: bytes) -> None:
        self.path = path
        try:
            self.text = data.decode("utf-8-sig")  # some editors put a mark there
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise _refusal(path, line, "it is not UTF-8") from None
        self.lines = self.text.splitlines()

    def read(self) -> LockFile:
        import tomllib

        for number, line in enumerate(self.lines, 1):
            if line.startswith(_MARKERS):
                raise _refusal(
                    self.path,
                    number,
                    "a merge has left its conflict in the file",
                    "decide for one side, then run luminal lock check",
                )
        try:
            table = tomllib.loads(self.text)
        except (ValueError, RecursionError) as error:
            found = re.search(r"line (\d+)", str(error))
            number = int(found[1]) if found else len(self.lines)
            raise _refusal(self.path, number, f"it is no TOML: {error}") from None
        known = ("version", "mode", "threshold", "keys", "units")
        self._only(table, known, "")
        if self._of(table, "version", int, "") != _VERSION:
            at, why = self._line("version"), f"this Luminal reads version {_VERSION}"
            raise _refusal(self.path, at, why, "use the Luminal that has written it")
        mode = self._of(table, "mode", str, "")
        if mode not in list(Mode):
            nearest = did_you_mean(mode, [*map(str, Mode)], "; ")
            why = f"there is no mode {mode!r}: off, pin, frozen, signed{nearest}"
            raise _refusal(self.path, self._line("mode"), why)
        threshold = self._of(table, "threshold", int, "") if "threshold" in table else 0
        keys = self._of(table, "keys", dict, "") if "keys" in table else {}
        self._check_keys(keys)
        if threshold < 0 or threshold > len(keys):
            why = f"'threshold' is {threshold}, and there are {len(keys)} keys"
            hint = "set it to how many of them must have signed"
            raise _refusal(self.path, self._line("threshold"), why, hint)
        units = self._of(table, "units", dict, "") if "units" in table else {}
        entries = {
            name: self._entry(name, self._of(units, name, dict, "units"))
            for name in units
        }
        head = "".join(f"{line}\n" for line in self._head())
        return LockFile(self.path, Mode(mode), entries, threshold, keys, head or _HEAD)

    def _check_keys(self, keys: Mapping[str, Any]) -> None:
        """Refuse keys that nobody should trust, and two names of one key."""
        names: dict[str, str] = {}
        for name in keys:
            text = self._of(keys, name, str, "keys")
            from luminal.trust._keys import normal_key

            try:
                key = normal_key(text)
            except PhotonVerificationError as error:
                why = f"{error.what}: {error.why}"
                hint = error.hint or ""
                raise _refusal(self.path, self._line(name, "keys"), why, hint) from None
            other = names.setdefault(key, name)
            if other != name:
                why = f"{other!r} and {name!r} are the same key, which counts once"
                raise _refusal(
                    self.path, self._line(name, "keys"), why, "give each person a key"
                )

    def _head(self) -> Iterator[str]:
        for line in self.lines:
            if not line.startswith("#"):
                return
            yield line

    def _entry(self, name: str, table: dict[str, Any]) -> LockEntry:
        fields = [
            field.name for field in attrs.fields(LockEntry) if field.name != "name"
        ]
        self._only(table, fields, name)
        values: dict[str, Any] = {}
        for key in ("source", "tree", "version", "previous"):
            if key in table or key in ("source", "tree"):
                values[key] = self._of(table, key, str, name)
        for key in ("tree", "previous"):
            if values.get(key) and not _DIGEST.fullmatch(values[key]):
                why = f"{key!r} is no SHA-512 in hexadecimal"
                raise _refusal(self.path, self._line(key, name), why)
        if values["source"] not in SOURCES:
            why = f"there is no source {values['source']!r}: {', '.join(SOURCES)}"
            raise _refusal(self.path, self._line("source", name), why)
        for key in ("keys", "capabilities"):
            listed = self._of(table, key, list, name) if key in table else []
            if not all(type(each) is str for each in listed):
                why = f"{key!r} is not a list of strings"
                raise _refusal(self.path, self._line(key, name), why)
            values[key] = tuple(listed)
        return LockEntry(name, **{"version": "", **values})

    def _only(self, table: Mapping[str, Any], known: Any, unit: str) -> None:
        for key in table:
            if key not in known:
                nearest = did_you_mean(key, known, "; ")
                why = f"there is no key {key!r}{nearest}"
                hint = "remove it; or use the Luminal that has written it"
                raise _refusal(self.path, self._line(key, unit), why, hint)

    def _of(self, table: Mapping[str, Any], key: str, kind: type, unit: str) -> Any:
        value = table.get(key)
        if type(value) is not kind:
            said = "is missing" if value is None else f"is {value!r}"
            of = f" of {unit!r}" if unit else ""
            names = {str: "a string", int: "a whole number", list: "a list"}
            why = f"{key!r}{of} {said}, and must be {names.get(kind, 'a table')}"
            raise _refusal(self.path, self._line(key, unit), why)
        return value

    def _line(self, key: str, unit: str = "") -> int:
        """Return the line of *key* in the table of *unit*, or that of the table."""
        word = rf"[\"']?{re.escape(key)}[\"']?"
        table, start, found = "", 0, 0
        for number, line in enumerate(self.lines, 1):
            if head := re.match(r"\s*\[+\s*(.*?)\s*\]+\s*(#.*)?$", line):
                table = head[1]
                is_it = _last_part(table) == (key if unit in ("", "units") else unit)
                is_it = is_it or (not unit and table.partition(".")[0] == key)
                start = start or (number if is_it else 0)
            is_here = not unit and not table
            is_here = is_here or (unit != "" and _last_part(table) == unit)
            if is_here and not found and re.match(rf"\s*{word}\s*[=.]", line):
                found = number
        return found or start


def _last_part(table: str) -> str:
    """Return the last part of a table's name, as it is read."""
    _, dot, rest = table.partition(".")
    name = rest if dot else table
    with contextlib.suppress(ValueError):
        return str(json.loads(name))
    return name.strip("'")


@contextlib.contextmanager
def updating(
    path: str,
) -> Iterator[Callable[[Callable[[LockFile], LockFile]], LockFile]]:
    """Hold the lock at *path* against other processes, and change it.

    The directory is what is locked (``flock``), as the file itself is replaced: that of
    the file itself, where *path* is a link. What a process that was killed has left
    there is removed.

    Yields:
        A function that reads the file, or begins one, lets its argument change it, and
        writes it if that is different.

    Raises:
        OSError: It cannot be written.
        LockFileError: What is there cannot be read; it stays as it is.
    """
    path = os.path.realpath(path)
    directory = os.path.dirname(path)
    with contextlib.ExitStack() as stack:
        if sys.platform != "win32":
            descriptor = os.open(directory, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            stack.enter_context(lock_descriptor(descriptor))
            start = os.path.basename(path) + "."
            for name in os.listdir(directory):
                if name.startswith(start) and name.endswith(".tmp"):
                    with contextlib.suppress(OSError):
                        os.unlink(os.path.join(directory, name))

        def change(function: Callable[[LockFile], LockFile]) -> LockFile:
            try:
                before: LockFile | None = LockFile.read(path)
            except FileNotFoundError:
                before = None
            after = function(before or LockFile(path))
            if after != before:
                after.write()
            return after

        yield change
