"""Cogs of a discord.py bot as photons: a save swaps them, and no command is missing.

Needs the extra ``luminal-photons[discord]``. A photon is a class that derives from
`luminal.IPhoton` and from ``commands.Cog``. `Cogs` puts running photons into the bot.
discord.py looks commands up on its event loop, and an exchange is one step of this
loop. So a message finds the old commands or the new ones.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import attrs

from luminal.errors import MissingExtraError, PhotonConflictError
from luminal.interfaces import hookimpl
from luminal.model import State

try:
    import discord
    from discord.ext import commands
    from discord.utils import maybe_coroutine
except ImportError as _error:
    raise MissingExtraError(
        "'luminal.contrib.discord' needs the libraries of the extra 'discord'",
        why=str(_error),
        hint="install them: pip install 'luminal-photons[discord]'",
    ) from _error

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator

    from luminal.lifecycle import Handler
    from luminal.managers import Loader

__all__ = ["Cogs"]

_logger = logging.getLogger("luminal.contrib.discord")

_around: ContextVar[frozenset[object]] = ContextVar("_around", default=frozenset())
"""The calls of cogs that the running code is part of."""


@attrs.define(eq=False)
class _Entry:
    """A cog that has been started.

    Attributes:
        photon: Name of the photon.
        file: Its file.
        cog: The instance.
        load: Its ``cog_load``.
        unload: Its ``cog_unload``.
        is_loaded: Whether ``cog_load`` has succeeded.
        is_over: Whether its life has ended.
        was_used: Whether it is in the bot, or has been.
        calls: The calls of it that are under way; used on the bot's loop alone.
        idle: Set while there are none.
    """

    photon: str
    file: str
    cog: commands.Cog
    load: Callable[[], Any]
    unload: Callable[[], Any]
    is_loaded: bool = False
    is_over: bool = False
    was_used: bool = False
    calls: set[object] = attrs.Factory(set)
    idle: asyncio.Event = attrs.Factory(asyncio.Event)


class Cogs:
    """Keeps the cogs of a bot and the running photons of a Loader the same.

    - A photon's cog comes into the bot when the photon has started, or is swapped.
    - ``cog_load`` is awaited on the bot's loop after ``start``, before the swap. If it
      raises, or a command has a name that is taken, the new code is rejected and the
      old cog stays.
    - ``cog_unload`` is awaited on the bot's loop before ``finalize``, when the calls of
      commands and listeners that are under way have ended.

    Args:
        bot: The bot. Use its ``setup_hook`` to make this, as it has to be on the loop
            that the bot runs on.
        loader: Whose photons are put into the bot. Those that are no cogs are left
            alone.

    Raises:
        RuntimeError: No event loop is running.
    """

    def __init__(self, bot: commands.Bot, loader: Loader) -> None:
        self._bot = bot
        self._loader = loader
        self._loop = asyncio.get_running_loop()
        self._entries: list[_Entry] = []
        self._in_bot: list[_Entry] = []
        loader.lifecycle.register(self, "luminal.contrib.discord")
        loader.events.subscribe(lambda _: self._renew())

    @hookimpl(wrapper=True)
    async def photon_start(self, handler: Handler) -> AsyncGenerator[None, Any]:
        """Prepare the cog when the photon has started."""
        yield
        cog = handler.instance
        if not isinstance(cog, commands.Cog):
            return
        load, unload = cog.cog_load, cog.cog_unload
        entry = _Entry(handler.name, handler.filepath, cog, load, unload)
        await self._on_loop(self._prepare(entry, handler))

    @hookimpl(wrapper=True)
    async def photon_finalize(self, handler: Handler) -> AsyncGenerator[None, Any]:
        """Wait for calls of the cog, and unload it, before the photon is finalized."""
        raised: Exception | None = None
        for entry in [e for e in self._entries if e.cog is handler.instance]:
            own, limit = _around.get(), handler.deadlines.drain
            try:
                await self._on_loop(self._end(entry, own, limit))
            except Exception as error:  # noqa: BLE001 - raised when it is finalized
                raised = error
        yield
        if raised is not None:
            raise raised

    async def _on_loop(self, work: Coroutine[Any, Any, None]) -> None:
        """Await *work* on the bot's loop."""
        if asyncio.get_running_loop() is self._loop:
            await work
        elif self._loop.is_running():
            done = asyncio.run_coroutine_threadsafe(work, self._loop)
            await asyncio.wrap_future(done)
        else:
            work.close()  # the bot has ended, and its calls with it

    async def _prepare(self, entry: _Entry, handler: Handler) -> None:
        self._check(entry)
        self._entries.append(entry)
        handler.context.on_close(functools.partial(self._forget, entry))
        for command in (*_commands_of(entry.cog), *entry.cog.walk_app_commands()):
            if hasattr(command, "_callback"):
                command._callback = _counted(command._callback, entry)  # noqa: SLF001
        for name in {method.__name__ for _, method in entry.cog.get_listeners()}:
            setattr(entry.cog, name, _counted(getattr(entry.cog, name), entry))
        await maybe_coroutine(entry.load)
        entry.is_loaded = True
        # From here on the bot only puts it into its tables, and takes it out.
        entry.cog.cog_load = entry.cog.cog_unload = _nothing  # type: ignore[method-assign]

    async def _end(self, entry: _Entry, own: frozenset[object], limit: float) -> None:
        """Wait for the calls of a cog that no message reaches any more; unload it."""
        self._exchange()
        try:
            async with asyncio.timeout(limit):
                while entry.calls - own:
                    entry.idle.clear()
                    await entry.idle.wait()
        except TimeoutError:
            _logger.warning(
                "photon %r is finalized though %d calls of its commands or listeners "
                "have not ended in %g seconds",
                *(entry.photon, len(entry.calls - own), limit),
            )
        if entry.is_loaded:
            entry.is_loaded = False
            await maybe_coroutine(entry.unload)

    def _forget(self, entry: _Entry) -> None:
        entry.is_over = True
        self._entries.remove(entry)

    def _renew(self) -> None:
        """Exchange on the bot's loop: at once, where this is its thread."""
        try:
            running: object = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            self._exchange()
        elif self._loop.is_running():
            self._loop.call_soon_threadsafe(self._exchange)

    def _exchange(self) -> None:
        """Put the cogs of running photons into the bot, and take the others out.

        Nothing in here waits, so no message is handled meanwhile.
        """
        lives = [h for h in self._loader.photons.values() if h.state is State.RUNNING]
        cogs = {id(handler.instance) for handler in lives}
        wanted = [e for e in self._entries if id(e.cog) in cogs and not e.is_over]
        for entry in [e for e in self._in_bot if e not in wanted]:
            self._in_bot.remove(entry)
            _finish(self._bot.remove_cog(entry.cog.qualified_name))
        for entry in [e for e in wanted if e not in self._in_bot]:
            entry.was_used = True
            _finish(self._bot.add_cog(entry.cog))
            self._in_bot.append(entry)

    def _check(self, entry: _Entry) -> None:
        """Refuse names that another photon or the bot itself has.

        Raises:
            PhotonConflictError: Names the command and who has it.
        """
        names = set(self._names(entry.cog))
        coming = [e for e in self._entries if not e.was_used]
        for other in self._in_bot:
            # A photon of the same file is replaced as well, or goes.
            if all(other.photon != e.photon for e in (*coming, entry)) and (
                other.file != entry.file
            ):
                coming.append(other)
        for other in coming:
            if other.photon != entry.photon:
                for name in names.intersection(self._names(other.cog)):
                    raise _conflict(entry, name, f"photon {other.photon!r}")
        own = {id(e.cog) for e in self._in_bot}
        for name in names:
            holder = self._holder(*name)
            if holder is not None and id(holder) not in own:
                raise _conflict(entry, name, "the bot itself")

    def _names(self, cog: commands.Cog) -> Iterator[tuple[str, str, int | None]]:
        """Yield (kind, name, guild) of what *cog* puts into the tables of the bot."""
        yield "cog", cog.qualified_name, None
        for command in cog.get_commands():
            for name in (command.name, *command.aliases):
                is_folded = self._bot.case_insensitive
                yield "command", name.casefold() if is_folded else name, None
        group = cog.app_command
        for each in [group] if group is not None else cog.get_app_commands():
            guilds: list[int | None] = [*(each._guild_ids or ())]  # noqa: SLF001
            for guild in guilds or [None]:
                yield "slash command", each.name, guild

    def _holder(self, kind: str, name: str, guild: int | None) -> object:
        """Return the cog that has a name, or what has it outside of cogs."""
        bot = self._bot
        if kind == "cog":
            return bot.get_cog(name)
        if kind == "command":
            command = bot.all_commands.get(name)
            return getattr(command, "cog", None) or command
        place = discord.Object(guild) if guild is not None else None
        found = bot.tree.get_command(name, guild=place)
        for entry in self._in_bot:
            if found is not None and found is entry.cog.app_command:
                return entry.cog
        return getattr(found, "binding", None) or found


