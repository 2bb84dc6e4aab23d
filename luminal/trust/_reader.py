"""Read the text of a unit as Python would run it, as far as names go.

The body of each module is read first, and each function when something calls it, so
that what runs at import is known. A value is what a name may stand for: a dotted name
of another module, a constant, a function or a class of the unit. Branches are not
chosen, loops are read once, and a name has all the values that it is given anywhere.
"""

from __future__ import annotations

import ast
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from luminal.trust._evaluation import DEEPEST, Evaluation, TooDeepError
from luminal.trust._kinds import Kind, canonical, kind_of_assignment
from luminal.trust._values import (
    MOST_VALUES,
    Class,
    Function,
    Instance,
    Members,
    Module,
    Namespace,
    Scope,
    constant_of,
    union,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from luminal.trust._values import Values

__all__ = ["Reader"]

_DEEPEST_IMPORT = 15
"""Modules that import each other and are followed; others are read by themselves."""

_TOO_DEEP = "too deep to read"


class Reader(Evaluation):
    """Reads the modules of one unit, and tells *note* what they show.

    Args:
        trees: Path of a file below the unit's directory → its syntax tree.
        note: Called with a kind, whether it is at import, the path, the line, and the
            name that shows it.
        most: Expressions that are evaluated, those of functions as often as they are
            called; what is left then is too deep as well.
    """

    def __init__(
        self,
        trees: Mapping[str, ast.Module],
        note: Callable[[Kind, bool, str, int, str], object],
        most: int = 1_000_000,
    ) -> None:
        self._left = most
        self._note_to = note
        self._modules = {
            path: Module(path, Scope(), _package_of(path), tree.body)
            for path, tree in trees.items()
        }
        # Name of an attribute → what is stored under it, in any object.
        self._attributes: dict[str, Values] = {}
        self._functions: list[Function] = []
        self._begun: set[str] = set()
        self._is_import = True
        self._module = Module("", Scope(), ())
        self._scope = self._module.scope
        self._returned: list[Values] = []
        self._owner: Class | None = None
        self._depth = self._importing = 0
        # Functions that are called too deep in the text to be read at once.
        self._later: list[tuple[Function, list[Values], bool]] = []
        self.unread: dict[str, str] = {}

    def read(self) -> None:
        """Read everything: what runs at import first, then the other functions."""
        programs = []
        for module in list(self._modules.values()):
            if module.path.rpartition("/")[2] == "__main__.py":
                programs.append(module)  # an import does not run it, `python -m` does
            else:
                self._import(module)
        self._read_later()
        for module in programs:
            self._import(module, is_import=False)
        self._is_import = False
        at = 0
        while at < len(self._functions) and self._left >= 0:  # some define others
            function = self._functions[at]
            at += 1
            if not function.read:
                self._guarded(function.module, partial(self._run, function, []))
            self._read_later()
        if self._left < 0:  # nobody knows what the rest says
            self.unread |= dict.fromkeys(self._modules, _TOO_DEEP)

    def _read_later(self) -> None:
        while self._later and self._left >= 0:
            function, arguments, self._is_import = self._later.pop()
            self._guarded(function.module, partial(self._run, function, arguments))

    def _guarded(self, module: Module, read: Callable[[], object]) -> None:
        """Read a part of *module*; note where that fails."""
        saved = self._module, self._scope, self._returned, self._owner, self._is_import
        depth = self._depth
        try:
            read()
        except (RecursionError, TooDeepError):
            self.unread[self._module.path or module.path] = _TOO_DEEP
        except Exception as error:  # noqa: BLE001 - a hostile text has found a fault
            why = f"it cannot be followed: {type(error).__name__}: {error}"
            self.unread.setdefault(self._module.path or module.path, why)
        (self._module, self._scope, self._returned, self._owner, self._is_import) = (
            saved
        )
        self._depth = depth

    def _import(self, module: Module, *, is_import: bool = True) -> None:
        """Read the body of *module*, unless that has begun."""
        if module.path in self._begun or self._importing > _DEEPEST_IMPORT:
            return
        self._begun.add(module.path)

        def read() -> None:
            self._module, self._scope, self._owner = module, module.scope, None
            self._returned = []
            self._is_import = is_import
            self._body(module.body)

        self._importing += 1
        self._guarded(module, read)
        self._importing -= 1

    def _note(self, kind: Kind, node: ast.AST, name: str) -> None:
        line = getattr(node, "lineno", 0)
        self._note_to(kind, self._is_import, self._module.path, line, name)

    # --- Statements ---

    def _body(self, statements: Iterable[ast.stmt]) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise TooDeepError
        for statement in statements:
            handler = self._STATEMENTS.get(type(statement))
            if handler is not None:
                handler(self, statement)
            else:
                self._children(statement)
        self._depth -= 1

    def _children(self, node: ast.AST) -> None:
        """Read whatever *node* consists of."""
        for _, value in ast.iter_fields(node):
            if isinstance(value, list):
                if value and isinstance(value[0], ast.stmt):
                    self._body(value)
                else:
                    for each in value:
                        if isinstance(each, ast.expr):
                            self._evaluate(each)
                        elif isinstance(each, ast.AST):
                            self._children(each)
            elif isinstance(value, ast.expr):
                self._evaluate(value)
            elif isinstance(value, ast.AST):
                self._children(value)

    def _expression(self, node: ast.Expr) -> None:
        if type(node.value) is not ast.Constant:  # a docstring
            self._evaluate(node.value)

    def _define(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        decorators = [self._evaluate(each) for each in node.decorator_list]
        is_property = any(
            type(value) is str and value.rpartition(".")[2].endswith("property")
            for values in decorators
            for value in values
        )
        function = self._function(node, is_property)
        for annotation in (node.returns, *(a.annotation for a in _arguments(node))):
            self._annotation(annotation)
        values: Values = (function,)
        for expression, found in zip(node.decorator_list, decorators, strict=True):
            # What a decorator returns may call what it was given, or be it.
            made = self._call_values(found, [(function,)], expression)
            values += tuple(v for v in made if type(v) is Function)
        self._bind(node.name, values[:MOST_VALUES])

    def _function(
        self,
        node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda,
        is_property: bool = False,
    ) -> Function:
        """Return the function of *node*; its defaults are evaluated now."""
        arguments = node.args
        defaults = {}
        positional = [*arguments.posonlyargs, *arguments.args]
        given = [
            *zip(
                positional[len(positional) - len(arguments.defaults) :],
                arguments.defaults,
                strict=True,
            ),
            *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
        ]
        for argument, default in given:
            if default is not None and (values := self._evaluate(default)):
                defaults[argument.arg] = values
        owner, scope = self._owner, self._scope
        if owner is not None and scope is owner.scope:
            scope = scope.parent or scope  # a method does not see its class's names
        else:
            owner = None
        function = Function(node, scope, self._module, owner, is_property, defaults)
        self._functions.append(function)
        return function

    def _annotation(self, node: ast.expr | None) -> None:
        simple = (ast.Name, ast.Constant, ast.Attribute)
        if node is not None and not isinstance(node, simple):
            self._evaluate(node)

    def _define_class(self, node: ast.ClassDef) -> None:
        bases = tuple(v for base in node.bases for v in self._evaluate(base))
        metaclasses = [v for k in node.keywords for v in self._evaluate(k.value)]
        decorators = [self._evaluate(each) for each in node.decorator_list]
        made = Class(node.name, Scope(self._scope), bases)
        saved = self._scope, self._owner
        self._scope, self._owner = made.scope, made
        self._body(node.body)
        self._scope, self._owner = saved
        self._bind(node.name, (made,))
        for value in (*bases, *metaclasses):
            if type(value) is Class:  # ``__init_subclass__``, and what metaclasses do
                self._call_special(value)
        for values in list(made.scope.names.values()):
            for value in values:
                if type(value) is Instance and value.of.find("__set_name__"):
                    self._call_special(value.of)
        for expression, found in zip(node.decorator_list, decorators, strict=True):
            self._call_values(found, [(made,)], expression)

    def _call_special(self, made: Class, *, but: str = "") -> None:
        """Read the special methods of a class that is used: any may be called.

        Args:
            made: The class.
            but: A method that is not called by this use.
        """
        for name, values in list(made.scope.names.items()):
            if name.startswith("__") and name.endswith("__") and name != but:
                for value in values:
                    if type(value) is Function and not value.read:
                        self._run(value, [])
        for base in made.bases:
            if type(base) is Class:
                self._call_special(base, but=but)

    def _import_names(self, node: ast.Import) -> None:
        for alias in node.names:
            module = self._own_module(alias.name)
            if module is not None:
                self._import(module)
            first = alias.name.partition(".")[0]
            if alias.asname:
                values: Values = (module or canonical(alias.name),)
            else:
                values = (self._own_module(first) or canonical(first),)
            self._bind(alias.asname or first, values)

    def _import_from(self, node: ast.ImportFrom) -> None:
        name = node.module or ""
        module = self._relative(node.level, name) if node.level else None
        if not node.level:
            module = self._own_module(name)
        if module is not None:
            self._import(module)
        for alias in node.names:
            if alias.name == "*":
                if module is not None:
                    for key, values in list(module.scope.names.items()):
                        self._bind(key, values)
                elif not node.level:
                    self._scope.stars.append(canonical(name))
                continue
            found: Values = ()
            if module is not None:
                found = module.scope.names.get(alias.name, ())
            if not found:
                inner = f"{name}.{alias.name}" if name else alias.name
                other = (
                    self._relative(node.level, inner)
                    if node.level
                    else self._own_module(inner)
                )
                if other is not None:
                    self._import(other)
                    found = (other,)
                elif module is None and not node.level:
                    found = (canonical(f"{canonical(name)}.{alias.name}"),)
            self._bind(alias.asname or alias.name, found)

    def _relative(self, level: int, name: str) -> Module | None:
        package = self._module.package
        if level - 1 > len(package):
            return None
        start = package[: len(package) - (level - 1)]
        return self._at((*start, *filter(None, name.split("."))))

    def _own_module(self, name: str) -> Module | None:
        """Return the module of this unit that an absolute import names."""
        parts = tuple(name.split("."))
        found = self._at(parts)
        if found is None and len(parts) > 1 and "__init__.py" in self._modules:
            found = self._at(parts[1:])  # the unit is the directory of a package
        return found

    def _at(self, parts: tuple[str, ...]) -> Module | None:
        path = "/".join(parts)
        found = self._modules.get(f"{path}/__init__.py" if path else "__init__.py")
        return found or self._modules.get(f"{path}.py")

    def _assign(self, node: ast.Assign) -> None:
        values = self._evaluate(node.value)
        for target in node.targets:
            self._store(target, values, node.value)

    def _assign_annotated(self, node: ast.AnnAssign) -> None:
        self._annotation(node.annotation)
        if node.value is not None:
            self._store(node.target, self._evaluate(node.value), node.value)

    def _assign_in_place(self, node: ast.AugAssign) -> None:
        self._store(node.target, self._evaluate(node.value))

    def _store(
        self, target: ast.expr, values: Values, source: ast.expr | None = None
    ) -> None:
        """Give *target* its *values*."""
        kind = type(target)
        if isinstance(target, ast.Name):
            self._bind(target.id, values)
        elif isinstance(target, ast.Tuple | ast.List):
            each = getattr(source, "elts", ())
            if len(each) == len(target.elts):
                for inner, of in zip(target.elts, each, strict=True):
                    self._store(inner, self._evaluate(of), of)
            else:
                for inner in target.elts:
                    self._store(inner, self._members(values))
        elif isinstance(target, ast.Attribute):
            self._store_attribute(target, values)
        elif isinstance(target, ast.Subscript):
            self._evaluate(target.slice)
            self._store_item(target, values)
        elif kind is ast.Starred:
            self._store(target.value, values)  # type: ignore[attr-defined]

    def _store_attribute(self, target: ast.Attribute, values: Values) -> None:
        name = target.attr
        for receiver in self._evaluate(target.value):
            if type(receiver) is str:
                if kind := kind_of_assignment(receiver, name):
                    self._note(kind, target, f"{receiver}.{name}")
            elif type(receiver) is Module:
                receiver.scope.names[name] = union(
                    receiver.scope.names.get(name, ()), values
                )
        if values:
            self._attributes[name] = union(self._attributes.get(name, ()), values)

    def _store_item(self, target: ast.Subscript, values: Values) -> None:
        for receiver in self._evaluate(target.value):
            if type(receiver) is Namespace and type(receiver.of) is str:
                if kind := kind_of_assignment(receiver.of, ""):
                    self._note(kind, target, f"vars({receiver.of})")
            elif receiver in ("sys.meta_path", "sys.path_hooks", "sys.path"):
                self._note(Kind.HOOKS, target, str(receiver))
            elif receiver == "sys.modules":
                key = target.slice
                if not (type(key) is ast.Name and key.id == "__name__"):
                    self._note(Kind.PATCHES, target, "sys.modules")
            elif type(receiver) is Namespace and type(receiver.of) is Scope:
                key = constant_of(self._evaluate(target.slice))
                if type(key) is str:
                    self._bind(key, values)
        if values:
            place = target.value
            if isinstance(place, ast.Name):
                self._bind(place.id, (Members(values),))
            elif isinstance(place, ast.Attribute):
                old = self._attributes.get(place.attr, ())
                self._attributes[place.attr] = union(old, (Members(values),))

    def _bind(self, name: str, values: Values) -> None:
        scope = self._scope
        if name in scope.globals_:
            scope = self._module.scope
        old = scope.names.get(name)
        if old and not values and name in _DECIDING:
            values = ("?",)  # it is not what it seems to be any more
        scope.names[name] = values if not old else union(old, values)

    def _delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            if isinstance(target, ast.Attribute):
                self._store_attribute(target, ())
            elif isinstance(target, ast.Subscript):
                self._store_item(target, ())

    def _global(self, node: ast.Global) -> None:
        self._scope.globals_.update(node.names)

    def _return(self, node: ast.Return) -> None:
        if node.value is not None:
            self._returned.append(self._evaluate(node.value))

    def _if(self, node: ast.If) -> None:
        while True:  # a chain of ``elif`` is nested as deep as it is long
            decided = self._decide(node.test)
            if decided is None:
                self._evaluate(node.test)
            if decided is not False:
                self._body(node.body)
            if decided is True:
                return
            rest = node.orelse
            if len(rest) == 1 and type(rest[0]) is ast.If:
                node = rest[0]
                continue
            self._body(rest)
            return

    def _decide(self, test: ast.expr) -> bool | None:
        """Return what *test* is in a module that is imported here, or None.

        Only of ``__name__ == "__main__"``, ``TYPE_CHECKING`` and tests of the platform,
        and only where the names are what they seem to be.
        """
        if isinstance(test, ast.UnaryOp) and type(test.op) is ast.Not:
            inner = self._decide(test.operand)
            return None if inner is None else not inner
        if isinstance(test, ast.Name | ast.Attribute):
            is_typing = self._quietly(test) == ("typing.TYPE_CHECKING",)
            return False if is_typing else None
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            left, right = test.left, test.comparators[0]
            equal = type(test.ops[0])
            if equal not in (ast.Eq, ast.NotEq) or type(right) is not ast.Constant:
                return None
            if isinstance(left, ast.Name) and left.id == "__name__":
                if right.value != "__main__":
                    return None
                if self._scope.find("__name__") is not None:
                    return None
                return equal is ast.NotEq
            actual = _PLATFORM.get(self._quietly(left))
            if actual is None or type(right.value) is not str:
                return None
            return (actual == right.value) is (equal is ast.Eq)
        if (
            isinstance(test, ast.Call)
            and isinstance(test.func, ast.Attribute)
            and test.func.attr == "startswith"
            and len(test.args) == 1
            and isinstance(test.args[0], ast.Constant)
            and type(test.args[0].value) is str
            and self._quietly(test.func.value) == ("sys.platform",)
        ):
            return sys.platform.startswith(test.args[0].value)
        return None

    def _quietly(self, node: ast.expr) -> Values:
        """Return the values of a name or of an attribute of one."""
        if isinstance(node, ast.Call) and not node.args:
            values = self._quietly(node.func)
            return tuple(f"{v}()" for v in values if type(v) is str)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            return self._evaluate(node)
        return self._name(node) if isinstance(node, ast.Name) else ()

    def _for(self, node: ast.For | ast.AsyncFor) -> None:
        self._store(node.target, self._members(self._evaluate(node.iter)))
        self._body(node.body)
        self._body(node.orelse)

    def _with(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            values = self._evaluate(item.context_expr)
            if item.optional_vars is not None:
                self._store(item.optional_vars, values)
        self._body(node.body)

    _STATEMENTS: ClassVar[dict[type, Callable[[Reader, Any], None]]] = {
        ast.Expr: _expression,
        ast.FunctionDef: _define,
        ast.AsyncFunctionDef: _define,
        ast.ClassDef: _define_class,
        ast.Import: _import_names,
        ast.ImportFrom: _import_from,
        ast.Assign: _assign,
        ast.AnnAssign: _assign_annotated,
        ast.AugAssign: _assign_in_place,
        ast.Delete: _delete,
        ast.Global: _global,
        ast.Return: _return,
        ast.If: _if,
        ast.For: _for,
        ast.AsyncFor: _for,
        ast.With: _with,
        ast.AsyncWith: _with,
    }


def _package_of(path: str) -> tuple[str, ...]:
    """Return the names of the package whose relative imports *path* makes."""
    return tuple(path.split("/")[:-1])


def _arguments(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    of = node.args
    rest = [each for each in (of.vararg, of.kwarg) if each is not None]
    return [*of.posonlyargs, *of.args, *of.kwonlyargs, *rest]


def _platform_system() -> str:
    names = {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}
    return names.get(sys.platform, sys.platform)


_PLATFORM: dict[Values, str] = {
    ("sys.platform",): sys.platform,
    ("os.name",): os.name,
    ("platform.system()",): _platform_system(),
}

_DECIDING = frozenset(("TYPE_CHECKING", "typing", "sys", "os", "platform", "__name__"))
"""Names in conditions by which a branch is left out."""
