"""A program that type-checks: what hooks answer is known without a cast."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Awaitable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import assert_type

import attrs

import luminal
from luminal.hooks import PluginManager
from luminal.interfaces import hookimpl, hookspec
from luminal.testing import AsyncHost, Host


class Specs:
    @hookspec
    def parse(self, line: str, number: int) -> dict[str, str]: ...  # type: ignore[empty-body]

    @hookspec(firstresult=True)
    def choose(self, names: list[str]) -> str: ...  # type: ignore[empty-body]

    @hookspec
    async def fetch(self, url: str) -> bytes: ...  # type: ignore[empty-body]

    @hookspec(firstresult=True)
    async def resolve(self, name: str) -> int: ...  # type: ignore[empty-body]

    @hookspec(isolate=True)
    def finish(self) -> None: ...


class Photon:
    @hookimpl(spec=Specs.parse)
    def read(self, line: str, number: int) -> dict[str, str]:
        return {line: str(number)}

    @hookimpl(spec=Specs.choose, tryfirst=True)
    def choose(self, names: list[str]) -> str | None:
        return names[0] if names else None

    @hookimpl(spec=Specs.fetch, deadline=2.0)
    async def fetch(self, url: str) -> bytes:
        return url.encode()

    @hookimpl(before="other")
    def finish(self) -> None: ...


async def use(manager: PluginManager) -> object:
    hooks = manager.hooks(Specs)
    rows: list[dict[str, str]] = hooks.parse(line="a", number=1)
    chosen: str | None = hooks.choose(names=["a"])
    pages: list[bytes] = await hooks.fetch(url="x")
    found: int | None = await hooks.resolve(name="x")
    hooks.finish()
    return rows, chosen, pages, found


async def use_loader(loader: luminal.Loader) -> None:
    hooks = loader.hooks(Specs)
    assert_type(hooks.parse(line="a", number=1), list[dict[str, str]])
    assert_type(await hooks.resolve(name="x"), int | None)


async def use_hosts(host: Host, awaited: AsyncHost) -> None:
    assert_type(host.hooks(Specs).choose(names=[]), str | None)
    assert_type(await awaited.hooks(Specs).fetch(url="x"), list[bytes])


@attrs.frozen
class Settings:
    city: str


async def work() -> int:
    return 1


def sleep(seconds: float, *, often: bool = False) -> None: ...


class Weather(luminal.IPhoton[Settings]):
    photon_settings = Settings

    def open(
        self,
        plain: AbstractContextManager[str],
        waiting: AbstractAsyncContextManager[bytes],
    ) -> None:
        context = self.context
        assert_type(context.settings, Settings)
        assert_type(context.settings.city, str)
        assert_type(context.spawn(work()), asyncio.Task[int] | Future[int])
        thread: threading.Thread = context.thread(sleep, 1.0, often=True)
        child: subprocess.Popen[bytes] = context.process(["true"])
        assert_type(context.executor(), ThreadPoolExecutor)
        assert_type(context.enter(plain), str)
        assert_type(context.enter(waiting), Awaitable[bytes])
        del thread, child


class Anything(luminal.IPhoton):
    def start(self) -> None:
        self.context.settings["any"]
