"""The root command: which verbs there are, each imported when it is used."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

import click

import luminal
from luminal.cli.exits import Exit
from luminal.cli.nearness import near

if TYPE_CHECKING:
    from collections.abc import Sequence

    from click.shell_completion import CompletionItem

__all__ = ["VERBS", "run_root"]

VERBS = {
    "list": "Show which photons there are, without importing any.",
    "run": "Load and start photons, and stay until Ctrl-C.",
    "watch": "Run photons, reload what changes, and tell each event in one line.",
    "reload": "Ask a running host to reload photons, and show its report.",
    "top": "Show a running host at work: photons, calls, time, threads, tasks.",
    "report": "Write the page of a host as one HTML file.",
    "inspect": "Show all that is known about photons, without importing any.",
    "check": "Say whether photons can be loaded, and reloaded safely.",
    "order": "Show the order of loading, or of a hook's calls.",
    "graph": "Show photons and what they wait for.",
    "new": "Write a photon to begin with, and its test.",
    "doctor": "Say what is amiss, and how to mend it.",
    "demo": "Show what Luminal does, with photons of its own.",
}
"""Verb → its help line. Help and completion read it instead of the verbs' modules."""

_COMPLETE = "_LUMINAL_COMPLETE"
_SHELLS = ("bash", "zsh", "fish")


class _Root(click.Group):
    """A group that imports a verb's module when the verb is used, not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        if cmd_name not in VERBS:
            return None
        from importlib import import_module

        command: click.Command = import_module(f"luminal.cli.verbs.{cmd_name}").command
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's
        formatter: click.HelpFormatter,
    ) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def shell_complete(
        self, ctx: click.Context, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        verbs = [
            CompletionItem(verb, help=said)
            for verb, said in VERBS.items()
            if verb.startswith(incomplete)
        ]
        return [*verbs, *click.Command.shell_complete(self, ctx, incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in VERBS and not args[0].startswith("-"):
            ctx.fail(f"No such verb {args[0]!r}{near(args[0], VERBS)}")
        return super().resolve_command(ctx, args)


def _print_completion(
    ctx: click.Context,
    parameter: click.Parameter,  # noqa: ARG001 - click's
    shell: str | None,
) -> None:
    """Print what makes *shell* complete ``luminal``, and end."""
    if shell is None or ctx.resilient_parsing:
        return
    from click import shell_completion as kinds

    kind = {
        "bash": kinds.BashComplete,
        "zsh": kinds.ZshComplete,
        "fish": kinds.FishComplete,
    }[shell]
    click.echo(kind(ctx.command, {}, "luminal", _COMPLETE).source())
    ctx.exit(Exit.FINE)


@click.group(
    cls=_Root,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 88},
    subcommand_metavar="VERB ...",
    epilog="Exit codes: 0 fine, 1 a photon failed, 2 usage, 3 nothing found, "
    "4 refused, 5 no running host, 130 interrupted.",
)
@click.version_option(luminal.__version__, prog_name="luminal")
@click.option(
    "--completion",
    type=click.Choice(_SHELLS),
    expose_value=False,
    is_eager=True,
    callback=_print_completion,
    help="Print what makes this shell complete verbs, options and photons: "
    'eval "$(luminal --completion bash)".',
)
def _root() -> None:
    """Find, load and run photons: plugins that can be changed while a program runs."""


def run_root(arguments: Sequence[str] | None = None) -> int:
    """Run the verb that *arguments* name.

    Args:
        arguments: Words after the program's name; None for those of ``sys.argv``.

    Returns:
        The exit code.
    """
    words = sys.argv[1:] if arguments is None else arguments
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        # A file's name need not be text, nor need the terminal be UTF-8.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    try:
        code = _root.main(
            arguments,
            prog_name="luminal",
            complete_var=_COMPLETE,
            standalone_mode=False,
        )
    except click.ClickException as error:
        error.show()
        _answer(words, error.exit_code, error.format_message())
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    except OSError as error:
        return _give_up(error, words)
    return int(code or 0)


def _open_streams() -> None:
    """Let what is written to a stream that was closed (``>&-``) go nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - to the end


def _give_up(error: OSError, words: Sequence[str]) -> Exit:
    """Say in one line what the system refuses; return the exit code."""
    from luminal.cli.leaving import silence, write_now

    text = str(error.strerror or error)
    is_path = isinstance(error.filename, str | bytes)
    _answer(words, Exit.FAILED, text, os.fsdecode(error.filename) if is_path else "")
    silence()
    place = f": {error.filename!r}" if error.filename is not None else ""
    write_now(f"luminal: {text}{place}\n")
    return Exit.FAILED


def _answer(words: Sequence[str], code: int, what: str, file: str = "") -> None:
    """Print as a document, where *words* ask for one, why a verb did nothing."""
    if "--json" not in words:
        return
    from luminal.cli.paper import print_json
    from luminal.model import Problem

    verb = next((word for word in words if word in VERBS), "")
    # No error of Luminal's own, so it has no code.
    problem = Problem(code="", phase="command", what=what, file=file)
    with contextlib.suppress(OSError):  # perhaps it is this that is refused
        print_json(verb, code, error=problem)
