"""`World`: the generations of one loader that serve.

It replaces them with one store, and keeps right what follows from them: `sys.modules`,
the lines in tracebacks, and which unit imports from which.
"""

# ruff: noqa: SLF001 - `Publication` is a part of `World`
from __future__ import annotations

import os
import sys
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

from luminal._plain import own_values_of
from luminal.loading._importer import remove_from_finder
from luminal.loading._late import read_unit
from luminal.loading._lines import end_lines, show_late_lines, show_lines
from luminal.loading._outside import Outside, copies_of_host
from luminal.loading._roots import Roots
from luminal.loading._source import Pinned, read_source
from luminal.loading._superseded import Superseded
from luminal.loading._workers import WorkerThread
from luminal.supervise import may_register, take_back

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping
    from collections.abc import Set as AbstractSet
    from types import CodeType

    from luminal.loading._generation import Generation
    from luminal.loading._origin import Origin
    from luminal.loading._source import CodeCache, SourceFile
    from luminal.model import Problem
    from luminal.supervise import Leftover
    from luminal.trust import Judge

__all__ = [
    "Edges",
    "Publication",
    "World",
    "drop_empty_namespaces",
    "forget_registrations",
    "generation_of",
    "is_same",
    "namespaces_of",
    "public_namespace",
    "withdraw",
]


class Publication:
    """Lets some generations serve, in the place of those before.

    It is a context manager: what is to be stored is collected when its block begins, so
    that to store it takes some microseconds. If the block ends without calling
    `commit`, everything stays as it was.

    Args:
        world: Where they are to serve.
        staged: Unit → its new generation.
        replaced: Units that serve no more in any case. One of which *staged* has no
            generation is a helper that no new code has imported.
        release: Called once they serve.
    """

    def __init__(
        self,
        world: World,
        staged: Mapping[str, Generation],
        replaced: Iterable[str] = (),
        release: Callable[[], object] = int,
    ) -> None:
        self._world = world
        self._staged = staged
        self._replaced = replaced
        self._release = release
        self._is_done = False
        # Those that have modules of their own.
        self._generations: list[Generation] = []
        # Full name → module; and the full names that only those before had.
        self._modules: dict[str, ModuleType] = {}
        self._gone: list[str] = []
        # Full name and root module of those that nothing replaces.
        self._lost: list[tuple[str, ModuleType]] = []
        # (package, attribute, root module to set it to).
        self._leaves: list[tuple[ModuleType, str, ModuleType]] = []
        # What serves no more, and what it may import from then on.
        self._ended: list[Superseded] = []

    def __enter__(self) -> Self:
        self._world._commit_lock.acquire()
        try:
            return self._collected()
        except BaseException:
            self._world._commit_lock.release()
            raise

    def _collected(self) -> Self:
        """Collect what is to be stored; return this."""
        world, staged = self._world, self._staged
        before = world.generations
        self._number = world._commits = world._commits + 1
        self._after = after = {**before, **staged}
        self._origins = {**world._origins, **_tops(staged.values())}
        for unit in self._replaced:
            if unit in before and unit not in staged:
                old = after.pop(unit)
                self._ended.append(Superseded(world, old, self._number, before))
                if not old.borrowed:  # else they are the host's as well
                    self._gone.extend(old.modules)
                    self._lost.extend(old.roots.items())
        for unit, generation in staged.items():
            ended = before.get(unit)
            if ended is not None:
                self._ended.append(Superseded(world, ended, self._number, before))
            if generation.borrowed:
                continue
            self._generations.append(generation)
            modules = generation.modules
            if ended is not None:
                self._gone.extend(ended.modules.keys() - modules.keys())
            self._modules.update(modules)
            for fullname in generation.origin.roots_of(unit):
                parent, _, leaf = fullname.rpartition(".")
                if parent and fullname in modules:
                    above = public_namespace(parent, generation.origin)
                    self._leaves.append((above, leaf, modules[fullname]))
        return self

    def commit(self) -> None:
        """Let them serve."""
        world = self._world
        world.generations, world._origins = self._after, self._origins
        for old in self._ended:
            old.generation.host = old
            world.ending[old.generation.unit] = old.generation
        for generation in self._staged.values():
            generation.host, generation.commit = world, self._number
        for fullname in self._gone:
            sys.modules.pop(fullname, None)
        for fullname, root in self._lost:
            _take_out(fullname, root)
        sys.modules.update(self._modules)
        for above, leaf, root in self._leaves:
            setattr(above, leaf, root)
        self._is_done = True
        self._release()

    def __exit__(self, *_: object) -> None:
        world = self._world
        world._commit_lock.release()
        if not self._is_done:
            return
        for old in self._ended:
            world.edges.drop(old.generation)
            end_lines(old.generation)
        for unit, generation in self._staged.items():
            world.numbers[unit] = max(generation.number, world.numbers.get(unit, 0))
            world.edges.add(generation)
        for generation in self._generations:
            show_lines(generation)
            if generation.stand_ins:  # it serves again
                _end_stand_ins(generation)
        if self._ended:
            world.worker.start()


