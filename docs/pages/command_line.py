"""The page of commands and options, and the table of exit codes.

Both are made from the click commands and the exit codes as the code declares them. Each
command, option and exit code has an anchor.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from typing import TYPE_CHECKING

import click

from luminal.cli._main import COMMANDS, root
from luminal.cli._output import Exit
from luminal.sphinx._directives import escaped

from .words import meanings

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["commands", "commands_page", "exits_table", "is_shared", "options_of"]

SHARED = 3
"""An option that so many commands declare alike is described once."""


def commands() -> dict[str, click.Command]:
    """Return name → click command; imports each command."""
    context = click.Context(root)
    found = {name: root.get_command(context, name) for name in COMMANDS}
    return {name: command for name, command in found.items() if command is not None}


def options_of(command: click.Command) -> list[click.Option]:
    """Return the options of *command*, ``--help`` left out."""
    return [each for each in command.params if isinstance(each, click.Option)]


def commands_page() -> str:
    """Return the page of all commands and options."""
    found = commands()
    shared = shared_options(found)
    lines = [
        "# Commands and options",
        "",
        "Generated from the command line itself. {doc}`../cli` is about settings,",
        "streams, JSON and signals.",
        "",
        "| command | does |",
        "|---|---|",
        *(f"| [`{n}`](#command-{n}) | {text} |" for n, text in COMMANDS.items()),
        "",
        *_section(
            "luminal", options_of(root), "Before a command", "options-of-luminal"
        ),
        *_section(
            "luminal",
            list(shared.values()),
            "Of several commands",
            "options-shared",
            note="The same in each command that has them.",
        ),
    ]
    for name, command in found.items():
        own = [each for each in options_of(command) if not is_shared(each, shared)]
        also = [each for each in options_of(command) if is_shared(each, shared)]
        lines += _section(
            f"luminal {name}",
            own,
            f"`luminal {name}`",
            f"command-{name}",
            note=_about(command, also),
        )
    return "\n".join(lines)


def shared_options(found: dict[str, click.Command]) -> dict[str, click.Option]:
    """Return the options that several commands declare alike, by their longest flag."""
    every = [each for command in found.values() for each in options_of(command)]
    often = Counter(_identity(each) for each in every)
    return {each.opts[-1]: each for each in every if often[_identity(each)] >= SHARED}


def is_shared(option: click.Option, shared: dict[str, click.Option]) -> bool:
    """Whether *option* is one of *shared*, and not another of the same name."""
    twin = shared.get(option.opts[-1])
    return twin is not None and _identity(twin) == _identity(option)


def _identity(option: click.Option) -> tuple[object, ...]:
    return (tuple(option.opts), option.help)


def _about(command: click.Command, also: Iterable[click.Option]) -> str:
    """Return what a command does in full, and its usage."""
    pieces = command.collect_usage_pieces(click.Context(command))
    usage = " ".join(["luminal", str(command.name), *pieces])
    text = "\n".join([*_paragraphs(command.help), "", "```text", usage, "```", ""])
    words = ", ".join(
        f"{{option}}`{each.opts[-1]} <luminal {each.opts[-1]}>`" for each in also
    )
    return f"{text}\nAlso: {words}." if words else text


def _paragraphs(text: str | None) -> list[str]:
    """Return the lines of a help text; what click does not wrap is kept as it is."""
    found = []
    for paragraph in inspect.cleandoc(text or "").split("\n\n"):
        mark, _, kept = paragraph.partition("\n")
        if mark == "\b":
            found += ["```text", *kept.splitlines(), "```", ""]
            continue
        pieces = re.split(r"(`[^`]*`)", paragraph)  # code, and what is none, in turns
        pieces[::2] = [re.sub(r"--[a-z][a-z-]*", r"`\g<0>`", p) for p in pieces[::2]]
        found += ["".join(pieces), ""]
    return found


def _section(
    program: str,
    options: Iterable[click.Option],
    title: str,
    anchor: str,
    note: str = "",
) -> list[str]:
    """Return a heading, a note, and one ``option`` directive for each option."""
    lines = [f"({anchor})=", f"## {title}", "", note, ""]
    described = [line for option in options for line in _option(option)]
    if described:
        lines += ["```{eval-rst}", f".. program:: {program}", "", *described, "```", ""]
    return lines


def _option(option: click.Option) -> list[str]:
    if not option.help:
        raise LookupError(f"an option without help: {option.opts}")
    metavar = "" if option.is_flag else f" {_metavar(option)}"
    flags = ", ".join(f"{flag}{metavar}" for flag in option.opts)
    said = re.sub(r"--[a-z][a-z-]*", r"``\g<0>``", escaped(option.help or ""))
    extra = []
    has_default = isinstance(option.default, str | int | float) and option.default != ""
    if not option.is_flag and has_default:
        extra.append(f"By default ``{option.default}``.")
    if option.envvar:
        extra.append(f"Environment: :envvar:`{option.envvar}`.")
    return [f".. option:: {flags}", "", f"   {' '.join([said, *extra])}", ""]


def _metavar(option: click.Option) -> str:
    if isinstance(option.type, click.Choice) and option.metavar is None:
        return "{" + ",".join(map(str, option.type.choices)) + "}"
    return option.metavar or option.type.name.upper()


def exits_table() -> str:
    """Return the table of exit codes, an anchor ``exit-N`` each."""
    said = meanings("exits", [code.name for code in Exit])
    lines = ["| code | means |", "|---|---|"]
    lines += [
        f"| [{code.value}]{{#exit-{code.value}}} | {said[code.name]} |" for code in Exit
    ]
    return "\n".join([*lines, ""])
