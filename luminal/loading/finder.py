"""The finder on `sys.meta_path`: photons' modules for everybody who asks by name.

`importlib.import_module`, `pickle`, `importlib.resources` and the host's own import
statements come here. Without it the import system would find the files by itself and
run whatever ``.pyc`` lies beside them.
"""

from __future__ import annotations

import sys
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, cast

from luminal.loading.loader import PhotonLoader

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from luminal.loading.generation import Generation

__all__ = ["Answers", "StagingAnswers", "join", "leave", "staging"]


class Answers(Protocol):
    """Who knows which generation a name belongs to: a world, or an attempt."""

    def owner(self, fullname: str) -> Generation | None:
        """Return the generation that *fullname* belongs to, or None."""


class StagingAnswers(Answers, Protocol):
    """Who answers in a thread that stages."""

    @property
    def stage(self) -> object:
        """The transaction that the thread works on."""


# What the calling thread or task stages, if anything. Threads that run a photon's
# steps are started in a copy of the context, so they stage what their caller does.
staging: ContextVar[StagingAnswers | None] = ContextVar("luminal_staging", default=None)
# Replaced as a whole, so that a lookup needs no lock.
_worlds: tuple[Answers, ...] = ()
_lock = threading.Lock()


class _PhotonFinder:
    """A meta path finder (PEP 451)."""

    @staticmethod
    def find_spec(
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG004 - the protocol's
        target: ModuleType | None = None,  # noqa: ARG004 - the protocol's
    ) -> ModuleSpec | None:
        """Return how to get the module *fullname*, or None where it is not ours."""
        first = staging.get()
        asked: tuple[Answers, ...] = _worlds if first is None else (first, *_worlds)
        for answers in asked:
            generation = answers.owner(fullname)
            if generation is not None and not generation.borrowed:
                return _spec(fullname, generation)
        return None


def _spec(fullname: str, generation: Generation) -> ModuleSpec | None:
    from importlib.util import spec_from_loader

    place = generation.origin.find(fullname)
    if place is None:
        return None
    loader = cast("Any", PhotonLoader(fullname, place.path, generation))
    is_package = place.directory is not None
    spec = spec_from_loader(fullname, loader, origin=place.path, is_package=is_package)
    if spec is not None and place.directory is not None:
        spec.submodule_search_locations = [place.directory]
    return spec


def join(answers: Answers) -> None:
    """Ask *answers* from now on; puts the finder in front of the others' once."""
    global _worlds
    if any(world is answers for world in _worlds) and _PhotonFinder in sys.meta_path:
        return
    with _lock:
        if answers not in _worlds:
            _worlds = (*_worlds, answers)
        if not any(f is _PhotonFinder for f in sys.meta_path):
            sys.meta_path.insert(0, _PhotonFinder)


def leave(answers: Answers) -> None:
    """Ask *answers* no more; takes the finder away after the last one."""
    global _worlds
    with _lock:
        _worlds = tuple(w for w in _worlds if w is not answers)
        if not _worlds:
            sys.meta_path[:] = [f for f in sys.meta_path if f is not _PhotonFinder]
