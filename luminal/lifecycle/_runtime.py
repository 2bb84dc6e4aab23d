"""The connection of photons to their host: hooks, settings, deadlines, events.

`Runtime` is made once for each host. A Handler that is made without one gets a
`Runtime` of its own, which is connected to nothing.
"""

from __future__ import annotations

import threading
import time
import warnings
import weakref
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from contextvars import ContextVar, Token
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import attrs

from luminal._forks import begin_anew_in_forks
from luminal._phases import is_measured, phase
from luminal._plain import class_name, static_of
from luminal.discovery import fold, split_requirement
from luminal.errors import (
    LuminalWarning,
    PhotonConflictError,
    PhotonDependencyError,
    PhotonNotFoundError,
    PhotonSettingsError,
    PhotonStateError,
    PhotonTimeoutError,
    PhotonValidationError,
    did_you_mean,
)
from luminal.hooks import PluginManager
from luminal.hooks._totals import Total
from luminal.interfaces import LifecycleSpecs, PhotonContext
from luminal.lifecycle._contained import Failures
from luminal.lifecycle._steps import (
    DefaultLifecycle,
    is_real_interrupt,
    method_of,
    run_step,
)
from luminal.lifecycle._survivors import Survivors
from luminal.loading import generation_of, reach_loop
from luminal.model import Deadlines, Event, EventKind, FailureKind, Problem
from luminal.supervise import unowned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from luminal.hooks.records import HookFailure
    from luminal.lifecycle._batch import Registry
    from luminal.lifecycle._footprint import InterpreterChanges, InterpreterPolicy
    from luminal.lifecycle._handler import Handler
    from luminal.model import Candidate, SwapChanges

__all__ = ["Events", "Runtime", "UnknownHooks"]

_NOTHING = nullcontext()
_NO_PHASES: Mapping[str, float] = {}
_OWN = DefaultLifecycle()
_OWN_NAME = "luminal.lifecycle"

UnknownHooks = Literal["warn", "error", "ignore"]


class _Lifecycle(PluginManager):
    """The manager of the life-cycle hooks, of which Luminal's own are always a part."""

    def unregister(
        self, plugin: object | None = None, name: str | None = None
    ) -> Any | None:
        """Unregister a plugin, and return it; see `PluginManager.unregister`.

        Raises:
            PhotonStateError: It is Luminal's own.
        """
        if plugin is _OWN or name == _OWN_NAME:
            raise PhotonStateError(
                f"{_OWN_NAME!r} cannot be unregistered",
                why="without it no photon of this host could start or end",
                hint="register a plugin that implements the life-cycle hooks: it is "
                "called before, and may wrap them",
            )
        return super().unregister(plugin, name)


class _Held:
    """Failures that a ``with`` block causes, see `Events.holding`.

    A task that a photon has started meanwhile keeps the context after the end.
    """

    def __init__(self, owner: Events) -> None:
        self.owner = owner
        self.events: list[Event] = []
        self.is_over: bool = False

    def __enter__(self) -> list[Event]:
        self._token: Token[_Held | None] = _held.set(self)
        return self.events

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.is_over = True
        _held.reset(self._token)
        for event in self.events if kind is not None else ():
            self.owner.emit(event)


_held: ContextVar[_Held | None] = ContextVar("luminal_held_failures", default=None)

_IDLE = 5.0
"""Seconds without an event after which the thread of a queue ends."""

_MOST_COUNTED = 10_000
"""Pairs of a kind of event and a photon that are counted each by itself."""

_MOST_UNCOUNTED = 100
"""Steps whose phases are added up at once, though nobody asks."""

_FAILURES = frozenset({EventKind.REJECTED, EventKind.FAILED})


