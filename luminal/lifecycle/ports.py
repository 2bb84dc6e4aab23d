"""What connects a Handler to its host: hooks, settings, deadlines, news.

A Handler that somebody makes by hand has ports of its own, connected to nothing.
"""

from __future__ import annotations

from contextlib import nullcontext
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs

from luminal.errors import PhotonValidationError
from luminal.hooks import PluginManager
from luminal.interfaces import LifecycleSpecs, PhotonContext
from luminal.lifecycle.director import Director
from luminal.lifecycle.events import Events
from luminal.lifecycle.settings import settings_for
from luminal.model import Deadlines, Event, Happening, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractContextManager

    from luminal.interfaces import Subject
    from luminal.lifecycle.trail import Terms, Trail
    from luminal.model import Candidate

__all__ = ["Ports"]


@attrs.define(eq=False)
class Ports:
    """One set for all the photons of a host.

    Attributes:
        plugins: Where photons' hooks are seated, and where lifecycle hooks live.
        settings: Photon name → its settings.
        deadlines: For each step of a photon's life.
        events: Who hears what happens.
        terms: What is done about changes of shared state; None for nothing at all.
        knows_all_hooks: Whether no hooks are specified later, so that a photon must
            not implement any other.
    """

    plugins: PluginManager = attrs.Factory(lambda: PluginManager("luminal"))
    settings: Mapping[str, Mapping[str, Any]] = attrs.Factory(dict)
    deadlines: Deadlines = attrs.Factory(Deadlines)
    events: Events = attrs.Factory(Events)
    terms: Terms | None = None
    knows_all_hooks: bool = False

    def __attrs_post_init__(self) -> None:
        # A manager may serve several hosts.
        if not self.plugins.has_plugin("luminal.director"):
            _mark_for(self.plugins.project_name)
            self.plugins.add_hookspecs(LifecycleSpecs)
            self.plugins.register(Director(), "luminal.director")

    def following(
        self, trail: Trail, photon: str, file: str
    ) -> AbstractContextManager[None]:
        """Note on *trail* what a photon changes within a ``with`` block."""
        if self.terms is None:
            return nullcontext()
        return self.terms.following(trail, photon, file)

    def context(self, name: str) -> PhotonContext:
        """Return what the photon *name* is handed."""
        settings = MappingProxyType(dict(self.settings.get(name, {})))
        return PhotonContext(name, settings)

    async def create(self, handler: Subject) -> object:
        """Return the photon, created where there is no instance yet.

        Raises:
            PhotonSettingsError: What is set for it is not what it declares.
        """
        table = self.settings.get(handler.name, {})
        handler.context.settings = settings_for(handler.name, handler.factory, table)
        return await self.plugins.ahook.photon_create(handler=handler)

    def check_hooks(self, handler: Subject) -> None:
        """Refuse a photon that implements a hook that the host does not have.

        Raises:
            PhotonValidationError: It does, and the host knows all its hooks, or has
                one of nearly that name.
        """
        for name, function, nearest in self.plugins.unspecified(handler.instance):
            if not (self.knows_all_hooks or nearest):
                continue
            code = getattr(function, "__code__", None)
            meant = f"did you mean {nearest!r}? " if nearest else ""
            raise PhotonValidationError(
                f"implements the hook {name!r}, which the host does not have",
                photon=handler.name,
                file=code.co_filename if code else handler.filepath,
                line=code.co_firstlineno if code else None,
                why="nobody would ever call it",
                hint=f"{meant}correct the name, or mark it 'optionalhook'",
            )

    async def start(self, handler: Subject) -> None:
        """Start the photon."""
        await self.plugins.ahook.photon_start(handler=handler)

    async def reload(self, handler: Subject, previous: object) -> None:
        """Hand what came before to the photon."""
        await self.plugins.ahook.photon_reload(handler=handler, previous=previous)

    async def finalize(self, handler: Subject) -> object:
        """Finalize the photon."""
        return await self.plugins.ahook.photon_finalize(handler=handler)

    def seat(self, handler: Subject) -> None:
        """Let the photon's hook implementations be called from now on."""
        self.plugins.register(handler.instance, handler.name, generation=handler.number)

    def unseat(self, handler: Subject) -> None:
        """Let them be called no more."""
        if self.plugins.get_plugin(handler.name) is handler.instance:
            self.plugins.unregister(name=handler.name)

    def hear_of(self, candidates: Iterable[Candidate]) -> None:
        """Say that the host has looked and found *candidates*."""
        for candidate in candidates:
            self.events.emit(
                Event(Happening.DISCOVERED, candidate.name, file=candidate.location)
            )

    def tell(
        self,
        happening: Happening,
        handler: Subject,
        *,
        seconds: float = 0.0,
        problem: Problem | None = None,
    ) -> None:
        """Say what happened to a photon."""
        self.events.emit(
            Event(
                happening,
                handler.name,
                handler.number,
                handler.filepath,
                seconds,
                problem,
            )
        )


def _mark_for(project: str) -> None:
    """Let the lifecycle hooks carry the marks of *project* as well as our own."""
    if project == "luminal":
        return
    for cls, kind in ((LifecycleSpecs, "spec"), (Director, "impl")):
        for function in vars(cls).values():
            options = getattr(function, f"luminal_{kind}", None)
            if options is not None:
                setattr(function, f"{project}_{kind}", dict(options))
