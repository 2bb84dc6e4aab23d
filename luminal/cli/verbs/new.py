"""``luminal new``: a photon to begin with, and its test."""

from __future__ import annotations

import os
import re
import sys
from importlib.util import find_spec
from keyword import iskeyword

import click

from luminal.cli.exits import Exit
from luminal.cli.paper import print_json, say, short
from luminal.cli.templates import KINDS, Naming, files_for
from luminal.cli.verb import verb
from luminal.cli.writing import write_new

__all__ = ["command"]


_TAKEN = frozenset(
    {
        *("luminal", "attr", "attrs", "importlib_metadata", "inotify_simple"),
        *("packaging", "pluggy", "watchfiles", "click", "rich", "starlette", "uvicorn"),
        *("pytest", "_pytest", "conftest", "iniconfig", "pygments"),
    }
)
"""Modules that a photon's test, or Luminal itself, imports: pytest puts the test's
directory before all others, so a photon's module of such a name would be taken."""


@verb("new")
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    default="file",
    show_default=True,
    help="A lone file, a package, or a project that pip can install.",
)
@click.option(
    "--in",
    "directory",
    type=click.Path(file_okay=False),
    default=".",
    metavar="DIRECTORY",
    help="Where it is written; by default here.",
)
def command(name: str, kind: str, directory: str, as_json: bool) -> Exit:
    """Write a photon to begin with, and its test.

    NAME is the photon's name; those of its module and class follow from it. Nothing
    that exists is written over.
    """
    naming = _checked(name)
    written = write_new(os.path.abspath(directory), files_for(kind, naming))
    if as_json:
        print_json("new", Exit.FINE, name=name, kind=kind, files=written)
        return Exit.FINE
    for path in written:
        click.echo(short(path))
    source = next(path for path in written if not path.endswith((".toml", ".md")))
    test = next(path for path in written if os.path.basename(path)[:5] == "test_")
    say(f"next: luminal check {short(source)}; python -m pytest {short(test)}")
    if find_spec("pytest") is None:
        say("pytest is not installed: pip install pytest")
    return Exit.FINE


def _checked(name: str) -> Naming:
    """Return the names that follow from *name*.

    Raises:
        click.BadParameter: It gives no name for a module.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*[A-Za-z0-9]|[A-Za-z]", name):
        raise click.BadParameter(
            "begin with a letter, and use letters, digits, '-' and '_' only",
            param_hint="NAME",
        )
    naming = Naming.of(name)
    if iskeyword(naming.module) or naming.module in sys.stdlib_module_names:
        raise click.BadParameter(
            f"{naming.module!r} is a name of Python's own", param_hint="NAME"
        )
    if naming.module in _TAKEN:
        raise click.BadParameter(
            f"{naming.module!r} is a module that Luminal or the test needs, and would "
            "be hidden",
            param_hint="NAME",
        )
    return naming
