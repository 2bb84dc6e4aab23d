"""The swap: build the new generation beside the old one, exchange, retire the old.

In comes a set of units to replace; out come Handlers that go on with new lives, or an
error and a host that is as it was. The old photons are not touched before the new ones
have been imported, chosen and started.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import attrs

from luminal.errors import PhotonReloadError
from luminal.lifecycle._batch import Admission
from luminal.lifecycle._footprint import Trail
from luminal.loading import Attempt, Selected, Stage, run_by
from luminal.model import Event, Happening, State
from luminal.reload.handover import hand_over
from luminal.reload.insistence import see_through
from luminal.reload.mixture import Mixture
from luminal.reload.pairing import Pair, pair_up
from luminal.reload.standing import Absent, stand_aside, stand_in

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container, Sequence

    from luminal.lifecycle import Handler, Ports, Registry
    from luminal.loading import World
    from luminal.reload.change import Change

__all__ = ["Swap"]


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
        ports: What connects the photons to the host.
        units: What is replaced, in load order.
        change: What they are replaced by.
        make_room: Awaited with the photons' names before the commit: what still leaves
            of earlier generations is to be gone by then.
        mixture: What changes as well, and must not be mixed with this.
    """

    world: World
    registry: Registry
    ports: Ports
    units: Sequence[str]
    change: Change
    make_room: Callable[[Container[str]], Awaitable[None]]
    mixture: Mixture = attrs.Factory(Mixture)
    pairs: list[Pair] = attrs.Factory(list)
    _stage: Stage = attrs.field(init=False)
    _attempt: Attempt | None = None
    # Unit → what its import has changed, until its photons are known.
    _trails: dict[str, Trail] = attrs.Factory(dict)
    # Exclusive photons that were stopped to make room.
    _aside: list[Absent] = attrs.Factory(list)

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
            The photons: in ``new`` of each pair lives the old one by now, to be
            retired.

        Raises:
            BaseException: Whatever went wrong, also a cancellation.
        """
        try:
            selected = await self._select()
            await self._see_settled()
            known = [c for r in self.change.renewals.values() for c in r.candidates]
            self.pairs = pair_up(selected, self.handlers(), self.ports, known)
            self._check_names()
            self.mixture.check_requirements(self.pairs, self.registry)
            for pair in self.pairs:
                if pair.new is not None and pair.new.generation is not None:
                    trail = self._trails.get(pair.new.generation.unit, Trail())
                    pair.new.trail.absorb(trail)
            for pair in self.pairs:
                await self._start(pair)
            self.mixture.check(self._stage.ready)
            await self.make_room({p.old.name for p in self.pairs if p.old})
            await self._commit()
        except BaseException:
            self.mixture.look(self._stage.ready)
            await see_through(self._undo())
            raise
        return self.pairs

    def handlers(self) -> list[Handler]:
        """Return the Handlers of the photons that are to be replaced."""
        return self.registry.of_units(self.units)

    async def _select(self) -> list[Selected]:
        """Stage the units, apart from the event loop, and choose their photons."""
        chosen_by = {
            h.generation.unit: h.choice for h in self.handlers() if h.generation
        }
        began = time.perf_counter()

        def stage() -> list[Selected]:
            selected: list[Selected] = []
            with self._stage.attempt() as attempt, self.mixture.looking(attempt):
                self._attempt = attempt
                for unit in self.units:
                    renewal = self.change.renewals.get(unit)
                    serving = self.world.generations[unit]
                    trail = self._trails[unit] = Trail()
                    with self.ports.following(trail, *self._who(unit)):
                        if renewal is not None:
                            generation = attempt.provide(unit, renewal.origin)
                        else:
                            is_pinned = unit in self.change.pinned
                            place = None if is_pinned else serving.places.get(unit)
                            generation = attempt.provide(unit, serving.origin, place)
                    choice = renewal.choice if renewal else chosen_by.get(unit)
                    if choice is not None:
                        selected += choice.select(generation)
            return selected

        result = await run_by(self.world.hand, stage, self.ports.deadlines.load)
        if result.error is not None:
            raise _contained(result.error)
        self.mixture.check(self._stage.ready)
        seconds = time.perf_counter() - began
        selected = result.value or []
        for chosen in selected:
            number = chosen.generation.number
            event = Event(Happening.STAGED, chosen.name, number, seconds=seconds)
            self.ports.events.emit(event)
        return selected

    async def _see_settled(self) -> None:
        """Let each start or stop that is under way end: it decides what is replaced."""
        for handler in self.handlers():
            if handler.state in (State.STARTING, State.STOPPING):
                async with handler.turn:
                    pass

    def _who(self, unit: str) -> tuple[str, str]:
        """Return the name and the file of the first photon of *unit*."""
        of = self.registry.of_units([unit])
        return (of[0].name, of[0].filepath) if of else (unit, "")

    def _check_names(self) -> None:
        """Refuse names that photons outside of the transaction have."""
        admission = Admission(self.registry)
        for pair in self.pairs:
            new = pair.new
            if pair.old is None and new and new.generation and new.candidate:
                selected = Selected(new.name, new.factory, new.generation)
                admission.check_names([selected], [new.candidate])

    async def _start(self, pair: Pair) -> None:
        """Start a new photon while the old one serves, or after an exclusive one."""
        old, new = pair.old, pair.new
        if new is None or not pair.is_to_start:
            return
        if old is not None and pair.is_exclusive:
            absent = Absent.of(old)
            self._aside.append(absent)
            await see_through(stand_aside(absent, self.ports))
            pair.state, pair.old_seat = old.state, absent

        async def prepare(handler: Handler) -> None:
            if old is not None:
                await self.ports.reload(handler, previous)

        previous: Any = hand_over(old, new) if old is not None else None
        with self._stage.entered():
            await new.bring_up(prepare=prepare)

    async def _commit(self) -> None:
        """Exchange old and new; nothing in here waits once all turns are held."""
        async with AsyncExitStack() as turns:
            for pair in self.pairs:
                if pair.old is not None:
                    await turns.enter_async_context(pair.old.turn)
            self._check_still_there()
            self.mixture.check_users(self.units, self.world)
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
        plugins = self.ports.plugins
        seats = [(p.old_seat, p.new.instance) for p in seated if p.new]
        # Who appears is exchanged for a stand-in, and so is who disappears: no call
        # sees the one before the other.
        coming = [Absent.of(new) for new in added if new.state is State.RUNNING]
        going = [Absent.of(p.old) for p in gone if p.old and p.old_seat is not None]
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
                self.ports.unseat(absent.handler)
            raise
        for absent in going:
            plugins.unregister(absent)
        self.registry.remove([p.old for p in gone if p.old])
        self.registry.add([p.new for p in self.pairs if p.new and not p.old])
        for pair in self.pairs:
            if pair.old is not None and pair.new is not None:
                self.registry.refile(pair.old, before=pair.new.filepath)
            self._tell_swapped(pair)

    def _turn(self, *steps: Callable[[], None]) -> None:
        """Let the world see the new: stores that cannot fail, nothing that waits."""
        for step in steps:
            step()
        for pair in self.pairs:
            if pair.old is not None and pair.new is not None:
                pair.old.exchange(pair.new)

    def _tell_swapped(self, pair: Pair) -> None:
        if pair.old is None and pair.new is not None:
            self.ports.tell(Happening.LOADED, pair.new)
        elif pair.new is None and pair.old is not None:
            self.ports.tell(Happening.UNLOADED, pair.old)
        elif pair.old is not None:
            self.ports.tell(Happening.SWAPPED, pair.old)

    async def _undo(self) -> None:
        """Finalize what was started, forget what was staged, wake what was stopped."""
        with self._stage.entered():  # to finalize may import
            for pair in reversed(self.pairs):
                if pair.new is not None and pair.new.state is State.RUNNING:
                    await pair.new.stop()
        for trail in self._trails.values():
            trail.undo()
        for pair in reversed(self.pairs):
            if pair.new is not None:
                pair.new.trail.undo()
        if self._attempt is not None:
            self._attempt.discard()
        self._stage.discard()
        for absent in reversed(self._aside):
            await stand_in(absent, self.ports)
