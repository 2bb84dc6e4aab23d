"""Scanners that fail, for tests: they are called in the child process."""

from __future__ import annotations

import os
import signal
import threading


def of_word(path: str) -> object:
    """Do what the text of the file asks for."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    if "crash" in text:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "hang" in text:
        threading.Event().wait()
    if "leave" in text:
        os._exit(3)
    if "fail" in text:
        raise RuntimeError("no score")
    os.write(1, b"noise")
    return 0.1, [("R1", "low", 1, "a word")]