class Events:
    """Passes each event to all subscribers, in the thread in which it happens.

    A subscriber that raises changes nothing of what happens to a photon. It is counted
    and reported, see `luminal.model.FailureKind`.

    Args:
        journal: The latest events, oldest first.

    Attributes:
        failures: How many times a subscriber has raised.
        counts: (kind, photon) → how many such events there were, and the seconds that
            they took. Of photons beyond some thousands, the name is empty.
        state_changes: Facet of the interpreter's shared state → how often photons have
            changed it, where the host watches that.
        dropped: How many events found the queue of a subscriber full.
        began: Wall-clock time from which on they are counted.
        report_failure: Called with such a subscriber, and what it has raised.
    """

    def __init__(
        self,
        failures: int = 0,
        report_failure: Callable[[Any, BaseException], object] | None = None,
    ) -> None:
        self.journal: deque[Event] = deque(maxlen=1000)
        self.failures: int = failures
        self.dropped: int = 0
        self.began: float = time.time()
        self.counts: dict[tuple[EventKind, str], tuple[int, float]] = {}
        self._phases: dict[tuple[str, str], Total] = {}
        self._uncounted: deque[tuple[str, Mapping[str, float]]] = deque()
        self.state_changes: Counter[str] = Counter()
        self.report_failure = report_failure
        # Replaced as a whole, so that emitting needs no lock.
        self._subscribers: tuple[Callable[[Event], object], ...] = ()
        self._deferred: deque[Event] = deque()
        # Reentrant: an event of the garbage collector may be emitted in the middle.
        self._lock = threading.RLock()
        begin_anew_in_forks(self)

    def begin_anew(self) -> None:
        """Begin at zero, in a process that was just forked.

        Threads of the parent that held a lock, and those of queues, are not in it.
        Events that wait are told by the parent.
        """
        self._lock = threading.RLock()
        self.began = time.time()
        self.failures = self.dropped = 0
        self.counts, self._phases, self.state_changes = {}, {}, Counter()
        self._uncounted.clear()
        for subscriber in self._subscribers:
            if isinstance(subscriber, _Queue):
                subscriber.begin_anew()

    def subscribe(
        self, subscriber: Callable[[Event], object], *, queue: int = 0
    ) -> Callable[[], None]:
        """Call *subscriber* with each event from now on.

        Args:
            subscriber: Takes the event.
            queue: If it may be slow: most events that wait for it. It is called on a
                thread of its own then. Events that find the queue full are dropped, and
                counted in ``dropped``. 0 calls it in the thread in which the event
                happens, and a swap waits for it.

        Returns:
            A function without arguments that ends this. Events that wait are dropped.
        """
        called = subscriber
        if queue:
            called = _Queue(self, partial(self._call, subscriber), queue)
        self._subscribers = (*self._subscribers, called)

        def unsubscribe() -> None:
            self._subscribers = tuple(s for s in self._subscribers if s != called)
            if isinstance(called, _Queue):
                called.end()

        return unsubscribe

    def emit(self, event: Event) -> None:
        """Add *event* to the journal, and call the subscribers with it."""
        if event.kind in _FAILURES:
            held = _held.get()
            if held is not None and held.owner is self and not held.is_over:
                held.events.append(event)
                return
        if self._deferred:
            self._emit_deferred()
        self.journal.append(event)
        key = (event.kind, event.photon)
        with self._lock:
            if key not in self.counts and len(self.counts) >= _MOST_COUNTED:
                key = (event.kind, "")
            count, seconds = self.counts.get(key, (0, 0.0))
            self.counts[key] = (count + 1, seconds + event.seconds)
        for subscriber in self._subscribers:
            try:
                subscriber(event)
            except BaseException as error:
                if is_real_interrupt(error):
                    raise
                self._failed(subscriber, event, error)

    def holding(self) -> _Held:
        """Keep back the failures that a ``with`` block causes, but not if it raises.

        Returns:
            Gives these events to the block. The caller emits them when it knows that no
            other try will succeed.
        """
        return _Held(self)

    def defer(
        self, event: Event, call_soon: Callable[[Callable[[], None]], object]
    ) -> None:
        """Emit *event* soon, or with the next event.

        For events of the garbage collector: it runs in any thread, in the middle of
        anything, and a subscriber may wait for a lock that is held there.

        Args:
            event: What has happened.
            call_soon: Calls a function on another thread. A closed loop's raises
                `RuntimeError`.
        """
        self._deferred.append(event)
        with suppress(RuntimeError):
            call_soon(self._emit_deferred)

    def count_phases(self, step: str, phases: Mapping[str, float]) -> None:
        """Add the seconds of each phase of one step to `phases`."""
        self._uncounted.append((step, phases))
        if len(self._uncounted) >= _MOST_UNCOUNTED:
            self._add_uncounted()

    @property
    def phases(self) -> Mapping[tuple[str, str], Total]:
        """(step, phase) → how long each was; steps are ``load``, ``swap``, ``unload``.

        Added up when it is asked for: a reload pays for keeping the numbers only.
        """
        self._add_uncounted()
        return self._phases

    def _add_uncounted(self) -> None:
        with self._lock:
            while self._uncounted:
                step, phases = self._uncounted.popleft()
                for name, seconds in phases.items():
                    total = self._phases.get((step, name))
                    if total is None:
                        total = self._phases[step, name] = Total()
                    total.time(int(seconds * 1e9), 1)

    def _emit_deferred(self) -> None:
        waiting = []
        with suppress(IndexError):
            while True:
                waiting.append(self._deferred.popleft())
        for event in waiting:
            self.emit(event)

    def _call(self, subscriber: Callable[[Event], object], event: Event) -> None:
        """Call a subscriber that has a queue, in the thread of that."""
        try:
            subscriber(event)
        except BaseException as error:  # noqa: BLE001 - reported
            self._failed(subscriber, event, error)

    def _failed(
        self,
        subscriber: Callable[[Event], object],
        event: Event,
        error: BaseException,
    ) -> None:
        self.failures += 1
        # A report is an event too, at which the subscriber may fail again.
        is_report = event.problem and event.problem.phase == "subscriber"
        if self.report_failure is not None and not is_report:
            self.report_failure(subscriber, error)


