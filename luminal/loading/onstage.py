"""Who is on stage: which generations a piece of running code is to see."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from types import ModuleType

    from luminal.loading.loader import Modules
    from luminal.loading.origin import Origin

__all__ = ["Answers", "StagingAnswers", "Transaction", "on_stage", "staging"]


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


class Transaction(Protocol):
    """What is committed or discarded as a whole."""

    @property
    def is_over(self) -> bool:
        """Whether that has been done."""


class StagingAnswers(Answers, Protocol):
    """Who answers while something is staged."""

    @property
    def stage(self) -> Transaction:
        """The transaction that it is staged in."""


# What the calling thread or task stages, if anything. Threads that run a photon's
# steps are started in a copy of the context, so they stage what their caller does.
staging: ContextVar[StagingAnswers | None] = ContextVar("luminal_staging", default=None)


def on_stage() -> StagingAnswers | None:
    """Return what the caller is part of the staging of, if anything.

    A task that a photon has started keeps the context of a transaction that is over.
    """
    answers = staging.get()
    return None if answers is None or answers.stage.is_over else answers
