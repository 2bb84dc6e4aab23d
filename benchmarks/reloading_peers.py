"""The peers of `benchmarks.reloading`."""

from __future__ import annotations

import gc
import importlib
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Clock:
    """Measures the time of several pieces of work.

    Args:
        is_cold: Whether a full garbage collection precedes each piece, and none runs
            within: it evicts the processor's caches. Otherwise the collector runs as in
            any program.
    """

    def __init__(self, *, is_cold: bool) -> None:
        self.is_cold = is_cold
        self.times: list[float] = []

    def __enter__(self) -> None:
        if self.is_cold:
            gc.collect()
            gc.disable()
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.times.append(time.perf_counter() - self._began)
        gc.enable()


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="reloading_") as path:
        yield Path(path)


def with_importlib(text: Callable[[int], str], count: int, clock: Clock) -> None:
    with folder() as root:
        file = root / "reloading_peer.py"
        file.write_text(text(0))
        sys.path.insert(0, str(root))
        was, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        try:
            module = importlib.import_module("reloading_peer")
            for number in range(1, count + 1):
                file.write_text(text(number))
                with clock:
                    importlib.reload(module)
        finally:
            sys.dont_write_bytecode = was
            sys.path.remove(str(root))
            del sys.modules["reloading_peer"]


def with_jurigged(text: Callable[[int], str], count: int, clock: Clock) -> None:
    from jurigged.register import Registry

    with folder() as root:
        file = root / "reloading_jurigged.py"
        file.write_text(text(0))
        sys.path.insert(0, str(root))
        try:
            importlib.import_module("reloading_jurigged")
            registry = Registry()
            registry.prepare("reloading_jurigged", str(file))
            code = registry.get(str(file))
            for number in range(1, count + 1):
                file.write_text(text(number))
                with clock:
                    code.refresh()
        finally:
            sys.path.remove(str(root))
            del sys.modules["reloading_jurigged"]


def with_hmr(text: Callable[[int], str], count: int, clock: Clock) -> None:
    from reactivity.hmr.core import ReactiveModule, patch_meta_path

    with folder() as root:
        file = root / "reloading_hmr.py"
        file.write_text(text(0))
        sys.path.insert(0, str(root))
        patch_meta_path([str(root)])
        try:
            module = importlib.import_module("reloading_hmr")
            assert isinstance(module, ReactiveModule)
            load = vars(ReactiveModule)["_ReactiveModule__load"].__get__(
                module, ReactiveModule
            )
            for number in range(1, count + 1):
                file.write_text(text(number))
                with clock:
                    load.invalidate()
                    load()
        finally:
            sys.path.remove(str(root))
            sys.modules.pop("reloading_hmr", None)


PEERS = {
    "importlib.reload": ("importlib", with_importlib),
    "hmr": ("reactivity", with_hmr),
    "jurigged": ("jurigged", with_jurigged),
}
