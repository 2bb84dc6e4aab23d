"""What a host can ask of one hook beside calling it: pluggy's whole interface.

In come questions and rare calls (historic, with extra functions, detailed), out come
answers. Its methods are also the attributes of the function behind
``manager.hook.NAME``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

from luminal.hooks.calls import note_door
from luminal.hooks.course import Course
from luminal.hooks.history import Past
from luminal.hooks.monitoring import monitored
from luminal.hooks.occupant import Occupant, guest
from luminal.hooks.running import complete

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from luminal.hooks.hook import HookCaller
    from luminal.hooks.records import Answer
    from luminal.hooks.view import View

__all__ = ["HookDesk"]

_FACE = (
    "_add_hookimpl",
    "_remove_plugin",
    "call_extra",
    "call_historic",
    "detailed",
    "forget",
    "get_hookimpls",
    "has_spec",
    "is_historic",
    "name",
    "set_specification",
    "spec",
)


class HookDesk:
    """Answers questions about one hook.

    Attributes:
        hook: The hook.
        name: Its name.
        history: Earlier calls of a historic hook, or None.
    """

    def __init__(self, hook: HookCaller) -> None:
        self.hook = hook
        self.name = hook.name
        self.history: list[Past] | None = None
        self._loose = 0
        self._dress()

    def _dress(self) -> None:
        face = {name: getattr(self, name) for name in _FACE}
        for function in (self.hook.sync, self.hook.awaited):
            function.__func__.__dict__.update(face)
        self.hook.awaited.__func__.__dict__["detailed"] = self.adetailed

    @property
    def spec(self) -> Any:
        """Pluggy's record of the specification, or None."""
        return self.hook.spec

    def has_spec(self) -> bool:
        """Return whether the hook has a specification."""
        return self.hook.spec is not None

    def is_historic(self) -> bool:
        """Return whether earlier calls are repeated for those who come later."""
        return self.history is not None

    def set_specification(self, namespace: Any, options: Any) -> None:
        """Take the specification from *namespace*.

        Raises:
            ValueError: The hook has one.
        """
        hook = self.hook
        if hook.spec is not None:
            raise ValueError(
                f"Hook {hook.name!r} is already registered "
                f"within namespace {hook.spec.namespace}"
            )
        with hook.lock:
            parsed = pluggy.HookCaller(hook.name, _never, namespace, options)
            hook.spec = parsed.spec
            if options.get("historic"):
                self.history = []
            hook.renew(hook.view.again(hook.policy.epoch))
        self._dress()

    def get_hookimpls(self) -> list[pluggy.HookImpl]:
        """Return pluggy's records of the implementations, the last called first."""
        with self.hook.lock:
            return [o.impl for o in reversed(self.hook.order.occupants())]

    def call_historic(
        self,
        result_callback: Callable[[Any], object] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        owner: str | None = None,
        removed: Collection[str] = (),
    ) -> None:
        """Call the hook, now and for everyone who is registered later.

        Args:
            result_callback: Is told every result that is not None.
            kwargs: The arguments.
            owner: Photon with which the memory of this call ends.
            removed: Names of plugins that are not called now.
        """
        if self.history is None:
            raise AssertionError(f"hook {self.name!r} is not historic")
        given = complete(self.hook.spec, kwargs or {})
        # In one step: who takes a seat is among the occupants or is told later.
        with self.hook.lock:
            self.history.append(Past(given, result_callback, owner))
            view = self.hook.view
            occupants = view.without(removed)
        for result in self._call(view, occupants, given, first=False):
            if result_callback is not None:
                result_callback(result)

    def repeat(
        self, occupant: Occupant, told: set[Past], leaving: object = None
    ) -> None:
        """Repeat earlier calls for *occupant*, but for those in *told*.

        Those of *leaving*, a photon whose seat it takes, are not among them. All that
        there are now are put into *told*.
        """
        for past in tuple(self.history or ()):
            if past in told:
                continue
            told.add(past)
            if leaving is not None and past.belongs_to(leaving, occupant.photon):
                continue
            result = self._call(self.hook.view, (occupant,), past.kwargs, first=False)
            if result and past.callback is not None:
                past.callback(result[0])

    def has_more(self, told: set[Past]) -> bool:
        """Return whether there are earlier calls that are not in *told*."""
        return not told.issuperset(self.history or ())

    def forget(self, plugin: object = None, photon: str | None = None) -> int:
        """Forget earlier calls; return how many.

        Args:
            plugin: Forget only those that hold this photon or a method of it.
            photon: And those that belong to the photon of this name.
        """
        if not self.history:
            return 0
        kept = []
        if plugin is not None or photon is not None:
            kept = [p for p in self.history if not p.belongs_to(plugin, photon)]
        gone = len(self.history) - len(kept)
        self.history[:] = kept
        return gone

    def call_extra(
        self,
        methods: Sequence[Callable[..., object]],
        kwargs: Mapping[str, Any],
        *,
        removed: Collection[str] = (),
    ) -> Any:
        """Call the hook with *methods* taking part this once.

        Args:
            methods: Functions that are called as implementations are.
            kwargs: The arguments.
            removed: Names of plugins that are left out.
        """
        self._not_historic()
        given = complete(self.hook.spec, kwargs)
        view = self.hook.chosen()
        occupants = view.without(removed)
        place = next(
            (n for n, o in enumerate(occupants) if not (o.is_wrapper or o.tryfirst)),
            len(occupants),
        )
        for method in methods:
            occupants.insert(place, guest(method))
        return self._call(view, occupants, given, first=self.hook.is_first)

    def call_subset(self, removed: Collection[str], kwargs: Mapping[str, Any]) -> Any:
        """Call the hook without the plugins whose names are *removed*."""
        self._not_historic()
        given = complete(self.hook.spec, kwargs)
        view = self.hook.chosen()
        kept = view.without(removed)
        return self._call(view, kept, given, first=self.hook.is_first)

    def detailed(self, **kwargs: Any) -> list[Answer]:
        """Call the hook and return who answered what, in the order of calls.

        In an isolated hook, failures are among the answers.
        """
        self._not_historic()
        answers: list[Answer] = []
        self.hook.tick()
        view = self.hook.chosen()
        self.hook.run(view, kwargs, 1, answers)
        return answers

    async def adetailed(self, **kwargs: Any) -> list[Answer]:
        """Await the hook and return who answered what; see `detailed`."""
        self._not_historic()
        answers: list[Answer] = []
        view = self.hook.chosen()
        view.enter()
        try:
            await self.hook.arun(view, kwargs, 1, answers)
        finally:
            next(view.left)
        return answers

    def _not_historic(self) -> None:
        if self.is_historic():
            raise AssertionError(
                "Cannot directly call a historic hook - use call_historic instead."
            )

    def _call(
        self,
        view: View,
        occupants: Sequence[Occupant],
        given: Mapping[str, Any],
        *,
        first: bool,
    ) -> Any:
        policy = self.hook.policy
        course = Course(
            policy,
            view,
            tuple(policy.serving(occupants)),
            is_first=first,
            isolated=self.hook.is_isolated,
        )
        return monitored(policy.monitors, course, given)

    # What pluggy's tests and tools reach for.

    def _add_hookimpl(self, impl: pluggy.HookImpl) -> None:
        with self.hook.lock:
            self._loose -= 1  # seats of photons are positive
            occupant = Occupant(impl)
            occupant.tally.born = self.hook.calls
            self.hook.order.seat(self._loose, occupant)
            self.hook.changed()

    def _remove_plugin(self, plugin: object) -> None:
        with self.hook.lock:
            seats = [s for s, o in self.hook.order.items() if o.plugin is plugin]
            if not seats:
                raise ValueError(f"plugin {plugin!r} not found")
            for seat in seats:
                self.hook.order.unseat(seat)
            self.hook.changed()


def _never(*_: object) -> Any:
    raise AssertionError("this caller only reads a specification")


# Calls that no caller stands in front of.
note_door(
    HookDesk.adetailed,
    HookDesk.call_extra,
    HookDesk.call_historic,
    HookDesk.call_subset,
    HookDesk.detailed,
)
