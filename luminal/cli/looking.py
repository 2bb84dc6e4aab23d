"""Where verbs look for photons: the paths and options that they share.

Comes in: what was typed. Goes out: candidates in load order, or names for completion.
Must never import a photon.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

import attrs
import click

from luminal.cli.nearness import near, near_path
from luminal.cli.paper import say, short
from luminal.errors import (
    DirectoryNotFoundError,
    LuminalError,
    PhotonNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from click.shell_completion import CompletionItem

    from luminal.cli.exits import Exit
    from luminal.model import Candidate

__all__ = ["Look", "complete_photon", "looking", "state_of"]

GROUP = "luminal.photons"


@attrs.frozen
class Look:
    """What to look for, and where.

    Attributes:
        paths: Directories and files.
        group: Entry-point group of installed photons; None for none of them.
        recursive: Whether to look below sub-directories.
        only: Names of the only photons to enable; none enables all.
        without: Names of photons to disable.
        api: The host's version of its API, None not to check it.
    """

    paths: tuple[str, ...] = ()
    group: str | None = GROUP
    recursive: bool = False
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    api: str | None = None

    def find(self, may_appear: bool = False) -> Sequence[Candidate]:
        """Return what is there, in load order; nothing is imported.

        Args:
            may_appear: Whether a photon that is chosen by name may come later.

        Raises:
            PhotonNotFoundError: A path leads to nothing, or a photon that is chosen
                by name is not there.
            DirectoryNotFoundError: A path leads to nothing.
        """
        try:
            found = self._find()
        except (PhotonNotFoundError, DirectoryNotFoundError) as error:
            if "did you mean" not in (error.hint or ""):
                error.hint = f"{error.hint or 'check the path'}{near_path(error.file)}"
            raise
        names = [candidate.name for candidate in found]
        for path in self.paths if not found else ():
            if os.path.isfile(inside := os.path.join(path, "__init__.py")):
                say(f"{short(path)!r} is a package: name {short(inside)!r}")
        for name in self.without:
            if name not in names and near(name, names):
                say(f"nothing to leave out: no photon {name!r}{near(name, names)}")
        missing = [name for name in self.only if name not in names]
        if missing and not may_appear:
            raise PhotonNotFoundError(
                "is not there, and was to be enabled",
                photon=missing[0],
                why="--only names it, or a setting that stands in for that",
                hint=f"luminal list shows what is there{near(missing[0], names)}",
            )
        return found

    def _find(self) -> Sequence[Candidate]:
        from luminal.discovery import discover, discover_file

        files = [path for path in self.paths if _is_file(path)]
        found: Sequence[Candidate] = discover(
            *(path for path in self.paths if path not in files),
            group=self.group,
            recursive=self.recursive,
            allow=self.only or None,
            block=self.without,
            api_version=self.api,
        )
        if not files:
            return found
        from luminal.discovery import arrange

        seen = {candidate.location for candidate in found}
        more = [
            self._switched(candidate)
            for path in dict.fromkeys(map(os.path.abspath, files))
            if path not in seen
            for candidate in discover_file(path, api_version=self.api)
        ]
        # What a directory lacks may be in a file: who waits for whom is asked anew.
        apart = [
            attrs.evolve(candidate, problem=None)
            if candidate.problem is not None and candidate.problem.phase == "order"
            else candidate
            for candidate in found
        ]
        return arrange([*apart, *more], api_version=self.api)

    def _switched(self, candidate: Candidate) -> Candidate:
        is_wanted = not self.only or candidate.name in self.only
        if is_wanted and candidate.name not in self.without:
            return candidate
        return attrs.evolve(candidate, enabled=False, problem=None)


def _is_file(path: str) -> bool:
    """Whether *path* is to be read as a file; nothing at all may have become one."""
    is_file_name = path.endswith(".py") and not os.path.isdir(path)
    return is_file_name or (os.path.exists(path) and not os.path.isdir(path))


def state_of(candidate: Candidate) -> str:
    """Return ``ok``, ``disabled``, or the code of the candidate's problem."""
    if not candidate.enabled:
        return "disabled"
    return candidate.problem.code if candidate.problem is not None else "ok"


def _typed_paths() -> tuple[str, ...]:
    """Return the paths on the line that is being completed.

    While an option waits for its value, click has not looked at the arguments yet;
    the line is what click's completion scripts hand over, in ``COMP_WORDS``.
    """
    from click.shell_completion import split_arg_string

    words = split_arg_string(os.environ.get("COMP_WORDS", ""))[2:]
    paths = words or os.environ.get("LUMINAL_PATHS", "").split(os.pathsep)
    full = [os.path.expanduser(path) for path in paths]
    return tuple(p for p in full if os.path.isdir(p) or p.endswith(".py"))


def complete_photon(
    ctx: click.Context,
    parameter: click.Parameter,  # noqa: ARG001 - click's
    incomplete: str,
) -> list[CompletionItem]:
    """Complete the name of a photon from what discovery finds on the paths so far."""
    from click.shell_completion import CompletionItem

    look = Look(
        paths=_typed_paths(),
        group=None
        if ctx.params.get("no_installed")
        else ctx.params.get("group") or GROUP,
        recursive=bool(ctx.params.get("recursive")),
    )
    try:
        found = look.find(may_appear=True)
    except LuminalError:
        return []
    return [
        CompletionItem(candidate.name, help=candidate.description or None)
        for candidate in found
        if candidate.name.startswith(incomplete)
    ]


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--group",
        envvar="LUMINAL_GROUP",
        default=GROUP,
        show_default=True,
        metavar="NAME",
        help="Entry-point group of installed photons.",
    ),
    click.option(
        "--no-installed",
        envvar="LUMINAL_NO_INSTALLED",
        is_flag=True,
        help="Leave installed photons out.",
    ),
    click.option(
        "-r",
        "--recursive",
        envvar="LUMINAL_RECURSIVE",
        is_flag=True,
        help="Look below sub-directories.",
    ),
    click.option(
        "--only",
        envvar="LUMINAL_ONLY",
        multiple=True,
        metavar="PHOTON",
        shell_complete=complete_photon,
        help="Enable this photon and no other; may be repeated.",
    ),
    click.option(
        "--without",
        envvar="LUMINAL_WITHOUT",
        multiple=True,
        metavar="PHOTON",
        shell_complete=complete_photon,
        help="Disable this photon; may be repeated.",
    ),
    click.option(
        "--api",
        envvar="LUMINAL_API",
        metavar="VERSION",
        help="The host's version of its API, for photons that ask for one.",
    ),
)

_PATHS = click.argument(
    "paths",
    nargs=-1,
    metavar="[PATH]...",
    envvar="LUMINAL_PATHS",
    type=click.Path(),
)


def looking(function: Callable[..., Exit]) -> Callable[..., Exit]:
    """Give a verb ``[PATH]...`` and the options of discovery, as one ``look``."""

    @functools.wraps(function)
    def gathered(
        paths: tuple[str, ...],
        group: str,
        no_installed: bool,
        recursive: bool,
        only: tuple[str, ...],
        without: tuple[str, ...],
        api: str | None,
        **others: Any,
    ) -> Exit:
        chosen = None if no_installed else group
        look = Look(paths, chosen, recursive, only, without, api)
        return function(look=look, **others)

    made: Callable[..., Exit] = gathered
    for option in (*reversed(_OPTIONS), _PATHS):
        made = option(made)
    return made
