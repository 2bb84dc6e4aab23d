"""Calls that go another way than ``hook.NAME(...)`` keep the same promises."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from luminal import _syntax
from luminal.hooks import PluginManager, _compile
from luminal.interfaces import hookimpl, hookspec
from tests.waiting import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WAYS: list[Any] = [
    pytest.param(lambda pm, x: pm.hook.one.detailed(x=x), id="detailed"),
    pytest.param(lambda pm, x: pm.hook.one.call_extra([], {"x": x}), id="extra"),
    pytest.param(
        lambda pm, x: pm.subset_hook_caller("one", [pm.get_plugin("other")])(x=x),
        id="subset",
    ),
    pytest.param(
        lambda pm, x: asyncio.run(pm.ahook.one.detailed(x=x)), id="async detailed"
    ),
]


class Specs:
    @hookspec
    def one(self, x: Any) -> Any: ...

    @hookspec
    def two(self) -> Any: ...

    @hookspec(historic=True)
    def told(self, x: Any) -> Any: ...


class Photon:
    """Answers with its tag, and does what it is given."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.heard: list[Any] = []

    @hookimpl
    def one(self, x: Any) -> Any:
        return x(), self.tag

    @hookimpl
    def two(self) -> Any:
        return self.tag

    @hookimpl
    def told(self, x: Any) -> None:
        self.heard.append(x)


class Other:
    @hookimpl
    def one(self, x: Any) -> Any:
        return None


def manager() -> PluginManager:
    made = PluginManager("luminal")
    made.add_hookspecs(Specs)
    made.register(Other(), "other")
    return made


@pytest.fixture
def hurried() -> Iterator[None]:
    """Let threads change places as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("call", WAYS)
def test_it_is_seen_while_it_is_under_way(
    call: Callable[[PluginManager, Any], Any],
) -> None:
    """A photon that such a call runs in is not taken for idle."""
    pm, photon = manager(), Photon("a")
    pm.register(photon, "p")
    reached, go_on = threading.Event(), threading.Event()

    def work() -> None:
        reached.set()
        assert go_on.wait(DEADLINE)

    thread = threading.Thread(target=call, args=(pm, work))
    thread.start()
    assert reached.wait(DEADLINE)
    try:
        assert pm.in_flight(photon) == 1
        assert not pm.wait_until_idle(photon, 0.01)
    finally:
        go_on.set()
        thread.join()
    assert pm.wait_until_idle(photon, DEADLINE)


@pytest.mark.parametrize("call", WAYS)
def test_what_it_calls_is_of_its_generation(
    call: Callable[[PluginManager, Any], Any],
) -> None:
    """Hooks that are called from inside of it after a swap are the old one's."""
    pm = manager()
    pm.register(Photon("old"), "p")
    seen: list[Any] = []

    def work() -> None:
        pm.swap("p", Photon("new"))
        seen.append(pm.hook.two())

    call(pm, work)
    assert seen == [["old"]]
    assert pm.hook.two() == ["new"]


@pytest.mark.parametrize("call", WAYS[:3])
def test_inside_of_a_call_it_is_of_that_calls_generation(
    call: Callable[[PluginManager, Any], Any],
) -> None:
    """One outermost call sees one generation, whichever way it asks."""
    pm = manager()
    pm.register(Photon("old"), "p")
    seen: list[Any] = []

    def work() -> None:
        pm.swap("p", Photon("new"))
        seen.append(repr(call(pm, lambda: None)))

    pm.hook.one(x=work)
    assert "'old'" in seen[0]
    assert "'new'" in repr(call(pm, lambda: None))


@pytest.mark.usefixtures("hurried")
def test_who_comes_during_historic_calls_hears_each_once() -> None:
    """Registered or swapped in while another thread calls: none lost, none twice."""
    for _ in range(20):
        pm = manager()
        come = [Photon("old") for _ in range(5)]
        stay = [Photon("new") for _ in range(5)]
        begin = threading.Barrier(2)

        def call(pm: PluginManager = pm, begin: threading.Barrier = begin) -> None:
            begin.wait(DEADLINE)
            for number in range(20):
                pm.hook.told.call_historic(kwargs={"x": number})

        thread = threading.Thread(target=call)
        thread.start()
        begin.wait(DEADLINE)
        for old, new in zip(come, stay, strict=True):
            pm.register(old)
            pm.swap(old, new)
        thread.join()
        assert [sorted(photon.heard) for photon in stay] == [list(range(20))] * 5


def test_who_is_left_out_is_left_out_in_the_next_generation_too() -> None:
    pm = PluginManager("luminal")
    pm.add_hookspecs(Specs)
    old, new, other = Photon("old"), Photon("new"), Photon("other")
    pm.register(old, "a")
    pm.register(other, "b")
    call = pm.subset_hook_caller("two", [old])
    pm.swap("a", new)
    assert call() == ["other"]
    assert [impl.plugin for impl in call.get_hookimpls()] == [other]


def test_a_call_does_not_fail_where_threads_disturb_each_other_s_parsing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """CPython 3.11 raises `SystemError` then; the code is compiled all the same."""
    failures = [SystemError("recursion depth mismatch")] * 3

    def disturbed(*given: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return compile(*given, **options)

    monkeypatch.setattr(_syntax, "compile", disturbed, raising=False)
    monkeypatch.setattr(_compile, "_cache", {})
    pm = PluginManager("luminal")
    pm.add_hookspecs(Specs)
    for _ in range(20):
        pm.hook.two()
    assert not failures