class _Queue:
    """Events that wait for a slow subscriber, and the thread that calls it.

    The thread begins with an event, and ends when there was none for some seconds.
    """

    def __init__(
        self, events: Events, call: Callable[[Event], object], limit: int
    ) -> None:
        self._events = events
        self._call = call
        self._limit = limit
        self._is_over = False
        self.begin_anew()

    def begin_anew(self) -> None:
        """Let no event wait, and no thread run; also in a process that was forked."""
        self._waiting: deque[Event] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def __call__(self, event: Event) -> None:
        with self._changed:
            if len(self._waiting) >= self._limit:
                self._events.dropped += 1
                return
            self._waiting.append(event)
            self._changed.notify()
            if self._thread is None or not self._thread.is_alive():
                name = "luminal-events"
                with unowned():
                    self._thread = threading.Thread(
                        target=self._run, name=name, daemon=True
                    )
                    self._thread.start()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._has_work, _IDLE)
                if self._is_over or not self._waiting:
                    self._thread = None
                    return
                event = self._waiting.popleft()
            self._call(event)

    def _has_work(self) -> bool:
        return self._is_over or bool(self._waiting)

    def end(self) -> None:
        """Let the thread end, and drop the events that wait."""
        with self._changed:
            self._is_over = True
            self._waiting.clear()
            self._changed.notify()


