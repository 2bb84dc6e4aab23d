"""Examine what is about to be loaded: compare the profiles of old and new text."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from luminal.discovery import fold
from luminal.errors import PhotonCapabilityError
from luminal.model import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from luminal.loading import Generation
    from luminal.trust import CapabilityRules

__all__ = ["examiner"]


def examiner(
    rules: CapabilityRules,
) -> Callable[[Generation, Generation | None, bool], None]:
    """Return what `World.examine` calls for each generation that is staged.

    Args:
        rules: Decide what may run.
    """

    def examine(new: Generation, old: Generation | None, is_swap: bool) -> None:
        if new.borrowed:
            return
        top = _directory_of(new)
        names = _names_of(new, old)
        before = _files(old) if old is not None else None
        if old is None and is_swap:  # a helper that the new code imports
            before = {}
        try:
            found = rules.examine(
                new.unit, names, before, _files(new), is_accepted=_is_accepted(new)
            )
        except PhotonCapabilityError as error:
            if error.file:
                error.file = os.path.normpath(os.path.join(top, error.file))
            raise
        new.news = tuple(
            Problem(
                code=PhotonCapabilityError.code,
                phase="read",
                what=str(each),
                file=os.path.normpath(os.path.join(top, each.file)),
                line=each.capability.line if each.capability is not None else 0,
            )
            for each in found
        )

    return examine


def _is_accepted(generation: Generation) -> bool:
    """Whether a lock is in force, and somebody has accepted these files in it."""
    verdict = generation.verdict
    if verdict is None or verdict.is_first:
        return False
    return str(verdict.status) in ("pinned", "signed")


def _directory_of(generation: Generation) -> str:
    """Return the directory of the unit's root module."""
    location = generation.locations.get(generation.unit)
    path = location.path if location is not None else ""
    return os.path.dirname(path or next(iter(generation.sources), ""))


def _files(generation: Generation) -> dict[str, bytes]:
    """Return the texts of a unit, by their paths below its directory."""
    top = _directory_of(generation)
    return {
        os.path.relpath(path, top).replace(os.sep, "/"): source.data
        for path, source in generation.sources.items()
    }


def _names_of(new: Generation, old: Generation | None) -> tuple[str, ...]:
    """Return the names by which settings may mean the unit, the best first."""
    photons = old.photons if old is not None else ()
    names = (*photons, new.unit.rpartition(".")[2], new.unit)
    return tuple(dict.fromkeys((*names, *map(fold, names))))
