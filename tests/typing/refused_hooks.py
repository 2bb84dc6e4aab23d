"""A program in which every line that is marked must not type-check."""

from __future__ import annotations

import attrs

import luminal
from luminal.hooks import PluginManager
from luminal.interfaces import hookimpl, hookspec
from luminal.testing import Host


class Specs:
    @hookspec
    def parse(self, line: str, number: int) -> dict[str, str]: ...  # type: ignore[empty-body]

    @hookspec(firstresult=True)
    def choose(self, names: list[str]) -> str: ...  # type: ignore[empty-body]

    @hookspec
    async def fetch(self, url: str) -> bytes: ...  # type: ignore[empty-body]


@hookspec(firstresult=True, historic=True)  # refused
def both() -> None: ...


class Photon:
    @hookimpl(spec=Specs.parse)  # refused
    def misnamed(self, row: str, number: int) -> dict[str, str]:
        return {}

    @hookimpl(spec=Specs.parse)  # refused
    def mistyped(self, line: bytes, number: int) -> dict[str, str]:
        return {}

    @hookimpl(spec=Specs.choose)  # refused
    def misanswered(self, names: list[str]) -> int:
        return 1

    @hookimpl(trifirst=True)  # refused
    def misspelt(self) -> None: ...


async def use(manager: PluginManager) -> object:
    hooks = manager.hooks(Specs)
    hooks.parse(line=1, number=1)  # refused
    hooks.parse(line="a")  # refused
    hooks.misspelt()  # refused
    one: dict[str, str] = hooks.parse(line="a", number=1)  # refused
    chosen: str = hooks.choose(names=[])  # refused
    pages: list[bytes] = hooks.fetch(url="x")  # refused
    return one, chosen, pages


@attrs.frozen
class Settings:
    city: str


def sleep(seconds: float) -> None: ...


class Weather(luminal.IPhoton[Settings]):
    def start(self) -> None:
        town: str = self.context.settings.town  # refused
        self.context.thread(sleep, "1")  # refused
        self.context.executor().sumbit(sleep, 1)  # refused
        self.context.spawn(sleep)  # refused
        del town


async def use_loader(loader: luminal.Loader) -> None:
    loader.hooks(Specs).parse(line=1, number=1)  # refused


def use_host(host: Host) -> None:
    host.hooks(Specs).parse(line=1, number=1)  # refused
