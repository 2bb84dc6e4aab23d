"""The caller of one hook: pluggy's `HookCaller`, sync and async, for swaps.

A `Caller` owns the two functions that hosts hold, ``manager.hook.NAME`` and
``manager.ahook.NAME``. The functions stay; their code changes with the implementations.
Right after a change they look the implementations up. After a few calls they run code
that was compiled for exactly these implementations.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import pluggy

from luminal.hooks._calls import CallSnapshot, count_of, note_entries, note_runners
from luminal.hooks._compile import (
    ABSENT,
    ReplaceableFunction,
    compile_caller,
    parameters,
    pass_on,
    without_absent,
)
from luminal.hooks._execution import (
    CallContext,
    amonitored,
    arun,
    complete,
    monitored,
    run,
    run_blocking,
)
from luminal.hooks._impl import HistoricCall, Implementation, extra_implementation
from luminal.hooks._order import Order

if TYPE_CHECKING:
    import types
    from collections.abc import Callable, Collection, Mapping, Sequence

    from luminal.hooks._errors import Policy
    from luminal.hooks._swap import CallBarrier
    from luminal.hooks.records import Answer

__all__ = ["Caller", "SubsetCaller"]

_MOST_COMPILED: Final = 400  # with more implementations it is not worth compiling
_COMPILE_AFTER: Final = 8  # calls of one snapshot; after fewer it is not worth it

_METHODS: Final = (
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
"""What hosts find on ``manager.hook.NAME``: pluggy's names and a few more."""


