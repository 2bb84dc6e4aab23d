"""Stage new generations, then commit or discard them: one transaction on a world.

While a stage runs, its own thread finds the new modules in `sys.modules`, and all other
code finds the old ones. `Stage.commit` replaces all of them with one store. What is not
committed leaves no trace.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import getweakrefcount

import attrs

from luminal._phases import phase
from luminal._plain import own_values_of
from luminal._running_loop import running_loop
from luminal.errors import (
    PhotonConflictError,
    PhotonUnreadableError,
    SecondFactorError,
)
from luminal.loading._generation import Generation
from luminal.loading._importer import (
    PhotonLoader,
    add_to_finder,
    current_attempt,
    importing_generation,
    is_superseded,
    remove_from_finder,
    staging_context,
    taken,
)
from luminal.loading._late import Directory, read_unit
from luminal.loading._lines import show_staged_lines
from luminal.loading._origin import BundleOrigin, DistributionOrigin
from luminal.loading._owned import add_owned
from luminal.loading._proxies import (
    ModuleProxy,
    StagedModule,
    drop,
    hide,
    is_inside,
    is_ours,
    is_stand_in,
    made_by,
    notify_waiting,
    plain,
    publish,
    put,
    serve,
    settle,
    shared_namespace,
    stand_in,
    wait_until_visible,
)
from luminal.loading._source import Pinned, read_bundle_files, read_source
from luminal.loading._world import (
    Publication,
    World,
    forget_registrations,
    is_same,
)
from luminal.supervise import may_register, remember

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from collections.abc import Set as AbstractSet
    from types import CodeType, ModuleType

    from luminal.loading._origin import ModuleLocation, Origin
    from luminal.loading._roots import Roots
    from luminal.loading._source import SourceFile
    from luminal.trust import Judge

__all__ = ["Attempt", "Stage", "is_in_transaction"]

_WORD = b"modules"
"""In every text that itself puts something into `sys.modules`."""


@attrs.define(eq=False, repr=False, slots=False)
class Attempt:
    """Units of a stage that are staged together, or not at all.

    Attributes:
        stage: The stage it is part of.
        pending: Unit → its new generation; also those that execute now.
        is_over: It has been discarded. A thread whose import took too long may still
            run in it, and gets an error at its next import.
        is_kept: All of it has been executed; the stage decides what becomes of it.
    """

    stage: Stage
    pending: dict[str, Generation] = attrs.Factory(dict)
    is_over: bool = False
    is_kept: bool = False
    # What was in `sys.modules` before, in the order in which it was replaced.
    _replaced: list[tuple[str, ModuleType | None]] = attrs.Factory(list)
    # What we have put there instead.
    _proxies: dict[str, tuple[str, ModuleProxy]] = attrs.Factory(dict)
    _staged: dict[str, ModuleType] = attrs.Factory(dict)
    # All of `sys.modules` before the first code was executed that may put other things
    # there; None where there was none, or that is not needed any more.
    _before: Mapping[str, ModuleType] | None = None
    # What is not the photons' in `sys.modules` is restored by `discard`.
    _restores_others: bool = True

    @property
    def roots(self) -> Roots:
        """The directories whose modules are the photons' own."""
        return self.stage.world.roots

    @property
    def judge(self) -> Judge | None:
        """What decides what may run; None where no lock is in force."""
        return self.stage.world.judge

    def owner(self, fullname: str) -> Generation | None:
        """Return the new generation that *fullname* belongs to, or None."""
        unit = fullname
        while unit:
            generation = self.new(unit)
            if generation is not None:
                return generation
            unit = unit.rpartition(".")[0]
        origin = self.origin(fullname)
        return self.new(origin.unit_of(fullname) if origin is not None else "")

    def new(self, unit: str) -> Generation | None:
        """Return the new generation of *unit*, if there is one."""
        return self.pending.get(unit) or self.stage.ready.get(unit)

    def origin(self, fullname: str) -> Origin | None:
        """Return the origin that *fullname* belongs to, or None."""
        return self.stage.origins.get(fullname.partition(".")[0])

    def share(self, fullname: str, origin: Origin) -> ModuleType:
        """Return the package *fullname* without code of `sys.modules`.

        It is made where there is none.
        """
        self._check()
        module = sys.modules.get(fullname)
        if module is None:
            above = fullname.rpartition(".")[0]
            if above:
                self.share(above, origin)
            location = origin.find(fullname)
            path = location.path if location is not None else ""
            module = shared_namespace(fullname, path)
            self._replaced.append((fullname, None))
            sys.modules[fullname] = module
        return module

    def provide(
        self,
        unit: str,
        origin: Origin,
        location: ModuleLocation | None = None,
        *,
        user: Generation | None = None,  # noqa: ARG002 - the protocol's
    ) -> Generation:
        """Return the generation of *unit* for new code; it is staged if need be.

        Raises:
            BaseException: Whatever the unit's code raised.
        """
        stage = self.stage
        generation = self.new(unit)
        if generation is None and unit not in stage.replacing:
            generation = self._serving(unit)
        if generation is None:
            number = stage.world.numbers.get(unit, 0) + 1
            generation = Generation(unit, origin, number, self)
            serving = stage.world.generations.get(unit)
            if serving is not None:
                generation.borrowed = serving.borrowed
            else:
                generation.borrowed = self._is_imported_by_host(unit, origin)
            location = self._take_files(generation, location)
            self.pending[unit] = generation
            # For `importlib.import_module` and its like.
            for top in origin.tops:
                stage.origins.setdefault(top, origin)
            above = unit.rpartition(".")[0]
            if above not in sys.modules and origin.owns(above):
                self.share(above, origin)
            generation.require(unit, location)
            if self.is_kept:  # imported by `start`, say
                stage.ready[unit] = generation
        return generation

    def _take_files(
        self, generation: Generation, location: ModuleLocation | None
    ) -> ModuleLocation | None:
        """Read the files of a new generation, and have them judged before they run.

        Returns:
            Where its root module lies.

        Raises:
            LuminalError: They cannot be read, or must not run.
        """
        unit, origin = generation.unit, generation.origin
        pinned = self.stage.pinned.get(unit)
        if type(origin) is BundleOrigin:
            pinned, location = self._open_bundle(generation, origin, pinned), None
        if location is None and pinned is not None:
            location = pinned.locations.get(unit)
        location = location or origin.find(unit)
        if location is not None:
            generation.seen = self.stage.look(location)
            if pinned is None and location.kind == "module":
                source = self.read(location.path)
                pinned = Pinned({unit: location}, {location.path: source})
            elif pinned is None and location.kind == "package":
                pinned = read_unit(unit, location, self.read)
        if pinned is not None and pinned.snapshot is None:
            pinned = add_owned(unit, pinned, self.read)
        if pinned is not None and unit in self.stage.pinned:
            self._check_pinned(pinned)
        judge = self.stage.world.judge
        if judge is not None:
            from luminal.loading._judging import CORE, judged

            generation.verdict = CORE
        if judge is not None and not generation.borrowed:
            with phase("verify"):
                pinned, generation.verdict = judged(
                    judge, unit, origin, location, pinned, self.read
                )
        if pinned is not None:
            generation.take(pinned)
            self.stage.world.owned.update(generation.owned)
            if pinned.snapshot is not None:
                from luminal.loading._judged_path import let_hook_look

                let_hook_look(pinned.snapshot)
        if (examine := self.stage.world.examine) is not None:
            serving = self.stage.world.generations.get(unit)
            with phase("scan"):
                examine(generation, serving, bool(self.stage.replacing))
        return location

    def _check_pinned(self, pinned: Pinned) -> None:
        """Refuse files that were read elsewhere, and that nobody has approved."""
        if pinned.bundle is not None:
            self.stage.check_approved(pinned.bundle.path, pinned.bundle.checksum)
            return
        for path, source in pinned.sources.items():
            self.stage.check_approved(path, source.checksum)

    def _open_bundle(
        self, generation: Generation, origin: BundleOrigin, pinned: Pinned | None
    ) -> Pinned:
        """Return the files of a bundle.

        Raises:
            PhotonConflictError: The host has imported what it would replace.
            LuminalError: It cannot be read.
        """
        if generation.borrowed:
            raise _already_imported(generation.unit, origin)
        pinned = pinned or read_bundle_files(origin, self.read)
        origin.take(pinned.bundle, pinned.locations)
        return pinned

    def _serving(self, unit: str) -> Generation | None:
        """Return the serving generation of *unit* if new code may import from it.

        Calls of what is replaced may have imported it meanwhile, as it was when they
        began.
        """
        stage = self.stage
        generation = stage.world.generations.get(unit)
        if generation is None or unit in stage.replacing:
            return None
        if generation.commit > stage.since and not generation.borrowed:
            is_bundle = generation.bundle is not None
            read = generation.data if is_bundle else generation.sources
            for path, known in list(read.items()):
                try:
                    if self.read(path).checksum != known.checksum:
                        return None
                except PhotonUnreadableError:
                    return None
        return generation

    def _is_imported_by_host(self, unit: str, origin: Origin) -> bool:
        """Whether the program has imported *unit*, of which no generation serves."""
        # What stands for modules of old calls is not the host's.
        roots: Iterable[str] = (unit,)
        if isinstance(origin, DistributionOrigin):
            roots = origin.entered
        return any(n in sys.modules and not is_stand_in(sys.modules[n]) for n in roots)

    def _check(self) -> None:
        """Stop a thread whose import was given up.

        Where the attempt began after that, only the stage says so.

        Raises:
            ImportError: It was given up.
        """
        if self.is_over or self.stage.is_over:
            self.discard()
            raise ImportError("the staging has been given up")

    def expose(self, fullname: str, module: ModuleType, owner: Generation) -> None:
        """Let the stage alone find *module* in `sys.modules`."""
        self._check()
        present = sys.modules.get(fullname)
        if fullname not in self._proxies:
            if is_stand_in(present):
                present = plain(present)
                self._cover(fullname, owner.unit, present)
            elif type(present) is ModuleProxy or type(present) is StagedModule:
                raise ImportError(f"{fullname!r} is being staged already")
            elif present is not None:
                self._cover(fullname, owner.unit, present)
            else:
                self._replaced.append((fullname, None))
                self._staged[fullname] = module
                taken[fullname] = self
                if type(vars(module)["__loader__"]) is PhotonLoader:
                    hide(module)  # an extension is whole in a moment
                sys.modules[fullname] = module
        self._check()  # a `discard` in the meantime has not restored this one

    def executing(self, generation: Generation, source: SourceFile) -> None:
        """Note what there is before code is executed that may replace it."""
        if may_register(source.data):
            remember()
        show_staged_lines(generation, source)
        # Most code does not, and to copy a thousand modules takes as long as to
        # compile it.
        if self._restores_others and self._before is None and _WORD in source.data:
            self._before = sys.modules.copy()

    def withdraw(self, fullname: str, module: ModuleType) -> None:  # noqa: ARG002
        """Undo what `expose` did; what covers a serving module stays."""
        if self._staged.pop(fullname, None) is not None:
            taken.pop(fullname, None)
            drop(fullname)

    def executed(
        self,
        fullname: str,
        module: ModuleType,
        owner: Generation,
    ) -> ModuleType:
        """Return what *module* has put into its place; others do not see it yet."""
        present = sys.modules.get(fullname, module)
        covered = self._proxies.get(fullname)
        if self.is_over:
            return module
        if covered is None:
            result = present
        elif present is covered[1]:
            result = module
        else:
            sys.modules[fullname] = covered[1]
            result = present
        source = owner.source_of(owner.locations[fullname].path)
        if self._before is not None and _WORD in source.data:
            owner.modules[fullname] = result
            self._adopt(owner, self._before)
        return result

    def adopt(self) -> None:
        """Likewise of what functions have put there since, those of ``start``."""
        if self._before is not None:
            for generation in list(self.pending.values()):
                self._adopt(generation, self._before)
        for fullname, (unit, _) in self._proxies.items():
            new = self.pending.get(unit)
            if new is not None and fullname not in new.modules:
                made = made_by(new, fullname)
                if made is not None:
                    new.modules[fullname] = made

    def _adopt(self, owner: Generation, before: Mapping[str, ModuleType]) -> None:
        """Make modules of *owner* of what its code has put into `sys.modules`.

        That is what it has put there under names below its own, and its own modules
        under any name. Others do not see it before the commit, and it goes with the
        generation.

        Args:
            owner: The generation.
            before: What was there.
        """
        for fullname, (unit, proxy) in self._proxies.items():
            is_own = unit == owner.unit and not owner.executes(fullname)
            if is_own and sys.modules.get(fullname, proxy) is not proxy:
                made = made_by(owner, fullname)
                sys.modules[fullname] = proxy
                if made is not None:
                    owner.modules[fullname] = made
        for fullname in sys.modules.keys() - before.keys() - self._proxies.keys():
            made = made_by(owner, fullname)
            known = owner.modules.get(fullname)
            if made is None or made is known or owner.executes(fullname):
                continue
            owner.modules[fullname] = made
            if fullname not in self._staged:
                self._replaced.append((fullname, None))

    def _cover(self, fullname: str, unit: str, present: ModuleType | None) -> None:
        """Put a proxy into the place of *present*, or of a name that leads nowhere."""
        before = sys.modules.get(fullname)
        has_earlier = is_stand_in(before)
        proxy = ModuleProxy(fullname, unit, present, self, has_earlier=has_earlier)
        self._proxies[fullname] = unit, proxy
        self._replaced.append((fullname, before if has_earlier else present))
        taken[fullname] = self
        put(fullname, proxy)

    def cover(self, replacing: AbstractSet[str]) -> None:
        """Put proxies into the places of all modules that are to be replaced.

        Whatever looks a module up in `sys.modules` looks there first, and asks no
        finder where there is one. Units that these import from are covered as well:
        they stay what they are, and it is noted who imports from them.

        Args:
            replacing: Units.
        """
        serving = self.stage.world.generations
        units = set(replacing)
        for unit in replacing & serving.keys():
            units |= serving[unit].needs
        packages: list[str] = []
        for unit in sorted(units & serving.keys()):
            generation = serving[unit]
            if generation.borrowed:
                continue
            for root in generation.origin.roots_of(unit):
                location = generation.locations.get(root)
                if root not in generation.modules:
                    continue
                if location is None or location.kind == "package":
                    packages.append(root + ".")
            for fullname in list(generation.modules):
                self._cover_if_there(fullname, unit)
        # There may be packages without code inside of one with code.
        inside = tuple(packages)
        below = [n for n in list(sys.modules) if n.startswith(inside)] if inside else []
        for fullname in below:
            owner = self.stage.world.owner(fullname)
            if owner is not None and fullname not in self._proxies:
                self._cover_if_there(fullname, owner.unit)

    def _cover_if_there(self, fullname: str, unit: str) -> None:
        present = plain(sys.modules.get(fullname))
        if present is not None and type(present) is not ModuleProxy:
            self._cover(fullname, unit, present)

    def supply(
        self, fullname: str, unit: str, *, is_import: bool = False
    ) -> ModuleType:
        """Return the module *fullname* of *unit* for code of the stage.

        Args:
            fullname: Its full name.
            unit: The unit that it belongs to.
            is_import: Whether an import asks: the unit that makes it needs *unit*.

        Raises:
            ModuleNotFoundError: The new generation has no such module.
            BaseException: Whatever its code raised.
        """
        self._check()
        generation = self.new(unit)
        if generation is None:
            serving = self.stage.world.generations.get(unit)
            origin = self.stage.successors.get(unit)
            if origin is None and serving is not None:
                origin = serving.origin
            if origin is None:
                raise ModuleNotFoundError(
                    f"No module named {fullname!r}", name=fullname
                )
            generation = self.provide(unit, origin)
        if is_import:
            importer = importing_generation()
            if importer is not None and importer is not generation:
                importer.need(unit)
        return generation.require(fullname)

    def has(self, fullname: str, unit: str) -> bool:
        """Whether `supply` has the module without executing anything."""
        generation = self.new(unit)
        if generation is None:
            return unit not in self.stage.replacing
        return fullname in generation.modules or fullname in generation.views

    def shows(self) -> bool:
        """Whether the caller sees what has been executed but does not serve yet.

        A thread that runs an event loop may be the one that commits it. It must not
        wait for itself.
        """
        if self.is_kept and running_loop() is not None:
            return True
        return is_inside(self.stage)

    def admit(self, fullname: str) -> None:
        """Let code outside of photons import *fullname*, which we have taken.

        Raises:
            ModuleNotFoundError: There is none; or it is loaded for the first time, and
                the time of a load has passed.
        """
        if fullname in self._proxies:
            if is_inside(self.stage):
                self.supply(fullname, self._proxies[fullname][0], is_import=True)
        elif not self.shows():
            wait_until_visible(self, fullname)

    def imports_changed(self, generation: Generation) -> None:
        """Do nothing: what is staged is looked at when it is committed."""

    def data_read(self, generation: Generation, path: str) -> None:
        """Do nothing, likewise."""

    def read(self, path: str) -> SourceFile:
        """Return the bytes of the file at *path*, from the snapshot if it has them.

        Raises:
            PhotonUnreadableError: It cannot be read.
            SecondFactorError: It is not what was approved.
        """
        source = self.stage.snapshot.get(path) or read_source(path)
        self.stage.check_approved(path, source.checksum)
        return source

    def read_ahead(self, unit: str, origin: Origin) -> Pinned | None:
        """Return the files of *unit*, for imports that functions make later."""
        stage = self.stage
        generation = self.new(unit)
        if generation is None:
            generation = self._serving(unit)
        if generation is not None:
            return Pinned.of(generation)
        if unit not in stage.ahead:
            location = origin.find(unit)
            found = read_unit(unit, location, self.read) if location else None
            stage.ahead[unit] = found or Pinned({}, {})
        return stage.ahead[unit]

    def compile(self, source: SourceFile) -> CodeType:
        """Compile *source*, or return what it compiled to before."""
        stage = self.stage
        return stage.world.codes.compile(source, is_new=bool(stage.replacing))

    def discard(self) -> None:
        """Forget the units, and leave `sys.modules` as it was."""
        self.is_over = True
        for _, proxy in list(self._proxies.values()):
            settle(proxy)
        with suppress(IndexError):  # two threads may do it
            while True:
                fullname, present = self._replaced.pop()
                taken.pop(fullname, None)
                if present is None:
                    drop(fullname)
                else:
                    ended = not is_stand_in(present)
                    put(fullname, plain(present) if ended else present)
        before, self._before = self._before, None
        if before is not None:
            _restore_others(before, self._is_own)
        ready = self.stage.ready
        forget_registrations(list(self.pending.values()))
        for unit, generation in list(self.pending.items()):
            if ready.get(unit) is generation:
                ready.pop(unit, None)
        self.pending.clear()
        # Code that somebody keeps would keep what serves now.
        self._proxies.clear()
        self._staged.clear()
        notify_waiting()

    def _is_own(self, module: object) -> bool:
        """Whether *module* is one that was staged, or stands for one."""
        if any(module is proxy for _, proxy in list(self._proxies.values())):
            return True
        loader = own_values_of(module).get("__loader__")
        pending = list(self.pending.values())
        return type(loader) is PhotonLoader and loader.generation in pending

    def release(self) -> None:
        """Let everybody find the units that serve by now.

        It takes some microseconds, and cannot fail.
        """
        ready, replaced = self.stage.ready, dict(self._replaced)
        for fullname, (unit, proxy) in self._proxies.items():
            taken.pop(fullname, None)
            generation = ready.get(unit)
            module: ModuleType | None = None
            if generation is not None:
                modules = generation.modules
                if fullname not in modules:
                    modules = generation.views
                module = modules.get(fullname)
            serving = settle(proxy, generation if module is None else module)
            if getweakrefcount(proxy):  # they are to live as long as who has made them
                for each in self.pending.values():
                    each.proxies.append(proxy)
            old = self.stage.earlier.get(unit)
            if old is not None and generation is not None:
                stand_in(proxy, old)
            elif old is not None:  # no new code has imported it
                stand_in(ModuleProxy(fullname, unit, None, None), old)
            elif module is not None and is_stand_in(replaced.get(fullname)):
                # Calls of an earlier generation still find their own there.
                serve(replaced[fullname], module)
            elif module is None and sys.modules.get(fullname) is proxy:
                put(fullname, serving)
        for fullname, module in self._staged.items():
            taken.pop(fullname, None)
            publish(module)
            loader = own_values_of(module).get("__loader__")
            unit = loader.generation.unit if type(loader) is PhotonLoader else ""
            old = self.stage.earlier.get(unit)
            if old is not None:  # its calls do not find this one
                stand_in(ModuleProxy(fullname, unit, module, None), old)

    def keep_others(self) -> None:
        """Let `discard` leave alone what is not the photons' in `sys.modules`."""
        self._restores_others, self._before = False, None

    @property
    def staged(self) -> dict[str, Generation]:
        """Unit → its new generation, without those that have raised."""
        return {u: g for u, g in list(self.pending.items()) if u in g.modules}

    def forget(self) -> None:
        """Keep nothing in memory: tasks that still run may keep our context."""
        self.pending = {}
        self._before = None
        self._replaced.clear()
        self._proxies.clear()
        self._staged.clear()

    def keep(self) -> None:
        """Add the units to the stage, to be committed with it.

        Raises:
            ImportError: They have been given up in the meantime.
        """
        if not self.stage.replacing:
            # A reload needs it until its photons have been started.
            self.keep_others()
        stage = self.stage
        stage.world.outside.note(self.pending.values())
        # Without those that have raised: whoever imported them did without.
        stage.ready.update(self.staged)
        stage.attempts.append(self)
        self.is_kept = True
        notify_waiting()
        # Last: the import may be given up at any moment.
        self._check()


