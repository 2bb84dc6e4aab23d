"""What a module says about itself, by its syntax tree alone; nothing is executed.

`facts_of` turns bytes into `ModuleFacts`; `Resolver` follows a name through re-exports
and base classes, a bounded number of steps and only in files of the same directory or
distribution. Hostile text (deep nesting, null bytes, unknown encodings) is a problem of
its own module.
"""

from __future__ import annotations

import ast
import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from luminal._syntax import parse as tree_of
from luminal.compiling import is_large
from luminal.errors import LuminalError, PhotonSyntaxError, PhotonUnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from luminal.discovery._scan import RecordingFileSystem
    from luminal.model import Problem

__all__ = [
    "ATTRIBUTES",
    "ClassFacts",
    "Definition",
    "DepthError",
    "ModuleFacts",
    "Resolver",
    "facts_of",
    "facts_row",
    "may_bind_unseen",
    "parse",
    "plain_value",
]


class ClassFacts(NamedTuple):
    """A class statement at the top of a module.

    Attributes:
        name: Its name.
        line: Its line, counted from 1.
        bases: Its bases as dotted names, as written.
        literals: ``photon_*`` attributes whose values are literals of the right
            type, without the prefix.
        unreadable_name: Line of a ``photon_name`` that is no literal string, else 0.
        is_abstract: Whether it holds methods marked ``abstractmethod``.
        odd: (attribute without its prefix, line) of ``photon_*`` attributes that
            nobody reads, or whose literals have the wrong type.
        has_hooks: Whether it holds methods marked ``hookimpl``.
        has_no_base: Whether nothing stands between its brackets.
        steps: (method, meant, line) of methods that nobody calls, although they are
            spelt almost like the step of a photon's life that is meant; and of
            generators that are called like a step: there both names are equal.
    """

    name: str
    line: int
    bases: tuple[str, ...]
    literals: dict[str, object]
    unreadable_name: int
    is_abstract: bool
    odd: tuple[tuple[str, int], ...] = ()
    has_hooks: bool = False
    has_no_base: bool = False
    steps: tuple[tuple[str, str, int], ...] = ()

    @property
    def names_itself(self) -> bool:
        """Whether its body sets ``photon_name``."""
        return "name" in self.literals or bool(self.unreadable_name)


class ModuleFacts(NamedTuple):
    """A module as its syntax tree shows it.

    Attributes:
        checksum: SHA-512 hex digest of the file, or empty where it was not read.
        problem: Why there are no facts, or None.
        classes: Classes by name; of two of one name, the last.
        imports: Local name → (reference, line). A reference is ``module`` or
            ``module:attribute``, with leading dots where it is relative.
        stars: References of modules that everything is imported from.
        bound: Every name that is bound at the top.
        is_dynamic: Whether the module answers for names that it does not bind, or
            takes all names of another.
        hook_line: Line of the first function that is marked ``hookimpl``, else 0.
    """

    checksum: str = ""
    problem: Problem | None = None
    classes: dict[str, ClassFacts] = {}
    imports: dict[str, tuple[str, int]] = {}
    stars: tuple[str, ...] = ()
    bound: tuple[str, ...] = ()
    is_dynamic: bool = False
    hook_line: int = 0

    def serialize(self) -> tuple[object, ...]:
        """Return the facts as values that the index can keep."""
        return (
            self.checksum,
            self.problem.values() if self.problem else None,
            tuple([tuple(c) for c in self.classes.values()]),
            self.imports,
            self.stars,
            self.bound,
            self.is_dynamic,
            self.hook_line,
        )

    @classmethod
    def deserialize(cls, row: tuple[object, ...]) -> ModuleFacts:
        """Return the facts that `serialize` made *row* of."""
        checksum, problem, classes, *rest = row
        made = [ClassFacts(*c) for c in classes]  # type: ignore[attr-defined]
        return cls(
            checksum,  # type: ignore[arg-type]
            _problem(problem) if problem else None,  # type: ignore[arg-type]
            {c.name: c for c in made},
            *rest,  # type: ignore[arg-type]
        )


def _problem(values: tuple[Any, ...]) -> Problem:
    from luminal.model import Problem

    return Problem(*values)


