"""Threads that gevent has replaced by greenlets end with their photon."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

from tests.waiting import DEADLINE

PHOTON = """
import _thread, threading, time
from concurrent.futures import ThreadPoolExecutor
from luminal import IPhoton

beats = dict.fromkeys(["thread", "raw", "pool", "context", "timer"], 0)

def beat(name):
    while True:
        beats[name] += 1
        time.sleep(0.001)

class P(IPhoton):
    photon_name = "p"
    def start(self):
        threading.Thread(target=beat, args=("thread",), daemon=True).start()
        threading.Timer(0, beat, ("timer",)).start()
        _thread.start_new_thread(beat, ("raw",))
        self.pool = ThreadPoolExecutor(1)
        self.pool.submit(beat, "pool")
        self.context.thread(beat, "context")
"""
HOST = """
import gevent.monkey; gevent.monkey.patch_all()
import json, sys, threading, time
from luminal.blocking import Loader

own = [0]
def of_the_host():
    while True:
        own[0] += 1
        time.sleep(0.001)
threading.Thread(target=of_the_host, daemon=True).start()
with Loader(cache=False) as loader:
    loader.load_photon(sys.argv[1])
    loader.start()
    handler = loader.photons["p"]
    beats = sys.modules[handler.factory.__module__].beats
    while not all(beats.values()):
        time.sleep(0.001)
    loader.unload_photon("p")
    before, at = dict(beats), own[0]
    while own[0] < at + 20:
        time.sleep(0.001)
    print(json.dumps([before == beats, [str(one) for one in handler.leftovers]]))
"""


def test_threads_of_a_photon_end_and_those_of_the_host_do_not(tmp_path):
    pytest.importorskip("gevent")
    path = tmp_path / "p.py"
    path.write_text(textwrap.dedent(PHOTON))
    done = subprocess.run(
        [sys.executable, "-c", HOST, str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )
    assert done.stdout, done.stderr
    assert json.loads(done.stdout) == [True, []]
    assert "Traceback" not in done.stderr
