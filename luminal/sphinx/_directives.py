"""The directives ``luminal-photons``, ``luminal-hooks`` and ``luminal-errors``.

Each reads photons, hook specifications or error classes, writes reStructuredText about
them, and parses that into nodes. So the result is the same on pages in Markdown. A page
depends on the files that were read, so Sphinx builds it again when one changes.
"""

from __future__ import annotations

import inspect
import os
import pkgutil
import re
import textwrap
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from luminal.discovery import discover
from luminal.discovery.lint import DeclaredHook, call_order, declared_hooks
from luminal.errors import ERROR_CODES, LuminalError, MissingExtraError

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
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from docutils.nodes import Node

    from luminal.model import Candidate

__all__ = [
    "ErrorsDirective",
    "HooksDirective",
    "PhotonsDirective",
    "escaped",
    "read_specifications",
]


class _LuminalDirective(SphinxDirective):
    """Base of the three: finds photons, and makes nodes of reStructuredText."""

    def find(self, directories: Sequence[str]) -> Sequence[Candidate]:
        """Return the photons of *directories* and of the group. Imports none."""
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
        """Parse reStructuredText, also on a page that is written in Markdown."""
        document = new_document(
            self.get_source_info()[0] or "", self.state.document.settings
        )
        document.reporter = self.state.document.reporter
        # docutils resets the default role after each document.
        default = roles._roles.get("")  # type: ignore[attr-defined]  # noqa: SLF001
        Parser().parse(text, document)
        if default is not None:
            roles._roles[""] = default  # type: ignore[attr-defined]  # noqa: SLF001
        return list(document.children)


_DISCOVER_OPTIONS: dict[str, Callable[[str], Any]] = {
    "group": directives.unchanged_required,
    "recursive": directives.flag,
    "base": directives.unchanged_required,
}


class PhotonsDirective(_LuminalDirective):
    """``luminal-photons``: describes photons of directories or an entry-point group."""

    optional_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar[dict[str, Callable[[str], Any]]] = _DISCOVER_OPTIONS

    def run(self) -> list[Node]:
        """Return a description of each photon, in load order."""
        directories = self.arguments[0].split() if self.arguments else []
        if not directories and "group" not in self.options:
            raise self.error("name a directory, or a group with ':group:'")
        found = self.find(directories)
        hooks = {
            candidate.name: ", ".join(
                f"``{each.hook}``" for each in declared_hooks(candidate)
            )
            for candidate in found
        }
        return self.nodes_of(_photons_text(found, hooks))


class HooksDirective(_LuminalDirective):
    """``luminal-hooks``: describes the hooks of a class or module of specifications.

    With photons named, it says which of them implement each hook.
    """

    required_arguments = 1
    option_spec: ClassVar[dict[str, Callable[[str], Any]]] = {
        **_DISCOVER_OPTIONS,
        "photons": directives.unchanged_required,
    }

    def run(self) -> list[Node]:
        """Return a description of each hook, in the order of definition."""
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
        # A class is described under the module that the page names.
        name, colon, _ = self.arguments[0].partition(":")
        module = name if colon else ""
        text = _hooks_text(specs, specifications, implementers, self._process, module)
        return self.nodes_of(text)

    def _process(self, name: str, doc: str) -> str:
        """Let extensions such as napoleon rewrite a docstring."""
        lines = doc.splitlines()
        events = self.env.app.events
        if "autodoc-process-docstring" in events.events:
            event = "autodoc-process-docstring"
            events.emit(event, "function", name, None, {}, lines)
        return "\n".join(lines)


class ErrorsDirective(_LuminalDirective):
    """``luminal-errors``: describes all errors, or those whose code begins so."""

    optional_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[Node]:
        """Return a description of each error, in the order of codes."""
        wanted = tuple(self.arguments[0].split()) if self.arguments else ("",)
        errors = {c: e for c, e in ERROR_CODES.items() if c.startswith(wanted)}
        if not errors:
            raise self.error(f"no code begins with {' or '.join(wanted)}")
        return self.nodes_of(_errors_text(errors))


