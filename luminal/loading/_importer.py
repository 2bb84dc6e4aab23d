"""How photons' modules are imported, by photons and by the rest of the program.

Every import statement calls ``builtins.__import__``. While photons are loaded, that is
a function of ours. It looks at the globals that an import is made with: where they are
those of a photon's module, the photon finds modules of its own generation, also late,
inside a function. Everything else goes to the function that was there before.

`importlib.import_module`, `pickle`, `importlib.resources` and the host's import
statements use a finder on `sys.meta_path`, which finds the committed generation.
Without it the import system would find the files by itself, and run the ``.pyc`` beside
them.

Code that runs while a generation is staged finds that generation in both ways: see
`current_attempt`.
"""

from __future__ import annotations

import builtins
import importlib
import os
import sys
import threading
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from importlib import import_module
from importlib.machinery import BYTECODE_SUFFIXES, FileFinder, ModuleSpec, PathFinder
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, cast

import attrs

from luminal.supervise import (
    awaited_imports,
    code_of_thread,
    mark_loaders,
    record,
    refresh,
    stop_recording,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import CodeType, FrameType

    from luminal.loading._generation import Generation
    from luminal.loading._origin import ModuleLocation, Origin
    from luminal.loading._staging import Attempt
    from luminal.loading._world import World

__all__ = [
    "PhotonFinder",
    "PhotonLoader",
    "add_to_finder",
    "current_attempt",
    "importing_generation",
    "is_superseded",
    "known_worlds",
    "remove_from_finder",
    "staging_context",
    "taken",
]


class PhotonLoader:
    """The importlib loader (PEP 451, PEP 302) of a module of one generation.

    It returns the source that was compiled, not what the file holds by now, so that
    `inspect.getsource` and tracebacks show the code that runs.

    Args:
        name: Full name of the module.
        path: Its file.
        generation: The generation that it belongs to.
    """

    __slots__ = ("__weakref__", "generation", "name", "path")

    def __init__(self, name: str, path: str, generation: Generation) -> None:
        self.name: str = name
        self.path: str = path
        self.generation: Generation = generation

    def __repr__(self) -> str:
        return f"<PhotonLoader {self.name} #{self.generation.number}>"

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return what stands for *spec.name* in `sys.modules`, executed."""
        from luminal.loading._proxies import importable

        _be_eager()
        return importable(self.generation, spec.name)

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
        return self.generation.source_of(self.path).text

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - PEP 302
        """Return what was compiled; `runpy` asks."""
        generation = self.generation
        return generation.host.compile(generation.source_of(self.path))

    def get_data(self, path: str) -> bytes:
        """Return the bytes of a file beside the module; `pkgutil.get_data` asks."""
        from luminal.loading._resources import data_in_bundle, superseded_data

        if self.generation.bundle is not None:
            return data_in_bundle(self.generation.bundle, path)
        if self.generation.snapshot is not None:
            judged = self.generation.snapshot.data(os.path.abspath(path))
            if judged is not None:
                return judged
        known = superseded_data(self.generation, os.path.abspath(path))
        if known is not None:
            return known
        self.generation.note_data(os.path.abspath(path))
        with open(path, "rb") as file:
            return file.read()

    def get_resource_reader(self, fullname: str) -> Any:
        """Return a reader for `importlib.resources`, or None for a plain module."""
        if not self.is_package(fullname):
            return None
        if self.generation.bundle is not None:
            from luminal.loading._resources import BundleReader

            return BundleReader(self.generation.bundle, self.path)
        if self.generation.snapshot is not None:
            from luminal.loading._judging import SnapshotReader

            return SnapshotReader(self.generation.snapshot, self.path)
        from luminal.loading._resources import ResourceReader

        return ResourceReader(self)


mark_loaders(PhotonLoader)

# Names that are never looked for beside a photon's file. Luminal is among them: a class
# that derives from a `luminal.py` beside it would be no photon.
_NEVER_OURS = sys.stdlib_module_names | {"luminal"}

taken: dict[str, Attempt] = {}
"""Full name → the attempt that has put something into `sys.modules` under it."""

_Import = Callable[..., Any]


def _make_import(replaced: _Import) -> _Import:
    """Return what goes into ``builtins.__import__`` instead of *replaced*."""

    def __import__(  # noqa: A001, N807 - named like what it stands for
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 - the protocol's names
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        # Called by every import statement of the program: as little as possible.
        try:
            loader = globals.get("__loader__")  # type: ignore[union-attr]
        except AttributeError:
            if globals is not None:  # the replaced one says what is wrong
                return replaced(name, globals, locals, fromlist, level)
            caller = sys._getframe(1).f_globals  # noqa: SLF001 - documented
            loader = caller.get("__loader__")
            if type(loader) is PhotonLoader:
                globals = caller  # noqa: A001
        if type(loader) is PhotonLoader:
            return _import(replaced, name, globals, locals, fromlist, level)
        if taken and level == 0:
            _admit(name)
        return replaced(name, globals, locals, fromlist, level)

    return __import__


def _make_gcd_import(replaced: _Import) -> _Import:
    """Return what `importlib.import_module` is to call instead of *replaced*.

    It gets no globals. The names that a photon uses for modules of its own lead to
    these in here as well: the photon is found on the stack.
    """

    def _gcd_import(name: str, package: str | None = None, level: int = 0) -> Any:
        fullname = name
        if level and isinstance(package, str) and package.count(".") >= level - 1:
            fullname = f"{package.rsplit('.', level - 1)[0]}.{name}"
        top = fullname.partition(".")[0]
        if top in _NEVER_OURS:
            return replaced(name, package, level)
        is_staged = current_attempt() is not None
        if is_staged or any(world.may_know(top) for world in _worlds):
            generation = importing_generation()
            if generation is not None:
                if is_superseded(generation) and generation.origin.owns(fullname):
                    # It finds its own: `sys.modules` has what serves.
                    return generation.require(fullname)
                found = _import_from_root(fullname, generation, ("__name__",))
                if found is not None:
                    return found
                if not generation.origin.owns(fullname):
                    start = _on_path(top, generation)
                    if start is not None:
                        return generation.require(start + fullname[len(top) :])
                if is_staged and not generation.origin.owns(fullname):
                    found = replaced(name, package, level)
                    generation.note_outside(fullname, ())
                    return found
        if taken and not is_staged:
            _admit(fullname)
        return replaced(name, package, level)

    return _gcd_import


def _make_reload(replaced: _Import) -> _Import:
    """Return what is to stand for `importlib.reload` instead of *replaced*.

    That refuses a module that is not the very object in `sys.modules`. A photon's is as
    its generation has it; Luminal reloads it.
    """

    def reload(module: ModuleType) -> Any:
        if type(getattr(module, "__loader__", None)) is PhotonLoader:
            return module
        return replaced(module)

    return reload


def _admit(name: str) -> None:
    """Let the caller import *name*, of which an attempt may have taken a part."""
    end = 0
    while end >= 0:
        end = name.find(".", end + 1)
        fullname = name if end < 0 else name[:end]
        attempt = taken.get(fullname)
        if attempt is not None:
            attempt.admit(fullname)


def _import(
    replaced: _Import,
    name: str,
    globals: Any,  # noqa: A002
    locals: Any,  # noqa: A002
    fromlist: Sequence[str] | None,
    level: int,
) -> Any:
    """Import for the module of a photon, whose *globals* are given."""
    generation: Generation = globals["__loader__"].generation
    top = name.partition(".")[0]
    start: str | None = None
    if level:
        outer = _beyond(generation, globals, level)
        if outer:
            name, level = f"{outer}.{name}" if name else outer, 0
            top = name.partition(".")[0]
    if level:
        start = _absolute(top, globals, level)
        if not generation.origin.owns(start):
            start = None
    elif generation.origin.owns(name):
        start = top
    elif top not in generation.external and top not in _NEVER_OURS:
        # An empty list comes from code in C, such as `pickle`. It takes what it wants
        # out of `sys.modules` then, where the name is the host's.
        if fromlist != [] and generation.may_own(top):
            found = _import_from_root(name, generation, fromlist or ())
            if found is not None:
                return found
        start = _neighbour(top, generation)
    if start is None:
        if taken and level == 0:
            _admit(name)
        try:
            found = replaced(name, globals, locals, fromlist, level)
        except ImportError:
            generation.external.discard(top)  # it may lie on `sys.path` later
            raise
        if level == 0:
            _note_outside(generation, name, top, fromlist)
        return found if type(found) is ModuleType else _resolved(found)
    return _import_own(generation, start, start + name[len(top) :], fromlist)


def _import_own(
    generation: Generation, start: str, fullname: str, fromlist: Sequence[str] | None
) -> Any:
    """Import *fullname*, whose first part leads to *start*, from *generation*."""
    if fromlist == [] and is_superseded(generation):  # as above
        from luminal.loading._proxies import importable

        return importable(generation, fullname)
    module = generation.require(fullname)
    if fromlist:
        if hasattr(module, "__path__"):
            _import_submodules(generation, module, fromlist)
        return module
    if generation.origin.owns(start):
        return generation.require(start)
    return generation.view(start)


def _note_outside(
    generation: Generation, name: str, top: str, fromlist: Sequence[str] | None
) -> None:
    """Note that code of *generation* has imported what is no photon's."""
    if top not in _NEVER_OURS:
        generation.note_outside(name, tuple(fromlist or ()))
    if top in awaited_imports:  # it can start what the photon is to own
        refresh()


def _import_from_root(
    name: str, generation: Generation, fromlist: Sequence[str]
) -> ModuleType | None:
    """Import *name* if it leads to what is the photons' own.

    That is a library that the unit owns, a directory of photons, or a declared root.
    """
    top = name.partition(".")[0]
    if top in generation.owned:
        module = generation.require(generation.owned_name(name))
        if not fromlist:
            return generation.require(generation.owned_name(top))
        if hasattr(module, "__path__"):
            _import_submodules(generation, module, fromlist)
        return module
    roots = generation.host.roots
    found = roots.find(name)
    if found is not None:
        root, fullname = found
        above = root.name.rpartition(".")[0]
        if above:
            import_module(above)  # the program's own packages
        module = generation.require_from(root.origin, fullname)
        if fromlist:
            if hasattr(module, "__path__"):
                _import_submodules(generation, module, fromlist)
            return module
        return generation.top_of(root, name)
    if fromlist and roots.has_part(top):
        inside = {each: roots.find(f"{name}.{each}") for each in fromlist}
        if any(inside.values()):
            others = [each for each in fromlist if not inside[each]]
            generation.note_outside(name, tuple(others))
            __import__(name, {}, {}, others or ["__name__"], 0)
            view = generation.view(name)
            for each, found in inside.items():
                if found is not None:
                    module = generation.require_from(found[0].origin, found[1])
                    setattr(view, each, module)
            return view
    return None


def _beyond(generation: Generation, globals: Any, level: int) -> str:  # noqa: A002
    """Return the package above a photons' directory that a relative import means.

    Modules of a directory have a name of its own at the top. Where the program imports
    the directory as ``bot.cogs``, ``from .. import x`` in it means ``bot``.
    """
    package: str = globals.get("__package__") or ""
    origin = generation.origin
    if package.count(".") >= level - 1 or not origin.owns(package):
        return ""
    outer = generation.host.roots.package_of(origin)
    known = f"{outer}{package[len(package.partition('.')[0]) :]}" if outer else ""
    if known.count(".") < level - 1:
        return ""
    return known.rsplit(".", level - 1)[0]


def _resolved(module: Any) -> Any:
    """Return a module of another unit as it is for the stage of the caller."""
    from luminal.loading._proxies import resolve

    return resolve(module, is_import=True)


def _neighbour(top: str, generation: Generation) -> str | None:
    """Return the full name of the module *top* beside the unit; None for no such."""
    start = generation.late_name(top)
    if start is None:
        start = generation.origin.neighbour(top, generation.unit)
    if start is None:
        start = _on_path(top, generation)
    if start is None and not generation.may_own(top):
        generation.external.add(top)
    return start


def _on_path(top: str, generation: Generation) -> str | None:
    """Return the full name of *top* in a folder of the unit that is on `sys.path`.

    As ``sys.path.insert(0, os.path.dirname(__file__))`` puts it there. Otherwise the
    module would be one for all generations.
    """
    known = generation.bare.get(top)
    if known is not None:
        return known
    for at, entry in enumerate(sys.path):
        package = generation.package_at(entry)
        if package is None:
            continue
        location = generation.locate(f"{package}.{top}")
        if location is None or location.kind == "namespace":
            continue
        # What the interpreter would find before stays what it is.
        if top in sys.modules or PathFinder.find_spec(top, sys.path[:at]):
            return None
        for world in _worlds:
            world.owned.add(top)
        return generation.bare.setdefault(top, f"{package}.{top}")
    return None


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
    generation: Generation,
    module: ModuleType,
    names: Sequence[str],
    *,
    is_star: bool = False,
) -> None:
    """Import the submodules among *names*, as ``from package import name`` does.

    Raises:
        ImportError: There is none of a name. Otherwise the interpreter would take what
            it finds in `sys.modules`, which may be of another generation.
    """
    for name in names:
        if name == "*":
            generation.show_all(module)
            listed = [n for n in getattr(module, "__all__", ()) if n != "*"]
            _import_submodules(generation, module, listed, is_star=True)
        elif not hasattr(module, name):
            fullname = f"{module.__name__}.{name}"
            try:
                found = generation.require(fullname)
            except ModuleNotFoundError as error:
                if error.name != fullname:
                    raise
                if is_star:  # the interpreter says what `__all__` names in vain
                    continue
                path = getattr(module, "__file__", None)
                raise ImportError(
                    f"cannot import name {name!r} from {module.__name__!r} "
                    f"({path or 'unknown location'})",
                    name=module.__name__,
                    path=path,
                ) from None
            else:
                setattr(module, name, found)


