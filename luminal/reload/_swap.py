"""The swap: build the new generation beside the old one, exchange, retire the old.

In comes a set of units to replace; out come Handlers that go on with new lives, or an
error and a host that is as it was. The old photons are not touched before the new ones
have been imported, chosen and started.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from luminal.discovery import fold
from luminal.errors import LuminalError, PhotonReloadError
from luminal.lifecycle import Handler, InterpreterChanges, check_names
from luminal.loading import Attempt, Selected, Stage, run_in_worker
from luminal.model import Candidate, Event, EventKind, State
from luminal.reload._plan import find_unmet, reachable

if TYPE_CHECKING:
    from collections.abc import (
        Awaitable,
        Callable,
        Container,
        Coroutine,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )
    from collections.abc import Set as AbstractSet

    from luminal.lifecycle import Registry, Runtime
    from luminal.loading import Generation, World
    from luminal.reload._plan import Change

__all__ = [
    "LateDependencies",
    "Pair",
    "Placeholder",
    "Previous",
    "Swap",
    "hand_over",
    "pair_up",
    "restart_exclusive",
    "shield_until_done",
    "stop_exclusive",
]

# === reload.pairing ===
# Who takes whose place: old Handlers and the photons of the new generation.


@attrs.define(eq=False)
class Pair:
    """A photon before and after.

    Attributes:
        old: The Handler that the host knows; the swap gives it the new photon. None
            for a photon that appears.
        new: A Handler of the new photon; None for a photon that disappears.
        retiring: A Handler of the old photon, once the swap is made; None for a photon
            that appears.
        state: State of *old* when the transaction began.
        old_seat: What is registered for its hooks; None where nothing is.
    """

    old: Handler | None
    new: Handler | None
    state: State = State.STAGED
    old_seat: object | None = None
    retiring: Handler | None = None

    @property
    def is_one_sided(self) -> bool:
        """Whether nobody could come back: a photon appeared, went, or stood aside."""
        if self.old is None or self.new is None:
            return True
        return self.state is not State.RUNNING

    @property
    def is_to_start(self) -> bool:
        """Whether the new photon is started: where the old one ran, or had tried to."""
        return self.old is None or self.state in (State.RUNNING, State.FAILED)

    @property
    def is_exclusive(self) -> bool:
        """Whether the old photon must stop before the new one can start."""
        if self.old is None or self.state is not State.RUNNING:
            return False
        return bool(getattr(self.old.instance, "photon_exclusive", False))


# `attrs.evolve` looks them up each time.
_FACTS = tuple(field.name for field in attrs.fields(Candidate))


def pair_up(
    selected: Iterable[Selected],
    handlers: Sequence[Handler],
    runtime: Runtime,
    known: Iterable[Candidate] = (),
) -> list[Pair]:
    """Match new photons with *handlers* by name, in the order of loading.

    Args:
        selected: The new photons.
        handlers: Of the old ones.
        runtime: What connects them to the host.
        known: What discovery says of the new ones, where it was asked.
    """
    facts = {fold(candidate.name): candidate for candidate in known}
    by_name = {fold(chosen.name): chosen for chosen in selected}
    by_unit = {h.generation.unit: h for h in handlers if h.generation is not None}
    pairs: list[Pair] = []
    for old in handlers:
        chosen = by_name.pop(fold(old.name), None)
        new = None
        if chosen is not None:
            new = _successor(chosen, old, runtime, facts.get(fold(old.name)))
        seat = runtime.plugins.get_plugin(old.name)
        seat = seat if seat is not None and seat is old.instance else None
        pairs.append(Pair(old, new, old.state, seat))
    for chosen in by_name.values():
        neighbour = by_unit[chosen.generation.unit]
        fact = facts.get(fold(chosen.name))
        pairs.append(Pair(None, _successor(chosen, neighbour, runtime, fact)))
    return pairs


def _successor(
    chosen: Selected, like: Handler, runtime: Runtime, fact: Candidate | None
) -> Handler:
    sources = chosen.generation.sources
    if fact is not None:
        filepath = fact.location
    elif like.filepath in sources:
        filepath = like.filepath
    else:  # it has come from another file
        filepath = next(iter(sources), like.filepath)
    source = sources.get(filepath)
    checksum = source.checksum if source is not None else like.checksum
    return Handler(
        like.logging,
        chosen.name,
        filepath,
        checksum,
        chosen.obj,
        generation=chosen.generation,
        candidate=fact or _renewed(like.candidate, chosen, filepath, checksum),
        choice=like._choice,
        runtime=runtime,
    )


def _renewed(
    candidate: Candidate | None, chosen: Selected, filepath: str, checksum: str
) -> Candidate | None:
    """Return *candidate* with what the new class says of itself."""
    if candidate is None:
        return None
    said: dict[str, Any] = {"checksum": checksum}
    if filepath != candidate.location and candidate.location:
        said["location"] = filepath
    for key in ("author", "version", "description"):
        value = getattr(chosen.obj, f"photon_{key}", None)
        if isinstance(value, str) and value:
            said[key] = value
    tags = getattr(chosen.obj, "photon_tags", ())
    if isinstance(tags, list | tuple):
        said["tags"] = tuple(str(tag) for tag in tags)
    kept = {field: getattr(candidate, field) for field in _FACTS}
    return Candidate(**{**kept, "name": chosen.name, **said})


# === reload.handover ===
# What a new generation is handed by the one before it.


@attrs.frozen
class Previous:
    """The generation before, as ``on_reload(self, previous)`` sees it.

    Attributes:
        version: Its version, or an empty string.
        generation: Its number.
        instance: The photon, which is still serving; None for an exclusive one that
            has been stopped.
        data: A copy of its ``context.data``, the same that the new photon finds in
            its own context.
    """

    version: str
    generation: int
    instance: Any
    data: Mapping[str, Any]


def hand_over(old: Handler, new: Handler) -> Previous:
    """Copy the data of *old* to *new*, and return what *new* is told of *old*.

    A copy, so that whatever the new one makes of it, the old one's is untouched.

    Raises:
        PhotonReloadError: The data cannot be copied.
    """
    try:
        data = deepcopy(old.context.data)
    except Exception as error:
        raise PhotonReloadError(
            "its data cannot be handed over",
            photon=old.name,
            file=old.filepath,
            why=f"{type(error).__name__}: {error}",
            hint="keep in 'context.data' only what 'copy.deepcopy' can copy",
        ) from error
    new.context.data.update(data)
    version = old.candidate.version if old.candidate is not None else ""
    return Previous(version, old.number, old.instance, new.context.data)


# === reload.standing ===
# Exclusive photons: stopped before their successor starts, woken when it fails.


@attrs.define(eq=False)
class Placeholder:
    """Keeps the place of a stopped photon in the order of all hooks.

    Attributes:
        handler: The photon that was stopped.
        data: Its ``context.data``.
    """

    handler: Handler
    data: dict[str, Any]

    @classmethod
    def of(cls, handler: Handler) -> Placeholder:
        """Return what keeps the place of *handler*'s photon, and its data."""
        return cls(handler, handler.context.data)


