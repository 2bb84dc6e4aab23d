"""What a host asks discovery for, in one normal form; the name of an index too."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PathLike", "Request", "absolute", "name_of_base", "normal_request"]

PathLike = str | os.PathLike[str]
_Value = TypeVar("_Value")


class Request(NamedTuple):
    """A normal form: equal requests on an equal disk have equal answers.

    Attributes:
        directories: Absolute paths, each once.
        group: Entry-point group, None for no distributions.
        recursive: Whether to descend into sub-directories.
        base: Name of the photon base.
        allow: The only names to enable, None for all.
        block: Names to disable.
        api_version: The host's version of its API, None not to check.
        path: Absolute entries of ``sys.path`` to look for distributions in.
    """

    directories: tuple[str, ...]
    group: str | None
    recursive: bool
    base: str
    allow: tuple[str, ...] | None
    block: tuple[str, ...]
    api_version: str | None
    path: tuple[str, ...]

    def key(self) -> tuple[object, ...]:
        """Return the request with what else an answer depends on, besides the disk."""
        machine = tuple(os.uname()) if hasattr(os, "uname") else sys.platform
        user = os.geteuid() if hasattr(os, "geteuid") else 0
        return (*self, machine, user, sys.hexversion, *_own_code())


def normal_request(
    directories: Iterable[PathLike],
    *,
    group: str | None,
    recursive: bool,
    photon_base: type | str,
    allow: Iterable[str] | None,
    block: Iterable[str],
    api_version: str | None,
    path: Iterable[PathLike] | None,
) -> Request:
    """Return the request that the arguments of `discover` amount to.

    Raises:
        TypeError: One of them is of a wrong type.
    """
    return Request(
        directories=_absolute(directories),
        group=group,
        recursive=bool(recursive),
        base=name_of_base(photon_base),
        allow=None if allow is None else _names("allow", allow),
        block=_names("block", block),
        api_version=api_version,
        path=() if group is None else _path(path),
    )


def name_of_base(photon_base: type | str) -> str:
    """Return the name that a class statement would call *photon_base* by.

    Raises:
        TypeError: It is neither a class nor the name of one.
    """
    if isinstance(photon_base, str):
        return photon_base.rpartition(".")[2]
    if isinstance(photon_base, type):
        return photon_base.__name__
    raise TypeError(f"photon_base is {photon_base!r}, not a class or its name")


def _names(argument: str, values: Iterable[str]) -> tuple[str, ...]:
    names = list(_several(argument, values))
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{argument} holds {name!r}, not only names of photons")
    return tuple(sorted(names))


def _several(argument: str, values: Iterable[_Value]) -> Iterable[_Value]:
    """Refuse one string in place of many: it would be read letter by letter."""
    if isinstance(values, str | bytes):
        raise TypeError(f"{argument} is one string; write {argument}=[{values!r}]")
    return values


def _own_code() -> tuple[object, ...]:
    """Return what changes when Luminal itself does: another code, another answer."""
    here = os.path.dirname(__file__)
    model = os.path.join(os.path.dirname(here), "model")
    values = [os.path.join(model, name) for name in ("candidate.py", "frame.py")]
    found: list[tuple[str, int, int]] = []
    try:
        with os.scandir(here) as entries:
            paths = [entry.path for entry in entries if entry.name.endswith(".py")]
        for path in (*values, *sorted(paths)):
            status = os.stat(path)
            found.append((path, status.st_size, status.st_mtime_ns))
    except OSError:  # imported from an archive: it changes with its version only
        found = []
    # The front door lies above us: it is asked, not imported.
    return (sys.modules["luminal"].__version__, *found)


def _path(path: Iterable[PathLike] | None) -> tuple[str, ...]:
    if path is None:  # what is no path in there, imports pass over as well
        entries: list[object] = list(sys.path)
        path = [e for e in entries if isinstance(e, str | os.PathLike)]
    return _absolute(entry or os.curdir for entry in _several("path", path))


def _absolute(paths: Iterable[PathLike]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(absolute, paths)))


def absolute(path: PathLike) -> str:
    """Return *path* as an absolute path.

    Raises:
        TypeError: It is no path, or one of bytes.
    """
    plain = os.fspath(path)
    if not isinstance(plain, str):
        raise TypeError(f"{path!r} is a path of bytes; write os.fsdecode({path!r})")
    try:
        return os.path.abspath(plain)
    except FileNotFoundError:  # the working directory is gone, and all that was in it
        return plain
