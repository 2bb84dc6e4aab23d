"""A discord.py bot whose cog is saved 20 times, 4 of them broken, while a user writes.

Counts the commands that the bot did not know, and whether the cog's counter was kept:
with ``bot.reload_extension``, and with ``luminal.contrib.discord``. The bot is a real
one that has no network.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys
import tempfile
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import luminal
from benchmarks.measure import banner

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it imports `audioop`
    import discord
    from discord.ext import commands

SAVES = {"small": 20, "full": 200}
OPENING = 0.005
"""Seconds that ``cog_load`` takes, to open a database for example."""
PAUSE = 0.001
"""Seconds between two messages."""

COG = f"""
import asyncio
from discord.ext import commands

class Greeter(BASES):
    def __init__(self, bot=None):
        self.kept = {{}}

    def start(self):
        self.kept = self.context.shared

    async def cog_load(self):
        await asyncio.sleep({OPENING})

    @commands.command()
    async def hello(self, ctx):
        self.kept["count"] = self.kept.get("count", 0) + 1
        await ctx.send(f"NUMBER {{self.kept['count']}}")
"""
EXTENSION = COG.replace("BASES", "commands.Cog") + (
    "\nasync def setup(bot):\n    await bot.add_cog(Greeter(bot))\n"
)
PHOTON = "import luminal\n" + COG.replace("BASES", "luminal.IPhoton, commands.Cog")
BROKEN = "import nothing_of_this_name\n"


class Context(commands.Context):  # type: ignore[type-arg]
    """Keeps what a command sends."""

    async def send(self, content: str) -> None:  # type: ignore[override]
        """Answer the message."""
        self.message.answers.append(content)  # type: ignore[attr-defined]


class Bot(commands.Bot):
    """A bot that gets its messages from `say`."""

    def __init__(self) -> None:
        super().__init__("!", intents=discord.Intents.none(), help_command=None)
        self.errors: list[Exception] = []
        self._connection.user = SimpleNamespace(id=1)  # type: ignore[assignment]

    async def get_context(self, origin: Any, *, cls: Any = Context) -> Any:
        """Return a context that sends nothing."""
        return await super().get_context(origin, cls=Context)

    async def on_command_error(self, context: Any, error: Exception) -> None:
        """Keep what went wrong."""
        self.errors.append(error)

    async def say(self, content: str) -> list[str]:
        """Let the bot handle a message, and return its answers."""
        message: Any = SimpleNamespace(
            content=content,
            author=SimpleNamespace(id=2, bot=False),
            guild=None,
            attachments=[],
            channel=SimpleNamespace(guild=None),
            created_at=discord.utils.utcnow(),
            edited_at=None,
            _state=None,
            answers=[],
        )
        for listener in self.extra_events.get("on_message", []):
            await listener(message)
        await self.process_commands(message)
        answers: list[str] = message.answers
        return answers


async def use(bot: Bot, answers: list[str]) -> None:
    """Write to the bot until cancelled."""
    while True:
        answers += await bot.say("!hello")
        await asyncio.sleep(PAUSE)


def save(path: Path, text: str, number: int) -> None:
    """Write *text* with *number*, and a length of its own: `.pyc` files go by that."""
    saved = text.replace("NUMBER", f"{number}") + f"# {'.' * number}\n"
    path.write_text(saved, encoding="utf-8")


async def run(saves: int, *, is_photon: bool) -> tuple[int, int, bool]:
    """Return the numbers of messages and of unknown commands; whether all counted."""
    from luminal.contrib.discord import Cogs

    answers: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        path, text = Path(name, "greeter.py"), PHOTON if is_photon else EXTENSION
        save(path, text, 0)
        sys.path.insert(0, name)
        loader = luminal.Loader()
        async with Bot() as bot, loader:
            if is_photon:
                Cogs(bot, loader)
                await (await loader.load_photon(path)).start()
            else:
                await bot.load_extension("greeter")
            user = asyncio.create_task(use(bot, answers))
            for number in range(1, saves + 1):
                is_broken = number % 5 == 0
                save(path, BROKEN if is_broken else text, number)
                if is_photon:
                    with contextlib.suppress(luminal.LuminalError):
                        await loader.reload_photon("Greeter")
                else:
                    with contextlib.suppress(commands.ExtensionError):
                        await bot.reload_extension("greeter")
                for _ in range(5):  # the new code is used
                    await asyncio.sleep(PAUSE)
            user.cancel()
            await asyncio.gather(user, return_exceptions=True)
            if not is_photon:
                await bot.unload_extension("greeter")
        sys.path.remove(name)
    lost = sum(isinstance(e, commands.CommandNotFound) for e in bot.errors)
    counts = [int(answer.split()[1]) for answer in answers]
    return len(answers) + lost, lost, counts == [*range(1, len(counts) + 1)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.bots", description=__doc__)
    parser.add_argument("--size", choices=("small", "full"), default="small")
    saves = SAVES[parser.parse_args().size]
    logging.disable()
    banner(f"A discord.py bot: {saves} saves of a cog, every fifth broken")
    print("| | messages | unknown commands | counter kept |\n|---|---|---|---|")
    for name, is_photon in (("reload_extension", False), ("photon", True)):
        messages, lost, is_kept = asyncio.run(run(saves, is_photon=is_photon))
        print(f"| {name} | {messages} | {lost} | {'yes' if is_kept else 'no'} |")
        if is_photon and (lost or not is_kept):
            raise AssertionError("photons have lost something")


if __name__ == "__main__":
    main()