@attrs.define(eq=False, repr=False)
class Runtime:
    """What all the photons of a host share.

    Attributes:
        plugins: Where photons' hooks are registered.
        lifecycle: Where the hooks of the lifecycle are. Plugins of ``plugins`` that
            implement them are registered here as well.
        settings: Photon name → its settings.
        deadlines: For each step of a photon's life.
        events: Passes events to subscribers.
        interpreter_policy: What is done about changes of the interpreter's shared
            state; None where they are not looked at.
        unknown_hooks: What is done about a photon that implements a hook which is not
            specified: ``error``, ``warn`` or ``ignore``. None refuses only those whose
            names are nearly that of a hook.
        host: What photons find as ``context.host``.
        registry: The loaded photons; None where the host has no Loader.
        survivors: Reports ended generations that stay in memory.
        failures: Reports what photons' code has raised and Luminal has contained.
        changes: What the latest swaps have changed, oldest first.
    """

    plugins: PluginManager = attrs.Factory(lambda: PluginManager("luminal"))
    settings: Mapping[str, Mapping[str, Any]] = attrs.Factory(dict)
    deadlines: Deadlines = attrs.Factory(Deadlines)
    events: Events = attrs.Factory(Events)
    interpreter_policy: InterpreterPolicy | None = None
    unknown_hooks: UnknownHooks | None = None
    host: Any = None
    registry: Registry | None = None
    changes: deque[SwapChanges] = attrs.field(factory=lambda: deque(maxlen=20))
    # Of the hosts that use the manager now.
    _is_first: Callable[[], bool] = attrs.field(init=False)
    survivors: Survivors = attrs.field(init=False)
    failures: Failures = attrs.field(init=False)
    lifecycle: PluginManager = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.survivors = Survivors(self.events)
        self.failures = Failures(self.events)
        # Weakly: what waits to emit an event must not keep the whole host.
        tell = weakref.WeakMethod(self._subscriber_failed)
        self.events.report_failure = lambda *given: (told := tell()) and told(*given)
        self.plugins.owner_of = generation_of
        # A manager may serve several hosts.
        self._is_first = self.plugins.add_failure_report(
            self._hook_failed, self._hook_released
        )
        project = self.plugins.project_name
        _mark_for(project)
        self.lifecycle = _Lifecycle(project)
        self.lifecycle.add_hookspecs(LifecycleSpecs)
        self.lifecycle.register(_OWN, _OWN_NAME)
        self.plugins.delegate(self.lifecycle)

    def _subscriber_failed(self, subscriber: Any, error: BaseException) -> None:
        generation = generation_of(subscriber)
        self.failures.contain(
            FailureKind.SUBSCRIBER,
            error,
            photon=generation.photons[0] if generation and generation.photons else "",
            generation=generation.number if generation else 0,
            name=getattr(subscriber, "__qualname__", type(subscriber).__qualname__),
        )

    def _hook_failed(self, failure: HookFailure) -> None:
        """Report what a photon has raised in a hook, and that it is skipped."""
        if not self._is_ours(failure.photon, failure.generation):
            return
        if failure.is_contained:
            self.failures.contain(
                FailureKind.HOOK,
                failure.error,
                photon=failure.photon,
                generation=failure.generation,
                file=failure.where.rpartition(":")[0],
                name=failure.hook,
            )
        if failure.skipped_for:
            self.failures.quarantined(failure)

    def _hook_released(self, photon: str, hook: str, generation: int) -> None:
        if self._is_ours(photon, generation):
            self.failures.released(photon, hook, generation)

    def _is_ours(self, photon: str, generation: int) -> bool:
        """Whether this host tells of *photon*: a manager may serve several."""
        # The host's own plugins have no generation.
        if not generation:
            return self._is_first()
        return self.registry is None or self.registry.get(photon) is not None

    def tracking_changes(
        self, changes: InterpreterChanges, photon: str, file: str
    ) -> AbstractContextManager[None]:
        """Add to *changes* what a photon changes within a ``with`` block."""
        if self.interpreter_policy is None:
            return _NOTHING
        return self.interpreter_policy.tracking(changes, photon, file)

    def new_context(self, name: str) -> PhotonContext:
        """Return a context for the photon *name*."""
        table: Any = self.settings.get(name)
        # What is no table is said when the photon is created: it alone fails then.
        is_table = table is not None and isinstance(table, Mapping)
        settings = MappingProxyType(dict(table) if is_table else {})
        return PhotonContext(name, settings, runtime=self)

    async def create(self, handler: Handler) -> object:
        """Return the photon, created where there is no instance yet.

        Raises:
            PhotonSettingsError: What is set for it is not what it declares.
        """
        life = handler._life
        life.context.settings = await self.settings_of(handler)
        candidate = life.candidate
        if candidate is not None and candidate.requirements:
            self._follow_required(handler, candidate.requirements)
        return await self.step("photon_create", handler)

    async def settings_of(self, handler: Handler) -> Any:
        """Return the settings of a photon; as its own class where it declares one.

        Raises:
            PhotonSettingsError: They do not fit.
        """
        name, factory = handler._name, handler._life.factory
        table = self.table_of(name)
        is_class = issubclass(type(factory), type)  # no metaclass of it is asked
        declared = static_of(factory, "photon_settings") if is_class else None
        if declared is None:
            return MappingProxyType(dict(table))
        from luminal.lifecycle._settings import settings_for

        return await run_step(  # validators and converters are the photon's code
            lambda: settings_for(name, declared, self.settings),
            deadline=handler.deadlines.start,
            name=f"settings {name}",
        )

    def table_of(self, name: str) -> Mapping[str, Any]:
        """Return what is set for the photon *name*.

        Raises:
            PhotonSettingsError: It is no table.
        """
        table: Any = self.settings.get(name)
        if table is None and name not in self.settings:
            return {}
        if isinstance(table, Mapping):
            found: Mapping[str, Any] = table
            return found
        raise PhotonSettingsError(
            f"its settings are of type {class_name(table)!r}, not a table",
            photon=name,
            hint=f"give a mapping of names to values, such as {{{name!r}: {{...}}}}",
        )

    def _follow_required(self, handler: Handler, required: Iterable[str]) -> None:
        """Let calls of a photon see one generation of each photon that it requires."""
        names = [split_requirement(each)[0] for each in required]
        handler.context.requires = tuple(names)
        for name in names:
            self.plugins.follow(self._name_of(name))

    def _name_of(self, name: str) -> str:
        """Return the name of a loaded photon as it is registered for hooks."""
        known = self.registry.get(name) if self.registry is not None else None
        return known.name if known is not None else name

    def finder_of(
        self, name: str, user: str, requires: Sequence[str]
    ) -> Callable[[], object]:
        """Return a function that finds the running photon *name*.

        Args:
            name: Name of the photon.
            user: Name of the photon that asks for it.
            requires: Names of those that it requires.

        Raises:
            PhotonDependencyError: It is not among them.
        """
        if fold(name) not in map(fold, requires):
            raise PhotonDependencyError(
                f"asks for photon {name!r}, which it does not require",
                photon=user,
                why=f"its photon_requires are: {', '.join(requires) or 'none'}",
                hint=did_you_mean(name, list(requires)) or f"add {name!r} to them",
            )

        def find() -> object:
            found = self.plugins.seen(self._name_of(name))
            if found is None or static_of(type(found), "is_placeholder"):
                raise PhotonNotFoundError(
                    "is not running",
                    photon=name,
                    why=f"photon {user!r} requires it",
                    hint="start it, or load it again",
                )
            return found

        return find

    def check_hooks(self, handler: Handler) -> None:
        """Refuse a photon that implements a hook which the host does not have.

        Raises:
            PhotonValidationError: It does, see `unknown_hooks`.
        """
        if self.unknown_hooks == "ignore":
            return
        for name, function, nearest in self.plugins.unspecified(handler._life.instance):
            if self.unknown_hooks is None and not nearest:
                continue
            code = getattr(function, "__code__", None)
            meant = f"did you mean {nearest!r}? " if nearest else ""
            unknown = PhotonValidationError(
                f"implements the hook {name!r}, which the host does not have",
                photon=handler.name,
                file=code.co_filename if code else handler.filepath,
                line=code.co_firstlineno if code else None,
                why="it would never be called",
                hint=f"{meant}correct the name, or mark it 'optionalhook'",
            )
            if self.unknown_hooks != "warn":
                raise unknown
            warnings.warn(LuminalWarning(str(unknown)), stacklevel=2)

    def needs_finalize(self, handler: Handler) -> bool:
        """Whether there is anything to call when the photon ends."""
        return (
            method_of(handler, "finalize") is not None
            or len(self.lifecycle._name2plugin) > 1  # noqa: SLF001 - pluggy's
        )

    async def step(self, hook: str, handler: Handler, **given: object) -> Any:
        """Call a hook of the lifecycle.

        Args:
            hook: Its name, such as ``photon_start``.
            handler: The photon's.
            **given: Further arguments of the hook.
        """
        # Most hosts have no other plugin there: then nothing is asked of the hook.
        if len(self.lifecycle._name2plugin) == 1:  # noqa: SLF001 - pluggy's
            return await getattr(_OWN, hook)(handler, **given)
        # Others may need a loop. Luminal's own needs one only for ``async`` methods.
        if self.lifecycle.has_others(hook, DefaultLifecycle):
            await reach_loop()
        return await getattr(self.lifecycle.ahook, hook)(handler=handler, **given)

    def register(self, handler: Handler) -> None:
        """Let the photon's hook implementations be called from now on.

        Raises:
            PhotonConflictError: The host has a plugin of that name.
        """
        if self.plugins.has_plugin(handler.name):
            raise PhotonConflictError(
                "cannot be started: the host has registered a plugin of that name",
                photon=handler.name,
                file=handler.filepath,
                hint="where the host loads installed plugins itself, give it a "
                "luminal.hooks.DeferredPluginManager; the Loader loads them then",
            )
        instance, number = handler.instance, handler.number
        try:
            self.plugins.register_generation(instance, handler.name, number)
        except BaseException:
            self.unregister(handler)  # a host's own `register` may do more, and raise
            raise

    def unregister(self, handler: Handler) -> bool:
        """Let them be called no more; return whether they were called until now."""
        is_called = self.plugins.get_plugin(handler.name) is handler.instance
        if is_called:
            self.plugins.unregister(name=handler.name)
        return is_called

    async def drain(self, handler: Handler) -> None:
        """Wait for the calls of an unregistered photon, up to the drain deadline.

        A call that waits for this itself, or that runs this event loop, cannot end
        meanwhile: it is not waited for.
        """
        plugins, limit = self.plugins, self.deadlines.drain
        if not plugins.in_flight(handler.instance):
            return
        began = time.monotonic()
        with phase("drain"):
            await reach_loop()
            is_idle = await plugins.wait_idle(handler.instance, limit, with_loop=True)
        self.drained(handler, time.monotonic() - began, is_idle=is_idle)

    def drained(self, handler: Handler, seconds: float, *, is_idle: bool) -> None:
        """Emit that calls were waited for; those left are led elsewhere from now on."""
        problem = None
        if not is_idle:
            late = PhotonTimeoutError(
                f"calls were still under way after {seconds:.3g} seconds; hooks "
                "that they call from now on do not reach this generation",
                hint="let hooks return sooner, or give them a longer drain deadline",
            )
            problem = Problem.of(late, "drain")
            # It is finalized next: no call may be led to it after that.
            self.plugins.abandon(handler.instance)
        phases = {"drain": seconds}
        self.count_end(handler, phases)
        self.emit(
            EventKind.DRAINED, handler, seconds=seconds, problem=problem, phases=phases
        )

    def count_end(self, handler: Handler, phases: Mapping[str, float]) -> None:
        """Count phases of the end of a photon, because of a swap or an unload."""
        if is_measured():  # an exclusive photon ends before the swap, and as part of it
            return
        is_old = self.registry is not None and handler not in self.registry
        self.events.count_phases("swap" if is_old else "unload", phases)

    def emit(
        self,
        kind: EventKind,
        handler: Handler,
        *,
        seconds: float = 0.0,
        problem: Problem | None = None,
        number: int | None = None,
        hooks: tuple[str, ...] = (),
        files: tuple[str, ...] = (),
        photons: tuple[str, ...] = (),
        phases: Mapping[str, float] = _NO_PHASES,
    ) -> None:
        """Emit an event about a loaded photon.

        Args:
            kind: What happened.
            handler: The photon's.
            seconds: How long it took.
            problem: What went wrong.
            number: Of the generation that it concerns; by default the present one.
            hooks: Names of the hooks whose implementations have changed.
            files: Paths of the files that have changed.
            photons: Names of the photons that the same step concerns.
            phases: Seconds of each phase of it.
        """
        # Not by the Handler's properties: each reload emits several events.
        name, life = handler._name, handler._life
        if number is None:
            number = life.generation.number if life.generation is not None else 0
        self.events.emit(
            Event(
                kind,
                name,
                number,
                life.filepath,
                seconds,
                problem,
                hooks=hooks,
                files=files,
                photons=photons,
                phases=phases,
            )
        )
        if kind is EventKind.UNLOADED:
            self.failures.forget(name)

    def emit_candidate(
        self,
        kind: EventKind,
        candidate: Candidate,
        problem: Problem | None = None,
        phases: Mapping[str, float] = _NO_PHASES,
    ) -> None:
        """Emit an event about a photon that is not loaded."""
        name, place = candidate.name, candidate.location
        event = Event(kind, name, file=place, problem=problem, phases=phases)
        self.events.emit(event)

    def emit_discovered(
        self, candidates: Iterable[Candidate], phases: Mapping[str, float]
    ) -> None:
        """Emit an event for each of the *candidates* that the host has found.

        Args:
            candidates: Of one discovery.
            phases: How long it took.
        """
        for candidate in candidates:
            self.emit_candidate(EventKind.DISCOVERED, candidate, phases=phases)


def _mark_for(project: str) -> None:
    """Mark the lifecycle's hooks for pluggy's *project* as well as for ours."""
    if project == "luminal":
        return
    for cls, kind in ((LifecycleSpecs, "spec"), (DefaultLifecycle, "impl")):
        for function in vars(cls).values():
            options = getattr(function, f"luminal_{kind}", None)
            if options is not None:
                setattr(function, f"{project}_{kind}", dict(options))
