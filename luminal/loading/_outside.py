"""What photons use of the program's own modules and of libraries.

These are imported once, by the host, and a reload does not renew them. When their files
have changed since, a photon's new code runs on their old code. That cannot be undone,
so it is reported.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING

import attrs

from luminal.errors import LuminalError, PhotonOutdatedError
from luminal.loading._importer import PhotonLoader
from luminal.loading._proxies import ModuleProxy, StagedModule
from luminal.loading._source import read_source
from luminal.model import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from luminal.loading._generation import Generation
    from luminal.loading._roots import Roots

__all__ = ["Outside", "copies_of_host"]

_DIST_INFO = ".dist-info"
_PHASE = "import"


@attrs.frozen
class _Seen:
    """A file of the program or of a library, as it was when a photon imported it.

    Attributes:
        path: Its path.
        entry: The entry of `sys.path` that it lies below.
        stamp: Time, size and number of the file.
        checksum: Of its bytes; empty for a library's.
        libraries: Name → version of what was installed in *entry*.
    """

    path: str
    entry: str
    stamp: tuple[int, int, int]
    checksum: str
    libraries: dict[str, str]


class Outside:
    """Remembers how the files were that photons have imported from other people's code.

    It is asked in threads, never on an event loop.
    """

    def __init__(self) -> None:
        # Full name of a module → its file.
        self._seen: dict[str, _Seen | None] = {}
        # Directory → (its modification time, what is installed in it).
        self._installed: dict[str, tuple[int, dict[str, str]]] = {}

    def note(self, generations: Iterable[Generation]) -> None:
        """Look at what *generations* have imported, where nobody did so before."""
        for generation in generations:
            for fullname in _names(generation) if generation.outside else ():
                if fullname not in self._seen and fullname in sys.modules:
                    self._seen[fullname] = self._look(fullname)

    def changes(self, generations: Iterable[Generation]) -> tuple[Problem, ...]:
        """Return what *generations* have imported and is different on disk by now."""
        changed: dict[str, _Seen] = {}
        for generation in generations:
            for fullname in _names(generation) if generation.outside else ():
                seen = self._seen.get(fullname)
                if (
                    seen is None
                    or seen.path in changed
                    or seen.stamp == _stamp(seen.path)
                ):
                    continue
                if seen.checksum and _checksum(seen.path) == seen.checksum:
                    now = _stamp(seen.path)
                    self._seen[fullname] = attrs.evolve(seen, stamp=now)
                else:
                    changed[seen.path] = seen
        if not changed:
            return ()
        errors: dict[str, PhotonOutdatedError] = {}
        for seen in changed.values():
            error = self._error(seen)
            if error is not None:
                errors.setdefault(str(error.why), error)
        return tuple(Problem.of(error, _PHASE) for error in errors.values())

    def _look(self, fullname: str) -> _Seen | None:
        path = _file_of(sys.modules.get(fullname))
        if not path:
            return None
        entry = os.path.dirname(path)
        is_package = os.path.basename(path).partition(".")[0] == "__init__"
        for _ in range(fullname.count(".") + is_package):
            entry = os.path.dirname(entry)
        libraries = self._libraries(entry)
        checksum = "" if libraries else _checksum(path)
        return _Seen(path, entry, _stamp(path), checksum, libraries)

    def _libraries(self, entry: str) -> dict[str, str]:
        """Return name → version of what is installed in a directory."""
        try:
            changed = os.stat(entry).st_mtime_ns
            if entry not in self._installed or self._installed[entry][0] != changed:
                found = dict(
                    folder.removesuffix(_DIST_INFO).split("-", 1)
                    for folder in os.listdir(entry)
                    if folder.endswith(_DIST_INFO) and "-" in folder[: -len(_DIST_INFO)]
                )
                self._installed[entry] = changed, found
            return self._installed[entry][1]
        except OSError:
            return {}

    def _error(self, seen: _Seen) -> PhotonOutdatedError | None:
        """Return what is to be said about a file that has changed."""
        self._installed.pop(seen.entry, None)
        now = self._libraries(seen.entry)
        before = {name: v for name, v in seen.libraries.items() if now.get(name) != v}
        for name, version in before.items():
            if name in now and not _has_installed(seen, name, now[name]):
                continue
            if name not in now and os.path.lexists(seen.path):
                continue
            new = f"{now[name]} is installed" if name in now else ""
            return PhotonOutdatedError(
                "uses an earlier version of a library",
                file=seen.path,
                why=f"{name} {version} is imported, "
                + (new or "and is not installed any more"),
                hint="restart the host, or declare the library as owned: "
                f"photon_owns = [{name!r}]",
            )
        if any(_has_installed(seen, name, now[name]) for name in now):
            return None  # the same version was installed again
        short = os.path.relpath(seen.path, seen.entry)
        has = "has changed" if os.path.lexists(seen.path) else "is gone"
        return PhotonOutdatedError(
            "uses code from before its file changed",
            file=seen.path,
            why=f"{short} {has}, but belongs to no photon",
            hint=f"declare its folder with roots=[{os.path.dirname(seen.path)!r}], or "
            "restart the host",
        )


def _names(generation: Generation) -> Iterator[str]:
    """Yield the modules of others that *generation* may have imported."""
    for name, names in tuple(generation.outside):
        yield name
        for each in names:
            yield f"{name}.{each}"


def _file_of(module: object) -> str:
    """Return the file of a module that is no photon's; empty where there is none."""
    if type(module) in (ModuleProxy, StagedModule) or not isinstance(
        module, ModuleType
    ):
        return ""
    names = vars(module)
    path: object = names.get("__file__")
    is_ours = type(names.get("__loader__")) is PhotonLoader
    return path if isinstance(path, str) and not is_ours else ""


def _stamp(path: str) -> tuple[int, int, int]:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return (0, 0, 0)
    return status.st_mtime_ns, status.st_size, status.st_ino


def _checksum(path: str) -> str:
    try:
        return read_source(path).checksum
    except LuminalError:
        return ""


def _has_installed(seen: _Seen, name: str, version: str) -> bool:
    """Whether the file is one of those that a library has installed."""
    record = os.path.join(seen.entry, f"{name}-{version}{_DIST_INFO}", "RECORD")
    path = os.path.relpath(seen.path, seen.entry).replace(os.sep, "/")
    top = path.partition("/")[0] + "/" if "/" in path else path + ","
    try:
        with open(record, encoding="utf-8", errors="replace") as file:
            return any(line.lstrip('"').startswith(top) for line in file)
    except OSError:
        return False


def copies_of_host(
    generations: Iterable[Generation], roots: Roots
) -> tuple[Problem, ...]:
    """Return which modules of *generations* the host has imported for itself, too."""
    return tuple(
        Problem.of(
            PhotonOutdatedError(
                "is not the only one that has imported a module",
                file=location.path,
                why=f"the host has imported it too, as {name!r}: that is another copy, "
                "which shares no state with the photon's and is not reloaded",
                hint="import it in photons only, and let the host ask by a hook",
            ),
            _PHASE,
        )
        for generation in generations
        for fullname, location in tuple(generation.locations.items())
        if fullname in generation.modules
        for name in roots.names_of(fullname)
        if _is_copy(sys.modules.get(name), location.path)
    )


def _is_copy(module: object, path: str) -> bool:
    """Whether the import system itself has read *module* from the file at *path*."""
    file = _file_of(module)
    if not file:
        return False
    return file == path or os.path.realpath(file) == os.path.realpath(path)
