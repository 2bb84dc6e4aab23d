"""Prepare the swap of some units for a new generation: all of them, or nothing.

`Swap.prepare` stages the new code, and starts its photons beside the old ones.
`luminal.reload._transaction` replaces the old by the new. Until then, any failure
leaves the host as it was.
"""

from __future__ import annotations

import time
from copy import deepcopy
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from luminal._phases import enter
from luminal._plain import attribute_of, attributes_of, error_text, plain
from luminal.discovery import fold
from luminal.errors import LuminalError, PhotonConflictError, PhotonReloadError
from luminal.lifecycle import (
    Handler,
    InterpreterChanges,
    check_names,
    check_objects,
)
from luminal.loading import (
    Attempt,
    Selected,
    Stage,
    reach_loop,
    run_in_thread,
    run_on_worker,
)
from luminal.model import Candidate, Event, EventKind, State
from luminal.reload._plan import find_unmet, reachable
from luminal.reload._state import own_instances

if TYPE_CHECKING:
    from collections.abc import (
        Coroutine,
        Iterable,
        Mapping,
        Sequence,
    )
    from collections.abc import Set as AbstractSet

    from luminal.lifecycle import Registry, Runtime
    from luminal.loading import Choice, Generation, ModuleLocation, Origin, World
    from luminal.model import Problem
    from luminal.reload._plan import Change

