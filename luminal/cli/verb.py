"""What verbs share: ``--json``, exit codes, and errors that are said, not thrown."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from luminal.cli.blaming import tell_error
from luminal.cli.exits import Exit, exit_for
from luminal.cli.leaving import silence
from luminal.cli.paper import print_json, show_all_frames
from luminal.errors import LuminalError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Verb", "verb"]


class Verb(click.Command):
    """A command that answers as text or as JSON, and turns errors into exit codes."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Make the context; what is set in a file stands in for what is not typed."""
        is_completion = bool(extra.get("resilient_parsing"))
        if not is_completion and any(p.name == "paths" for p in self.params):
            from luminal.cli.settings import options

            extra.setdefault("default_map", options())
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.BadParameter as error:
            told = error.message + _origin_of(error)
            kind = type(error)
            if kind is not click.BadParameter:
                raise
            raise kind(told, error.ctx, error.param, error.param_hint) from None

    def invoke(self, ctx: click.Context) -> int:
        """Run the verb and return its exit code."""
        try:
            code: Exit = super().invoke(ctx)
            sys.stdout.flush()
        except LuminalError as error:
            code = exit_for(error)
            error.consequence = error.consequence or "nothing was changed"
            tell_error(error)
            if ctx.params.get("as_json"):
                from luminal.model import Problem

                problem = Problem.of(error, "command")
                print_json(str(ctx.info_name), code, error=problem)
        except BrokenPipeError:
            silence()
            code = Exit.FINE  # whoever read has read enough
        return int(code)


def _origin_of(error: click.BadParameter) -> str:
    """Return where a refused value was set, if it was not typed."""
    from click.core import ParameterSource

    parameter, ctx = error.param, error.ctx
    if parameter is None or ctx is None or parameter.name is None:
        return ""
    is_set = ctx.get_parameter_source(parameter.name) is ParameterSource.ENVIRONMENT
    return f" It comes from ${parameter.envvar}." if is_set else ""


def verb(name: str) -> Callable[[Callable[..., Exit]], click.Command]:
    """Make the decorated function the verb *name*.

    It takes what its options say, and ``as_json``: whether it is to print one JSON
    document instead of text. It returns the exit code.
    """

    def decorate(function: Callable[..., Exit]) -> click.Command:
        json: Any = click.option(
            "--json", "as_json", is_flag=True, help="Print one JSON document."
        )
        verbose: Any = click.option(
            "-v",
            "--verbose",
            is_flag=True,
            expose_value=False,
            callback=lambda _ctx, _parameter, wanted: show_all_frames(wanted),
            help="Show Luminal's own calls in failures as well.",
        )
        made: click.Command = click.command(name, cls=Verb)(json(verbose(function)))
        return made

    return decorate
