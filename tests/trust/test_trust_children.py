"""What a process that a judged photon starts may execute of photons."""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

import pytest

import luminal
from luminal.managers import accept_units, find_units
from luminal.trust import open_judge
from tests.waiting import DEADLINE

pytestmark = pytest.mark.anyio

PACK = """
from luminal import IPhoton
class Pack(IPhoton):
    photon_name = "pack"

def own():
    from . import deep
    return deep.VALUE

def look_for_planted():
    from . import planted
    return planted.VALUE

def look_for_helper():
    import helper
    return helper.VALUE
"""


@pytest.fixture
def pool():
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        yield pool


async def test_a_child_executes_nothing_that_the_lock_does_not_list(tmp_path, pool):
    plugins, lock = tmp_path / "plugins", tmp_path / "luminal.lock"
    pack = plugins / "pack"
    pack.mkdir(parents=True)
    (pack / "__init__.py").write_text(PACK)
    (pack / "deep.py").write_text("VALUE = 'accepted'\n")
    lock.write_text('version = 1\nmode = "frozen"\n')
    judge = open_judge(lock)
    found = luminal.discover(plugins, group=None, index=False)
    accept_units(judge, [each.unit for each in find_units(judge, found)])
    async with luminal.Loader(lock=lock) as loader:
        await loader.load(found)
        await loader.start()
        module = sys.modules[type(loader.photons["pack"].instance).__module__]
        for path in (plugins / "helper.py", pack / "planted.py", pack / "deep.py"):
            path.write_text("VALUE = 'evil'\n")
        assert pool.submit(module.own).result(DEADLINE) == "accepted"
        for function in (module.look_for_planted, module.look_for_helper):
            for call in (function, lambda f=function: pool.submit(f).result(DEADLINE)):
                with pytest.raises((luminal.LuminalError, ImportError)):
                    call()