__all__ = [
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


_SAID = {f"photon_{key}": key for key in ("author", "version", "description")}
_ASKED = ("photon_tags", "photon_requires", *_SAID)


@attrs.define(eq=False)
class Pair:
    """A photon before and after a swap.

    Attributes:
        old: The Handler that the host knows; the swap gives it the new photon. None
            where the new code adds a photon.
        new: A Handler of the new photon; None where the new code has it no more.
        retiring: A Handler of the old photon, once the swap is made; None where the new
            code adds a photon.
        state: State of *old* when the transaction began.
        registered: The object that is registered for the hooks of *old*; None where
            there is none.
    """

    old: Handler | None
    new: Handler | None
    state: State = State.STAGED
    registered: object | None = None
    retiring: Handler | None = None
    warnings: tuple[Problem, ...] = ()

    @property
    def is_one_sided(self) -> bool:
        """Whether there is no running old photon that a roll-back could return to."""
        if self.old is None or self.new is None:
            return True
        return self.state is not State.RUNNING

    @property
    def is_exclusive(self) -> bool:
        """Whether the old photon must stop before the new one can start."""
        if self.old is None or self.state is not State.RUNNING:
            return False
        value = attribute_of(self.old._life.instance, "photon_exclusive", False)
        return type(value) in (bool, int) and bool(value)


def pair_up(
    selected: Iterable[Selected],
    handlers: Sequence[Handler],
    runtime: Runtime,
    known: Sequence[Candidate] = (),
) -> list[Pair]:
    """Match new photons with *handlers* by name, in the order of loading.

    Args:
        selected: The new photons.
        handlers: Of the old photons.
        runtime: The connection of the new Handlers to the host.
        known: What discovery knows of the new photons, where it was asked.
    """
    facts = {fold(candidate.name): candidate for candidate in known} if known else {}
    by_name: dict[str, Selected] = {}
    for chosen in selected:
        by_name[fold(chosen.name)] = chosen
    pairs: list[Pair] = []
    for old in handlers:
        name, life = old._name, old._life
        key = fold(name)
        found = by_name.pop(key, None)
        new = None
        if found is not None:
            new = _successor(found, old, runtime, facts.get(key))
        plugin = runtime.plugins.get_plugin(name)
        registered = plugin if plugin is life.instance else None
        pairs.append(Pair(old, new, life.state, registered))
    if not by_name:
        return pairs
    by_unit = {h.generation.unit: h for h in handlers if h.generation is not None}
    for chosen in by_name.values():
        neighbour = by_unit.get(chosen.generation.unit) or handlers[0]
        fact = facts.get(fold(chosen.name))
        pairs.append(Pair(None, _successor(chosen, neighbour, runtime, fact)))
    return pairs


def _successor(
    chosen: Selected, like: Handler, runtime: Runtime, fact: Candidate | None
) -> Handler:
    sources, life = chosen.generation.sources, like._life
    filepath = life.filepath
    if fact is not None:
        filepath = fact.location
    elif filepath not in sources:  # the photon has moved to another file
        filepath = next(iter(sources), filepath)
    source = sources.get(filepath)
    checksum = source.checksum if source is not None else life.checksum
    if fact is not None and source is None:
        checksum = fact.checksum
    return Handler(
        like.logging,
        chosen.name,
        filepath,
        checksum,
        chosen.obj,
        generation=chosen.generation,
        candidate=_updated(life.candidate, fact, chosen, filepath, checksum),
        choice=like._choice,
        runtime=runtime,
    )


def _updated(
    candidate: Candidate | None,
    fact: Candidate | None,
    chosen: Selected,
    filepath: str,
    checksum: str,
) -> Candidate | None:
    """Return *candidate* with the metadata of the new class.

    Args:
        candidate: What discovery knew of the photon before.
        fact: What it knows of the new one, where it was asked.
        chosen: The new one.
        filepath: Of its file.
        checksum: Of its text.
    """
    known = fact or candidate
    if known is None:
        return None
    said = attributes_of(chosen.obj, _ASKED)
    required, metadata = said.pop("photon_requires", None), dict[str, Any]()
    is_class = issubclass(type(chosen.obj), type)
    if is_class and type(required) in (list, tuple):
        texts = _texts(required)
        if texts or not known.group:
            metadata["requirements"] = texts
    if fact is None:
        metadata["name"], metadata["checksum"] = chosen.name, checksum
        if filepath != known.location and known.location:
            metadata["location"] = filepath
        snapshot = chosen.generation.snapshot
        if snapshot is not None and known.distribution and snapshot.unit.version:
            # After a roll-back it is not the installed version.
            metadata["version"] = snapshot.unit.version
            metadata["origin"] = f"{known.distribution} {snapshot.unit.version}"
        tags = said.pop("photon_tags", ())
        for name, value in said.items():
            if type(value) is str and not value:
                continue
            if issubclass(type(value), str) and (text := plain(value)):
                metadata[_SAID[name]] = text
        if type(tags) in (list, tuple):
            metadata["tags"] = _texts(tags) if tags else ()
    if not metadata:
        return known
    # `attrs.evolve` takes many times as long, in each reload.
    updated = object.__new__(Candidate)
    vars(updated).update(vars(known), **metadata)
    return updated


def _texts(values: Iterable[object]) -> tuple[str, ...]:
    """Return those of *values* that are texts."""
    return tuple([plain(each) for each in values if issubclass(type(each), str)])


@attrs.frozen
class Previous:
    """The earlier generation of a photon, as ``on_reload(self, previous)`` gets it.

    Users import it as `luminal.Previous`.

    Attributes:
        version: Its version, or an empty string.
        generation: Its number.
        instance: The old photon, which is still running; None for an exclusive photon,
            which has been stopped.
        data: A copy of its ``context.data``. The new photon has the same object as its
            own ``context.data``.
    """

    version: str
    generation: int
    instance: Any
    data: Mapping[str, Any]


async def hand_over(old: Handler, new: Handler) -> tuple[Previous, tuple[Problem, ...]]:
    """Copy the data of *old* to *new*.

    The data is copied so that the new photon cannot change what the old one has.

    Args:
        old: Handler of the old photon.
        new: Handler of the new photon, which is not started yet.

    Returns:
        The argument of ``on_reload``, and what is wrong with the data all the same.

    Raises:
        PhotonReloadError: The data cannot be copied.
    """
    life, context = old._life, new._life.context
    data = life.context.data

    def copy() -> tuple[Problem, ...]:
        context.data.update(deepcopy(data))
        return own_instances(old)

    warnings: tuple[Problem, ...] = ()
    if type(data) is not dict or data:
        # Objects in it may say themselves how they are copied.
        copied = await run_in_thread(
            copy, new.deadlines.start, f"copy data of {old.name}"
        )
        if copied.error is not None:
            raise PhotonReloadError(
                "its data cannot be handed over",
                photon=old.name,
                file=old.filepath,
                why=error_text(copied.error),
                hint="keep in 'context.data' only what 'copy.deepcopy' can copy",
            ) from copied.error
        warnings = copied.value or ()
    context.shared = life.context.shared
    version = life.candidate.version if life.candidate is not None else ""
    number = life.generation.number if life.generation is not None else 0
    return Previous(version, number, life.instance, context.data), warnings


@attrs.define(eq=False)
class Placeholder:
    """Keeps the position of a photon in the call order while the photon is stopped.

    Attributes:
        handler: Of the photon.
        data: Its ``context.data``.
        hooks: Names of the hooks that it implements.
    """

    is_placeholder = True
    """Photons that require this one cannot reach it meanwhile."""

    handler: Handler
    data: dict[str, Any]
    hooks: tuple[str, ...] = ()

    @classmethod
    def of(cls, handler: Handler) -> Placeholder:
        """Return a placeholder for the photon of *handler*."""
        hooks = handler._runtime.plugins.hook_names(handler.instance)
        return cls(handler, handler.context.data, hooks)


async def stop_exclusive(placeholder: Placeholder, runtime: Runtime) -> None:
    """Stop an exclusive photon, and keep its position in the call order."""
    runtime.plugins.swap(placeholder.handler.instance, placeholder)
    await placeholder.handler._stop()


async def restart_exclusive(placeholder: Placeholder, runtime: Runtime) -> None:
    """Start a stopped exclusive photon again, with the data that it had.

    Where that fails too, the photon is left failed and unregistered. This is emitted as
    an event and logged, as there is no other generation to start.
    """
    handler, data = placeholder.handler, placeholder.data

    async def prepare(again: Handler) -> None:
        again.context.data.update(data)
        version = again.candidate.version if again.candidate is not None else ""
        previous = Previous(version, again.number, None, data)
        await runtime.step("photon_reload", again, previous=previous)

    try:
        await handler._start(
            prepare=prepare,
            register=lambda again: runtime.plugins.swap(placeholder, again.instance),
        )
    except LuminalError as error:
        import logging

        runtime.plugins.unregister(placeholder)
        logging.getLogger("luminal.reload").critical(
            "photon %r could not be started again and does not run: %s",
            handler.name,
            error,
        )


T = TypeVar("T")


async def shield_until_done(work: Coroutine[Any, Any, T]) -> T:
    """Await *work* to its end, and only then raise a cancellation of the caller.

    `asyncio.shield` protects the work too, but does not wait for its end.

    Args:
        work: What must not be left half done.

    Raises:
        asyncio.CancelledError: The caller was cancelled in the meantime.
        BaseException: Whatever *work* raised.
    """
    import asyncio

    cancelled: asyncio.CancelledError | None = None
    try:
        await reach_loop()
    except asyncio.CancelledError as error:
        cancelled = error
    task = asyncio.create_task(work, name="luminal-undo")
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        cause = None if task.cancelled() else task.exception()
        raise cancelled from cause
    return task.result()


_IN_BETWEEN = (State.STARTING, State.STOPPING)


def _not_cancelled(error: BaseException) -> BaseException:
    """Return *error* of an import, but never a cancellation of the caller."""
    from asyncio import CancelledError

    if not issubclass(type(error), CancelledError):
        return error
    replaced = RuntimeError("it raised CancelledError")
    replaced.__cause__ = error
    return replaced.with_traceback(error.__traceback__)


@attrs.define(eq=False)
class Swap:
    """Some units that are replaced or rejected together.

    Args:
        world: Where generations are committed.
        registry: The Handlers of the host.
        runtime: The connections of photons to the host.
        units: What is replaced, in the order of staging.
        change: What replaces them.
        stage: Where they are staged.
        prepared: Swaps that are committed in the same step.
        others: Units that change as well: in a later swap, or in one that was rejected.
            New code must not be linked to an earlier generation of one.

    Attributes:
        found: Those of *others* that the new code depends on; known once it was
            imported.
        users: Units that have begun meanwhile to import from what is replaced.
        checked: What was staged when the commit was checked.
        before: Unit → the generation that serves.
        concerned: Handlers of the photons that are to be replaced.
        pairs: The photons; ``retiring`` of each pair is to be retired after the commit.
        failed_unit: The unit whose import was under way when staging failed.
    """

    world: World
    registry: Registry
    runtime: Runtime
    units: Sequence[str]
    change: Change
    stage: Stage
    prepared: Sequence[Swap] = ()
    others: AbstractSet[str] = frozenset()
    found: set[str] = attrs.Factory(set)
    users: set[str] = attrs.Factory(set)
    checked: Mapping[str, Generation] = attrs.Factory(dict)
    before: dict[str, Generation] = attrs.field(init=False)
    concerned: list[Handler] = attrs.field(init=False)
    pairs: list[Pair] = attrs.Factory(list)
    failed_unit: str = ""
    # What the photons use, and is different on disk by now, though no reload renews it.
    outdated: tuple[Problem, ...] = ()
    # What the new text says that it does and the old one did not, where that is asked.
    news: tuple[Problem, ...] = ()
    # Unit → how its photons are chosen, where it has any.
    _chosen_by: dict[str, Choice | None] = attrs.field(init=False)
    _attempt: Attempt | None = None
    # Unit → what its import has changed, until its photons are known.
    _import_changes: dict[str, InterpreterChanges] = attrs.Factory(dict)
    # Exclusive photons that were stopped for the new ones to start.
    _stopped: list[Placeholder] = attrs.Factory(list)

    def __attrs_post_init__(self) -> None:
        serving = self.world.generations
        self.before, self._chosen_by = {}, {}
        for unit in self.units:
            self.before[unit] = serving[unit]
        # The host's lock is held until the swap is over: none is added or removed.
        self.concerned = self.registry.of_units(self.units)
        for handler in self.concerned:
            if (generation := handler._life.generation) is not None:
                self._chosen_by[generation.unit] = handler._choice

    @property
    def staged(self) -> dict[str, Generation]:
        """Unit → its new generation; also of what the photons imported anew."""
        return self._attempt.staged if self._attempt is not None else {}

    async def prepare(self) -> None:
        """Stage and start the new photons; where it raises, `undo` is to follow.

        Raises:
            BaseException: Whatever went wrong, also a cancellation.
        """
        try:
            await run_on_worker(
                self.world.worker, self._prepare(), self.runtime.deadlines
            )
        except BaseException:
            self._collect(self.staged)
            raise

    async def _prepare(self) -> None:
        """Stage the new photons, and start them beside the old ones."""
        selected = await self._select()
        is_stable = False
        while not is_stable:
            is_stable = True
            for handler in self.concerned:
                if handler._life.state in _IN_BETWEEN:
                    is_stable = False
                    async with handler._lock:
                        pass
        if len(selected) > 1:
            self._check_each_once(selected)
        known: list[Candidate] = []
        for upgrade in self.change.upgrades.values():
            known += upgrade.candidates
        known += self.change.candidates
        self.pairs = pair_up(selected, self.concerned, self.runtime, known)
        if len(self.pairs) > len(self.concerned):
            self._check_names()
        self._check_requirements()
        for pair in self.pairs if self._import_changes else ():
            if pair.new is not None and pair.new.generation is not None:
                changes = self._import_changes.get(pair.new.generation.unit)
                pair.new._changes.absorb(changes or InterpreterChanges())
        for pair in self.pairs:
            await self._start(pair)
        if self.others:
            self._check_others()
        if self.world.examine is not None:
            self.news = tuple(n for g in self.staged.values() for n in g.news)

    def _collect(self, staged: Mapping[str, Generation]) -> None:
        """Note what the generations in *staged* have imported from so far."""
        for generation in list(staged.values()):
            self.found |= self.others & generation.needs

    def _check_others(self) -> None:
        """Reject new code that would be linked to an earlier generation.

        Raises:
            PhotonReloadError: It imports from a unit that changes apart from it.
        """
        self._collect(self.staged)
        if self.found:
            names = ", ".join(repr(u.rpartition(".")[2]) for u in sorted(self.found))
            raise PhotonReloadError(
                "would be mixed with an earlier generation",
                why=f"it imports from {names}, whose next generation was rejected",
                hint="fix that one",
            )

    def _check_requirements(self) -> None:
        """Reject photons whose requirements, or those of others, would not be met.

        Raises:
            PhotonDependencyError: Names what is missing, or the photons of a cycle.
        """
        unmet = find_unmet(self.pairs, self.registry, self.prepared)
        if unmet is None:
            return
        for name in unmet.others:
            other = self.registry.get(name)
            if other is not None and other.generation is not None:
                self.found |= self.others & {other.generation.unit}
        raise unmet.error

    async def _select(self) -> list[Selected]:
        """Stage the units, and choose their photons."""
        began = time.perf_counter()
        result = await run_in_thread(
            self._stage_all, self.runtime.deadlines.load, "luminal-stage"
        )
        if result.error is not None:
            raise _not_cancelled(result.error)
        self.failed_unit = ""
        if self.others:
            self._check_others()
        seconds = time.perf_counter() - began
        selected = result.value or []
        for chosen in selected:
            number = chosen.generation.number
            event = Event(EventKind.STAGED, chosen.name, number, seconds=seconds)
            self.runtime.events.emit(event)
        return selected

    def _stage_all(self) -> list[Selected]:
        """Stage the units as one attempt; in a thread."""
        world = self.world
        self.outdated = world.outside.changes(world.with_needs(self.units))
        with self.stage.attempt(frozenset(self.units)) as attempt:
            self._attempt = attempt
            try:
                return [
                    chosen
                    for unit in self.units
                    for chosen in self._stage_unit(unit, attempt)
                ]
            finally:
                if self.others:
                    self._collect(attempt.pending)

    def _stage_unit(self, unit: str, attempt: Attempt) -> list[Selected]:
        """Stage one unit; return its photons, and those that have moved from it."""
        upgrade = self.change.upgrades.get(unit)
        if upgrade is None and unit not in self._chosen_by:
            # A helper. Whoever imports it brings it; it may have gone.
            return []
        self.failed_unit = unit  # the only trace of it where the limit is exceeded
        running = self.before[unit]
        selected: list[Selected] = []
        if unit in self.change.moves:
            selected += self._move(unit, attempt, self._chosen_by[unit])
        if unit in self.change.gone:
            return selected
        if upgrade is not None:
            generation = self._provide(attempt, unit, upgrade.origin)
        else:
            is_pinned = unit in self.change.pinned
            known = None if is_pinned else running.locations.get(unit)
            generation = self._provide(attempt, unit, running.origin, known)
        choice = upgrade.choice if upgrade else self._chosen_by.get(unit)
        if choice is not None:
            chosen = choice.select(generation)
            if upgrade is not None:
                check_objects(
                    chosen, upgrade.candidates, choice.base, self.runtime.plugins
                )
            selected += chosen
        return selected

    def _move(
        self, unit: str, attempt: Attempt, choice: Choice | None
    ) -> list[Selected]:
        """Stage the units that the photons of *unit* have moved to."""
        running, numbers = self.world.generations[unit], self.world.numbers
        selected: list[Selected] = []
        for target, (origin, location) in self.change.moves[unit].items():
            numbers[target] = max(numbers.get(target, 0), running.number)
            generation = self._provide(attempt, target, origin, location)
            if choice is not None:
                selected += choice.select(generation)
        return selected

    def _provide(
        self,
        attempt: Attempt,
        unit: str,
        origin: Origin,
        location: ModuleLocation | None = None,
    ) -> Generation:
        """Stage *unit*, and note what its import changes, for its first photon."""
        policy = self.runtime.interpreter_policy
        if policy is None:
            return attempt.provide(unit, origin, location)
        changes = self._import_changes[unit] = InterpreterChanges()
        of = self.registry.of_units([unit])
        name = (of[0].name, of[0].filepath) if of else (unit, "")
        with policy.tracking(changes, *name):
            return attempt.provide(unit, origin, location)

    def _check_each_once(self, selected: Sequence[Selected]) -> None:
        """Reject a photon whose name another new one has.

        Raises:
            PhotonConflictError: Names both files; the one that had it before keeps it.
        """
        had = {fold(h.name): h.generation.unit for h in self.concerned if h.generation}
        known: dict[str, Selected] = {}
        for chosen in selected:
            key = fold(chosen.name)
            other = known.setdefault(key, chosen)
            if other is chosen:
                continue
            if chosen.generation.unit == had.get(key):
                chosen, other = other, chosen  # noqa: PLW2901
            raise PhotonConflictError(
                "is there already",
                photon=chosen.name,
                file=next(iter(chosen.generation.sources), ""),
                why=f"{next(iter(other.generation.sources), '')} has a photon of that "
                "name",
                hint="give one of them another photon_name",
            )

    def _check_names(self) -> None:
        """Reject names that photons outside of the swap have, or will have."""
        added = [pair.new for pair in self.pairs if pair.new and pair.old is None]
        claimed = {
            fold(pair.new.name): pair.new.filepath
            for swap in self.prepared
            for pair in swap.pairs
            if pair.new and pair.old is None
        }
        for new in added:
            if new.generation and new.candidate:
                selected = Selected(new.name, new.factory, new.generation)
                check_names([selected], [new.candidate], self.registry, claimed=claimed)

    async def _start(self, pair: Pair) -> None:
        """Start a new photon beside the old one, or after an exclusive one."""
        old, new = pair.old, pair.new
        if new is None:
            return
        if old is not None and pair.state not in (State.RUNNING, State.FAILED):
            return  # the old one does not run, and has not failed to
        if old is not None and pair.is_exclusive:
            placeholder = Placeholder.of(old)
            self._stopped.append(placeholder)
            await shield_until_done(stop_exclusive(placeholder, self.runtime))
            pair.state, pair.registered = old.state, placeholder

        async def prepare(handler: Handler) -> None:
            if old is not None:
                step = self.runtime.step
                await step("photon_reload", handler, previous=previous)

        previous: Any = None
        if old is not None:
            previous, pair.warnings = await hand_over(old, new)
        before = enter("start")
        try:
            with self.stage.entered(self._attempt):
                await new._start(prepare=prepare)
        finally:
            enter(before)

    def check(self, replaced: AbstractSet[str]) -> None:
        """Reject a commit after which not all would be of one generation.

        Args:
            replaced: All units that are replaced in the same step.

        Raises:
            PhotonReloadError: Something has changed since the swap was prepared.
        """
        for pair in self.pairs:
            if pair.old is not None and pair.old._life.state is not pair.state:
                raise PhotonReloadError(
                    "changed its state while its next generation was started",
                    photon=pair.old.name,
                    file=pair.old.filepath,
                    why=f"it was {pair.state} and is {pair.old.state}",
                    hint="reload it again",
                )
        # Units that running code has imported with an earlier text than the new code.
        self.checked = self.staged
        outdated = self.stage.outdated(self.checked.values())
        users = reachable(self.units, self.world.users)
        self.users = users.difference(replaced).union(outdated)
        if self.users:
            names = ", ".join(repr(u.rpartition(".")[2]) for u in sorted(self.users))
            raise PhotonReloadError(
                "was imported by other code while its next generation was started",
                why=f"{names} has imported from it",
                hint="reload it again",
            )

    async def undo(self) -> None:
        """Finalize what was started, forget what was staged, restart what was stopped.

        It must be done to its end, see `shield_until_done`.
        """
        with self.stage.entered(self._attempt):  # a `finalize` may import
            for pair in reversed(self.pairs):
                if pair.new is not None and pair.new.state is State.RUNNING:
                    await pair.new._stop()
        for changes in self._import_changes.values():
            changes.undo()
        for pair in reversed(self.pairs):
            if pair.new is not None:
                pair.new._changes.undo()
        if self._attempt is not None:
            staged = list(self._attempt.pending.values())
            self.stage.give_up(self._attempt)
            self.runtime.plugins.forget_specs(staged, has_served=False)
        for placeholder in reversed(self._stopped):
            await restart_exclusive(placeholder, self.runtime)