def parse(data: bytes, path: str) -> ast.Module:
    """Return the syntax tree of *data*; encoding cookies and marks are honoured.

    Raises:
        PhotonUnreadableError: It holds null bytes or is not in its encoding.
        PhotonSyntaxError: It is not Python.
        RecursionError, MemoryError: It is nested too deeply.
    """
    null = data.find(b"\0")
    if null >= 0:
        raise PhotonUnreadableError(
            "is not text",
            file=path,
            line=data.count(b"\n", 0, null) + 1,
            why="it holds null bytes",
            hint="save it as UTF-8",
        )
    try:
        return tree_of(data, path)
    except SyntaxError as error:
        _check_encoding(data, path)
        raise PhotonSyntaxError(
            "is not valid Python",
            file=path,
            line=error.lineno,
            why=error.msg,
            hint="fix the syntax",
        ) from None
    except (ValueError, LookupError, OverflowError) as error:
        _check_encoding(data, path)
        raise PhotonSyntaxError(
            "is not valid Python", file=path, why=str(error), hint="fix the syntax"
        ) from None


def _check_encoding(data: bytes, path: str) -> None:
    import io
    import tokenize

    encoding = "utf-8"
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        data.decode(encoding)
    except (SyntaxError, ValueError, LookupError) as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        raise PhotonUnreadableError(
            "is not in its encoding",
            file=path,
            line=data.count(b"\n", 0, start) + 1,
            why=str(error),
            hint="save it as UTF-8, or name its encoding in the first line (PEP 263)",
        ) from None


_TEXTS = frozenset({"name", "author", "version", "description", "api"})
_LISTS = frozenset({"tags", "requires", "before", "after", "owns", "files"})
_BINDERS = (b"exec", b"globals", b"locals", b"vars", b"setattr", b"__dict__")
_OF_THE_CLASS = frozenset({"exclusive", "settings"})
"""What only the class itself is asked for, when it has been loaded."""
ATTRIBUTES = _TEXTS | _LISTS | _OF_THE_CLASS | {"enabled"}
"""Metadata of photons, without the prefix; see `luminal.interfaces.IPhoton`."""
_STEPS = ("start", "finalize", "on_reload")
"""Methods of photons that are called when their names are these."""
_PREFIX = "photon_"
_BODIES_REVERSED = ("finalbody", "handlers", "orelse", "body")


class DepthError(Exception):
    """The text is nested so deeply that the answer depends on the stack's depth."""


def facts_of(data: bytes, path: str, checksum: str) -> ModuleFacts:
    """Return what the bytes of a module say about it.

    A large text is read in the compiler process, where there is one.

    Args:
        data: The bytes.
        path: Path of the module, for errors.
        checksum: SHA-512 hex digest of the bytes.

    Raises:
        DepthError: The text is nested too deeply to be read here and now.
    """
    if is_large(data):
        # Imported for large texts only: it brings in logging and more.
        from luminal.compiling import (
            CompilerCrashedError,
            NoCompilerError,
            run_in_compiler,
        )

        try:
            row: Any = run_in_compiler(f"{__name__}:facts_row", data, path, checksum)
        except CompilerCrashedError as error:
            raise DepthError(str(error)) from None
        except NoCompilerError:
            pass
        else:
            if isinstance(row, str):
                raise DepthError(row)
            return ModuleFacts.deserialize(row)
    return _facts_of(data, path, checksum)


def facts_row(data: bytes, path: str, checksum: str) -> tuple[object, ...] | str:
    """Return `facts_of` as a row, or why it is too deep; in the compiler process."""
    try:
        return _facts_of(data, path, checksum).serialize()
    except DepthError as error:
        return str(error)


def _facts_of(data: bytes, path: str, checksum: str) -> ModuleFacts:
    try:
        tree = parse(data, path)
        facts = _walk(tree, checksum, has_yield=b"yield" in data)
        for name, each in facts.classes.items():
            if each.steps:
                facts.classes[name] = _with_mistakes_only(each, tree, facts)
    except LuminalError as error:
        from luminal.model import Problem

        phase = "compile" if isinstance(error, PhotonSyntaxError) else "read"
        return ModuleFacts(checksum, Problem.of(error, phase))
    except (RecursionError, MemoryError) as error:
        raise DepthError(type(error).__name__) from None
    return facts


