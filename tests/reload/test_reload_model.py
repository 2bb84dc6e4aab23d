"""Hypothesis plays a host: whatever it does in whatever order, the invariants hold."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from luminal import Loader, hookspec
from luminal.errors import LuminalError, PhotonRollbackError
from luminal.model import Deadlines, State

NAMES = ("a", "b", "c")
FAULTS = {
    "syntax": ("def (", ""),
    "import": ("1 / 0", ""),
    "exit": ("raise SystemExit", ""),
    "start": ("", "def start(self): raise ValueError"),
    "state": ("", "def on_reload(self, previous): previous.data.clear(); 1 / 0"),
    "hook": ("", "@hookimpl(specname='who')\n    def more(self, what): ..."),
}
TEXT = """
from luminal import IPhoton, hookimpl
import luminal_test_ledger as ledger
from . import shared
{head}

class Photon(IPhoton):
    photon_name = {name!r}
    def __init__(self):
        self.key = ({name!r}, {number}, ledger.next())
    {body}
    @hookimpl
    def who(self):
        assert self.key not in ledger.finalized, "called after its end"
        return ({name!r}, {number}, shared.NUMBER, self.context.data.get("n"))
    @hookimpl
    def visit(self, go):
        return ({name!r}, {number}, shared.NUMBER), go()
    def finalize(self):
        ledger.finalized.append(self.key)
