"""Whether a photon can be swapped while the program runs, judged from its text.

Comes in: the files of a photon. Goes out: the places that stand against it. What an
import does outside of its own module happens while the old generation serves, and
stays when the new one is refused; some registrations cannot be taken back at all.
"""

from __future__ import annotations

import ast
import os
from typing import TYPE_CHECKING

import attrs

from luminal.cli.declared import parsed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from luminal.model import Candidate

__all__ = ["Obstacle", "obstacles_of"]

FOR_EVER = {
    "sys.addaudithook": "an audit hook cannot be removed",
    "os.register_at_fork": "what is called at a fork cannot be removed",
    "sqlite3.register_adapter": "an adapter cannot be removed",
    "sqlite3.register_converter": "a converter cannot be removed",
}
"""Call → why no reload can undo it, wherever it stands."""

AT_IMPORT = {
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
"""Call → what it does, where it runs while the module is imported."""

_FILES = 1000
"""Most files of a package that are looked at."""


@attrs.frozen
class Obstacle:
    """A place that stands against a reload.

    Attributes:
        file: Path of the file.
        line: Line in it.
        why: What happens there.
        hint: What to do instead.
    """

    file: str
    line: int
    why: str
    hint: str


def obstacles_of(candidate: Candidate) -> list[Obstacle]:
    """Return what stands against reloading *candidate*, by file and line."""
    found: list[Obstacle] = []
    for path in _files(candidate.location):
        tree = parsed(path)
        if tree is not None:
            found += _Reader(path, _imports(tree)).read(tree)
    return found


def _files(location: str) -> list[str]:
    if os.path.basename(location) != "__init__.py":
        return [location]
    files: list[str] = []
    for folder, inside, names in os.walk(os.path.dirname(location)):
        inside.sort()
        files += [os.path.join(folder, n) for n in sorted(names) if n.endswith(".py")]
        if len(files) > _FILES:
            break
    return files[:_FILES]


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
class _Reader:
    """Reads one file."""

    path: str
    imports: dict[str, str]

    def read(self, tree: ast.Module) -> list[Obstacle]:
        found = [o for node in tree.body for o in self._statement(node, True)]
        return sorted(set(found), key=lambda obstacle: obstacle.line)

    def _statement(self, node: ast.AST, at_import: bool) -> Iterator[Obstacle]:
        """Yield the obstacles in *node*; *at_import*: whether it runs on import."""
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

    def _call(self, node: ast.Call, at_import: bool) -> Iterator[Obstacle]:
        name = self._dotted(node.func)
        if name in FOR_EVER:
            hint = "leave it to the host"
            yield Obstacle(self.path, node.lineno, f"{name}: {FOR_EVER[name]}", hint)
        elif at_import and name in AT_IMPORT:
            why = f"{name} {AT_IMPORT[name]} on import"
            hint = "do it in start, and undo it in finalize"
            yield Obstacle(self.path, node.lineno, why, hint)

    def _assignment(self, node: ast.Assign | ast.AugAssign) -> Iterator[Obstacle]:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            holder = (
                target.value
                if isinstance(target, ast.Subscript | ast.Attribute)
                else None
            )
            name = self._dotted(holder) if holder is not None else ""
            if name:
                why = f"changes {name!r} on import, which is not the photon's own"
                hint = "do it in start, and undo it in finalize"
                yield Obstacle(self.path, node.lineno, why, hint)

    def _registration(self, decorator: ast.expr) -> Iterator[Obstacle]:
        """``@function.register`` of a function that was imported: no way back."""
        marker = decorator.func if isinstance(decorator, ast.Call) else decorator
        if not isinstance(marker, ast.Attribute) or marker.attr != "register":
            return
        name = self._dotted(marker.value)
        if name and name not in ("atexit", "codecs"):
            why = f"registers with {name!r}, from which nothing can be taken out"
            hint = "register a hook implementation instead"
            yield Obstacle(self.path, decorator.lineno, why, hint)

    def _dotted(self, node: ast.expr) -> str:
        """Return the dotted name that *node* means, if it begins with an import."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id not in self.imports:
            return ""
        return ".".join([self.imports[node.id], *reversed(parts)])


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