def _restore_others(
    before: Mapping[str, ModuleType], is_own: Callable[[object], bool]
) -> None:
    """Undo what a photon that failed has put into `sys.modules`, or taken out.

    Libraries that it has imported stay: some cannot be imported twice. Other photons'
    modules are left alone: those of other loaders come and go at the same time.

    Args:
        before: What was there.
        is_own: Whether a module is that photon's, put there under another name.
    """

    def is_others(module: object) -> bool:
        return is_ours(module) and not is_own(module)

    now = sys.modules.copy()
    for fullname, module in before.items():
        present = now.get(fullname)
        if present is not module and not (is_ours(module) or is_others(present)):
            sys.modules[fullname] = module
    new = {n: m for n, m in now.items() if n not in before and not is_others(m)}
    # What `importlib` fails to import it takes away by itself. So what it has put there
    # is whole, or another thread imports it right now.
    others = [(fullname, m) for fullname, m in new.items() if not is_own(m)]
    kept = {fullname for fullname, m in others if _name_of(m) == fullname}
    for fullname, module in new.items():
        # A library may have put something else below itself, or under another name.
        names = {fullname, fullname.rpartition(".")[0]}
        if not is_own(module):
            names.add(_name_of(module))
        if kept.isdisjoint(names):
            sys.modules.pop(fullname, None)