"""
WAYS = ("in place", "rename", "delete and create", "same second")


class Specs:
    @hookspec
    def who(self): ...

    @hookspec
    def visit(self, go): ...


class Ledger:
    """What photons note about their lives; a module to them."""

    def __init__(self):
        self.finalized, self.count = [], 0

    def next(self):
        self.count += 1
        return self.count


class Machine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.ledger = sys.modules["luminal_test_ledger"] = Ledger()
        self.root = Path(tempfile.mkdtemp(prefix="model_"))
        self.names_before = set(sys.modules)
        self.threads_before = set(threading.enumerate())
        self.finders_before = list(sys.meta_path)
        self.host = Loader(deadlines=Deadlines(5, 5, 5, 5, 5))
        self.host.plugins.add_hookspecs(Specs)
        self.saved = 0
        self.on_disk = {}  # name → (number, fault or None)
        self.shared = (0, None)
        self.serving = {}  # name → (number, shared number, data)
        self.order = []
        self.past = {}  # name → what it served before its latest swap, or None
        self.helper_serving = None
        self.save_helper(None)
        for name in NAMES:
            self.save(name, None, "in place")

    # What happens to files.

    def _write(self, file, text, way):
        path = self.root / file
        if way == "rename":
            (self.root / "fresh.tmp").write_text(text)
            os.replace(self.root / "fresh.tmp", path)
        elif way == "delete and create":
            path.unlink(missing_ok=True)
            path.write_text(text)
        else:
            path.write_text(text)
            if way == "same second":
                os.utime(path, (1_700_000_000, 1_700_000_000))

    @rule(
        name=st.sampled_from(NAMES),
        fault=st.one_of(st.none(), st.none(), st.sampled_from(sorted(FAULTS))),
        way=st.sampled_from(WAYS),
    )
    def save(self, name, fault, way):
        self.saved += 1
        head, body = FAULTS.get(fault, ("", ""))
        text = TEXT.format(name=name, number=self.saved, head=head, body=body)
        self._write(f"{name}.py", text, way)
        self.on_disk[name] = (self.saved, fault)

    @rule(fault=st.sampled_from([None, None, "syntax", "import"]))
    def save_helper(self, fault):
        self.saved += 1
        head = FAULTS.get(fault, ("", ""))[0]
        self._write("shared.py", f"NUMBER = {self.saved}\n{head}\n", "in place")
        self.shared = (self.saved, fault)

    # What the host does.

    def _fails(self, names, *, is_first=False):
        """Whether staging and starting *names* from the disk fails."""
        if self._helper_changes() and self.shared[1]:
            return True
        faults = {self.on_disk[name][1] for name in names} - {None}
        # Nothing is handed over at a first start.
        return bool(faults - {"state"} if is_first else faults)

    def _helper_changes(self):
        return self.helper_serving != self.shared[0]

    @rule(name=st.sampled_from(NAMES))
    def load(self, name):
        if name in self.serving:
            return
        path = self.root / f"{name}.py"
        # A helper that serves is not read again for one more user.
        helper_fails = self.helper_serving is None and bool(self.shared[1])
        fault = self.on_disk[name][1]
        if helper_fails or fault in ("syntax", "import", "exit"):
            with pytest.raises(LuminalError):
                asyncio.run(self.host.load_photon(path))
            assert name not in self.host.photons
            return
        (handler,) = asyncio.run(self.host.load_photon(path))
        if fault in ("start", "hook"):
            with pytest.raises(LuminalError):
                asyncio.run(handler.start())
            asyncio.run(self.host.unload_photon(handler))
            return
        asyncio.run(handler.start())
        handler.context.data["n"] = self.on_disk[name][0]
        if self.helper_serving is None:
            self.helper_serving = self.shared[0]
        self.serving[name] = (self.on_disk[name][0], self.helper_serving)
        self.order.append(name)
        self.past.pop(name, None)

    def _swapped(self, names):
        for name in names:
            self.past[name] = self.serving[name]
        self.helper_serving = (
            self.shared[0] if self._helper_changes() else (self.helper_serving)
        )
        for name in names:
            self.serving[name] = (self.on_disk[name][0], self.helper_serving)

    @precondition(lambda self: self.serving)
    @rule(data=st.data(), is_calling=st.booleans())
    def reload(self, data, is_calling):
        name = data.draw(st.sampled_from(sorted(self.serving)))
        affected = sorted(self.serving) if self._helper_changes() else [name]
        before = self._identities()

        async def order():
            await self.host.reload_photon(name)

        def go():
            asyncio.run(order())
            return self.host.hook.who()

        fails = self._fails(affected)
        old = self._expected()
        try:
            if is_calling:  # from inside a call, which must not see the new ones
                inner = []
                answers = self.host.hook.visit(
                    go=lambda: inner[0] if inner else inner.append(go()) or inner[0]
                )
                assert sorted(answer[0] for answer in answers) == old
                assert sorted(answer[:3] for answer in inner[0]) == old
            else:
                asyncio.run(order())
        except LuminalError:
            assert fails
        else:
            assert not fails
        if fails:
            assert self._identities() == before
        else:
            self._swapped(affected)

    @precondition(lambda self: self.past)
    @rule()
    def roll_back(self):
        name = min(self.past)
        before = self._identities()
        try:
            asyncio.run(self.host.roll_back(name))
        except PhotonRollbackError:
            raise
        except LuminalError:
            # Users of the helper that goes back are staged from the disk.
            assert self._identities() == before
            return
        for who in self.host.photons:
            (answer,) = [a for a in self.host.hook.who() if a[0] == who]
            self.serving[who] = answer[1:3]
        assert self.serving[name][0] == self.past[name][0]
        self.helper_serving = self.serving[name][1]
        self.past.clear()

    @precondition(lambda self: self.serving)
    @rule(data=st.data(), force=st.booleans())
    def unload(self, data, force):
        name = data.draw(st.sampled_from(sorted(self.serving)))
        asyncio.run(self.host.unload_photon(name, force_stop=force))
        del self.serving[name]
        self.past.pop(name, None)
        self.order.remove(name)
        if not self.serving:
            self.helper_serving = None

    @precondition(lambda self: self.serving)
    @rule()
    def call_from_threads(self):
        seen = []
        threads = [
            threading.Thread(target=lambda: seen.append(self._answers()))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [self._expected()] * 4

    # What holds all the time.

    def _identities(self):
        return {
            name: (id(h), id(h.instance), h.state, h.number, id(h.generation))
            for name, h in self.host.photons.items()
        }

    def _answers(self):
        return sorted(answer[:3] for answer in self.host.hook.who())

    def _expected(self):
        return sorted((name, *numbers) for name, numbers in self.serving.items())

    @invariant()
    def each_name_has_one_serving_generation(self):
        assert self._answers() == self._expected()
        assert list(self.host.photons) == self.order
        assert [a[0] for a in reversed(self.host.hook.who())] == self.order

    @invariant()
    def one_helper_serves_all(self):
        assert len({shared for _, shared in self.serving.values()}) <= 1

    @invariant()
    def lives_end_once(self):
        ended = Counter(self.ledger.finalized)
        assert not [key for key, count in ended.items() if count > 1]
        living = {h.instance.key for h in self.host.photons.values()}
        assert not living & ended.keys()
        assert {h.state for h in self.host.photons.values()} <= {State.RUNNING}

    @invariant()
    def data_is_handed_over(self):
        for handler in self.host.photons.values():
            assert handler.context.data["n"] <= self.saved

    def teardown(self):
        asyncio.run(self.host.close())
        assert self.host.hook.who() == []
        assert self.host.photons == {}
        left = {n for n in set(sys.modules) - self.names_before if "model_" in n}
        assert not left
        assert list(sys.meta_path) == self.finders_before
        for thread in set(threading.enumerate()) - self.threads_before:
            thread.join(5)
            assert not thread.is_alive()
        shutil.rmtree(self.root)
        sys.modules.pop("luminal_test_ledger", None)


Machine.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestModel = pytest.mark.slow(Machine.TestCase)
