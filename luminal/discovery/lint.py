"""What can be said about a photon from its source code, for linters and editors.

Three questions, answered without importing the photon: which hooks it implements and
in which order they are called, which photons it depends on, and which of its lines
make a reload unsafe. What a decorator or a library does at run time is not seen.
"""

from __future__ import annotations

import ast
import contextlib
import os
import stat
from typing import TYPE_CHECKING, Any

import attrs

from luminal.discovery._files import find_data_files
from luminal.discovery._names import fold, split_requirement
from luminal.discovery._static import parse
from luminal.errors import LuminalError
from luminal.model import Source
from luminal.trust import read_bundle

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

    from luminal.model import Candidate

__all__ = [
    "DeclaredHook",
    "Dependency",
    "ReloadIssue",
    "call_order",
    "declared_hooks",
    "dependencies",
    "dependents",
    "reload_issues",
]

_MAX_BYTES = 2**24
"""Size of the largest file that is read; discovery rejects larger ones."""

_MAX_FILES = 1000
"""How many files of a package are read at most."""


def _parse_file(path: str) -> ast.Module | None:
    """Return the syntax tree of the file at *path*, None where there is none."""
    try:
        about = os.stat(path)
        if not stat.S_ISREG(about.st_mode) or about.st_size > _MAX_BYTES:
            return None
        with open(path, "rb") as file:
            return parse(file.read(), path)
    except (OSError, ValueError, LuminalError, RecursionError, MemoryError):
        return None


def _source_files(location: str) -> Iterator[str]:
    """Yield *location*, and where it is a package's ``__init__.py`` all its files."""
    yield location
    if os.path.basename(location) != "__init__.py":
        return
    count = 1
    for folder, inside, names in os.walk(os.path.dirname(location)):
        inside.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            if name.endswith(".py") and path != location:
                if count == _MAX_FILES:
                    return
                count += 1
                yield path


def _trees(candidate: Candidate) -> Iterator[tuple[str, ast.Module]]:
    """Yield path and syntax tree of each source file, that of the photon's first."""
    if candidate.source is not Source.BUNDLE:
        for path in _source_files(candidate.location):
            tree = _parse_file(path)
            if tree is not None:
                yield path, tree
        return
    try:
        files = read_bundle(candidate.location).files
    except LuminalError:
        return
    stem = candidate.target.partition(":")[0].replace(".", "/")
    own = (f"{stem}.py", f"{stem}/__init__.py")
    for member in sorted(files, key=lambda each: (each not in own, each)):
        if member.endswith(".py"):
            path = os.path.join(candidate.location, *member.split("/"))
            with contextlib.suppress(LuminalError, RecursionError, MemoryError):
                yield path, parse(files[member], path)


# --- Hooks ---------------------------------------------------------------------------


@attrs.frozen
class DeclaredHook:
    """One implementation of a hook, as the source code declares it.

    Attributes:
        hook: Name of the hook.
        file: Path of the file that holds the implementation.
        line: Its line in *file*, counted from 1.
        options: Options of the marker that are literals.
    """

    hook: str
    file: str
    line: int
    options: dict[str, Any] = attrs.Factory(dict)


def declared_hooks(candidate: Candidate) -> tuple[DeclaredHook, ...]:
    """Return the hooks that *candidate* implements, in the order of their lines.

    Methods of base classes in the same file count; those of imported bases do not. Of a
    module that is a plugin itself, they are its functions.
    """
    target = candidate.target.rpartition(":")[2]
    is_bundle = candidate.source is Source.BUNDLE
    for at, (path, tree) in enumerate(_trees(candidate)):
        body = tree.body
        classes = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
        if target in classes:
            found = {
                hook.hook: hook for hook in _inherited(classes, target, path, set())
            }
            return tuple(sorted(found.values(), key=lambda hook: hook.line))
        if path == candidate.location or (is_bundle and at == 0):
            functions = tuple(_marked(body, path))
            is_module = ":" not in candidate.target if is_bundle else False
            if functions and (is_module or target == candidate.name):
                return functions
    return ()


def _inherited(
    classes: dict[str, ast.ClassDef], name: str, path: str, seen: set[str]
) -> Iterator[DeclaredHook]:
    """Yield what class *name* implements; its bases first, so that its own win."""
    if name not in classes or name in seen:
        return
    seen.add(name)
    for base in classes[name].bases:
        if isinstance(base, ast.Name):
            yield from _inherited(classes, base.id, path, seen)
    yield from _marked(classes[name].body, path)


