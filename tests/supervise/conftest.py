"""What the tests of supervised loops share."""

from __future__ import annotations

import logging
import threading

import pytest

from tests.waiting import wait_until


@pytest.fixture
def quiet(caplog):
    """No word in the log; at the end, no thread of a loop."""
    caplog.set_level(logging.CRITICAL + 1, "luminal.supervise")
    before = set(threading.enumerate())
    yield
    wait_until(lambda: not {t for t in threading.enumerate() if "_" in t.name} - before)