def public_namespace(fullname: str, origin: Origin) -> ModuleType:
    """Return the package without code *fullname* of `sys.modules`, made if missing."""
    module = sys.modules.get(fullname)
    if module is None:
        location = origin.find(fullname)
        from luminal.loading._proxies import shared_namespace

        path = location.path if location is not None else ""
        module = shared_namespace(fullname, path)
        sys.modules[fullname] = module
        above, _, leaf = fullname.rpartition(".")
        if above:
            setattr(public_namespace(above, origin), leaf, module)
    return module


def withdraw(generation: Generation) -> None:
    """Take the modules of *generation* out of `sys.modules` again."""
    for fullname, module in generation.modules.items():
        if sys.modules.get(fullname) is module:
            sys.modules.pop(fullname, None)  # it may have put None there
    roots = generation.roots
    inside = tuple([f"{root}." for root in roots])
    for fullname in generation.views:
        if fullname.startswith(inside):
            sys.modules.pop(fullname, None)
    for root, module in roots.items():
        _take_out(root, module)
    end_lines(generation)


def _take_out(fullname: str, module: ModuleType) -> None:
    """Take *module* out of the package that it is an attribute of."""
    from luminal.loading._proxies import stands_for

    parent, _, leaf = fullname.rpartition(".")
    above = sys.modules.get(parent)
    if above is not None and stands_for(vars(above).get(leaf), module):
        delattr(above, leaf)


def drop_empty_namespaces(
    retired: Iterable[Generation], serving: Mapping[str, Generation]
) -> None:
    """Remove the packages without code above *retired* that are empty now."""
    empty: set[str] = set()
    for generation in retired:
        above = generation.unit.rpartition(".")[0]
        while above and above not in empty and generation.origin.owns(above):
            empty.add(above)
            above = above.rpartition(".")[0]
    for unit in serving if empty else ():
        above = unit.rpartition(".")[0]
        while above:
            empty.discard(above)
            above = above.rpartition(".")[0]
    # Below them are only packages without code.
    for name in [n for n in list(sys.modules) if _is_below(n, empty)] if empty else ():
        del sys.modules[name]
        parent, _, leaf = name.rpartition(".")
        if parent in sys.modules:
            vars(sys.modules[parent]).pop(leaf, None)


def _is_below(fullname: str, packages: Container[str]) -> bool:
    """Whether *fullname* is one of *packages*, or in one."""
    while fullname and fullname not in packages:
        fullname = fullname.rpartition(".")[0]
    return bool(fullname)


def _folders(generation: Generation) -> AbstractSet[str]:
    """Return where the data files are that *generation* declares."""
    return {os.path.dirname(location) for location, _ in tuple(generation.patterns)}


