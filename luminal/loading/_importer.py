"""The import statement as photons see it, and the finder for the rest of the world.

CPython takes ``__import__`` from the builtins of the code that runs an import
statement. The modules of photons get builtins of their own, so that a statement,
also a late one inside a function, is answered by the generation that it is in.
`importlib.import_module`, pickle and the host go through a finder on
`sys.meta_path`, which answers with the committed generation.
"""

from __future__ import annotations

import builtins
import linecache
import os
import sys
import threading
from collections import UserList
from contextvars import ContextVar
from importlib.machinery import BYTECODE_SUFFIXES, ModuleSpec
from typing import TYPE_CHECKING, Any, Protocol, cast

from luminal.loading._source import read_source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import FrameType, ModuleType

    from luminal.loading._origin import ModuleLocation, Origin
    from luminal.loading._source import SourceFile

__all__ = [
    "PRIVATE_BUILTINS",
    "Answers",
    "Modules",
    "PhotonLoader",
    "StagingAnswers",
    "Transaction",
    "current_attempt",
    "forget_lines",
    "join",
    "leave",
    "refresh_builtins",
    "show_lines",
    "staging_context",
]

# === loading.loader ===
# What a photon's module shows to the import system: ``__loader__`` and resources.


class Modules(Protocol):
    """What the import system asks of a generation, see `Generation` for each."""

    unit: str
    origin: Origin
    number: int
    borrowed: bool
    external: set[str]
    sources: dict[str, SourceFile]

    def require(self, fullname: str) -> ModuleType:
        """Return the module *fullname*, executed."""

    def need(self, unit: str) -> None:
        """Note that this unit imports from *unit*."""

    def view(self, fullname: str) -> ModuleType:
        """Return a package that several owners share, with our modules in it."""


