"""Lazy attributes of a package (PEP 562): a module is imported with its first name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Getter", "Lister", "lazy_attributes"]

Getter = Callable[[str], object]
Lister = Callable[[], list[str]]


def lazy_attributes(
    namespace: dict[str, object], names: Mapping[str, Iterable[str]]
) -> tuple[Getter, Lister]:
    """Return ``__getattr__`` and ``__dir__`` for a package.

    Args:
        namespace: The package's ``globals()``. What was imported is kept there.
        names: Module → the names that it provides. A module without a dot is one of
            the package's own.

    Raises:
        AttributeError: By the ``__getattr__``, for a name that is not in *names*.
    """
    package = str(namespace["__name__"])
    module_of = {name: module for module in names for name in names[module]}

    def get(name: str) -> object:
        module = module_of.get(name)
        if module is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        from importlib import import_module

        full_name = module if "." in module else f"{package}.{module}"
        value: object = import_module(full_name)
        if full_name != f"{package}.{name}":  # else the attribute is the module
            value = getattr(value, name)
        namespace[name] = value
        return value

    def list_names() -> list[str]:
        return sorted({*namespace, *module_of})

    return get, list_names
