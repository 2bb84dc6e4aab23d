"""Which photon owns what is started: found when it is started, and only then.

A photon owns what runs its code: the target of a thread, the coroutine of a task, a
callback. It also owns what its code starts: the nearest frame outside the standard
library and Luminal is its own. A frame or a function is a photon's where the loader in
its globals is that of a generation; where its file lies does not matter. What a module
of the host or a library starts is nobody's, whoever has called that module.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
import sys
import threading
import types
import weakref
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Protocol

from luminal._plain import mro_of, namespace_of
from luminal._running_loop import running_task
from luminal._weak import members_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from luminal.supervise._scope import Scope

__all__ = [
    "Code",
    "add_scope",
    "add_task",
    "awaited_imports",
    "by_rule",
    "called",
    "code_of_thread",
    "find_owner",
    "goes_on",
    "has_ended_code",
    "has_scopes",
    "in_step",
    "is_photons",
    "is_shared",
    "mark_loaders",
    "owner_by_rule",
    "owner_name",
    "reference_to",
    "remove_scope",
    "running_for",
    "started_for",
    "step_owner",
    "unowned",
    "user_frame",
]


class Code(Protocol):
    """What a scope knows of its photon's code: a generation.

    Attributes:
        scopes: The scopes of the photons in it, the latest last.
        borrowed: Its modules are the interpreter's own, with loaders of their own.
    """

    scopes: tuple[Scope, ...]
    borrowed: bool

    def holds(self, space: dict[str, Any]) -> bool:
        """Whether *space* is the namespace of one of its modules; for borrowed ones."""

    def uses(self, other: Any) -> bool:
        """Whether it has imported from *other*, also by way of a third."""


step_owner: contextvars.ContextVar[Scope | None] = contextvars.ContextVar(
    "luminal_step_owner", default=None
)
"""The photon a life-cycle step of which runs here.

It says whose a thread is that Luminal uses for a step, and which of several photons of
one file is meant. What the photon starts is found by the rule above.
"""

awaited_imports: set[str] = set()
"""First part of the names of modules that are to be wrapped when they are imported."""

_MACHINERY = sys.stdlib_module_names | {"luminal"}
"""Whose frames do not decide who starts something."""
_LOOPS_OWN = frozenset({"luminal", "asyncio.base_events"})
"""Likewise, where what the standard library starts is nobody's."""
# The value for: no owner, whatever the rule says.
_NOBODY: Any = object()


class _Explicit(threading.local):
    """For whom Luminal starts something just now in this thread; None: see the rule.

    And whose the thread is: by reference, as a thread that does not end must not keep
    the code that it does not run.
    """

    owner: Any = None
    code: weakref.ref[Code] | None = None


_explicit = _Explicit()

# A dictionary for its order: one scope comes or goes whatever the number of others.
_scopes: dict[Scope, None] = {}
# Replaced as a whole, so that a lookup needs no lock.
_borrowed: tuple[Code, ...] = ()
# Code of photons that have ended, for as long as something keeps it in memory.
_ended: weakref.WeakSet[Any] = weakref.WeakSet()
# Task → the scope that owns it.
_task_owners: weakref.WeakKeyDictionary[Any, Scope] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def add_scope(scope: Scope) -> None:
    """Let *scope* own from now on what its code starts."""
    global _borrowed
    code = scope.code
    with _lock:
        _scopes[scope] = None
        if code is None:
            return
        if code.scopes:
            _ended.discard(code)
            code.scopes = tuple([s for s in code.scopes if not s.is_closed])
        code.scopes += (scope,)
        if code.borrowed and code not in _borrowed:
            _borrowed = (code, *_borrowed)


def remove_scope(scope: Scope) -> None:
    """Forget *scope*, but not for its own code: what that starts is ended at once.

    Modules that the host uses as well are the host's alone from now on.
    """
    global _borrowed
    code = scope.code
    with _lock:
        _scopes.pop(scope, None)
        if code is None:
            return
        if not code.borrowed:
            if all(s.is_closed for s in code.scopes):
                _ended.add(code)
            return
        code.scopes = tuple(s for s in code.scopes if s is not scope)
        if not code.scopes:
            _borrowed = tuple(one for one in _borrowed if one is not code)


