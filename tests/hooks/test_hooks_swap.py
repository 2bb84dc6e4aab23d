"""A swap keeps the place, is seen wholly or not at all, and lets old calls finish."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from typing import Any

import pluggy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luminal.hooks import PluginManager
from luminal.interfaces import hookimpl, hookspec
from tests.waiting import DEADLINE


class Specs:
    @hookspec
    def first(self, x: int) -> Any: ...

    @hookspec
    def second(self, x: int) -> Any: ...

    @hookspec
    def outer(self, run: Any) -> Any: ...


def photon(tag: Any, **options: Any) -> Any:
    class Photon:
        @hookimpl(**options)
        def first(self, x: int) -> Any:
            return (tag, "first")

        @hookimpl
        def second(self, x: int) -> Any:
            return (tag, "second")

    return Photon()


def manager() -> PluginManager:
    made = PluginManager("luminal")
    made.add_hookspecs(Specs)
    return made


def warm(pm: PluginManager) -> None:
    for _ in range(12):
        pm.hook.first(x=1)
        pm.hook.second(x=1)


@pytest.mark.parametrize("is_warm", [False, True])
def test_the_place_is_kept(is_warm: bool) -> None:
    """The successor answers where the old one answered, in every hook."""
    pm = manager()
    for tag in "abc":
        pm.register(photon(tag), tag)
    if is_warm:
        warm(pm)
    assert pm.swap("b", photon("B")) == "b"
    assert pm.hook.first(x=1) == [("c", "first"), ("B", "first"), ("a", "first")]
    assert pm.hook.second(x=1)[1] == ("B", "second")
    assert pm.statistics()[1].generation == 1


@settings(max_examples=80)
@given(
    flags=st.lists(
        st.sampled_from([{}, {"tryfirst": True}, {"trylast": True}]),
        min_size=1,
        max_size=6,
    ),
    steps=st.lists(
        st.tuples(st.integers(0, 5), st.booleans(), st.booleans()), max_size=8
    ),
)
def test_any_series_of_swaps_and_calls_keeps_every_place(
    flags: list[dict[str, bool]], steps: list[tuple[int, bool, bool]]
) -> None:
    """Whatever is swapped in between, the order of names stays."""
    pm = manager()
    for number, options in enumerate(flags):
        pm.register(photon((number, 0), **options), str(number))
    order = [tag[0] for tag, _ in pm.hook.first(x=1)]
    current = [0] * len(flags)
    for choice, by_name, call in steps:
        number = choice % len(flags)
        current[number] += 1
        old = str(number) if by_name else pm.get_plugin(str(number))
        pm.swap(old, photon((number, current[number]), **flags[number]))
        if call:
            pm.hook.first(x=1)
    assert [tag for tag, _ in pm.hook.first(x=1)] == [(n, current[n]) for n in order]


def test_a_new_hook_takes_the_place_that_the_photon_has() -> None:
    """A hook that only the successor implements takes the old position."""
    pm = manager()

    class Half:
        @hookimpl
        def first(self, x: int) -> Any:
            return "half"

    pm.register(photon("a"), "a")
    pm.register(Half(), "b")
    pm.register(photon("c"), "c")
    warm(pm)
    pm.swap("b", photon("b"))
    assert [tag for tag, _ in pm.hook.second(x=1)] == ["c", "b", "a"]
    pm.swap("b", Half())
    assert [tag for tag, _ in pm.hook.second(x=1)] == ["c", "a"]


def test_a_refused_swap_changes_nothing() -> None:
    """All or nothing: one successor that does not fit refuses the whole group."""
    pm = manager()
    pm.register(photon("a"), "a")
    pm.register(photon("b"), "b")

    class Wrong:
        @hookimpl
        def first(self, nobody_gives_this: int) -> None: ...

    before = pm.hook.first(x=1)
    with pytest.raises(pluggy.PluginValidationError):
        pm.swap_many([("a", photon("A")), ("b", Wrong())])
    with pytest.raises(ValueError, match="not registered"):
        pm.swap("nobody", photon("n"))
    assert pm.hook.first(x=1) == before


@pytest.mark.fault(19)
@pytest.mark.parametrize("is_warm", [False, True])
def test_one_outermost_call_sees_one_generation(is_warm: bool) -> None:
    """Hooks called by a hook stay with the generation that the outermost began with."""
    pm = manager()

    class Outer:
        @hookimpl
        def outer(self, run: Any) -> Any:
            return run()

    pm.register(Outer())
    pm.register(photon("old"), "p")
    if is_warm:
        warm(pm)
        for _ in range(12):
            pm.hook.outer(run=lambda: 1)

    def run() -> Any:
        seen = pm.hook.first(x=1) + pm.hook.second(x=1)
        pm.swap("p", photon("new"))
        return seen + pm.hook.first(x=1) + pm.hook.second(x=1)

    [seen] = pm.hook.outer(run=run)
    assert {tag for tag, _ in seen} == {"old"}
    assert {tag for tag, _ in pm.hook.first(x=1)} == {"new"}


@pytest.mark.fault(18)
def test_an_old_call_keeps_its_generation_while_new_calls_have_the_next() -> None:
    """Swapped while a call waits: it ends on the old one, others use the new one."""
    pm = manager()
    inside, go_on = threading.Event(), threading.Event()
    old = photon("old")

    class Outer:
        @hookimpl
        def outer(self, run: Any) -> Any:
            inside.set()
            assert go_on.wait(DEADLINE)
            return pm.hook.first(x=1)

    pm.register(Outer())
    pm.register(old, "p")
    warm(pm)
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.extend(pm.hook.outer(run=None)))
    thread.start()
    assert inside.wait(DEADLINE)
    pm.swap("p", photon("new"))
    assert pm.hook.first(x=1) == [("new", "first")]
    assert pm.in_flight(old) == 1
    assert not pm.wait_until_idle(old, 0.02)
    go_on.set()
    assert pm.wait_until_idle(old, DEADLINE)
    thread.join(DEADLINE)
    assert found == [[("old", "first")]]
    # Nobody is left: calls have their prepared bodies again.
    pm.hook.first(x=1)
    assert pm.in_flight(old) == 0


def test_the_old_generation_goes_when_its_last_call_ends() -> None:
    """Waited for and idle, it is let go of without another call of any hook."""
    pm = manager()
    inside, go_on = threading.Event(), threading.Event()

    class Outer:
        @hookimpl
        def outer(self, run: Any) -> Any:
            inside.set()
            assert go_on.wait(DEADLINE)

    pm.register(Outer())
    pm.register(photon("old"), "p")
    warm(pm)
    thread = threading.Thread(target=lambda: pm.hook.outer(run=None))
    thread.start()
    assert inside.wait(DEADLINE)
    old = pm.get_plugin("p")
    for number in range(5):  # generations in between nobody can see
        gone = weakref.ref(pm.get_plugin("p"))
        pm.swap("p", photon(number))
        gc.collect()
        assert (gone() is None) == (number > 0)
    go_on.set()
    thread.join(DEADLINE)
    assert pm.wait_until_idle(old, DEADLINE)
    gone = weakref.ref(old)
    del old
    gc.collect()
    assert gone() is None


def test_the_successor_is_told_what_its_predecessor_was_told() -> None:
    """Historic calls are repeated for a new generation before it is registered."""

    class Historic:
        @hookspec(historic=True)
        def told(self, x: Any) -> Any: ...

    def hearing(into: list[Any], *, fail: bool = False) -> Any:
        class Hears:
            @hookimpl
            def told(self, x: Any) -> Any:
                if fail:
                    raise LookupError(x)
                into.append(x)

        return Hears()

    pm = PluginManager("luminal")
    pm.add_hookspecs(Historic)
    old: list[Any] = []
    pm.register(hearing(old), "p")
    pm.hook.told.call_historic(kwargs={"x": 1})
    pm.hook.told.call_historic(kwargs={"x": pm.get_plugin("p")})
    with pytest.raises(LookupError):
        pm.swap("p", hearing([], fail=True))
    new: list[Any] = []
    pm.swap("p", hearing(new))
    pm.hook.told.call_historic(kwargs={"x": 2})
    assert (old[0], new) == (1, [1, 2])
    assert len(old) == 2


def test_two_swaps_while_one_call_waits() -> None:
    """A call from before both swaps sees the first generation, later ones the last."""
    pm = manager()

    class Outer:
        @hookimpl
        def outer(self, run: Any) -> Any:
            return run()

    pm.register(Outer())
    pm.register(photon(1), "p")

    def run() -> Any:
        pm.swap("p", photon(2))
        pm.swap("p", photon(3))
        return pm.hook.first(x=1)

    assert pm.hook.outer(run=run) == [[(1, "first")]]
    assert pm.hook.first(x=1) == [(3, "first")]


@pytest.mark.fault(18)
async def test_async_calls_keep_their_generation() -> None:
    """The same for a call that is suspended while the swap happens."""
    pm = manager()

    class Outer:
        @hookimpl
        async def outer(self, run: Any) -> Any:
            return await run()

    pm.register(Outer())
    old = photon("old")
    pm.register(old, "p")

    async def twice() -> Any:
        before = await pm.ahook.first(x=1)
        reached.set()
        await go_on.wait()
        return before + await pm.ahook.first(x=1) + pm.hook.second(x=1)

    for _ in range(3):
        reached, go_on = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(pm.ahook.outer(run=twice))
        await reached.wait()
        pm.swap("p", photon("new"))
        assert await pm.ahook.first(x=1) == [("new", "first")]
        assert pm.in_flight(old) == 1
        waiting = asyncio.create_task(pm.wait_idle(old, 10))
        go_on.set()
        assert await waiting
        [seen] = await task
        assert {tag for tag, _ in seen} == {"old"}
        pm.swap("p", old)
        for _ in range(12):
            await pm.ahook.first(x=1)
            await pm.ahook.outer(run=_nothing)


async def test_a_concurrent_call_keeps_its_generation() -> None:
    """What a concurrent hook awaits calls hooks of the generation it began with."""

    class Concurrent:
        @hookspec(concurrent=True)
        def both(self, run: Any) -> Any: ...

    pm = manager()
    pm.add_hookspecs(Concurrent)

    class Asks:
        @hookimpl
        async def both(self, run: Any) -> Any:
            await run()
            return pm.hook.first(x=1)

    pm.register(Asks())
    pm.register(Asks())
    pm.register(photon("old"), "p")

    async def main() -> Any:
        reached = asyncio.Barrier(3)
        go_on = asyncio.Event()

        async def run() -> None:
            await reached.wait()
            await go_on.wait()

        task = asyncio.create_task(pm.ahook.both(run=run))
        await reached.wait()
        pm.swap("p", photon("new"))
        go_on.set()
        return await task

    assert await main() == [[("old", "first")]] * 2
    assert pm.hook.first(x=1) == [("new", "first")]


async def _nothing() -> None:
    return None


def test_a_call_on_the_own_stack_is_not_waited_for() -> None:
    """Waiting from inside of the photon's own call ends at once, with False."""
    pm = manager()

    class Outer:
        @hookimpl
        def outer(self, run: Any) -> Any:
            return run()

    plugin = Outer()
    pm.register(plugin, "p")
    [answer] = pm.hook.outer(run=lambda: pm.wait_until_idle(plugin, 3600))
    assert answer is False


