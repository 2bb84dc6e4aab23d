"""Cogs that are photons, in a real bot of discord.py without a network."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

import luminal
from luminal.errors import LuminalError
from luminal.model import EventKind
from tests.waiting import DEADLINE, async_wait_until

pytest.importorskip("discord")

from benchmarks.bots import Bot
from luminal.contrib.discord import Cogs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


COG = """
import asyncio
import luminal
from discord import app_commands
from discord.ext import commands

class Greeter(luminal.IPhoton, commands.Cog):
    photon_name = "greeter"

    async def cog_load(self):
        {load}
        self.context.host.log.append("load {number}")

    async def cog_unload(self):
        self.context.host.log.append("unload {number}")

    def finalize(self):
        self.context.host.log.append("finalize {number}")

    @commands.command(aliases=["hi"])
    async def hello(self, ctx, name="you"):
        kept = self.context.shared
        kept["count"] = kept.get("count", 0) + 1
        await ctx.send(f"{number} {{kept['count']}} {{name}}")

    @commands.hybrid_command()
    async def slow(self, ctx):
        ctx.bot.inside.set()
        await ctx.bot.leave.wait()
        await ctx.send("slow {number}")

    @commands.group(invoke_without_command=True)
    async def outer(self, ctx):
        await ctx.send("outer {number}")

    @outer.command()
    async def inner(self, ctx):
        await ctx.send("inner {number}")

    @app_commands.command()
    async def roll(self, interaction):
        return {number}

    @commands.Cog.listener()
    async def on_message(self, message):
        if message.content == "hear":
            message.answers.append("heard {number}")