# What is staged by the calling thread or task. Threads that run a photon's steps are
# started in a copy of the context, so they stage what their caller does.
staging_context: ContextVar[Attempt | None] = ContextVar(
    "luminal_staging", default=None
)


def current_attempt() -> Attempt | None:
    """Return what the caller is part of the staging of, if anything.

    A task that a photon has started keeps the context of a stage that is over.
    """
    attempt = staging_context.get()
    return None if attempt is None or attempt.stage.is_over else attempt


# Replaced as a whole, so that a lookup needs no lock.
_worlds: tuple[World, ...] = ()
_lock = threading.Lock()


# What `multiprocessing` sends and receives goes through one of these. It imports them
# when it is used, and the module of its pickler before.
_SENDERS = frozenset({"multiprocessing.connection", "multiprocessing.spawn"})


def known_worlds() -> tuple[World, ...]:
    """Return the worlds that imports look in."""
    return _worlds


class PhotonFinder:
    """A meta path finder (PEP 451)."""

    @staticmethod
    def find_spec(
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,  # noqa: ARG004 - the protocol's
    ) -> ModuleSpec | None:
        """Return the specification of *fullname*, or None for no photon's module."""
        if fullname in _SENDERS:
            _patch_pickler()
        attempt = current_attempt()
        for resolver in _resolvers(attempt):
            generation = resolver.owner(fullname)
            if generation is not None:
                if generation.borrowed:
                    continue
                origin: Origin | None = generation.origin
            else:
                origin = resolver.origin(fullname)
            if origin is not None and attempt is None:
                old = _old_importer(fullname)
                if old is not None:
                    return _spec_for_old(fullname, old)
            location = None
            if generation is not None:
                location = generation.locate(fullname)
            elif origin is not None:
                location = origin.find(fullname)
            if origin is not None and location is not None:
                if generation is not None:
                    return _spec_of(fullname, location, generation)
                loader = _LateLoader(origin, location, resolver)
                return _spec(fullname, location, loader)
            if origin is not None:
                _refuse_sourceless(fullname, path or ())
                if path and _is_judged(fullname):
                    _JudgedFinder.stand_for(path)
        return None


