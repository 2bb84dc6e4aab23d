"""`discover` for directories and distributions, `discover_file` for one file."""

from __future__ import annotations

import gc
import os
import sys
import time
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from luminal.discovery._index import Discovered, Index
from luminal.errors import DirectoryNotFoundError, PhotonNotFoundError, nearest
from luminal.store import SealedStore

if TYPE_CHECKING:
    from collections.abc import Iterable


__all__ = [
    "PathLike",
    "Request",
    "absolute",
    "absolute_roots",
    "archive_of",
    "discover",
    "discover_file",
    "name_of_base",
    "normal_request",
    "several",
]

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
        roots: Absolute paths of directories whose modules are the photons' own.
    """

    directories: tuple[str, ...]
    group: str | None
    recursive: bool
    base: str
    allow: tuple[str, ...] | None
    block: tuple[str, ...]
    api_version: str | None
    path: tuple[str, ...]
    roots: tuple[str, ...] = ()

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
    roots: Iterable[PathLike] = (),
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
        roots=absolute_roots(roots),
    )


def absolute_roots(roots: Iterable[PathLike]) -> tuple[str, ...]:
    """Return the absolute paths of the directories in *roots*.

    Raises:
        TypeError: It is one string, or one of them is no path.
        DirectoryNotFoundError: One of them is missing or no directory.
    """
    found = _absolute(several("roots", roots))
    for directory in found:
        _check_directory(directory)
    return found


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
    names = list(several(argument, values))
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{argument} holds {name!r}, not only names of photons")
    return tuple(sorted(names))


def several(argument: str, values: Iterable[_Value]) -> Iterable[_Value]:
    """Return *values*, but refuse one string: it would be read letter by letter.

    Args:
        argument: Name of the argument that they were given for.
        values: Names or paths.

    Raises:
        TypeError: It is one string.
    """
    if isinstance(values, str | bytes):
        raise TypeError(f"{argument} is one string; write {argument}=[{values!r}]")
    return values


def _own_code() -> tuple[object, ...]:
    """Return what changes when Luminal itself does: another code, another answer."""
    here = os.path.dirname(__file__)
    model = os.path.join(os.path.dirname(here), "model")
    values = [os.path.join(model, name) for name in ("candidate.py",)]
    found: list[tuple[str, int, int]] = []
    try:
        with os.scandir(here) as entries:
            paths = [entry.path for entry in entries if entry.name.endswith(".py")]
        for path in (*values, *sorted(paths)):
            status = os.stat(path)
            found.append((path, status.st_size, status.st_mtime_ns))
    except OSError:  # imported from an archive: it changes with its version only
        found = []
    return (sys.modules["luminal"].__version__, *found)


def _path(path: Iterable[PathLike] | None) -> tuple[str, ...]:
    if path is None:  # what is no path in there, imports pass over as well
        entries: list[object] = list(sys.path)
        path = [e for e in entries if isinstance(e, str | os.PathLike)]
    return _absolute(entry or os.curdir for entry in several("path", path))


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


def discover(
    *directories: PathLike,
    group: str | None = "luminal.photons",
    recursive: bool = False,
    photon_base: type | str = "IPhoton",
    allow: Iterable[str] | None = None,
    block: Iterable[str] = (),
    api_version: str | None = None,
    index: bool | PathLike = True,
    path: Iterable[PathLike] | None = None,
    roots: Iterable[PathLike] = (),
) -> Discovered:
    """Find photons in directories and installed distributions; import none of them.

    A candidate that cannot be loaded is a record with its problem; it never hides
    the others.

    Args:
        directories: Directories of photon files and packages.
        group: Entry-point group of installed photons; None leaves distributions out.
        recursive: Whether to look below sub-directories too.
        photon_base: The class, or its name, that photons derive from. It is compared
            by the last part of the name alone, since nothing is imported.
        allow: Names of the only photons to enable; None enables all.
        block: Names of photons to disable. Disabled ones are listed, not loaded.
        api_version: The host's version of its own API, that photons may ask for with
            ``photon_api``; None checks nothing.
        index: Whether to keep answers between processes, or the absolute path of a
            directory to keep them in.
        path: Where to look for distributions, by default ``sys.path``.
        roots: Further directories, of helpers for example, whose modules are the
            photons' own: a `luminal.Loader` reloads the photons that import from them.

    Returns:
        Candidates in load order: what a photon requires first, ``before`` and
        ``after`` respected, else by name. It depends on what is on disk and on
        nothing else.

    Raises:
        DirectoryNotFoundError: One of *directories* or *roots* is missing or no
            directory.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     text = "class Geo(IPhoton): photon_version = '1.0'"
        ...     _ = pathlib.Path(place, "geo.py").write_text(text)
        ...     [geo] = discover(place, group=None, index=False)
        >>> geo.name, geo.version
        ('Geo', '1.0')
    """
    request = normal_request(
        directories,
        group=group,
        recursive=recursive,
        photon_base=photon_base,
        allow=allow,
        block=block,
        api_version=api_version,
        path=path,
        roots=roots,
    )
    began = time.perf_counter()
    for directory in request.directories:
        _check_directory(directory)
    kept = None
    if index is not False and not (request.group and _has_finders_of_others()):
        place = None if index is True else os.path.abspath(os.fspath(index))
        kept = Index(request, SealedStore(place))
        answer = kept.answer()
        if answer is not None:
            answer.seconds = time.perf_counter() - began
            answer.api_version = api_version
            return answer
    # Syntax trees and imports make many objects without cycles, and the collector would
    # visit all that the process has again and again.
    is_collecting = gc.isenabled()
    gc.disable()
    try:
        from luminal.discovery._scan import RecordingFileSystem, find_candidates

        known = kept.facts() if kept else {}
        files = RecordingFileSystem(time.time_ns(), known)
        found = find_candidates(request, files)
        if kept:
            kept.keep(files, found, known)
    finally:
        if is_collecting:
            gc.enable()
    made = Discovered(found, files.warnings)
    made.seconds = time.perf_counter() - began
    made.api_version = api_version
    return made


def _has_finders_of_others() -> bool:
    """Whether there are finders of distributions whose answers nothing on disk tells.

    The standard one and that of importlib-metadata look at the path.
    """
    known = ("_frozen_importlib_external", "importlib_metadata")
    return any(
        hasattr(finder, "find_distributions")
        and getattr(finder, "__module__", "") not in known
        for finder in sys.meta_path
    )


def discover_file(
    path: PathLike,
    *,
    photon_base: type | str = "IPhoton",
    api_version: str | None = None,
    roots: Iterable[PathLike] = (),
) -> Discovered:
    """Find the photons of one file; a package is named by its ``__init__.py``.

    What they require of other files is not checked here.

    Args:
        path: Path of the file, whatever its name.
        photon_base: The class, or its name, that photons derive from.
        api_version: The host's version of its own API; None checks nothing.
        roots: Further directories whose modules are the photons' own.

    Returns:
        Its candidates in load order. A file without a photon gives one candidate
        with that problem.

    Raises:
        PhotonNotFoundError: There is no such file, or it is a directory.
    """
    began = time.perf_counter()
    file = absolute(path)
    is_directory = os.path.isdir(file)
    if is_directory or not os.path.lexists(file):
        archive, remedy = archive_of(file)
        raise PhotonNotFoundError(
            f"{file!r} is not a file",
            file=file,
            why="it is a directory" if is_directory else archive or "it does not exist",
            hint=remedy
            or "name the photon's file, of a package its __init__.py" + _near(file),
        )
    from luminal.discovery._scan import RecordingFileSystem, find_candidates_in_file

    files = RecordingFileSystem(time.time_ns(), {})
    base = name_of_base(photon_base)
    found = find_candidates_in_file(
        file, base, api_version, files, absolute_roots(roots)
    )
    made = Discovered(found, files.warnings)
    made.seconds = time.perf_counter() - began
    made.api_version = api_version
    return made


def _check_directory(path: str) -> None:
    if os.path.isdir(path):
        return
    hint = "name the directory that holds the photons"
    if os.path.lexists(path):
        why = "it is a file"
    else:
        archive, remedy = archive_of(path)
        why = archive or "it does not exist"
        hint = remedy or hint + _near(path)
    raise DirectoryNotFoundError(
        f"{path!r} is not a directory", file=path, why=why, hint=hint
    )


def archive_of(path: str) -> tuple[str, str]:
    """Return why a path that does not exist may be part of a program, and the remedy.

    Both are empty where it is not: neither inside of a zipapp, nor of what PyInstaller
    and similar tools have unpacked.
    """
    above = path
    while above != os.path.dirname(above):
        above = os.path.dirname(above)
        if os.path.isfile(above):
            why = f"it lies inside of the archive {above!r}"
            return why, "put the photons into a directory beside the archive"
    inside = getattr(sys, "_MEIPASS", None)
    if isinstance(inside, str) and path.startswith(os.path.join(inside, "")):
        why = "it does not exist, and the program contains it as compiled code at most"
        name = path[len(os.path.join(inside, "")) :]
        return why, f"add the directory as data: --add-data {name}:{name}"
    return "", ""


def _near(path: str) -> str:
    """Return a question for what may have been meant, or an empty string."""
    folder, name = os.path.split(path)
    if "~" in path:
        return "; did you mean pathlib.Path.expanduser, which expands '~'?"
    try:
        with os.scandir(folder) as entries:
            is_file = name.endswith(".py")
            names = [e.name for e in entries if is_file or e.is_dir()]
    except (OSError, ValueError):
        return ""
    near = nearest(name, names)
    return f"; did you mean {os.path.join(folder, near)!r}?" if near else ""
