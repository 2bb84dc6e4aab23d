"""Prepares callers: writes, for one view, the function that a call of it runs.

In comes a view, out comes a code object in which every implementation is a constant,
every argument a local variable, and the line of a call says whose it is. Putting that
code into a hook's function is one attribute store: a call runs wholly the old body or
wholly the new one. It never calls an implementation.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, Final, cast

from luminal.hooks._calls import PERIOD
from luminal.hooks._errors import GENERATED, ISOLATED
from luminal.hooks._execution import (
    asteady,
    aunwind,
    no_yield,
    old_style,
    second_yield,
    unwind,
    within,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from luminal.hooks._calls import CallSnapshot
    from luminal.hooks._impl import Implementation

__all__ = ["ABSENT", "Body", "Writer", "agateway", "gateway", "parameters", "prepare"]

# === hooks.writer ===
# Writes the code of one caller, with objects among its constants.
#
# In come lines of source, out comes a code object. Callers of one shape share the
# compilation; each has a copy of the code of its own, in which CPython specialises what
# this caller calls.

ABSENT: Final = object()
"""Stands for an argument that the caller did not give."""

_cache: dict[str, types.CodeType] = {}
"""Source → code with placeholders. Hooks of one shape share the compilation."""

_CACHE_LIMIT: Final = 512


class Writer:
    """The lines of one caller and the constants in them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.constants: dict[str, object] = {}

    def constant(self, value: object) -> str:
        """Return an expression that evaluates to *value*."""
        key = f"\0{len(self.constants)}"
        self.constants[key] = value
        # The compiler folds the condition away but does not warn of a call of a
        # string, as it would without it.
        return f"({key!r} if 1 else 0)"

    def add(self, depth: int, *lines: str) -> None:
        """Add *lines*, indented by *depth*."""
        self.lines.extend(" " * depth + line for line in lines)

    def code(self, name: str) -> types.CodeType:
        """Compile the lines and put the constants in place of their keys."""
        source = "\n".join(self.lines)
        code = _cache.get(source)
        if code is None:
            if len(_cache) >= _CACHE_LIMIT:
                _cache.clear()
            module = compile(source, GENERATED, "exec", dont_inherit=True)
            code = _function_in(module)
            _cache[source] = code
        constants = self.constants
        return code.replace(
            co_consts=tuple(
                [constants.get(c, c) if type(c) is str else c for c in code.co_consts]
            ),
            co_filename=f"{GENERATED}{name}>",
        )


def _function_in(module: types.CodeType) -> types.CodeType:
    return next(c for c in module.co_consts if isinstance(c, types.CodeType))


def gateway(target: Callable[[dict[str, Any]], Any], name: str) -> types.CodeType:
    """Return code that hands a call's arguments to *target* as a dict."""
    writer = Writer()
    writer.add(
        0,
        "def __call__(luminal_self, /, **luminal_kwargs):",
        f" return {writer.constant(target)}(luminal_kwargs)",
    )
    return writer.code(name)


def agateway(target: Callable[[dict[str, Any]], Any], name: str) -> types.CodeType:
    """Return code that hands an async call's arguments to *target* as a dict."""
    writer = Writer()
    writer.add(
        0,
        "async def __call__(luminal_self, /, **luminal_kwargs):",
        f" return await {writer.constant(target)}(luminal_kwargs)",
    )
    return writer.code(name)


# === hooks.prepare ===
# Prepares callers: writes, for one view, the function that a call of it runs.
#
# In comes a view, out comes a code object in which every implementation is a constant,
# every argument a local variable, and the line of a call says whose it is. Putting that
# code into a hook's function is one attribute store: a call runs wholly the old body or
# wholly the new one. It never calls an implementation.


def parameters(snapshot: CallSnapshot) -> tuple[list[str], list[str]]:
    """Return the arguments that a call of *view* must have, and those it may."""
    spec = snapshot.hook.spec
    must: dict[str, None] = {}
    may: dict[str, None] = {}
    if spec is not None:
        must.update(dict.fromkeys((*spec.argnames, *spec.kwargnames)))
    for impl in snapshot.implementations:
        must.update(dict.fromkeys(impl.argnames))
    for impl in snapshot.implementations:
        may.update(dict.fromkeys(n for n in impl.kwargnames if n not in must))
    return list(must), list(may)


