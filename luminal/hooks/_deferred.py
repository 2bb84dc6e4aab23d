"""`DeferredPluginManager`, for hosts that load their plugins on import."""

from __future__ import annotations

from typing import Any

from luminal.hooks._errors import leave_out
from luminal.hooks._manager import PluginManager

__all__ = ["DeferredPluginManager"]


class DeferredPluginManager(PluginManager):
    """A manager that leaves installed plugins to a `luminal.Loader`.

    Many hosts call `load_setuptools_entrypoints` in a module that has the manager. A
    Loader cannot replace plugins that are imported like that. With this manager the
    call notes the group, and ``Loader(plugins=manager)`` loads what is noted with
    ``load()``.

    Attributes:
        deferred: Pairs of a noted entry-point group and of the name of its only entry
            that is wanted, or None for all.
    """

    def __init__(self, project_name: str, **options: Any) -> None:
        super().__init__(project_name, **options)
        self.deferred: list[tuple[str, str | None]] = []

    def load_setuptools_entrypoints(self, group: str, name: str | None = None) -> int:
        """Note a group for the Loader, and import nothing.

        Args:
            group: The entry-point group.
            name: Name of the only entry that is wanted; None for all.

        Returns:
            Zero, the number of plugins that are loaded.
        """
        if (group, name) not in self.deferred:
            self.deferred.append((group, name))
        return 0


leave_out(globals())
