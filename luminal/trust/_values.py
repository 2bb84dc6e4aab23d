"""What a name in a text may stand for, see `luminal.trust._reader`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    import ast

__all__ = [
    "MOST_VALUES",
    "Class",
    "Constant",
    "Function",
    "Getter",
    "Instance",
    "Members",
    "Module",
    "Namespace",
    "Scope",
    "Value",
    "Values",
    "constant_of",
    "union",
]

MOST_VALUES = 8
"""Values of one name that are followed."""


@attrs.frozen
class Constant:
    """A constant of the text, or one that is put together from constants."""

    value: Any


@attrs.frozen(eq=False)
class Scope:
    """Names and their values; where a function looks when it does not have a name."""

    parent: Scope | None = None
    names: dict[str, Values] = attrs.Factory(dict)
    # Modules whose names have all been imported by ``*``.
    stars: list[str] = attrs.Factory(list)
    globals_: set[str] = attrs.Factory(set)

    def find(self, name: str) -> Values | None:
        """Return the values of *name*; None where nothing here has that name."""
        scope: Scope | None = self
        while scope is not None:
            found = scope.names.get(name)
            if found is not None:
                return found
            scope = scope.parent
        return None


@attrs.frozen(eq=False)
class Module:
    """A module of the unit."""

    path: str
    scope: Scope
    package: tuple[str, ...]
    body: list[ast.stmt] = attrs.field(factory=list, repr=False)


@attrs.frozen(eq=False)
class Function:
    """A function of the unit, with the scope that it was defined in."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    scope: Scope
    module: Module
    owner: Class | None = None
    is_property: bool = False
    defaults: dict[str, Values] = attrs.Factory(dict)
    # What it was given when it was read, in which mode → what it returns.
    read: dict[object, Values] = attrs.Factory(dict)


@attrs.frozen(eq=False)
class Class:
    """A class of the unit."""

    name: str
    scope: Scope
    bases: tuple[Value, ...]

    def find(self, name: str) -> Values:
        """Return the values of an attribute, of this class or of its bases."""
        if (found := self.scope.names.get(name)) is not None:
            return found
        for base in self.bases:
            if type(base) is Class and (found := base.find(name)):
                return found
        return ()


@attrs.frozen
class Instance:
    """An object of a class of the unit."""

    of: Class


@attrs.frozen
class Members:
    """A container, by the values of its members.

    Attributes:
        values: What its members may be.
        parts: Its members in order, where all are constants.
    """

    values: Values
    parts: tuple[Any, ...] = ()


@attrs.frozen
class Namespace:
    """``vars(x)``: its members are the attributes of *of*."""

    of: Value | Scope


@attrs.frozen
class Getter:
    """``operator.attrgetter(name)``."""

    name: str


Value = (
    str | Constant | Function | Class | Instance | Members | Module | Namespace | Getter
)
Values = tuple[Value, ...]


def union(one: Values, other: Values) -> Values:
    """Return the values of both, at most `MOST_VALUES`."""
    if not one or one == other:
        return other
    if not other:
        return one
    return tuple(dict.fromkeys((*one, *other)))[:MOST_VALUES]


def constant_of(values: Values) -> Any:
    """Return the one constant among *values*, or None."""
    found = [value.value for value in values if type(value) is Constant]
    return found[0] if len(found) == 1 else None