def _already_imported(unit: str, origin: BundleOrigin) -> PhotonConflictError:
    """Return why a bundle is refused: its modules would be those of something else."""
    found = getattr(sys.modules.get(unit), "__file__", None) or "the program itself"
    return PhotonConflictError(
        f"its package {unit!r} is imported already",
        file=origin.path,
        why=f"the host has imported a module of that name from {found}",
        hint="load bundles before the host imports it, or rename the package",
    )


def _name_of(module: object) -> str:
    """Return the name that `importlib` has loaded *module* under, if it has."""
    names = own_values_of(module)
    return str(getattr(names.get("__spec__"), "name", ""))


def is_in_transaction() -> bool:
    """Whether the caller runs as part of a stage that is not over yet."""
    return current_attempt() is not None


class _Within:
    """Runs a ``with`` block as part of *attempt*."""

    __slots__ = ("_attempt", "_token")

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def __enter__(self) -> None:
        self._token = staging_context.set(self._attempt)

    def __exit__(self, *_: object) -> None:
        staging_context.reset(self._token)


class _Staging:
    """Runs a ``with`` block as an attempt, and keeps it or discards it."""

    __slots__ = ("_attempt", "_replacing", "_stage", "_token")

    def __init__(self, stage: Stage, replacing: AbstractSet[str]) -> None:
        self._stage = stage
        self._replacing = replacing

    def __enter__(self) -> Attempt:
        stage = self._stage
        if not stage.has_begun:
            stage.has_begun = True
            add_to_finder(stage.world)
        for earlier in stage.attempts[-1:]:
            # What is in `sys.modules` by now is not from that one alone.
            earlier.keep_others()
        self._attempt = attempt = Attempt(stage)
        self._token = staging_context.set(attempt)
        try:
            if self._replacing:
                attempt.cover(self._replacing)
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return attempt

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is not None:
                self._attempt.discard()
        finally:
            staging_context.reset(self._token)
        if kind is None:
            self._attempt.keep()


