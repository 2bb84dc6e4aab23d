"""Whatever photons do, the outcome of a call is the one that pluggy comes to."""

from __future__ import annotations

import warnings
from typing import Any

import pluggy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luminal.hooks import PluginManager

spec = pluggy.HookspecMarker("demo")
impl = pluggy.HookimplMarker("demo")

PLAIN = ["value", "none", "raise", "stop", "exit"]
WRAPPING = [
    "pass",
    "replace",
    "raise_before",
    "raise_after",
    "swallow",
    "no_yield",
    "two_yields",
]


class Boom(Exception):
    pass


def make(kind: str, what: str, tag: int, log: list[Any]) -> Any:
    """Make a function that does *what* and logs its turn."""

    def plain(given: Any) -> Any:
        log.append((tag, given))
        if what == "raise":
            raise Boom(tag)
        if what == "stop":
            raise StopIteration(tag)
        if what == "exit":
            raise SystemExit(tag)
        return None if what == "none" else (tag, given)

    def wrapper(given: Any) -> Any:
        log.append((tag, given, "before"))
        if what == "raise_before":
            raise Boom(tag, "before")
        if what == "no_yield":
            return
        try:
            result = yield
        except GeneratorExit:
            raise  # abandoned, and closed whenever garbage is collected
        except BaseException as error:
            log.append((tag, "saw", type(error).__name__))
            if what == "swallow":
                return ("swallowed", tag)
            raise
        log.append((tag, "after"))
        if what == "raise_after":
            raise Boom(tag, "after")
        if what == "two_yields":
            yield
        return (tag, result) if what == "replace" else result

    def old(given: Any) -> Any:
        log.append((tag, given, "before"))
        if what == "raise_before":
            raise Boom(tag, "before")
        if what == "no_yield":
            return
        outcome = yield
        if isinstance(outcome.exception, GeneratorExit):
            return  # as above
        log.append((tag, "saw", type(outcome.exception).__name__))
        if what == "raise_after":
            outcome.force_exception(Boom(tag, "after"))
        if what == "swallow" and outcome.exception is not None:
            outcome.force_result(("swallowed", tag))
        if what == "replace" and outcome.exception is None:
            outcome.force_result((tag, outcome.get_result()))
        if what == "two_yields":
            yield

    return {"plain": plain, "wrapper": wrapper, "old": old}[kind]


# After a wrapper that yields twice, pluggy abandons the wrappers outside of it.
abandons = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

members = st.tuples(
    st.sampled_from(["plain", "plain", "wrapper", "old"]),
    st.sampled_from(PLAIN),
    st.sampled_from(WRAPPING),
    st.sampled_from([(), ("a",), ("b",), ("b", "a"), ("a", "c=7"), ("a", "d=8")]),
    st.booleans(),
    st.booleans(),
)


def plugins(chosen: list[Any], log: list[Any]) -> list[Any]:
    made = []
    for tag, (kind, plain, wrapping, arguments, first, last) in enumerate(chosen):
        what = plain if kind == "plain" else wrapping
        listed = ", ".join(arguments)
        bare = ", ".join(name.partition("=")[0] for name in arguments)
        scope: dict[str, Any] = {"inner": make(kind, what, tag, log)}
        comma = ", " if listed else ""
        call = f"inner(({bare}{',' if bare else ''}))"
        result = call if kind == "plain" else f"(yield from {call})"
        exec(f"def hello(self{comma}{listed}):\n    return {result}", scope)
        options = {
            "tryfirst": first,
            "trylast": last,
            "wrapper": kind == "wrapper",
            "hookwrapper": kind == "old",
        }
        holder = type("Plugin", (), {"hello": impl(**options)(scope["hello"])})
        made.append(holder())
    return made


def outcome(call: Any, log: list[Any]) -> tuple[Any, ...]:
    log.clear()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = call()
    except BaseException as error:
        return ("raised", type(error).__name__, _args(error), tuple(log))
    return ("returned", result, tuple(log))


def _args(error: BaseException) -> tuple[Any, ...]:
    return () if isinstance(error, RuntimeError) else error.args


def build(cls: Any, specified: bool, first: bool) -> Any:
    manager = cls("demo")
    if specified:

        class Specs:
            @spec(firstresult=first)
            def hello(self, a: int, b: int, c: int = 3, d: int = 4) -> Any: ...

        manager.add_hookspecs(Specs)
    return manager


@abandons
@settings(max_examples=250)
@given(
    chosen=st.lists(members, max_size=7),
    leaving=st.lists(st.integers(0, 6), max_size=3),
    specified=st.booleans(),
    first=st.booleans(),
    extra=st.booleans(),
)
def test_results_order_and_exceptions_equal_pluggys(
    chosen: list[Any],
    leaving: list[int],
    specified: bool,
    first: bool,
    extra: bool,
) -> None:
    """Any mixture of options: the same results, turns and exceptions; cold and warm."""
    arguments = {"a": 1, "b": 2, **({"c": 5, "zz": 6} if extra else {})}
    managers = []
    for cls in (pluggy.PluginManager, PluginManager):
        log: list[Any] = []
        manager = build(cls, specified, first)
        made = plugins(chosen, log)
        for tag, plugin in enumerate(made):
            manager.register(plugin, str(tag))
        for tag in leaving:
            if manager.has_plugin(str(tag)):
                manager.unregister(name=str(tag))
        for tag in leaving[:1]:
            if tag < len(made):
                manager.register(made[tag], str(tag))
        if not hasattr(manager.hook, "hello"):
            assert not chosen
            return
        managers.append((manager, log))
    (theirs, their_log), (ours, our_log) = managers
    expected = outcome(lambda: theirs.hook.hello(**arguments), their_log)
    names = [i.plugin_name for i in theirs.hook.hello.get_hookimpls()]
    assert [i.plugin_name for i in ours.hook.hello.get_hookimpls()] == names
    for _ in range(12):
        assert outcome(lambda: ours.hook.hello(**arguments), our_log) == expected
    # One implementation fewer in the call: the same without it.
    assert outcome(lambda: ours.hook.hello(a=1), our_log) == outcome(
        lambda: theirs.hook.hello(a=1), their_log
    )


@abandons
@settings(max_examples=120)
@given(chosen=st.lists(members, max_size=6), first=st.booleans())
async def test_awaiting_sync_implementations_comes_to_the_same(
    chosen: list[Any], first: bool
) -> None:
    """The async call of sync photons has the outcome of the sync call."""
    # Awaiting differs on purpose: wrappers outside of one that yields twice see its
    # error; StopIteration and SystemExit cannot leave a coroutine unchanged.
    chosen = [
        c for c in chosen if c[1] not in {"stop", "exit"} and c[2] != "two_yields"
    ]
    log: list[Any] = []
    manager = build(PluginManager, True, first)
    for tag, plugin in enumerate(plugins(chosen, log)):
        manager.register(plugin, str(tag))
    expected = outcome(lambda: manager.hook.hello(a=1, b=2), log)

    async def once() -> Any:
        return await manager.ahook.hello(a=1, b=2)

    for _ in range(12):
        task = once()
        log.clear()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found: Any = ("returned", await task, tuple(log))
        except Exception as error:
            found = ("raised", type(error).__name__, _args(error), tuple(log))
        assert found == expected


def test_positional_arguments_are_refused() -> None:
    """A hook takes keywords, cold and warm."""
    manager = build(PluginManager, True, False)
    for _ in range(12):
        with pytest.raises(TypeError):
            manager.hook.hello(1)
        manager.hook.hello(a=1, b=2)