def prepare(
    snapshot: CallSnapshot,
    *,
    awaits: bool,
    isolated: bool,
    armed: bool,
    deadlines: Mapping[Implementation, float],
) -> tuple[types.CodeType, dict[int, int]]:
    """Return the body of a call of *view*, and line → place of the occupant there.

    Args:
        view: What the call sees.
        awaits: Whether it is the body of the async call.
        isolated: Whether a failure leaves the others to answer.
        armed: Whether a success ends a streak of failures.
        deadlines: Seconds that each of these occupants may take when awaited.
    """
    writer = Writer()
    must, may = parameters(snapshot)
    # The names of a hook's arguments are the photons' own: ours must not meet them.
    names = "".join(f", {name}=None" for name in (*must, *may))
    star = ", *" if names else ""
    define = "async def" if awaits else "def"
    writer.add(0, f"{define} __call__(luminal_self, /{star}{names}, **luminal_extra):")
    absent = writer.constant(ABSENT)
    tests = ["luminal_extra"]
    if awaits:
        # Begun, that is counted as under way, before it is asked for.
        tests.append(f"{writer.constant(snapshot)}.is_gone")
    tests += [f"{name} is {absent}" for name in must]
    tests += [f"{name} is not {absent}" for name in may]
    given = "".join(f"{name!r}: {name}, " for name in (*must, *may))
    tick = writer.constant(snapshot.enter if awaits else snapshot.hook.tick)
    slow = writer.constant(snapshot.asampled if awaits else snapshot.sampled)
    writer.add(
        1,
        f"if not {tick}() & {PERIOD - 1} or {' or '.join(tests)}:",
        f" return {'await ' if awaits else ''}{slow}({{{given}**luminal_extra}})",
    )
    body = _Body(writer, snapshot, frozenset(must), awaits, isolated, armed, deadlines)
    body.write()
    return writer.code(snapshot.hook.name), body.lines


class _Body:
    """Writes the calls of all occupants; `lines` is line → place."""

    def __init__(
        self,
        writer: Writer,
        snapshot: CallSnapshot,
        given: frozenset[str],
        awaits: bool,
        isolated: bool,
        armed: bool,
        deadlines: Mapping[Implementation, float],
    ) -> None:
        self.deadlines = deadlines
        self.writer = writer
        self.snapshot = snapshot
        self.given = given
        self.awaits = awaits
        self.isolated = isolated
        self.armed = armed
        self.wrappers = [
            f"luminal_wrapper{n}" for n, o in enumerate(snapshot.implementations) if o.is_wrapper
        ]
        # One implementation and nothing around it: the list is made at the end.
        self.is_alone = len(snapshot.implementations) == 1 and not self.wrappers
        self.is_first = snapshot.hook.is_first
        self.lines: dict[int, int] = {}

    def write(self) -> None:
        """Write the body."""
        add, constant, snapshot = self.writer.add, self.writer.constant, self.snapshot
        depth = 2 if self.awaits else 1
        if self.awaits:
            add(1, "try:")
        if self.is_first or not self.is_alone:
            add(depth, f"luminal_result = {'None' if self.is_first else '[]'}")
        if self.wrappers:
            add(depth, f"{' = '.join(self.wrappers)} = None")
        add(depth, "try:", " pass")
        for place in range(len(snapshot.implementations)):
            start = len(self.writer.lines) + 1
            self._implementation(depth + 1, place)
            self.lines.update(
                dict.fromkeys(range(start, len(self.writer.lines) + 1), place)
            )
        fail = constant(snapshot.afail if self.awaits else snapshot.fail)
        add(
            depth, "except BaseException as luminal_raised:", f" {fail}(luminal_raised)"
        )
        if self.wrappers:
            add(depth, f" return {self._unwinding(self.wrappers, 'luminal_raised')}")
            self._second_halves(depth)
        else:
            add(depth, " raise")
        if not self.wrappers or not self.awaits:
            add(depth, "return luminal_result")
        if self.awaits:
            add(1, "finally:", f" {constant(snapshot.left.__next__)}()")

    def _unwinding(self, wrappers: list[str], error: str) -> str:
        """Return the expression that runs second halves in the general way."""
        constant = self.writer.constant
        unwinder = constant(aunwind if self.awaits else unwind)
        failed = constant(self.snapshot.wrapper_failed)
        opened = "".join(f"{wrapper}, " for wrapper in wrappers)
        wait = "await " if self.awaits else ""
        if self.armed:
            failed += f", {constant(self.snapshot.wrapper_fared_well)}"
        return f"{wait}{unwinder}(({opened}), luminal_result, {error}, {failed})"

    def _second_halves(self, depth: int) -> None:
        """Write the second halves for a call that went well."""
        add, constant = self.writer.add, self.writer.constant
        if self.awaits:
            add(depth, f"return {self._unwinding(self.wrappers, 'None')}")
            return
        for place in range(len(self.wrappers) - 1, -1, -1):
            wrapper = self.wrappers[place]
            failed = f"{constant(self.snapshot.wrapper_failed)}({place}, luminal_raised)"
            rest = self._unwinding(self.wrappers[:place], "luminal_raised")
            add(
                depth,
                "try:",
                f" {wrapper}.send(luminal_result)",
                "except StopIteration as luminal_stop:",
                " luminal_result = luminal_stop.value",
                *self._streak_ends(self.snapshot.implementations[place], " "),
                "except BaseException as luminal_raised:",
                f" {failed}",
                f" return {rest}",
                "else:",
                f" {constant(second_yield)}({wrapper})",
            )

    def _implementation(self, depth: int, place: int) -> None:
        add, impl = self.writer.add, self.snapshot.implementations[place]
        if impl.is_wrapper:
            add(depth, *self._first_half(impl, self.wrappers[place]))
            return
        if self.is_first and self.wrappers:
            add(depth, "if luminal_result is None:", *self._answer(impl, 1))
            return
        add(depth, *self._answer(impl, 0))
        if self.is_first:
            add(depth, "if luminal_value is not None:", " return luminal_value")
        elif self.is_alone:
            add(
                depth,
                "luminal_result = [] if luminal_value is None else [luminal_value]",
            )
        else:
            add(
                depth,
                "if luminal_value is not None:",
                " luminal_result.append(luminal_value)",
            )

    def _answer(self, impl: Implementation, depth: int) -> Iterator[str]:
        """Yield the lines that call *occupant*, which is no wrapper."""
        constant, indent = self.writer.constant, " " * depth
        target = "luminal_result" if depth else "luminal_value"
        call = f"{constant(impl.function)}({self._arguments(impl)})"
        lines = []
        if not self.awaits:
            lines.append(f"{target} = {call}")
        elif self.deadlines.get(impl) is not None:
            seconds = constant(self.deadlines[impl])
            hook = constant(self.snapshot.hook.name)
            lines.append(
                f"{target} = await {constant(within)}"
                f"({constant(impl)}, {hook}, {seconds}, {call})"
            )
        elif impl.is_async:
            lines.append(f"{target} = await {call}")
        else:
            lines.append(f"{target} = {call}")
            lines.append(f"if {target} is not None and hasattr({target}, '__await__'):")
            lines.append(f" {target} = await {target}")
        lines += self._streak_ends(impl, "")
        if self.isolated:
            spare = constant(self.snapshot.aspare if self.awaits else self.snapshot.spare)
            lines = [
                f"{target} = None",
                "try:",
                *[f" {line}" for line in lines],
                f"except {constant(ISOLATED)} as luminal_raised:",
                f" {target} = {spare}(luminal_raised)",
            ]
        for line in lines:
            yield indent + line

    def _streak_ends(self, impl: Implementation, indent: str) -> list[str]:
        if not self.armed:
            return []
        return [f"{indent}{self.writer.constant(impl.tally)}.streak = 0"]

    def _first_half(self, impl: Implementation, name: str) -> Iterator[str]:
        """Yield the lines that bring *occupant*, a wrapper, to its ``yield``."""
        constant, listed = self.writer.constant, self._arguments(impl)
        if impl.is_old_style:
            yield (
                f"luminal_value = {constant(old_style)}({constant(impl)}, "
                f"{constant(self.snapshot.hook.name)}, {listed})"
            )
        else:
            yield f"luminal_value = {constant(impl.function)}({listed})"
        if self.awaits and impl.is_async:
            yield f"await {constant(asteady)}(luminal_value)"
        else:
            yield "try:"
            yield f" {constant(next)}(luminal_value)"
            yield "except StopIteration:"
            yield f" {constant(no_yield)}(luminal_value)"
        # Only now: a wrapper whose first half failed has no second half to run.
        yield f"{name} = luminal_value"

    def _arguments(self, impl: Implementation) -> str:
        """Return the arguments that *occupant* is called with, as source."""
        named = [name for name in impl.kwargnames if name in self.given]
        if not impl.is_direct or len(named) < len(impl.kwargnames):
            named = [f"{name}={name}" for name in named]
        return ", ".join([*impl.argnames, *named])