def has_scopes() -> bool:
    """Whether any photon lives."""
    return bool(_scopes)


class _set_for_thread:  # noqa: N801 - used as a function, in a ``with`` statement
    __slots__ = ("_before", "_owner")

    def __init__(self, owner: Any) -> None:
        self._owner = owner

    def __enter__(self) -> None:
        self._before = _explicit.owner
        _explicit.owner = self._owner

    def __exit__(self, *_: object) -> None:
        _explicit.owner = self._before


def started_for(owner: Scope | None) -> _set_for_thread:
    """Let what Luminal starts within the ``with`` block belong to *owner*.

    No code of photons or hosts runs within the block; None is nobody.
    """
    return _set_for_thread(owner if owner is not None else _NOBODY)


def by_rule() -> _set_for_thread | nullcontext[None]:
    """Let the rule decide within the ``with`` block: code of others may run there."""
    return _BY_RULE if _explicit.owner is None else _set_for_thread(None)


_BY_RULE = nullcontext()


def unowned() -> _set_for_thread:
    """Let what Luminal starts within the ``with`` block belong to no photon.

    For threads and pools that are made when they are first needed: they serve all
    photons, and must not end with the one that needed them first.
    """
    return _set_for_thread(_NOBODY)


class in_step:  # noqa: N801 - used as a function, in a ``with`` statement
    """Run a life-cycle step of the photon of *owner* in the ``with`` block."""

    __slots__ = ("_owner", "_token")

    def __init__(self, owner: Scope) -> None:
        self._owner = owner

    def __enter__(self) -> None:
        self._token = step_owner.set(self._owner)

    def __exit__(self, *_: object) -> None:
        step_owner.reset(self._token)


class running_for:  # noqa: N801 - used as a function, in a ``with`` statement
    """Let the current thread be that of *code* within the ``with`` block."""

    __slots__ = ("_before", "_code")

    def __init__(self, code: weakref.ref[Code] | None) -> None:
        self._code = code

    def __enter__(self) -> None:
        self._before = _explicit.code
        _explicit.code = self._code

    def __exit__(self, *_: object) -> None:
        _explicit.code = self._before


def code_of_thread() -> Code | None:
    """Return the generation that owns the current thread, or what it works on."""
    code = _explicit.code
    return None if code is None else code()


def reference_to(code: Code | None) -> weakref.ref[Code] | None:
    """Return what `running_for` takes; None is nobody's code."""
    return None if code is None else weakref.ref(code)


# The rule -----------------------------------------------------------------------------


def owner_by_rule(*runs: Any, is_direct: bool = False) -> Scope | None:
    """Do what `find_owner` does, whatever Luminal is starting just now."""
    with by_rule():
        return find_owner(*runs, is_direct=is_direct)


def find_owner(*runs: Any, is_direct: bool = False) -> Scope | None:
    """Return the owner of what is being started, or None.

    Only wrappers of Luminal's own call this: the frame that has called one is looked at
    first.

    Args:
        *runs: What will be called: functions, coroutines, objects of any kind.
        is_direct: What the standard library starts for itself is nobody's, also where
            a photon has called it.
    """
    # The host's own tasks and timers pay for this, so it calls little.
    owner = _explicit.owner
    if owner is not None:
        return None if owner is _NOBODY else owner
    if not _scopes:
        return None
    shared: Code | None = None
    for thing in runs:
        # Luminal's own tasks and callbacks serve the host, whoever has called it. Its
        # threads are those of public classes, or `unowned`.
        is_luminals = is_direct or type(thing) is types.CoroutineType
        for space in _spaces_of(thing):
            if _borrowed or type(space.get("__loader__")) is _loader_class:
                code = _code_of(space)
                if code is not None:
                    if code.scopes:
                        return _choose(code.scopes)
                    shared = shared or code
                    continue
            if is_luminals and str(space.get("__name__")).startswith("luminal."):
                return None
    passed_over = _LOOPS_OWN if is_direct else _MACHINERY
    frame: types.FrameType | None = sys._getframe(2)  # noqa: SLF001 - documented
    while frame is not None:
        space = frame.f_globals
        name = space.get("__name__")  # generated code has none
        code = None
        if _borrowed or type(space.get("__loader__")) is _loader_class:
            code = _code_of(space)
        if code is not None:
            if code.scopes:
                return _choose(code.scopes)
            # A module that photons share: the one that has called it decides.
            shared = shared or code
        elif (
            shared is None
            and type(name) is str
            and name not in passed_over
            and name.partition(".")[0] not in passed_over
        ):
            return None
        if (owner := _owner_of_step(frame)) is not None:
            return owner
        frame = frame.f_back
    return _owner_of_thread(shared)


