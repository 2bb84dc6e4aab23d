"""Hypothesis plays a host: whatever it does in whatever order, the invariants hold."""

from __future__ import annotations

import asyncio
import gc
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
    initialize,
    invariant,
    precondition,
    rule,
)

from luminal import Loader, discover, hookspec
from luminal.errors import LuminalError, PhotonRollbackError
from luminal.model import Deadlines, EventKind, Probation, State
from tests.reload.model_files import (
    AT_IMPORT,
    FAULTS,
    GROUP,
    NAMES,
    WAYS,
    Installed,
    Ledger,
    helper_text,
    photon_text,
)
from tests.waiting import wait_until

TERMS = Probation(seconds=300.0, interval=0.01)


class Specs:
    @hookspec
    def who(self): ...

    @hookspec
    def visit(self, go): ...


class BaseLine:
    """What a process has before a host and must have after it."""

    def __init__(self):
        self.modules = set(sys.modules)
        self.threads = set(threading.enumerate())
        self.finders = list(sys.meta_path)
        self.descriptors = self._descriptors()

    @staticmethod
    def _descriptors():
        gc.collect()
        return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0

    def check(self):
        left = {n for n in set(sys.modules) - self.modules if "model" in n}
        assert not left
        assert list(sys.meta_path) == self.finders
        wait_until(lambda: set(threading.enumerate()) <= self.threads)
        wait_until(lambda: self._descriptors() <= self.descriptors)


class Caller(threading.Thread):
    """Calls all the time; every answer has to be of one generation of everything."""

    def __init__(self, host):
        super().__init__(name="caller", daemon=True)
        self.host, self.is_over = host, threading.Event()
        self.wrong = []
        self.start()

    def run(self):
        while not self.is_over.wait(0.001):
            try:
                answers = self.host.hook.who()
            except BaseException as error:
                self.wrong.append(error)
                continue
            names = [answer[0] for answer in answers]
            helpers = {a[2] for a in answers if a[0] in NAMES}
            if len(set(names)) != len(names) or len(helpers) > 1:
                self.wrong.append(answers)
            self.wrong += [a for a in answers if a[0] not in NAMES and a[1] != a[2]]