def _implementers(found: Sequence[Candidate]) -> dict[str, list[str]]:
    """Return the photons that implement each hook, in call order."""
    declared: dict[str, list[tuple[str, DeclaredHook]]] = {}
    for candidate in found:
        if candidate.enabled and candidate.problem is None:
            for each in declared_hooks(candidate):
                declared.setdefault(each.hook, []).append((candidate.name, each))
    return {
        hook: [photon for photon, _ in call_order(implementations)]
        for hook, implementations in declared.items()
    }


@attrs.frozen
class Specification:
    """The specification of one hook.

    Attributes:
        name: Name of the hook.
        signature: Its arguments and result as they are written, without ``self``.
        result: What a call returns, in words.
        is_async: Whether it is defined with ``async def``.
        doc: Its docstring, or an empty string.
    """

    name: str
    signature: str
    result: str
    is_async: bool
    doc: str


def read_specifications(specs: object) -> tuple[Specification, ...]:
    """Return the hook specifications in *specs*, in the order of definition.

    Args:
        specs: A class or module with functions that are marked with a ``hookspec``, of
            any pluggy project.
    """
    found = {}
    for name, function in _members(specs):
        options = _options(function)
        if options is None:
            continue
        found[name] = Specification(
            name,
            _signature(function, isinstance(specs, type)),
            _result_of(options),
            inspect.iscoroutinefunction(function),
            inspect.getdoc(function) or "",
        )
    return tuple(found.values())


def _result_of(options: Mapping[str, Any]) -> str:
    """Return what a call returns, by the *options* of a specification."""
    if options.get("firstresult"):
        words = ["the first result that is not None"]
    else:
        words = ["all results, as a list"]
    if options.get("historic"):
        words.append("earlier calls are repeated for photons that are registered later")
    if options.get("concurrent"):
        words.append("implementations are awaited concurrently")
    if options.get("sync_only"):
        words.append("implementations must not be async")
    if options.get("isolate") is not None:
        isolated = "a failure does not stop the others"
        words.append(isolated if options["isolate"] else "a failure ends the call")
    return "; ".join(words)


def _members(specs: object) -> Iterator[tuple[str, Any]]:
    """Yield the names and functions of *specs*, those of base classes first."""
    spaces = reversed(specs.__mro__) if isinstance(specs, type) else [specs]
    for space in spaces:
        # A page may name any object, also one without attributes.
        for name, value in getattr(space, "__dict__", {}).items():
            function = value
            if isinstance(value, staticmethod | classmethod):
                function = value.__func__
            if inspect.isfunction(function):
                yield name, function


def _options(function: Any) -> Mapping[str, Any] | None:
    for name, value in vars(function).items():
        if name.endswith("_spec") and isinstance(value, dict):
            return value
    return None