def _commands_of(cog: commands.Cog) -> Iterator[Any]:
    """Yield the commands of *cog*, and the slash commands of hybrid ones."""
    for command in cog.walk_commands():
        yield command
        of_hybrid = getattr(command, "app_command", None)
        if of_hybrid is not None:
            yield of_hybrid


def _conflict(
    entry: _Entry, name: tuple[str, str, int | None], holder: str
) -> PhotonConflictError:
    return PhotonConflictError(
        f"has a {name[0]} {name[1]!r}, which is there already",
        photon=entry.photon,
        file=entry.file,
        why=f"it is that of {holder}",
        hint="give one of them another name",
    )


def _counted(function: Any, entry: _Entry) -> Any:
    """Return an ``async`` function that calls *function*, and is counted as a call."""

    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        this = object()
        token = _around.set(_around.get() | {this})
        entry.calls.add(this)
        try:
            return await function(*args, **kwargs)
        finally:
            entry.calls.discard(this)
            entry.idle.set()
            _around.reset(token)

    return call


async def _nothing() -> None:
    """Stand for ``cog_load`` and ``cog_unload``, which are called here."""


def _finish(coroutine: Coroutine[Any, Any, object]) -> None:
    """Run *coroutine*, which waits for nothing, to its end.

    Raises:
        RuntimeError: It waits.
    """
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise RuntimeError("'add_cog' and 'remove_cog' of a bot must not wait")