class Edges:
    """Which units import from a unit, and which were read from a file.

    An edge that is gone may still be named. `World` checks each one with the generation
    that serves.

    Attributes:
        users: Unit → units that import from it, or did.
        readers: Path → units with a module that was read from it, or had one.
        declarers: Folder → units that declare data files in or below it, or did.
    """

    def __init__(self) -> None:
        self.users: dict[str, set[str]] = {}
        self.readers: dict[str, set[str]] = {}
        self.declarers: dict[str, set[str]] = {}

    def add(self, generation: Generation) -> None:
        """Add all edges of *generation*."""
        unit = generation.unit
        # Copies: a late import in another thread may add to them.
        for needed in tuple(generation.needs):
            self.users.setdefault(needed, set()).add(unit)
        for needed in tuple(generation.late_units):
            self.users.setdefault(needed, set()).add(unit)
        for path in tuple(generation.files):
            self.readers.setdefault(path, set()).add(unit)
        for folder in _folders(generation) if generation.patterns else ():
            self.declarers.setdefault(folder, set()).add(unit)

    def drop(self, generation: Generation) -> None:
        """Forget the edges of *generation*, which serves no more."""
        unit = generation.unit
        edges: list[tuple[Iterable[str], dict[str, set[str]]]] = [
            (generation.needs, self.users),
            (generation.late_units, self.users),
            (generation.files, self.readers),
        ]
        if generation.patterns:
            edges.append((_folders(generation), self.declarers))
        for names, backwards in edges:
            for name in tuple(names):
                units = backwards.get(name, set())
                units.discard(unit)
                if not units:
                    backwards.pop(name, None)