def may_bind_unseen(data: bytes) -> bool:
    """Whether a module's text may bind names in ways that no syntax tree shows."""
    return any(word in data for word in _BINDERS)


def _walk(tree: ast.Module, checksum: str, *, has_yield: bool) -> ModuleFacts:
    classes: dict[str, ClassFacts] = {}
    imports: dict[str, tuple[str, int]] = {}
    stars: list[str] = []
    bound: dict[str, None] = {}
    hook_line = 0
    # What runs at the module's top, in order: branches too, but no nested scope.
    waiting: list[ast.AST] = tree.body[::-1]  # type: ignore[assignment]
    while waiting:
        node = waiting.pop()
        kind = type(node)
        if kind is ast.ClassDef:
            name = node.name  # type: ignore[attr-defined]
            classes.pop(name, None)  # the last one counts, in its own place
            classes[name] = _class_facts(node, has_yield)  # type: ignore[arg-type]
            imports.pop(name, None)
            bound[name] = None
        elif kind is ast.ImportFrom or kind is ast.Import:
            for name, reference in _references(node):  # type: ignore[arg-type]
                if name == "*":
                    stars.append(reference)
                    continue
                imports[name] = (reference, node.lineno)  # type: ignore[attr-defined]
                classes.pop(name, None)
                bound[name] = None
        elif kind is ast.FunctionDef or kind is ast.AsyncFunctionDef:
            bound[node.name] = None  # type: ignore[attr-defined]
            for decorator in node.decorator_list:  # type: ignore[attr-defined]
                if _marker(decorator).endswith("hookimpl"):
                    hook_line = hook_line or node.lineno  # type: ignore[attr-defined]
        elif kind is not ast.Expr or _may_bind(node):
            for part in ast.walk(node):
                if type(part) is ast.Name and type(part.ctx) is ast.Store:
                    bound[part.id] = None
            for field in _BODIES_REVERSED:
                inner = getattr(node, field, None)
                if isinstance(inner, list):
                    waiting += inner[::-1]
    is_dynamic = bool(stars) or "__getattr__" in bound
    return ModuleFacts(
        checksum,
        None,
        classes,
        imports,
        tuple(stars),
        tuple(bound),
        is_dynamic,
        hook_line,
    )


def _marker(decorator: ast.expr) -> str:
    """Return the last part of the name of a decorator, called or not."""
    called = decorator.func if type(decorator) is ast.Call else decorator
    return (_dotted(called) or "").rpartition(".")[2]


def _may_bind(node: ast.AST) -> bool:
    """Whether an expression binds a name; a docstring does not."""
    return type(node.value) is not ast.Constant  # type: ignore[attr-defined]


