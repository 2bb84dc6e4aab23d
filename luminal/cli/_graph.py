"""The command ``graph``: photons and what they depend on, as text or DOT."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from luminal.cli._options import (
    DiscoveryOptions,
    command,
    discovery_options,
    state_of,
)
from luminal.cli._output import Exit, clean, print_json, print_no_photons
from luminal.discovery.lint import Dependency, dependencies

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from luminal.model import Candidate

__all__ = ["graph_command"]


@command("graph")
@click.option(
    "--format",
    "form",
    type=click.Choice(("text", "dot")),
    default="text",
    show_default=True,
    help="Text for people, DOT for Graphviz.",
)
@discovery_options
def graph_command(options: DiscoveryOptions, form: str, as_json: bool) -> Exit:
    """Show photons and what they depend on.

    No photon is imported. Below each photon are those that it requires, and those that
    are loaded before it.
    """
    found = options.find()
    edges = dependencies(found)
    states = {candidate.name: state_of(candidate) for candidate in found}
    for edge in edges:
        states.setdefault(edge.earlier, "missing")
    code = Exit.FINE if found else Exit.NOTHING
    if as_json:
        nodes = [{"name": name, "state": state} for name, state in states.items()]
        print_json("graph", code, nodes=nodes, edges=edges)
    elif not found:
        print_no_photons()
    elif form == "dot":
        click.echo(_dot(states, edges))
    else:
        for line in _tree(found, states, edges):
            click.echo(line)
    return code


_LABELS = {"after": "(after) ", "before": "(declares before) "}


def _tree(
    found: Sequence[Candidate], states: Mapping[str, str], edges: Sequence[Dependency]
) -> Iterator[str]:
    """Yield the lines of a tree for each photon on which no other depends.

    A photon that was shown already is shown without what is below it.
    """
    below: dict[str, list[Dependency]] = {}
    for edge in edges:
        below.setdefault(edge.later, []).append(edge)
    awaited = {edge.earlier for edge in edges}
    names = [candidate.name for candidate in found]
    shown: set[str] = set()
    # What is left after the first list depends on itself, in a circle.
    for root in [*(name for name in names if name not in awaited), *names]:
        todo = [] if root in shown else [(root, "", "")]
        while todo:
            name, lead, margin = todo.pop()
            state = "" if states[name] == "ok" else f"  [{states[name]}]"
            is_again = name in shown and name in below
            yield f"{lead}{clean(name)}{state}{'  (see above)' if is_again else ''}"
            if name not in shown:
                todo += reversed([*_branches(below.get(name, []), margin)])
            shown.add(name)


def _branches(
    edges: Sequence[Dependency], margin: str
) -> Iterator[tuple[str, str, str]]:
    """Yield for each edge the name below it, the text before that, and its margin."""
    for at, edge in enumerate(edges, 1):
        is_last = at == len(edges)
        label = _LABELS.get(edge.kind, f"({clean(edge.text)}) ")
        lead = f"{margin}{'└─ ' if is_last else '├─ '}{label}"
        yield edge.earlier, lead, margin + ("   " if is_last else "│  ")


def _dot(states: Mapping[str, str], edges: Sequence[Dependency]) -> str:
    lines = ["digraph photons {", "  rankdir=LR;", "  node [shape=box];"]
    for name, state in states.items():
        style = "" if state == "ok" else f" [style=dashed, xlabel={_quoted(state)}]"
        lines.append(f"  {_quoted(name)}{style};")
    for edge in edges:
        style = "solid" if edge.kind == "requires" else "dashed"
        ends = f"{_quoted(edge.later)} -> {_quoted(edge.earlier)}"
        lines.append(f"  {ends} [style={style}, label={_quoted(edge.text)}];")
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    escaped = clean(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