class World:
    """The serving generations of one loader.

    Args:
        codes: Compiles source, and keeps the code.

    Attributes:
        generations: Unit → its serving generation. Replaced as a whole, so that a
            reader needs no lock.
        numbers: Unit → number of its latest generation, also when that is retired.
        edges: Which unit imports from which, and reads which file.
        worker: The thread on which reloads are staged and started.
        roots: The directories whose modules are the photons' own.
        outside: What photons have imported of others.
        owned: Names of modules of libraries that some units own, or did.
        ending: Unit → the generation before, until that is retired.
        judge: Decides what may run; None where no lock is in force.
        examine: Called with a generation whose files have been read, before its first
            line runs, with the one that serves, and with whether it is of a swap. What
            it raises rejects it. None, the default, costs nothing.
    """

    def __init__(self, codes: CodeCache) -> None:
        self.codes = codes
        self.generations: Mapping[str, Generation] = {}
        self.numbers: dict[str, int] = {}
        self.edges: Edges = Edges()
        self.worker: WorkerThread = WorkerThread()
        self.roots: Roots = Roots(self)
        self.outside: Outside = Outside()
        self.owned: set[str] = set()
        self.ending: dict[str, Generation] = {}
        self.judge: Judge | None = None
        self.examine: Callable[[Generation, Generation | None, bool], object] | None = (
            None
        )
        # One transaction at a time; re-entrant, for an import that asks for another.
        self.lock: threading.RLock = threading.RLock()
        # First part of a name → where names that begin so are looked for.
        self._origins: Mapping[str, Origin] = {}
        # Held while `generations` is replaced.
        self._commit_lock: threading.Lock = threading.Lock()
        # How often what serves has been replaced.
        self._commits: int = 0

    def __repr__(self) -> str:
        return f"<World generations={len(self.generations)}>"

    def needs(self, unit: str) -> AbstractSet[str]:
        """Return the units that *unit* imports from; none where it does not serve.

        What one of its functions will import counts as well, if that is what serves.
        """
        serving = self.generations
        generation = serving.get(unit)
        if generation is None:
            return frozenset()
        if not generation.late_units:
            return generation.needs
        late = {
            needed
            for needed, files in tuple(generation.late_units.items())
            if needed in serving and is_same(files.sources, serving[needed].sources)
        }
        return generation.needs | late

    def may_own(self, top: str) -> bool:
        """Whether names that begin with *top* may lead to what is photons' own."""
        return top in self.owned or self.roots.may_hold(top)

    def may_know(self, top: str) -> bool:
        """Whether names that begin with *top* may lead to modules of photons."""
        return top in self._origins or self.may_own(top)

    def with_needs(self, units: Iterable[str]) -> list[Generation]:
        """Return what serves of *units* and of all that they import from.

        Args:
            units: Units.
        """
        serving = self.generations
        found: dict[str, Generation] = {}
        queue = list(units)
        while queue:
            unit = queue.pop()
            generation = serving.get(unit)
            if generation is not None and unit not in found:
                found[unit] = generation
                queue.extend(tuple(generation.needs))
        return list(found.values())

    def copies_of_host(self, unit: str) -> tuple[Problem, ...]:
        """Return which modules that *unit* uses the host has imported for itself."""
        if not self.roots.are_imported():
            return ()
        return copies_of_host(self.with_needs([unit]), self.roots)

    def users(self, unit: str) -> set[str]:
        """Return the units that import from *unit*."""
        known = tuple(self.edges.users.get(unit, ()))
        if not known:
            return set()
        return {user for user in known if unit in self.needs(user)}

    def readers(self, path: str) -> set[str]:
        """Return the units with a module that was read from the file at *path*."""
        serving = self.generations
        known = tuple(self.edges.readers.get(path, ()))
        return {u for u in known if u in serving and serving[u].reads(path)}

    def declarers(self, path: str) -> set[str]:
        """Return the units that declare the file at *path*, and have not read it."""
        if not self.edges.declarers:
            return set()
        serving, known = self.generations, set[str]()
        folder, above = path, os.path.dirname(path)
        while folder != above:
            folder, above = above, os.path.dirname(above)
            known |= self.edges.declarers.get(folder, set())
        found = {serving[unit] for unit in known if unit in serving}
        return {g.unit for g in found if not g.reads(path) and g.matches(path)}

    def imports_changed(self, generation: Generation) -> None:
        """Note what *generation* has imported late, or will."""
        if self.generations.get(generation.unit) is generation:
            self.edges.add(generation)
            self.outside.note([generation])

    def data_read(self, generation: Generation, path: str) -> None:
        """Note who has read a data file, if that is what serves."""
        if self.generations.get(generation.unit) is generation:
            self.edges.readers.setdefault(path, set()).add(generation.unit)

    def owner(self, fullname: str) -> Generation | None:
        """Return the serving generation that *fullname* belongs to, or None."""
        unit = fullname
        while unit:
            generation = self.generations.get(unit)
            if generation is not None:
                return generation
            unit = unit.rpartition(".")[0]
        origin = self.origin(fullname)
        return self.generations.get(origin.unit_of(fullname)) if origin else None

    def origin(self, fullname: str) -> Origin | None:
        """Return the origin that *fullname* belongs to, or None."""
        return self._origins.get(fullname.partition(".")[0])

    def share(self, fullname: str, origin: Origin) -> ModuleType:
        """Return the package without code *fullname*; see `public_namespace`."""
        return public_namespace(fullname, origin)

    def provide(
        self, unit: str, origin: Origin, *, user: Generation | None = None
    ) -> Generation:
        """Return the serving generation of *unit*; where there is none, load it.

        It does not serve where *user* has been replaced meanwhile.
        """
        generation = self.generations.get(unit)
        if generation is not None:
            return generation
        from luminal.loading._staging import Stage

        with self.lock:
            ahead = user.late_units if user is not None else {}
            stage = Stage(self, pinned=dict(ahead))
            with stage.attempt() as attempt:
                generation = attempt.provide(unit, origin)
            stage.commit(user)
        return generation

    def expose(self, fullname: str, module: ModuleType, owner: Generation) -> None:
        """Put a module that is imported late into `sys.modules`, if *owner* serves."""
        if self.generations.get(owner.unit) is not owner:
            return
        from luminal.loading._proxies import ModuleProxy, is_stand_in, serve, stand_in

        old = self.ending.get(owner.unit)
        present = sys.modules.get(fullname)
        if is_stand_in(present):
            serve(present, module)
        elif old is None:
            sys.modules[fullname] = module
        else:  # its calls, which go on, do not find this one
            stand_in(ModuleProxy(fullname, owner.unit, module, None), old)

    def executed(
        self, fullname: str, module: ModuleType, owner: Generation
    ) -> ModuleType:
        """Return what a module that was imported late has put into its place."""
        from luminal.loading._proxies import is_stand_in, serve_below

        present = sys.modules.get(fullname)
        if present is None or self.generations.get(owner.unit) is not owner:
            return module
        if is_stand_in(present):
            return module
        old = self.ending.get(owner.unit)
        if old is not None:  # calls of it do not find this one
            serve_below(old, fullname, present)
        return present

    def take_texts(
        self, generation: Generation, texts: Mapping[str, SourceFile]
    ) -> None:
        """Let a generation that serves go on with other texts of the same code.

        Args:
            generation: It.
            texts: Path → a text that compiles to the code of the file that it has read.
        """
        generation.take_texts(texts)
        show_lines(generation)

    def executing(self, generation: Generation, source: SourceFile) -> None:
        """Let tracebacks show the lines of a module that is imported late."""
        show_late_lines(generation, source, is_current=True)

    def withdraw(self, fullname: str, module: ModuleType) -> None:
        """Remove the module of a late import that failed."""
        from luminal.loading._proxies import plain

        if plain(sys.modules.get(fullname)) is module:
            del sys.modules[fullname]

    def read(self, path: str) -> SourceFile:
        """Return the bytes of the file at *path*.

        Raises:
            PhotonUnreadableError: It cannot be read.
        """
        return read_source(path)

    def read_ahead(self, unit: str, origin: Origin) -> Pinned | None:
        """Return the files of *unit*, for imports that functions make later."""
        generation = self.generations.get(unit)
        if generation is not None:
            return Pinned.of(generation)
        location = origin.find(unit)
        return read_unit(unit, location, self.read) if location is not None else None

    def compile(self, source: SourceFile, *, is_new: bool = False) -> CodeType:
        """Compile *source*, or return what it compiled to before."""
        return self.codes.compile(source, is_new=is_new)

    def accept(self, staged: Mapping[str, Generation]) -> None:
        """Let *staged* serve from now on, each instead of the one before it."""
        with Publication(self, staged) as publication:
            publication.commit()

    def retire(
        self, units: Iterable[str], is_wanted: Callable[[str], bool]
    ) -> list[Generation]:
        """Forget those of *units* that are not needed, and what only they needed.

        Args:
            units: Those that may not be needed any more.
            is_wanted: Whether a unit is needed although no other imports from it.

        Returns:
            The retired generations.
        """
        with self._commit_lock:
            gone = self._unneeded(units, is_wanted)
            retired = [self.generations[unit] for unit in gone]
            if retired:
                self._commits += 1
                for old in retired:
                    old.host = Superseded(self, old, self._commits, self.generations)
                serving = dict(self.generations)
                for unit in gone:
                    del serving[unit]
                self.generations = serving
                self._origins = _tops(serving.values())
        for generation in retired:
            self.edges.drop(generation)
            if not generation.borrowed:
                withdraw(generation)
        if retired:
            forget_registrations(retired)
        drop_empty_namespaces(retired, self.generations)
        if not self.generations:
            remove_from_finder(self)
            self.worker.stop()
        return retired

    def _unneeded(
        self, units: Iterable[str], is_wanted: Callable[[str], bool]
    ) -> dict[str, None]:
        found: dict[str, None] = {}
        queue = [unit for unit in units if unit in self.generations]
        while queue:
            unit = queue.pop()
            if unit in found or unit not in self.generations:
                continue
            # With all that imports from it: helpers may import each other.
            group = {unit}
            above = [unit]
            while above and not is_wanted(above[-1]):
                new = self.users(above.pop()) - group - found.keys()
                group |= new
                above.extend(new)
            if not above:
                found.update(dict.fromkeys(sorted(group)))
                queue.extend(need for member in group for need in self.needs(member))
        return found


