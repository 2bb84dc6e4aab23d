"""One hook: its seats, its present view, and the two functions that call it.

In come changes of the order, out goes a new body for the functions that hosts hold:
first one that looks up, and once the hook is warm one prepared for exactly these
implementations. The functions themselves never change, so they can be kept.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import pluggy

from luminal.hooks._calls import CallSnapshot, note_door, note_general, read
from luminal.hooks._compile import ABSENT, Body, agateway, gateway
from luminal.hooks._errors import is_own
from luminal.hooks._execution import (
    CallContext,
    amonitored,
    arun,
    attribute,
    block,
    complete,
    monitored,
    run,
)
from luminal.hooks._impl import Implementation, Past, guest
from luminal.hooks._order import Order

if TYPE_CHECKING:
    import types
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
    from typing import Protocol

    from luminal.hooks._errors import Policy
    from luminal.hooks._swap import CallBarrier
    from luminal.hooks.records import Answer

    class HookFunction(Protocol):
        """The function behind ``manager.hook.NAME``."""

        name: str
        spec: Any

        def __call__(self, **kwargs: Any) -> Any: ...
        def has_spec(self) -> bool: ...
        def is_historic(self) -> bool: ...
        def get_hookimpls(self) -> list[pluggy.HookImpl]: ...
        def call_extra(self, methods: Any, kwargs: Mapping[str, Any]) -> Any: ...
        def call_historic(
            self,
            result_callback: Callable[[Any], object] | None = None,
            kwargs: Mapping[str, Any] | None = None,
            *,
            owner: str | None = None,
        ) -> None: ...
        def forget(self, plugin: object = None, photon: str | None = None) -> int: ...
        def detailed(self, **kwargs: Any) -> list[Answer]: ...

    class AsyncHookFunction(Protocol):
        """The function behind ``manager.ahook.NAME``."""

        name: str
        spec: Any

        def __call__(self, **kwargs: Any) -> Awaitable[Any]: ...
        def detailed(self, **kwargs: Any) -> Awaitable[list[Answer]]: ...


__all__ = [
    "AsyncHookRelay",
    "Features",
    "HookCaller",
    "HookDesk",
    "HookRelay",
    "SubsetCaller",
    "TypedHooks",
]

# === hooks.features ===
# What a hook is by its specification and by its manager's wishes.


class Features:
    """The features of one hook.

    Attributes:
        name: Its name.
        policy: What it shares with the manager's other hooks.
        spec: pluggy's record of its specification, or None.
    """

    def __init__(self, name: str, policy: Policy) -> None:
        self.name = name
        self.policy = policy
        self.spec: Any = None

    def option(self, name: str) -> Any:
        """Return an option of the specification, or None."""
        return None if self.spec is None else self.spec.opts.get(name)

    @property
    def is_first(self) -> bool:
        """Whether the first result that is not None ends a call."""
        return bool(self.option("firstresult"))

    @property
    def is_historic(self) -> bool:
        """Whether calls are repeated for those who are registered later."""
        return bool(self.option("historic"))

    @property
    def is_isolated(self) -> bool:
        """Whether one photon's failure leaves the others to answer."""
        asked = self.option("isolate")
        return self.policy.isolate if asked is None else bool(asked)

    @property
    def defaults(self) -> dict[str, Any]:
        """What the specification gives for arguments that a call leaves out."""
        return {} if self.spec is None else dict(self.spec.kwargdefaults)