async def stop_exclusive(absent: Placeholder, runtime: Runtime) -> None:
    """Stop an exclusive photon, its place kept."""
    runtime.plugins.swap(absent.handler.instance, absent)
    await absent.handler.stop()


async def restart_exclusive(absent: Placeholder, runtime: Runtime) -> None:
    """Start a photon again that had stood aside, with the data it had.

    Where that fails too, the photon is left failed and unseated, which is told as
    an event and logged: there is no third generation to turn to.
    """
    handler = absent.handler

    async def prepare(again: Handler) -> None:
        again.context.data.update(absent.data)
        version = again.candidate.version if again.candidate is not None else ""
        await runtime.reload(again, Previous(version, again.number, None, absent.data))

    try:
        await handler._start(
            prepare=prepare,
            register=lambda again: runtime.plugins.swap(absent, again.instance),
        )
    except LuminalError as error:
        import logging

        runtime.plugins.unregister(absent)
        logging.getLogger("luminal.reload").critical(
            "photon %r could not be started again and is off: %s", handler.name, error
        )


# === reload.insistence ===
# Work that has to be brought to its end, though whoever asked for it is cancelled.

T = TypeVar("T")


async def shield_until_done(work: Coroutine[Any, Any, T]) -> T:
    """Await *work* to its end; only then pass a cancellation on.

    Raises:
        asyncio.CancelledError: The caller was cancelled in the meantime.
        BaseException: Whatever *work* raised.
    """
    import asyncio

    task = asyncio.create_task(work, name="luminal-undo")
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        cause = None if task.cancelled() else task.exception()
        raise cancelled from cause
    return task.result()


