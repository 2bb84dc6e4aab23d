"""The reloaders that `benchmarks.reloading` is measured beside."""

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


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="reloading_") as path:
        yield Path(path)


def with_importlib(text: Callable[[int], str], count: int) -> list[float]:
    times = []
    with folder() as root:
        file = root / "reloading_peer.py"
        file.write_text(text(0))
        sys.path.insert(0, str(root))
        was, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        try:
            module = importlib.import_module("reloading_peer")
            for number in range(1, count + 1):
                file.write_text(text(number))
                gc.collect()
                gc.disable()
                began = time.perf_counter()
                importlib.reload(module)
                times.append(time.perf_counter() - began)
                gc.enable()
        finally:
            sys.dont_write_bytecode = was
            sys.path.remove(str(root))
            del sys.modules["reloading_peer"]
    return times


def with_jurigged(text: Callable[[int], str], count: int) -> list[float]:
    from jurigged.register import Registry

    times = []
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
                gc.collect()
                gc.disable()
                began = time.perf_counter()
                code.refresh()
                times.append(time.perf_counter() - began)
                gc.enable()
        finally:
            sys.path.remove(str(root))
            del sys.modules["reloading_jurigged"]
    return times


def with_hmr(text: Callable[[int], str], count: int) -> list[float]:
    from reactivity.hmr.core import ReactiveModule, patch_meta_path

    times = []
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
                gc.collect()
                gc.disable()
                began = time.perf_counter()
                load.invalidate()
                load()
                times.append(time.perf_counter() - began)
                gc.enable()
        finally:
            sys.path.remove(str(root))
            sys.modules.pop("reloading_hmr", None)
    return times


PEERS = {
    "importlib.reload": ("importlib", with_importlib),
    "hmr": ("reactivity", with_hmr),
    "jurigged": ("jurigged", with_jurigged),
}