def test_the_old_generation_can_be_collected() -> None:
    """Nothing of the engine refers to a photon that was swapped out or unregistered."""
    pm = manager()
    pm.register(photon("a"), "a")
    pm.register(photon("b"), "b")
    warm(pm)
    old = [weakref.ref(pm.get_plugin("a")), weakref.ref(pm.get_plugin("b"))]
    pm.swap("a", photon("A"))
    pm.unregister(name="b")
    pm.hook.first(x=1)
    pm.hook.second(x=1)
    gc.collect()
    assert [ref() for ref in old] == [None, None]


def test_two_plugins_that_compare_equal_are_two() -> None:
    """Identity decides, not equality."""

    class Same:
        def __init__(self, tag: str) -> None:
            self.tag = tag

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Same)

        __hash__ = None  # type: ignore[assignment]

        @hookimpl
        def first(self, x: int) -> str:
            return self.tag

    pm = manager()
    one, two = Same("one"), Same("two")
    pm.register(one, "one")
    pm.register(two, "two")
    assert pm.hook.first(x=1) == ["two", "one"]
    pm.unregister(one)
    assert pm.hook.first(x=1) == ["two"]


@pytest.mark.slow
def test_threads_call_while_one_registers_unregisters_and_swaps() -> None:
    """No torn read, no lost call, no wrong order, no two generations in one call."""
    stress(seconds=4)