# === reload.mixture ===
# What changes at the same time, and must not be mixed with one swap.
#
# In come units that are replaced in swaps of their own, and what is staged; out comes
# which of them the new code depends on. What it imports from is known only by then.


@attrs.define(eq=False)
class LateDependencies:
    """Which units a swap turns out to depend on, of those that change apart from it.

    Args:
        others: Units that change as well: later, or had they not been refused.

    Attributes:
        found: Those that the new code depends on.
        users: Units that have begun to import from what is replaced meanwhile.
    """

    others: AbstractSet[str] = frozenset()
    found: set[str] = attrs.Factory(set)
    users: set[str] = attrs.Factory(set)

    def look(self, staged: Mapping[str, Generation]) -> None:
        """Note what the generations in *staged* have imported from so far."""
        if self.others:
            for generation in list(staged.values()):
                self.found |= self.others & generation.needs

    @contextmanager
    def looking(self, attempt: Attempt) -> Iterator[None]:
        """Look at the end of the block, also where an import in it fails."""
        try:
            yield
        finally:
            self.look(attempt.pending)

    def check(self, staged: Mapping[str, Generation]) -> None:
        """Refuse new code that would be linked to an earlier generation.

        Raises:
            PhotonReloadError: It imports from what changes apart from it.
        """
        self.look(staged)
        if self.found:
            names = ", ".join(repr(u.rpartition(".")[2]) for u in sorted(self.found))
            raise PhotonReloadError(
                "would be mixed with an earlier generation",
                why=f"it imports from {names}, whose next generation was refused",
                hint="mend that one",
            )

    def check_users(self, units: Sequence[str], world: World) -> None:
        """Refuse to leave anybody behind who is linked to what is replaced.

        Raises:
            PhotonReloadError: A late import of running code has made such a link.
        """
        self.users = reachable(units, world.users).difference(units)
        if self.users:
            names = ", ".join(repr(u.rpartition(".")[2]) for u in sorted(self.users))
            raise PhotonReloadError(
                "has got another user while its next generation was being started",
                why=f"{names} has imported from it",
                hint="reload it once more",
            )

    def check_requirements(self, pairs: Sequence[Pair], registry: Registry) -> None:
        """Refuse photons whose requirements, or those of others, are not met then.

        Raises:
            PhotonDependencyError: Names what is missing, or the chain of a circle.
        """
        unmet = find_unmet(pairs, registry)
        if unmet is None:
            return
        for name in unmet.others:
            other = registry.get(name)
            if other is not None and other.generation is not None:
                self.found |= self.others & {other.generation.unit}
        raise unmet.error


# === reload.swap ===
# The swap: build the new generation beside the old one, exchange, retire the old.
#
# In comes a set of units to replace; out come Handlers that go on with new lives, or an
# error and a host that is as it was. The old photons are not touched before the new ones
# have been imported, chosen and started.


def _contained(error: BaseException) -> BaseException:
    """Return what an import raised, so that it does not look like a cancellation."""
    from asyncio import CancelledError

    if not isinstance(error, CancelledError):
        return error
    disguised = RuntimeError("it raised CancelledError")
    disguised.__cause__ = error
    return disguised.with_traceback(error.__traceback__)


