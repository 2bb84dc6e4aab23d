"""Bytes of a module → its facts, by the syntax tree alone; nothing is executed.

Comes in: bytes. Goes out: `ModuleFacts`, with a problem where the text is no Python.
Must never import, evaluate, or let hostile text (deep nesting, null bytes, unknown
encodings) end the discovery of its neighbours.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import attrs

from luminal.discovery.facts import ClassFacts, ModuleFacts
from luminal.discovery.parsing import parse
from luminal.errors import LuminalError, PhotonSyntaxError
from luminal.model import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["DepthError", "facts_of", "plain_value"]

_TEXTS = frozenset({"name", "author", "version", "description", "api"})
_LISTS = frozenset({"tags", "requires", "before", "after"})
_BINDERS = (b"exec", b"globals", b"locals", b"vars", b"setattr", b"__dict__")
_PREFIX = "photon_"
_BODIES = ("body", "orelse", "handlers", "finalbody")


class DepthError(Exception):
    """The text is nested so deeply that the answer depends on the stack's depth."""


def facts_of(data: bytes, path: str, checksum: str) -> ModuleFacts:
    """Return what the bytes of a module say about it.

    Args:
        data: The bytes.
        path: Path of the module, for errors.
        checksum: SHA-512 hex digest of the bytes.

    Raises:
        DepthError: The text is nested too deeply to be read here and now.
    """
    try:
        facts = _walk(parse(data, path), checksum)
    except LuminalError as error:
        phase = "compile" if isinstance(error, PhotonSyntaxError) else "read"
        return ModuleFacts(checksum, Problem.of(error, phase))
    except (RecursionError, MemoryError) as error:
        raise DepthError(type(error).__name__) from None
    if any(word in data for word in _BINDERS):
        return attrs.evolve(facts, is_dynamic=True)
    return facts


def _walk(tree: ast.Module, checksum: str) -> ModuleFacts:
    classes: dict[str, ClassFacts] = {}
    imports: dict[str, tuple[str, int]] = {}
    stars: list[str] = []
    bound: dict[str, None] = {}
    for node in _statements(tree.body):
        if isinstance(node, ast.ClassDef):
            classes.pop(node.name, None)  # the last one counts, in its own place
            classes[node.name] = _class_facts(node)
            imports.pop(node.name, None)
            bound[node.name] = None
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for name, reference in _references(node):
                if name == "*":
                    stars.append(reference)
                    continue
                imports[name] = (reference, node.lineno)
                classes.pop(name, None)
                bound[name] = None
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            bound[node.name] = None
        else:
            for part in ast.walk(node):
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                    bound[part.id] = None
    is_dynamic = bool(stars) or "__getattr__" in bound
    return ModuleFacts(
        checksum, None, classes, imports, tuple(stars), tuple(bound), is_dynamic
    )


def _statements(body: Sequence[ast.AST]) -> Iterator[ast.stmt]:
    """Yield what runs at the module's top: branches too, but no nested scope."""
    for node in body:
        if isinstance(node, ast.stmt):
            yield node
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for field in _BODIES:
            inner = getattr(node, field, None)
            if isinstance(inner, list):
                yield from _statements(inner)


def _references(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            name = alias.asname or alias.name
            yield name, module if name == "*" else f"{module}:{alias.name}"
        elif alias.asname:
            yield alias.asname, alias.name
        else:
            top = alias.name.partition(".")[0]
            yield top, top


def _class_facts(node: ast.ClassDef) -> ClassFacts:
    literals: dict[str, object] = {}
    unreadable = 0
    is_abstract = False
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            is_abstract = is_abstract or any(
                (_dotted(d) or "").rpartition(".")[2].startswith("abstract")
                for d in statement.decorator_list
            )
            continue
        for field, value in _assignments(statement):
            literal = _literal(field, value)
            literals.pop(field, None)
            if literal is not None:
                literals[field] = literal
            if field == "name":
                unreadable = statement.lineno if literal is None else 0
    bases = tuple(name for b in node.bases if (name := _dotted(b)))
    return ClassFacts(node.name, node.lineno, bases, literals, unreadable, is_abstract)


def _assignments(statement: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(statement, ast.Assign):
        targets, value = statement.targets, statement.value
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        targets, value = [statement.target], statement.value
    else:
        return
    for target in targets:
        if isinstance(target, ast.Name) and target.id.startswith(_PREFIX):
            yield target.id[len(_PREFIX) :], value


def _literal(field: str, node: ast.expr) -> object | None:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError):
        return None
    return plain_value(field, value)


def plain_value(field: str, value: object) -> object | None:
    """Return *value* as the metadata *field* keeps it, None if it does not fit."""
    if field in _TEXTS:
        return value if isinstance(value, str) else None
    if field == "enabled":
        return value if isinstance(value, bool) else None
    if field not in _LISTS:
        return None
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list | tuple):
        items = list(value)
        return tuple(items) if all(isinstance(v, str) for v in items) else None
    return None


def _dotted(node: ast.expr) -> str | None:
    """Return ``a.b.C`` of ``a.b.C`` or ``a.b.C[T]``, None of anything else."""
    while isinstance(node, ast.Subscript):
        node = node.value
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([node.id, *reversed(parts)])
