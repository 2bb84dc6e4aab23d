"""Compiled callers: the function behind ``manager.hook.NAME`` and the code in it.

`compile_caller` writes the code of a call of one snapshot. In it every implementation
is an item of one tuple, every argument is a local variable, and the line of a call
tells which implementation raised. `ReplaceableFunction` is the function that hosts
keep; putting other code into it is one attribute store. So a call runs wholly the old
code or wholly the new one.

What leads to a photon is in the function's closure, where Python's garbage collector
sees it. It does not look into code objects: a manager whose photons refer to it would
never be freed.
"""

from __future__ import annotations

import ast
import itertools
import types
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final

from luminal._syntax import parse
from luminal.hooks._errors import COMPILED, ISOLATED, leave_out
from luminal.hooks._execution import (
    OnLoop,
    arun_first_half,
    as_new_style,
    aunwind,
    no_yield,
    second_yield,
    unwind,
    within,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from luminal.hooks._caller import Caller
    from luminal.hooks._calls import CallSnapshot
    from luminal.hooks._impl import Implementation

__all__ = [
    "ABSENT",
    "COROUTINE",
    "EPOCH",
    "KEPT",
    "ReplaceableFunction",
    "compile_caller",
    "parameters",
    "pass_on",
    "without_absent",
]

_PERIODS: Final = (239, 241, 251, 257, 263, 269)
"""One of so many calls of a compiled caller is sampled. Which, is chosen by chance each
time: primes, so that what slow calls have in common is no multiple of it."""

EPOCH: Final = "luminal_epoch"
"""The variable of compiled callers with the epoch of their call."""

KEPT: Final = "luminal_kept"
"""The variable with what was in the closure: key, `Caller`, snapshot, and more."""

_CALLER: Final = 1
_SNAPSHOT: Final = 2

COROUTINE: Final = 0x80
"""`inspect.CO_COROUTINE`, without importing inspect."""

ABSENT: Final = object()
"""Stands for an argument that the caller did not give."""


def without_absent(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return those of *kwargs* that the caller gave."""
    # Identity alone: an argument's own ``==`` is code of others.
    return {n: v for n, v in kwargs.items() if v is not ABSENT}


_cache: dict[str, types.CodeType] = {}  # source → code with placeholders

_CACHE_LIMIT: Final = 512


class _Writer:
    """The lines of one caller, and the objects that its code uses.

    Callers of one shape share the compilation. Each has a copy of the code of its own,
    which CPython specialises for what this caller calls.

    Attributes:
        lines: The lines of the source.
        constants: Key → what becomes a constant of the code.
        kept: What the code finds in the closure.
    """

    def __init__(self) -> None:
        self.lines: list[str] = ["def luminal_outer(luminal_box):"]
        self.constants: dict[str, object] = {}
        self.kept: list[object] = []

    def keep(self, value: object) -> str:
        """Return an expression that is *value*, which may lead to a photon."""
        self.kept.append(value)
        return f"luminal_kept[{len(self.kept) - 1}]"

    def constant(self, value: object) -> str:
        """Return an expression that is *value*, which leads to no photon."""
        key = f"\0{len(self.constants)}"
        self.constants[key] = value
        # The compiler folds the condition away but does not warn of a call of a
        # string, as it would without it.
        return f"({key!r} if 1 else 0)"

    def add(self, depth: int, *lines: str) -> None:
        """Add *lines*, indented by *depth*."""
        self.lines.extend(" " * (depth + 1) + line for line in lines)

    def code(self, name: str) -> types.CodeType:
        """Compile the lines and put the constants in the place of their keys."""
        source = "\n".join(self.lines)
        code = _cache.get(source)
        if code is None:
            if len(_cache) >= _CACHE_LIMIT:
                _cache.clear()
            tree = parse(source)
            _join_lines(tree)
            module = compile(tree, COMPILED, "exec", dont_inherit=True)
            code = _function_in(_function_in(module))
            _cache[source] = code
        constants = self.constants
        return code.replace(
            co_consts=tuple(
                [constants.get(c, c) if type(c) is str else c for c in code.co_consts]
            ),
            co_filename=f"{COMPILED}{name}>",
        )


def _join_lines(tree: ast.Module) -> None:
    """Let no line begin between the count of a call and the ``try``, at either end.

    A trace function, a debugger's too, raises where a line begins. So what counts the
    call is on the line before its ``try``, and what leaves on the line of each return.
    Every other ``try``, which is itself in no ``try``, is on the line before it too.
    """
    for parent in ast.walk(tree):
        if not isinstance(parent, ast.stmt):
            continue
        for before, inside in itertools.pairwise(getattr(parent, "body", ())):
            if not isinstance(inside, ast.Try):
                continue
            inside.lineno = before.lineno
            if inside.finalbody:
                _put_on_line(inside.body[0], before.lineno)
                for node in ast.walk(inside):
                    if isinstance(node, ast.Return | ast.Raise):
                        _put_on_line(node, inside.finalbody[0].lineno)


def _put_on_line(statement: ast.stmt, line: int) -> None:
    for node in ast.walk(statement):
        if isinstance(node, ast.stmt | ast.expr):
            node.lineno = node.end_lineno = line
            node.col_offset = node.end_col_offset = 0


def _function_in(module: types.CodeType) -> types.CodeType:
    return next(c for c in module.co_consts if isinstance(c, types.CodeType))


def pass_on(name: str, *, awaits: bool) -> types.CodeType:
    """Return code that passes a call's arguments to `Caller.call_cold` as a dict.

    Args:
        name: Name of the hook.
        awaits: Whether it is the code of the async call.
    """
    writer = _Writer()
    define, wait = ("async def", "await ") if awaits else ("def", "")
    call = f"{wait}luminal_box[{_CALLER}].{'acall_cold' if awaits else 'call_cold'}"
    writer.add(
        0,
        f"{define} __call__(**luminal_kwargs):",
        " __tracebackhide__ = True",
        f" return {call}(luminal_kwargs)",
    )
    return writer.code(name)


def parameters(snapshot: CallSnapshot) -> tuple[list[str], list[str]]:
    """Return the arguments that a call of *snapshot* must have, and those it may."""
    spec = snapshot.caller.spec
    must: dict[str, None] = {}
    may: dict[str, None] = {}
    if spec is not None:
        must.update(dict.fromkeys((*spec.argnames, *spec.kwargnames)))
    for impl in snapshot.implementations:
        must.update(dict.fromkeys(impl.argnames))
    for impl in snapshot.implementations:
        may.update(dict.fromkeys(n for n in impl.kwargnames if n not in must))
    return list(must), list(may)


def compile_caller(
    snapshot: CallSnapshot,
    *,
    timed: Collection[Implementation],
    awaits: bool,
    isolated: bool,
    armed: bool,
    deadlines: Mapping[Implementation, float],
    passes: Callable[[], bool] | None = None,
) -> tuple[types.CodeType, tuple[object, ...], dict[int, int]]:
    """Return the code of a call of *snapshot*.

    Args:
        snapshot: What the call sees.
        timed: Implementations of which every call is timed.
        awaits: Whether it is the code of the async call.
        isolated: Whether the call goes on after a failure.
        armed: Whether a success ends a streak of failures.
        deadlines: Seconds that each of these implementations may take when awaited.
        passes: Returns whether the call is certainly not made by one from before a
            swap. Otherwise it is left to the general way.

    Returns:
        The code, what it needs in the closure, and line → index of the implementation.
    """
    writer = _Writer()
    must, may = parameters(snapshot)
    # The arguments have any names; ours must differ from them, so they have a prefix.
    names = "".join(f"{name}=None, " for name in (*must, *may))
    star = "*, " if names else ""
    define = "async def" if awaits else "def"
    writer.add(0, f"{define} __call__({star}{names}**luminal_extra):")
    absent = writer.constant(ABSENT)
    caller, key = snapshot.caller, object()
    writer.kept += (key, caller, snapshot)
    # Other code has another key in its closure. So a swap is noticed after the call
    # was counted, and code and closure can be replaced one after the other.
    is_late = f"luminal_kept[0] is not {writer.constant(key)}"
    if passes is not None:
        is_late += f" or not {writer.keep(passes)}()"
    tests = ["luminal_extra"]
    tests += [f"{name} is {absent}" for name in must]
    tests += [f"{name} is not {absent}" for name in may]
    given = "".join(f"{name!r}: {name}, " for name in (*must, *may))
    given = f"{{{given}**luminal_extra}}"
    period = writer.constant(_PERIODS[perf_counter_ns() % len(_PERIODS)])
    advance, wait = writer.constant(next), "await " if awaits else ""
    slow = f"luminal_kept[{_SNAPSHOT}].{'asampled' if awaits else 'sampled'}"
    late = writer.constant(abegin_again if awaits else begin_again)
    counters = (snapshot.entered, snapshot.left, snapshot.uncounted)
    # The call is counted before it reads anything that a swap changes.
    writer.add(
        1,
        "__tracebackhide__ = True",
        "luminal_result = None",
        "try:",
        f" luminal_number = {advance}({writer.constant(snapshot.entered)})",
        f" {EPOCH} = {writer.constant(caller.policy.swaps)}.number",
        f" {KEPT} = luminal_box",
        f" if {is_late}:",
        f"  {EPOCH} = None",
        f"  luminal_result = {wait}{late}(",
        f"   luminal_kept[{_CALLER}], {writer.constant(counters)}, {given})",
        "  return luminal_result",
        f" if {' or '.join(tests)}:",
        f"  luminal_result = {wait}{slow}({given})",
        "  return luminal_result",
        f" if not luminal_number % {period}:",
        f"  luminal_result = {wait}{slow}({given}, {period})",
        "  return luminal_result",
    )
    body = _Body(
        writer, snapshot, frozenset(must), timed, awaits, isolated, armed, deadlines
    )
    body.write()
    writer.add(
        1, "finally:", f" {writer.constant(next)}({writer.constant(snapshot.left)})"
    )
    return writer.code(caller.name), tuple(writer.kept), body.lines


# A call that was counted and is not one of its snapshot, or may not be. So it is left
# at once and entered again when the compiled caller is about to leave.


def begin_again(
    caller: Caller, counters: tuple[Any, Any, Any], kwargs: dict[str, Any]
) -> Any:
    """Begin a call again that another snapshot may have to make.

    Args:
        caller: The hook's.
        counters: Those of calls that began, that ended, and that do not count.
        kwargs: The arguments.
    """
    __tracebackhide__ = True
    entered, left, uncounted = counters
    try:
        _ = next(uncounted), next(left)
        return caller.call_cold(kwargs)
    finally:
        next(entered)
        next(uncounted)


async def abegin_again(
    caller: Caller, counters: tuple[Any, Any, Any], kwargs: dict[str, Any]
) -> Any:
    """Begin an async call again; see `begin_again`."""
    __tracebackhide__ = True
    entered, left, uncounted = counters
    try:
        _ = next(uncounted), next(left)
        return await caller.acall_cold(kwargs)
    finally:
        next(entered)
        next(uncounted)


class _Body:
    """Writes the calls of all implementations.

    Attributes:
        lines: Line → index of the implementation that is called there.
    """

    def __init__(
        self,
        writer: _Writer,
        snapshot: CallSnapshot,
        given: frozenset[str],
        timed: Collection[Implementation],
        awaits: bool,
        isolated: bool,
        armed: bool,
        deadlines: Mapping[Implementation, float],
    ) -> None:
        self.deadlines = deadlines
        self.writer = writer
        self.snapshot = snapshot
        self.given = given
        self.timed = timed
        self.awaits = awaits
        self.isolated = isolated
        self.armed = armed
        self.wrappers = [
            f"luminal_wrapper{n}"
            for n, o in enumerate(snapshot.implementations)
            if o.is_wrapper
        ]
        # One implementation and nothing around it: the list is made at the end.
        self.is_alone = len(snapshot.implementations) == 1 and not self.wrappers
        self.is_first = snapshot.caller.is_first
        self.lines: dict[int, int] = {}

    def write(self) -> None:
        """Write the body."""
        add, snapshot = self.writer.add, self.snapshot
        depth = 2
        if not self.is_first and not self.is_alone:
            add(depth, "luminal_result = []")
        if self.wrappers:
            add(depth, f"{' = '.join(self.wrappers)} = None")
        add(depth, "try:", " pass")
        for index in range(len(snapshot.implementations)):
            start = len(self.writer.lines) + 1
            self._implementation(depth + 1, index)
            self.lines.update(
                dict.fromkeys(range(start, len(self.writer.lines) + 1), index)
            )
        fail = f"luminal_kept[{_SNAPSHOT}].{'afail' if self.awaits else 'fail'}"
        add(
            depth, "except BaseException as luminal_raised:", f" {fail}(luminal_raised)"
        )
        if self.wrappers:
            unwinding = self._unwinding(self.wrappers, "luminal_raised")
            add(depth, f" luminal_result = {unwinding}", " return luminal_result")
            self._second_halves(depth)
        else:
            add(depth, " raise")
        add(depth, "return luminal_result")

    def _unwinding(self, wrappers: list[str], error: str) -> str:
        """Return the expression that runs second halves in the general way."""
        constant = self.writer.constant
        unwinder = constant(aunwind if self.awaits else unwind)
        failed = f"luminal_kept[{_SNAPSHOT}].wrapper_failed"
        opened = "".join(f"{wrapper}, " for wrapper in wrappers)
        wait = "await " if self.awaits else ""
        if self.armed:
            failed += f", luminal_kept[{_SNAPSHOT}].wrapper_succeeded"
        return f"{wait}{unwinder}(({opened}), luminal_result, {error}, {failed})"

    def _second_halves(self, depth: int) -> None:
        """Write the second halves for a call that went well."""
        add, constant = self.writer.add, self.writer.constant
        if self.awaits:
            unwinding = self._unwinding(self.wrappers, "None")
            add(depth, f"luminal_result = {unwinding}")
            return
        for index in range(len(self.wrappers) - 1, -1, -1):
            wrapper = self.wrappers[index]
            failed = (
                f"luminal_kept[{_SNAPSHOT}].wrapper_failed({index}, luminal_raised)"
            )
            rest = self._unwinding(self.wrappers[:index], "luminal_raised")
            add(
                depth,
                "luminal_value = None",
                "try:",
                f" {wrapper}.send(luminal_result)",
                "except StopIteration as luminal_stop:",
                " luminal_result = luminal_stop.value",
                *self._streak_ends(self.snapshot.implementations[index], " "),
                "except BaseException as luminal_raised:",
                f" {failed}",
                f" luminal_result = {rest}",
                " return luminal_result",
                "else:",
                f" {constant(second_yield)}({wrapper})",
            )

    def _implementation(self, depth: int, index: int) -> None:
        add, impl = self.writer.add, self.snapshot.implementations[index]
        if impl.is_wrapper:
            add(depth, *self._first_half(impl, self.wrappers[index]))
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
        """Yield the lines that call *impl*, which is no wrapper."""
        constant, keep, indent = self.writer.constant, self.writer.keep, " " * depth
        target = "luminal_result" if depth else "luminal_value"
        call = f"{keep(impl.function)}({self._arguments(impl)})"
        is_timed = impl in self.timed

        def wait(value: str) -> str:
            if is_timed:
                value = f"{constant(OnLoop)}({constant(impl.tally.total)}, {value})"
            return f"{target} = await {value}"

        lines = []
        if not self.awaits:
            lines.append(f"{target} = {call}")
        elif self.deadlines.get(impl) is not None:
            seconds = constant(self.deadlines[impl])
            hook = constant(self.snapshot.caller.name)
            within_ = f"{constant(within)}({keep(impl)}, {hook}, {seconds}, {call})"
            lines.append(wait(within_))
        elif impl.is_async:
            lines.append(wait(call))
        else:
            lines.append(f"{target} = {call}")
            lines.append(f"if {target} is not None and hasattr({target}, '__await__'):")
            lines.append(f" {wait(target)}")
        if is_timed:
            clock, time = constant(perf_counter_ns), constant(impl.tally.total.time)
            lines[0] = f"luminal_start = {clock}(); {lines[0]}"
            lines.append(f"{time}({clock}() - luminal_start, 1)")
        else:
            lines.append("")  # each call has the same line, whatever is timed
        lines += self._streak_ends(impl, "")
        if self.isolated:
            spare = f"luminal_kept[{_SNAPSHOT}].{'aspare' if self.awaits else 'spare'}"
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
        """Yield the lines that run *impl*, a wrapper, to its ``yield``."""
        constant, keep = self.writer.constant, self.writer.keep
        listed = self._arguments(impl)
        if impl.is_old_style:
            yield (
                f"luminal_value = {constant(as_new_style)}({keep(impl)}, "
                f"{constant(self.snapshot.caller.name)}, {listed})"
            )
        else:
            yield f"luminal_value = {keep(impl.function)}({listed})"
        if self.awaits and impl.is_async:
            yield f"await {constant(arun_first_half)}(luminal_value)"
        else:
            yield "try:"
            yield f" {constant(next)}(luminal_value)"
            yield "except StopIteration:"
            yield f" {constant(no_yield)}(luminal_value)"
        # Only now: a wrapper whose first half failed has no second half to run.
        yield f"{name} = luminal_value"

    def _arguments(self, impl: Implementation) -> str:
        """Return the arguments that *impl* is called with, as source."""
        named = [name for name in impl.kwargnames if name in self.given]
        if not impl.is_direct or len(named) < len(impl.kwargnames):
            named = [f"{name}={name}" for name in named]
        return ", ".join([*impl.argnames, *named])


class ReplaceableFunction:
    """A function whose code is replaced while hosts keep and call it.

    Args:
        caller: What the function calls while no caller is compiled.
        cold: The code meanwhile.

    Attributes:
        function: The function.
    """

    __slots__ = ("_box", "_cold", "_cold_box", "function")

    def __init__(self, caller: Caller, cold: types.CodeType) -> None:
        self._cold_box = (None, caller)
        self._box = types.CellType(self._cold_box)
        self._cold = cold
        self.function = types.FunctionType(
            cold, globals(), "__call__", None, (self._box,)
        )
        self.function.__qualname__ = f"HookCaller({caller.name!r}).__call__"

    @property
    def is_cold(self) -> bool:
        """Whether no caller is compiled."""
        return self.function.__code__ is self._cold

    def deoptimize(self) -> None:
        """Put the cold code in."""
        if not self.is_cold:
            self.function.__code__ = self._cold
            self._box.cell_contents = self._cold_box

    def put(
        self,
        code: types.CodeType,
        kept: tuple[object, ...],
        defaults: Mapping[str, Any],
    ) -> None:
        """Put *code* in.

        Args:
            code: The code.
            kept: What it needs in the closure.
            defaults: For keyword arguments.
        """
        if defaults:
            # First, and more of them than the present code asks for: whichever code
            # a call finds, its defaults are there.
            known = self.function.__kwdefaults__ or {}
            self.function.__kwdefaults__ = {**known, **defaults}
        self._box.cell_contents = kept
        self.function.__code__ = code


leave_out(globals())
