"""Probation: watch a new generation for some time, and roll it back if it fails.

Meanwhile the old photons keep running, unregistered, so that they can return. A swap on
probation is confirmed or rolled back once, automatically.
"""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

import attrs

from luminal._plain import error_text
from luminal.errors import PhotonRollbackError
from luminal.lifecycle import is_containable, method_of, run_step
from luminal.model import EventKind, Problem, State
from luminal.reload._loop import LoopRunner
from luminal.supervise import unowned

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from luminal.lifecycle import CrossLoopLock, Handler, Runtime
    from luminal.loading import Generation, World
    from luminal.model import Probation
    from luminal.reload._retirement import Retirements
    from luminal.reload._swap import Pair

__all__ = ["ProvisionalSwap"]


@attrs.define(eq=False)
class ProvisionalSwap:
    """A swap on probation.

    Args:
        pairs: What was swapped; the old photon, in ``retiring`` of each pair, still
            runs.
        before: Unit → the generation that was replaced.
        world: Where generations are committed.
        runtime: The connections of photons to the host.
        settings: How long probation lasts, and what ends it with a roll-back.
        lock: Of the host; held for one change at a time.
        retirements: Retires what is not needed any more.
        when_over: Awaited when the swap is confirmed or reverted.
    """

    pairs: Sequence[Pair]
    before: Mapping[str, Generation]
    world: World
    runtime: Runtime
    settings: Probation
    lock: CrossLoopLock
    retirements: Retirements
    when_over: Callable[[ProvisionalSwap], Awaitable[object]]
    is_over: bool = False
    is_reverted: bool = False
    _ended: threading.Event = attrs.Factory(threading.Event)
    _runner: LoopRunner = attrs.Factory(LoopRunner)

    @property
    def units(self) -> frozenset[str]:
        """The units that are on probation."""
        return frozenset(self.before)

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Check the new photons from a background thread.

        Args:
            loop: The loop for their ``async`` methods, as long as it runs.
        """
        self._runner.use(loop)
        name = "luminal-probation"
        with unowned():
            threading.Thread(target=self._watch, name=name, daemon=True).start()

    def _watch(self) -> None:
        checks = max(1, round(self.settings.seconds / self.settings.interval))
        try:
            for number in range(1, checks + 1):
                if self._ended.wait(self.settings.seconds / checks):
                    return
                is_last = number == checks
                if self._runner.run(functools.partial(self._check, is_last)):
                    return
        finally:
            self._runner.close()

    async def _check(self, is_last: bool) -> bool:
        """Check the new photons; return whether probation is over."""
        why = await self._find_failed()
        if why is None and not is_last:
            return False
        async with self.lock:
            if self.is_over:
                return True
            if why is None:
                await self.confirm()
            else:
                await self.revert(*why)
        return True

    async def _find_failed(self) -> tuple[Handler, str] | None:
        """Return a photon that has failed, and why."""
        for pair in self.pairs:
            if pair.old is None or pair.old.state is not State.RUNNING:
                continue
            why = await _unhealthy(pair.old) or self._too_many_errors(pair.old)
            why = why or self._worse(pair.old)
            if why:
                return pair.old, why
        return None

    def _too_many_errors(self, handler: Handler) -> str:
        calls = errors = 0
        for row in self.runtime.plugins.statistics():
            if row.photon == handler.name:
                calls += row.calls
                errors += row.errors
        if (
            calls < self.settings.min_calls
            or errors <= calls * self.settings.error_rate
        ):
            return ""
        return f"{errors} of {calls} calls raised"

    def _worse(self, handler: Handler) -> str:
        """Return in what the photon is worse than its old generation, with numbers."""
        settings = self.settings
        if not (settings.more_errors or settings.slowdown):
            return ""
        for row in self.runtime.plugins.compare(handler.instance):
            if min(row.calls, row.calls_before) >= settings.min_calls:
                limit = row.errors_before / row.calls_before + settings.more_errors
                if settings.more_errors and row.errors / row.calls > limit:
                    return (
                        f"hook {row.hook!r} raised in {row.errors} of {row.calls} "
                        f"calls, before in {row.errors_before} of {row.calls_before}"
                    )
            if (
                settings.slowdown
                and min(row.timed, row.timed_before) >= settings.min_calls
                and row.p95 > row.p95_before * settings.slowdown
            ):
                return (
                    f"hook {row.hook!r} is slower: 95 of 100 calls within "
                    f"{row.p95 * 1e3:.3g} ms ({row.timed} timed), before within "
                    f"{row.p95_before * 1e3:.3g} ms ({row.timed_before} timed)"
                )
        return ""

    async def confirm(self) -> None:
        """Make the swap final, and retire the old photons; the lock is held."""
        self._close()
        for pair in self.pairs:
            # The host's Handler may already have the next generation.
            if pair.new is not None:
                self.runtime.emit(EventKind.CONFIRMED, pair.new)
        retiring = [p.retiring for p in self.pairs if p.retiring]
        await self.retirements.begin(retiring, self.before.values()).ensure_begun()
        await self.when_over(self)

    async def revert(self, failed: Handler, why: str) -> None:
        """Register the old photons again, and retire the new ones.

        The caller holds the lock. An old photon that has become unhealthy as well is
        stopped, and logged as critical, as there is no other generation to return to.

        Args:
            failed: The Handler of the photon that has failed.
            why: How it has failed.
        """
        self._close()
        self.is_reverted = True
        error = PhotonRollbackError(
            "failed on probation and was rolled back",
            photon=failed.name,
            file=failed.filepath,
            why=why,
            hint="fix it, then reload the photon",
        )
        problem = Problem.of(error, "probation")
        plugins = self.runtime.plugins
        back = [
            (p.old, p.new, p.retiring)
            for p in self.pairs
            if p.old is not None and p.new is not None and p.retiring is not None
        ]
        replacements: list[tuple[Any, Any]] = [
            (new.instance, before.instance)
            for _, new, before in back
            if plugins.is_registered(new.instance) and before.instance is not None
        ]
        stopped = [h for h, _, _ in back if h.state is not State.RUNNING]
        number = min((before.number for _, _, before in back), default=0)
        hooks = {h: set(plugins.hook_names(new.instance)) for h, new, _ in back}
        plugins.swap_many(replacements, generation=number, owners=self.before.values())
        reverted = [self.world.generations[unit] for unit in self.before]
        self.world.accept(self.before)
        for handler, _, before in back:
            handler._adopt(before)
            changed = hooks[handler].union(plugins.hook_names(before.instance))
            self.runtime.emit(
                EventKind.ROLLED_BACK,
                handler,
                problem=problem,
                hooks=tuple(sorted(changed)),
            )
        retiring = [new for _, new, _ in back]
        await self.retirements.begin(retiring, reverted).ensure_begun()
        for handler in stopped:  # what the host has stopped stays stopped
            await handler._stop()
        for handler, _, _ in back:
            await self._check_again(handler)
        await self.when_over(self)

    async def _check_again(self, handler: Handler) -> None:
        why = await _unhealthy(handler)
        if not why or handler.state is not State.RUNNING:
            return
        import logging

        logging.getLogger("luminal.reload").critical(
            "photon %r does not run: its new generation failed on probation, and the "
            "earlier one is not healthy any more: %s",
            handler.name,
            why,
        )
        self.runtime.emit(EventKind.FAILED, handler)
        await handler._stop()

    def _close(self) -> None:
        self.is_over = True
        self._ended.set()


async def _unhealthy(handler: Handler) -> str:
    """Return why the photon is not healthy; empty where it is."""
    check = method_of(handler, "is_healthy")
    if check is None:
        return ""
    deadline = handler.deadlines.start
    try:
        name = f"check {handler.name}"
        is_well = bool(await run_step(check, deadline=deadline, name=name))
    except BaseException as error:
        # Any exception, `SystemExit` included, means that it is not healthy.
        if not is_containable(error):
            raise
        return f"'is_healthy' raised {error_text(error)}"
    return "" if is_well else "'is_healthy' returned a false value"