def add_task(task: Any, owner: Scope) -> None:
    """Note that *task* is *owner*'s: so is what its coroutine starts.

    That coroutine may be the standard library's.
    """
    _task_owners[task] = owner


def _owner_of_step(frame: types.FrameType) -> Scope | None:
    """Return the owner of the task of which *frame* is the outermost, if it has one."""
    if not frame.f_code.co_flags & inspect.CO_COROUTINE or not _task_owners:
        return None
    task = running_task()
    if task is None or getattr(task.get_coro(), "cr_frame", None) is not frame:
        return None
    return _task_owners.get(task)


def _owner_of_thread(shared: Code | None) -> Scope | None:
    """Return the owner of a thread with only the standard library's code on its stack.

    Args:
        shared: There is a module that photons share, too.
    """
    code = code_of_thread()
    if code is not None and code.scopes:
        return _choose(code.scopes)
    if shared is None:
        return None
    users = tuple(
        s for s in list(_scopes) if s.code is not None and s.code.uses(shared)
    )
    return _choose(users) if users else None


def _code_of(space: dict[str, Any]) -> Code | None:
    """Return the generation whose module has the namespace *space*."""
    loader: Any = space.get("__loader__")
    if is_photons(loader):
        code: Code | None = loader.generation
        return code
    for code in _borrowed:
        if code.holds(space):
            return code
    return None


# The class of the loaders of photons' modules: no other says whose code it is, whatever
# attributes it has.
_loader_class: type | None = None


def mark_loaders(cls: type) -> None:
    """Take loaders of exactly *cls* for those of photons' modules.

    Args:
        cls: Its objects have the attribute ``generation``, a `Code`.
    """
    global _loader_class
    _loader_class = cls


def is_photons(loader: Any) -> bool:
    """Whether *loader* is that of a photon's module."""
    return type(loader) is _loader_class


def goes_on(callback: Any, args: Any) -> bool:
    """Whether code of photons that have ended lets ended code be called again.

    That it is told of something, such as the end of a child, is the loop's doing.
    """
    if not any(map(_has_ended, _spaces_of(called(callback, args)))):
        return False
    frame: types.FrameType | None = sys._getframe(1)  # noqa: SLF001 - documented
    while frame is not None and not _has_ended(frame.f_globals):
        frame = frame.f_back
    return frame is not None


def _has_ended(space: dict[str, Any]) -> bool:
    """Whether *space* is that of a module of photons that have all ended.

    A module that photons share has ended with the last that uses it.
    """
    code = _code_of(space)
    if code is None or code.scopes:
        return code is not None and code in _ended
    users = [s.code for s in list(_scopes) if s.code is not None]
    is_used = any(user.uses(code) for user in users)
    return not is_used and any(user.uses(code) for user in members_of(_ended))


def has_ended_code() -> bool:
    """Whether code of a photon that has ended is still in memory."""
    return bool(_ended)


def _choose(scopes: tuple[Scope, ...]) -> Scope:
    """Return the photon that is meant, of those that have the same code."""
    if len(scopes) == 1:
        return scopes[0]
    step = step_owner.get()
    if step is not None and step in scopes:
        return step
    for scope in reversed(scopes):
        if not scope.is_closed:
            return scope
    return scopes[-1]


def is_shared(owner: Scope) -> bool:
    """Whether what is being started may be another photon's of the same code."""
    if _explicit.owner is owner or step_owner.get() is owner:
        return False
    return owner.code is not None and len(owner.code.scopes) > 1


