"""What a class of hook specifications says, as values.

In comes the class, out comes one record a hook, in the order of their definition.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Specification", "read_specifications"]


@attrs.frozen
class Specification:
    """One hook.

    Attributes:
        name: Its name.
        signature: Its arguments and answer, as they are written, without ``self``.
        kind: What a call answers with, in words.
        is_async: Whether it is defined with ``async def``.
        doc: Its docstring, or an empty string.
    """

    name: str
    signature: str
    kind: str
    is_async: bool
    doc: str


def read_specifications(specs: object) -> tuple[Specification, ...]:
    """Return the hooks that *specs* specifies.

    Args:
        specs: A class or module whose functions are marked with a ``hookspec``, of
            whatever project.
    """
    found = {}
    for name, function in _members(specs):
        options = _options(function)
        if options is None:
            continue
        found[name] = Specification(
            name,
            _signature(function, isinstance(specs, type)),
            kind_of(options),
            inspect.iscoroutinefunction(function),
            inspect.getdoc(function) or "",
        )
    return tuple(found.values())


def kind_of(options: Mapping[str, Any]) -> str:
    """Say in words what the *options* of a specification mean."""
    if options.get("firstresult"):
        words = ["the first answer that is not None"]
    else:
        words = ["all answers, as a list"]
    if options.get("historic"):
        words.append("calls are repeated for photons that come later")
    if options.get("concurrent"):
        words.append("implementations are awaited side by side")
    if options.get("sync_only"):
        words.append("implementations may not be async")
    if options.get("isolate") is not None:
        isolated = "a failure leaves the others to answer"
        words.append(isolated if options["isolate"] else "a failure ends the call")
    return "; ".join(words)


def _members(specs: object) -> Iterator[tuple[str, Any]]:
    """Yield functions, those of base classes first."""
    spaces = reversed(specs.__mro__) if isinstance(specs, type) else [specs]
    for space in spaces:
        # Whatever a page names may come here, things without attributes too.
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
    """An annotation that was postponed: shown as it is written, without quotes."""

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
    answer = _written(signature.return_annotation)
    return str(signature.replace(parameters=parameters, return_annotation=answer))


def _written(annotation: Any) -> Any:
    return _Written(annotation) if isinstance(annotation, str) else annotation