class PhotonLoader:
    """An importlib loader (PEP 451, PEP 302) that speaks for one generation.

    It answers with the bytes that were compiled, not with what the file holds by
    now, so that `inspect.getsource` and tracebacks show the code that runs.

    Args:
        name: Full name of the module.
        path: Its file.
        generation: The generation that it belongs to.
    """

    __slots__ = ("__weakref__", "generation", "name", "path")

    def __init__(self, name: str, path: str, generation: Modules) -> None:
        self.name = name
        self.path = path
        self.generation = generation

    def __repr__(self) -> str:
        return f"<PhotonLoader {self.name} #{self.generation.number}>"

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the generation's module *spec.name*, executing it if need be."""
        return self.generation.require(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: `create_module` returns modules that have been executed."""

    def is_package(self, fullname: str) -> bool:
        """Whether *fullname* is a package."""
        return hasattr(self.generation.require(fullname), "__path__")

    def get_filename(self, fullname: str) -> str:  # noqa: ARG002 - PEP 302
        """Return the path of the module's file."""
        return self.path

    def get_source(self, fullname: str) -> str:  # noqa: ARG002 - PEP 302
        """Return the text that was compiled."""
        source = self.generation.sources.get(self.path) or read_source(self.path)
        return source.text

    def get_data(self, path: str) -> bytes:
        """Return the bytes of a file beside the module; `pkgutil.get_data` asks."""
        with open(path, "rb") as file:
            return file.read()

    def get_resource_reader(self, fullname: str) -> Any:
        """Return a reader for `importlib.resources`, or None for a plain module."""
        from importlib.readers import FileReader

        return FileReader(cast("Any", self)) if self.is_package(fullname) else None


# === loading.importing ===
# The import statement as photons see it, and the finder for the rest of the world.
#
# CPython takes ``__import__`` from the builtins of the code that runs an import
# statement. The modules of photons get builtins of their own, so that a statement,
# also a late one inside a function, is answered by the generation that it is in.
# `importlib.import_module`, pickle and the host go through a finder on
# `sys.meta_path`, which answers with the committed generation.

_real_import = builtins.__import__
# Luminal among them: a photon that derives from a `luminal.py` beside it is none.
_NEVER_OURS = sys.stdlib_module_names | {"luminal"}


def _import(
    name: str,
    globals: Mapping[str, Any] | None = None,  # noqa: A002 - the protocol's names
    locals: Mapping[str, Any] | None = None,  # noqa: A002
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> Any:
    """Stand in for ``builtins.__import__`` in the modules of photons."""
    loader = globals.get("__loader__") if globals is not None else None
    if type(loader) is not PhotonLoader or globals is None:
        return _real_import(name, globals, locals, fromlist or (), level)
    generation = loader.generation
    top = name.partition(".")[0]
    if level:
        start = _absolute(top, globals, level)
        if not generation.origin.owns(start):
            return _real_import(name, globals, locals, fromlist or (), level)
    elif generation.origin.owns(name):
        start = top
    else:
        found = _neighbour(top, generation)
        if found is None:
            return _real_import(name, globals, locals, fromlist or (), 0)
        start = found
    module = generation.require(start + name[len(top) :])
    if fromlist:
        if hasattr(module, "__path__"):
            _import_submodules(generation, module, fromlist)
        return module
    if generation.origin.owns(start):
        return generation.require(start)
    return generation.view(start)


def _neighbour(top: str, generation: Modules) -> str | None:
    """Return the full name for the bare name *top*; None means: not ours."""
    if top in generation.external:
        return None
    start: str | None = None
    if top not in _NEVER_OURS:
        # Names of the standard library stay what everybody expects, whatever
        # lies beside the file.
        start = generation.origin.neighbour(top, generation.unit)
    if start is None:
        generation.external.add(top)
    return start


def _absolute(name: str, globals: Mapping[str, Any], level: int) -> str:  # noqa: A002
    """Resolve a relative import, with CPython's errors."""
    package: str = globals.get("__package__") or ""
    if not package:
        raise ImportError("attempted relative import with no known parent package")
    if package.count(".") < level - 1:
        raise ImportError("attempted relative import beyond top-level package")
    base = package.rsplit(".", level - 1)[0] if level > 1 else package
    return f"{base}.{name}" if name else base


def _import_submodules(
    generation: Modules, module: ModuleType, names: Sequence[str]
) -> None:
    """Import the submodules among *names*, as ``from package import name`` does."""
    for name in names:
        if name == "*":
            listed = [n for n in getattr(module, "__all__", ()) if n != "*"]
            _import_submodules(generation, module, listed)
        elif not hasattr(module, name):
            fullname = f"{module.__name__}.{name}"
            try:
                found = generation.require(fullname)
            except ModuleNotFoundError as error:
                if error.name != fullname:
                    raise
            else:
                setattr(module, name, found)


PRIVATE_BUILTINS: dict[str, Any] = {**vars(builtins), "__import__": _import}
"""The builtins of all photons' modules."""


def refresh_builtins() -> None:
    """Take over what the host has added to the builtins (`gettext.install`, say)."""
    if len(PRIVATE_BUILTINS) != len(vars(builtins)):
        PRIVATE_BUILTINS.update(vars(builtins))
        PRIVATE_BUILTINS["__import__"] = _import


# === loading.lines ===
# The lines of the code that runs, for tracebacks and `inspect.getsource`.
#
# `linecache` reads a file when it is asked, and by then the file may hold other text.
# An entry without a modification time is never checked against the disk; its lines are
# decoded when somebody looks.


class _Lines(UserList[str]):
    """The lines of a file's bytes as they were compiled."""

    def __init__(self, source: SourceFile) -> None:
        self.source = source

    # `UserList` asks for nothing else than this attribute.
    def __getattr__(self, name: str) -> Any:
        if name != "data":
            raise AttributeError(name)
        self.data = self.source.text.splitlines(keepends=True)
        return self.data

    def __getitem__(self, index: Any) -> Any:
        return self.data[index]


def show_lines(source: SourceFile) -> None:
    """Let `linecache` answer with the text of *source* for its path."""
    entry = (len(source.data), None, cast("list[str]", _Lines(source)), source.path)
    linecache.cache[source.path] = entry


def forget_lines(source: SourceFile) -> None:
    """Let `linecache` read the file of *source* again."""
    entry = linecache.cache.get(source.path)
    lines = entry[2] if entry is not None and len(entry) == 4 else None
    if getattr(lines, "source", None) is source:
        del linecache.cache[source.path]


# === loading.onstage ===
# Who is on stage: which generations a piece of running code is to see.


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
staging_context: ContextVar[StagingAnswers | None] = ContextVar(
    "luminal_staging", default=None
)


def current_attempt() -> StagingAnswers | None:
    """Return what the caller is part of the staging of, if anything.

    A task that a photon has started keeps the context of a transaction that is over.
    """
    answers = staging_context.get()
    return None if answers is None or answers.stage.is_over else answers


# === loading.finder ===
# The finder on `sys.meta_path`: photons' modules for everybody who asks by name.
#
# `importlib.import_module`, `pickle`, `importlib.resources` and the host's own import
# statements come here. Without it the import system would find the files by itself and
# run whatever ``.pyc`` lies beside them.

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
        first = current_attempt()
        asked: tuple[Answers, ...] = _worlds if first is None else (first, *_worlds)
        for answers in asked:
            generation = answers.owner(fullname)
            if generation is not None:
                if generation.borrowed:
                    continue
                origin: Origin | None = generation.origin
            else:
                origin = answers.origin(fullname)
            location = origin.find(fullname) if origin is not None else None
            if origin is not None and location is not None:
                if generation is not None:
                    loader: Any = PhotonLoader(fullname, location.path, generation)
                else:
                    loader = _LateLoader(origin, location, answers)
                return _spec(fullname, location, loader)
            if origin is not None:
                _refuse_sourceless(fullname, path or ())
        return None


class _LateLoader:
    """Loads a module that no import statement of a photon has reached so far."""

    def __init__(
        self, origin: Origin, location: ModuleLocation, answers: Answers
    ) -> None:
        self.origin = origin
        self.location = location
        self.answers = answers

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module, executed."""
        unit = self.location.unit
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


def _spec(fullname: str, location: ModuleLocation, loader: Any) -> ModuleSpec:
    is_package = location.directory is not None
    spec = ModuleSpec(fullname, loader, origin=location.path, is_package=is_package)
    if location.directory is not None:
        spec.submodule_search_locations = [location.directory]
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
