"""`Generation`: the modules of one version of a unit, executed beside the running one.

A generation keeps a table of its own modules. Imports in its code look there first,
late ones inside functions too. So old code goes on finding old modules, and new code
finds new ones. When a generation becomes visible is decided in
`luminal.loading._staging`.
"""

from __future__ import annotations

import itertools
import os
from _thread import RLock
from functools import partial
from importlib import import_module
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol
from weakref import ref

import attrs

from luminal._phases import enter, phase
from luminal.errors import PhotonVerificationError
from luminal.loading._importer import PhotonLoader, is_superseded
from luminal.loading._late import read_late_units
from luminal.loading._origin import ModuleLocation, find_below
from luminal.loading._source import SourceFile
from luminal.supervise import take_back

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from types import CodeType

    from luminal.loading._judging import Snapshot
    from luminal.loading._late import Directory
    from luminal.loading._origin import Origin
    from luminal.loading._roots import Root, Roots
    from luminal.loading._source import Pinned
    from luminal.model import Problem
    from luminal.supervise import Scope
    from luminal.trust import Bundle, Judge, Verdict

__all__ = [
    "Generation",
    "Host",
    "Key",
    "known_generation",
    "known_generations",
    "namespace",
]

Key = tuple[int, int]
"""Process that made a generation, and which one of that process it is."""

_known: dict[Key, ref[Generation]] = {}
"""Key → generation, of all that are alive in this process."""

_numbers = itertools.count(1)

_INIT = os.sep + "__init__.py"


def known_generation(key: Key) -> Generation | None:
    """Return the generation of that key, if it is alive in this process."""
    known = _known.get(key)
    return known() if known is not None else None


def known_generations() -> list[Generation]:
    """Return all that are alive in this process."""
    return [one for known in list(_known.values()) if (one := known()) is not None]


def namespace(fullname: str, directory: str) -> ModuleType:
    """Return *directory* as a package without code; `sys.modules` is left alone."""
    module = ModuleType(fullname)
    spec = ModuleSpec(fullname, None, is_package=True)
    spec.submodule_search_locations = [directory] if directory else []
    module.__spec__ = spec
    module.__path__ = spec.submodule_search_locations
    module.__package__ = fullname
    return module


def _executed(module: ModuleType) -> ModuleType:
    """Return *module*; where another host's generation executes it, wait for that."""
    loader = getattr(module, "__loader__", None)
    if type(loader) is PhotonLoader:
        return loader.generation.require(module.__name__)
    return module


def _run(code: CodeType, names: dict[str, Any]) -> Generator[None, None, None]:
    """Execute *code*; until the generator is resumed, no caller of its frame is known.

    An exception that a module keeps leads to its frame, and from there to that of each
    caller, with all local variables: to the generation that is replaced, for one.
    """
    exec(code, names)  # noqa: S102 - running photons is the purpose
    yield


class Host(Protocol):
    """Where a generation imports from.

    The attempt that stages it, then the world in which it serves, and at last what it
    may still import when another one serves.
    """

    @property
    def roots(self) -> Roots:
        """The directories whose modules are the photons' own."""

    @property
    def judge(self) -> Judge | None:
        """What decides what may run; None where no lock is in force."""

    def provide(
        self, unit: str, origin: Origin, *, user: Generation | None = None
    ) -> Generation:
        """Return the generation of *unit* from which this one is to import.

        Args:
            unit: Its full name.
            origin: Where its modules are looked for.
            user: The one that is to import from it. Where it does not serve yet, it is
                made of what was read ahead for that one.
        """

    def expose(self, fullname: str, module: ModuleType, owner: Generation) -> None:
        """Let *module* be found in `sys.modules`, where *owner* is to be found there.

        Args:
            fullname: Its full name.
            module: The module, before it is executed.
            owner: The generation that it is of.
        """

    def executing(self, generation: Generation, source: SourceFile) -> None:
        """Note that code of *generation* is about to be executed.

        Args:
            generation: Tracebacks show its lines from now on, if it serves.
            source: The text. What it may change in the interpreter is noted before.
        """

    def withdraw(self, fullname: str, module: ModuleType) -> None:
        """Undo what `expose` did: its code has raised."""

    def executed(
        self, fullname: str, module: ModuleType, owner: Generation
    ) -> ModuleType:
        """Return what stands for *module* now that its code has been executed.

        A module may put another object into its own place in `sys.modules`.
        """

    def read(self, path: str) -> SourceFile:
        """Return the bytes of the file at *path*."""

    def read_ahead(self, unit: str, origin: Origin) -> Pinned | None:
        """Return the files of *unit*, for imports that functions make later."""

    def compile(self, source: SourceFile) -> CodeType:
        """Compile *source*, or return what it compiled to before."""

    def imports_changed(self, generation: Generation) -> None:
        """Note that *generation* has imported from more units, or read more modules."""

    def data_read(self, generation: Generation, path: str) -> None:
        """Note that *generation* has read one more data file."""


