"""The caller of one hook: pluggy's `HookCaller`, sync and async, for swaps.

A `Caller` owns the two functions that hosts hold, ``manager.hook.NAME`` and
``manager.ahook.NAME``. The functions stay; their code changes with the implementations.
Right after a change they look the implementations up. After a few calls they run code
that was compiled for exactly these implementations.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pluggy

from luminal.hooks._calls import CallSnapshot, has_gil, note_entries, outermost
from luminal.hooks._compile import (
    ABSENT,
    COROUTINE,
    ReplaceableFunction,
    compile_caller,
    parameters,
    pass_on,
    without_absent,
)
from luminal.hooks._errors import leave_out
from luminal.hooks._execution import (
    CallContext,
    amonitored,
    arun,
    complete,
    monitored,
    part_of,
    run,
    run_blocking,
)
from luminal.hooks._impl import HistoricCall, Implementation, extra_implementation
from luminal.hooks._order import Order

if TYPE_CHECKING:
    import types
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from luminal.hooks._errors import Policy
    from luminal.hooks._swap import CallBarrier
    from luminal.hooks.records import Answer

__all__ = ["Caller", "SubsetCaller"]

_MOST_COMPILED: Final = 400  # with more implementations it is not worth compiling
_COMPILE_AFTER: Final = 8  # calls of one snapshot; after fewer it is not worth it

_METHODS: Final = (
    "_add_hookimpl",
    "_apply_defaults",
    "_maybe_apply_history",
    "_remove_plugin",
    "_verify_all_args_are_provided",
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
        order: The implementations by position.
        snapshot: What a call that begins now sees.
        barrier: Set while calls from before a swap are under way.
        sync: ``manager.hook.NAME``.
        awaited: ``manager.ahook.NAME``.
    """

    def __init__(self, name: str, policy: Policy) -> None:
        self.name = name
        self.policy = policy
        self.lock = policy.lock
        self.spec: Any = None
        self._is_specified_async = False
        self.order = Order()
        self.snapshot = CallSnapshot(self, policy.epoch)
        self.barrier: CallBarrier | None = None
        self._loose_position = 0
        self._function = ReplaceableFunction(self, pass_on(name, awaits=False))
        self._afunction = ReplaceableFunction(self, pass_on(name, awaits=True))
        self.sync: Any = self._function.function
        self.awaited: Any = self._afunction.function
        self._attach_methods()

    def __repr__(self) -> str:
        return f"<Caller {self.name!r}>"

    def _attach_methods(self) -> None:
        """Make pluggy's interface attributes of the two functions."""
        attributes = {name: getattr(self, name) for name in _METHODS}
        attributes["_hookimpls"] = _HookImpls(self.get_hookimpls)
        self.sync.__dict__.update(attributes)
        self.awaited.__dict__.update(attributes, detailed=self.adetailed)
        self.sync.__dict__.setdefault("_call_history", None)

    @property
    def history(self) -> list[HistoricCall] | None:
        """Earlier calls of a historic hook; None if the hook is not historic."""
        # Kept there, as hosts replace it: pytest does, at the end of a run.
        history: list[HistoricCall] | None = self.sync.__dict__["_call_history"]
        return history

    @history.setter
    def history(self, history: list[HistoricCall] | None) -> None:
        self.sync.__dict__["_call_history"] = history

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

    def _runs_on_a_loop(self, impl: Implementation) -> bool:
        """Whether a plain call runs *impl* to its end on an event loop of its own.

        As in pluggy, it hands over what an implementation of a ``def`` has returned,
        a coroutine too.
        """
        return impl.is_async and (impl.is_wrapper or self._is_specified_async)

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
        if not self.is_orphaned:
            code = getattr(getattr(spec, "function", None), "__code__", None)
            self._is_specified_async = bool(code and code.co_flags & COROUTINE)
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

    def changed(self, *, grown: bool = False) -> None:
        """Let calls that begin from now on see the order as it is now.

        Args:
            grown: Whether implementations were only added.
        """
        if not self.snapshot.is_pending:
            new = CallSnapshot(self, self.snapshot.epoch)
            self.replace_snapshot(new, grown=grown)
        elif not grown:  # what was kept for the next call may refer to what has left
            self.policy.forget_ended()

    def renew(self) -> None:
        """Make a new snapshot of the same implementations; callers recompile."""
        self.replace_snapshot(self.snapshot.again())

    def replace_snapshot(
        self, snapshot: CallSnapshot, until: int | None = None, *, grown: bool = False
    ) -> None:
        """Make *snapshot* the present one.

        Args:
            snapshot: What calls see that begin from now on.
            until: Epoch of the calls under way; by default the present one.
            grown: Whether implementations were only added.
        """
        old = self.snapshot
        old.until = self.policy.epoch if until is None else until
        self.snapshot = snapshot
        old.is_gone = True
        if self.barrier is not None:
            # A registration after the swap changes what new calls see.
            self.barrier.new = snapshot
        self.deoptimize()
        # After this a call that was not counted yet finds out that it is late.
        self.policy.replaced.append(old)
        # To settle and free a snapshot of thousands takes longer than a registration
        # may. While the order holds all implementations in it, the next call can do it.
        if not grown:
            self.policy.forget_ended()

    def split(self, until: int) -> None:
        """Count calls that begin now apart from those under way, of epoch *until*.

        The hook stays as fast as it is.
        """
        is_warm, is_awarm = not self._function.is_cold, not self._afunction.is_cold
        snapshot = self.snapshot.again()
        self.replace_snapshot(snapshot, until)
        if is_warm:
            self._compile(snapshot)
        if is_awarm:
            self._acompile(snapshot)

    def deoptimize(self) -> None:
        """Let calls that begin from now on look up the present snapshot."""
        self._function.deoptimize()
        self._afunction.deoptimize()

    # Calls without a compiled caller.

    def call_cold(self, kwargs: dict[str, Any]) -> Any:
        """Make a sync call; compile a caller if it is worth it."""
        __tracebackhide__ = True

        def call(snapshot: CallSnapshot) -> Any:
            __tracebackhide__ = True
            snapshot.heat += 1
            if snapshot.heat >= _COMPILE_AFTER and self._function.is_cold:
                self._compile(snapshot)
            return self.run(snapshot, kwargs, 1)

        return self._counted(call)

    async def acall_cold(self, kwargs: dict[str, Any]) -> Any:
        """Make an async call; compile a caller if it is worth it."""
        __tracebackhide__ = True

        async def call(snapshot: CallSnapshot) -> Any:
            __tracebackhide__ = True
            snapshot.aheat += 1
            if snapshot.aheat >= _COMPILE_AFTER and self._afunction.is_cold:
                self._acompile(snapshot)
            return await self.arun(snapshot, kwargs, 1)

        return await self._acounted(call)

    def _seen(self, epoch: int | None) -> CallSnapshot:
        """Return what a call sees whose outermost call is of *epoch*."""
        barrier = self.barrier
        if barrier is None:
            return self.snapshot
        return barrier.seen_by(self.policy.epoch if epoch is None else epoch)

    def _first(self) -> int | None:
        """Return the epoch of the outermost call that makes this call, if it matters.

        None if this is the outermost call, or no call from before a swap is under way.
        """
        barrier = self.barrier
        return None if barrier is None else barrier.first()

    def _counted(
        self, call: Callable[[CallSnapshot], Any], *, removed: Collection[str] = ()
    ) -> Any:
        """Count a call that begins now, and make it by *call*.

        It is counted first and looks again then: a swap that has missed it has shown
        its new generation before.

        Args:
            call: Called with what the call sees.
            removed: Names of plugins that it does not reach.
        """
        __tracebackhide__ = True
        policy, epoch = self.policy, None
        while True:
            first = self._first()
            snapshot = self._seen(first)
            try:
                next(snapshot.entered)
                began = policy.epoch if first is None else first
                if self._first() == first and self._seen(began) is snapshot:
                    epoch = began  # noqa: F841 - read from this frame, see `own_calls`
                    if removed:
                        given = snapshot.implementations
                        policy.miss(i for i in given if i.photon in removed)
                    return call(snapshot)
                next(snapshot.uncounted)
            finally:
                next(snapshot.left)

    async def _acounted(self, call: Callable[[CallSnapshot], Awaitable[Any]]) -> Any:
        """Count an async call that begins now; see `_counted`."""
        __tracebackhide__ = True
        policy, epoch = self.policy, None
        while True:
            first = self._first()
            snapshot = self._seen(first)
            try:
                next(snapshot.entered)
                began = policy.epoch if first is None else first
                if self._first() == first and self._seen(began) is snapshot:
                    epoch = began  # noqa: F841 - read from this frame, see `own_calls`
                    return await call(snapshot)
                next(snapshot.uncounted)
            finally:
                next(snapshot.left)

    def run(
        self,
        snapshot: CallSnapshot,
        kwargs: dict[str, Any],
        weight: int,
        answers: list[Answer] | None = None,
        timed: Collection[Implementation] = (),
    ) -> Any:
        """Call the implementations of *snapshot* in the general way.

        Args:
            snapshot: What the call sees.
            kwargs: The arguments; some may be absent.
            weight: Number of calls that the measured times stand for.
            answers: List to which answers are added.
            timed: Implementations of which every call is timed.
        """
        __tracebackhide__ = True
        self._refuse_historic()
        given = complete(self.spec, without_absent(kwargs))
        awaits = next(filter(self._runs_on_a_loop, snapshot.implementations), None)
        if awaits is not None:

            def call() -> Any:  # its loop's task belongs to this call
                work = self.arun(snapshot, kwargs, weight, answers)
                return part_of(self.policy, outermost(self.policy), work)

            return run_blocking(self.name, awaits.photon, call)
        context = self._context(
            snapshot, snapshot.implementations, answers=answers, timed=timed
        )
        if self.policy.monitors:
            return monitored(self.policy.monitors, context, given)
        return run(context, given, weight)

    async def arun(
        self,
        snapshot: CallSnapshot,
        kwargs: dict[str, Any],
        weight: int,
        answers: list[Answer] | None = None,
        timed: Collection[Implementation] = (),
    ) -> Any:
        """Await the implementations of *snapshot* in the general way; see `run`."""
        __tracebackhide__ = True
        self._refuse_historic()
        given = complete(self.spec, without_absent(kwargs))
        context = self._context(
            snapshot,
            snapshot.implementations,
            concurrent=bool(self.option("concurrent")),
            answers=answers,
            timed=timed,
        )
        if context.concurrent:
            context.epoch = outermost(self.policy)
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
        timed: Collection[Implementation] = (),
    ) -> CallContext:
        return CallContext(
            self.policy,
            snapshot,
            tuple(self.policy.not_skipped(implementations)),
            is_first=self.is_first if is_first is None else is_first,
            isolated=self.is_isolated,
            concurrent=concurrent,
            answers=answers,
            timed=timed,
        )

    def _refuse_historic(self) -> None:
        __tracebackhide__ = True
        if self.history is not None:
            raise AssertionError(
                "Cannot directly call a historic hook - use call_historic instead."
            )

    # Compiling callers.

    def _is_worth_compiling(self, snapshot: CallSnapshot) -> bool:
        implementations = snapshot.implementations
        return (
            snapshot is self.snapshot
            and not snapshot.is_gone
            # Without it, to store the code of a function that runs is not safe.
            and has_gil()
        ) and not (
            self.policy.monitors
            or len(implementations) > _MOST_COMPILED
            or self.history is not None
            or self.policy.has_quarantined(implementations)
            or (self.is_isolated and any(i.is_wrapper for i in implementations))
        )

    def _compile(self, snapshot: CallSnapshot) -> None:
        if not any(map(self._runs_on_a_loop, snapshot.implementations)) and (
            self._is_worth_compiling(snapshot)
        ):
            barrier = self.barrier
            passes = None if barrier is None else barrier.passes
            # Its lines are the same whatever is timed: calls may run earlier code.
            snapshot.timed = snapshot.slow(snapshot.timed)
            code, kept, snapshot.lines = compile_caller(
                snapshot,
                timed=snapshot.timed,
                awaits=False,
                isolated=self.is_isolated,
                armed=self.policy.quarantines is not None,
                deadlines={},
                passes=passes,
            )
            self._put(snapshot, self._function, code, kept, barrier)

    def _acompile(self, snapshot: CallSnapshot) -> None:
        if not self.option("concurrent") and self._is_worth_compiling(snapshot):
            deadlines = {i: self.policy.deadline(i) for i in snapshot.implementations}
            barrier = self.barrier
            passes = None if barrier is None else barrier.passes
            snapshot.atimed = snapshot.slow(snapshot.atimed)
            code, kept, snapshot.alines = compile_caller(
                snapshot,
                timed=snapshot.atimed,
                awaits=True,
                isolated=self.is_isolated,
                armed=self.policy.quarantines is not None,
                deadlines={i: s for i, s in deadlines.items() if s is not None},
                passes=passes,
            )
            self._put(snapshot, self._afunction, code, kept, barrier)

    def choose_timed(self, snapshot: CallSnapshot) -> None:
        """Compile anew if other implementations than now are to be timed."""
        if snapshot.slow(snapshot.timed) != snapshot.timed:
            self._compile(snapshot)

    def achoose_timed(self, snapshot: CallSnapshot) -> None:
        """Compile the async call anew; see `choose_timed`."""
        if snapshot.slow(snapshot.atimed) != snapshot.atimed:
            self._acompile(snapshot)

    def _put(
        self,
        snapshot: CallSnapshot,
        function: ReplaceableFunction,
        code: types.CodeType,
        kept: tuple[object, ...],
        barrier: CallBarrier | None,
    ) -> None:
        with self.lock:
            is_present = self.snapshot is snapshot and not snapshot.is_gone
            if is_present and self.barrier is barrier and not self.policy.monitors:
                must, may = parameters(snapshot)
                defaults = dict.fromkeys((*must, *may), ABSENT)
                if self.spec is not None:
                    defaults.update(self.spec.kwargdefaults)
                function.put(code, kept, defaults)

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
        __tracebackhide__ = True
        if self.history is None:
            raise AssertionError(f"hook {self.name!r} is not historic")
        given = complete(self.spec, kwargs or {})
        policy = self.policy
        snapshot = epoch = None
        try:
            # In one step: an implementation is called now, or this call is repeated
            # for it.
            with self.lock:
                self.history.append(HistoricCall(given, result_callback, owner))
                snapshot, epoch = self.snapshot, policy.epoch
                next(snapshot.entered)
                next(snapshot.uncounted)
                implementations = snapshot.without(removed)
            for result in self._call(snapshot, implementations, given, is_first=False):
                if result_callback is not None:
                    result_callback(result)
        finally:
            if epoch is not None and snapshot is not None:
                next(snapshot.left)

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
        __tracebackhide__ = True
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
        __tracebackhide__ = True
        self._refuse_historic()
        given = complete(self.spec, kwargs)

        def call(snapshot: CallSnapshot) -> Any:
            __tracebackhide__ = True
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

        return self._counted(call, removed=removed)

    def call_subset(self, removed: Collection[str], kwargs: Mapping[str, Any]) -> Any:
        """Call the hook without the plugins whose names are *removed*."""
        __tracebackhide__ = True
        self._refuse_historic()
        given = complete(self.spec, kwargs)

        def call(snapshot: CallSnapshot) -> Any:
            __tracebackhide__ = True
            return self._call(snapshot, snapshot.without(removed), given)

        return self._counted(call, removed=removed)

    def detailed(self, **kwargs: Any) -> list[Answer]:
        """Call the hook and return each photon's answer, in the order of calls.

        In an isolated hook, failures are among the answers.
        """
        __tracebackhide__ = True
        answers: list[Answer] = []
        self._refuse_historic()
        self._counted(partial(self.run, kwargs=kwargs, weight=1, answers=answers))
        return answers

    async def adetailed(self, **kwargs: Any) -> list[Answer]:
        """Await the hook and return each photon's answer; see `detailed`."""
        __tracebackhide__ = True
        answers: list[Answer] = []
        call = partial(self.arun, kwargs=kwargs, weight=1, answers=answers)
        await self._acounted(call)
        return answers

    def _call(
        self,
        snapshot: CallSnapshot,
        implementations: Sequence[Implementation],
        given: Mapping[str, Any],
        *,
        is_first: bool | None = None,
    ) -> Any:
        __tracebackhide__ = True
        context = self._context(snapshot, implementations, is_first=is_first)
        return monitored(self.policy.monitors, context, given)

    # Private to pluggy, and used by its tests and by tools.

    def _apply_defaults(self, kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        defaults = self.spec.kwargdefaults if self.spec is not None else None
        return {**defaults, **kwargs} if defaults else kwargs

    def _verify_all_args_are_provided(self, kwargs: Mapping[str, Any]) -> None:
        complete(self.spec, kwargs)

    def _maybe_apply_history(self, hookimpl: pluggy.HookImpl) -> None:
        __tracebackhide__ = True
        self.repeat(Implementation(hookimpl), set())

    def _add_hookimpl(self, hookimpl: pluggy.HookImpl) -> None:
        with self.lock:
            self._loose_position -= 1  # positions of plugins are positive
            impl = Implementation(hookimpl)
            impl.tally.begin(self.policy.totals.of(impl.photon, self.name))
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


class _HookImpls(Sequence[pluggy.HookImpl]):
    """pluggy's list of a hook's implementations, as it is when it is looked at.

    Args:
        get: Returns the list.
    """

    def __init__(self, get: Callable[[], list[pluggy.HookImpl]]) -> None:
        self.copy = get

    def __len__(self) -> int:
        return len(self.copy())

    def __getitem__(self, index: Any) -> Any:
        return self.copy()[index]

    def __repr__(self) -> str:
        return repr(self.copy())


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
        __tracebackhide__ = True
        return self._caller.call_subset(self._removed, kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._caller.sync, name)

    @property
    def _hookimpls(self) -> list[Any]:
        return self.get_hookimpls()

    def get_hookimpls(self) -> list[Any]:
        """Return pluggy's records of the implementations that take part."""
        return [
            hookimpl
            for hookimpl in self._caller.get_hookimpls()
            if hookimpl.plugin_name not in self._removed
        ]

    def call_historic(self, result_callback: Any = None, kwargs: Any = None) -> None:
        """Call the hook now without the plugins left out, later for every new one."""
        __tracebackhide__ = True
        self._caller.call_historic(result_callback, kwargs, removed=self._removed)

    def call_extra(self, methods: Any, kwargs: Any) -> Any:
        """Call the hook with *methods*, without the plugins left out."""
        __tracebackhide__ = True
        return self._caller.call_extra(methods, kwargs, removed=self._removed)

    def __repr__(self) -> str:
        return f"<_SubsetHookCaller {self._caller.name!r}>"


leave_out(globals())
note_entries(Caller._acounted, Caller._counted, Caller.call_historic)  # noqa: SLF001