@attrs.define(eq=False)
class Swap:
    """One transaction over some units.

    Args:
        world: Where generations are committed.
        registry: Where Handlers are kept.
        runtime: What connects the photons to the host.
        units: What is replaced, in load order.
        change: What they are replaced by.
        make_room: Awaited with the photons' names before the commit: what still leaves
            of earlier generations is to be gone by then.
        mixture: What changes as well, and must not be mixed with this.
    """

    world: World
    registry: Registry
    runtime: Runtime
    units: Sequence[str]
    change: Change
    retire_earlier: Callable[[Container[str]], Awaitable[None]]
    late: LateDependencies = attrs.Factory(LateDependencies)
    pairs: list[Pair] = attrs.Factory(list)
    _stage: Stage = attrs.field(init=False)
    _attempt: Attempt | None = None
    # Unit → what its import has changed, until its photons are known.
    _import_changes: dict[str, InterpreterChanges] = attrs.Factory(dict)
    # Exclusive photons that were stopped to make room.
    _aside: list[Placeholder] = attrs.Factory(list)

    def __attrs_post_init__(self) -> None:
        self._stage = Stage(
            self.world,
            frozenset(self.units),
            self.change.snapshot,
            dict(self.change.pinned),
        )

    async def run(self) -> list[Pair]:
        """Stage, start and exchange; or raise and leave everything as it was.

        Returns:
            The photons; ``retiring`` of each pair is to be retired.

        Raises:
            BaseException: Whatever went wrong, also a cancellation.
        """
        try:
            selected = await self._select()
            await self._see_settled()
            known = [c for r in self.change.upgrades.values() for c in r.candidates]
            self.pairs = pair_up(selected, self.handlers(), self.runtime, known)
            self._check_names()
            self.late.check_requirements(self.pairs, self.registry)
            for pair in self.pairs:
                if pair.new is not None and pair.new.generation is not None:
                    trail = self._import_changes.get(
                        pair.new.generation.unit, InterpreterChanges()
                    )
                    pair.new._changes.absorb(trail)
            for pair in self.pairs:
                await self._start(pair)
            self.late.check(self._stage.ready)
            await self.retire_earlier({p.old.name for p in self.pairs if p.old})
            await self._commit()
        except BaseException:
            self.late.look(self._stage.ready)
            await shield_until_done(self._undo())
            raise
        return self.pairs

    def handlers(self) -> list[Handler]:
        """Return the Handlers of the photons that are to be replaced."""
        return self.registry.of_units(self.units)

    async def _select(self) -> list[Selected]:
        """Stage the units, apart from the event loop, and choose their photons."""
        chosen_by = {
            h.generation.unit: h._choice for h in self.handlers() if h.generation
        }
        began = time.perf_counter()

        def stage() -> list[Selected]:
            selected: list[Selected] = []
            with self._stage.attempt() as attempt, self.late.looking(attempt):
                self._attempt = attempt
                for unit in self.units:
                    upgrade = self.change.upgrades.get(unit)
                    serving = self.world.generations[unit]
                    trail = self._import_changes[unit] = InterpreterChanges()
                    with self.runtime.tracking_changes(trail, *self._who(unit)):
                        if upgrade is not None:
                            generation = attempt.provide(unit, upgrade.origin)
                        else:
                            is_pinned = unit in self.change.pinned
                            known = None if is_pinned else serving.locations.get(unit)
                            generation = attempt.provide(unit, serving.origin, known)
                    choice = upgrade.choice if upgrade else chosen_by.get(unit)
                    if choice is not None:
                        selected += choice.select(generation)
            return selected

        result = await run_in_worker(
            self.world.hand, stage, self.runtime.deadlines.load
        )
        if result.error is not None:
            raise _contained(result.error)
        self.late.check(self._stage.ready)
        seconds = time.perf_counter() - began
        selected = result.value or []
        for chosen in selected:
            number = chosen.generation.number
            event = Event(EventKind.STAGED, chosen.name, number, seconds=seconds)
            self.runtime.events.emit(event)
        return selected

    async def _see_settled(self) -> None:
        """Let each start or stop that is under way end: it decides what is replaced."""
        for handler in self.handlers():
            if handler.state in (State.STARTING, State.STOPPING):
                async with handler._lock:
                    pass

    def _who(self, unit: str) -> tuple[str, str]:
        """Return the name and the file of the first photon of *unit*."""
        of = self.registry.of_units([unit])
        return (of[0].name, of[0].filepath) if of else (unit, "")

    def _check_names(self) -> None:
        """Refuse names that photons outside of the transaction have."""
        for pair in self.pairs:
            new = pair.new
            if pair.old is None and new and new.generation and new.candidate:
                selected = Selected(new.name, new.factory, new.generation)
                check_names([selected], [new.candidate], self.registry)

    async def _start(self, pair: Pair) -> None:
        """Start a new photon while the old one serves, or after an exclusive one."""
        old, new = pair.old, pair.new
        if new is None or not pair.is_to_start:
            return
        if old is not None and pair.is_exclusive:
            absent = Placeholder.of(old)
            self._aside.append(absent)
            await shield_until_done(stop_exclusive(absent, self.runtime))
            pair.state, pair.old_seat = old.state, absent

        async def prepare(handler: Handler) -> None:
            if old is not None:
                await self.runtime.reload(handler, previous)

        previous: Any = hand_over(old, new) if old is not None else None
        with self._stage.entered():
            await new._start(prepare=prepare)

    async def _commit(self) -> None:
        """Exchange old and new; nothing in here waits once all turns are held."""
        async with AsyncExitStack() as turns:
            for pair in self.pairs:
                if pair.old is not None:
                    await turns.enter_async_context(pair.old._lock)
            self._check_still_there()
            self.late.check_users(self.units, self.world)
            self._exchange()

    def _check_still_there(self) -> None:
        for pair in self.pairs:
            if pair.old is not None and pair.old.state is not pair.state:
                raise PhotonReloadError(
                    "changed while its next generation was being started",
                    photon=pair.old.name,
                    file=pair.old.filepath,
                    why=f"it was {pair.state} and is {pair.old.state}",
                    hint="reload it once more",
                )

    def _exchange(self) -> None:
        seated = [p for p in self.pairs if p.old and p.new and p.old_seat is not None]
        added = [p.new for p in self.pairs if p.new and p.old_seat is None]
        gone = [p for p in self.pairs if p.old and not p.new]
        for pair in self.pairs:
            if pair.old is not None:
                pair.retiring = pair.old._detached() if pair.new else pair.old
        plugins = self.runtime.plugins
        seats = [(p.old_seat, p.new.instance) for p in seated if p.new]
        # Who appears is exchanged for a stand-in, and so is who disappears: no call
        # sees the one before the other.
        coming = [Placeholder.of(new) for new in added if new.state is State.RUNNING]
        going = [
            Placeholder.of(p.old) for p in gone if p.old and p.old_seat is not None
        ]
        seats += [(absent, absent.handler.instance) for absent in coming]
        seats += [(absent.handler.instance, absent) for absent in going]
        try:
            for absent in coming:
                new = absent.handler
                plugins.register(absent, new.name, generation=new.number - 1)
            with (
                plugins.swapping(seats) as exchange,
                self._stage.committing() as commit,
            ):
                self._turn(exchange.turn, commit)
        except BaseException:
            for absent in coming:
                if plugins.is_registered(absent):
                    plugins.unregister(absent)
                self.runtime.unregister(absent.handler)
            raise
        for absent in going:
            plugins.unregister(absent)
        self.registry.remove([p.old for p in gone if p.old])
        self.registry.add([p.new for p in self.pairs if p.new and not p.old])
        for pair in self.pairs:
            if pair.old is not None and pair.new is not None:
                self.registry.refile(pair.old)
            self._tell_swapped(pair)

    def _turn(self, *steps: Callable[[], None]) -> None:
        """Let the world see the new: stores that cannot fail, nothing that waits."""
        for step in steps:
            step()
        for pair in self.pairs:
            if pair.old is not None and pair.new is not None:
                pair.old._adopt(pair.new)

    def _tell_swapped(self, pair: Pair) -> None:
        if pair.old is None and pair.new is not None:
            self.runtime.emit(EventKind.LOADED, pair.new)
        elif pair.new is None and pair.old is not None:
            self.runtime.emit(EventKind.UNLOADED, pair.old)
        elif pair.old is not None:
            self.runtime.emit(EventKind.SWAPPED, pair.old)

    async def _undo(self) -> None:
        """Finalize what was started, forget what was staged, wake what was stopped."""
        with self._stage.entered():  # to finalize may import
            for pair in reversed(self.pairs):
                if pair.new is not None and pair.new.state is State.RUNNING:
                    await pair.new.stop()
        for trail in self._import_changes.values():
            trail.undo()
        for pair in reversed(self.pairs):
            if pair.new is not None:
                pair.new._changes.undo()
        if self._attempt is not None:
            self._attempt.discard()
        self._stage.discard()
        for absent in reversed(self._aside):
            await restart_exclusive(absent, self.runtime)
