"""Two Loaders of one process, and one distribution."""

from __future__ import annotations

import asyncio
import sys
import threading
from types import SimpleNamespace

import pytest

from luminal import Loader, discover
from luminal.errors import LuminalError
from tests.reload.model_files import GROUP, SHIPPED, Installed, Ledger
from tests.waiting import DEADLINE


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "luminal_test_ledger", Ledger())
    monkeypatch.syspath_prepend(tmp_path / "site")
    return Installed(tmp_path / "site")


def test_both_load_a_distribution_at_the_same_moment(site, monkeypatch):
    """The second one takes what the first one executes, and waits until it is whole.

    There is one module of a name for the host's own imports, and it is the first
    Loader's: the second one says so when it is asked to replace it.
    """
    gate = SimpleNamespace(begun=threading.Event(), go_on=threading.Event())
    monkeypatch.setitem(sys.modules, "luminal_test_gate", gate)
    site.install(
        1, None, "import luminal_test_gate as g; g.begun.set(); g.go_on.wait(60)"
    )
    found = discover(group=GROUP)
    first, second = Loader(), Loader()
    outcomes = []

    def load(loader):
        outcomes.append(asyncio.run(loader.load(found)))

    threads = [threading.Thread(target=load, args=(each,)) for each in (first, second)]
    threads[0].start()
    assert gate.begun.wait(DEADLINE)
    threads[1].start()
    threads[1].join(0.2)
    gate.go_on.set()
    for thread in threads:
        thread.join(DEADLINE)
    assert [len(report.loaded) for report in outcomes] == [1, 1]
    for loader in (first, second):
        report = asyncio.run(loader.start())
        assert len(report.loaded) == 1
    site.install(2, None)
    asyncio.run(first.reload_photon("shipped"))
    with pytest.raises(LuminalError, match="cannot be swapped in"):
        asyncio.run(second.reload_photon("shipped"))
    numbers = [
        loader.photons["shipped"].instance.who()[1] for loader in (first, second)
    ]
    assert numbers == [2, 1]
    for loader in (second, first):
        asyncio.run(loader.close())
    assert not [name for name in sys.modules if name.startswith(SHIPPED)]
