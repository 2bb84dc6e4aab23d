"""`Reloader`: decides which units one swap replaces, and reports what came of it.

A reload reads what has changed, adds everything that imports from it, and runs one swap
for each group of units that succeed or fail together. Afterwards the old photons are
retired, or kept for the time of probation.
"""

from __future__ import annotations

import functools
import operator
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, cast

import attrs

from luminal.errors import LuminalError, PhotonRollbackError
from luminal.lifecycle import load_failure
from luminal.loading import (
    BundleOrigin,
    Pinned,
    reach_loop,
    read_bundle_files,
    run_in_thread,
)
from luminal.model import (
    EventKind,
    OutcomeResult,
    Probation,
    Problem,
    Report,
    State,
)
from luminal.reload._plan import (
    Change,
    EarlierFiles,
    History,
    bundle_upgrade,
    components,
    distribution_of,
    find_upgrades,
    reachable,
)
from luminal.reload._probation import ProvisionalSwap
from luminal.reload._registrations import (
    entries_taken_away,
    permanent_registrations,
    repeated_registration,
)
from luminal.reload._retirement import Retirements
from luminal.reload._transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from packaging.version import Version

    from luminal.lifecycle import CrossLoopLock, Handler, Registry, Runtime
    from luminal.loading import Generation, World
    from luminal.model import Outcome
    from luminal.reload._retirement import Retirement
    from luminal.reload._swap import Pair, Swap

__all__ = ["Policy", "Reloaded", "Reloader"]


def _what_is_kept(handler: Handler) -> str:
    """Return what becomes of a photon whose new generation is rejected."""
    if handler.state is State.RUNNING:
        return f"still running generation {handler.number}"
    if handler.state is State.STAGED:
        return f"still loaded: generation {handler.number}"
    return f"its state is {str(handler.state)!r}"


@attrs.frozen
class Reloaded:
    """The result of a reload.

    Attributes:
        handlers: Of the photons that have a new generation.
        report: An outcome for every photon that was affected.
        errors: Why swaps were rejected.
        retirements: Of the old photons.
        cancelled: A cancellation that came after the commit.
    """

    handlers: tuple[Handler, ...] = ()
    report: Report = attrs.Factory(Report)
    errors: tuple[LuminalError, ...] = ()
    retirements: tuple[Retirement, ...] = ()
    cancelled: BaseException | None = None

    async def ensure_retired(self) -> None:
        """Let the retirement of old photons begin; the caller holds no lock.

        Raises:
            asyncio.CancelledError: The caller was cancelled after the commit.
        """
        for retirement in self.retirements:
            await retirement.ensure_begun()
        if self.cancelled is not None:
            raise self.cancelled

    async def settle(self) -> None:
        """Wait until old photons are finalized, but only briefly for their calls.

        Raises:
            asyncio.CancelledError: The caller was cancelled after the commit.
        """
        if self.cancelled is not None:
            await self.ensure_retired()
        for retirement in self.retirements:
            await retirement.wait()

    def __add__(self, other: Reloaded) -> Reloaded:
        """Return the results of both."""
        return Reloaded(
            self.handlers + other.handlers,
            Report(self.report.outcomes + other.report.outcomes),
            self.errors + other.errors,
            self.retirements + other.retirements,
            self.cancelled or other.cancelled,
        )


_MOST_EARLIER = 4
"""Earlier versions of a unit that are kept in memory, where a lock is in force."""