def stress(seconds: float) -> int:
    """Run the stress for *seconds*; return the number of calls."""
    pm = manager()

    class Outer:
        @hookimpl
        def outer(self, run: Any) -> Any:
            one = dict(pm.hook.first(x=1))
            two = dict(pm.hook.second(x=1))
            return one, two

    pm.register(Outer(), "outer")

    def numbered(name: str, number: int) -> Any:
        class Photon:
            @hookimpl
            def first(self, x: int) -> Any:
                return (name, number)

            @hookimpl
            def second(self, x: int) -> Any:
                return (name, number)

        return Photon()

    names = ["a", "b", "c", "d"]
    for name in names:
        pm.register(numbered(name, 0), name)
    stop, wrong, calls = threading.Event(), [], [0] * 8

    def call(me: int) -> None:
        last = dict.fromkeys(names, 0)
        try:
            while not stop.is_set():
                answers = [a for a in pm.hook.first(x=1) if a[0] in last]
                order = [name for name, _ in answers]
                if order != ["d", "c", "b", "a"]:
                    wrong.append(("order", order))
                [(one, two)] = pm.hook.outer(run=None)
                for name in names:
                    if one[name] != two[name]:
                        wrong.append(("torn", name, one[name], two[name]))
                    if one[name] < last[name]:
                        wrong.append(("back", name, one[name], last[name]))
                    last[name] = one[name]
                calls[me] += 2
        except BaseException as error:
            wrong.append(repr(error))
            raise

    threads = [threading.Thread(target=call, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end and not wrong:
        number += 1
        pm.swap_many([(name, numbered(name, number)) for name in names])
        guest = pm.register(numbered("guest", number), "guest")
        if number % 3 == 0:
            time.sleep(0.002)
        pm.unregister(name=guest)
    stop.set()
    for thread in threads:
        thread.join(DEADLINE)
    assert not wrong, wrong[:5]
    assert all(calls)
    assert number > 10
    return sum(calls)
