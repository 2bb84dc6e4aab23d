"""The host's way in: `discover` for all there is, `discover_file` for one file."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from luminal.discovery.index import Index
from luminal.discovery.request import (
    PathLike,
    absolute,
    name_of_base,
    normal_request,
)
from luminal.discovery.sequence import Discovered
from luminal.errors import DirectoryNotFoundError, PhotonNotFoundError
from luminal.store import SealedStore

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["discover", "discover_file"]


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

    Returns:
        Candidates in load order: what a photon requires first, ``before`` and
        ``after`` respected, else by name. It depends on what is on disk and on
        nothing else.

    Raises:
        DirectoryNotFoundError: One of *directories* is missing or no directory.

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
    )
    for directory in request.directories:
        _check_directory(directory)
    kept = None
    if index is not False:
        place = None if index is True else os.path.abspath(os.fspath(index))
        kept = Index(request, SealedStore(place))
        answer = kept.answer()
        if answer is not None:
            return answer
    from luminal.discovery.survey import survey
    from luminal.discovery.witness import Witness

    known = kept.facts() if kept else {}
    witness = Witness(time.time_ns(), known)
    found = survey(request, witness)
    if kept:
        kept.keep(witness, found, known)
    return Discovered(found)


def discover_file(
    path: PathLike,
    *,
    photon_base: type | str = "IPhoton",
    api_version: str | None = None,
) -> Discovered:
    """Find the photons of one file; a package is named by its ``__init__.py``.

    What they require of other files is not checked here.

    Args:
        path: Path of the file, whatever its name.
        photon_base: The class, or its name, that photons derive from.
        api_version: The host's version of its own API; None checks nothing.

    Returns:
        Its candidates in load order. A file without a photon gives one candidate
        with that problem.

    Raises:
        PhotonNotFoundError: There is no such file, or it is a directory.
    """
    file = absolute(path)
    is_directory = os.path.isdir(file)
    if is_directory or not os.path.lexists(file):
        raise PhotonNotFoundError(
            f"{file!r} is not a file",
            file=file,
            why="it is a directory" if is_directory else "there is nothing there",
            hint="name the photon's file, of a package its __init__.py",
        )
    from luminal.discovery.survey import survey_file
    from luminal.discovery.witness import Witness

    base = name_of_base(photon_base)
    return Discovered(survey_file(file, base, api_version, Witness(time.time_ns(), {})))


def _check_directory(path: str) -> None:
    if os.path.isdir(path):
        return
    hint = "name the directory that holds the photons"
    if os.path.lexists(path):
        why = "it is something else"
    else:
        why = "there is nothing of that name"
        hint += _near(path)
    raise DirectoryNotFoundError(
        f"{path!r} is not a directory", file=path, why=why, hint=hint
    )


def _near(path: str) -> str:
    """Return a question for what may have been meant, or an empty string."""
    import difflib

    folder, name = os.path.split(path)
    if "~" in path:
        return "; did you mean pathlib.Path.expanduser, which expands '~'?"
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir()]
    except (OSError, ValueError):
        return ""
    near = difflib.get_close_matches(name, names, 1)
    return f"; did you mean {os.path.join(folder, near[0])!r}?" if near else ""