def _marked(body: Iterable[ast.stmt], path: str) -> Iterator[DeclaredHook]:
    """Yield the functions of *body* that are marked as hook implementations."""
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for decorator in node.decorator_list:
            marker = decorator.func if isinstance(decorator, ast.Call) else decorator
            if ast.unparse(marker).rpartition(".")[2].endswith("hookimpl"):
                options = _literals(decorator)
                hook = str(options.get("specname") or node.name)
                yield DeclaredHook(hook, path, node.lineno, options)


def _literals(decorator: ast.expr) -> dict[str, Any]:
    options = {}
    for keyword in decorator.keywords if isinstance(decorator, ast.Call) else ():
        try:
            options[str(keyword.arg)] = ast.literal_eval(keyword.value)
        except ValueError:
            continue
    return options


_ORDERING = frozenset({"tryfirst", "trylast", "wrapper", "before", "after"})


def call_order(
    implementations: Iterable[tuple[str, DeclaredHook]],
) -> list[tuple[str, DeclaredHook]]:
    """Return implementations of one hook in the order in which they are called.

    A plugin manager decides: each photon is registered as an empty stand-in.

    Args:
        implementations: Name of the photon and its implementation, in load order.
    """
    from luminal.hooks import PluginManager
    from luminal.interfaces import hookimpl

    manager = PluginManager("luminal")
    known = {}
    for photon, declared in implementations:
        known[photon] = declared

        def stand_in() -> None: ...

        options = {k: v for k, v in declared.options.items() if k in _ORDERING}
        marked = hookimpl(**options, specname="called")(stand_in)
        manager.register(type(photon, (), {"called": staticmethod(marked)})(), photon)
    if not known:
        return []
    impls = manager.hook.called.get_hookimpls()
    return [(impl.plugin_name, known[impl.plugin_name]) for impl in reversed(impls)]


# --- Dependencies --------------------------------------------------------------------


@attrs.frozen
class Dependency:
    """Photon *later* is loaded after photon *earlier*.

    Attributes:
        later: Name of the photon that waits.
        earlier: Name of the photon that it waits for.
        kind: ``requires``, ``after``, or ``before`` (declared by the earlier
            photon).
        text: What the author wrote.
        is_met: Whether the earlier photon exists.
    """

    later: str
    earlier: str
    kind: str
    text: str
    is_met: bool = True


def dependencies(found: Sequence[Candidate]) -> list[Dependency]:
    """Return all dependencies between *found*, unmet requirements included."""
    names = {fold(candidate.name): candidate.name for candidate in found}
    edges = []
    for candidate in found:
        name = candidate.name
        for text in candidate.requirements:
            required = split_requirement(text)[0]
            known = names.get(fold(required))
            edges.append(
                Dependency(name, known or required, "requires", text, known is not None)
            )
        edges += [
            Dependency(name, names[fold(other)], "after", other)
            for other in candidate.after
            if fold(other) in names
        ]
        edges += [
            Dependency(names[fold(other)], name, "before", name)
            for other in candidate.before
            if fold(other) in names
        ]
    return edges


def dependents(found: Sequence[Candidate]) -> dict[str, list[str]]:
    """Return name of a photon → names of those that require it, in load order.

    Photons that nobody requires have no key; missing ones that are required have one.
    """
    needed: dict[str, list[str]] = {}
    for edge in dependencies(found):
        if edge.kind == "requires":
            needed.setdefault(edge.earlier, []).append(edge.later)
    return needed


# --- Reload safety -------------------------------------------------------------------

IRREVERSIBLE = {
    "sys.addaudithook": "an audit hook cannot be removed",
    "os.register_at_fork": "what is called at a fork cannot be removed",
    "sqlite3.register_adapter": "an adapter cannot be removed",
    "sqlite3.register_converter": "a converter cannot be removed",
}
"""Call → why no reload can undo it, wherever it stands."""

IMPORT_SIDE_EFFECTS = {
    "atexit.register": "registers an exit function",
    "codecs.register": "registers a codec",
    "locale.setlocale": "changes the locale of the process",
    "logging.basicConfig": "configures the logging of the process",
    "os.chdir": "changes the working directory",
    "os.putenv": "changes the environment",
    "os.environ.setdefault": "changes the environment",
    "os.environ.update": "changes the environment",
    "os.environ.pop": "changes the environment",
    "signal.signal": "installs a signal handler",
    "socket.create_server": "opens a port",
    "socket.socket": "opens a socket",
    "subprocess.Popen": "starts a process",
    "subprocess.run": "runs a process",
    "multiprocessing.Process": "makes a process",
    "sys.path.append": "changes sys.path",
    "sys.path.insert": "changes sys.path",
    "sys.meta_path.append": "changes how modules are found",
    "sys.meta_path.insert": "changes how modules are found",
    "threading.Thread": "makes a thread",
    "threading.Timer": "makes a thread",
    "_thread.start_new_thread": "starts a thread",
}
"""Call → what it does to the process, where it runs while a module is imported."""