class Caller:
    """One hook of a manager.

    Args:
        name: Name of the hook.
        policy: What the manager's hooks share.

    Attributes:
        name: Name of the hook.
        policy: What the manager's hooks share.
        lock: The manager's lock.
        spec: pluggy's record of the specification, or None.
        history: Earlier calls of a historic hook; None if the hook is not historic.
        order: The implementations by position.
        snapshot: What a call that begins now sees.
        superseded: A replaced snapshot that the next call will free, or None.
        barrier: Set while calls from before a swap are under way.
        sync: The bound function behind ``manager.hook.NAME``.
        awaited: The bound function behind ``manager.ahook.NAME``.
    """

    def __init__(self, name: str, policy: Policy) -> None:
        self.name = name
        self.policy = policy
        self.lock = policy.lock
        self.spec: Any = None
        self.history: list[HistoricCall] | None = None
        self.order = Order()
        self._ticks = itertools.count()
        self.tick = self._ticks.__next__
        self._calls_before = 0  # async calls of replaced snapshots
        self.snapshot = CallSnapshot(self, policy.epoch)
        self.superseded: CallSnapshot | None = None
        self.barrier: CallBarrier | None = None
        self._loose_position = 0
        self._function = ReplaceableFunction(
            self, pass_on(self.call_cold, name, awaits=False)
        )
        self._afunction = ReplaceableFunction(
            self, pass_on(self.acall_cold, name, awaits=True)
        )
        self.sync = self._function.bound
        self.awaited = self._afunction.bound
        self._attach_methods()

    def __repr__(self) -> str:
        return f"<Caller {self.name!r}>"

    def _attach_methods(self) -> None:
        """Make pluggy's interface attributes of the two functions."""
        attributes = {name: getattr(self, name) for name in _METHODS}
        self.sync.__func__.__dict__.update(attributes)
        self.awaited.__func__.__dict__.update(attributes, detailed=self.adetailed)

    # The specification.

    def option(self, name: str) -> Any:
        """Return an option of the specification, or None."""
        return None if self.spec is None else self.spec.opts.get(name)

    def has_spec(self) -> bool:
        """Return whether the hook has a specification."""
        return self.spec is not None

    def is_historic(self) -> bool:
        """Return whether calls are repeated for plugins that are registered later."""
        return self.history is not None

    @property
    def is_first(self) -> bool:
        """Whether the first result that is not None ends a call."""
        return bool(self.option("firstresult"))

    @property
    def is_isolated(self) -> bool:
        """Whether a call goes on after an implementation has failed."""
        asked = self.option("isolate")
        return self.policy.isolate if asked is None else bool(asked)

    def set_specification(self, namespace: Any, options: Any) -> None:
        """Take the specification from *namespace*.

        Raises:
            ValueError: The hook has one.
        """
        if self.spec is not None:
            raise ValueError(
                f"Hook {self.name!r} is already registered "
                f"within namespace {self.spec.namespace}"
            )
        with self.lock:
            self.take_specification(self.parse(namespace, options))
            self.renew()

    def parse(self, namespace: Any, options: Any) -> Any:
        """Return pluggy's record of the specification in *namespace*."""
        # pluggy's caller parses it; the caller itself is never called.
        return pluggy.HookCaller(self.name, _never, namespace, options).spec

    def take_specification(self, spec: Any) -> None:
        """Replace the specification; None takes it away. The lock is held."""
        self.spec = spec
        if spec is None or not spec.opts.get("historic"):
            self.history = None
        elif self.history is None:
            self.history = []
        self._attach_methods()

    @property
    def is_orphaned(self) -> bool:
        """Whether the photon that has specified the hook has ended."""
        return self.spec is not None and self.spec.function is None

    def orphan(self, *, is_kept: bool = True) -> None:
        """Keep the specification for those that implement the hook.

        Nothing is kept of the photon that has brought it. Where nobody implements the
        hook, the specification is dropped. The lock is held.

        Args:
            is_kept: False drops it whoever implements the hook.
        """
        if is_kept and self.order.items():
            self.spec.function, self.spec.namespace = None, "a photon that has ended"
        else:
            self.take_specification(None)
            self.renew()

    # Changing what a call sees. The lock is held.

    @property
    def calls(self) -> int:
        """Number of calls of this hook so far, sync and async."""
        entered = self._calls_before + count_of(self.snapshot.entered)
        return count_of(self._ticks) + entered

    def changed(self, *, grown: bool = False) -> None:
        """Let calls that begin from now on see the order as it is now.

        Args:
            grown: Whether implementations were only added.
        """
        # To free a snapshot of thousands takes longer than a registration may. While
        # the order holds all implementations in it, the next call can free it.
        is_pending = self.snapshot.is_pending
        self.superseded = self.snapshot if grown and not is_pending else None
        if not is_pending:
            self.replace_snapshot(CallSnapshot(self, self.policy.epoch))

    def renew(self) -> None:
        """Make a new snapshot of the same implementations; callers recompile."""
        self.replace_snapshot(self.snapshot.for_epoch(self.policy.epoch))

    def replace_snapshot(self, snapshot: CallSnapshot) -> None:
        """Make *snapshot* the present one."""
        old = self.snapshot
        if old.awaited:
            self.policy.replaced.append(old)
        self.step_to(snapshot)
        self.count(old)

    def step_to(self, snapshot: CallSnapshot) -> None:
        """Make *snapshot* the present one, in a few stores.

        The caller of this method keeps the calls of the old one, before and after.
        """
        self.snapshot.is_gone = True
        self.snapshot = snapshot
        if self.barrier is not None and self.barrier.swap.done:
            # A registration after the swap changes what new calls see.
            self.barrier.new = snapshot
        else:
            self.deoptimize()

    def count(self, old: CallSnapshot) -> None:
        """Keep the number of async calls of *old*, which was replaced."""
        self._calls_before += count_of(old.entered)

    def put_barrier(self, barrier: CallBarrier) -> None:
        """Let *barrier* make the calls that begin from now on."""
        self._function.put(pass_on(barrier.enter, self.name, awaits=False))
        self._afunction.put(pass_on(barrier.aenter, self.name, awaits=True))

    def deoptimize(self) -> None:
        """Let calls that begin from now on look up the present snapshot."""
        self._function.deoptimize()
        self._afunction.deoptimize()

    # Calls without a compiled caller.

    def call_cold(self, kwargs: dict[str, Any]) -> Any:
        """Make a sync call; compile a caller if it is worth it."""
        snapshot = self.snapshot
        self.tick()
        snapshot.heat += 1
        if snapshot.heat >= _COMPILE_AFTER:
            self._compile(snapshot)
        return self.run(snapshot, kwargs, 1)

    async def acall_cold(self, kwargs: dict[str, Any]) -> Any:
        """Make an async call; compile a caller if it is worth it."""
        snapshot = self.snapshot
        snapshot.enter()
        try:
            snapshot.aheat += 1
            if snapshot.aheat >= _COMPILE_AFTER:
                self._acompile(snapshot)
            return await self.arun(snapshot, kwargs, 1)
        finally:
            next(snapshot.left)

    def _choose(self) -> CallSnapshot:
        """Return the snapshot for a call through neither of the two functions."""
        while True:
            barrier = self.barrier
            snapshot = self.snapshot if barrier is None else barrier.lead()
            if self.barrier is barrier and not (
                barrier is not None and barrier.is_over
            ):
                return snapshot
            del snapshot  # a swap began or ended, and may have missed this call

    def run(
        self,
        snapshot: CallSnapshot,
        kwargs: dict[str, Any],
        weight: int,
        answers: list[Answer] | None = None,
    ) -> Any:
        """Call the implementations of *snapshot* in the general way.

        Args:
            snapshot: What the call sees.
            kwargs: The arguments; some may be absent.
            weight: Number of calls that the measured times stand for.
            answers: List to which answers are added.
        """
        self._refuse_historic()
        given = complete(self.spec, without_absent(kwargs))
        awaits = next(
            (impl for impl in snapshot.implementations if impl.is_async), None
        )
        if awaits is not None:
            return run_blocking(
                self.name,
                awaits.photon,
                lambda: self.arun(snapshot, kwargs, weight, answers),
            )
        context = self._context(snapshot, snapshot.implementations, answers=answers)
        if self.policy.monitors:
            return monitored(self.policy.monitors, context, given)
        return run(context, given, weight)

    async def arun(
        self,
        snapshot: CallSnapshot,
        kwargs: dict[str, Any],
        weight: int,
        answers: list[Answer] | None = None,
    ) -> Any:
        """Await the implementations of *snapshot* in the general way; see `run`."""
        self._refuse_historic()
        given = complete(self.spec, without_absent(kwargs))
        context = self._context(
            snapshot,
            snapshot.implementations,
            concurrent=bool(self.option("concurrent")),
            answers=answers,
        )
        if self.policy.monitors:
            return await amonitored(self.policy.monitors, context, given)
        return await arun(context, given, weight)

    def _context(
        self,
        snapshot: CallSnapshot,
        implementations: Sequence[Implementation],
        *,
        is_first: bool | None = None,
        concurrent: bool = False,
        answers: list[Answer] | None = None,
    ) -> CallContext:
        return CallContext(
            self.policy,
            snapshot,
            tuple(self.policy.not_skipped(implementations)),
            is_first=self.is_first if is_first is None else is_first,
            isolated=self.is_isolated,
            concurrent=concurrent,
            answers=answers,
        )

    def _refuse_historic(self) -> None:
        if self.history is not None:
            raise AssertionError(
                "Cannot directly call a historic hook - use call_historic instead."
            )

    # Compiling callers.

    def _is_worth_compiling(self, snapshot: CallSnapshot) -> bool:
        implementations = snapshot.implementations
        breaker = self.policy.breaker
        return not (
            self.policy.monitors
            or len(implementations) > _MOST_COMPILED
            or self.history is not None
            or (breaker is not None and breaker.affects(implementations))
            or (self.is_isolated and any(i.is_wrapper for i in implementations))
        )

    def _compile(self, snapshot: CallSnapshot) -> None:
        if not any(i.is_async for i in snapshot.implementations) and (
            self._is_worth_compiling(snapshot)
        ):
            code, snapshot.lines = compile_caller(
                snapshot,
                awaits=False,
                isolated=self.is_isolated,
                armed=self.policy.breaker is not None,
                deadlines={},
            )
            self._put(snapshot, self._function, code)

    def _acompile(self, snapshot: CallSnapshot) -> None:
        if not self.option("concurrent") and self._is_worth_compiling(snapshot):
            deadlines = {i: self.policy.deadline(i) for i in snapshot.implementations}
            code, snapshot.alines = compile_caller(
                snapshot,
                awaits=True,
                isolated=self.is_isolated,
                armed=self.policy.breaker is not None,
                deadlines={i: s for i, s in deadlines.items() if s is not None},
            )
            self._put(snapshot, self._afunction, code)

    def _put(
        self,
        snapshot: CallSnapshot,
        function: ReplaceableFunction,
        code: types.CodeType,
    ) -> None:
        with self.lock:
            is_present = self.snapshot is snapshot
            if is_present and not self.barrier and not self.policy.monitors:
                must, may = parameters(snapshot)
                defaults = dict.fromkeys((*must, *may), ABSENT)
                if self.spec is not None:
                    defaults.update(self.spec.kwargdefaults)
                function.put(code, defaults)

    # pluggy's interface, and what is like it.

    def get_hookimpls(self) -> list[pluggy.HookImpl]:
        """Return pluggy's records of the implementations, the last called first."""
        with self.lock:
            return [i.hookimpl for i in reversed(self.order.implementations())]

    def call_historic(
        self,
        result_callback: Callable[[Any], object] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        owner: str | None = None,
        removed: Collection[str] = (),
    ) -> None:
        """Call the hook now, and again for every plugin that is registered later.

        Args:
            result_callback: Called with every result that is not None.
            kwargs: The arguments.
            owner: Photon; when it is unregistered, this call is forgotten.
            removed: Names of plugins that are not called now.
        """
        if self.history is None:
            raise AssertionError(f"hook {self.name!r} is not historic")
        given = complete(self.spec, kwargs or {})
        # In one step: an implementation is called now, or this call is repeated for it.
        with self.lock:
            self.history.append(HistoricCall(given, result_callback, owner))
            snapshot = self.snapshot
            implementations = snapshot.without(removed)
        for result in self._call(snapshot, implementations, given, is_first=False):
            if result_callback is not None:
                result_callback(result)

    def repeat(
        self, impl: Implementation, repeated: set[HistoricCall], leaving: object = None
    ) -> None:
        """Repeat earlier calls for *impl*, except those in *repeated*.

        Args:
            impl: Called with the arguments of each.
            repeated: All earlier calls are added to it.
            leaving: The plugin that *impl*'s plugin replaces; calls that belong to it
                are not repeated.
        """
        for past in tuple(self.history or ()):
            if past in repeated:
                continue
            repeated.add(past)
            if leaving is not None and past.belongs_to(leaving, impl.photon):
                continue
            result = self._call(self.snapshot, (impl,), past.kwargs, is_first=False)
            if result and past.callback is not None:
                past.callback(result[0])

    def has_more(self, repeated: set[HistoricCall]) -> bool:
        """Return whether there are earlier calls that are not in *repeated*."""
        return not repeated.issuperset(self.history or ())

    def forget(self, plugin: object = None, photon: str | None = None) -> int:
        """Forget earlier calls; return how many.

        Args:
            plugin: Forget only calls that hold this photon or a method of it.
            photon: Also forget calls that belong to the photon of this name.
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
        """Call the hook with *methods* as further implementations, this once.

        Args:
            methods: Functions that are called as implementations are.
            kwargs: The arguments.
            removed: Names of plugins that are left out.
        """
        self._refuse_historic()
        given = complete(self.spec, kwargs)
        snapshot = self._choose()
        implementations = snapshot.without(removed)
        index = next(
            (
                number
                for number, impl in enumerate(implementations)
                if not (impl.is_wrapper or impl.tryfirst)
            ),
            len(implementations),
        )
        for method in methods:
            implementations.insert(index, extra_implementation(method))
        return self._call(snapshot, implementations, given)

    def call_subset(self, removed: Collection[str], kwargs: Mapping[str, Any]) -> Any:
        """Call the hook without the plugins whose names are *removed*."""
        self._refuse_historic()
        given = complete(self.spec, kwargs)
        snapshot = self._choose()
        return self._call(snapshot, snapshot.without(removed), given)

    def detailed(self, **kwargs: Any) -> list[Answer]:
        """Call the hook and return each photon's answer, in the order of calls.

        In an isolated hook, failures are among the answers.
        """
        answers: list[Answer] = []
        self._refuse_historic()
        self.tick()
        snapshot = self._choose()
        self.run(snapshot, kwargs, 1, answers)
        return answers

    async def adetailed(self, **kwargs: Any) -> list[Answer]:
        """Await the hook and return each photon's answer; see `detailed`."""
        answers: list[Answer] = []
        snapshot = self._choose()
        snapshot.enter()
        try:
            await self.arun(snapshot, kwargs, 1, answers)
        finally:
            next(snapshot.left)
        return answers

    def _call(
        self,
        snapshot: CallSnapshot,
        implementations: Sequence[Implementation],
        given: Mapping[str, Any],
        *,
        is_first: bool | None = None,
    ) -> Any:
        context = self._context(snapshot, implementations, is_first=is_first)
        return monitored(self.policy.monitors, context, given)

    # Private to pluggy, and used by its tests and by tools.

    def _add_hookimpl(self, hookimpl: pluggy.HookImpl) -> None:
        with self.lock:
            self._loose_position -= 1  # positions of plugins are positive
            impl = Implementation(hookimpl)
            impl.tally.calls_before = self.calls
            self.order.add(self._loose_position, impl)
            self.changed()

    def _remove_plugin(self, plugin: object) -> None:
        with self.lock:
            positions = [p for p, i in self.order.items() if i.plugin is plugin]
            if not positions:
                raise ValueError(f"plugin {plugin!r} not found")
            for position in positions:
                self.order.remove(position)
            self.changed()