@attrs.define(eq=False, repr=False, slots=False)
class Generation:
    """The modules of one unit, of one version of its files.

    Attributes:
        unit: Full name of the root module.
        origin: Where names are looked for.
        number: Counts the generations of the unit, from 1.
        host: Where it gets other units from: the attempt that stages it, later the
            world that it is committed to. Set by `luminal.loading._staging`.
        modules: Full name → module; also those that execute now, for circular imports.
        views: Full name → this generation's own view of a package without code,
            with the modules in it that it sees.
        sources: Path → the bytes that are compiled; also of modules of the unit that
            nothing has imported so far.
        locations: Full name → where its module was found.
        data: Path → the data files that it has read or declares; of large ones only
            the digest.
        patterns: File of a photon, and a pattern of data files that it declares.
        late_units: Other unit → its files, as an import statement in one of the
            functions is to find them.
        photons: Names of the photons that were chosen from it.
        commit: Number of the commit that let it serve.
        owned: Name of a module of a library that the unit owns → directory it lies in.
        seen: The directory that it was read from, as it was then.
        bundle: What it was loaded from; None where its files lie on the disk.
        needs: Units that this one imported from.
        borrowed: The host had imported the root module before; its modules are the
            interpreter's own and cannot be replaced.
        has_extension: A compiled extension is among the modules.
        proxies: Those that its code may have weak references to.
        stand_ins: Proxies that are in `sys.modules` until it is retired.
        key: No other generation has it, in this process or in one that it is sent to.
        packed: How it was last sent to another process, and of what that was made.
        scopes: Owners of what its photons start, see `luminal.supervise`.
        snapshot: All files of the unit as they were judged; None where no lock names
            it. Nothing else of it is executed or read.
        verdict: What the lock says of it; None where none is in force.
        news: What its text says that it does and that of the generation before did
            not, where the host asks for it.
    """

    unit: str
    origin: Origin
    number: int
    host: Host
    modules: dict[str, ModuleType] = attrs.Factory(dict)
    views: dict[str, ModuleType] = attrs.Factory(dict)
    sources: dict[str, SourceFile] = attrs.Factory(dict)
    locations: dict[str, ModuleLocation] = attrs.Factory(dict)
    data: dict[str, SourceFile] = attrs.Factory(dict)
    patterns: set[tuple[str, str]] = attrs.Factory(set)
    late_units: dict[str, Pinned] = attrs.Factory(dict)
    photons: tuple[str, ...] = ()
    commit: int = 0
    owned: Mapping[str, str] = attrs.Factory(dict)
    seen: Directory | None = None
    bundle: Bundle | None = None
    needs: set[str] = attrs.Factory(set)
    borrowed: bool = False
    has_extension: bool = False
    stand_ins: list[Any] = attrs.Factory(list)
    proxies: list[Any] = attrs.Factory(list)
    key: Key = attrs.field(init=False)
    packed: tuple[object, bytes] | None = None
    scopes: tuple[Scope, ...] = ()
    snapshot: Snapshot | None = None
    verdict: Verdict | None = None
    news: tuple[Problem, ...] = ()
    # Bytes of data files that it keeps in memory.
    _kept_bytes: int = attrs.field(default=0, init=False)
    # Bare names that were looked for beside the unit and are not there.
    external: set[str] = attrs.Factory(set)
    # What it has imported of others: (module, names from it).
    outside: set[tuple[str, tuple[str, ...]]] = attrs.Factory(set)
    # Bare name → its module, where a folder of the unit is on `sys.path`.
    bare: dict[str, str] = attrs.Factory(dict)
    # Folder of the unit → its path without links.
    _real: dict[str, str] = attrs.Factory(dict)
    # First part of a name → another directory that this one imports from.
    others: dict[str, Origin] = attrs.Factory(dict)
    # Held while a module executes: other threads wait until that is done.
    _lock: RLock = attrs.field(factory=RLock, alias="lock")
    _executing: set[str] = attrs.Factory(set)
    # Suspended, as the module may have kept its frame; see `_run`.
    _runs: list[Generator[None, None, None]] = attrs.Factory(list)
    # Full name → whose module it is, where that is another unit. Old code goes on
    # finding what it was linked to; when that is replaced, so are all its users.
    _foreign: dict[str, Generation] = attrs.Factory(dict)

    def __attrs_post_init__(self) -> None:
        self.take_key((os.getpid(), next(_numbers)))

    def __repr__(self) -> str:
        return f"<Generation {self.unit} #{self.number} modules={len(self.modules)}>"

    @property
    def root(self) -> ModuleType:
        """The unit's root module."""
        return self.modules[self.unit]

    @property
    def roots(self) -> dict[str, ModuleType]:
        """Full name → module, of those that lie in no package of the unit."""
        names = self.origin.roots_of(self.unit)
        return {name: self.modules[name] for name in names if name in self.modules}

    @property
    def files(self) -> Mapping[str, SourceFile]:
        """Path → bytes of all that was read for it: a change of one is one of it."""
        if not self.late_units and not self.data and self.snapshot is None:
            return self.sources
        found = dict(self.data)
        if self.snapshot is not None:
            found.update(self.snapshot.files)
        for files in tuple(self.late_units.values()):
            found.update(files.sources)
        return {**found, **self.sources}

    def reads(self, path: str) -> bool:
        """Whether the file at *path* is one of `files`."""
        if path in self.sources or path in self.data:
            return True
        return any(path in files.sources for files in tuple(self.late_units.values()))

    def take_key(self, key: Key) -> None:
        """Be known as *key*: another process has sent it under this one."""
        self.key = key
        # One that takes over a key drops the reference before, which calls nothing.
        _known[key] = ref(self, partial(_known.pop, key))

    def executes(self, fullname: str) -> bool:
        """Whether the module *fullname* is being executed."""
        return fullname in self._executing

    def linked(self, unit: str) -> Generation | None:
        """Return the generation of another *unit* that this one has imported from."""
        found = (g for g in tuple(self._foreign.values()) if g.unit == unit)
        return next(found, None)

    def note_data(self, path: str) -> None:
        """Note that the data file at *path* is about to be read."""
        if path not in self.data and self.snapshot is None:
            from luminal.loading._resources import digest_of_data

            source = digest_of_data(path, self._kept_bytes)
            if source is not None:
                self._kept_bytes += len(source.data)
                self.data[path] = source
                self.host.data_read(self, path)

    def declare_data(self, pattern: str) -> None:
        """Note the data files that *pattern* matches.

        Args:
            pattern: Relative to the folder of the unit's file.
        """
        from luminal.discovery import find_data_files

        location = self.locations[self.unit].path
        self.patterns.add((location, pattern))
        for path in find_data_files(location, pattern):
            self.note_data(path)

    def matches(self, path: str) -> bool:
        """Whether the file at *path* is one of those that it declares."""
        from luminal.discovery import is_data_file

        return any(is_data_file(*each, path) for each in self.patterns)

    def take(self, files: Pinned) -> None:
        """Use *files* instead of those on disk."""
        self.locations.update(files.locations)
        self.sources.update(files.sources)
        self.late_units.update(files.late_units)
        self.owned = files.owned
        self.bundle = files.bundle
        if files.bundle is not None:
            # A change of the archive is a change of the unit.
            path, checksum = files.bundle.path, files.bundle.checksum
            self.data[path] = SourceFile(path, b"", checksum)
        self.snapshot = files.snapshot

    def take_texts(self, texts: Mapping[str, SourceFile]) -> None:
        """Use other texts of the same code: path → what the file there is now."""
        self.sources.update({p: s for p, s in texts.items() if p in self.sources})
        for unit, files in tuple(self.late_units.items()):
            if texts.keys() & files.sources.keys():
                read = {p: texts.get(p, s) for p, s in files.sources.items()}
                self.late_units[unit] = attrs.evolve(files, sources=read)

    def late_location(self, fullname: str) -> ModuleLocation | None:
        """Return where a module of another unit lay when it was read ahead."""
        for files in tuple(self.late_units.values()):
            if fullname in files.locations:
                return files.locations[fullname]
        return None

    def late_name(self, top: str) -> str | None:
        """Return the full name of the unit *top* that was read ahead, if any."""
        for unit in tuple(self.late_units):
            if unit.rpartition(".")[2] == top:
                return unit
        return None

    def package_at(self, entry: object) -> str | None:
        """Return the name of the unit's folder at *entry*; None for any other.

        Args:
            entry: Of `sys.path`.
        """
        if not isinstance(entry, str):
            return None
        for root in self.origin.roots_of(self.unit):
            location = self.locations.get(root)
            if location is None or location.kind != "package":
                continue
            folder = os.path.dirname(location.path)
            if folder not in self._real:
                self._real[folder] = os.path.realpath(folder)
            for top in (folder, self._real[folder]):
                if entry.startswith(top):
                    inside = os.path.relpath(entry, top).split(os.sep)
                    if inside == ["."]:
                        return root
                    if all(part.isidentifier() for part in inside):
                        return ".".join((root, *inside))
        return None

    def require(
        self, fullname: str, location: ModuleLocation | None = None
    ) -> ModuleType:
        """Return the module *fullname*, executing it where that has not been done.

        Args:
            fullname: Its full name.
            location: Where it lies, if the caller knows.

        Raises:
            ModuleNotFoundError: There is no such module.
            BaseException: Whatever the module's code raised.
        """
        module = self.modules.get(fullname)
        if module is not None and fullname not in self._executing:
            return module
        if self.borrowed:
            module = self.modules[fullname] = _executed(import_module(fullname))
            return module
        if fullname in self._foreign:
            return self._foreign[fullname].require(fullname)
        with self._lock:
            module = self.modules.get(fullname) or self.views.get(fullname)
            if module is not None:
                return module
            location = location or self.locate(fullname)
            if location is None and (module := self._made(fullname)) is not None:
                return module
            if location is None:
                raise ModuleNotFoundError(
                    f"No module named {fullname!r}", name=fullname
                )
            if location.kind == "namespace":
                module = self.views[fullname] = namespace(fullname, location.path)
                if fullname.startswith(self.unit + "."):
                    self._add_reader(module, location)
                self._show_init(module)
                self._attach(fullname, module)
                return module
            if location.unit == self.unit:
                return self._load(fullname, location)
            self.need(location.unit)
        # Without the lock: the other unit may be importing from this one.
        origin = self._origin_of(fullname)
        host: Host | None = None
        while host is not self.host:  # else it was replaced meanwhile
            host = self.host
            other = host.provide(location.unit, origin, user=self)
        module = other.require(fullname)
        self._foreign[fullname] = other
        if fullname == location.unit:
            self._attach(fullname, module)
        return module

    def _made(self, fullname: str) -> ModuleType | None:
        """Return what the unit's code has put into `sys.modules`, if it has."""
        if is_superseded(self):
            return None
        from luminal.loading._proxies import made_by

        made: ModuleType | None = made_by(self, fullname)
        if made is not None:
            self.modules.setdefault(fullname, made)
        return made

    def require_from(self, origin: Origin, fullname: str) -> ModuleType:
        """Return the module *fullname* of another directory than the unit's own.

        Args:
            origin: The directory.
            fullname: Full name of the module.
        """
        if origin is not self.origin:
            self.others[fullname.partition(".")[0]] = origin
        return self.require(fullname)

    def locate(self, fullname: str) -> ModuleLocation | None:
        """Return where *fullname* was found, or lies now; None for no such module.

        A package may have changed its ``__path__``.
        """
        known = self.locations.get(fullname) or self.late_location(fullname)
        above, _, leaf = fullname.rpartition(".")
        lies, path = self.locations.get(above), None
        if lies is not None:
            path = getattr(self.modules.get(above), "__path__", [lies.directory])
        elif known is None and above.startswith(f"{self.unit}."):
            lies = self.locate(above)
            path = [lies.directory] if lies is not None else None
        if lies is None or path is None:
            return known or self.find(fullname)
        for directory in path:
            found = (
                (known or self.find(fullname)) if directory == lies.directory else None
            )
            if found is None and type(directory) is str:
                found = find_below(directory, [leaf], self.unit)
            if found is not None:
                return found
        return None

    def find(self, fullname: str) -> ModuleLocation | None:
        """Return where *fullname* lies, or None where there is no such module."""
        if self.owned and fullname.startswith(self.owned_name()):
            parts = fullname[len(self.owned_name()) + 1 :].split(".")
            if parts == [""]:
                return ModuleLocation("namespace", "", "")
            directory = self.owned.get(parts[0])
            return find_below(directory, parts, self.unit) if directory else None
        return self._origin_of(fullname).find(fullname)

    def owned_name(self, name: str = "") -> str:
        """Return the full name of a module of a library that the unit owns.

        Args:
            name: What the library calls it; empty for what is above all of them.
        """
        return f"{self.unit}._owned.{name}".rstrip(".")

    def _origin_of(self, fullname: str) -> Origin:
        """Return where *fullname* is looked for."""
        if not self.others:
            return self.origin
        return self.others.get(fullname.partition(".")[0], self.origin)

    def top_of(self, root: Root, name: str) -> ModuleType:
        """Return what ``import name`` binds, where *name* leads into *root*.

        Packages of the program above the root are views of our own: what is in them is
        the program's, apart from the root.
        """
        if not root.name:
            return self.require(f"{root.fullname}.{name.partition('.')[0]}")
        module = self.require(root.fullname)
        above, _, leaf = root.name.rpartition(".")
        while above:
            view = self.view(above)
            setattr(view, leaf, module)
            module = view
            above, _, leaf = above.rpartition(".")
        return module

    def _add_reader(self, view: ModuleType, location: ModuleLocation) -> None:
        """Let `importlib.resources` read what lies in a folder of this unit."""
        path = os.path.join(location.path, "__init__.py")
        loader: Any = PhotonLoader(view.__name__, path, self)
        view.__loader__ = loader
        if view.__spec__ is not None:
            view.__spec__.loader = loader

    def _show_init(self, view: ModuleType) -> None:
        """Let *view* have what the ``__init__.py`` of a directory of photons defines.

        That file is executed when something is asked for that it may define. Modules of
        the directory are found without it, so none of them depends on it.
        """
        fullname = f"{view.__name__}.__init__"
        origin = self._origin_of(fullname)
        location = origin.find(fullname)
        if location is None or location.kind != "module":
            return
        path = location.path

        def __getattr__(name: str) -> Any:  # noqa: N807 - PEP 562
            if fullname not in self.modules and fullname not in self._foreign:
                code = self.host.compile(self.host.read(path))
                names = code.co_names
                is_open = "__getattr__" in names or ("*",) in code.co_consts
                if name not in names and not is_open:
                    raise AttributeError(
                        f"module {view.__name__!r} has no attribute {name!r}"
                    )
            return getattr(self.require(fullname), name)

        vars(view)["__getattr__"] = __getattr__

    def show_all(self, view: ModuleType) -> None:
        """Let a star import of *view* find what the ``__init__.py`` there defines."""
        if view is self.views.get(view.__name__) and "__getattr__" in vars(view):
            fullname = f"{view.__name__}.__init__"
            if self.find(fullname) is not None:
                for name, value in vars(self.require(fullname)).items():
                    if not name.startswith("_"):
                        vars(view).setdefault(name, value)

    def may_own(self, top: str) -> bool:
        """Whether names that begin with *top* may lead to a root or an owned library.

        Args:
            top: The first part of a name in an import statement.
        """
        return top in self.owned or self.host.roots.may_hold(top)

    def note_outside(self, name: str, names: tuple[str, ...]) -> None:
        """Note that code of this unit has imported from others.

        Args:
            name: The module.
            names: What it has imported from there.
        """
        if (name, names) not in self.outside:
            self.outside.add((name, names))
            self.host.imports_changed(self)

    def holds(self, space: dict[str, Any]) -> bool:
        """Whether *space* is the namespace of one of its modules, where it is borrowed.

        Args:
            space: Globals of a frame or a function.
        """
        return self.origin.owns(str(space.get("__name__")))

    def uses(self, other: Generation) -> bool:
        """Whether it has imported from *other*, also by way of a third."""
        seen, queue = {self}, [self]
        while queue and other not in seen:
            new = {*queue.pop()._foreign.values()} - seen  # noqa: SLF001 - our own
            seen |= new
            queue += new
        return other in seen

    def need(self, unit: str) -> None:
        """Note that this unit imports from *unit*."""
        if unit not in self.needs:
            self.needs.add(unit)
            self.host.imports_changed(self)

    def _attach(self, fullname: str, module: ModuleType) -> None:
        """Set ``above.leaf`` in our view of the namespace *above*."""
        above, _, leaf = fullname.rpartition(".")
        if self._origin_of(fullname).owns(above):
            vars(self.require(above)).setdefault(leaf, module)

    def view(self, fullname: str) -> ModuleType:
        """Return a package that several owners share, with our modules in it."""
        module = self.views.get(fullname)
        if module is None:
            module = self.views[fullname] = namespace(fullname, "")
            for name, known in list(self.modules.items()):
                above, _, leaf = name.rpartition(".")
                if above == fullname:
                    setattr(module, leaf, known)
            # The modules of others are found in the package that all share.
            vars(module)["__getattr__"] = lambda name: getattr(
                import_module(fullname), name
            )
        return module

    def _load(self, fullname: str, location: ModuleLocation) -> ModuleType:
        parent, _, leaf = fullname.rpartition(".")
        if fullname != self.unit and self.origin.owns(parent):
            self.require(parent)
            loaded = self.modules.get(fullname)
            if loaded is not None:  # the parent imported it
                return loaded
        if location.kind == "extension":
            module = self._execute_extension(fullname, location)
        else:
            module = self._execute(fullname, location)
        above = self.modules.get(parent) or self.views.get(parent)
        if above is not None:
            setattr(above, leaf, module)
        return module

    def source_of(self, path: str) -> SourceFile:
        """Return the bytes of a module: those that were judged, where a lock names it.

        Raises:
            PhotonVerificationError: It is none of the files that were judged.
            PhotonUnreadableError: It cannot be read.
        """
        if self.snapshot is not None:
            return self.snapshot.source(path)
        source = self.sources.get(path)
        if source is None:
            source = self.sources[path] = self.host.read(path)
            self.host.imports_changed(self)
        return source

    def _check_native(self, path: str) -> None:
        """Refuse a compiled module that the lock does not list, or another one.

        The system reads the file once more when it loads it.

        Raises:
            PhotonVerificationError: It is refused.
        """
        if self.snapshot is None:
            raise PhotonVerificationError(
                "is compiled code that the lock does not list",
                file=path,
                why="it cannot be read as text, and runs without the interpreter",
                hint="name its directory: luminal lock DIR",
            )
        from luminal.loading._judging import read_data

        if read_data(path).checksum != self.snapshot.source(path).checksum:
            raise PhotonVerificationError(
                "has changed since it was judged",
                file=path,
                hint="load it again, or accept the change",
            )

    def _execute(self, fullname: str, location: ModuleLocation) -> ModuleType:
        code = self.host.compile(source := self.source_of(location.path))
        self.locations[fullname] = location
        module = self._bare_module(fullname, location)
        self.modules[fullname] = module
        names = module.__dict__
        self._executing.add(fullname)
        self.host.expose(fullname, module, self)
        self.host.executing(self, source)
        before = enter("execute")
        try:
            run = _run(code, names)
            next(run)
            self._runs.append(run)
        except BaseException:
            del self.modules[fullname]
            self.host.withdraw(fullname, module)
            take_back([names])
            raise
        finally:
            enter(before)
            self._executing.discard(fullname)
        module = self.host.executed(fullname, module, self)
        self.modules[fullname] = module
        known = len(self.late_units)
        is_package = location.kind == "package"
        read_late_units(
            self, code, fullname if is_package else fullname.rpartition(".")[0]
        )
        if len(self.late_units) != known:
            self.host.imports_changed(self)
        return module

    def _bare_module(self, fullname: str, location: ModuleLocation) -> ModuleType:
        is_package = location.kind == "package"
        loader: Any = PhotonLoader(fullname, location.path, self)
        spec = ModuleSpec(fullname, loader, origin=location.path, is_package=is_package)
        spec.has_location = True
        module = ModuleType(fullname)
        names: dict[str, Any] = module.__dict__
        names["__file__"] = location.path
        names["__loader__"] = loader
        names["__spec__"] = spec
        names["__package__"] = fullname if is_package else fullname.rpartition(".")[0]
        if is_package:
            spec.submodule_search_locations = [os.path.dirname(location.path)]
            names["__path__"] = spec.submodule_search_locations
        elif location.path.endswith(_INIT):
            # Of a directory of photons, see `_show_init`: it may list its modules.
            names["__path__"] = [os.path.dirname(location.path)]
        return module

    def _execute_extension(self, fullname: str, location: ModuleLocation) -> ModuleType:
        """Load a compiled module; the interpreter shares it with every generation."""
        from importlib.util import module_from_spec, spec_from_file_location

        if self.verdict is not None:
            self._check_native(location.path)
        self.has_extension = True
        loader = ExtensionFileLoader(fullname, location.path)
        spec = spec_from_file_location(fullname, location.path, loader=loader)
        if spec is None:
            raise ImportError(f"no loader for {location.path}", name=fullname)
        module = module_from_spec(spec)
        self.modules[fullname] = module
        self.host.expose(fullname, module, self)
        try:
            with phase("execute"):
                loader.exec_module(module)
        except BaseException:
            del self.modules[fullname]
            self.host.withdraw(fullname, module)
            raise
        return module