def _resolvers(attempt: Attempt | None) -> tuple[Attempt | World, ...]:
    """Return what names are looked up in, for who stages *attempt*."""
    return _worlds if attempt is None else (attempt, *_worlds)


def _is_judged(fullname: str) -> bool:
    """Whether *fullname* is of a unit that runs only what was judged, or packed."""
    for resolver in _resolvers(current_attempt()):
        generation = resolver.owner(fullname)
        if generation is None:
            is_judged = (
                resolver.judge is not None and resolver.origin(fullname) is not None
            )
        else:
            is_whole = generation.snapshot is not None or generation.bundle is not None
            is_judged = is_whole and not generation.borrowed
        if is_judged:
            return True
    return False


class _JudgedFinder(FileFinder):
    """Finds no module in a folder of a judged unit: its generation knows them all.

    `PathFinder` asks it instead of looking at the disk, where a file may be by now that
    nobody has judged, or into a bundle, which `zipimport` reads as it is now. Finders
    that look elsewhere are asked as ever.
    """

    @classmethod
    def stand_for(cls, path: Sequence[str]) -> None:
        """Stand for the folders in *path*, or the places in an archive."""
        known = sys.path_importer_cache
        for entry in path:
            if type(known.get(entry)) is not cls:
                known[entry] = cls(entry)

    def find_spec(
        self, fullname: str, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return None, or what is there where no lock is in force any more."""
        if _is_judged(fullname):
            return None
        sys.path_importer_cache.pop(self.path, None)
        return PathFinder.find_spec(fullname, [self.path], target)


class _LateLoader:
    """Loads a module that no import statement of a photon has reached so far."""

    def __init__(
        self, origin: Origin, location: ModuleLocation, resolver: Attempt | World
    ) -> None:
        self.origin = origin
        self.location = location
        self.resolver = resolver

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module, executed."""
        _be_eager()
        unit = self.location.unit
        if not unit:
            return self.resolver.share(spec.name, self.origin)
        importer = importing_generation()
        generation = self.resolver.provide(unit, self.origin, user=importer)
        if importer is not None and importer is not generation:
            importer.need(unit)
        from luminal.loading._proxies import importable

        return importable(generation, spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its own specification back."""
        _give_loader_back(module)


def _give_loader_back(module: ModuleType) -> None:
    """Let the specification of a photon's module name its own loader."""
    loader = getattr(module, "__loader__", None)
    if module.__spec__ is not None and type(loader) is PhotonLoader:
        module.__spec__.loader = cast("Any", loader)


def _be_eager() -> None:
    """Let `importlib.util.LazyLoader` leave a photon's module alone, if that calls us.

    The module is executed by now. `LazyLoader` would do so when an attribute is asked
    for, and then refuse a module that is not the very object in `sys.modules`.
    """
    caller: Any = sys._getframe(2).f_locals.get("self")  # noqa: SLF001 - documented
    lazy = getattr(sys.modules.get("importlib.util"), "LazyLoader", ())
    if isinstance(caller, lazy):
        caller.exec_module = _give_loader_back


def importing_generation() -> Generation | None:
    """Return the generation whose code imports a module, if one does.

    It is on the stack; or the thread belongs to it: a pool's runs what it is given.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - documented
    while frame is not None:
        loader = frame.f_globals.get("__loader__")
        if type(loader) is PhotonLoader:
            return loader.generation
        frame = frame.f_back
    generation = cast("Generation | None", code_of_thread())
    return None if generation is None or generation.borrowed else generation


def is_superseded(generation: Generation) -> bool:
    """Whether *generation* has served, and serves no more."""
    return hasattr(generation.host, "refusal")


def _old_importer(fullname: str) -> Generation | None:
    """Return the generation that looks for *fullname*, if that serves no more."""
    importer = importing_generation()
    if importer is None or not is_superseded(importer):
        return None
    return importer if importer.origin.owns(fullname) else None


def _spec_for_old(fullname: str, old: Generation) -> ModuleSpec | None:
    """Return the specification of a module as *old*, which serves no more, knows it."""
    location = old.locate(fullname)
    if location is None:
        return None
    host: Any = old.host
    is_others = location.unit and location.unit != old.unit
    generation = host.provide(location.unit, old.origin) if is_others else old
    return _spec_of(fullname, location, generation)


def _spec_of(
    fullname: str, location: ModuleLocation, generation: Generation
) -> ModuleSpec:
    file = location.path
    if location.kind == "namespace":
        # Resources are looked for beside the file of a package.
        file = os.path.join(file, "__init__.py")
    return _spec(fullname, location, PhotonLoader(fullname, file, generation))


def _spec(fullname: str, location: ModuleLocation, loader: Any) -> ModuleSpec:
    is_package = location.directory is not None
    spec = ModuleSpec(fullname, loader, origin=location.path, is_package=is_package)
    if location.directory is not None:
        spec.submodule_search_locations = [location.directory]
    return spec


def _refuse_sourceless(fullname: str, path: Sequence[str]) -> None:
    """Refuse a module of which there is only a ``.pyc``: other finders would run it.

    Raises:
        ModuleNotFoundError: It is one.
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


class _Calls(threading.local):
    """The imports that a thread is making by way of another one's function."""

    def __init__(self) -> None:
        self.under_way: list[tuple[object, ...]] = []


def _end_of_circle(replaced: _Import, usual: _Import) -> _Import:
    """Return *replaced*, but *usual* is called where that calls ours in its turn.

    What patches ``__import__`` for a while, and again later, takes what it finds there
    for what was there before itself. If ours was put over it in the meantime, that is
    ours.

    Args:
        replaced: What ours is put over.
        usual: The interpreter's own.
    """
    if replaced is usual:
        return replaced
    calls = _Calls()

    def call(name: str, *args: Any) -> Any:
        # The globals or the package, in which the name is looked for.
        key = name, id(args[0]) if args else 0
        if key in calls.under_way:
            return usual(name, *args)
        calls.under_way.append(key)
        try:
            return replaced(name, *args)
        finally:
            calls.under_way.remove(key)

    return call


@attrs.define
class _Place:
    """A function of the interpreter that ours stands for while photons are loaded.

    Args:
        owner: The module that holds it.
        name: Its name there.
        make: Returns ours, which calls the one that is given.
        usual: The interpreter's own.
    """

    owner: Any
    name: str
    make: Callable[[_Import], _Import]
    usual: _Import
    # What is there now on our account, and what it replaced.
    _ours: tuple[_Import, _Import] | None = None
    # The same of all that may come back.
    _made: weakref.WeakKeyDictionary[Any, _Import] = attrs.Factory(
        weakref.WeakKeyDictionary
    )

    @property
    def is_taken(self) -> bool:
        """Whether ours is there."""
        return (
            self._ours is not None and getattr(self.owner, self.name) is self._ours[0]
        )

    def take(self) -> None:
        """Put ours there, over what anybody else has put there since."""
        present = getattr(self.owner, self.name)
        is_function = type(present) is FunctionType  # as ours are
        replaced = self._made.get(present) if is_function else None
        if replaced is not None:  # somebody has put an earlier one of ours back
            self._ours = present, replaced
            return
        ours = self.make(_end_of_circle(present, self.usual))
        self._made[ours] = present
        self._ours = ours, present
        setattr(self.owner, self.name, ours)

    def leave(self) -> None:
        """Take ours away. Above or below another one's it stays, and passes all on.

        The other one may have ended while ours was over it, so it is not put back.
        """
        if self._ours is not None and self._ours[1] is self.usual:
            if self.is_taken:
                setattr(self.owner, self.name, self.usual)
            self._ours = None


def _usual_import() -> _Import:
    """Return the interpreter's own, also where somebody has replaced it by now."""
    present = builtins.__import__
    is_own = type(present) is BuiltinFunctionType
    return present if is_own else importlib.__import__


_bootstrap: Any = importlib._bootstrap  # noqa: SLF001 - it has no other name
_gcd_import: _Import = vars(_bootstrap)["_gcd_import"]
_places = (
    _Place(builtins, "__import__", _make_import, _usual_import()),
    # What `importlib.import_module` calls, whoever has it under which name.
    _Place(_bootstrap, "_gcd_import", _make_gcd_import, _gcd_import),
    _Place(importlib, "reload", _make_reload, importlib.reload),
)


def _patch_pickler() -> None:
    """Let `multiprocessing` send photons' functions, once it has been imported."""
    if "multiprocessing.reduction" in sys.modules:
        from luminal.loading._sending import patch_pickler

        patch_pickler()


def add_to_finder(world: World) -> None:
    """Let imports find *world*; the first one puts our finder before all others.

    Import statements as well: where the host has put a function of its own over ours,
    ours is put over that one. It is a new one each time, so that none calls itself.
    """
    global _worlds
    statements, modules, reloads = _places
    is_on_top = statements.is_taken and modules.is_taken and reloads.is_taken
    if world in _worlds and is_on_top and PhotonFinder in sys.meta_path:
        return
    with _lock:
        if world not in _worlds:
            _worlds = (*_worlds, world)
        if not any(finder is PhotonFinder for finder in sys.meta_path):
            sys.meta_path.insert(0, PhotonFinder)
        if world.judge is not None:
            from luminal.loading._judged_path import path_hook

            if path_hook not in sys.path_hooks:
                sys.path_hooks.insert(0, path_hook)
        record()
        for place in _places:
            place.take()
    if any(name in sys.modules for name in _SENDERS):
        _patch_pickler()


def remove_from_finder(world: World) -> None:
    """Look in *world* no more; after the last one our functions are taken away.

    Where somebody else has put another ``__import__`` over or below ours, ours stays:
    it passes everything on.
    """
    global _worlds
    with _lock:
        _worlds = tuple(known for known in _worlds if known is not world)
        if _worlds:
            return
        stop_recording()
        sys.meta_path[:] = [f for f in sys.meta_path if f is not PhotonFinder]
        for place in _places:
            place.leave()
    if "luminal.loading._judged_path" in sys.modules:
        from luminal.loading._judged_path import path_hook

        sys.path_hooks[:] = [hook for hook in sys.path_hooks if hook is not path_hook]
    if "luminal.loading._sending" in sys.modules:
        from luminal.loading._sending import restore_pickler

        restore_pickler()