@attrs.define(eq=False, repr=False, slots=False)
class Stage:
    """What is to be committed together.

    Args:
        world: What it is staged for.
        snapshot: Path → bytes that have been read already, and are to be used.
        pinned: Unit → files to be used instead of those on disk: of an earlier
            generation, or of a distribution as it was installed.
        successors: Unit of a distribution → where the modules of its new version are
            looked for.
        patience: Seconds that other code waits for a name that is loaded for the first
            time.
        approved: Path → SHA-512 of all that may be executed, as somebody has approved
            it from outside; None where nobody was asked.

    Attributes:
        replacing: Units that new code must not import the serving generation of.
        is_over: It has been committed or discarded.
        since: Number of the commit since which the first of what is replaced serves.
    """

    world: World
    replacing: set[str] = attrs.field(factory=set, init=False)
    snapshot: Mapping[str, SourceFile] = attrs.Factory(dict)
    pinned: dict[str, Pinned] = attrs.Factory(dict)
    successors: Mapping[str, Origin] = attrs.Factory(dict)
    patience: float = 30.0
    approved: Mapping[str, str] | None = None
    is_over: bool = False
    since: int = attrs.field(default=sys.maxsize, init=False)
    ready: dict[str, Generation] = attrs.Factory(dict)
    # Unit → its files, read for imports that functions make later.
    ahead: dict[str, Pinned] = attrs.Factory(dict)
    # Path → the directory, as it was when its first unit was begun.
    _directories: dict[str, Directory] = attrs.Factory(dict)
    # First part of a directory's modules' names → that directory.
    origins: dict[str, Origin] = attrs.Factory(dict)
    # Unit → what serves until the commit.
    earlier: dict[str, Generation] = attrs.Factory(dict)
    # Those that are kept.
    attempts: list[Attempt] = attrs.Factory(list)
    has_begun: bool = False

    def begin_replacing(self, units: Iterable[str]) -> None:
        """Let new code import from the new generations of *units* only."""
        self.replacing.update(units)
        serving = self.world.generations
        for unit in units:
            if unit in serving:
                self.since = min(self.since, serving[unit].commit)

    def end_replacing(self, units: Iterable[str]) -> None:
        """Let new code import again from what serves of *units*."""
        self.replacing.difference_update(units)

    def check_approved(self, path: str, checksum: str) -> None:
        """Refuse a file that is not as it was when somebody approved the operation.

        Args:
            path: Of the file.
            checksum: SHA-512 of its bytes.

        Raises:
            SecondFactorError: It is not.
        """
        if self.approved is None or self.approved.get(path) == checksum:
            return
        why = "it has changed since" if path in self.approved else "it was not there"
        raise SecondFactorError(
            "is not what was approved",
            file=path,
            why=f"{why}, or lies elsewhere than the photon",
            hint="ask for the operation again",
        )

    def outdated(self, staged: Iterable[Generation]) -> set[str]:
        """Return units that serve with another text than new code has read of them.

        A call of what is replaced has imported them meanwhile.

        Args:
            staged: The new code.
        """
        serving, found = self.world.generations, set()
        for generation in staged:
            for unit, files in tuple(generation.late_units.items()):
                if (
                    unit in serving
                    and unit not in self.ready
                    and unit not in self.replacing
                    and not is_same(files.sources, serving[unit].sources)
                ):
                    found.add(unit)
        return found

    def entered(self, attempt: Attempt | None) -> _Within:
        """Run a block as part of the transaction: it sees what is ready.

        Args:
            attempt: What it imports is staged as part of this one.
        """
        return _Within(attempt or Attempt(self))

    def attempt(self, replacing: AbstractSet[str] = frozenset()) -> _Staging:
        """Stage some units in a ``with`` block.

        Where the block raises, these alone are discarded. It gets the `Attempt`.

        Args:
            replacing: Those of them that replace others.
        """
        return _Staging(self, replacing)

    def look(self, location: ModuleLocation) -> Directory:
        """Return the directory that a unit is read from.

        Args:
            location: Where its root module lies.
        """
        path = location.path.rpartition(os.sep)[0] or os.sep
        if location.kind == "package":
            path = os.path.dirname(path)
        found = self._directories.get(path)
        if found is None:
            found = self._directories[path] = Directory.of(path)
        return found

    def commit(self, user: Generation | None = None) -> None:
        """Let all that is ready serve from now on.

        Args:
            user: The code that it was staged for. Where that serves no more, all of it
                is discarded: what serves now may have another text.
        """
        with self.committing() as publication:
            is_wanted = user is None or not is_superseded(user)
            if is_wanted:
                publication.commit()
                self.forget()
        if not is_wanted:
            self.discard()

    def committing(self) -> Publication:
        """Prepare what `commit` does, but for `forget`."""
        serving, self.earlier = self.world.generations, {}
        for unit in self.replacing:
            if unit in serving:
                self.earlier[unit] = serving[unit]
        for attempt in self.attempts:
            attempt.adopt()
        return Publication(self.world, self.ready, self.replacing, self._release)

    def _release(self) -> None:
        for attempt in self.attempts:
            attempt.release()

    def give_up(self, attempt: Attempt) -> None:
        """Forget the units of *attempt* alone."""
        attempt.discard()
        if attempt in self.attempts:
            self.attempts.remove(attempt)

    def discard(self) -> None:
        """Forget all of it."""
        self.is_over = True  # first: an attempt that is kept just now checks it
        for attempt in reversed(self.attempts):
            attempt.discard()
        self.forget()

    def forget(self) -> None:
        """Keep nothing in memory: it has been committed or discarded."""
        if not self.world.generations:
            remove_from_finder(self.world)
        self.is_over = True
        self.ready, self.earlier = {}, {}
        for attempt in self.attempts:
            attempt.forget()
        self.attempts.clear()
        notify_waiting()