@attrs.frozen
class ReloadIssue:
    """A line that makes the reload of a photon unsafe.

    Attributes:
        file: Path of the file.
        line: Line in it, counted from 1.
        why: What happens there.
        hint: What to do instead, as an imperative.
    """

    file: str
    line: int
    why: str
    hint: str


def reload_issues(candidate: Candidate) -> list[ReloadIssue]:
    """Return the lines that make a reload of *candidate* unsafe, file by file.

    An import that changes something outside of its own module does so while the old
    generation still serves, and the change stays where the new one is rejected. Some
    registrations cannot be undone at all.
    """
    found: list[ReloadIssue] = []
    for path, tree in _trees(candidate):
        found += _IssueFinder(path, _imports(tree)).find(tree)
        found += entry_pairs(tree, path)
    for pattern in candidate.files:
        if candidate.source is Source.BUNDLE:
            break  # all of its files are in there
        if not find_data_files(candidate.location, pattern):
            why = f"photon_files has {pattern!r}, which matches no file"
            hint = "correct the pattern, or add the file"
            found.append(ReloadIssue(candidate.location, candidate.line, why, hint))
    return found


def _imports(tree: ast.Module) -> dict[str, str]:
    """Return name in the module → dotted name of what was imported under it."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                whole = alias.name if alias.asname else alias.name.partition(".")[0]
                names[alias.asname or whole] = whole
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


@attrs.define
class _IssueFinder:
    """Finds the issues of one file.

    Args:
        path: Of the file.
        imports: Name in the module → dotted name of what it means.
    """

    path: str
    imports: dict[str, str]

    def find(self, tree: ast.Module) -> list[ReloadIssue]:
        found = [issue for node in tree.body for issue in self._statement(node, True)]
        return sorted(set(found), key=lambda issue: issue.line)

    def _statement(self, node: ast.AST, at_import: bool) -> Iterator[ReloadIssue]:
        """Yield the issues in *node*; *at_import*: whether it runs on import."""
        if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
            return  # runs as a script only
        if isinstance(node, ast.Call):
            yield from self._call(node, at_import)
        if isinstance(node, ast.Assign | ast.AugAssign) and at_import:
            yield from self._assignment(node)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                yield from self._registration(decorator)
        for child, runs_now in _children(node):
            yield from self._statement(child, at_import and runs_now)

    def _call(self, node: ast.Call, at_import: bool) -> Iterator[ReloadIssue]:
        name = self._dotted(node.func)
        if name in IRREVERSIBLE:
            why = f"{name}: {IRREVERSIBLE[name]}"
            yield ReloadIssue(self.path, node.lineno, why, "leave it to the host")
        elif at_import and name in IMPORT_SIDE_EFFECTS:
            why = f"{name} {IMPORT_SIDE_EFFECTS[name]} on import"
            yield ReloadIssue(self.path, node.lineno, why, _LATER)

    def _assignment(self, node: ast.Assign | ast.AugAssign) -> Iterator[ReloadIssue]:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            if not isinstance(target, ast.Subscript | ast.Attribute):
                continue
            if name := self._dotted(target.value):
                why = f"changes {name!r} on import, which the photon does not own"
                hint = _PUT if isinstance(target, ast.Subscript) else _LATER
                yield ReloadIssue(self.path, node.lineno, why, hint)

    def _registration(self, decorator: ast.expr) -> Iterator[ReloadIssue]:
        """``@function.register`` of an imported function: it has no unregister."""
        marker = decorator.func if isinstance(decorator, ast.Call) else decorator
        if not isinstance(marker, ast.Attribute) or marker.attr != "register":
            return
        name = self._dotted(marker.value)
        if name and name not in ("atexit", "codecs"):
            why = f"registers with {name!r}, which cannot unregister anything"
            hint = "register a hook implementation instead"
            yield ReloadIssue(self.path, decorator.lineno, why, hint)

    def _dotted(self, node: ast.expr) -> str:
        """Return the dotted name that *node* means, if it begins with an import."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id not in self.imports:
            return ""
        return ".".join([self.imports[node.id], *reversed(parts)])


_LATER = "do it in start, and undo it with self.context.on_close"
_PUT = "do it in start, with self.context.put"


