"""Replace units by their next generations in one step: all that can be replaced.

A `Transaction` prepares a swap for each group of units that succeed or fail together. A
swap that fails is undone, which leaves no trace of it. Those that passed are committed
together: hook implementations, modules and the lives of Handlers, so that no call sees
old and new ones of them. What was replaced is retired afterwards, see
`luminal.reload._retirement`.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from luminal._phases import enter, phases_so_far
from luminal.errors import PhotonConflictError
from luminal.hooks._swap import PreparedSwap
from luminal.lifecycle import is_containable
from luminal.loading import Stage, reach_loop, run_on_worker
from luminal.model import EventKind, FileChange, State, SwapChanges
from luminal.reload._plan import components, in_order, reachable
from luminal.reload._swap import Placeholder, Swap, shield_until_done

if TYPE_CHECKING:
    from collections.abc import (
        Awaitable,
        Callable,
        Container,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )
    from contextlib import AbstractContextManager

    from luminal.lifecycle import CrossLoopLock, Handler, Registry, Runtime
    from luminal.loading import Generation, SourceFile, World
    from luminal.loading._world import Publication
    from luminal.reload._plan import Change

__all__ = ["Exchange", "Transaction"]


@attrs.define(eq=False)
class Transaction:
    """What one change of files replaces.

    Args:
        world: Where generations are committed.
        registry: The Handlers of the host.
        runtime: The connections of photons to the host.
        change: What replaces the units.
        groups: Units that are replaced or rejected together.
        spare: Likewise, but replaced only where one of *groups* needs them.
        retire_earlier: Awaited with the photons' names before the commit, so that at
            most two generations of a photon exist.
        gate: Awaited on an event loop when all is checked, and the commit is the next
            step: what raises here is undone. It may take long. None for no wait.

    Attributes:
        prepared: Swaps that are to be committed, or have been.
        connected: The same once they have been committed, in groups in which new code
            has imported from new code.
        rejected: Swaps that were undone, and why.
        cancelled: A cancellation of the caller that came after the commit. It is to be
            raised once the retirement of what was replaced has begun.
    """

    world: World
    registry: Registry
    runtime: Runtime
    change: Change
    groups: list[set[str]]
    spare: list[set[str]]
    retire_earlier: Callable[[Container[str]], Awaitable[None]]
    gate: Callable[[], Awaitable[None]] | None = None
    prepared: list[Swap] = attrs.Factory(list)
    connected: list[list[Swap]] = attrs.Factory(list)
    rejected: list[tuple[Swap, BaseException]] = attrs.Factory(list)
    cancelled: BaseException | None = None
    # It is being prepared, or has failed.
    _trying: Swap | None = None
    _stage: Stage = attrs.field(init=False)
    # When it began, of the monotonic clock.
    _began: float = attrs.field(init=False)
    # Units that change as well, and are not among those that are prepared.
    _apart: set[str] = attrs.field(init=False)
    # Units that were put back until it is known whether a name is free.
    _waiting: set[str] = attrs.Factory(set)

    def __attrs_post_init__(self) -> None:
        self._began = time.perf_counter()
        self._apart = set().union(*self.groups, *self.spare)
        successors = {}
        for unit, upgrade in self.change.upgrades.items():
            successors[unit] = upgrade.origin
        self._stage = Stage(
            self.world,
            self.change.snapshot,
            dict(self.change.pinned),
            successors,
            self.runtime.deadlines.load,
            self.change.approved,
        )

    async def run(self) -> None:
        """Replace all that can be replaced; see `prepared` and `rejected`.

        Raises:
            BaseException: A cancellation, for one. Everything is as it was. For one
                that comes after the commit see `cancelled`.
        """
        try:
            while self.groups or self.prepared:
                failed = await run_on_worker(
                    self.world.worker,
                    self._prepare_and_commit(),
                    self.runtime.deadlines,
                )
                if failed is None:
                    return
                await self._settle(*failed)
        except BaseException as error:
            if self.connected:  # nothing else can be raised after a commit
                self.cancelled = error
                return
            lost = [self._trying] if self._trying is not None else []
            await shield_until_done(self._undo([*self.prepared, *lost]))
            raise
        finally:
            self._stage.discard()

    async def _prepare_and_commit(self) -> tuple[Swap, BaseException] | None:
        """Prepare swaps until one fails, and commit them if none does.

        It is one stay on the worker, up to the first step that needs the loop; each
        later swap goes back to the worker by itself.

        Returns:
            None; or the swap that has failed, and what it raised. Then nothing was
            committed.
        """
        failed = None
        while self.groups and failed is None:
            failed = await self._prepare(self.groups.pop(0))
        return failed or await self._commit()

    async def _prepare(self, units: set[str]) -> tuple[Swap, BaseException] | None:
        """Prepare the swap of *units*; return it, and what it raised, if it did."""
        self._stage.begin_replacing(units)
        self._apart -= units
        swap = Swap(
            self.world,
            self.registry,
            self.runtime,
            in_order(units, self.world.needs),
            self.change,
            self._stage,
            self.prepared,
            self._apart,
        )
        self._trying = swap
        try:
            await swap.prepare()
        except BaseException as error:
            if is_containable(error):
                return swap, error
            self._trying = None
            await shield_until_done(swap.undo())
            raise
        self._trying = None
        self.prepared.append(swap)
        return None

    async def _settle(self, failed: Swap, error: BaseException) -> None:
        """Undo a swap that has failed: it is rejected, or joined with others.

        Swaps that have imported from what is undone are prepared anew.
        """
        self._trying = None
        giver = self._giver_of_name(failed, error)
        is_to_wait = any(group & giver for group in self.groups) and (
            self._waiting.isdisjoint(giver.union(failed.units))
        )
        connected = failed.found | (set() if is_to_wait else giver)
        causes = [s for s in self.prepared if not connected.isdisjoint(s.units)]
        undone = self._with_users([failed, *causes])
        self.prepared = [swap for swap in self.prepared if swap not in undone]
        await shield_until_done(self._undo(undone))
        for swap in undone:
            self._stage.end_replacing(swap.units)
            self._apart.update(swap.units)
        again = [set(swap.units) for swap in undone if swap is not failed]
        joining = [g for g in (*self.groups, *self.spare, *again) if g & connected]
        self.groups = [g for g in (*again, *self.groups) if g not in joining]
        self.spare = [g for g in self.spare if g not in joining]
        if is_to_wait:  # what becomes of the giver tells whether the name is free
            self._waiting.update(failed.units)
            self.groups.append(set(failed.units))
        elif joining or failed.users:
            whole = failed.users.union(failed.units, *joining)
            self.groups.insert(0, whole)
        else:
            self.rejected.append((failed, error))

    def _with_users(self, swaps: list[Swap]) -> list[Swap]:
        """Return *swaps*, and all prepared ones that depend on them, in their order."""
        all_of_them = {s.units[0]: s for s in (*self.prepared, *swaps)}
        users: dict[str, set[str]] = {key: set() for key in all_of_them}
        for key, needed in _dependencies(all_of_them.values()).items():
            for other in needed:
                users[other].add(key)
        found = reachable((s.units[0] for s in swaps), users.__getitem__)
        return [swap for key, swap in all_of_them.items() if key in found]

    def _connected(self) -> list[list[Swap]]:
        """Return the prepared swaps in groups, see `connected`."""
        if len(self.prepared) == 1:
            return [self.prepared[:]]
        swaps = {swap.units[0]: swap for swap in self.prepared}
        needed = _dependencies(self.prepared)
        groups = components(swaps.keys(), needed.__getitem__)
        return [[swap for k, swap in swaps.items() if k in g] for g in groups]

    def _giver_of_name(self, failed: Swap, error: BaseException) -> set[str]:
        """Return the unit whose photon may give up the name that *error* is about.

        Two files may exchange their photons. Then both are replaced by one swap.
        """
        is_conflict = issubclass(type(error), PhotonConflictError)
        taken = getattr(error, "photon", None) if is_conflict else None
        holder = self.registry.get(taken) if taken else None
        if holder is None or holder.generation is None or holder in failed.concerned:
            return set()
        for swap in self.prepared:
            if any(p.old is holder and p.new is not None for p in swap.pairs):
                return set()  # it keeps the name
        return {holder.generation.unit}

    async def _undo(self, swaps: Sequence[Swap]) -> None:
        for swap in reversed(swaps):  # each may have imported from those before it
            await swap.undo()

    async def _commit(self) -> tuple[Swap, BaseException] | None:
        """Replace old by new, while no photon is started or stopped.

        Returns:
            None; or a swap that cannot be committed, and why. Then nothing was.
        """
        olds: dict[str, Handler] = {}
        for swap in self.prepared:
            for pair in swap.pairs:
                if pair.old is not None:
                    olds[pair.old._name] = pair.old
        await self.retire_earlier(olds)
        held: list[CrossLoopLock] = []
        try:
            for old in olds.values():
                await old._lock.__aenter__()
                held.append(old._lock)
            failed = self._check()
            if failed is None and self.gate is not None:
                await reach_loop()
                await self.gate()
                failed = self._check()  # other code may have imported meanwhile
            # From here on nothing waits.
            if failed is not None:
                return failed
            connected = self._connected()  # the stage forgets what it has committed
            try:
                exchange = Exchange(
                    self.prepared, self._stage, self.runtime, self._began
                )
                exchange.make(self.registry)
            except Exception as error:  # noqa: BLE001 - reported
                return self._culprit(error)
            self.connected = connected
        finally:
            for lock in reversed(held):
                await lock.__aexit__(None, None, None)
        return None

    def _check(self) -> tuple[Swap, Exception] | None:
        """Return a swap that cannot be committed, and why; None for none."""
        replaced: set[str] = set()
        for swap in self.prepared:
            replaced.update(swap.units)
        for swap in self.prepared:
            try:
                swap.check(replaced)
            except Exception as error:  # noqa: BLE001 - reported
                return swap, error
        return None

    def _culprit(self, error: Exception) -> tuple[Swap, Exception]:
        """Return the swap because of which *error* was raised.

        It is the last one of the shortest run of swaps that cannot be exchanged.
        """
        low, high = 0, len(self.prepared) - 1
        while low < high:
            middle = (low + high) // 2
            swaps = self.prepared[: middle + 1]
            try:
                with Exchange(swaps, self._stage, self.runtime).prepared():
                    pass
            except Exception as found:  # noqa: BLE001 - reported
                high, error = middle, found
            else:
                low = middle + 1
        return self.prepared[low], error


def _dependencies(swaps: Iterable[Swap]) -> dict[str, set[str]]:
    """Return which swaps have imported from new code of which others.

    Args:
        swaps: Each is known by its first unit.
    """
    staged = {swap.units[0]: swap.staged for swap in swaps}
    of = {unit: key for key, generations in staged.items() for unit in generations}
    return {
        key: {
            of[unit]
            for generation in generations.values()
            for unit in (*generation.needs, *generation.late_units)
            if unit in of
        }
        - {key}
        for key, generations in staged.items()
    }


def changed_files(
    before: Mapping[str, Generation], after: Mapping[str, Generation]
) -> tuple[FileChange, ...]:
    """Return the files that differ between the generations of some units.

    Data files are compared where both generations have read them; their bytes are not
    kept.

    Args:
        before: Unit → what is replaced.
        after: Unit → what replaces it.
    """
    old: dict[str, SourceFile] = {}
    new: dict[str, SourceFile] = {}
    read: dict[str, SourceFile] = {}
    for generation in before.values():
        old.update(generation.sources)
        read.update(generation.data)
    for generation in after.values():
        new.update(generation.sources)
    changes = []
    for path in dict.fromkeys((*old, *new)):
        was, now = old.get(path), new.get(path)
        if was is None or now is None or was.checksum != now.checksum:
            texts = was.data if was else None, now.data if now else None
            changes.append(FileChange(path, *texts))
    for generation in after.values() if read else ():
        for path, source in generation.data.items():
            if path in read and read[path].checksum != source.checksum:
                changes.append(FileChange(path, b"", b"", is_text=False))
    return tuple(changes)


class Exchange:
    """Replaces hook implementations, modules and the lives of Handlers in one step.

    A photon without a counterpart is swapped for a placeholder, so that no call sees
    its arrival or departure before the other changes.
    """

    def __init__(
        self, swaps: Sequence[Swap], stage: Stage, runtime: Runtime, began: float = 0.0
    ) -> None:
        self._swaps = swaps
        self._began = began
        self._stage = stage
        self._runtime = runtime
        self._owners: list[Generation] = []
        self._replacements: list[tuple[object, object]] = []
        self._coming: list[Placeholder] = []
        self._going: list[Placeholder] = []
        for swap in swaps:
            self._owners.extend(swap.checked.values())
            for pair in swap.pairs:
                new, registered = pair.new, pair.registered
                if registered is not None and new is not None:
                    self._replacements.append((registered, new._life.instance))
                elif registered is not None and pair.old is not None:
                    self._going.append(Placeholder.of(pair.old))
                elif new is not None and new.state is State.RUNNING:
                    self._coming.append(Placeholder.of(new))
        for each in self._coming:
            self._replacements.append((each, each.handler.instance))
        for each in self._going:
            self._replacements.append((each.handler.instance, each))

    def prepared(self) -> AbstractContextManager[PreparedSwap]:
        """Prepare the exchange of hook implementations.

        Returns:
            Gives the prepared exchange to the block; its ``commit()`` cannot fail. If
            the block ends without calling it, everything stays as it was.

        Raises:
            BaseException: It cannot be made.
        """
        plugins, owners = self._runtime.plugins, self._owners
        exchange = PreparedSwap(plugins, self._replacements, None, owners, {})
        return self._with_places(exchange) if self._coming else exchange

    @contextmanager
    def _with_places(
        self, exchange: AbstractContextManager[PreparedSwap]
    ) -> Iterator[PreparedSwap]:
        """Make an exchange in which photons take the places of placeholders."""
        plugins = self._runtime.plugins
        try:
            for placeholder in self._coming:
                new = placeholder.handler
                plugins.register_generation(placeholder, new.name, new.number - 1)
            with exchange as prepared:
                yield prepared
        finally:
            for placeholder in self._coming:
                if plugins.is_registered(placeholder):  # it was not replaced
                    plugins.unregister(placeholder)

    def make(self, registry: Registry) -> None:
        """Exchange all of it: only stores that cannot fail or wait.

        Args:
            registry: The Handlers of the host.
        """
        enter("commit")
        plugins = self._runtime.plugins
        hooks: list[tuple[str, ...]] = []  # of each pair, before
        for swap in self._swaps:
            for pair in swap.pairs:
                was = pair.registered
                if type(was) is Placeholder:
                    hooks.append(was.hooks)
                else:
                    hooks.append(plugins.hook_names(was))
                if pair.old is not None:
                    pair.retiring = pair.old._detached() if pair.new else pair.old
        try:
            with self.prepared() as exchange, self._stage.committing() as publication:
                self._switch(exchange, publication)
                self._stage.forget()
        except BaseException:
            for placeholder in self._coming:
                self._runtime.unregister(placeholder.handler)
            raise
        for placeholder in self._going:
            plugins.unregister(placeholder)
        for swap in self._swaps:
            for pair in swap.pairs:
                if pair.old is None and pair.new is not None:
                    registry.add([pair.new])
                elif pair.new is None and pair.old is not None:
                    registry.remove([pair.old])
                elif pair.old is not None:
                    registry.refile(pair.old)
        enter("")
        self._emit_results(hooks)

    def _switch(self, exchange: PreparedSwap, publication: Publication) -> None:
        """Make the new generations visible: hook implementations, modules, lives."""
        exchange.commit()
        publication.commit()
        for swap in self._swaps:
            for pair in swap.pairs:
                if pair.old is not None and pair.new is not None:
                    pair.old._adopt(pair.new)

    def _emit_results(self, hooks: Iterable[tuple[str, ...]]) -> None:
        """Tell what was replaced.

        Args:
            hooks: Of each pair, what was implemented before.
        """
        seconds = time.perf_counter() - self._began
        phases = phases_so_far()
        runtime, hooks = self._runtime, iter(hooks)
        runtime.events.count_phases("swap", phases)
        results = []
        for swap in self._swaps:
            changes, numbers = changed_files(swap.before, swap.checked), {}
            for pair in swap.pairs:
                if pair.old is not None and pair.new is not None:
                    numbers[pair.old._name] = pair.old.number
            if changes and numbers:
                runtime.changes.append(SwapChanges(numbers, changes))
            results.append((swap, tuple([each.path for each in changes]), numbers))
        for swap, files, numbers in results:
            for pair in swap.pairs:
                old, new, names = pair.old, pair.new, next(hooks)
                if new is not None:
                    now = runtime.plugins.hook_names(new._life.instance)
                    names = tuple(sorted({*names, *now})) if names != now else now
                    new._life.phases = phases
                if old is None and new is not None:
                    runtime.emit(EventKind.LOADED, new, hooks=names, phases=phases)
                elif new is None and old is not None:
                    runtime.emit(EventKind.UNLOADED, old, hooks=names)
                elif old is not None:
                    runtime.emit(
                        EventKind.SWAPPED,
                        old,
                        seconds=seconds,
                        hooks=names,
                        files=files,
                        photons=tuple(numbers),
                        phases=phases,
                    )
