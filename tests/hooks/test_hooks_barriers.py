"""Calls that begin at the very moment of a swap are of one generation, wholly."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest

from luminal.hooks import PluginManager
from luminal.hooks._swap import CallBarrier
from luminal.interfaces import hookimpl, hookspec
from tests.waiting import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Specs:
    @hookspec
    def outer(self, run: Any) -> Any: ...

    @hookspec
    def inner(self) -> Any: ...


class Photon:
    def __init__(self, number: int) -> None:
        self.number = number

    @hookimpl
    def outer(self, run: Any) -> Any:
        run()
        return self.number

    @hookimpl
    def inner(self) -> Any:
        return self.number


class Host:
    """A manager with one photon, and a call of its generation 0 that goes on."""

    def __init__(self) -> None:
        self.pm = PluginManager("luminal")
        self.pm.add_hookspecs(Specs)
        self.oldest = Photon(0)
        self.pm.register(self.oldest, "p")
        self._go_on = threading.Event()

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Keep a call under way, so that gates stay."""
        reached = threading.Event()

        def wait() -> None:
            reached.set()
            assert self._go_on.wait(DEADLINE)

        thread = threading.Thread(target=self.pm.hook.outer, kwargs={"run": wait})
        thread.start()
        assert reached.wait(DEADLINE)
        try:
            yield
        finally:
            self._go_on.set()
            thread.join(DEADLINE)

    def generations(self) -> tuple[int, int]:
        """Call; return the generations of the call and of what it calls."""
        seen: list[int] = []
        [outer] = self.pm.hook.outer(run=lambda: seen.extend(self.pm.hook.inner()))
        return outer, seen[0]


@pytest.fixture
def after_choice(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """Hold what happens, once each, between a call's choice and its begin."""
    steps: list[Callable[[], object]] = []
    real = CallBarrier.seen_by

    def seen_by(barrier: CallBarrier, epoch: int) -> Any:
        snapshot = real(barrier, epoch)
        if steps:
            steps.pop()()
        return snapshot

    monkeypatch.setattr(CallBarrier, "seen_by", seen_by)
    return steps


def test_overtaken_by_a_whole_swap(after_choice: list[Callable[[], object]]) -> None:
    """A call that has chosen and not begun goes to what is there now, wholly."""
    host = Host()
    with host.busy():
        host.pm.swap("p", Photon(1))
        after_choice.append(lambda: host.pm.swap("p", Photon(2)))
        assert host.generations() == (2, 2)
        assert not after_choice


def test_overtaken_by_the_turn_of_a_swap(
    after_choice: list[Callable[[], object]],
) -> None:
    """What it chose before the turn may be forgotten: it chooses again."""
    host = Host()
    with host.busy(), contextlib.ExitStack() as stack:
        host.pm.swap("p", Photon(1))
        prepared = stack.enter_context(host.pm.swapping([("p", Photon(2))]))

        def turn() -> None:
            prepared.commit()
            stack.close()

        after_choice.append(turn)
        assert host.generations() == (2, 2)
        assert not after_choice


@pytest.mark.parametrize("is_warm", [False, True])
async def test_a_coroutine_that_is_awaited_after_a_swap_is_of_the_new(
    is_warm: bool,
) -> None:
    """It counts as a call of nobody before, and what it calls is of the new too."""
    host = Host()
    seen: list[Any] = []

    def run() -> None:
        seen.append((host.pm.hook.inner(), host.pm.in_flight(host.oldest)))

    async def main() -> Any:
        for _ in range(20 if is_warm else 0):
            await host.pm.ahook.outer(run=lambda: None)
        call = host.pm.ahook.outer(run=run)
        with host.busy():
            host.pm.swap("p", Photon(1))
            return await call

    assert await main() == [1]
    assert seen == [([1], 1)]
    assert host.pm.wait_until_idle(host.oldest, 10)
