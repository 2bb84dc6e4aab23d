"""What expressions of a text may stand for, and what calls return, see `Reader`."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, ClassVar

from luminal.trust._kinds import CALLERS, SENSITIVE, Kind, canonical, kind_of
from luminal.trust._understood import LARGEST_CONSTANT, Understood
from luminal.trust._values import (
    MOST_VALUES,
    Class,
    Constant,
    Function,
    Getter,
    Instance,
    Members,
    Module,
    Namespace,
    Scope,
    constant_of,
    union,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from luminal.trust._values import Values

__all__ = ["DEEPEST", "Evaluation", "TooDeepError", "parts_of"]

DEEPEST = 150
"""Nested expressions and statements that are read; real texts have a third of them."""

_DEEPEST_CALL = 60
"""Nesting below which a called function is read at once; from there on, later."""

_WORTH = 20
"""Expressions that take as long as a function that is called."""


class TooDeepError(Exception):
    """A text is nested too deeply to be read."""


class Evaluation(Understood):
    """A part of `Reader`: evaluates expressions, and reads functions as called."""

    if TYPE_CHECKING:  # what the rest of the reader has
        _left: int
        _depth: int
        _is_import: bool
        _returned: list[Values]
        _owner: Class | None
        _later: list[tuple[Function, list[Values], bool]]

        def _at(self, parts: tuple[str, ...]) -> Module | None: ...
        def _bind(self, name: str, values: Values) -> None: ...
        def _body(self, statements: Iterable[ast.stmt]) -> None: ...
        def _call_special(self, made: Class, *, but: str = "") -> None: ...
        def _children(self, node: ast.AST) -> None: ...
        def _function(self, node: ast.Lambda) -> Function: ...
        def _store(self, target: ast.expr, values: Values) -> None: ...

    def _evaluate(self, node: ast.expr) -> Values:
        """Read *node*, and return what it may stand for; empty where unknown."""
        handler = self._EXPRESSIONS.get(type(node))
        self._depth += 1
        self._left -= 1
        if self._depth > DEEPEST or self._left < 0:
            raise TooDeepError
        if handler is not None:
            values = handler(self, node)
        else:
            self._children(node)
            values = ()
        self._depth -= 1
        return values

    def _constant(self, node: ast.Constant) -> Values:
        value = node.value
        if type(value) is str:
            return self._text(value, node)
        return (Constant(value),) if type(value) in (int, bool, bytes) else ()

    def _text(self, value: str, node: ast.AST) -> Values:
        if len(value) > 3 and (found := SENSITIVE.search(value)):
            self._note(Kind.PATHS, node, found[0])
        return (Constant(value),)

    def _name(self, node: ast.Name) -> Values:
        found = self._scope.find(node.id)
        if found is not None:
            return found
        if node.id in _BUILTINS:
            return (_BUILTINS[node.id],)
        scope: Scope | None = self._scope
        while scope is not None:
            for module in scope.stars:
                if kind_of(name := f"{module}.{node.id}"):
                    return (name,)
            scope = scope.parent
        return ()

    def _attribute(self, node: ast.Attribute) -> Values:
        return self._member(self._evaluate(node.value), node.attr, node)

    def _member(self, receivers: Values, name: str, node: ast.AST) -> Values:
        """Return the attribute *name* of what *receivers* may be."""
        found: Values = ()
        for receiver in receivers:
            of: Values = ()
            if type(receiver) is str:
                if name == "__dict__":
                    of = (Namespace(receiver),)
                elif name == "__self__" and receiver.startswith("builtins."):
                    of = ("builtins",)
                elif len(receiver) < 120:
                    of = (f"{receiver}.{name}",)
                    if receiver in ("ctypes.cdll", "ctypes.windll", "ctypes.pythonapi"):
                        self._note(Kind.NATIVE, node, receiver)
            elif type(receiver) is Module:
                of = receiver.scope.names.get(name, ())
                if not of:
                    inner = self._at((*parts_of(receiver.path), name))
                    of = (inner,) if inner is not None else ()
            elif type(receiver) is Class:
                of = (Namespace(receiver.scope),) if name == "__dict__" else ()
                of = of or receiver.find(name)
            elif type(receiver) is Instance:
                of = self._member_of_instance(receiver, name)
            found = union(found, of)
        if not found or all(type(v) is str and "()" in v for v in found):
            found = union(found, self._attributes.get(name, ()))
        return found or (f"?.{name}",)

    def _member_of_instance(self, receiver: Instance, name: str) -> Values:
        of = receiver.of.find(name)
        for value in of:
            if type(value) is Function and value.is_property:
                of = union(of, self._run(value, [(receiver,)]))
        if not of:
            bases = [base for base in receiver.of.bases if type(base) is str]
            of = tuple(f"{base}().{name}" for base in bases)
            if bases and name == "start":  # of a thread
                of += receiver.of.find("run")
        return of

    def _members(self, values: Values) -> Values:
        found: Values = ()
        for value in values:
            if type(value) is Members:
                found = union(found, value.values)
        return found

    def _container(self, node: ast.List | ast.Tuple | ast.Set) -> Values:
        found: Values = ()
        parts = []
        for each in node.elts:
            values = self._evaluate(each)
            parts.append(constant_of(values))
            found = union(found, values)
        if None in parts or len(parts) > LARGEST_CONSTANT:
            parts = []
        return (Members(found, tuple(parts)),) if found else ()

    def _dict(self, node: ast.Dict) -> Values:
        found: Values = ()
        for key in node.keys:
            if key is not None:
                self._evaluate(key)
        for value in node.values:
            found = union(found, self._evaluate(value))
        return (Members(found),) if found else ()

    def _item(self, node: ast.Subscript) -> Values:
        receivers = self._evaluate(node.value)
        index = self._evaluate(node.slice)
        key = constant_of(index)
        found: Values = ()
        for receiver in receivers:
            if type(receiver) is Members:
                found = union(found, receiver.values)
            elif type(receiver) is Namespace and type(key) is str:
                of = receiver.of
                if type(of) is Scope:
                    values = of.find(key) or ()
                    if not values and key in _BUILTINS:
                        values = (_BUILTINS[key],)
                else:
                    values = self._member((of,), key, node)  # type: ignore[arg-type]
                found = union(found, values)
            elif receiver == "builtins" and type(key) is str:
                found = union(found, (f"builtins.{key}",))
            elif receiver == "sys.modules" and type(key) is str:
                found = union(found, (self._own_module(key) or canonical(key),))
            elif type(receiver) is Constant and _is_reversal(node.slice):
                text = receiver.value if type(receiver.value) in (str, bytes) else ""
                found = union(found, (Constant(text[::-1]),))
        return found

    def _operation(self, node: ast.BinOp) -> Values:
        operands, left = [], node
        while True:  # a long sum is nested as deep as it is long
            operands.append(left.right)
            if type(left.left) is not ast.BinOp:
                operands.append(left.left)
                break
            left = left.left
        values = [self._evaluate(each) for each in reversed(operands)]
        if type(node.op) is ast.Add:
            return self._joined([constant_of(each) for each in values], node)
        return values[0] if type(node.op) is ast.Div else ()  # a path

    def _joined(self, parts: Sequence[Any], node: ast.AST) -> Values:
        for kind in (str, bytes):
            if parts and all(type(part) is kind for part in parts):
                if sum(map(len, parts)) > LARGEST_CONSTANT:
                    return ()
                value: Any = kind().join(parts)
                return self._text(value, node) if kind is str else (Constant(value),)
        return ()

    def _formatted(self, node: ast.JoinedStr) -> Values:
        parts = []
        for each in node.values:
            inner = each
            if isinstance(each, ast.FormattedValue):
                inner = each.value
                if each.format_spec is not None:
                    self._evaluate(each.format_spec)
            parts.append(constant_of(self._evaluate(inner)))
        return self._joined(parts, node)

    def _either(self, node: ast.IfExp) -> Values:
        self._evaluate(node.test)
        return union(self._evaluate(node.body), self._evaluate(node.orelse))

    def _any_of(self, node: ast.BoolOp) -> Values:
        found: Values = ()
        for each in node.values:
            found = union(found, self._evaluate(each))
        return found

    def _walrus(self, node: ast.NamedExpr) -> Values:
        values = self._evaluate(node.value)
        self._bind(node.target.id, values)
        return values

    def _lambda(self, node: ast.Lambda) -> Values:
        return (self._function(node),)

    def _comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp
    ) -> Values:
        for part in node.generators:
            self._store(part.target, self._members(self._evaluate(part.iter)))
            for test in part.ifs:
                self._evaluate(test)
        if isinstance(node, ast.DictComp):
            self._evaluate(node.key)
            values = self._evaluate(node.value)
        else:
            values = self._evaluate(node.elt)
        return (Members(values),) if values else ()

    def _awaited(self, node: ast.Await | ast.Starred) -> Values:
        return self._evaluate(node.value)

    # --- Calls ---

    def _call(self, node: ast.Call) -> Values:
        func = node.func
        constants: Values = ()
        if isinstance(func, ast.Attribute):
            receivers = self._evaluate(func.value)
            constants = tuple(v for v in receivers if type(v) in (Constant, Members))
            targets = self._member(receivers, func.attr, func)
        else:
            targets = self._evaluate(func)
        given = [self._evaluate(each) for each in node.args]
        named = {each.arg: self._evaluate(each.value) for each in node.keywords}
        if constants and isinstance(func, ast.Attribute):
            folded = self._folded(constants, func.attr, given, node)
            if folded:
                return folded
        return self._call_values(targets, given, node, named)

    def _call_values(
        self,
        targets: Values,
        given: list[Values],
        node: ast.AST,
        named: Mapping[str | None, Values] | None = None,
    ) -> Values:
        """Call what *targets* may be, and return what that may return."""
        named = named or {}
        if not any(target in _TESTS for target in targets):
            self._pass_on(targets, given, named, node)
        found: Values = ()
        for target in targets:
            if type(target) is str:
                values = self._call_outside(target, given, named, node)
            elif type(target) is Function:
                values = self._run(target, given, named)
            elif type(target) is Class:
                self._call_special(target, but="__call__")
                for base in target.bases:
                    if type(base) is str and (kind := kind_of(base)):
                        self._note(kind, node, base)
                values = (Instance(target),)
            elif type(target) is Instance:
                self._call_special(target.of)
                values = ()
            elif type(target) is Getter:
                objects = given[0] if given else ()
                values = self._member(objects, target.name, node)
            else:
                values = ()
            found = union(found, values)
        return found

    def _pass_on(
        self,
        targets: Values,
        given: list[Values],
        named: Mapping[str | None, Values],
        node: ast.AST,
    ) -> None:
        """Take what a function is given as called, where it may call it."""
        calls = any(
            type(t) is str and (t in CALLERS or t.rpartition(".")[2] in CALLERS)
            for t in targets
        )
        for values in (*given, *named.values()):
            for value in values:
                if type(value) is str:
                    if "()" not in value and (kind := kind_of(value)):
                        self._note(kind, node, value)
                elif calls and type(value) is Function:
                    self._run(value, [])
                elif calls and type(value) is Class:
                    self._call_special(value)

    def _call_outside(
        self,
        name: str,
        given: list[Values],
        named: Mapping[str | None, Values],
        node: ast.AST,
    ) -> Values:
        """Call a function of another module; return what it may return."""
        special = self._SPECIAL.get(name) or self._SPECIAL.get(name.rpartition(".")[2])
        if special is not None:
            values: Values | None = special(self, name, given, named, node)
            if values is not None:
                return values
        if kind := kind_of(name):
            self._note(kind, node, name)
        return (f"{name}()",) if len(name) < 120 else ()

    def _run(
        self,
        function: Function,
        given: list[Values],
        named: Mapping[str | None, Values] | None = None,
    ) -> Values:
        """Read the body of *function* as called; return what it may return.

        It is read once for each mode, and again where it is given other functions.
        """
        functions = frozenset(
            id(value)
            for values in (*given, *(named or {}).values())
            for value in values
            if type(value) is Function or (type(value) is str and "." in value)
        )
        key = self._is_import, functions
        if (known := function.read.get(key)) is not None:
            return known
        if len(function.read) >= MOST_VALUES:
            return next(iter(function.read.values()))
        if not self._is_import and function.read and not functions:
            return next(iter(function.read.values()))  # it was read for an import
        if self._depth > _DEEPEST_CALL:
            if len(self._later) < 10_000:
                self._later.append((function, given, self._is_import))
            return ()
        self._left -= _WORTH
        function.read[key] = ()
        node, scope = function.node, Scope(function.scope)
        scope.names.update(function.defaults)
        self._bind_arguments(function, scope, given, named or {})
        saved = self._module, self._scope, self._returned, self._owner
        self._module, self._scope = function.module, scope
        self._returned, self._owner = [], None
        if isinstance(node, ast.Lambda):
            self._returned.append(self._evaluate(node.body))
        else:
            self._body(node.body)
        found: Values = ()
        for values in self._returned:
            found = union(found, values)
        function.read[key] = found
        self._module, self._scope, self._returned, self._owner = saved
        return found

    def _bind_arguments(
        self,
        function: Function,
        scope: Scope,
        given: list[Values],
        named: Mapping[str | None, Values],
    ) -> None:
        arguments = function.node.args
        names = [each.arg for each in (*arguments.posonlyargs, *arguments.args)]
        if function.owner is not None and names:
            first = names[0]
            if not (given and any(type(v) is Instance for v in given[0])):
                scope.names[first] = (Instance(function.owner),)
                names = names[1:]
        for name, values in zip(names, given, strict=False):
            scope.names[name] = union(values, scope.names.get(name, ()))
        for name in (*names, *(each.arg for each in arguments.kwonlyargs)):
            values = named.get(name, ())
            scope.names[name] = union(values, scope.names.get(name, ()))
        for rest in (arguments.vararg, arguments.kwarg):
            if rest is not None:
                every: Values = ()
                for values in (*given, *named.values()):
                    every = union(every, values)
                scope.names[rest.arg] = (Members(every),) if every else ()

    _EXPRESSIONS: ClassVar[dict[type, Callable[[Any, Any], Values]]] = {
        ast.Constant: _constant,
        ast.Name: _name,
        ast.Attribute: _attribute,
        ast.Call: _call,
        ast.List: _container,
        ast.Tuple: _container,
        ast.Set: _container,
        ast.Dict: _dict,
        ast.Subscript: _item,
        ast.BinOp: _operation,
        ast.JoinedStr: _formatted,
        ast.IfExp: _either,
        ast.BoolOp: _any_of,
        ast.NamedExpr: _walrus,
        ast.Lambda: _lambda,
        ast.ListComp: _comprehension,
        ast.SetComp: _comprehension,
        ast.GeneratorExp: _comprehension,
        ast.DictComp: _comprehension,
        ast.Await: _awaited,
        ast.Starred: _awaited,
    }


def parts_of(path: str) -> tuple[str, ...]:
    """Return the names of the module at *path*."""
    parts = path.removesuffix(".py").split("/")
    return tuple(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_reversal(node: ast.expr) -> bool:
    """Whether *node* is the slice ``::-1``."""
    return (
        isinstance(node, ast.Slice)
        and node.lower is None
        and node.upper is None
        and isinstance(node.step, ast.UnaryOp)
        and type(node.step.op) is ast.USub
        and isinstance(node.step.operand, ast.Constant)
        and node.step.operand.value == 1
    )


_BUILTINS = {
    name: f"builtins.{name}"
    for name in (
        *("exec", "eval", "compile", "open", "getattr", "setattr", "delattr", "vars"),
        *("globals", "locals", "__import__", "isinstance", "issubclass", "hasattr"),
        *("map", "filter", "sorted", "min", "max", "object", "chr", "print", "type"),
        *("list", "tuple", "iter", "reversed", "property", "repr", "callable", "id"),
    )
} | {"__builtins__": "builtins"}

_TESTS = frozenset(
    f"builtins.{name}"
    for name in (
        "isinstance",
        "issubclass",
        "hasattr",
        "type",
        "repr",
        "callable",
        "id",
    )
) | {"builtins.getattr", "builtins.print", "typing.cast"}
"""Functions that do not call what they are given."""
