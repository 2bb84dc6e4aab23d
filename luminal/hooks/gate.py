"""A gate: what a hook's callers are while calls from before a swap are under way.

In comes a call, out comes the generation that its outermost call belongs to: who began
before the swap finishes with what it began with, however many hooks it calls. The gate
closes when no such call is left, and then calls cost nothing again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from luminal.hooks.calls import note_general, outermost, views_of_threads

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from luminal.hooks.policy import Policy
    from luminal.hooks.view import View

__all__ = ["Gate", "Swap", "epochs_under_way"]

_LOOK_EVERY: Final = 0.001  # seconds between looks at the threads' stacks


class Swap:
    """One swap; its hooks show the new generation from one store on."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False


def epochs_under_way(policy: Policy) -> set[int]:
    """Return the epochs of all calls under way."""
    found = {view.epoch for _, view in views_of_threads(policy, awaited_too=True)}
    with policy.lock:
        policy.forget_idle()
        found.update(view.epoch for view in policy.leaving)
    return found


def _of_epoch(views: Sequence[View], epoch: int) -> View | None:
    return next((v for v in reversed(views) if v.epoch <= epoch), None)


class Gate:
    """Leads calls of one hook to the view of their epoch.

    Attributes:
        old: Views of earlier epochs, the oldest first.
        new: The view that the swap brings.
        swap: The swap.
        is_over: Whether callers do not lead here any more.
    """

    __slots__ = ("_looked", "is_over", "new", "old", "policy", "swap")

    def __init__(self, policy: Policy, old: list[View], new: View, swap: Swap) -> None:
        self.policy = policy
        self.old = old
        self.new = new
        self.swap = swap
        self.is_over = False
        self._looked = 0.0

    def choose(self) -> View:
        """Return the view for the call that this thread makes now."""
        old, first = self.old, outermost(self.policy)
        if first is None:
            return self.new if self.swap.done or not old else old[-1]
        if first.epoch >= self.new.epoch:
            return self.new
        return _of_epoch(old, first.epoch) or self.new

    def lead(self) -> View:
        """Return the view for the call that this thread makes now, and let it be seen.

        From the choice on, this frame and then the caller's tell a swap that a call is
        under way; before, they do not. Whoever chose what was there before a turn,
        and was not seen at it, chooses again.
        """
        while True:
            was_done = self.swap.done
            view = self.choose()
            if was_done or not self.swap.done:
                return view
            del view  # or the next choice would take this for a call under way

    def enter(self, kwargs: dict[str, Any]) -> Any:
        """Make a sync call."""
        self._look()
        view = self.lead()
        if self.is_over:  # overtaken between the gate's door and the choice
            del view
            return self.new.hook.sync(**kwargs)
        view.hook.tick()
        return view.hook.run(view, kwargs, 1)

    async def aenter(self, kwargs: dict[str, Any]) -> Any:
        """Make an async call."""
        self._look()
        view = self.lead()
        if self.is_over:
            del view
            return await self.new.hook.awaited(**kwargs)
        view.enter()
        try:
            return await view.hook.arun(view, kwargs, 1)
        finally:
            next(view.left)

    def _look(self) -> None:
        now = time.monotonic()
        if self.swap.done and now - self._looked > _LOOK_EVERY:
            self._looked = now
            self.close_if_idle()

    def close_if_idle(self) -> None:
        """Close the gate if no call from before it is left."""
        self.keep(epochs_under_way(self.policy))

    def keep(self, epochs: Iterable[int]) -> None:
        """Keep the views that calls of *epochs* see; close the gate if there is none.

        However many swaps one long call outlives, it keeps alive what it sees.
        """
        hook: Any = self.new.hook
        with self.policy.lock:
            seen = {id(_of_epoch(self.old, e)) for e in epochs if e < self.new.epoch}
            self.old = [view for view in self.old if id(view) in seen]
            if not self.old and hook.gate is self:
                hook.gate = None
                hook.install()
                self.is_over = True


# A call that has chosen its view and not yet begun to run it.
note_general(Gate.lead, Gate.enter, Gate.aenter)