def is_same(read: Mapping[str, SourceFile], serves: Mapping[str, SourceFile]) -> bool:
    """Whether files that were read are what serves."""
    known = {path: source.checksum for path, source in tuple(serves.items())}
    return all(known.get(path) == source.checksum for path, source in read.items())


def _tops(generations: Iterable[Generation]) -> dict[str, Origin]:
    tops: dict[str, Origin] = {}
    seen = set()
    for generation in generations:
        origin = generation.origin
        # Most of a thousand units have one origin.
        if not generation.borrowed and id(origin) not in seen:
            seen.add(id(origin))
            tops.update(dict.fromkeys(origin.tops, origin))
    return tops


def forget_registrations(ended: Iterable[Generation]) -> list[Leftover]:
    """Let the standard library keep nothing of the generations in *ended*.

    What their code has registered is taken back. The caches of `typing`, which keep
    ``Optional[C]`` and ``list[C]`` of a photon's class for good, only save time, so
    they are emptied, as CPython's own tests do.

    Args:
        ended: They have ended, or never served.

    Returns:
        What could not be taken back.
    """
    typing: Any = sys.modules.get("typing")
    for clean in getattr(typing, "_cleanups", ()):
        clean()
    # Of `inspect.getattr_static`; it keeps classes in early releases of CPython 3.12.
    shadowed: Any = getattr(
        sys.modules.get("inspect"), "_shadowed_dict_from_mro_tuple", None
    )
    if shadowed is not None:
        shadowed.cache_clear()
    registry = getattr(typing, "_overload_registry", {})
    own = [generation for generation in ended if not generation.borrowed]
    for generation in own:
        _end_stand_ins(generation)
        if registry:
            forget_overloads(registry, generation)
    texts = [s.data for each in own for s in list(each.sources.values())]
    is_searched = any(map(may_register, texts))
    return take_back(namespaces_of(own), is_searched=is_searched)


