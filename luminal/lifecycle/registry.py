"""The loaded photons of one host: by name, and by the file that they came from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs

from luminal.discovery._names import fold
from luminal.errors import PhotonNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from luminal.lifecycle.handler import Handler

__all__ = ["Registry"]


@attrs.define(eq=False)
class Registry:
    """Handlers by name. Two photons of one name: the second one is refused."""

    _by_name: dict[str, Handler] = attrs.Factory(dict)
    _by_file: dict[str, list[Handler]] = attrs.Factory(dict)
    _by_unit: dict[str, list[Handler]] = attrs.Factory(dict)
    # Handler → (number in the order of loading, its unit)
    _entries: dict[Handler, tuple[int, str]] = attrs.Factory(dict)
    _count: int = 0

    def __len__(self) -> int:
        return len(self._by_name)

    def all(self) -> dict[str, Handler]:
        """Return all Handlers by their photons' names, in the order of loading."""
        return {handler.name: handler for handler in list(self._by_name.values())}

    def get(self, name: str) -> Handler | None:
        """Return the Handler of the photon called *name*, or None."""
        return self._by_name.get(fold(name))

    def of_file(self, path: str) -> list[Handler]:
        """Return the Handlers of the photons of the file at *path*."""
        return list(self._by_file.get(path, ()))

    def of_units(self, units: Iterable[str]) -> list[Handler]:
        """Return the Handlers of the photons of *units*, in the order of loading."""
        found = [h for unit in units for h in self._by_unit.get(unit, ())]
        return self.in_order(found)

    def has_unit(self, unit: str) -> bool:
        """Return whether a photon of *unit* is loaded."""
        return unit in self._by_unit

    def in_order(self, handlers: Iterable[Handler]) -> list[Handler]:
        """Return *handlers* in the order of loading; strangers come first."""
        return sorted(handlers, key=lambda h: self._entries.get(h, (0, ""))[0])

    def files(self) -> list[str]:
        """Return the files that photons were loaded from, in the order of loading."""
        return list(self._by_file)

    def add(self, handlers: Iterable[Handler]) -> None:
        """Add *handlers*, whose names are free."""
        for handler in handlers:
            self._by_name[fold(handler.name)] = handler
            self._by_file.setdefault(handler.filepath, []).append(handler)
            unit = handler.generation.unit if handler.generation is not None else ""
            self._by_unit.setdefault(unit, []).append(handler)
            self._count += 1
            self._entries[handler] = (self._count, unit)

    def remove(self, handlers: Iterable[Handler]) -> None:
        """Forget *handlers*."""
        for handler in handlers:
            self._by_name.pop(fold(handler.name), None)
            _, unit = self._entries.pop(handler, (0, ""))
            _drop(self._by_file, handler.filepath, handler)
            _drop(self._by_unit, unit, handler)

    def refile(self, handler: Handler, before: str) -> None:
        """Note that *handler*, until now from the file *before*, has another file."""
        if handler.filepath != before:
            _drop(self._by_file, before, handler)
            self._by_file.setdefault(handler.filepath, []).append(handler)
            count, unit = self._entries[handler]
            _drop(self._by_unit, unit, handler)
            unit = handler.generation.unit if handler.generation is not None else ""
            self._by_unit.setdefault(unit, []).append(handler)
            self._entries[handler] = (count, unit)

    def find(self, photon: Handler | str | os.PathLike[str]) -> list[Handler]:
        """Return all Handlers of the file that *photon* came from.

        Args:
            photon: A Handler, the path of a file, or a photon's name.

        Raises:
            PhotonNotFoundError: It is not loaded.
        """
        if isinstance(photon, str | os.PathLike):
            known = self.get(os.fspath(photon))
            path = os.path.abspath(photon) if known is None else known.filepath
            found = self.of_file(path) or self.of_file(os.path.realpath(path))
            label = os.fspath(photon)
        else:
            is_ours = self.get(photon.name) is photon
            found = self.of_file(photon.filepath) if is_ours else []
            label = photon.name
        if not found:
            raise PhotonNotFoundError(
                "is not loaded",
                photon=label,
                hint="load it first; 'loader.photons' has the names that are",
            )
        return found


def _drop(lists: dict[str, list[Handler]], key: str, handler: Handler) -> None:
    left = [h for h in lists.get(key, ()) if h is not handler]
    if left:
        lists[key] = left
    else:
        lists.pop(key, None)
