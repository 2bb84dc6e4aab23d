"""Read the text of a unit as Python would run it, as far as names go.

The body of each module is read first, and each function when something calls it, so
that what runs at import is known. A value is what a name may stand for: a dotted name
of another module, a constant, a function or a class of the unit. Branches are not
chosen, loops are read once, and a name has all the values that it is given anywhere.
"""

from __future__ import annotations

import ast
import base64
import binascii
import codecs
import os
import re
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from luminal.trust._kinds import (
    CALLERS,
    SENSITIVE,
    Kind,
    canonical,
    kind_of,
    kind_of_assignment,
)
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

__all__ = ["Reader", "TooDeepError"]

_DEEPEST = 150
"""Nested expressions and statements that are read; real texts have a third of them."""

_DEEPEST_CALL = 60
"""Nesting below which a called function is read at once; from there on, later."""

_DEEPEST_IMPORT = 15
"""Modules that import each other and are followed; others are read by themselves."""

_WORTH = 20
"""Expressions that take as long as a function that is called."""

_LARGEST_CONSTANT = 4096
"""Characters of a text that is put together from parts."""


_TOO_DEEP = "too deep to read"


class TooDeepError(Exception):
    """A text is nested too deeply to be read."""


_DECODERS: dict[str, Callable[[Any], bytes]] = {
    "base64.b64decode": base64.b64decode,
    "base64.b32decode": base64.b32decode,
    "base64.b16decode": base64.b16decode,
    "base64.urlsafe_b64decode": base64.urlsafe_b64decode,
    "binascii.unhexlify": binascii.unhexlify,
    "binascii.a2b_base64": binascii.a2b_base64,
}


# --- The reader ----------------------------------------------------------------------