def _children(node: ast.AST) -> Iterator[tuple[ast.AST, bool]]:
    """Yield what is in *node*, and whether it runs when *node* does."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield child, True
        return
    yield node.args, True  # the defaults
    if isinstance(node, ast.Lambda):
        yield node.body, False
        return
    for decorator in node.decorator_list:
        yield decorator, True
    for statement in node.body:
        yield statement, False


# --- Pairs of entries ----------------------------------------------------------------

_BEGINS = ("__init__", "on_reload", "start")
_PUTS = ("", "setdefault", "__setitem__")
"""Ways to put an entry into a mapping: by a subscript, and by these methods."""
_FORGETS = ("", "pop", "__delitem__")
_HOST = "self.context.host"
_COUNTERPARTS = (
    ("register", "unregister"),
    ("register", "deregister"),
    ("add", "remove"),
    ("add", "discard"),
    ("set", "unset"),
    ("set", "delete"),
    ("subscribe", "unsubscribe"),
    ("connect", "disconnect"),
)
"""How methods begin that put something under a name, and that take it away again."""


@attrs.frozen
class _Change:
    """One change of an object that is not the photon's own.

    Attributes:
        holder: Text of the object that is changed.
        key: Text of the key or name under which.
        is_literal: Whether *key* says which one, whatever the values of variables.
        method: The method that is called; empty for a subscript.
        line: Line of the change.
    """

    holder: str
    key: str
    is_literal: bool
    method: str
    line: int

    def is_undone_by(self, other: _Change) -> bool:
        """Whether *other* takes away by its name what this one puts there."""
        if self.holder != other.holder:
            return False
        if self.is_literal and other.is_literal and self.key != other.key:
            return False
        if self.method in _PUTS:
            return other.method in _FORGETS
        if self.method == "setattr":
            return other.method == "delattr"
        return any(
            self.method.startswith(begin)
            and other.method == end + self.method[len(begin) :]
            for begin, end in _COUNTERPARTS
        )


def entry_pairs(tree: ast.Module, path: str) -> Iterator[ReloadIssue]:
    """Yield where ``finalize`` takes away by name what ``start`` has put somewhere.

    During a reload the new photon starts before the old one is finalized, so that the
    old one takes away what the new one has put there.

    Args:
        tree: Of a module.
        path: Its file.
    """
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    own = {"self", "cls", *classes, *_own_names(tree)}
    for name in classes:
        methods: dict[str, ast.AST] = {}
        if not _collect(classes, name, methods, set()):
            continue  # exclusive: the old one has gone before the new one starts
        begun: list[_Change] = []
        undone: list[_Change] = []
        for method in _reached(methods, _BEGINS):
            changes = _Changes(own | _aliases_of_self(method), begun, undone)
            changes.visit(method)
        for method in _reached(methods, ("finalize",)):
            changes = _Changes(own | _aliases_of_self(method), [], undone)
            changes.is_ending = True
            changes.visit(method)
        for end in undone:
            first = next((each for each in begun if each.is_undone_by(end)), None)
            if first is None:
                continue
            what, where = f"{end.holder}[{end.key}]", ""
            if first.method:
                what = f"{end.key} of {end.holder}"
            if first.method == "setattr":
                where = f"(vars({end.holder}), …)"
            yield ReloadIssue(
                path,
                end.line,
                f"takes {what} away, which line {first.line} has put there: after a "
                "reload that is the entry of the next generation",
                f"put it there with self.context.put{where}, which takes back only the "
                "photon's own entry, or set photon_exclusive = True",
            )


def _own_names(tree: ast.Module) -> Iterator[str]:
    """Yield names of objects that each generation of the module has of its own."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level:
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(
            node.value, ast.Dict | ast.List | ast.Set | ast.DictComp
        ):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (each.id for each in targets if isinstance(each, ast.Name))


def _collect(
    classes: dict[str, ast.ClassDef],
    name: str,
    methods: dict[str, ast.AST],
    seen: set[str],
) -> bool:
    """Fill in the methods of class *name* and its bases in the file.

    Returns:
        Whether the class lives beside its successor.
    """
    if name not in classes or name in seen:
        return True
    seen.add(name)
    beside = True
    for base in classes[name].bases:
        if isinstance(base, ast.Name):
            beside &= _collect(classes, base.id, methods, seen)
    for node in classes[name].body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            methods[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(ast.unparse(each) == "photon_exclusive" for each in targets):
                beside = ast.unparse(node.value) != "True"
    return beside


def _reached(methods: dict[str, ast.AST], names: Iterable[str]) -> list[ast.AST]:
    """Return the methods *names*, and those of ``self`` that they call."""
    found: dict[str, ast.AST] = {}
    waiting = [name for name in names if name in methods]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name] = methods[name]
        for node in ast.walk(methods[name]):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                if isinstance(owner, ast.Name) and owner.id == "self":
                    waiting += [node.func.attr] if node.func.attr in methods else []
    return list(found.values())


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _is_own(node: ast.expr, own: Container[str]) -> bool:
    """Whether *node* is reached from one of the names in *own*, and not the host's."""
    return _root(node) in own and not ast.unparse(node).startswith(_HOST)


