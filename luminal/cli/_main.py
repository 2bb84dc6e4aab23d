"""The command ``luminal``: its list of commands, each imported when it is used."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

import click

import luminal
from luminal.cli._output import (
    Exit,
    discard_output,
    print_json,
    write_unbuffered,
)
from luminal.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from click.shell_completion import CompletionItem

__all__ = ["COMMANDS", "root", "run"]

COMMANDS = {
    "list": "List photons, without importing them.",
    "run": "Load and start photons, and run until Ctrl-C.",
    "watch": "Run photons, reload what changes, and print a line for each save.",
    "reload": "Reload photons of a running host, and print the result.",
    "unload": "Unload photons of a running host.",
    "disable": "Unload photons of a running host, and keep them unloaded.",
    "enable": "Load and start disabled photons of a running host again.",
    "log": "Show what photons of a running host did, and what they logged.",
    "top": "Show a running host live: photons, calls, time, threads, tasks.",
    "report": "Write what a host has done: one HTML file, text or JSON.",
    "inspect": "Show everything known about photons, without importing them.",
    "check": "Check whether photons can be loaded, and reloaded safely.",
    "lock": "Write, check and change luminal.lock: which photons may run.",
    "scan": "Give the files of photons scores of a scanner of hostile code.",
    "order": "Show the load order, or the call order of a hook.",
    "graph": "Show photons and what they depend on.",
    "new": "Create a photon and its test.",
    "pack": "Pack photons into one file, a bundle.",
    "unpack": "Write the files of a bundle into a new directory.",
    "key": "Make, show and rotate keys that sign.",
    "sign": "Sign a bundle or a kill list.",
    "verify": "Check the signatures of a bundle or a kill list.",
    "kill": "Add a version to a kill list, and sign the list.",
    "factor": "Register what approves operations on running hosts.",
    "audit": "Show what was asked of hosts from outside and accepted.",
    "fleet": "Show and change what all processes of a fleet run.",
    "doctor": "Find problems of this installation, and print how to fix them.",
    "demo": "Show what Luminal does, with photons of its own.",
}
"""Command → its help line. Help and completion read it and import no command."""

_MODULES = {
    "run": "_host",
    "watch": "_host",
    "top": "_top",
    **dict.fromkeys(("reload", "unload", "disable", "enable", "log"), "_remote"),
    **dict.fromkeys(("pack", "unpack", "key", "sign", "verify", "kill"), "_bundles"),
    "lock": "_lock",
    "graph": "_graph",
    "report": "_report",
    "new": "_new",
    "scan": "_scan",
    "factor": "_factor",
    "audit": "_factor",
    "fleet": "_fleet",
    "doctor": "_doctor",
    "demo": "_demo",
}
"""Command → the module that has it as ``NAME_command``; the others: ``_commands``."""


class _Root(click.Group):
    """A group that imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        if cmd_name not in COMMANDS:
            return None
        from importlib import import_module

        module = import_module(f"luminal.cli.{_MODULES.get(cmd_name, '_commands')}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's
        formatter: click.HelpFormatter,
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(
        self, ctx: click.Context, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        items = [
            CompletionItem(name, help=line)
            for name, line in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return [*items, *click.Command.shell_complete(self, ctx, incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            ctx.fail(f"No such command {name!r}{did_you_mean(name, COMMANDS, '; ')}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Root,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 88},
    subcommand_metavar="COMMAND ...",
    epilog="Exit codes: 0 ok, 1 a photon failed, 2 usage error, 3 nothing found, "
    "4 rejected, 5 no running host, 130 interrupted.",
)
@click.version_option(luminal.__version__, prog_name="luminal")
def root() -> None:
    """Find, load and run photons: plugins that can be changed while a program runs."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command that *arguments* name.

    Args:
        arguments: Words after the program's name; None for those of ``sys.argv``.

    Returns:
        The exit code.
    """
    words = sys.argv[1:] if arguments is None else arguments
    _open_streams()
    try:
        code = root.main(arguments, prog_name="luminal", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        _print_json_error(words, error.exit_code, error.format_message())
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    except OSError as error:
        return _report_os_error(error, words)
    return int(code or 0)


def _open_streams() -> None:
    """Discard what is written to a closed stream (``>&-``); escape what has no code."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - to the end
        # A file's name need not be text, nor need the terminal be UTF-8.
        reconfigure = getattr(getattr(sys, name), "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _report_os_error(error: OSError, words: Sequence[str]) -> Exit:
    """Print an error of the operating system in a line; return the exit code."""
    text = str(error.strerror or error)
    is_path = isinstance(error.filename, str | bytes)
    file = os.fsdecode(error.filename) if is_path else ""
    _print_json_error(words, Exit.FAILED, text, file)
    discard_output()
    place = f": {error.filename!r}" if error.filename is not None else ""
    write_unbuffered(f"luminal: {text}{place}\n")
    return Exit.FAILED


def _print_json_error(
    words: Sequence[str], code: int, what: str, file: str = ""
) -> None:
    """Print why a command did nothing as a document, where *words* ask for one."""
    if "--json" not in words:
        return
    from luminal.model import Problem

    command = next((word for word in words if word in COMMANDS), "")
    # No error of Luminal's own, so it has no code.
    problem = Problem(code="", phase="command", what=what, file=file)
    with contextlib.suppress(OSError):  # perhaps standard output is what failed
        print_json(command, code, error=problem)
