"""Who is on stage: which generations a piece of running code is to see."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from types import ModuleType

    from luminal.loading.loader import Modules
    from luminal.loading.origin import Origin

__all__ = ["Answers", "StagingAnswers", "staging"]


class Answers(Protocol):
    """Who knows which generation a name belongs to: a world, or an attempt."""

    def owner(self, fullname: str) -> Modules | None:
        """Return the generation that *fullname* belongs to, or None."""

    def origin(self, fullname: str) -> Origin | None:
        """Return where *fullname* is to be looked for, or None where not with us."""

    def provide(self, unit: str, origin: Origin) -> Modules:
        """Return the generation of *unit*, loading it where that is due."""

    def share(self, fullname: str, origin: Origin) -> ModuleType:
        """Return a package without code as everybody sees it, made where missing."""


class StagingAnswers(Answers, Protocol):
    """Who answers while something is staged."""

    @property
    def stage(self) -> object:
        """The transaction that it is staged in."""


# What the calling thread or task stages, if anything. Threads that run a photon's
# steps are started in a copy of the context, so they stage what their caller does.
staging: ContextVar[StagingAnswers | None] = ContextVar("luminal_staging", default=None)
