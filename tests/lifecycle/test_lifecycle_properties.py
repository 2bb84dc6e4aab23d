"""Any sequence of loads, starts, stops and unloads keeps the table and the house."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import tempfile
import textwrap
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from luminal import Loader, hookspec
from luminal.errors import (
    LuminalError,
    LuminalWarning,
    PhotonNotFoundError,
    PhotonNotInitializedError,
)
from luminal.model import TABLE, Deadlines, State
from tests.waiting import brief

NAMES = ("a", "b", "c")
WAYS = ("fine", "fine", "syntax", "import", "init", "start", "exit", "hang", "finalize")

BODY = """
from luminal import IPhoton, hookimpl
{head}
class P_{name}(IPhoton):
    photon_name = "{name}"
    {requires}
    def __init__(self):
        {init}
    {a}def start(self):
        {start}
    {a}def finalize(self):
        {finalize}
    @hookimpl
    def ping(self):
        return "{name}"
"""


class Specs:
    @hookspec
    def ping(self): ...


def text_of(name: str, way: str, is_async: bool, needs: str) -> str:
    """Return a photon file that fails in *way*."""
    hang = "import asyncio; await asyncio.sleep(60)" if is_async else "pass"
    return textwrap.dedent(BODY).format(
        name=name,
        a="async " if is_async else "",
        requires=f"photon_requires = ({needs!r},)" if needs else "",
        head={"syntax": "def (", "import": "1 / 0"}.get(way, ""),
        init="raise ValueError" if way == "init" else "pass",
        start={
            "start": "raise ValueError",
            "exit": "raise SystemExit",
            "hang": hang,
        }.get(way, "pass"),
        finalize="raise ValueError" if way == "finalize" else "pass",
    )


class Life(RuleBasedStateMachine):
    """One host; files that change their ways between loads."""

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp()) / "photons"
        self.path.mkdir()
        self.modules = {n for n in sys.modules if n.startswith("photons_")}
        self.loader = Loader(
            deadlines=Deadlines(start=brief(0.05), close=brief(1)), cache=False
        )
        self.loader.plugins.add_hookspecs(Specs)
        # Every step of every Handler is in the table.
        self.states: dict[object, State] = {}
        for name in NAMES:
            self.write(name, "fine", False, "")

    def run(self, coroutine):
        """Each order has an event loop of its own."""
        return asyncio.run(coroutine)

    def look(self) -> None:
        """Note the states that Handlers are in, and that they got there lawfully."""
        for handler in self.loader.photons.values():
            before = self.states.get(handler, State.STAGED)
            assert handler.state in reachable(before)
            self.states[handler] = handler.state

    @rule(
        name=st.sampled_from(NAMES),
        way=st.sampled_from(WAYS),
        is_async=st.booleans(),
        needs=st.sampled_from(("", "", "a", "b")),
    )
    def write(self, name: str, way: str, is_async: bool, needs: str) -> None:
        """Change a file on the disk; what is loaded does not notice."""
        needs = "" if needs == name else needs
        (self.path / f"{name}.py").write_text(text_of(name, way, is_async, needs))

    @rule(name=st.sampled_from(NAMES))
    def load(self, name: str) -> None:
        """One file; a failure leaves what was loaded as it was."""
        before = self.loader.photons
        if name in before:
            return
        try:
            self.run(self.loader.load_photon(self.path / f"{name}.py"))
        except LuminalError:
            assert self.loader.photons == before
        else:
            assert set(self.loader.photons) == {*before, name}

    @rule()
    def load_all(self) -> None:
        """The directory; what can be loaded is."""
        before = self.loader.photons
        with warnings.catch_warnings(), contextlib.suppress(LuminalError):
            warnings.simplefilter("ignore", LuminalWarning)  # "loaded already"
            self.run(self.loader.load_photons(self.path))
        after = self.loader.photons
        assert {n: after[n] for n in before} == before

    @rule(name=st.sampled_from(NAMES))
    def start(self, name: str) -> None:
        """It runs, or has failed; never anything in between."""
        handler = self.loader.photons.get(name)
        if handler is None:
            return
        try:
            self.run(handler.start())
        except LuminalError:
            assert handler.state is State.FAILED
            assert handler.instance is None
            assert handler.problem is not None
        else:
            assert handler.state is State.RUNNING
            assert handler.instance is not None

    @rule()
    def start_all(self) -> None:
        """The report says for each whether it runs."""
        report = self.run(self.loader.start())
        running = {n for n, h in self.loader.photons.items() if h.state == "running"}
        assert {o.photon for o in report.loaded} == running

    @rule(name=st.sampled_from(NAMES), force=st.booleans())
    def stop(self, name: str, force: bool) -> None:
        """It is at rest afterwards."""
        handler = self.loader.photons.get(name)
        if handler is None:
            return
        if handler.state is State.STAGED:
            with pytest.raises(PhotonNotInitializedError):
                self.run(handler.stop(force))
        else:
            went_well = self.run(handler.stop(force))
            assert handler.state is (State.STOPPED if went_well else State.FAILED)

    @rule(name=st.sampled_from(NAMES), by_path=st.booleans(), force=st.booleans())
    def unload(self, name: str, by_path: bool, force: bool) -> None:
        """It is gone, and the others are as they were."""
        before = self.loader.photons
        handler = before.get(name)
        what = self.path / f"{name}.py" if by_path else name
        if handler is None:
            with pytest.raises(PhotonNotFoundError):
                self.run(self.loader.unload_photon(what, force))
            return
        assert self.run(self.loader.unload_photon(what, force))
        del before[name]
        assert self.loader.photons == before
        assert handler.state in (State.STAGED, State.STOPPED, State.FAILED)
        assert handler.generation is None

    @rule(name=st.sampled_from(NAMES))
    def reload(self, name: str) -> None:
        """The new one, or the old one as it was."""
        handler = self.loader.photons.get(name)
        if handler is None:
            return
        number, state = handler.number, handler.state
        instance = handler.instance
        try:
            self.run(self.loader.reload_photon(name))
        except LuminalError:
            assert (handler.number, handler.state) == (number, state)
            assert handler.instance is instance
        else:
            self.states.pop(handler, None)  # a new life begins
            assert handler.number == number + 1
            assert handler.state is (
                State.RUNNING if state is State.RUNNING else handler.state
            )

    @invariant()
    def all_agree(self) -> None:
        """Registry, hooks, modules and states tell one story."""
        self.look()
        photons = self.loader.photons
        running = {n for n, h in photons.items() if h.state is State.RUNNING}
        assert set(self.loader.hook.ping()) == running
        for name in NAMES:
            assert self.loader.plugins.has_plugin(name) is (name in running)
        for name, handler in photons.items():
            assert handler.name == name
            assert (handler.instance is not None) is (name in running)
            assert handler.state not in (State.STARTING, State.STOPPING)
            module = sys.modules[handler.factory.__module__]
            assert module is handler.generation.root
        ours = {n for n in sys.modules if n.startswith("photons_")} - self.modules
        leaves = {n.rpartition(".")[2] for n in ours if "." in n}
        assert leaves == set(photons)
        assert bool(ours) is bool(photons)

    def teardown(self) -> None:
        """A closed loader leaves nothing."""
        self.run(self.loader.close())
        assert not self.loader.photons
        assert {n for n in sys.modules if n.startswith("photons_")} == self.modules
        shutil.rmtree(self.path.parent)


def reachable(state: State) -> set[State]:
    """Return the states that *state* leads to, by any number of steps."""
    found = {state}
    while True:
        more = {to for (at, _), to in TABLE.items() if at in found} - found
        if not more:
            return found
        found |= more


Life.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    suppress_health_check=[HealthCheck.too_slow],
)
TestLife = pytest.mark.slow(Life.TestCase)


def test_table_has_no_dead_end():
    """From every state a photon can be stopped and can run again."""
    for state in State:
        assert {State.RUNNING, State.STOPPED} <= reachable(state)
