"""The three directives: from options on a page to nodes of a document.

In comes what an author wrote, out come nodes, the same in reStructuredText and in
Markdown. A page is built again when a file changes that it was made from.
"""

from __future__ import annotations

import inspect
import pkgutil
from typing import TYPE_CHECKING, Any, ClassVar

from luminal.cli.declared import DeclaredHook, call_order, hooks_of
from luminal.discovery import discover
from luminal.errors import ERROR_CODES, LuminalError, MissingExtraError
from luminal.sphinx.specifications import read_specifications
from luminal.sphinx.wording import errors_text, hooks_text, photons_text

try:
    from docutils.parsers.rst import Parser, directives, roles
    from docutils.utils import new_document
    from sphinx.util.docutils import SphinxDirective
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "the Sphinx extension needs 'sphinx'",
        why=f"{error.name!r} is not installed",
        hint="pip install 'luminal-photons[sphinx]'",
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from docutils.nodes import Node

    from luminal.model import Candidate

__all__ = ["ErrorsDirective", "HooksDirective", "PhotonsDirective"]


class _LuminalDirective(SphinxDirective):
    """What the three share: looking for photons, and making nodes of text."""

    def find(self, directories: Sequence[str]) -> Sequence[Candidate]:
        """Return the photons of *directories* and of the group; none is imported."""
        paths = [self.env.relfn2path(directory)[1] for directory in directories]
        for path in paths:
            self.env.note_dependency(path)
        try:
            found = discover(
                *paths,
                group=self.options.get("group"),
                recursive="recursive" in self.options,
                photon_base=self.options.get("base", "IPhoton"),
                index=False,
            )
        except LuminalError as error:
            raise self.error(str(error)) from error
        for candidate in found:
            if candidate.location:
                self.env.note_dependency(candidate.location)
        return found

    def nodes_of(self, text: str) -> list[Node]:
        """Parse reStructuredText, whatever the page itself is written in."""
        document = new_document(self.get_source_info()[0], self.state.document.settings)
        document.reporter = self.state.document.reporter
        # docutils forgets the default role after each document.
        default = roles._roles.get("")  # type: ignore[attr-defined]  # noqa: SLF001
        Parser().parse(text, document)
        if default is not None:
            roles._roles[""] = default  # type: ignore[attr-defined]  # noqa: SLF001
        return list(document.children)


_LOOKING: dict[str, Callable[[str], Any]] = {
    "group": directives.unchanged_required,
    "recursive": directives.flag,
    "base": directives.unchanged_required,
}


class PhotonsDirective(_LuminalDirective):
    """``luminal-photons``: the photons of directories or of an entry-point group."""

    optional_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar[dict[str, Callable[[str], Any]]] = _LOOKING

    def run(self) -> list[Node]:
        """Return a description of each photon, in load order."""
        directories = self.arguments[0].split() if self.arguments else []
        if not directories and "group" not in self.options:
            raise self.error("name a directory, or a group with ':group:'")
        found = self.find(directories)
        hooks = {
            candidate.name: ", ".join(
                f"``{each.hook}``" for each in hooks_of(candidate)
            )
            for candidate in found
        }
        return self.nodes_of(photons_text(found, hooks))


class HooksDirective(_LuminalDirective):
    """``luminal-hooks``: the hooks of a class, and which photons implement them."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Callable[[str], Any]]] = {
        **_LOOKING,
        "photons": directives.unchanged_required,
    }

    def run(self) -> list[Node]:
        """Return a description of each hook, in the order of their definition."""
        try:
            specs = pkgutil.resolve_name(self.arguments[0])
        except (Exception, SystemExit) as error:
            text = f"cannot import {self.arguments[0]!r}: {error!r}"
            raise self.error(text) from error
        specifications = read_specifications(specs)
        if not specifications:
            raise self.error(f"{self.arguments[0]!r} specifies no hook")
        self.env.note_dependency(inspect.getfile(specs))
        implementers = None
        if "photons" in self.options or "group" in self.options:
            found = self.find(self.options.get("photons", "").split())
            implementers = _implementers(found)
        # A class is described under the module that the author names it by.
        named, colon, _ = self.arguments[0].partition(":")
        module = named if colon else ""
        text = hooks_text(specs, specifications, implementers, self._process, module)
        return self.nodes_of(text)

    def _process(self, name: str, doc: str) -> str:
        """Let napoleon and its like rewrite a docstring, where they are there."""
        lines = doc.splitlines()
        events = self.env.app.events
        if "autodoc-process-docstring" in events.events:
            event = "autodoc-process-docstring"
            events.emit(event, "function", name, None, {}, lines)
        return "\n".join(lines)


class ErrorsDirective(_LuminalDirective):
    """``luminal-errors``: the catalogue, or what begins with one of some codes."""

    optional_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[Node]:
        """Return a description of each error, ordered by code."""
        wanted = tuple(self.arguments[0].split()) if self.arguments else ("",)
        errors = {c: e for c, e in ERROR_CODES.items() if c.startswith(wanted)}
        if not errors:
            raise self.error(f"no code begins with {' or '.join(wanted)}")
        return self.nodes_of(errors_text(errors))


def _implementers(found: Sequence[Candidate]) -> dict[str, list[str]]:
    """Return who implements each hook, in the order of calls."""
    declared: dict[str, list[tuple[str, DeclaredHook]]] = {}
    for candidate in found:
        if candidate.enabled and candidate.problem is None:
            for each in hooks_of(candidate):
                declared.setdefault(each.hook, []).append((candidate.name, each))
    return {
        hook: [photon for photon, _ in call_order(implementations)]
        for hook, implementations in declared.items()
    }
