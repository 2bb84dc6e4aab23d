"""The command ``new``: writes a photon and its test, from ``templates/``."""

from __future__ import annotations

import os
import re
import sys
from importlib.resources import files
from importlib.util import find_spec
from keyword import iskeyword
from string import Template

import click

from luminal.cli._options import command
from luminal.cli._output import (
    Exit,
    print_json,
    print_message,
    short,
    write_new_files,
)

__all__ = ["new_command"]

_KINDS = ("file", "folder", "distribution")

_IMPORTED = frozenset(
    {
        *("luminal", "attr", "attrs", "importlib_metadata", "inotify_simple"),
        *("packaging", "pluggy", "watchfiles", "click", "rich", "starlette", "uvicorn"),
        *("pytest", "_pytest", "conftest", "iniconfig", "pygments"),
    }
)
"""Modules that a photon's test, or Luminal itself, imports. pytest puts the test's
directory first on the path, so a photon's module of such a name would hide it."""


@command("new")
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(_KINDS),
    default="file",
    show_default=True,
    help="A single file, a package, or a project that pip can install.",
)
@click.option(
    "--in",
    "directory",
    type=click.Path(file_okay=False),
    default=".",
    metavar="DIRECTORY",
    help="Where to write it; by default the current directory.",
)
def new_command(name: str, kind: str, directory: str, as_json: bool) -> Exit:
    """Create a photon and its test.

    NAME is the photon's name; the names of its module and class follow from it.
    Existing files are not overwritten.
    """
    _check(name)
    written = write_new_files(os.path.abspath(directory), _files(kind, name))
    if as_json:
        print_json("new", Exit.FINE, name=name, kind=kind, files=written)
        return Exit.FINE
    for path in written:
        click.echo(short(path))
    source = next(path for path in written if not path.endswith((".toml", ".md")))
    test = next(path for path in written if os.path.basename(path)[:5] == "test_")
    print_message(
        f"next: luminal check {short(source)}; python -m pytest {short(test)}"
    )
    if find_spec("pytest") is None:
        print_message("pytest is not installed: pip install pytest")
    return Exit.FINE


def _check(name: str) -> None:
    """Check that *name* gives the photon's module a name that can be used.

    Raises:
        click.BadParameter: It does not.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*[A-Za-z0-9]|[A-Za-z]", name):
        raise click.BadParameter(
            "begin with a letter, and use letters, digits, '-' and '_' only",
            param_hint="NAME",
        )
    module, _ = _module_and_class(name)
    if iskeyword(module) or module in sys.stdlib_module_names:
        raise click.BadParameter(
            f"{module!r} is a keyword or a standard module of Python",
            param_hint="NAME",
        )
    if module in _IMPORTED:
        raise click.BadParameter(
            f"{module!r} would hide a module that Luminal or the test imports",
            param_hint="NAME",
        )


def _module_and_class(name: str) -> tuple[str, str]:
    """Return the names of the module and of the class of a photon called *name*."""
    words = [word for word in re.split(r"[\W_]+", name) if word]
    class_name = "".join(word[:1].upper() + word[1:] for word in words)
    return "_".join(words).lower(), class_name


def _files(kind: str, name: str) -> dict[str, str]:
    """Return path → text of the files of a new photon.

    Args:
        kind: One of `_KINDS`.
        name: The photon's name.
    """
    module, class_name = _module_and_class(name)

    def filled(template: str, **values: str) -> str:
        file = files("luminal.cli") / "templates" / f"{template}.tmpl"
        text = Template(file.read_text(encoding="utf-8"))
        return text.substitute(values, name=name, module=module, class_name=class_name)

    # A distribution has its version in `pyproject.toml`.
    version = '    photon_version = "0.1.0"\n' if kind != "distribution" else ""
    if kind == "file":
        path = file = f"{module}.py"
        greeting = f'"hello from {name}"'
        photon = filled("photon.py", imports="", version=version, greeting=greeting)
        test = filled("test_photon.py", path=path, file=file)
        return {path: photon, f"test_{path}": test}
    imports = "\nfrom .greeting import GREETING\n"
    photon = filled("photon.py", imports=imports, version=version, greeting="GREETING")
    source = {
        f"{module}/__init__.py": photon,
        f"{module}/greeting.py": filled("greeting.py"),
    }
    file = f"{module}/__init__.py"
    if kind == "folder":
        test = filled("test_photon.py", path=module, file=file)
        return {**source, f"test_{module}.py": test}
    return {
        f"{name}/pyproject.toml": filled("pyproject.toml"),
        f"{name}/README.md": filled("README.md"),
        **{f"{name}/src/{path}": text for path, text in source.items()},
        f"{name}/tests/test_{module}.py": filled(
            "test_photon.py", path=f"../src/{module}", file=file
        ),
    }
