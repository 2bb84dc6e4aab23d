"""Messages of a fleet over calls: members ask the coordinator for what it has for them.

An engine that lets one process call another, but does not tell who has gone, needs no
more than this: `PollingCoordinator` has the methods that are called, `PollingMember`
calls them. A member is there as long as it asks. So a member may be in any process that
reaches the coordinator, however busy that is with calls of its own, and the engine need
not know it.

Messages may be lost on the way, as everywhere in a fleet: what matters is sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from luminal.errors import FleetError
from luminal.fleet._codec import decode, encode
from luminal.fleet._coordinator import CoordinatorDriver, Figures
from luminal.fleet._mailbox import Mailbox
from luminal.fleet._member import MemberDriver
from luminal.fleet._protocol import MemberState
from luminal.supervise import LoopThread

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from luminal.fleet._contents import Contents
    from luminal.fleet._journal import Journal
    from luminal.fleet._protocol import Decided, Prepare
    from luminal.fleet._report import MemberInfo
    from luminal.managers import Loader

__all__ = ["PollingCoordinator", "PollingMember"]

_log = logging.getLogger("luminal.fleet")

_FIGURES = b"figures"
"""Asks a member for its figures; no message of the protocol looks like it."""

# --- Coordinator ---------------------------------------------------------------------


class PollingCoordinator:
    """A coordinator that members call. All methods are for one event loop.

    Args:
        journal: Of the fleet.
        contents: Of the fleet.
        poll_seconds: For how long a question is held open while there is no message.
        silence_seconds: After how long without a question a member has left.
        options: Of `CoordinatorDriver`.
    """

    def __init__(
        self,
        journal: Journal,
        contents: Contents,
        *,
        poll_seconds: float = 1.0,
        silence_seconds: float = 5.0,
        **options: Any,
    ) -> None:
        self.poll_seconds = poll_seconds
        self.silence_seconds = silence_seconds
        self.contents = contents
        self.driver = CoordinatorDriver(
            journal, contents, self._send, figures=self._figures, **options
        )
        self._boxes: dict[str, Mailbox[bytes]] = {}
        # Member → when it asked last, of the monotonic clock.
        self._asked_at: dict[str, float] = {}
        # Members that were asked for their figures.
        self._asked: dict[str, asyncio.Future[Figures]] = {}
        self._watch: asyncio.Task[None] | None = None
        # When members of an earlier life of the coordinator must have asked again.
        self._settled_at = 0.0

    async def start(self) -> None:
        """Close what an earlier life has left open, and begin to notice silence."""
        if not self.driver.is_new:
            self._settled_at = time.monotonic() + self.silence_seconds
        self.driver.start()
        self._watch = asyncio.create_task(self._notice_silence())

    def _send(self, member: str, message: Prepare | Decided) -> None:
        self._put(member, encode(message))

    def _put(self, member: str, data: bytes) -> None:
        box = self._boxes.get(member)
        if box is not None:
            box.put(data)

    async def _figures(self, member: str) -> Figures:
        """Ask a member for its figures; it is asked once, whoever waits."""
        asked = self._asked.get(member)
        if asked is None:
            asked = asyncio.get_running_loop().create_future()
            self._asked[member] = asked
            self._put(member, _FIGURES)
        try:
            async with asyncio.timeout(self.silence_seconds):
                return await asyncio.shield(asked)
        finally:
            self._asked.pop(member, None)

    def report(self, member: str, figures: Figures) -> None:
        """Take the figures of a member."""
        asked = self._asked.pop(member, None)
        if asked is not None and not asked.done():
            asked.set_result(figures)

    async def poll(self, about: MemberInfo, life: str) -> tuple[bytes, ...]:
        """Return messages for a member, as soon as there are some; perhaps none.

        Args:
            about: The member.
            life: Of its process' life: another one than before has joined anew.

        Raises:
            FleetError: It cannot be a member; it says why.
        """
        box = self._boxes.get(about.name)
        if box is None or box.owner != life:
            box = self._boxes[about.name] = Mailbox(life)
            try:
                self.driver.joined(about.name, about)
            except FleetError:
                del self._boxes[about.name]
                raise
        self._asked_at[about.name] = time.monotonic()
        messages = tuple(await box.take(self.poll_seconds))
        self._asked_at[about.name] = time.monotonic()
        return messages

    async def ask(self, method: str, *args: Any, **options: Any) -> Any:
        """Call what a user asks of the driver.

        A coordinator that has just begun knows no members: a swap would be decided
        without their votes, or with a number that they know already where the journal
        is an old one. So what decides waits until those that are there have asked.

        Args:
            method: Its name.
            args: For it.
            options: For it.
        """
        if method in ("swap", "roll_back", "recover"):
            await asyncio.sleep(self._settled_at - time.monotonic())
        result = getattr(self.driver, method)(*args, **options)
        return await result if asyncio.iscoroutine(result) else result

    def tell(self, member: str, life: str, state: bytes) -> None:
        """Take a message of a member; one of an earlier life is ignored."""
        box = self._boxes.get(member)
        if box is not None and box.owner == life:
            self._asked_at[member] = time.monotonic()
            message = decode(state)
            if isinstance(message, MemberState):
                self.driver.received(member, message)

    def leave(self, member: str, life: str) -> None:
        """Forget a member that ends."""
        box = self._boxes.get(member)
        if box is not None and box.owner == life:
            del self._boxes[member], self._asked_at[member]
            self.driver.left(member)

    async def fetch(self, digest: str) -> bytes | None:
        """Return the bytes of *digest*; None where they are not there."""
        return await asyncio.to_thread(self.contents.get, digest)

    async def _notice_silence(self) -> None:
        while True:
            await asyncio.sleep(self.silence_seconds / 4)
            latest = time.monotonic() - self.silence_seconds
            for name, box in list(self._boxes.items()):
                if self._asked_at[name] < latest:
                    self.leave(name, box.owner)

    async def close(self) -> None:
        """Stop; what is under way is closed by the next life."""
        if self._watch is not None:
            self._watch.cancel()
        await self.driver.close()


# --- Member --------------------------------------------------------------------------


Call = Callable[..., Awaitable[Any]]
"""Calls the method of the coordinator that is named first; raises: try again."""


class PollingMember:
    """A member that asks its coordinator for messages, on a thread of its own.

    Args:
        loader: What runs the photons.
        about: What the coordinator is told of this process.
        call: Carries calls to the coordinator: ``await call("poll", about, life)``.
        retry_seconds: The first pause after a call that failed; it doubles up to a
            second.
        options: Of `MemberDriver`.
    """

    def __init__(
        self,
        loader: Loader,
        about: MemberInfo,
        call: Call,
        *,
        retry_seconds: float = 0.1,
        **options: Any,
    ) -> None:
        self.about = about
        self._call = call
        self._retry_seconds = retry_seconds
        # A process that replaces another has its name, and another life.
        self._life = secrets.token_hex(8)
        self._refused: FleetError | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = LoopThread("luminal-fleet")
        self.driver = MemberDriver(
            loader,
            about.name,
            fetch=self._fetch,
            send=self._send,
            loop=self._thread.loop,
            **options,
        )
        self._spawn(self._ask())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin *work* on the thread's loop, from there or from any other thread."""

        def begin() -> None:
            task = self._thread.loop.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        self._thread.loop.call_soon_threadsafe(begin)

    async def _ask(self) -> None:
        """Ask for messages, until the coordinator refuses this process."""
        pause = self._retry_seconds
        while True:
            try:
                messages = await self._call("poll", self.about, self._life)
            except FleetError as error:
                self._refused = error
                return
            except Exception as error:  # noqa: BLE001 - of any engine
                _log.debug("the coordinator does not answer: %s", error)
                self.driver.lost()
                await asyncio.sleep(pause)
                pause = min(2 * pause, 1.0)
                continue
            pause = self._retry_seconds
            for data in messages:
                if data == _FIGURES:
                    self._spawn(self._report())
                    continue
                message = decode(data)
                if not isinstance(message, MemberState):
                    self.driver.received(message)

    def _send(self, state: MemberState) -> None:
        self._spawn(self._tell(encode(state)))

    async def _tell(self, state: bytes) -> None:
        with contextlib.suppress(Exception):  # it is lost, and told again
            await self._call("tell", self.about.name, self._life, state)

    async def _report(self) -> None:
        try:
            found = await asyncio.to_thread(self.driver.figures)
        except Exception:  # noqa: BLE001 - canaries are judged without these
            _log.exception("member %r cannot tell its figures", self.about.name)
            return
        figures = {photon: dict(of) for photon, of in found.items()}
        with contextlib.suppress(Exception):  # it is asked again
            await self._call("report", self.about.name, figures)

    async def _fetch(self, digest: str) -> bytes:
        data: bytes | None = await self._call("fetch", digest)
        if data is None:
            raise LookupError(f"the coordinator has no bytes of digest {digest[:12]}")
        return data

    def wait_current(self, seconds: float | None = None) -> None:
        """Block until this process runs what is decided: then it may take work.

        Args:
            seconds: How long at most.

        Raises:
            FleetError: The coordinator refuses this process; it says why.
            TimeoutError: It took longer.
        """
        self._thread.run(self._wait_current(seconds))

    async def _wait_current(self, seconds: float | None) -> None:
        current = asyncio.ensure_future(self.driver.wait_current())
        try:
            async with asyncio.timeout(seconds):
                while not current.done():
                    if self._refused is not None:
                        raise self._refused
                    await asyncio.wait({current}, timeout=0.05)
        finally:
            current.cancel()

    def close(self) -> None:
        """Leave the fleet. The photons go on."""
        self._thread.run(self._close())
        self._thread.close()

    async def _close(self) -> None:
        await self.driver.close()
        with contextlib.suppress(Exception):  # it is noticed by the silence as well
            async with asyncio.timeout(1.0):
                await self._call("leave", self.about.name, self._life)