def _never(*_: object) -> Any:
    raise AssertionError("this caller only reads a specification")


note_runners(Caller.call_cold, Caller.acall_cold, Caller._choose)  # noqa: SLF001
# Calls that do not go through one of the two functions.
note_entries(
    Caller.adetailed,
    Caller.call_extra,
    Caller.call_historic,
    Caller.call_subset,
    Caller.detailed,
)


class SubsetCaller:
    """Calls a hook's implementations except those of some plugins.

    Args:
        caller: The caller of the hook.
        removed: Names of the plugins that are left out.
    """

    __slots__ = ("_caller", "_removed")

    def __init__(self, caller: Caller, removed: frozenset[str]) -> None:
        self._caller = caller
        self._removed = removed

    def __call__(self, **kwargs: Any) -> Any:
        """Call the hook with *kwargs*."""
        return self._caller.call_subset(self._removed, kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._caller, name)

    def get_hookimpls(self) -> list[Any]:
        """Return pluggy's records of the implementations that take part."""
        return [
            hookimpl
            for hookimpl in self._caller.get_hookimpls()
            if hookimpl.plugin_name not in self._removed
        ]

    def call_historic(self, result_callback: Any = None, kwargs: Any = None) -> None:
        """Call the hook now without the plugins left out, later for every new one."""
        self._caller.call_historic(result_callback, kwargs, removed=self._removed)

    def call_extra(self, methods: Any, kwargs: Any) -> Any:
        """Call the hook with *methods*, without the plugins left out."""
        return self._caller.call_extra(methods, kwargs, removed=self._removed)

    def __repr__(self) -> str:
        return f"<_SubsetHookCaller {self._caller.name!r}>"
