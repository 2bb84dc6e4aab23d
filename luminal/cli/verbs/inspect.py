"""``luminal inspect``: all that is known about photons. Imports none of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs
import click

from luminal.cli.blaming import tell_problem
from luminal.cli.consequences import if_loaded
from luminal.cli.declared import hooks_of
from luminal.cli.exits import Exit
from luminal.cli.looking import complete_photon, looking, state_of
from luminal.cli.paper import clean, print_json, say, short
from luminal.cli.verb import verb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luminal.cli.looking import Look
    from luminal.model import Candidate

__all__ = ["command"]


@verb("inspect")
@click.option(
    "--photon",
    "-p",
    "names",
    multiple=True,
    metavar="PHOTON",
    shell_complete=complete_photon,
    help="Show this photon only; may be repeated.",
)
@looking
def command(look: Look, names: tuple[str, ...], as_json: bool) -> Exit:
    """Show all that is known about photons, without importing any.

    Where each comes from, what it says of itself, what it requires and who requires
    it, and which hooks it implements. A PATH that is no path is taken for the name of
    a photon.
    """
    look, names = _named(look, names)
    everything = look.find()
    found = _chosen(everything, names)
    code = Exit.FINE if found else Exit.NOTHING
    if any(candidate.problem for candidate in found):
        code = Exit.FAILED
    said = if_loaded(everything)
    if as_json:
        photons = [
            {
                **attrs.asdict(candidate),
                "state": state_of(candidate),
                "consequence": said.get(candidate.name, ""),
                "hooks": [attrs.asdict(hook) for hook in hooks_of(candidate)],
                "required_by": _required_by(candidate, everything),
            }
            for candidate in found
        ]
        print_json("inspect", code, photons=photons)
        return code
    if not found:
        say("no photon found; name a directory, or install a distribution with some")
    for at, candidate in enumerate(found):
        if at:
            click.echo()
        _print(candidate, everything, said.get(candidate.name, ""))
    return code


def _named(look: Look, names: tuple[str, ...]) -> tuple[Look, tuple[str, ...]]:
    """Part what was typed into paths and names."""
    words = [p for p in look.paths if not os.path.lexists(p) and _is_word(p)]
    paths = tuple(p for p in look.paths if p not in words)
    return attrs.evolve(look, paths=paths), (*names, *words)


def _is_word(text: str) -> bool:
    return os.sep not in text and "/" not in text and not text.endswith(".py")


def _chosen(
    everything: Sequence[Candidate], names: tuple[str, ...]
) -> Sequence[Candidate]:
    if not names:
        return everything
    from luminal.discovery import Discovered

    sought = Discovered(everything)
    wanted = [sought.by_name(name).name for name in names]
    return [c for c in everything if c.name in wanted]


def _required_by(candidate: Candidate, everything: Sequence[Candidate]) -> list[str]:
    from luminal.discovery import split_requirement

    return [
        other.name
        for other in everything
        if candidate.name in [split_requirement(r)[0] for r in other.requirements]
    ]


def _print(candidate: Candidate, everything: Sequence[Candidate], so: str) -> None:
    line = f":{candidate.line}" if candidate.line else ""
    hooks = [
        hook.hook
        + "".join(
            f" {key}={value!r}"
            for key, value in hook.options.items()
            if key != "specname"
        )
        for hook in hooks_of(candidate)
    ]
    facts = {
        "state": state_of(candidate),
        "version": candidate.version,
        "author": candidate.author,
        "about": candidate.description,
        "tags": ", ".join(candidate.tags),
        "source": f"{candidate.source} {short(candidate.origin)}",
        "file": f"{short(candidate.location)}{line}" if candidate.location else "",
        "object": candidate.target,
        "requires": ", ".join(candidate.requirements),
        "required by": ", ".join(_required_by(candidate, everything)),
        "before": ", ".join(candidate.before),
        "after": ", ".join(candidate.after),
        "host's API": candidate.api,
        "hooks": ", ".join(hooks),
        "sha512": candidate.checksum[:16] + "..." if candidate.checksum else "",
    }
    click.secho(clean(candidate.name), bold=True, color=_color())
    for label, value in facts.items():
        if value:
            click.echo(f"  {label:<11}  {clean(value)}")
    if candidate.problem is not None:
        tell_problem(candidate.name, candidate.problem, so=so)


def _color() -> bool | None:
    return False if "NO_COLOR" in os.environ else None