class Reader:
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
        if self._depth > _DEEPEST:
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

    # --- Expressions ---

    def _evaluate(self, node: ast.expr) -> Values:
        """Read *node*, and return what it may stand for; empty where unknown."""
        handler = self._EXPRESSIONS.get(type(node))
        self._depth += 1
        self._left -= 1
        if self._depth > _DEEPEST or self._left < 0:
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
                    inner = self._at((*_parts_of(receiver.path), name))
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
        if None in parts or len(parts) > _LARGEST_CONSTANT:
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
            elif (
                type(receiver) is Constant
                and type(receiver.value) in (str, bytes)
                and _is_reversal(node.slice)
            ):
                found = union(found, (Constant(receiver.value[::-1]),))
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
                if sum(map(len, parts)) > _LARGEST_CONSTANT:
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

    # --- Functions that are understood ---

    def _folded(
        self, receivers: Values, method: str, given: list[Values], node: ast.AST
    ) -> Values:
        """Return what a method of a constant returns, where that is easily known."""
        if len(receivers) != 1:
            return ()
        receiver = receivers[0]
        if type(receiver) is Members:
            return receiver.values if method in ("get", "pop", "copy", "values") else ()
        value = receiver.value  # type: ignore[union-attr]
        if type(value) not in (str, bytes) or len(value) > _LARGEST_CONSTANT:
            return ()
        if method == "join" and given and not value:
            for each in given[0]:
                if type(each) is Members:
                    return self._joined(each.parts, node)
            return ()
        if method == "decode" and type(value) is bytes:
            return self._text(value.decode("latin-1"), node)
        if method == "encode" and type(value) is str:
            return (Constant(value.encode("utf-8", "replace")),)
        if method in ("lower", "upper", "strip", "title", "swapcase"):
            return (
                self._text(getattr(value, method)(), node) if type(value) is str else ()
            )
        arguments = [constant_of(each) for each in given]
        if method == "replace" and type(value) is str and len(arguments) == 2:
            old, new = arguments
            if type(old) is str and type(new) is str and old and len(new) <= 16:
                return self._text(value.replace(old, new), node)
        return ()

    def _getattr(self, name: str, given: list[Values], *rest: Any) -> Values | None:
        del name
        node = rest[-1]
        if len(given) < 2:
            return ()
        objects, attribute = given[0], constant_of(given[1])
        if type(attribute) is str:
            return self._member(objects, attribute, node)
        for value in objects:
            if value in _SENSITIVE_MODULES:
                self._note(Kind.CODE, node, f"getattr({value}, ...)")
        return ()

    def _setattr(self, name: str, given: list[Values], *rest: Any) -> Values | None:
        del name
        node = rest[-1]
        if len(given) >= 2:
            attribute = constant_of(given[1])
            for value in given[0]:
                if type(value) is str:
                    kind = kind_of_assignment(value, str(attribute or ""))
                    if kind is not None:
                        self._note(kind, node, f"setattr({value}, ...)")
        if len(given) == 3 and type(constant_of(given[1])) is str:
            key = str(constant_of(given[1]))
            self._attributes[key] = union(self._attributes.get(key, ()), given[2])
        return ()

    def _getattribute(
        self, name: str, given: list[Values], *rest: Any
    ) -> Values | None:
        receiver = name.rpartition(".")[0]
        if receiver == "builtins.object":
            return self._getattr(name, given, *rest)
        return self._getattr(name, [(receiver,), *given], *rest)

    def _vars(self, name: str, given: list[Values], *rest: Any) -> Values | None:
        del name, rest
        if not given:
            return (Namespace(self._scope),)
        return tuple(
            Namespace(value) for value in given[0] if type(value) in (str, Module)
        )

    def _globals(self, *unused: Any) -> Values | None:
        del unused
        return (Namespace(self._module.scope),)

    def _import_call(
        self, name: str, given: list[Values], named: Any, *rest: Any
    ) -> Values | None:
        node = rest[-1]
        wanted = constant_of(given[0]) if given else constant_of(named.get("name", ()))
        if type(wanted) is not str:
            if name.endswith("__import__"):
                self._note(Kind.CODE, node, name)
            return ("?",)
        is_relative = wanted.startswith(".")
        if is_relative:
            level = len(wanted) - len(wanted.lstrip("."))
            module = self._relative(level, wanted.lstrip("."))
        else:
            module = self._own_module(wanted)
        if module is not None:
            self._import(module)
            return (module,)
        if name.endswith("__import__") and len(given) < 4 and "fromlist" not in named:
            wanted = wanted.partition(".")[0]
        return (canonical(wanted),)

    def _open(
        self, name: str, given: list[Values], named: Any, *rest: Any
    ) -> Values | None:
        node = rest[-1]
        is_method = name not in ("builtins.open", "io.open", "codecs.open", "io.FileIO")
        at = 0 if is_method else 1
        if is_method and kind_of(name):
            return None
        if name in ("gzip.open", "bz2.open", "lzma.open", "tarfile.open"):
            at = 1
        modes = given[at] if len(given) > at else named.get("mode", ())
        has_mode = len(given) > at or "mode" in named
        mode = constant_of(modes)
        if mode is None:
            if has_mode and not is_method:
                self._note(Kind.WRITES, node, name)
        elif type(mode) is str and re.fullmatch(
            r"[rwxabtU+]*[wxa+][rwxabt+:gz|]*", mode
        ):
            self._note(Kind.WRITES, node, name)
        return (f"{name}()",)

    def _os_open(
        self, name: str, given: list[Values], named: Any, *rest: Any
    ) -> Values | None:
        del given, named
        node = rest[-1]
        flags = node.args[1] if len(getattr(node, "args", ())) > 1 else node
        writing = ("O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND", "O_TRUNC")
        for each in ast.walk(flags):
            if isinstance(each, ast.Attribute | ast.Name):
                word = each.attr if isinstance(each, ast.Attribute) else each.id
                if word in writing:
                    self._note(Kind.WRITES, node, name)
                    break
        return ()

    def _attrgetter(self, name: str, given: list[Values], *rest: Any) -> Values | None:
        del name, rest
        wanted = constant_of(given[0]) if given else None
        return (Getter(wanted),) if type(wanted) is str else ()

    def _partial(self, name: str, given: list[Values], *rest: Any) -> Values | None:
        del name, rest
        return given[0] if given else ()

    def _chr(self, name: str, given: list[Values], *rest: Any) -> Values | None:
        del name, rest
        number = constant_of(given[0]) if given else None
        if type(number) is int and 0 <= number < sys.maxunicode:
            return (Constant(chr(number)),)
        return ()

    def _decoded(self, name: str, given: list[Values], *rest: Any) -> Values | None:
        node = rest[-1]
        data = constant_of(given[0]) if given else None
        if not isinstance(data, str | bytes) or len(data) > _LARGEST_CONSTANT:
            return ()
        try:
            if name == "codecs.decode":
                how = constant_of(given[1]) if len(given) > 1 else None
                if how not in ("rot13", "rot_13"):
                    return ()
                return self._text(codecs.decode(str(data), "rot13"), node)
            return (Constant(_DECODERS[name](data)),)
        except (ValueError, TypeError, binascii.Error):
            return ()

    def _joined_path(self, name: str, given: list[Values], *rest: Any) -> Values | None:
        del name
        parts = [constant_of(each) for each in given]
        if parts and all(type(part) is str for part in parts):
            return self._text("/".join(parts), rest[-1])
        return ()

    def _iterated(self, name: str, given: list[Values], *rest: Any) -> Values | None:
        del name, rest
        found: Values = ()
        for values in given:
            found = union(found, values)
        return tuple(v for v in found if type(v) is Members)

    def _yaml_load(
        self, name: str, given: list[Values], named: Any, *rest: Any
    ) -> Values | None:
        loaders = given[1] if len(given) > 1 else named.get("Loader", ())
        if not any(
            (type(v) is str and "Safe" in v) or "Base" in str(v) for v in loaders
        ):
            self._note(Kind.UNPICKLING, rest[-1], name)
        return ()

    def _numpy_load(
        self, name: str, given: list[Values], named: Any, *rest: Any
    ) -> Values | None:
        del given
        if "allow_pickle" in named:
            self._note(Kind.UNPICKLING, rest[-1], name)
        return ()

    _SPECIAL: ClassVar[dict[str, Callable[..., Values | None]]] = {
        "builtins.getattr": _getattr,
        "builtins.setattr": _setattr,
        "builtins.delattr": _setattr,
        "__getattribute__": _getattribute,
        "builtins.vars": _vars,
        "builtins.globals": _globals,
        "builtins.locals": _vars,
        "builtins.__import__": _import_call,
        "importlib.import_module": _import_call,
        "importlib.__import__": _import_call,
        "open": _open,
        "FileIO": _open,
        "os.open": _os_open,
        "operator.attrgetter": _attrgetter,
        "operator.methodcaller": _attrgetter,
        "functools.partial": _partial,
        "builtins.chr": _chr,
        "os.path.join": _joined_path,
        "pathlib.PurePath": _joined_path,
        "builtins.list": _iterated,
        "builtins.tuple": _iterated,
        "builtins.iter": _iterated,
        "builtins.reversed": _iterated,
        "builtins.sorted": _iterated,
        "codecs.decode": _decoded,
        **dict.fromkeys(_DECODERS, _decoded),
        "yaml.load": _yaml_load,
        "yaml.load_all": _yaml_load,
        "numpy.load": _numpy_load,
    }
    """Function → what is known of what it returns; None where the tables decide."""

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

    _EXPRESSIONS: ClassVar[dict[type, Callable[[Reader, Any], Values]]] = {
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


def _package_of(path: str) -> tuple[str, ...]:
    """Return the names of the package whose relative imports *path* makes."""
    return tuple(path.split("/")[:-1])


def _parts_of(path: str) -> tuple[str, ...]:
    """Return the names of the module at *path*."""
    parts = path.removesuffix(".py").split("/")
    return tuple(parts[:-1] if parts[-1] == "__init__" else parts)


def _arguments(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    of = node.args
    rest = [each for each in (of.vararg, of.kwarg) if each is not None]
    return [*of.posonlyargs, *of.args, *of.kwonlyargs, *rest]


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


def _platform_system() -> str:
    names = {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}
    return names.get(sys.platform, sys.platform)


_PLATFORM: dict[Values, str] = {
    ("sys.platform",): sys.platform,
    ("os.name",): os.name,
    ("platform.system()",): _platform_system(),
}

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

_DECIDING = frozenset(("TYPE_CHECKING", "typing", "sys", "os", "platform", "__name__"))
"""Names in conditions by which a branch is left out."""

_SENSITIVE_MODULES = ("os", "subprocess", "socket", "builtins", "ctypes")