def _references(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
    if type(node) is ast.ImportFrom:
        module = "." * node.level + (node.module or "")
        for alias in node.names:
            name = alias.asname or alias.name
            yield name, module if name == "*" else f"{module}:{alias.name}"
        return
    for alias in node.names:
        if alias.asname:
            yield alias.asname, alias.name
        else:
            top = alias.name.partition(".")[0]
            yield top, top


def _with_mistakes_only(
    facts: ClassFacts, tree: ast.Module, module: ModuleFacts
) -> ClassFacts:
    """Return *facts* with those of its ``steps`` that are mistakes, as far as is known.

    What the module mentions anywhere, or another module's class may call, is none.
    """
    mentioned: set[object] = set()
    for part in ast.walk(tree):
        if isinstance(part, ast.Attribute):
            mentioned.add(part.attr)
        elif isinstance(part, ast.Name):
            mentioned.add(part.id)
        elif isinstance(part, ast.Constant):
            mentioned.add(part.value if isinstance(part.value, str) else None)
    heads = {base.partition(".")[0] for base in facts.bases} - module.classes.keys()
    origins = [module.imports.get(head, ("", 0))[0] for head in heads]
    is_alone = all(re.match(r"luminal\b", origin) for origin in origins)
    steps = [
        step
        for step in facts.steps
        if step[0] == step[1] or (is_alone and step[0] not in mentioned)
    ]
    return facts._replace(steps=tuple(steps))


def _meant(name: str) -> str:
    """Return the step of which *name* is one slip of a finger away, else nothing."""
    for step in _STEPS:
        if abs(len(name) - len(step)) > 1:
            continue
        ours, theirs = name, step
        while ours and theirs and ours[0] == theirs[0]:
            ours, theirs = ours[1:], theirs[1:]
        while ours and theirs and ours[-1] == theirs[-1]:
            ours, theirs = ours[:-1], theirs[:-1]
        is_swapped = len(ours) == len(theirs) == 2 and ours == theirs[::-1]
        if is_swapped or max(len(ours), len(theirs)) == 1:
            return step
    return ""


def _yields(function: ast.AST) -> bool:
    """Whether a function is a generator."""
    waiting = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return False


def _class_facts(node: ast.ClassDef, has_yield: bool) -> ClassFacts:
    literals: dict[str, object] = {}
    unreadable = 0
    is_abstract = has_hooks = False
    odd: list[tuple[str, int]] = []
    methods: dict[str, ast.AST] = {}
    for statement in node.body:
        kind = type(statement)
        if kind is ast.FunctionDef or kind is ast.AsyncFunctionDef:
            if not statement.decorator_list:  # type: ignore[attr-defined]
                methods[statement.name] = statement  # type: ignore[attr-defined]
                continue
            for decorator in statement.decorator_list:  # type: ignore[attr-defined]
                marker = _marker(decorator)
                is_abstract = is_abstract or marker.startswith("abstract")
                has_hooks = has_hooks or marker.endswith("hookimpl")
            continue
        if kind is ast.Assign:
            targets: list[ast.expr] = statement.targets  # type: ignore[attr-defined]
        elif kind is ast.AnnAssign and statement.value:  # type: ignore[attr-defined]
            targets = [statement.target]  # type: ignore[attr-defined]
        else:
            continue
        for target in targets:
            if type(target) is not ast.Name or not target.id.startswith(_PREFIX):
                continue
            field = target.id[len(_PREFIX) :]
            literal, is_odd = _literal(field, statement.value)  # type: ignore[attr-defined]
            if is_odd:
                odd.append((field, statement.lineno))
            literals.pop(field, None)
            if literal is not None:
                literals[field] = literal
            if field == "name":
                unreadable = statement.lineno if literal is None else 0
    bases = tuple([name for b in node.bases if (name := _dotted(b))])
    return ClassFacts(
        node.name,
        node.lineno,
        bases,
        literals,
        unreadable,
        is_abstract,
        tuple(odd),
        has_hooks,
        not (node.bases or node.keywords or node.decorator_list),
        tuple(_steps(methods, has_yield)),
    )


def _steps(
    methods: dict[str, ast.AST], has_yield: bool
) -> Iterator[tuple[str, str, int]]:
    """Yield the ``steps`` of `ClassFacts`."""
    for name, method in methods.items():
        line: int = method.lineno  # type: ignore[attr-defined]
        if name in _STEPS:
            if has_yield and _yields(method):
                yield name, name, line
        elif (meant := _meant(name)) and meant not in methods:
            yield name, meant, line


def _literal(field: str, node: ast.expr) -> tuple[object | None, bool]:
    """Return the value of a literal, and whether the attribute is odd."""
    if field not in ATTRIBUTES:
        return None, True
    if type(node) is ast.Constant:
        value = node.value
    else:
        try:
            value = ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError):
            return None, False
    literal = plain_value(field, value)
    return literal, literal is None and field not in _OF_THE_CLASS


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
    if type(node) is ast.Name:
        return node.id
    while isinstance(node, ast.Subscript):
        node = node.value
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([node.id, *reversed(parts)])


_HOPS = 64
"""Most steps from one name to the next: re-exports, bases, modules."""


class Definition(NamedTuple):
    """A class and the file that defines it."""

    path: str
    facts: ClassFacts