def _spaces_of(thing: Any) -> Iterable[dict[str, Any]]:
    """Return the globals of what runs when *thing* is called, or resumed."""
    kind = type(thing)
    if kind in _OPAQUE:
        return ()
    if kind is types.CoroutineType:
        return (thing.cr_frame.f_globals,) if thing.cr_frame is not None else ()
    if kind is types.FunctionType and not thing.__dict__:
        return (thing.__globals__,)
    if kind is type:
        return _spaces_of_class(thing)
    if kind not in _LED_ON and _is_native(kind):
        _OPAQUE.add(kind)  # such as what wakes a task: nearly all that a loop calls
        return ()
    return _spaces_below(thing)


def _is_native(kind: type) -> bool:
    """Whether no method of *kind* is written in Python, nor ever will be."""
    for base in mro_of(kind):
        flags = _flags_of(base)
        if flags & _IN_PYTHON and not flags & _IMMUTABLE:
            return False
    return True


def _spaces_below(thing: Any) -> Iterator[dict[str, Any]]:
    for _ in range(16):  # wrappers of wrappers
        kind = type(thing)
        if kind is types.FunctionType:
            yield thing.__globals__
            thing = thing.__dict__.get("__wrapped__")
            if thing is None:
                return
        elif kind is types.MethodType:
            owner = thing.__self__
            is_class = issubclass(type(owner), type)
            yield from _spaces_of_class(owner if is_class else type(owner))
            thing = thing.__func__
        elif issubclass(kind, functools.partial):
            thing = called(thing.func, thing.args)
        elif kind is types.GeneratorType:
            if thing.gi_frame is not None:
                yield thing.gi_frame.f_globals
            return
        elif kind in _OPAQUE:
            return
        else:
            yield from _spaces_of_class(thing if issubclass(kind, type) else kind)
            if kind is not _CACHED:
                return
            thing = thing.__wrapped__


def called(function: Any, args: Any) -> Any:
    """Return what runs when *function* is called: `Context.run` calls its argument."""
    if type(function) is types.BuiltinMethodType and args:
        return args[0]
    return function


_IN_PYTHON = 1 << 9
"""Flag of classes that a ``class`` statement has made (``Py_TPFLAGS_HEAPTYPE``)."""
_IMMUTABLE = 1 << 8
"""Flag of classes written in C that take no attributes (``Py_TPFLAGS_IMMUTABLETYPE``).

All without the flag above take none either.
"""
_CACHED = type(functools.lru_cache(int))
_LED_ON = {
    types.FunctionType,
    types.MethodType,
    types.GeneratorType,
    functools.partial,
    _CACHED,
}
"""Classes written in C whose objects call something else, see `_spaces_below`."""
_OPAQUE = {types.BuiltinMethodType, types.MethodWrapperType, types.NoneType}


def _spaces_of_class(cls: type) -> list[dict[str, Any]]:
    """Return the globals of one method of *cls*, and one of each of its bases."""
    found: list[dict[str, Any]] = []
    for base in mro_of(cls):
        if not _flags_of(base) & _IN_PYTHON:
            continue
        for value in namespace_of(base).values():
            is_function = type(value) is types.FunctionType
            if is_function and "__name__" in value.__globals__:
                while type(value) is types.FunctionType:
                    found.append(value.__globals__)
                    value = value.__dict__.get("__wrapped__")  # noqa: PLW2901
                break
    return found


# Without the author's metaclass, which may do anything.
_flags_of = type.__dict__["__flags__"].__get__


def user_frame() -> types.FrameType | None:
    """Return the nearest frame outside of the standard library and Luminal."""
    frame: types.FrameType | None = sys._getframe(1)  # noqa: SLF001 - documented
    while frame is not None:
        name = frame.f_globals.get("__name__")
        if type(name) is str and name.partition(".")[0] not in _MACHINERY:
            break
        frame = frame.f_back
    return frame


def owner_name() -> str:
    """Return the name of the owner of what is being started, or an empty string."""
    owner = find_owner()
    return owner.name if owner is not None else ""