def _version_of(files: Pinned) -> Version:
    """Return the version of judged files; the lowest where that is none."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(files.snapshot.unit.version if files.snapshot else "")
    except InvalidVersion:
        return Version("0.dev0")


Policy = Literal["all", "component"]
"""What is rejected together: the whole batch, or only what imports connect."""


@attrs.define(eq=False)
class Reloader:
    """Replaces generations of one host.

    Args:
        world: Where generations are committed.
        registry: The Handlers of the host.
        runtime: The connections of photons to the host.
        lock: Of the host; the caller of every method holds it.
        probation: When a new generation is rolled back automatically.

    Attributes:
        retirements: Of what earlier swaps have replaced.
    """

    world: World
    registry: Registry
    runtime: Runtime
    lock: CrossLoopLock
    probation: Probation = attrs.Factory(Probation)
    retirements: Retirements = attrs.field(init=False)
    # Swaps on probation.
    _provisional: list[ProvisionalSwap] = attrs.Factory(list)
    _history: History = attrs.Factory(History)
    # Unit → its earlier files that a lock has let run, the latest last.
    _judged: dict[str, list[Pinned]] = attrs.Factory(dict)
    # Units whose latest change was rejected, those of one swap together.
    _rejected: set[frozenset[str]] = attrs.Factory(set)

    def __attrs_post_init__(self) -> None:
        self.retirements = Retirements(self.runtime, self.world.worker)

    async def reload(
        self,
        handlers: Iterable[Handler],
        policy: Policy = "all",
        approved: Mapping[str, str] | None = None,
    ) -> Reloaded:
        """Replace the units of *handlers*, and all that their changed helpers affect.

        Photons of a distribution are replaced by the installed version.

        Args:
            handlers: Of photons that are loaded.
            policy: What is rejected together.
            approved: All that may be executed, see `Stage`.
        """
        asked = list(handlers)
        units: set[str] = set()
        is_installed = False
        for handler in asked:
            life = handler._life
            if life.generation is not None:
                units.add(life.generation.unit)
            if life.candidate is not None and life.candidate.distribution:
                is_installed = True
        if not is_installed and reachable(units, self.world.needs) == units:
            return await self.replace(Change(units, approved=approved), policy)
        result = await run_in_thread(
            lambda: self._read(asked), self.runtime.deadlines.load, "luminal-read"
        )
        if result.error is not None:
            raise result.error
        change = result.value or Change()
        change.approved = approved
        return await self.replace(change, policy)

    async def replace(
        self,
        change: Change,
        policy: Policy = "all",
        gate: Callable[[], Awaitable[None]] | None = None,
    ) -> Reloaded:
        """Replace the units of *change* and all that imports from them.

        Args:
            change: The units, and what replaces them.
            policy: What is rejected together.
            gate: Awaited just before the commit, see `Transaction`. There is no
                probation then: whoever has decided on the commit decides on its end.

        Raises:
            BaseException: What *gate* has raised. Everything is as it was.
        """
        whole = self.affected(change.units)
        is_one = policy == "all"
        groups = [whole] if is_one else components(whole, self.world.needs)
        return await self._run(groups, change, gate=gate)

    def affected(self, units: set[str]) -> set[str]:
        """Return those of *units* that are loaded, and all that imports from them."""
        return reachable(units & self.world.generations.keys(), self.world.users)

    async def _run(
        self,
        groups: list[set[str]],
        change: Change,
        spare: Sequence[set[str]] = (),
        gate: Callable[[], Awaitable[None]] | None = None,
    ) -> Reloaded:
        """Replace what can be replaced of *groups* in one step, and report the rest.

        Args:
            groups: Units that are replaced or rejected together.
            change: What replaces them.
            spare: Likewise, but replaced only where one of *groups* needs them.
            gate: See `replace`.
        """
        serving = self.world.generations
        has_bundles = False
        for unit in set[str]().union(*groups, *spare):
            origin = serving[unit].origin
            if type(origin) is BundleOrigin:
                has_bundles = True
                if origin.fleet:  # what it uses is replaced: it keeps its bytes
                    change.pinned.setdefault(unit, Pinned.of(serving[unit]))
        if has_bundles:
            await self._include_bundles(change)
        transaction = Transaction(
            self.world,
            self.registry,
            self.runtime,
            change,
            groups,
            list(spare),
            self.retirements.retire_earlier,
            gate,
        )
        began = time.perf_counter()
        with change.stopwatch.running():
            await transaction.run()
        seconds = time.perf_counter() - began
        if not transaction.connected:
            self.runtime.events.count_phases("swap", change.stopwatch.seconds())
        done = [
            await self._accept(swaps, is_final=gate is not None)
            for swaps in transaction.connected
        ]
        done += [self._reject(s, cause, seconds) for s, cause in transaction.rejected]
        if transaction.cancelled is not None:
            done.append(Reloaded(cancelled=transaction.cancelled))
        return functools.reduce(operator.add, done) if done else Reloaded()

    async def _include_bundles(self, change: Change) -> None:
        """Read the bundles of *change*, for what they say about their photons."""
        serving = self.world.generations
        units = [
            unit
            for unit in change.units | change.pinned.keys()
            if unit not in change.upgrades
            and unit in serving
            and serving[unit].bundle is not None
        ]
        if not units:  # a thread would be started for nothing
            return

        def read() -> None:
            for unit in units:
                was = cast("BundleOrigin", serving[unit].origin)
                origin = BundleOrigin(was.path, unit, fleet=was.fleet)
                handlers = self.registry.of_units([unit])
                with suppress(LuminalError):  # to stage it says what is wrong
                    pinned = change.pinned.get(unit)
                    if pinned is None:
                        pinned = read_bundle_files(origin, change.read)
                    change.include(bundle_upgrade(pinned, origin, handlers))

        result = await run_in_thread(read, self.runtime.deadlines.load, "luminal-read")
        if result.error is not None:
            raise result.error

    async def _accept(self, swaps: list[Swap], *, is_final: bool) -> Reloaded:
        """Report what was replaced, and retire it now or after probation.

        Args:
            swaps: They return to the earlier generations together.
            is_final: There is no probation.
        """
        before = {u: g for swap in swaps for u, g in swap.before.items()}
        self._rejected = {of for of in self._rejected if of.isdisjoint(before)}
        self.runtime.survivors.note_replaced(before.values())
        pairs = [pair for swap in swaps for pair in swap.pairs]
        earlier_files = self._history.note({u: Pinned.of(g) for u, g in before.items()})
        for unit, generation in before.items():
            if generation.snapshot is not None:
                known = self._judged.setdefault(unit, [])
                known.append(Pinned.of(generation))
                del known[:-_MOST_EARLIER]
        # A photon has at most two generations: this swap ends the probation of the one
        # before, which a rejected swap would not have done.
        if await self.confirm(before):
            await self.retirements.retire_earlier(
                {handler.name for swap in swaps for handler in swap.concerned}
            )
        for swap in swaps:
            self._tell_of_new(swap.units, swap.change)
        present = [p for p in pairs if p.new is not None]
        handlers = tuple([p.old or p.new for p in pairs if p.new is not None])
        outdated = tuple(dict.fromkeys([p for swap in swaps for p in swap.outdated]))
        news = tuple([problem for swap in swaps for problem in swap.news])
        report = self._report(present, before, outdated, news)
        retirements = await self._conclude(pairs, before, earlier_files, is_final)
        return Reloaded(handlers, report, retirements=retirements)

    def _tell_of_new(self, units: Iterable[str], change: Change) -> None:
        """Emit why photons that an upgrade brings in addition are not loaded."""
        for unit in change.upgrades.keys() & units:
            for candidate in change.upgrades[unit].rejected:
                if candidate.problem is not None:
                    self.runtime.emit_candidate(
                        EventKind.REJECTED, candidate, candidate.problem
                    )

    def _report(
        self,
        pairs: list[Pair],
        before: Mapping[str, Generation],
        outdated: tuple[Problem, ...],
        news: tuple[Problem, ...] = (),
    ) -> Report:
        """Return the outcomes of a swap; what stays of the old code is with the first.

        Args:
            pairs: With a new photon.
            before: Unit → what was replaced.
            outdated: What the photons use, and no reload renews.
            news: What the new code newly says that it does; told of the first photon.
        """
        stays = permanent_registrations(before.values())
        return Report(
            tuple(
                [
                    self._outcome(p, () if n else stays, outdated, () if n else news)
                    for n, p in enumerate(pairs)
                ]
            )
        )

    def _outcome(
        self,
        pair: Pair,
        stays: tuple[Problem, ...],
        outdated: tuple[Problem, ...],
        news: tuple[Problem, ...] = (),
    ) -> Outcome:
        """Return that a photon was swapped in, and what is wrong all the same.

        Args:
            pair: The photon, old and new.
            stays: What cannot be taken back of what the old code has registered.
            outdated: What it uses, and no reload renews.
            news: What its text newly says that it does.
        """
        handler: Any = pair.old or pair.new
        changed = stays + pair.warnings
        if pair.retiring:
            changed += entries_taken_away(pair.retiring)
        for problem in changed:
            self.runtime.emit(EventKind.SIDE_EFFECT, handler, problem=problem)
        copies = self.world.copies_of_host(handler.generation.unit)
        for problem in news:
            self.runtime.emit(EventKind.DRIFTED, handler, problem=problem)
        for problem in outdated:
            self.runtime.emit(EventKind.OUTDATED, handler, problem=problem)
        warnings = (*news, *changed, *outdated, *copies)
        outcome: Outcome = handler._outcome(warnings=warnings)
        return outcome

    async def _conclude(
        self,
        pairs: list[Pair],
        before: dict[str, Generation],
        earlier_files: EarlierFiles,
        is_final: bool,
    ) -> tuple[Retirement, ...]:
        """Retire what was replaced, now or after probation."""
        is_final = is_final or not self.probation.seconds
        if is_final or any(p.is_one_sided for p in pairs):
            retiring = [pair.retiring for pair in pairs if pair.retiring is not None]
            retirement = self.retirements.begin(retiring, before.values())
            self._retire_unneeded(*before.values())
            return (retirement,)
        loop = await reach_loop()
        provisional = ProvisionalSwap(
            pairs,
            before,
            self.world,
            self.runtime,
            self.probation,
            self.lock,
            self.retirements,
            lambda it: self._over(it, earlier_files),
        )
        self._provisional.append(provisional)
        provisional.begin(loop)
        return ()

    async def _over(
        self, provisional: ProvisionalSwap, earlier_files: EarlierFiles
    ) -> None:
        self._provisional.remove(provisional)
        if provisional.is_reverted:
            self._history.take_back(earlier_files)
            for pair in provisional.pairs:
                if pair.old is not None and pair.new is not None:
                    self.registry.refile(pair.old)
        lives = [h for p in provisional.pairs for h in (p.old, p.new, p.retiring) if h]
        self._retire_unneeded(*[h.generation for h in lives if h.generation])

    async def confirm(self, units: Iterable[str]) -> bool:
        """Make swaps of *units* final that are on probation.

        Args:
            units: Of the swaps.

        Returns:
            Whether there was one.
        """
        if not self._provisional:
            return False
        concerned = set(units)
        found = [p for p in self._provisional if p.units & concerned]
        if found:
            await reach_loop()
        for provisional in found:
            await provisional.confirm()
        return bool(found)

    async def end_earlier(self, handlers: Sequence[Handler]) -> None:
        """End what earlier swaps of *handlers* have left, before they are unloaded.

        The caller holds the lock.
        """
        units = [h.generation.unit for h in handlers if h.generation]
        await self.confirm(units)
        for unit in units:
            self._judged.pop(unit, None)
        await self.retirements.end({handler.name for handler in handlers})

    def _reject(self, swap: Swap, cause: BaseException, seconds: float) -> Reloaded:
        """Report why the old generations were kept.

        Args:
            swap: It was undone.
            cause: Why.
            seconds: How long the try took.
        """
        read = swap.change.snapshot
        files = tuple(
            path
            for generation in swap.before.values()
            for path, source in generation.files.items()
            if path in read and read[path].checksum != source.checksum
        )
        names = tuple(handler.name for handler in swap.concerned)
        phases = swap.change.stopwatch.seconds()
        outcomes, errors = [], []
        self._rejected.add(frozenset(swap.units))
        blamed = None
        if issubclass(type(cause), LuminalError):
            blamed = vars(cause).get("photon")
        failed = [] if blamed else self.registry.of_units([swap.failed_unit])
        repeated = repeated_registration(cause, swap.before.values())
        for handler in swap.concerned:
            at = failed[0] if failed else handler
            error, phase = load_failure(cause, blamed or at.name, at.filepath)
            if repeated is not None:
                file, line, number = repeated
                error.file, error.line = file, line
                error.hint = (
                    f"what {file}:{line} does was done by generation {number} and "
                    "still stands; do it in start, with context.put or "
                    "context.on_close, or once in a module of the host"
                )
            error.consequence = _what_is_kept(handler)
            errors.append(error)
            problem = handler.problem = Problem.of(error, phase)
            unit = handler.generation.unit if handler.generation is not None else ""
            number = self.world.numbers.get(unit, handler.number) + 1
            self.runtime.emit(
                EventKind.REJECTED,
                handler,
                seconds=seconds,
                problem=problem,
                number=number,
                files=files,
                photons=names,
                phases=phases,
            )
            outcome = handler._outcome(OutcomeResult.FAILED, problem, swap.outdated)
            outcomes.append(attrs.evolve(outcome, phases=phases))
            for each in swap.outdated:
                self.runtime.emit(EventKind.OUTDATED, handler, problem=each)
        return Reloaded((), Report(tuple(outcomes)), tuple(errors[:1]))

    def end_undone(self, paths: AbstractSet[str]) -> list[Handler]:
        """Note of rejected saves whether they have been undone: nothing is swapped.

        Args:
            paths: Of files that have just been written.

        Returns:
            The Handlers of photons that have no problem any more.
        """
        recovered: list[Handler] = []
        for units in list(self._rejected):
            known = [self.world.generations.get(unit) for unit in units]
            serving = [generation for generation in known if generation is not None]
            if not any(paths & generation.files.keys() for generation in serving):
                continue
            change = Change()
            for generation in serving:
                for path, source in generation.files.items():
                    change.compare(generation.unit, path, source)
            if not change.units:
                self._rejected.discard(units)
                recovered += self.registry.of_units(units)
        recovered = [h for h in recovered if h.problem and h.state is State.RUNNING]
        names, files = tuple(h.name for h in recovered), tuple(sorted(paths))
        for handler in recovered:
            handler.problem = None
            self.runtime.emit(EventKind.RECOVERED, handler, files=files, photons=names)
        return recovered

    async def roll_back(
        self, handler: Handler, approved: Mapping[str, str] | None = None
    ) -> Reloaded:
        """Return to the files of the earlier generation, as a new generation.

        Args:
            handler: Of a photon of the unit.
            approved: All that may be executed, see `Stage`.

        Raises:
            PhotonRollbackError: There is no earlier generation.
        """
        unit = handler.generation.unit if handler.generation is not None else ""
        before, groups = self._history.before(unit, self.world.needs)
        if not before:
            raise PhotonRollbackError(
                "cannot be rolled back",
                photon=handler.name,
                file=handler.filepath,
                why="it has had one generation only",
                hint="roll back after a reload",
            )
        whole, *others = [self.affected(group) for group in groups]
        # What was swapped with it is rolled back too only where one needs the other.
        others = [other - whole for other in others]
        change = Change(pinned=before, approved=approved)
        done = await self._run([whole], change, others)
        for back in done.handlers:
            self.runtime.emit(EventKind.ROLLED_BACK, back)
        return done

    def earlier(self, handler: Handler) -> Mapping[str, Pinned]:
        """Return what `roll_back` would run: unit → its files; empty for nothing.

        Args:
            handler: Of a photon of the unit.
        """
        if handler.generation is None:
            return {}
        return self._history.before(handler.generation.unit, self.world.needs)[0]

    def newest_earlier(
        self, unit: str, is_wanted: Callable[[Pinned], bool]
    ) -> Pinned | None:
        """Return the files of the newest earlier version of *unit*, None for none.

        Args:
            unit: It runs, and a lock has judged it.
            is_wanted: Whether a version may be returned to.
        """
        if any(handler.fleet for handler in self.registry.of_units([unit])):
            return None  # it was not decided on
        found = [each for each in self._judged.get(unit, ()) if is_wanted(each)]
        return max(found, key=_version_of, default=None)

    async def return_to(self, unit: str, files: Pinned, problem: Problem) -> Reloaded:
        """Replace *unit* by an earlier version, as a new generation.

        Args:
            unit: What runs.
            files: Of the earlier version.
            problem: Why.
        """
        whole = self.affected({unit})
        done = await self._run([whole], Change({unit}, pinned={unit: files}))
        for back in done.handlers:
            self.runtime.emit(EventKind.ROLLED_BACK, back, problem=problem)
        return done

    def _retire_unneeded(self, *earlier: Generation) -> None:
        """Forget units that have no photon, and that no photon imports from.

        Args:
            *earlier: Generations that were replaced.
        """
        is_wanted = self.registry.has_unit
        units = {unit for g in earlier for unit in (g.unit, *g.needs, *g.late_units)}
        units = {unit for unit in units if not is_wanted(unit)}
        if not units:
            return
        ended = self.world.retire(units, is_wanted)
        self.runtime.plugins.forget_specs(ended)
        for generation in ended:
            self._history.forget(generation.unit)

    def _read(self, handlers: list[Handler]) -> Change:
        """Read from the disk which units are replaced, and by what."""
        change = Change()
        known = [h for h in handlers if h.generation is not None]
        change.units.update(h.generation.unit for h in known if h.generation)
        by_distribution = {
            name: self.registry.of_distribution(name)
            for name in sorted({*map(distribution_of, known)} - {""})
        }
        with change.stopwatch.running():
            upgrades = find_upgrades(
                by_distribution, self.registry.disabled, self.registry.api_version
            )
        for upgrade in upgrades.values():
            if isinstance(upgrade, LuminalError):
                raise upgrade
            change.include(upgrade)
        serving = self.world.generations
        # What could not be imported, and was done without, serves under no name.
        above = reachable(change.units, self.world.needs) & serving.keys()
        for unit in above - change.units:
            for path, source in serving[unit].files.items():
                change.compare(unit, path, source)
        return change