def _aliases_of_self(method: ast.AST) -> set[str]:
    """Return local names for something that is reached from ``self``."""
    return {
        target.id
        for node in ast.walk(method)
        if isinstance(node, ast.Assign) and _is_own(node.value, {"self"})
        for target in node.targets
        if isinstance(target, ast.Name)
    }


@attrs.define
class _Changes(ast.NodeVisitor):
    """Collects the changes that a method makes of objects that are not its own.

    Args:
        own: Names of objects that belong to one generation.
        begun: What is put somewhere; filled.
        undone: What is taken away; filled.
        is_ending: Whether what is visited runs at the photon's end.
    """

    own: set[str]
    begun: list[_Change]
    undone: list[_Change]
    is_ending: bool = False

    def visit_If(self, node: ast.If) -> None:
        """Leave out what is taken away only where it is still the photon's."""
        tests = [n for n in ast.walk(node.test) if isinstance(n, ast.Compare)]
        if any(isinstance(op, ast.Is | ast.Eq) for test in tests for op in test.ops):
            return
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        """Note an assignment or a ``del``."""
        if isinstance(node.ctx, ast.Store):
            self._note(node.value, node.slice, "", node.lineno, self.begun)
        elif isinstance(node.ctx, ast.Del) and self.is_ending:
            self._note(node.value, node.slice, "", node.lineno, self.undone)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """Note an assignment or a ``del``."""
        name = ast.Constant(node.attr)
        if isinstance(node.ctx, ast.Store):
            self._note(node.value, name, "setattr", node.lineno, self.begun)
        elif isinstance(node.ctx, ast.Del) and self.is_ending:
            self._note(node.value, name, "delattr", node.lineno, self.undone)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        """Note what is set to None at the end."""
        if self.is_ending and ast.unparse(node.value) == "None":
            for target in node.targets:
                if isinstance(target, ast.Attribute | ast.Subscript):
                    target.ctx = ast.Del()
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """Note a call with a name; functions for ``on_close`` run at the end."""
        function = node.func
        if not isinstance(function, ast.Attribute):
            name, changes = ast.unparse(function), self.begun
            if name == "delattr" and self.is_ending:
                changes = self.undone
            if name in ("setattr", "delattr") and len(node.args) > 1:
                self._note(node.args[0], node.args[1], name, node.lineno, changes)
            self.generic_visit(node)
            return
        if function.attr == "on_close":
            before, self.is_ending = self.is_ending, True
            self.generic_visit(node)
            self.is_ending = before
            return
        if function.attr == "update":
            for given in _keys_of_update(node):
                self._note(function.value, given, "", node.lineno, self.begun)
        elif node.args:
            method, key = function.attr, node.args[0]
            if self.is_ending and (method in _FORGETS or _is_text(key)):
                self._note(function.value, key, method, node.lineno, self.undone)
            elif method in _PUTS or (_is_text(key) and not self.is_ending):
                self._note(function.value, key, method, node.lineno, self.begun)
        self.generic_visit(node)

    def _note(
        self,
        holder: ast.expr,
        key: ast.expr,
        method: str,
        line: int,
        changes: list[_Change],
    ) -> None:
        root = _root(holder)
        # What is filed under the photon itself is no successor's.
        if not root or _is_own(holder, self.own) or ast.unparse(key) in _UNIQUE:
            return
        is_literal = isinstance(key, ast.Constant)
        changes.append(
            _Change(ast.unparse(holder), ast.unparse(key), is_literal, method, line)
        )


def _keys_of_update(node: ast.Call) -> Iterator[ast.expr]:
    """Yield the keys that are written out in a call of ``update``."""
    for given in node.args:
        if isinstance(given, ast.Dict):
            yield from (key for key in given.keys if key is not None)
    yield from (ast.Constant(each.arg) for each in node.keywords if each.arg)


_UNIQUE = frozenset({"self", "id(self)", "type(self)", "self.__class__"})


def _is_text(node: ast.expr) -> bool:
    is_constant = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return is_constant or isinstance(node, ast.JoinedStr)
