"""A host is told which hooks to ask again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import luminal
import luminal.blocking
from luminal.errors import LuminalError
from luminal.model import Event, EventKind, Probation
from luminal.testing import Host
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path


class Specs:
    """The hooks of a web host."""

    @luminal.hookspec
    def routes(self): ...

    @luminal.hookspec
    def functions(self): ...

    @luminal.hookspec
    def render(self): ...


def text(*hooks: str, body: str = "", name: str = "web") -> str:
    """Return a photon that implements *hooks*."""
    lines = ["import luminal", f"class {name.title()}(luminal.IPhoton):"]
    lines += [f"    photon_name = {name!r}", f"    {body}"]
    for hook in hooks:
        lines += ["    @luminal.hookimpl", f"    def {hook}(self): return {hook!r}"]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("exclusive", ["", "photon_exclusive = True"])
def test_what_a_start_a_swap_and_an_unload_change(exclusive: str) -> None:
    with Host(hookspecs=[Specs]) as host:
        table: list[object] = []
        changed: list[frozenset[str]] = []

        def renew(hooks: frozenset[str]) -> None:
            changed.append(hooks)
            table[:] = host.hook.routes()  # what calls reach is new by now

        host.loader.on_hooks_changed(renew)
        host.write("web.py", text("routes", "render", body=exclusive))
        host.run()
        assert changed.pop() == {"routes", "render"}
        assert table == ["routes"]
        host.write("web.py", text("functions", "render", body=exclusive))
        host.call(host.loader.reload_photon("web"))
        assert changed.pop() == {"functions", "render"} | {"routes"}
        assert table == []
        host.write("web.py", text("routes", body="def start(self): raise OSError"))
        changed.clear()
        with pytest.raises(LuminalError):
            host.call(host.loader.reload_photon("web"))
        assert not exclusive or changed  # the exclusive one is started again
        assert exclusive or not changed
        changed.clear()
        host.call(host.loader.unload_photon("web"))
        assert changed == [{"functions", "render"}]


def test_photons_that_a_save_adds_and_takes_out() -> None:
    with Host(hookspecs=[Specs]) as host:
        host.write("web.py", text("routes"))
        host.run()
        changed: list[frozenset[str]] = []
        end = host.loader.on_hooks_changed(changed.append)
        host.write("web.py", text("routes") + text("render", name="more"))
        host.call(host.loader.reload_photon("web"))
        assert changed == [{"routes"}, {"render"}]
        host.write("web.py", text("routes", body="one = 1"))
        host.call(host.loader.reload_photon("web"))
        assert changed[2:] == [{"routes"}, {"render"}]
        end()
        host.call(host.loader.reload_photon("web"))
        assert len(changed) == 4


def test_a_roll_back_is_told() -> None:
    probation = Probation(seconds=60, interval=0.01)
    with Host(hookspecs=[Specs], probation=probation) as host:
        host.write("web.py", text("routes"))
        host.run()
        found: list[Event] = []
        host.loader.events.subscribe(found.append)
        host.write("web.py", text("render", body="def is_healthy(self): return False"))
        host.call(host.loader.reload_photon("web"))
        wait_until(lambda: EventKind.ROLLED_BACK in [event.kind for event in found])
        (back,) = (event for event in found if event.kind is EventKind.ROLLED_BACK)
        assert back.hooks == ("render", "routes")


def test_without_asyncio(tmp_path: Path) -> None:
    (tmp_path / "web.py").write_text(text("routes"))
    changed: list[frozenset[str]] = []
    with luminal.blocking.Loader(hookspecs=[Specs]) as loader:
        loader.on_hooks_changed(changed.append)
        loader.load_photons(tmp_path).start()
        (tmp_path / "web.py").write_text(text("routes", "functions"))
        loader.reload_photon("web")
    assert changed == [{"routes"}, {"routes", "functions"}, {"routes", "functions"}]