# === hooks.hook ===
# One hook: its seats, its present view, and the two functions that call it.
#
# In come changes of the order, out goes a new body for the functions that hosts hold:
# first one that looks up, and once the hook is warm one prepared for exactly these
# implementations. The functions themselves never change, so they can be kept.

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
        self.snapshot: CallSnapshot = CallSnapshot(self, policy.epoch)
        self.spent: CallSnapshot | None = None
        # Set while calls from before a swap are under way.
        self.barrier: CallBarrier | None = None
        self._body = Body(self, gateway(self.cold, name))
        self._abody = Body(self, agateway(self.acold, name))
        self.sync = self._body.bound
        self.awaited = self._abody.bound

    def __repr__(self) -> str:
        return f"<HookCaller {self.name!r}>"

    @property
    def calls(self) -> int:
        """Calls of this hook so far, sync and async."""
        return read(self._ticks) + self._past + read(self.snapshot.entered)

    # Changing what a call sees. All of these are called with the lock held.

    def changed(self, *, grown: bool = False) -> None:
        """Let calls that begin from now on see the order as it is now.

        Args:
            grown: Whether somebody came and nobody left.
        """
        # Freeing a view of thousands takes longer than a registration may. While
        # everyone in it keeps a seat, the next call can do it.
        self.spent = self.snapshot if grown and not self.snapshot.is_pending else None
        if not self.snapshot.is_pending:
            self.renew(CallSnapshot(self, self.policy.epoch))

    def renew(self, snapshot: CallSnapshot) -> None:
        """Put *view* in the place of the present one."""
        old = self._leave()
        self.step_to(snapshot)
        self.count(old)

    def step_to(self, snapshot: CallSnapshot) -> None:
        """Put *view* in the place of the present one, which is known to be leaving.

        In as few steps as can be: hooks that turn together wait for one another.
        """
        self.snapshot.is_gone = True
        self.snapshot = snapshot
        if self.barrier is not None and self.barrier.swap.done:
            # A registration after the swap: it changes what new calls see.
            self.barrier.new = snapshot
        else:
            self.install()

    def settle(self, snapshot: CallSnapshot) -> None:
        """Make *view* the present one; the callers stay as they are."""
        old = self._leave()
        old.is_gone = True
        self.snapshot = snapshot
        self.count(old)

    def _leave(self) -> CallSnapshot:
        if self.snapshot.awaited:
            self.policy.leaving.append(self.snapshot)
        return self.snapshot

    def count(self, old: CallSnapshot) -> None:
        """Remember how many async calls began with *old*, which is not present."""
        self._past += read(old.entered)

    def shut(self, barrier: CallBarrier) -> None:
        """Hand calls that begin from now on to *gate*."""
        self._body.put(gateway(barrier.enter, self.name))
        self._abody.put(agateway(barrier.aenter, self.name))

    def install(self) -> None:
        """Hand calls that begin from now on to the present view."""
        self._body.deoptimize()
        self._abody.deoptimize()

    # Calls without a prepared caller.

    def cold(self, kwargs: dict[str, Any]) -> Any:
        """Call, and prepare a caller when it pays."""
        snapshot = self.snapshot
        self.tick()
        snapshot.heat += 1
        if snapshot.heat >= WARM:
            self.warm(snapshot)
        return self.run(snapshot, kwargs, 1)

    async def acold(self, kwargs: dict[str, Any]) -> Any:
        """Await, and prepare a caller when it pays."""
        snapshot = self.snapshot
        snapshot.enter()
        try:
            snapshot.aheat += 1
            if snapshot.aheat >= WARM:
                self.awarm(snapshot)
            return await self.arun(snapshot, kwargs, 1)
        finally:
            next(snapshot.left)

    def chosen(self) -> CallSnapshot:
        """Return the view for a call that goes through none of the two functions."""
        while True:
            barrier = self.barrier
            snapshot = self.snapshot if barrier is None else barrier.lead()
            if self.barrier is barrier and not (barrier is not None and barrier.is_over):
                return snapshot
            del snapshot  # a swap came or went, and may not have seen this call

    def given(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return those of *kwargs* that the caller gave."""
        return _present(kwargs)

    # Running calls in the general way.

    def _course(self, snapshot: CallSnapshot, *, awaits: bool) -> CallContext:
        return CallContext(
            self.policy,
            snapshot,
            tuple(self.policy.serving(snapshot.implementations)),
            is_first=self.is_first,
            isolated=self.is_isolated,
            concurrent=awaits and bool(self.option("concurrent")),
        )

    def run(
        self,
        snapshot: CallSnapshot,
        kwargs: dict[str, Any],
        weight: int,
        answers: list[Answer] | None = None,
    ) -> Any:
        """Call the occupants of *view*; arguments may be marked absent."""
        self._may_be_called()
        given = complete(self.spec, _present(kwargs))
        stranger = next((o for o in snapshot.implementations if o.is_async), None)
        if stranger is not None:
            return block(
                self.name,
                stranger.photon,
                lambda: self.arun(snapshot, kwargs, weight, answers),
            )
        context = self._course(snapshot, awaits=False)
        context.answers = answers
        if self.policy.monitors:
            return monitored(self.policy.monitors, context, given)
        return run(context, context.implementations, given, weight)

    async def arun(
        self,
        snapshot: CallSnapshot,
        kwargs: dict[str, Any],
        weight: int,
        answers: list[Answer] | None = None,
    ) -> Any:
        """Await the occupants of *view*; arguments may be marked absent."""
        self._may_be_called()
        given = complete(self.spec, _present(kwargs))
        context = self._course(snapshot, awaits=True)
        context.answers = answers
        if self.policy.monitors:
            return await amonitored(self.policy.monitors, context, given)
        return await arun(context, context.implementations, given, weight)

    def _may_be_called(self) -> None:
        if self.is_historic:
            raise AssertionError(
                "Cannot directly call a historic hook - use call_historic instead."
            )

    # Preparing callers.

    def _pays(self, snapshot: CallSnapshot) -> bool:
        if self.policy.monitors or len(snapshot.implementations) > LIMIT:
            return False
        if self.is_historic:
            return False
        breaker = self.policy.breaker
        if breaker is not None and breaker.concerns(snapshot.implementations):
            return False
        return not (self.is_isolated and any(o.is_wrapper for o in snapshot.implementations))

    def warm(self, snapshot: CallSnapshot) -> None:
        """Prepare the sync caller of *view* if it pays."""
        if self._pays(snapshot) and not any(o.is_async for o in snapshot.implementations):
            code, snapshot.lines = self._prepared(snapshot, awaits=False)
            self._put(snapshot, self._body, code)

    def awarm(self, snapshot: CallSnapshot) -> None:
        """Prepare the async caller of *view* if it pays."""
        if self._pays(snapshot) and not self.option("concurrent"):
            code, snapshot.alines = self._prepared(snapshot, awaits=True)
            self._put(snapshot, self._abody, code)

    def _prepared(
        self, snapshot: CallSnapshot, *, awaits: bool
    ) -> tuple[types.CodeType, dict[int, int]]:
        from luminal.hooks._compile import prepare

        policy = self.policy
        asked = {o: policy.deadline(o) for o in snapshot.implementations if awaits}
        return prepare(
            snapshot,
            awaits=awaits,
            isolated=self.is_isolated,
            armed=policy.breaker is not None,
            deadlines={o: s for o, s in asked.items() if s is not None},
        )

    def _put(self, snapshot: CallSnapshot, body: Body, code: types.CodeType) -> None:
        from luminal.hooks._compile import parameters

        with self.lock:
            if self.snapshot is snapshot and not self.barrier and not self.policy.monitors:
                must, may = parameters(snapshot)
                body.put(
                    code, {**dict.fromkeys((*must, *may), ABSENT), **self.defaults}
                )

    # Failures of prepared callers, by the place of whose they are.

    def blame(self, snapshot: CallSnapshot, place: int, error: BaseException) -> None:
        """Attribute *error*, which ends a prepared call."""
        if is_own(error):
            attribute(self.policy, self.name, snapshot.implementations, place, error, ends=True)

    def spare(self, snapshot: CallSnapshot, place: int, error: BaseException) -> bool:
        """Attribute *error*; return whether the call goes on without it."""
        if not is_own(error):
            return False
        spared = self.is_isolated and not isinstance(error, KeyboardInterrupt)
        attribute(self.policy, self.name, snapshot.implementations, place, error, spared=spared)
        return spared


def _present(kwargs: dict[str, Any]) -> dict[str, Any]:
    # Identity alone: an argument's own ``==`` is none of our business.
    return {n: v for n, v in kwargs.items() if v is not ABSENT}


note_general(HookCaller.cold, HookCaller.acold, HookCaller.chosen)


# === hooks.desk ===
# What a host can ask of one hook beside calling it: pluggy's whole interface.
#
# In come questions and rare calls (historic, with extra functions, detailed), out come
# answers. Its methods are also the attributes of the function behind
# ``manager.hook.NAME``.

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
            hook.renew(hook.snapshot.again(hook.policy.epoch))
        self._dress()

    def get_hookimpls(self) -> list[pluggy.HookImpl]:
        """Return pluggy's records of the implementations, the last called first."""
        with self.hook.lock:
            return [o.hookimpl for o in reversed(self.hook.order.implementations())]

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
            snapshot = self.hook.snapshot
            implementations = snapshot.without(removed)
        for result in self._call(snapshot, implementations, given, first=False):
            if result_callback is not None:
                result_callback(result)

    def repeat(
        self, impl: Implementation, told: set[Past], leaving: object = None
    ) -> None:
        """Repeat earlier calls for *occupant*, but for those in *told*.

        Those of *leaving*, a photon whose seat it takes, are not among them. All that
        there are now are put into *told*.
        """
        for past in tuple(self.history or ()):
            if past in told:
                continue
            told.add(past)
            if leaving is not None and past.belongs_to(leaving, impl.photon):
                continue
            result = self._call(self.hook.snapshot, (impl,), past.kwargs, first=False)
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
        snapshot = self.hook.chosen()
        implementations = snapshot.without(removed)
        place = next(
            (n for n, o in enumerate(implementations) if not (o.is_wrapper or o.tryfirst)),
            len(implementations),
        )
        for method in methods:
            implementations.insert(place, guest(method))
        return self._call(snapshot, implementations, given, first=self.hook.is_first)

    def call_subset(self, removed: Collection[str], kwargs: Mapping[str, Any]) -> Any:
        """Call the hook without the plugins whose names are *removed*."""
        self._not_historic()
        given = complete(self.hook.spec, kwargs)
        snapshot = self.hook.chosen()
        kept = snapshot.without(removed)
        return self._call(snapshot, kept, given, first=self.hook.is_first)

    def detailed(self, **kwargs: Any) -> list[Answer]:
        """Call the hook and return who answered what, in the order of calls.

        In an isolated hook, failures are among the answers.
        """
        self._not_historic()
        answers: list[Answer] = []
        self.hook.tick()
        snapshot = self.hook.chosen()
        self.hook.run(snapshot, kwargs, 1, answers)
        return answers

    async def adetailed(self, **kwargs: Any) -> list[Answer]:
        """Await the hook and return who answered what; see `detailed`."""
        self._not_historic()
        answers: list[Answer] = []
        snapshot = self.hook.chosen()
        snapshot.enter()
        try:
            await self.hook.arun(snapshot, kwargs, 1, answers)
        finally:
            next(snapshot.left)
        return answers

    def _not_historic(self) -> None:
        if self.is_historic():
            raise AssertionError(
                "Cannot directly call a historic hook - use call_historic instead."
            )

    def _call(
        self,
        snapshot: CallSnapshot,
        implementations: Sequence[Implementation],
        given: Mapping[str, Any],
        *,
        first: bool,
    ) -> Any:
        policy = self.hook.policy
        context = CallContext(
            policy,
            snapshot,
            tuple(policy.serving(implementations)),
            is_first=first,
            isolated=self.hook.is_isolated,
        )
        return monitored(policy.monitors, context, given)

    # What pluggy's tests and tools reach for.

    def _add_hookimpl(self, hookimpl: pluggy.HookImpl) -> None:
        with self.hook.lock:
            self._loose -= 1  # seats of photons are positive
            impl = Implementation(hookimpl)
            impl.tally.born = self.hook.calls
            self.hook.order.seat(self._loose, impl)
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


# === hooks.relay ===
# The relays: where a host finds the functions that call hooks, by name.


class HookRelay:
    """``relay.NAME(**kwargs)`` calls hook NAME."""

    __slots__ = ("__dict__",)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> HookFunction: ...


class AsyncHookRelay:
    """``await relay.NAME(**kwargs)`` awaits hook NAME."""

    __slots__ = ("__dict__",)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> AsyncHookFunction: ...


# === hooks.subset ===
# A hook without some of its plugins.


class SubsetCaller:
    """Calls a hook's implementations except those of some plugins.

    Args:
        desk: The desk of the hook.
        removed: Names of the plugins that are left out.
    """

    __slots__ = ("_desk", "_removed")

    def __init__(self, desk: HookDesk, removed: frozenset[str]) -> None:
        self._desk = desk
        self._removed = removed

    def __call__(self, **kwargs: Any) -> Any:
        """Call the hook with *kwargs*."""
        return self._desk.call_subset(self._removed, kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._desk, name)

    def get_hookimpls(self) -> list[Any]:
        """Return pluggy's records of the implementations that take part."""
        return [
            hookimpl
            for hookimpl in self._desk.get_hookimpls()
            if hookimpl.plugin_name not in self._removed
        ]

    def call_historic(self, result_callback: Any = None, kwargs: Any = None) -> None:
        """Call now without the plugins left out, later for everyone who comes."""
        self._desk.call_historic(result_callback, kwargs, removed=self._removed)

    def call_extra(self, methods: Any, kwargs: Any) -> Any:
        """Call with *methods* taking part, without the plugins left out."""
        return self._desk.call_extra(methods, kwargs, removed=self._removed)

    def __repr__(self) -> str:
        return f"<_SubsetHookCaller {self._desk.name!r}>"


# === hooks.typed ===
# A manager's hooks as the class that specifies them, for type checkers.


class TypedHooks:
    """The hooks of one specification class; at run time just the relays.

    Args:
        specs: The class.
        hook: The relay for specifications made with ``def``.
        ahook: The relay for those made with ``async def``.
        mark: Attribute that marks a specification.
    """

    def __init__(
        self, specs: type, hook: HookRelay, ahook: AsyncHookRelay, mark: str
    ) -> None:
        import inspect

        for name in dir(specs):
            spec = inspect.getattr_static(specs, name)
            spec = getattr(spec, "__func__", spec)
            if getattr(spec, mark, None) is not None:
                relay: Any = ahook if inspect.iscoroutinefunction(spec) else hook
                # Once: a call through this object is an attribute and a call.
                setattr(self, name, getattr(relay, name))