class Resolver:
    """Follows names through the files below one root.

    Args:
        files: Where files are looked at.
        root: Directory that absolute imports of neighbours are looked up in.
        base: Name of the class that makes a photon of its subclasses.
        named: Directories that absolute imports may name by the end of their paths.
    """

    def __init__(
        self,
        files: RecordingFileSystem,
        root: str,
        base: str,
        named: tuple[str, ...] = (),
    ) -> None:
        self._witness = files
        self._root = root
        self._named = named
        self._base = base
        self._answers: dict[tuple[str, str], bool] = {}

    def is_photon(self, definition: Definition, hops: int = _HOPS) -> bool:
        """Return whether the class names itself a photon or derives from the base."""
        facts, path = definition.facts, definition.path
        if facts.names_itself:
            return True
        key = (path, facts.name)
        if key not in self._answers:
            self._answers[key] = False  # what inherits from itself is none
            self._answers[key] = hops > 0 and any(
                self._is_base(path, name, facts.name, hops - 1) for name in facts.bases
            )
        return self._answers[key]

    def find(self, path: str, name: str, hops: int = _HOPS) -> Definition | None:
        """Return the class that *name* means in the module at *path*."""
        facts = self._witness.facts(path)
        if name in facts.classes:
            return Definition(path, facts.classes[name])
        if hops <= 0:
            return None
        if name in facts.imports:
            reference = facts.imports[name][0]
            return self._follow(path, reference, hops - 1)
        for star in facts.stars:
            for module in self.files(path, star):
                found = self.find(module, name, hops - 1)
                if found is not None:
                    return found
        return None

    def public(self, path: str) -> list[str]:
        """Return the names of classes that a star import of *path* would bring."""
        facts = self._witness.facts(path)
        return [n for n in (*facts.classes, *facts.imports) if not n.startswith("_")]

    def files(self, path: str, module: str) -> Iterator[str]:
        """Yield the file that *module*, imported in *path*, would be read from."""
        dots = len(module) - len(module.lstrip("."))
        folder = self._root
        if dots:
            folder = os.path.dirname(path)
            for _ in range(dots - 1):
                folder = os.path.dirname(folder)
            inside = folder == self._root or folder.startswith(self._root + os.sep)
            if not inside:
                return
        parts = [part for part in module.split(".") if part]
        stems = [os.path.join(folder, *parts)]
        if not dots:
            stems += self._stems(parts)
        for stem in stems:
            choices = [os.path.join(stem, "__init__.py")]
            if parts:
                choices.append(stem + ".py")
            for choice in choices:
                if self._witness.is_file(choice):
                    yield choice
                    return

    def _stems(self, parts: list[str]) -> Iterator[str]:
        """Yield where an absolute import leads to in the directories with a name."""
        for directory in self._named:
            above = directory.split(os.sep)
            for length in range(len(parts), 0, -1):
                if above[-length:] == parts[:length]:
                    yield os.path.join(directory, *parts[length:])
            yield os.path.join(directory, *parts)

    def _is_base(self, path: str, name: str, inside: str, hops: int) -> bool:
        head, _, rest = name.partition(".")
        facts = self._witness.facts(path)
        if not rest and head in facts.classes and head != inside:
            if head == self._base:
                return True
            return self.is_photon(Definition(path, facts.classes[head]), hops)
        reference = facts.imports[head][0] if head in facts.imports else ""
        if rest and reference:
            before, _, last = rest.rpartition(".")
            reference = f"{_join(reference, before)}:{last}"
        if (reference or name).replace(":", ".").rpartition(".")[2] == self._base:
            return True
        found = self._follow(path, reference, hops) if reference else None
        if found is None and not reference and not rest:
            found = self.find(path, head, hops)  # through a star
            if found is not None and found.facts.name == self._base:
                return True
        return found is not None and self.is_photon(found, hops)

    def _follow(self, path: str, reference: str, hops: int) -> Definition | None:
        module, _, attribute = reference.partition(":")
        if not attribute:
            return None
        for file in self.files(path, module):
            return self.find(file, attribute, hops)
        return None


def _join(reference: str, rest: str) -> str:
    """Return the module that ``reference.rest`` means, in the form of a reference."""
    module, _, attribute = reference.partition(":")
    for part in (attribute, rest):
        if part:
            module += part if not module.strip(".") else f".{part}"
    return module
