"""One hook: its seats, its present view, and the two functions that call it.

In come changes of the order, out goes a new body for the functions that hosts hold:
first one that looks up, and once the hook is warm one prepared for exactly these
implementations. The functions themselves never change, so they can be kept.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

from luminal.hooks.awaiting import block
from luminal.hooks.body import Body
from luminal.hooks.calls import note_general
from luminal.hooks.course import Course, attribute
from luminal.hooks.failure import is_own
from luminal.hooks.features import Features
from luminal.hooks.monitoring import amonitored, monitored
from luminal.hooks.order import Order
from luminal.hooks.running import arun, complete, run
from luminal.hooks.view import View, read
from luminal.hooks.writer import ABSENT, agateway, gateway

if TYPE_CHECKING:
    import types

    from luminal.hooks.gate import Gate
    from luminal.hooks.policy import Policy
    from luminal.hooks.records import Answer

__all__ = ["HookCaller"]

LIMIT: Final = 400
"""Occupants beyond which a caller is not worth compiling."""

WARM: Final = 8
"""Calls of one view after which a prepared caller pays."""


class HookCaller(Features):
    """One hook of a manager.

    Attributes:
        lock: The manager's lock.
        order: Its seats.
        view: What a call that begins now sees.
        sync: The bound function behind ``manager.hook.NAME``.
        awaited: The bound function behind ``manager.ahook.NAME``.
    """

    def __init__(self, name: str, policy: Policy) -> None:
        super().__init__(name, policy)
        self.lock = policy.lock
        self.order = Order()
        self._ticks = itertools.count()
        self.tick = self._ticks.__next__
        self._past = 0
        self.view = View(self, policy.epoch)
        self.spent: View | None = None
        # Set while calls from before a swap are under way.
        self.gate: Gate | None = None
        self._body = Body(self, gateway(self.cold, name))
        self._abody = Body(self, agateway(self.acold, name))
        self.sync = self._body.bound
        self.awaited = self._abody.bound

    def __repr__(self) -> str:
        return f"<HookCaller {self.name!r}>"

    @property
    def calls(self) -> int:
        """Calls of this hook so far, sync and async."""
        return read(self._ticks) + self._past + read(self.view.entered)

    # Changing what a call sees. All of these are called with the lock held.

    def changed(self, *, grown: bool = False) -> None:
        """Let calls that begin from now on see the order as it is now.

        Args:
            grown: Whether somebody came and nobody left.
        """
        # Freeing a view of thousands takes longer than a registration may. While
        # everyone in it keeps a seat, the next call can do it.
        self.spent = self.view if grown and not self.view.is_pending else None
        if not self.view.is_pending:
            self.renew(View(self, self.policy.epoch))

    def renew(self, view: View) -> None:
        """Put *view* in the place of the present one."""
        old = self._leave()
        self.step_to(view)
        self.count(old)

    def step_to(self, view: View) -> None:
        """Put *view* in the place of the present one, which is known to be leaving.

        In as few steps as can be: hooks that turn together wait for one another.
        """
        self.view.is_gone = True
        self.view = view
        if self.gate is not None and self.gate.swap.done:
            # A registration after the swap: it changes what new calls see.
            self.gate.new = view
        else:
            self.install()

    def settle(self, view: View) -> None:
        """Make *view* the present one; the callers stay as they are."""
        old = self._leave()
        old.is_gone = True
        self.view = view
        self.count(old)

    def _leave(self) -> View:
        if self.view.awaited:
            self.policy.leaving.append(self.view)
        return self.view

    def count(self, old: View) -> None:
        """Remember how many async calls began with *old*, which is not present."""
        self._past += read(old.entered)

    def shut(self, gate: Gate) -> None:
        """Hand calls that begin from now on to *gate*."""
        self._body.put(gateway(gate.enter, self.name))
        self._abody.put(agateway(gate.aenter, self.name))

    def install(self) -> None:
        """Hand calls that begin from now on to the present view."""
        self._body.chill()
        self._abody.chill()

    # Calls without a prepared caller.

    def cold(self, kwargs: dict[str, Any]) -> Any:
        """Call, and prepare a caller when it pays."""
        view = self.view
        self.tick()
        view.heat += 1
        if view.heat >= WARM:
            self.warm(view)
        return self.run(view, kwargs, 1)

    async def acold(self, kwargs: dict[str, Any]) -> Any:
        """Await, and prepare a caller when it pays."""
        view = self.view
        view.enter()
        try:
            view.aheat += 1
            if view.aheat >= WARM:
                self.awarm(view)
            return await self.arun(view, kwargs, 1)
        finally:
            next(view.left)

    def chosen(self) -> View:
        """Return the view for a call that goes through none of the two functions."""
        while True:
            gate = self.gate
            view = self.view if gate is None else gate.lead()
            if self.gate is gate and not (gate is not None and gate.is_over):
                return view
            del view  # a swap came or went, and may not have seen this call

    def given(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return those of *kwargs* that the caller gave."""
        return _present(kwargs)

    # Running calls in the general way.

    def _course(self, view: View, *, awaits: bool) -> Course:
        return Course(
            self.policy,
            view,
            tuple(self.policy.serving(view.occupants)),
            is_first=self.is_first,
            isolated=self.is_isolated,
            concurrent=awaits and bool(self.option("concurrent")),
        )

    def run(
        self,
        view: View,
        kwargs: dict[str, Any],
        weight: int,
        answers: list[Answer] | None = None,
    ) -> Any:
        """Call the occupants of *view*; arguments may be marked absent."""
        self._may_be_called()
        given = complete(self.spec, _present(kwargs))
        stranger = next((o for o in view.occupants if o.is_async), None)
        if stranger is not None:
            return block(
                self.name,
                stranger.photon,
                lambda: self.arun(view, kwargs, weight, answers),
            )
        course = self._course(view, awaits=False)
        course.answers = answers
        if self.policy.monitors:
            return monitored(self.policy.monitors, course, given)
        return run(course, course.occupants, given, weight)

    async def arun(
        self,
        view: View,
        kwargs: dict[str, Any],
        weight: int,
        answers: list[Answer] | None = None,
    ) -> Any:
        """Await the occupants of *view*; arguments may be marked absent."""
        self._may_be_called()
        given = complete(self.spec, _present(kwargs))
        course = self._course(view, awaits=True)
        course.answers = answers
        if self.policy.monitors:
            return await amonitored(self.policy.monitors, course, given)
        return await arun(course, course.occupants, given, weight)

    def _may_be_called(self) -> None:
        if self.is_historic:
            raise AssertionError(
                "Cannot directly call a historic hook - use call_historic instead."
            )

    # Preparing callers.

    def _pays(self, view: View) -> bool:
        if self.policy.monitors or len(view.occupants) > LIMIT:
            return False
        if self.is_historic:
            return False
        breaker = self.policy.breaker
        if breaker is not None and breaker.concerns(view.occupants):
            return False
        return not (self.is_isolated and any(o.is_wrapper for o in view.occupants))

    def warm(self, view: View) -> None:
        """Prepare the sync caller of *view* if it pays."""
        if self._pays(view) and not any(o.is_async for o in view.occupants):
            code, view.lines = self._prepared(view, awaits=False)
            self._put(view, self._body, code)

    def awarm(self, view: View) -> None:
        """Prepare the async caller of *view* if it pays."""
        if self._pays(view) and not self.option("concurrent"):
            code, view.alines = self._prepared(view, awaits=True)
            self._put(view, self._abody, code)

    def _prepared(
        self, view: View, *, awaits: bool
    ) -> tuple[types.CodeType, dict[int, int]]:
        from luminal.hooks.prepare import prepare

        policy = self.policy
        asked = {o: policy.deadline(o) for o in view.occupants if awaits}
        return prepare(
            view,
            awaits=awaits,
            isolated=self.is_isolated,
            armed=policy.breaker is not None,
            deadlines={o: s for o, s in asked.items() if s is not None},
        )

    def _put(self, view: View, body: Body, code: types.CodeType) -> None:
        from luminal.hooks.prepare import parameters

        with self.lock:
            if self.view is view and not self.gate and not self.policy.monitors:
                must, may = parameters(view)
                body.put(
                    code, {**dict.fromkeys((*must, *may), ABSENT), **self.defaults}
                )

    # Failures of prepared callers, by the place of whose they are.

    def blame(self, view: View, place: int, error: BaseException) -> None:
        """Attribute *error*, which ends a prepared call."""
        if is_own(error):
            attribute(self.policy, self.name, view.occupants, place, error, ends=True)

    def spare(self, view: View, place: int, error: BaseException) -> bool:
        """Attribute *error*; return whether the call goes on without it."""
        if not is_own(error):
            return False
        spared = self.is_isolated and not isinstance(error, KeyboardInterrupt)
        attribute(self.policy, self.name, view.occupants, place, error, spared=spared)
        return spared


def _present(kwargs: dict[str, Any]) -> dict[str, Any]:
    # Identity alone: an argument's own ``==`` is none of our business.
    return {n: v for n, v in kwargs.items() if v is not ABSENT}


note_general(HookCaller.cold, HookCaller.acold, HookCaller.chosen)
