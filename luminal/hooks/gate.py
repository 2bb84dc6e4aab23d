"""A gate: what a hook's callers are while calls from before a swap are under way.

In comes a call, out comes the generation that its outermost call belongs to: who began
before the swap finishes with what it began with, however many hooks it calls. The gate
closes when no such call is left, and then calls cost nothing again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from luminal.hooks.calls import GENERAL, outermost, views_of_threads

if TYPE_CHECKING:
    from luminal.hooks.policy import Policy
    from luminal.hooks.view import View

__all__ = ["Gate", "Swap", "oldest_epoch"]

_LOOK_EVERY: Final = 0.001  # seconds between looks at the threads' stacks


class Swap:
    """One swap; its hooks show the new generation from one store on."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False


def oldest_epoch(policy: Policy) -> int:
    """Return the epoch of the oldest call under way; the present one if none is."""
    oldest = policy.epoch
    for _, view in views_of_threads(policy, awaited_too=True):
        oldest = min(oldest, view.epoch)
    policy.leaving[:] = [view for view in policy.leaving if view.awaited]
    for view in policy.leaving:
        oldest = min(oldest, view.epoch)
    return oldest


class Gate:
    """Leads calls of one hook to the view of their epoch.

    Attributes:
        old: Views of earlier epochs, the oldest first.
        new: The view that the swap brings.
        swap: The swap.
    """

    __slots__ = ("_looked", "new", "old", "policy", "swap")

    def __init__(self, policy: Policy, old: list[View], new: View, swap: Swap) -> None:
        self.policy = policy
        self.old = old
        self.new = new
        self.swap = swap
        self._looked = 0.0

    def choose(self) -> View:
        """Return the view for the call that this thread makes now."""
        first = outermost(self.policy)
        if first is None:
            return self.new if self.swap.done else self.old[-1]
        if first.epoch >= self.new.epoch:
            return self.new
        for view in reversed(self.old):
            if view.epoch <= first.epoch:
                return view
        return self.old[0]

    def enter(self, kwargs: dict[str, Any]) -> Any:
        """Make a sync call."""
        self._look()
        view = self.choose()
        view.hook.tick()
        return view.hook.run(view, kwargs, 1)

    async def aenter(self, kwargs: dict[str, Any]) -> Any:
        """Make an async call."""
        self._look()
        view = self.choose()
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

    def close_if_idle(self) -> bool:
        """Close the gate if no call from before it is left; return whether it is."""
        hook: Any = self.new.hook
        if oldest_epoch(self.policy) < self.new.epoch:
            return False
        with self.policy.lock:
            if hook.gate is self:
                hook.gate = None
                hook.install()
        return True


# A call that has chosen its view and not yet begun to run it.
GENERAL.update((Gate.enter.__code__, Gate.aenter.__code__))
