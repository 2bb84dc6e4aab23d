"""Find in the state of a photon what a reload cannot renew, see `own_instances`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from luminal._plain import name_of_class, repr_of, static_of
from luminal.errors import PhotonStateError
from luminal.model import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from luminal.lifecycle import Handler

__all__ = ["own_instances"]

_MOST = 10_000
"""Objects that are looked at: the state of a photon may be large."""


def own_instances(old: Handler) -> tuple[Problem, ...]:
    """Return that ``context.data`` has objects whose class is the photon's own.

    A copy of such an object is one of the old class. `isinstance` with the new class
    is false for it, and members of an `enum.Enum` are not equal to the new ones.

    Args:
        old: Handler of the photon whose state is handed over.
    """
    data, generation = old.context.data, old.generation
    if not data or generation is None:
        return ()
    found = next(_own(data, generation.modules.keys()), None)
    if found is None:
        return ()
    place, name = found
    error = PhotonStateError(
        "keeps an object of its own class over a reload",
        photon=old.name,
        file=old.filepath,
        why=f"context.data{place} is a {name} of generation {old.number}, and stays so",
        hint="keep dictionaries, lists, numbers and text there, and make the objects "
        "again in on_reload or start",
    )
    return (Problem.of(error, "reload"),)


def _own(data: dict[str, Any], modules: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield (place, name of its class) of objects whose class is in *modules*."""
    names = frozenset(modules)
    queue: list[tuple[str, Any]] = [("", data)]
    seen = {id(data)}
    for place, value in queue:
        for at, each in _items(value):
            cls: Any = each if issubclass(type(each), type) else type(each)
            if static_of(cls, "__module__") in names:
                yield place + at, name_of_class(cls)
            elif id(each) not in seen and len(seen) < _MOST:
                seen.add(id(each))
                queue.append((place + at, each))


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a container of the standard library has, and its place."""
    kind = type(value)
    if kind.__module__ not in ("builtins", "collections"):
        return
    if isinstance(value, dict):
        for key, each in list(value.items()):
            yield f"[{repr_of(key)}]", each
            yield f" key {repr_of(key)}", key
    elif isinstance(value, list | tuple | set | frozenset) or kind.__name__ == "deque":
        for number, each in enumerate(list(value)):
            yield f"[{number}]", each
