"""The lifecycle as hook specifications, so that libraries can observe or guard it.

Luminal's own implementation comes last. An implementation that returns something
other than None takes its place; one that raises refuses the step; a wrapper sees it
begin and end. Implementations and wrappers may be plain or ``async``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from luminal.interfaces.markers import hookspec

if TYPE_CHECKING:
    from luminal.interfaces.context import PhotonContext
    from luminal.model import Deadlines

__all__ = ["LifecycleSpecs", "Subject"]


class Subject(Protocol):
    """What the lifecycle hooks are told about a photon; every Handler is one."""

    @property
    def name(self) -> str:
        """Name of the photon."""

    @property
    def filepath(self) -> str:
        """Path of its file."""

    @property
    def checksum(self) -> str:
        """SHA-512 of the bytes that were compiled, as a hex digest."""

    @property
    def number(self) -> int:
        """Number of its generation, 0 for a photon that was not loaded."""

    @property
    def instance(self) -> Any:
        """The photon; None before it is created."""

    @property
    def factory(self) -> Any:
        """Its class; None where the instance was there from the beginning."""

    @property
    def context(self) -> PhotonContext:
        """What it has been handed."""

    @property
    def deadlines(self) -> Deadlines:
        """How long it may take for each step."""


class LifecycleSpecs:
    """The steps of every photon's life."""

    @hookspec(firstresult=True)
    def photon_create(self, handler: Subject) -> object:
        """Create the photon; returns the instance."""

    @hookspec(firstresult=True)
    def photon_start(self, handler: Subject) -> object:
        """Start the photon; what it returns is ignored."""

    @hookspec(firstresult=True)
    def photon_finalize(self, handler: Subject) -> object:
        """Finalize the photon; returns False where that did not go well."""

    @hookspec(firstresult=True)
    def photon_reload(self, handler: Subject, previous: object) -> object:
        """Hand the state of *previous* to the photon; what it returns is ignored."""