# === hooks.body ===
# The function behind ``manager.hook.NAME``: it stays, its body is replaced.
#
# In comes a code object, out comes nothing: the next call runs it. To put it in is one
# attribute store, and calls under way keep the body they began with.

_COROUTINE: Final = 0x80  # inspect.CO_COROUTINE


class Body:
    """One function of a hook.

    Args:
        owner: The hook; errors of wrong calls name its class.
        cold: The body while no caller is prepared.

    Attributes:
        bound: What hosts hold and call.
    """

    __slots__ = ("_cold", "_function", "_is_warm", "bound")

    def __init__(self, owner: object, cold: types.CodeType) -> None:
        def body() -> None: ...
        async def abody() -> None: ...

        # CPython wants a function's bodies to be all of one kind.
        awaits = cold.co_flags & _COROUTINE
        self._function = cast("types.FunctionType", abody if awaits else body)
        self._function.__name__ = "__call__"
        self._function.__qualname__ = f"{type(owner).__name__}.__call__"
        self._cold = cold
        # Whether any other body may be in; what is in already is not put in again.
        self._is_warm = True
        self.bound = types.MethodType(self._function, owner)
        self.deoptimize()

    def deoptimize(self) -> None:
        """Put the body in that is no caller's in particular."""
        if self._is_warm:
            self._function.__code__ = self._cold
            self._is_warm = False

    def put(self, code: types.CodeType, defaults: Mapping[str, Any] = {}) -> None:
        """Put *code* in, with *defaults* for keyword arguments."""
        if defaults:
            # A superset of what the present body asks for, and set before the new
            # body: whichever body a call finds, its defaults are there.
            known = self._function.__kwdefaults__ or {}
            self._function.__kwdefaults__ = {**known, **defaults}
        self._is_warm = True
        self._function.__code__ = code