class Machine(RuleBasedStateMachine):
    """The host, and what is known of it.

    Units are the photons' names, and ``shared`` for the helper that all of them import.
    """

    def __init__(self):
        super().__init__()
        self.base = BaseLine()
        self.ledger = sys.modules["luminal_test_ledger"] = Ledger()
        self.top = Path(tempfile.mkdtemp(prefix="model_"))
        self.root = self.top / "photons"
        self.root.mkdir()
        self.site = Installed(self.top / "site")
        sys.path.insert(0, str(self.top / "site"))
        self.saved = 0
        self.on_disk = {}  # unit → (number, fault or None)
        self.serving = {}  # name → (number, helper's number)
        self.helper = None  # number of the helper that serves
        self.order = []
        self.past = {}  # name → what it served before its latest swap
        self.provisional = []  # (units, name → what served before, helper before)
        self.forced = set()  # lives that ended without `finalize`
        self.is_watching, self.watched, self.refused = False, set(), set()
        self.released = set()  # unloaded by hand, while the watch went on
        self.installed = None  # (number, fault), or "torn"
        self.marks = 0
        self._write("shared", None, "in place")
        for name in NAMES:
            self._write(name, None, "in place")

    @initialize(has_probation=st.booleans())
    def open(self, has_probation):
        self.has_probation = has_probation
        terms = TERMS if has_probation else 0.0
        self.host = Loader(deadlines=Deadlines(9, 9, 9, 9, 9), probation=terms)
        self.host.plugins.add_hookspecs(Specs)
        self.plugins = len(self.host.plugins.get_plugins())
        self.caller = Caller(self.host)

    # What happens to files.

    def _write(self, unit, fault, way):
        self.saved += 1
        make = helper_text if unit == "shared" else photon_text
        arguments = () if unit == "shared" else (unit,)
        text = make(*arguments, self.saved, fault)
        WAYS[way](self.root / f"{unit}.py", text)
        self.on_disk[unit] = (self.saved, fault)

    @rule(
        unit=st.sampled_from((*NAMES, "shared")),
        fault=st.one_of(st.none(), st.none(), st.sampled_from(sorted(FAULTS))),
        way=st.sampled_from(sorted(WAYS)),
    )
    def save(self, unit, fault, way):
        if unit == "shared" and fault not in (None, *AT_IMPORT):
            fault = "import"
        self._write(unit, fault, way)
        self._settle({unit})

    @precondition(lambda self: self.is_watching)
    @rule(name=st.sampled_from(NAMES))
    def delete(self, name):
        if self.on_disk[name] is None:
            return
        (self.root / f"{name}.py").unlink()
        self.on_disk[name] = None
        self._settle({name})

    # The watch.

    @rule()
    def watch(self):
        if self.is_watching:
            return

        async def begin():
            await self.host.watch_photons(self.root)

        asyncio.run(begin())
        self.is_watching, self.watched, self.refused = True, set(), set()
        self.seen, self.released = set(self.serving), set()
        self.done = []
        watcher = self.host._directory_watch._watcher
        take = watcher._on_batch

        def record(batch):
            take(batch)
            self.done.append(batch.paths)

        watcher._on_batch = record
        known = set(self.serving) & set(NAMES)
        # Photons that are loaded already are compared, the others are loaded.
        self._settle(known | ({"shared"} if known else set()), is_begin=True)

    @precondition(lambda self: self.is_watching)
    @rule(force=st.booleans())
    def stop_watching(self, force):
        self._note_forced(self.watched if force else ())
        asyncio.run(self.host.stop_watching_photons(halt_threads=force))
        self.is_watching = False
        self._left(self.watched)

    def _settle(self, touched, *, is_begin=False):
        """Wait until the watch has acted on all news so far, and foresee what it did.

        Args:
            touched: Units whose files were written.
            is_begin: Whether the watch has just begun.
        """
        if not self.is_watching:
            return
        self.marks += 1
        mark = str(self.root / f"mark_{self.marks}.txt")
        Path(mark).write_text("x")
        wait_until(lambda: any(mark in paths for paths in list(self.done)))
        watch = self.host._directory_watch
        wait_until(lambda: watch._unapplied is None)  # a deleted file is looked for
        self._foresee(touched, is_begin)

    def _foresee(self, touched, is_begin):
        gone = {n for n in touched & set(self.serving) if self.on_disk[n] is None}
        self._left(gone)
        in_use = {"shared"} if self.helper is not None else set()
        known = (set(self.serving) & set(NAMES)) | in_use
        changed = {
            unit
            for unit in (touched | self.refused) & known
            if self.on_disk[unit][0] != self._number(unit)
        }
        if changed:
            applied = set()
            groups = [[n] for n in sorted(changed)]
            if "shared" in changed:
                groups = [sorted(set(self.serving) & set(NAMES))]
            for names in groups:
                with_helper = "shared" in changed
                if not self._fails(names, with_helper):
                    self._swapped(names, with_helper)
                    applied |= {*names, *(["shared"] if with_helper else ())}
            self.refused = changed - applied
        if is_begin or touched - known - gone:
            self._load_new(touched)

    def _number(self, unit):
        return self.helper if unit == "shared" else self.serving[unit][0]

    def _load_new(self, touched):
        """Load whatever lies there and is not loaded, in the order of the names."""
        for name in NAMES:
            if name in self.serving or self.on_disk[name] is None:
                continue
            if name in self.released - touched:
                continue
            helper_fails = self.helper is None and self.on_disk["shared"][1]
            fault = self.on_disk[name][1]
            if helper_fails or fault in AT_IMPORT:
                continue
            handler = self.host.photons[name]
            self.seen.add(name)
            self.released.discard(name)
            if fault in ("start", "hook"):
                # It is loaded, and could not be started: known by name, not serving.
                assert handler.state is State.FAILED
                asyncio.run(self.host.unload_photon(handler))
                self.released.add(name)
                continue
            self.watched.add(name)
            self._loaded(name)

    def _loaded(self, name):
        self.host.photons[name].context.data["n"] = self.saved
        if self.helper is None:
            self.helper = self.on_disk["shared"][0]
        self.serving[name] = (self.on_disk[name][0], self.helper)
        self.order.append(name)
        self.past.pop(name, None)

    def _left(self, names):
        """Note that the photons *names* have been unloaded."""
        for name in list(names):
            self._end_probation({name})
            self.serving.pop(name, None)
            self.past.pop(name, None)
            if name in self.order:
                self.order.remove(name)
            self.watched.discard(name)
        if not set(self.serving) & set(NAMES):
            self.helper = None
        # What kept the helper for a return keeps it no more.

    # What the host does.

    def _fails(self, names, with_helper):
        """Whether staging and starting *names* from the disk fails."""
        if with_helper and self.on_disk["shared"][1]:
            return True
        return any(self.on_disk[n] is None or self.on_disk[n][1] for n in names)

    def _swapped(self, names, with_helper):
        before = {name: self.serving[name] for name in names}
        units = {*names, *(["shared"] if with_helper else ())}
        self._end_probation(units)
        if self.has_probation:
            self.provisional.append((units, before, self.helper))
        self.past.update(before)
        if with_helper:
            self.helper = self.on_disk["shared"][0]
        for name in names:
            self.serving[name] = (self.on_disk[name][0], self.helper)

    def _end_probation(self, units):
        self.provisional = [p for p in self.provisional if not p[0] & units]

    @rule(name=st.sampled_from(NAMES))
    def load(self, name):
        if name in self.serving or self.is_watching:
            return
        path = self.root / f"{name}.py"
        if self.on_disk[name] is None:
            with pytest.raises(FileNotFoundError):
                asyncio.run(self.host.load_photon(path))
            return
        # A helper that serves is not read again for one more user.
        helper_fails = self.helper is None and self.on_disk["shared"][1]
        fault = self.on_disk[name][1]
        if helper_fails or fault in AT_IMPORT:
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
        self._loaded(name)

    @precondition(lambda self: set(self.serving) & set(NAMES))
    @rule(data=st.data(), is_calling=st.booleans())
    def reload(self, data, is_calling):
        loaded = sorted(set(self.serving) & set(NAMES))
        name = data.draw(st.sampled_from(loaded))
        with_helper = self.helper != self.on_disk["shared"][0]
        names = loaded if with_helper else [name]

        async def order():
            await self.host.reload_photon(name)

        def go():
            asyncio.run(order())
            return self.host.hook.who()

        before, old = self._identities(), self._expected()
        fails = self._fails(names, with_helper)
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
            assert self._identities() == before
        else:
            assert not fails
            self._swapped(names, with_helper)

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
        numbers = {n: (h, i, s) for n, (h, i, s, *_) in before.items()}
        moved = {
            n
            for n, (h, i, s, *_) in self._identities().items()
            if numbers[n] != (h, i, s)
        }
        past = {n: self.serving[n] for n in moved}
        helper = self.helper
        for answer in self.host.hook.who():
            self.serving[answer[0]] = answer[1:3]
        assert self.serving[name][0] == self.past[name][0]
        loaded = set(self.serving) & set(NAMES)
        if name in NAMES:
            self.helper = self.serving[name][1]
        units = moved | (
            {"shared"} if self.helper != helper or moved == loaded else set()
        )
        self._end_probation(units)
        if self.has_probation:
            self.provisional.append((units, past, helper))
        self.past.clear()

    @precondition(lambda self: self.provisional)
    @rule(data=st.data())
    def fail_on_probation(self, data):
        """A photon of a provisional swap turns sick: all of that swap comes back."""
        units, before, helper = data.draw(st.sampled_from(self.provisional))
        name = data.draw(st.sampled_from(sorted(before)))
        number = self.serving[name][0]
        if number == before[name][0]:
            return  # the same text, which would be as sick
        returns = len(self._rolled_back(name))
        self.ledger.sick.add((name, number))
        wait_until(lambda: len(self._rolled_back(name)) > returns)
        self.ledger.sick.clear()  # the same text may be tried again
        self.provisional.remove((units, before, helper))
        self.serving.update(before)
        if "shared" in units:
            self.helper = helper
        wait_until(lambda: self._answers() == self._expected())
        asyncio.run(self._taken())
        self.past.clear()

    def _rolled_back(self, name):
        return [
            event
            for event in self.host.events.journal
            if event.kind is EventKind.ROLLED_BACK
            and event.photon == name
            and event.problem is not None
        ]

    async def _taken(self):
        """Wait until whoever has the host's turn is done."""
        async with self.host._lock:
            pass

    @precondition(lambda self: self.serving)
    @rule(data=st.data(), force=st.booleans())
    def unload(self, data, force):
        name = data.draw(st.sampled_from(sorted(self.serving)))
        self._note_forced([name] if force else ())
        asyncio.run(self.host.unload_photon(name, force_stop=force))
        self._left({name})
        if self.is_watching and name in self.seen:
            self.released.add(name)

    def _note_forced(self, names):
        self.forced |= {self.host.photons[n].instance.key for n in names}

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

    # The distribution.

    @rule(fault=st.one_of(st.none(), st.none(), st.sampled_from(sorted(FAULTS))))
    def install(self, fault):
        self.saved += 1
        self.site.install(self.saved, fault)
        self.installed = (self.saved, fault)

    @precondition(lambda self: isinstance(self.installed, tuple))
    @rule(way=st.sampled_from(["tear", "uninstall"]))
    def break_installation(self, way):
        self.installed = "torn" if way == "tear" else None
        getattr(self.site, way)()

    @precondition(lambda self: isinstance(self.installed, tuple))
    @rule()
    def load_installed(self):
        if "shipped" in self.serving:
            return
        number, fault = self.installed
        report = asyncio.run(self.host.load(discover(group=GROUP)))
        assert len(report.loaded) == (fault not in AT_IMPORT)
        if fault in AT_IMPORT:
            return
        handler = self.host.photons["shipped"]
        if fault in ("start", "hook"):
            with pytest.raises(LuminalError):
                asyncio.run(handler.start())
            asyncio.run(self.host.unload_photon(handler))
            return
        asyncio.run(handler.start())
        handler.context.data["n"] = self.saved
        self.serving["shipped"] = (number, number)
        self.order.append("shipped")
        self.past.pop("shipped", None)

    @precondition(lambda self: "shipped" in self.serving)
    @rule()
    def upgrade(self):
        before = self._identities()
        installed = self.installed
        fails = not isinstance(installed, tuple) or bool(installed[1])
        try:
            asyncio.run(self.host.reload_photon("shipped"))
        except LuminalError:
            assert fails
            assert self._identities() == before
        else:
            assert not fails
            self._end_probation({"shipped"})
            past = {"shipped": self.serving["shipped"]}
            if self.has_probation:
                self.provisional.append(({"shipped"}, past, self.helper))
            self.past.update(past)
            number = installed[0]
            self.serving["shipped"] = (number, number)
            version = self.host.photons["shipped"].candidate.version
            assert version == str(number)

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
        helpers = {h for name, (_, h) in self.serving.items() if name in NAMES}
        assert helpers <= {self.helper}

    @invariant()
    def lives_begin_and_end_once(self):
        for each in (self.ledger.started, self.ledger.finalized):
            assert not [key for key, count in Counter(each).items() if count > 1]
        handlers = self.host.photons.values()
        living = {h.instance.key for h in handlers}
        assert living <= set(self.ledger.started)
        assert not living & set(self.ledger.finalized)
        assert {h.state for h in handlers} <= {State.RUNNING}

    @invariant()
    def at_most_two_generations_run(self):
        ended = set(self.ledger.finalized) | self.forced
        running = Counter(k[0] for k in set(self.ledger.started) - ended)
        assert not [name for name, count in running.items() if count > 2]

    @invariant()
    def data_is_handed_over(self):
        for handler in self.host.photons.values():
            assert handler.context.data["n"] <= self.saved

    @invariant()
    def callers_see_whole_generations(self):
        assert not self.caller.wrong

    def teardown(self):
        try:
            if hasattr(self, "host"):
                self._close()
        finally:
            sys.path.remove(str(self.top / "site"))
            shutil.rmtree(self.top)
            sys.modules.pop("luminal_test_ledger", None)

    def _close(self):
        asyncio.run(self.host.close())
        self.caller.is_over.set()
        self.caller.join()
        assert not self.caller.wrong
        assert self.host.hook.who() == []
        assert self.host.photons == {}
        assert len(self.host.plugins.get_plugins()) == self.plugins
        # Each life that began has ended, by `finalize` or by force.
        assert set(self.ledger.started) <= set(self.ledger.finalized) | self.forced
        del self.host
        self.base.check()


Machine.TestCase.settings = settings(
    max_examples=20,
    stateful_step_count=30,
    suppress_health_check=list(HealthCheck),
)
TestModel = pytest.mark.slow(Machine.TestCase)