def _end_stand_ins(generation: Generation) -> None:
    host = generation.host
    if type(host) is Superseded and host.is_ending:
        del host.world.ending[generation.unit]
    if generation.stand_ins:
        from luminal.loading._proxies import end_stand_ins

        end_stand_ins(generation)


def namespaces_of(generations: Iterable[Generation]) -> list[dict[str, Any]]:
    """Return the dictionaries of the modules of *generations*."""
    return [
        # Also of one that is hidden, or whose class hides it.
        module.__dict__ if type(module) is ModuleType else own_values_of(module)
        for generation in generations
        for module in list(generation.modules.values())
        if issubclass(type(module), ModuleType)
    ]


def forget_overloads(registry: Any, generation: Generation) -> None:
    """Take the overloads of *generation* out of the *registry* of `typing`.

    Args:
        registry: Module name → qualified name → line → function. The next generation
            has the same names, and mostly other lines.
        generation: It has ended, or never served.
    """
    for fullname in generation.locations.keys() & registry.keys():
        functions = registry[fullname]
        for name, by_line in list(functions.items()):
            for line, function in list(by_line.items()):
                if generation_of(function) is generation:
                    del by_line[line]
            if not by_line:
                del functions[name]
        if not functions:
            del registry[fullname]


def generation_of(function: Any) -> Generation | None:
    """Return the generation that has defined *function*, or None.

    Args:
        function: A function, or what decorators have made of one.
    """
    while inner := getattr(
        function, "__wrapped__", getattr(function, "__func__", None)
    ):
        function = inner
    loader = getattr(function, "__globals__", {}).get("__loader__")
    generation: Generation | None = getattr(loader, "generation", None)
    return generation
