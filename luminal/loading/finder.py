"""The finder on `sys.meta_path`: photons' modules for everybody who asks by name.

`importlib.import_module`, `pickle`, `importlib.resources` and the host's own import
statements come here. Without it the import system would find the files by itself and
run whatever ``.pyc`` lies beside them.
"""

from __future__ import annotations

import os
import sys
import threading
from importlib.machinery import BYTECODE_SUFFIXES, ModuleSpec
from typing import TYPE_CHECKING, Any, cast

from luminal.loading.loader import PhotonLoader
from luminal.loading.onstage import on_stage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType, ModuleType

    from luminal.loading.loader import Modules
    from luminal.loading.onstage import Answers
    from luminal.loading.origin import Origin
    from luminal.loading.place import Place

__all__ = ["join", "leave"]

# Replaced as a whole, so that a lookup needs no lock.
_worlds: tuple[Answers, ...] = ()
_lock = threading.Lock()


class _PhotonFinder:
    """A meta path finder (PEP 451)."""

    @staticmethod
    def find_spec(
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,  # noqa: ARG004 - the protocol's
    ) -> ModuleSpec | None:
        """Return how to get the module *fullname*, or None where it is not ours."""
        first = on_stage()
        asked: tuple[Answers, ...] = _worlds if first is None else (first, *_worlds)
        for answers in asked:
            generation = answers.owner(fullname)
            if generation is not None:
                if generation.borrowed:
                    continue
                origin: Origin | None = generation.origin
            else:
                origin = answers.origin(fullname)
            place = origin.find(fullname) if origin is not None else None
            if origin is not None and place is not None:
                if generation is not None:
                    loader: Any = PhotonLoader(fullname, place.path, generation)
                else:
                    loader = _LateLoader(origin, place, answers)
                return _spec(fullname, place, loader)
            if origin is not None:
                _refuse_sourceless(fullname, path or ())
        return None


class _LateLoader:
    """Loads a module that no import statement of a photon has reached so far."""

    def __init__(self, origin: Origin, place: Place, answers: Answers) -> None:
        self.origin = origin
        self.place = place
        self.answers = answers

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module, executed."""
        unit = self.place.unit
        if not unit:
            return self.answers.share(spec.name, self.origin)
        generation = self.answers.provide(unit, self.origin)
        asking = _asking()
        if asking is not None and asking is not generation:
            asking.need(unit)
        return generation.require(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its own specification back."""
        loader = getattr(module, "__loader__", None)
        if module.__spec__ is not None and type(loader) is PhotonLoader:
            module.__spec__.loader = cast("Any", loader)


def _asking() -> Modules | None:
    """Return the generation whose code asks for a module, if one does."""
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 - documented
    while frame is not None:
        loader = frame.f_globals.get("__loader__")
        if type(loader) is PhotonLoader:
            return loader.generation
        frame = frame.f_back
    return None


def _spec(fullname: str, place: Place, loader: Any) -> ModuleSpec:
    is_package = place.directory is not None
    spec = ModuleSpec(fullname, loader, origin=place.path, is_package=is_package)
    if place.directory is not None:
        spec.submodule_search_locations = [place.directory]
    return spec


def _refuse_sourceless(fullname: str, path: Sequence[str]) -> None:
    """Keep the finders behind ours from code that has no source.

    Raises:
        ModuleNotFoundError: They would find some.
    """
    leaf = fullname.rpartition(".")[2]
    for directory in path:
        for suffix in BYTECODE_SUFFIXES:
            for stem in (leaf, os.path.join(leaf, "__init__")):
                if os.path.lexists(os.path.join(directory, stem + suffix)):
                    raise ModuleNotFoundError(
                        f"No module named {fullname!r}: compiled code without its "
                        f"source is not executed",
                        name=fullname,
                    )


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
