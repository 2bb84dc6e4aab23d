"""What ``luminal doctor`` looks at. Each finding comes with its mend.

Nothing is imported but what Luminal itself needs. Only `mend` changes anything.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

import attrs

from luminal.cli.settings import unused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from luminal.model import Candidate

__all__ = ["Finding", "findings", "mend", "versions"]

WATCHES = 8192
"""Directories that the system should allow one user to watch; each needs a watch."""

_LOOKED_AT = 100_000
"""Most directory entries that are looked at for stale artefacts."""


@attrs.frozen
class Finding:
    """Something amiss.

    Attributes:
        what: What it is.
        mend: What to do, as an imperative.
        file: Where, or an empty string.
    """

    what: str
    mend: str
    file: str = ""


def versions() -> dict[str, str]:
    """Return what runs here → its version, empty where it is not installed."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import luminal

    found = {
        "python": platform.python_version(),
        "luminal": luminal.__version__,
        "platform": platform.platform(terse=True),
    }
    watcher = "inotify-simple" if sys.platform == "linux" else "watchfiles"
    libraries = ("attrs", "packaging", "pluggy", watcher)
    for library in (*libraries, "click", "rich"):
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = ""
    return found


def findings(paths: Sequence[str], found: Sequence[Candidate]) -> Iterator[Finding]:
    """Yield what is amiss with this machine, *paths*, and the photons *found*."""
    for library, version in versions().items():
        if not version:
            yield Finding(f"{library} is not installed", f"pip install {library}")
    yield from _watching()
    yield from _cache()
    yield from _doubled()
    yield from _sockets()
    for what, mend, file in unused([candidate.name for candidate in found]):
        yield Finding(what, mend, file)
    for path in paths:
        if os.path.isdir(path):
            yield from _stale(os.path.abspath(path))
    for candidate in found:
        problem = candidate.problem
        if problem is not None:
            what = f"photon {candidate.name!r} {problem.what} [{problem.code}]"
            line = f":{problem.line}" if problem.line else ""
            place = f"{problem.file}{line}" if problem.file else ""
            yield Finding(what, problem.hint or "see luminal list", place)


def _watching() -> Iterator[Finding]:
    limit = "/proc/sys/fs/inotify/max_user_watches"
    try:
        with open(limit, encoding="ascii") as file:
            allowed = int(file.read())
    except (OSError, ValueError):
        return
    if allowed < WATCHES:
        yield Finding(
            f"only {allowed} directories can be watched",
            f"sysctl fs.inotify.max_user_watches={WATCHES}",
            limit,
        )


def _cache() -> Iterator[Finding]:
    from luminal.store import cache_directory

    place = cache_directory()
    if place is None:
        yield Finding(
            "there is no place for a cache: start-up is slower",
            "set LUMINAL_CACHE_DIR to the absolute path of a directory",
        )
        return
    there = place
    while not os.path.exists(there) and os.path.dirname(there) != there:
        there = os.path.dirname(there)
    if not os.path.isdir(there) or not os.access(there, os.W_OK | os.X_OK):
        yield Finding(
            "the cache cannot be written: start-up is slower",
            "make it writable, or set LUMINAL_CACHE_DIR to another directory",
            place,
        )


def _doubled() -> Iterator[Finding]:
    """Distributions with metadata of two kinds, or of two versions, on one path."""
    for place in dict.fromkeys(path or os.curdir for path in sys.path):
        seen: dict[str, str] = {}
        try:
            names = sorted(os.listdir(place))
        except OSError:
            continue
        for name in names:
            stem, kind = os.path.splitext(name)
            if kind not in (".dist-info", ".egg-info"):
                continue
            distribution = stem.partition("-")[0].lower().replace("_", "-")
            if distribution in seen:
                yield Finding(
                    f"distribution {distribution!r} is there twice: "
                    f"{seen[distribution]} and {name}",
                    "remove the one that is left over",
                    os.path.join(place, name),
                )
            seen.setdefault(distribution, name)


def _sockets() -> Iterator[Finding]:
    """Sockets of hosts that are gone, and a directory that others may enter."""
    from luminal.managers.control import socket_directory, sockets, speak

    place = socket_directory()
    try:
        mode = os.lstat(place).st_mode
    except OSError:
        return
    if mode & 0o077:
        yield Finding(
            "the directory of sockets is open to other users",
            f"chmod 700 {place}",
            place,
        )
    for path in sockets().values():
        try:
            is_stale = speak(path, {"ask": "ping"}) is None
        except TimeoutError:
            is_stale = False  # somebody is there, and busy
        if is_stale:
            yield Finding(
                "socket of a host that is gone", "luminal doctor --mend", path
            )


def mend() -> list[str]:
    """Remove the sockets of hosts that are gone; return the paths that are free now."""
    stale = [finding.file for finding in _sockets() if finding.file.endswith(".sock")]
    for path in stale:
        with contextlib.suppress(OSError):
            os.unlink(path)
    return [path for path in stale if not os.path.lexists(path)]


def _stale(place: str) -> Iterator[Finding]:
    """Compiled files whose source is gone. Luminal never runs them; Python may."""
    looked_at = 0
    for folder, inside, files in os.walk(place):
        inside.sort()
        looked_at += len(files) + len(inside)
        if looked_at > _LOOKED_AT:
            yield Finding(
                f"more than {_LOOKED_AT} files: the rest was not looked at",
                "keep photons in a directory of their own",
                place,
            )
            return
        is_cache = os.path.basename(folder) == "__pycache__"
        home = os.path.dirname(folder) if is_cache else folder
        for file in sorted(files):
            source = os.path.join(home, f"{file.partition('.')[0]}.py")
            if file.endswith((".pyc", ".pyo")) and not os.path.exists(source):
                path = os.path.join(folder, file)
                yield Finding("compiled file without its source", "remove it", path)