"""


def write(folder: Path, number: int, load: str = "pass", more: str = "") -> Path:
    path = folder / "greeter.py"
    path.write_text(COG.format(number=number, load=load) + textwrap.dedent(more))
    return path


@pytest.fixture
async def bot() -> AsyncIterator[Bot]:
    async with Bot() as bot:
        bot.log, bot.inside, bot.leave = [], asyncio.Event(), asyncio.Event()
        bot.loader = luminal.Loader(host=bot)
        bot.kinds = []
        bot.loader.events.subscribe(lambda event: bot.kinds.append(event.kind))
        Cogs(bot, bot.loader)
        async with bot.loader:
            yield bot


async def roll(bot: Bot) -> object:
    command = bot.tree.get_command("roll")
    return await command.callback(command.binding, None)


async def test_everything_of_a_cog_is_swapped(bot: Bot, tmp_path: Path) -> None:
    write(tmp_path, 1)
    await (await bot.loader.load_photons(tmp_path)).start()
    assert await bot.say("!hello Ada") == ["1 1 Ada"]
    assert bot.get_cog("Greeter") is bot.loader.photons["greeter"].instance
    write(tmp_path, 2)
    await bot.loader.reload_photon("greeter")
    assert await bot.say("!hi") == ["2 2 you"]  # the state is kept
    assert await bot.say("!outer inner") == ["inner 2"]
    assert await bot.say("!outer") == ["outer 2"]
    assert await bot.say("hear") == ["heard 2"]
    assert await roll(bot) == 2
    assert bot.tree.get_command("slow").binding is bot.get_cog("Greeter")
    await async_wait_until(lambda: "finalize 1" in bot.log)
    assert bot.log == ["load 1", "load 2", "unload 1", "finalize 1"]
    await bot.loader.unload_photon("greeter")
    assert (await bot.say("hear"), bot.commands, bot.cogs) == ([], set(), {})
    assert bot.tree.get_commands() == []
    assert bot.log[4:] == ["unload 2", "finalize 2"]

    def is_retired() -> bool:  # no reference is left
        gc.collect()
        return EventKind.RETIRED in bot.kinds

    await async_wait_until(is_retired)


@pytest.mark.parametrize(
    ("load", "more", "match"),
    [
        ("raise OSError('no database')", "", "no database"),
        ("pass", "def broken(:", "greeter.py"),
        (
            "pass",
            """
            class Other(luminal.IPhoton, commands.Cog):
                photon_name = "other"
                @commands.command(aliases=["hi"])
                async def another(self, ctx): pass
            """,
            "command 'hi'.*photon 'greeter'",
        ),
        (
            "pass",
            """
            class Other(luminal.IPhoton, commands.Cog):
                photon_name = "other"
                @commands.command()
                async def hosts(self, ctx): pass
            """,
            "command 'hosts'.*the bot itself",
        ),
        (
            "pass",
            """
            class Other(luminal.IPhoton, commands.Cog):
                photon_name = "other"
                @app_commands.command(name="roll")
                async def another(self, interaction): pass
            """,
            "slash command 'roll'.*photon 'greeter'",
        ),
    ],
)
async def test_what_is_rejected_leaves_the_old_cog(
    bot: Bot, tmp_path: Path, load: str, more: str, match: str
) -> None:
    @bot.command()
    async def hosts(ctx: Any) -> None: ...

    write(tmp_path, 1)
    await (await bot.loader.load_photons(tmp_path)).start()
    write(tmp_path, 2, load, more)
    with pytest.raises(LuminalError, match=f"(?s){match}"):
        await bot.loader.reload_photon("greeter")
    assert await bot.say("!hello") == ["1 1 you"]
    assert await bot.say("hear") == ["heard 1"]
    assert await roll(bot) == 1
    assert "unload 1" not in bot.log
    write(tmp_path, 3)
    await bot.loader.reload_photon("greeter")
    assert await bot.say("!hello") == ["3 2 you"]


async def test_a_command_moves_to_another_cog_of_the_file(
    bot: Bot, tmp_path: Path
) -> None:
    cog = "class {0}(luminal.IPhoton, commands.Cog):\n    photon_name = '{0}'\n"
    command = "    @commands.command()\n    async def {0}(self, ctx): pass\n"
    first, second = cog.format("A"), cog.format("B")
    one, two = command.format("one"), command.format("two")
    head = "import luminal\nfrom discord.ext import commands\n"
    path = tmp_path / "both.py"
    path.write_text(head + first + one + second + two)
    await (await bot.loader.load_photons(tmp_path)).start()
    for text, expected in [
        (first + two + second + one, {"one": "B", "two": "A"}),
        (second + one + two, {"one": "B", "two": "B"}),
        (first + one, {"one": "A"}),
    ]:
        path.write_text(head + text)
        await bot.loader.reload_photon(path)
        assert {c.name: c.cog.qualified_name for c in bot.commands} == expected


async def test_a_command_under_way_ends_on_the_old_cog(
    bot: Bot, tmp_path: Path
) -> None:
    write(tmp_path, 1)
    await (await bot.loader.load_photons(tmp_path)).start()
    under_way = asyncio.create_task(bot.say("!slow"))
    await asyncio.wait_for(bot.inside.wait(), DEADLINE)
    write(tmp_path, 2)
    reload = asyncio.create_task(bot.loader.reload_photon("greeter"))
    await async_wait_until(lambda: EventKind.SWAPPED in bot.kinds)
    assert await bot.say("!hello") == ["2 1 you"]
    assert bot.log == ["load 1", "load 2"]
    bot.leave.set()
    assert await under_way == ["slow 1"]
    await reload
    await async_wait_until(lambda: bot.log[2:] == ["unload 1", "finalize 1"])


async def test_a_command_may_unload_its_own_cog(bot: Bot, tmp_path: Path) -> None:
    more = """
    class Admin(luminal.IPhoton, commands.Cog):
        @commands.command()
        async def leave(self, ctx):
            await self.context.host.loader.unload_photon("greeter")
            await ctx.send("gone")
    """
    write(tmp_path, 1, more=more)
    await (await bot.loader.load_photons(tmp_path)).start()
    assert await asyncio.wait_for(bot.say("!leave"), DEADLINE) == ["gone"]
    assert bot.commands == set()


async def test_no_command_is_unknown_while_a_watch_swaps(
    bot: Bot, tmp_path: Path
) -> None:
    """20 saves, 4 of them broken, under a user who never stops."""
    path = write(tmp_path, 0)
    await bot.loader.watch_photons(tmp_path)
    answers: list[str] = []

    async def use() -> None:
        while True:
            (answer,) = await bot.say("!hello")
            answers.append(answer)
            await asyncio.sleep(0)

    user = asyncio.create_task(use())
    for number in range(1, 21):
        if number % 5:
            write(tmp_path, number, load="await asyncio.sleep(0.005)")
            await async_wait_until(
                lambda number=number: answers and answers[-1].startswith(f"{number} ")
            )
        else:
            bot.kinds.clear()
            path.write_text("import nothing_of_this_name\n")
            await async_wait_until(lambda: EventKind.REJECTED in bot.kinds)
    user.cancel()
    await asyncio.gather(user, return_exceptions=True)
    assert bot.errors == []
    assert [int(a.split()[1]) for a in answers] == [*range(1, len(answers) + 1)]


def test_without_discord_py_the_extra_is_named() -> None:
    code = "import sys; sys.modules['discord'] = None; import luminal.contrib.discord"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        text=True,
        timeout=DEADLINE,
    )
    assert "pip install 'luminal-photons[discord]'" in done.stderr