class _Written(str):
    """A postponed annotation, which is shown as it is written, without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _signature(function: Any, is_method: bool) -> str:
    signature = inspect.signature(function)
    parameters = [
        p.replace(annotation=_written(p.annotation))
        for p in signature.parameters.values()
    ]
    if is_method and parameters and parameters[0].name in ("self", "cls"):
        del parameters[0]
    result = _written(signature.return_annotation)
    return str(signature.replace(parameters=parameters, return_annotation=result))


def _written(annotation: Any) -> Any:
    return _Written(annotation) if isinstance(annotation, str) else annotation


def _photons_text(candidates: Iterable[Candidate], hooks: Mapping[str, str]) -> str:
    """Return the description of each photon.

    Args:
        candidates: The photons, in the order of the page.
        hooks: Photon → the hooks that it implements, as text.
    """
    blocks = []
    for candidate in candidates:
        fields = {
            "Version": escaped(candidate.version),
            "Author": escaped(candidate.author),
            "Tags": escaped(", ".join(candidate.tags)),
            "From": _origin(candidate),
            "Requires": _literals(candidate.requirements),
            "Before": _literals(candidate.before),
            "After": _literals(candidate.after),
            "Requires API": escaped(candidate.api),
            "Implements": hooks.get(candidate.name, ""),
            "Disabled": "" if candidate.enabled else "yes",
            "Problem": _problem(candidate),
        }
        body = [escaped(candidate.description), _fields(fields)]
        # An invalid name may be blank.
        name = candidate.name.strip() or os.path.basename(candidate.location)
        blocks.append(_block(f".. luminal-photon:: {name}", body))
    return "\n".join(blocks) or "No photons were found.\n"


def _hooks_text(
    specs: object,
    specifications: Sequence[Specification],
    implementers: Mapping[str, Sequence[str]] | None,
    process: Callable[[str, str], str],
    module: str,
) -> str:
    """Return the description of a class or module of specifications.

    Args:
        specs: The class or module.
        specifications: Its hooks.
        implementers: Hook → photons in call order; None to leave them out.
        process: Turns a name and a docstring into reStructuredText.
        module: The module that a class is described under; empty for its own.
    """
    own_module = getattr(specs, "__module__", None)
    name = str(getattr(specs, "__qualname__", getattr(specs, "__name__", "")))
    is_class = own_module is not None
    blocks = []
    for spec in specifications:
        fields = {"Result": spec.result}
        if implementers is not None:
            photons = implementers.get(spec.name, ())
            roles = ", ".join(f":luminal-photon:`{escaped(each)}`" for each in photons)
            fields["Implemented by"] = roles or "no photon"
        directive = "py:method" if is_class else "py:function"
        options = "   :async:\n" if spec.is_async else ""
        options += "" if is_class else f"   :module: {name}\n"
        head = f".. {directive}:: {spec.name}{spec.signature}\n{options}".rstrip()
        blocks.append(_block(head, [process(spec.name, spec.doc), _fields(fields)]))
    if not is_class:
        return "\n".join(blocks)
    head = f".. py:class:: {name}\n   :module: {module or own_module}"
    if module and own_module != module:
        head += f"\n   :canonical: {own_module}.{name}"
    doc = inspect.cleandoc(vars(specs).get("__doc__") or "")
    return _block(head, [process(name, doc), "\n".join(blocks)])


def _errors_text(errors: Mapping[str, type[LuminalError]]) -> str:
    """Return the description of each error, in the order of codes."""
    blocks = []
    for code, error in sorted(errors.items()):
        also = [
            base.__name__
            for base in error.__mro__[1:]
            if base.__module__ == "builtins"
            and base not in (Exception, BaseException, object)
        ]
        fields = {
            "Class": f":py:exc:`~{error.__module__}.{error.__qualname__}`",
            "Also a": _literals(also[:1]),
        }
        meaning = inspect.cleandoc(error.__doc__ or "").split("\n\nArgs:")[0]
        body = [meaning, _fields(fields)]
        blocks.append(_block(f".. luminal-error:: {code}", body))
    return "\n".join(blocks)


def escaped(text: str) -> str:
    """Return *text* on one line, escaped so that reStructuredText shows it as it is.

    Args:
        text: Any text.
    """
    return re.sub(r"[^\w\s,.;()-]|_(?=\W|$)", r"\\\g<0>", " ".join(text.split()))


def _origin(candidate: Candidate) -> str:
    if candidate.group:
        return f"``{candidate.origin}``, in the group ``{candidate.group}``"
    return ""


def _problem(candidate: Candidate) -> str:
    problem = candidate.problem
    if problem is None:
        return ""
    return f":luminal-error:`{problem.code}`: {escaped(problem.what)}"


def _literals(words: Iterable[str]) -> str:
    return ", ".join(f"``{word}``" for word in words)


def _fields(fields: Mapping[str, str]) -> str:
    return "\n".join(f":{name}: {text}" for name, text in fields.items() if text)


def _block(head: str, body: Iterable[str]) -> str:
    """Return a directive with the non-empty parts of *body* below it."""
    parts = "\n\n".join(part.strip("\n") for part in body if part.strip())
    return f"{head}\n\n{textwrap.indent(parts, '   ')}\n"
