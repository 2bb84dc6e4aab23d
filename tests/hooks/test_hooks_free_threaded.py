"""Without the GIL the manager calls right, changes no function, and refuses swaps."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import luminal
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


TEXT = """
from luminal import IPhoton, hookimpl

class P(IPhoton):
    started = []

    def start(self):
        self.started.append(1)

    @hookimpl
    def who(self):
        return NUMBER, len(self.started)
"""


class Specs:
    @luminal.hookspec
    def who(self) -> object: ...


async def test_a_reload_is_rejected_and_the_photon_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    monkeypatch.delenv("LUMINAL_SWAP_WITHOUT_GIL", raising=False)
    file = tmp_path / "p.py"
    file.write_text(TEXT.replace("NUMBER", "1"))
    loader = luminal.Loader(hookspecs=[Specs])
    await (await loader.load_photon(file)).start()
    file.write_text(TEXT.replace("NUMBER", "2"))
    for _ in range(2):
        with pytest.raises(PhotonReloadError, match="LUMINAL_SWAP_WITHOUT_GIL") as told:
            await loader.reload_photon(file)
        assert (told.value.photon, told.value.file) == ("P", str(file))
        assert loader.hook.who() == [(1, 1)]
        assert loader.photons["P"].number == 1
    monkeypatch.setenv("LUMINAL_SWAP_WITHOUT_GIL", "1")
    await loader.reload_photon(file)
    assert loader.hook.who() == [(2, 1)]
    await loader.unload_photon(file)
    assert loader.hook.who() == []
