"""A halt on CPython 3.11 traces its thread, and the interpreter survives that."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys, threading
from luminal.supervise import _halting, _interruption

class Halt(_halting.Halt):
    def may_raise(self):
        return False

halt = Halt("main", threading.get_ident(), lambda: True)
error_type = _interruption.exit_error(halt)

def look(frame):
    frame.f_locals

def work():
    me = sys._getframe(0)
    for n in range(1000):
        error = error_type()
        look(me); error = None
        n = 3

work()
"""


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="nothing is traced there")
def test_an_exception_that_dies_between_two_lines_frees_no_trace_function():
    """Its finalizer runs while the interpreter is about to call that of the frame."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


PLAIN = """
import threading
from luminal.supervise import halt_thread

begun = threading.Event()

def swallow():
    begun.set()
    while True:
        try:
            while True:
                pass
        except Exception:
            pass

thread = threading.Thread(target=swallow, daemon=True)
thread.start()
begun.wait()
halt_thread(thread)
thread.join(60)
print(thread.is_alive())
"""


def test_a_plain_thread_ends_without_a_traceback():
    """Python prints none for SystemExit; nor for what stands for it on 3.11."""
    done = subprocess.run(
        [sys.executable, "-c", PLAIN], check=False, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("False\n", "")
