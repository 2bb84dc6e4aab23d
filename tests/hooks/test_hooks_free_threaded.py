"""Without the GIL the manager calls right, changes no function, and refuses swaps."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from luminal.errors import PhotonReloadError
from luminal.hooks import PluginManager
from luminal.interfaces import hookimpl


class Photon:
    def __init__(self, tag: str) -> None:
        self.tag = tag

    @hookimpl
    def who(self, run: Any) -> Any:
        return self.tag, run()


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> PluginManager:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    monkeypatch.delenv("LUMINAL_SWAP_WITHOUT_GIL", raising=False)
    made = PluginManager("luminal")
    made.register(Photon("old"), "p")
    return made


def test_no_function_is_changed(manager: PluginManager) -> None:
    function = manager.hook.who
    before = function.__code__, function.__kwdefaults__
    for _ in range(300):
        assert manager.hook.who(run=lambda: 1) == [("old", 1)]
    assert (function.__code__, function.__kwdefaults__) == before
    assert manager.statistics()[0].calls == 300
    inside: list[int] = []
    plugin = manager.get_plugin("p")
    manager.hook.who(run=lambda: inside.append(manager.in_flight(plugin)))
    assert (inside, manager.in_flight(plugin)) == ([1], 0)


def test_a_swap_is_refused_unless_it_is_asked_for(
    manager: PluginManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = Photon("new")
    with pytest.raises(PhotonReloadError, match="LUMINAL_SWAP_WITHOUT_GIL"):
        manager.swap("p", new)
    assert manager.hook.who(run=lambda: 1) == [("old", 1)]
    monkeypatch.setenv("LUMINAL_SWAP_WITHOUT_GIL", "1")

    def run() -> Any:
        manager.swap("p", new)
        return manager.hook.who(run=lambda: 2)

    assert manager.hook.who(run=run) == [("old", [("old", 2)])]
    assert manager.hook.who(run=lambda: 3) == [("new", 3)]
