"""A fleet whose members are the workers of a Dask cluster (the extra ``dask``).

The scheduler coordinates, and each worker process is a member. ``dask scheduler
--preload luminal.fleet.dask --journal /volume/journal`` makes the scheduler the
coordinator, and it gives each worker its plugin. The journal has to lie on a volume
that outlives the scheduler: it alone says what was decided.

Tasks call hooks by ``luminal.fleet.hook().name(argument=value)``. What they return to
the client must be plain data: the client has no photon to unpickle with. Dask takes a
function for pure, and answers a call that it knows from the earlier result, also after
a swap: pass ``pure=False`` to ``client.submit``.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import threading
import time
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import attrs

import luminal
from luminal.errors import HostNotRunningError, MissingExtraError, PhotonStateError
from luminal.fleet._codec import decode, encode
from luminal.fleet._mailbox import Mailbox
from luminal.fleet._member import MemberDriver
from luminal.fleet._protocol import Prepare
from luminal.fleet._report import MemberInfo
from luminal.fleet._sources import bytes_of, who_asks
from luminal.model import Probation

try:
    import click
    from distributed import Scheduler, SchedulerPlugin, Worker, WorkerPlugin
    from distributed.comm.core import connect
    from distributed.core import ConnectionPool, Status
except ImportError as _error:
    raise MissingExtraError(
        "this needs the libraries of the extra 'dask'",
        why=str(_error),
        hint="install it: pip install 'luminal-photons[dask]'",
    ) from _error

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from distributed import Client

    from luminal.fleet._contents import Contents
    from luminal.fleet._coordinator import CoordinatorDriver
    from luminal.fleet._protocol import Decided, MemberState
    from luminal.fleet._sources import Source

__all__ = ["DaskFleet", "FleetScheduler", "FleetWorker", "dask_setup"]

_log = logging.getLogger("luminal.fleet")

_connect: Any = connect  # it is untyped

_NAME = "luminal-fleet"

_PAUSE = 3.0
"""Seconds that a worker which cannot join waits before it closes itself: its nanny
starts the next one at once."""

_JOIN_SECONDS = 120.0
"""Seconds in which a worker must run what is decided; scheduler and nanny wait for it
without a limit of their own."""


# --- The scheduler -------------------------------------------------------------------


_MOST_BYTES = 2**20
"""Larger bundles are not sent with a message: workers ask for them."""

_FIRST_SECONDS = 10.0
"""How long a swap waits for the first worker that can vote, where some are there."""

_ASK_SECONDS = 20.0
"""After how long without a message an empty one is sent: a connection that was lost
without a sign is noticed by that."""


class FleetScheduler(SchedulerPlugin):
    """Coordinates the workers of a scheduler.

    Args:
        journal: Path of the journal, on a volume that outlives the scheduler. What was
            decided lies in a directory beside it.
        loader: ``module:function`` of the workers, which returns the Loader of a
            process; empty for ``luminal.Loader()``.
    """

    name = _NAME
    idempotent = True

    def __init__(self, journal: str, loader: str = "") -> None:
        self.journal = journal
        self.loader = loader
        self.driver: CoordinatorDriver | None = None
        self._contents: Contents | None = None
        self._scheduler: Scheduler | None = None
        self._started: asyncio.Event = asyncio.Event()
        # Addresses of the workers that registered before they could get the plugin.
        self._earlier: list[str] = []
        # Member → messages for it.
        self._boxes: dict[str, Mailbox[Prepare | Decided]] = {}
        # Member → digest of the bytes that it was sent with a message.
        self._sent: dict[str, str] = {}

    def receive_from(self, scheduler: Scheduler) -> None:
        """Give each worker that registers from now on its plugin.

        A scheduler listens before its plugins start. A worker that registers in between
        must not take tasks before it is a member: it joins, and waits for the start.
        """
        self._scheduler = scheduler
        self._earlier = list(scheduler.workers)
        scheduler.handlers.update(
            {
                "luminal_fleet_join": self._join,
                "luminal_fleet_talk": self._talk,
                "luminal_fleet_bytes": self._bytes_of,
                "luminal_fleet_ask": self._ask,
            }
        )
        scheduler.worker_plugins[_NAME] = pickle.dumps(FleetWorker(self.loader))

    async def start(self, scheduler: Scheduler) -> None:
        """Recover from the journal, and begin to coordinate.

        Raises:
            PhotonStateError: The journal is not named, or another scheduler has it.
            OSError: The journal cannot be read or written.
        """
        try:
            await self._start(scheduler)
        except Exception as error:
            # Dask says only that the scheduler has failed, and shows where.
            _log.critical("the scheduler cannot coordinate its fleet: %s", error)
            raise

    async def _start(self, scheduler: Scheduler) -> None:
        if not self.journal:
            raise PhotonStateError(
                "the journal of the fleet is not named",
                why="without it nobody would know what was decided",
                hint="--preload luminal.fleet.dask --journal PATH, on a volume that "
                "outlives the scheduler",
            )
        from luminal.fleet import Contents, CoordinatorDriver, Journal

        journal = await asyncio.to_thread(Journal, self.journal)
        contents = await asyncio.to_thread(Contents, self.journal + ".contents")
        self.driver = CoordinatorDriver(
            journal,
            contents,
            self._send,
            name="dask",
            label=scheduler.address,
            figures=self._figures_of,
        )
        self.driver.start()
        self._contents = contents
        if self._scheduler is None:
            self.receive_from(scheduler)
        self._started.set()
        if self._earlier:
            plugin = scheduler.worker_plugins[_NAME]
            message = {"op": "plugin-add", "plugin": plugin, "name": _NAME}
            await scheduler.broadcast(msg=message, workers=self._earlier)

    async def close(self) -> None:
        """Close the journal, so that another scheduler can coordinate."""
        driver, self.driver = self.driver, None
        if driver is not None:
            await driver.close()

    def remove_worker(
        self,
        scheduler: Scheduler,  # noqa: ARG002 - Dask's
        worker: str,
        **_: Any,
    ) -> None:
        """Forget the member of a worker that has gone."""
        for name, box in list(self._boxes.items()):
            # A worker that was started anew has the name, and another address.
            if box.owner == worker:
                del self._boxes[name]
                if self.driver is not None:
                    self.driver.left(name)

    @property
    def _coordinator(self) -> CoordinatorDriver:
        if self.driver is None:
            raise PhotonStateError("this scheduler does not coordinate any more")
        return self.driver

    def _send(self, member: str, message: Prepare | Decided) -> None:
        box = self._boxes.get(member)
        if box is not None:
            box.put(message)

    async def _join(self, worker: str, name: str, about: dict[str, Any]) -> None:
        await self._started.wait()
        self._boxes[name] = Mailbox(worker)
        self._sent.pop(name, None)
        try:
            self._coordinator.joined(name, MemberInfo(**about))
        except BaseException:
            del self._boxes[name]
            raise

    async def _talk(self, comm: Any, worker: str, name: str) -> Status:
        """Carry messages to a member and from it, until its connection ends.

        Workers connect for that, as a worker takes no calls before its set-up is over.
        """
        box = self._boxes.get(name)
        if box is not None and box.owner == worker:
            telling = asyncio.create_task(self._tell(comm, name, box))
            try:
                with suppress(OSError):  # it has ended, or is being closed
                    while self.driver is not None:
                        self._take_states(box, name, await comm.read())
            finally:
                telling.cancel()
        comm.abort()  # one that is there still joins anew
        return Status.dont_reply

    async def _tell(
        self, comm: Any, name: str, box: Mailbox[Prepare | Decided]
    ) -> None:
        """Send a member its messages, as soon as there are any.

        The bytes that are to be prepared go with them, which saves it from asking.
        """
        try:
            while True:
                messages = await box.take(_ASK_SECONDS)
                contents: dict[str, bytes] = {}
                for digest in (m.digest for m in messages if isinstance(m, Prepare)):
                    if digest == self._sent.get(name):
                        continue
                    data = await self._bytes_of(digest)
                    if data is not None and len(data) <= _MOST_BYTES:
                        contents[digest] = data
                        self._sent[name] = digest
                encoded = [*map(encode, messages)]
                await comm.write({"messages": encoded, "contents": contents})
        finally:
            comm.abort()

    def _take_states(
        self, box: Mailbox[Prepare | Decided], name: str, states: list[bytes]
    ) -> None:
        if self.driver is None or self._boxes.get(name) is not box:
            return  # it has ended, or the worker was started anew meanwhile
        for state in states:
            message: Any = decode(state)
            self.driver.received(name, message)

    async def _figures_of(self, member: str) -> dict[str, dict[str, float]]:
        assert self._scheduler is not None  # noqa: S101 - it has started
        worker = self._scheduler.rpc(self._boxes[member].owner)
        found: dict[str, dict[str, float]] = await worker.luminal_fleet_figures()
        return found

    async def _bytes_of(self, digest: str) -> bytes | None:
        assert self._contents is not None  # noqa: S101 - it has started
        latest, data = self._contents.latest  # all workers ask for the same
        if latest == digest:
            return data
        return await asyncio.to_thread(self._contents.get, digest)

    async def _wait_for_a_vote(self, driver: CoordinatorDriver) -> None:
        """Wait where all workers are being set up, so that one of them can vote.

        Dask counts them already. What nobody has tried might run on none of them.
        """
        assert self._scheduler is not None  # noqa: S101 - it has started
        until = time.monotonic() + _FIRST_SECONDS
        while self._scheduler.workers and not driver.has_voters:
            if time.monotonic() > until:
                return
            await asyncio.sleep(0.02)

    async def _ask(self, what: str, **options: Any) -> bytes:
        """Do what `DaskFleet` asks for, and return the answer pickled."""
        await self._started.wait()
        driver = self._coordinator
        answer: Any
        if what == "swap":
            if health := options.pop("health", None):
                options["health"] = Probation(**health)
            await self._wait_for_a_vote(driver)
            answer = await driver.swap(**options)
        elif what == "roll_back":
            answer = await driver.roll_back(**options)
        elif what == "recover":
            answer = await driver.recover(**options)
        elif what == "status":
            answer = driver.status()
        else:
            answer = driver.history()
        return pickle.dumps(answer)


# --- A worker ------------------------------------------------------------------------


# Held by the worker of this process: a process has one Loader.
_one_worker: threading.Lock = threading.Lock()


class FleetWorker(WorkerPlugin):
    """Lets a worker process run what is decided, before it takes its first task.

    A worker that cannot is closed.

    Args:
        loader: ``module:function``, which returns the Loader of a process; empty for
            ``luminal.Loader()``.
    """

    name = _NAME
    idempotent = True

    def __init__(self, loader: str = "") -> None:
        self.loader = loader
        self.driver: MemberDriver | None = None
        self._link: _Link | None = None

    async def setup(self, worker: Worker) -> None:
        """Join the fleet; return when the worker runs what is decided."""
        try:
            await asyncio.wait_for(self._join(worker), _JOIN_SECONDS)
        except Exception as error:
            why = str(error) or type(error).__name__
            if self.driver is not None and self.driver.problems:
                why = "; ".join(self.driver.problems.values())
            _log.error("worker %s cannot join its fleet: %s", worker.address, why)
            # Dask would let it take tasks. Its nanny starts the next one.
            await asyncio.sleep(_PAUSE)
            await worker.close(nanny=False, reason=f"it cannot join its fleet: {why}")
            raise

    async def teardown(self, worker: Worker) -> None:  # noqa: ARG002 - Dask's
        """Leave the fleet, and end the photons."""
        driver, self.driver = self.driver, None
        if driver is not None:
            if self._link is not None:
                await _on_loop_of(driver, self._link.end())
            await driver.close(is_unloading=True)
            _one_worker.release()

    async def _join(self, worker: Worker) -> None:
        if not _one_worker.acquire(blocking=False):
            raise PhotonStateError(
                "this process is a member of a fleet already",
                why="two workers in one process would share their photons",
                hint="start each worker in a process of its own: --nworkers, or "
                "LocalCluster(processes=True)",
            )
        try:
            loader = self._made_loader()
            link = _Link(worker)
            self.driver = driver = MemberDriver(
                loader, link.name, fetch=link.fetch, send=link.send
            )
        except BaseException:
            _one_worker.release()
            raise
        link.driver = driver
        worker.handlers["luminal_fleet_figures"] = driver.figures
        self._link = link
        await _on_loop_of(driver, link.join())
        await driver.wait_current()

    def _made_loader(self) -> luminal.Loader:
        if not self.loader:
            return luminal.Loader()
        module, _, function = self.loader.partition(":")
        made: luminal.Loader = getattr(import_module(module), function)()
        return made


async def _on_loop_of(driver: MemberDriver, work: Coroutine[Any, Any, None]) -> None:
    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, driver.loop))


class _Link:
    """Carries messages between a member and the scheduler of its worker.

    It lives on the loop of the member, with connections of its own: what goes from one
    to the other waits for no other thread of the worker, whose tasks hold the GIL.

    Attributes:
        name: Of the member: that of the worker, which its nanny keeps.
        driver: Of the member.
    """

    driver: MemberDriver

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._connections: Any = ConnectionPool(connection_args=worker.connection_args)
        self._scheduler: Any = self._connections(worker.scheduler.address)
        self._states: Mailbox[MemberState] = Mailbox(worker.address)
        self._talking: asyncio.Task[None] | None = None
        # Digest → bytes that came with a message.
        self._contents: dict[str, bytes] = {}
        self.name = str(worker.name)

    async def join(self) -> None:
        """Tell the scheduler that the member is there, and talk to it from then on.

        Raises:
            Exception: It is refused, or the scheduler does not coordinate.
        """
        await self._connections.start()
        await self._join()
        self._talking = asyncio.create_task(self._talk(), name="luminal-fleet")

    async def _join(self) -> None:
        about = MemberInfo.of_this_process(self.name)
        await self._scheduler.luminal_fleet_join(
            worker=self._worker.address, name=self.name, about=attrs.asdict(about)
        )

    async def _talk(self) -> None:
        """Carry messages to the coordinator and from it, until the worker ends."""
        while True:
            try:
                await self._connect()
            except Exception as error:  # noqa: BLE001 - the scheduler has gone, mostly
                _log.warning("member %r does not hear its fleet: %r", self.name, error)
                self.driver.lost()
                await asyncio.sleep(_PAUSE)
                with suppress(Exception):  # it may not know the worker any more
                    await self._join()

    async def _connect(self) -> None:
        """Connect to the scheduler, and talk to it until the connection is lost.

        Raises:
            OSError: It is lost.
        """
        comm = await _connect(self._scheduler.address, **self._worker.connection_args)
        telling = None
        try:
            own = {"worker": self._worker.address, "name": self.name}
            await comm.write({"op": "luminal_fleet_talk", **own})
            telling = asyncio.create_task(self._tell(comm))
            while True:
                answer = await comm.read()
                self._contents = answer["contents"] or self._contents
                for message in answer["messages"]:
                    received: Any = decode(message)
                    self.driver.received(received)
        finally:
            if telling is not None:
                telling.cancel()
            comm.abort()

    async def _tell(self, comm: Any) -> None:
        with suppress(OSError):  # it is told again
            while True:
                states = await self._states.take(_ASK_SECONDS)
                await comm.write([*map(encode, states)])

    async def end(self) -> None:
        """Talk no more."""
        if self._talking is not None:
            self._talking.cancel()
        await self._connections.close()

    def send(self, state: MemberState) -> None:
        """Send the state of the member."""
        self._states.put(state)

    async def fetch(self, digest: str) -> bytes:
        """Return the bytes with *digest*.

        Raises:
            PhotonStateError: The coordinator does not have them.
        """
        data: bytes | None = self._contents.pop(digest, None)
        if data is None:
            data = await self._scheduler.luminal_fleet_bytes(digest=digest)
        if data is None:
            raise PhotonStateError(
                "the coordinator does not have the bytes that were decided",
                why=f"nothing with digest {digest[:16]}… lies beside its journal",
                hint="restore that directory, or swap the photon again",
            )
        return data


# --- Preload -------------------------------------------------------------------------


@click.command()
@click.option(
    "--journal",
    default="",
    help="Path of the fleet's journal, on a volume that outlives the scheduler.",
)
@click.option(
    "--loader",
    default="",
    help="module:function that returns the Loader of a worker process.",
)
def dask_setup(server: Scheduler | Worker, journal: str, loader: str) -> None:
    """Make a scheduler the coordinator of its workers.

    ``dask scheduler --preload luminal.fleet.dask --journal PATH``. On workers it does
    nothing but to look whether the extra is there: the scheduler gives them their
    plugin.
    """
    if not isinstance(server, Scheduler):
        return
    # Its start is awaited with that of the scheduler, which fails where it does; what a
    # preload raises is only logged.
    plugin = FleetScheduler(journal, loader)
    server.add_plugin(plugin, idempotent=True, name=_NAME)
    if server.plugins[_NAME] is plugin:  # else a preload is named twice
        plugin.receive_from(server)


# --- A client ------------------------------------------------------------------------


class DaskFleet:
    """Asks the fleet of a cluster for swaps.

    With an asynchronous client each method is awaited; with another one it waits by
    itself, as the methods of the client do.

    Args:
        client: Of the cluster.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self._sync: Any = client.sync

    def swap(
        self,
        source: Source,
        *,
        members: Iterable[str] | None = None,
        mode: str = "immediate",
        first: int | Iterable[str] = 1,
        health: Probation | None = None,
        name: str = "",
        version: str = "",
        by: str = "",
    ) -> Any:
        """Let all workers run *source*, decided once.

        Args:
            source: A directory, file, wheel or distribution of the client's machine;
                or a bundle, also as its bytes.
            members: Names of the workers that it is for; None for all.
            mode: ``immediate``, ``barrier`` or ``canary``.
            first: Of ``canary``: who runs it first, or how many.
            health: Of ``canary``: for how long they are watched, and what returns them.
            name: Of the bundle; by default that of the source.
            version: Likewise.
            by: Who asks, for the history; by default this user.

        Returns:
            A `SwapReport`.

        Raises:
            LuminalError: *source* cannot be packed, or the fleet cannot decide.
            PhotonStateError: The scheduler was lost meanwhile: the outcome is not
                known. Ask `status` before it is asked for again.
        """
        options: dict[str, Any] = {"mode": mode, "by": by or who_asks()}
        options["members"] = None if members is None else [*map(str, members)]
        options["first"] = first if isinstance(first, int) else [*map(str, first)]
        if health is not None:
            options["health"] = attrs.asdict(health)
        return self._sync(self._swap, source, name, version, options)

    def roll_back(self, unit: str, *, by: str = "") -> Any:
        """Let all workers run what was decided before, by another decision.

        Args:
            unit: Name of the bundle.
            by: Who asks; by default this user.

        Returns:
            A `SwapReport`.
        """
        return self._sync(self._ask, "roll_back", unit=unit, by=by or who_asks())

    def recover(self, sources: Iterable[Source] = (), *, by: str = "") -> Any:
        """Decide anew, where the journal is older than what members know, or lost.

        Args:
            sources: What is to run, as of `swap`. Of other units, what the journal says
                is decided again.
            by: Who asks; by default this user.

        Returns:
            A `SwapReport` for each unit.
        """
        return self._sync(self._recover, sources, by or who_asks())

    def status(self) -> Any:
        """Return the `FleetStatus`: members, what they run, what is decided."""
        return self._sync(self._ask, "status")

    def history(self) -> Any:
        """Return the reports of the swaps so far, the oldest first."""
        return self._sync(self._ask, "history")

    async def _swap(
        self,
        source: Source,
        name: str,
        version: str,
        options: dict[str, Any],
    ) -> Any:
        if not isinstance(source, bytes):
            source = await asyncio.to_thread(bytes_of, source, name, version)
        return await self._ask("swap", data=source, **options)

    async def _recover(self, sources: Iterable[Source], by: str) -> Any:
        packed = [await asyncio.to_thread(bytes_of, each) for each in sources]
        return await self._ask("recover", bundles=packed, by=by)

    async def _ask(self, what: str, **options: Any) -> Any:
        scheduler: Any = self.client.scheduler
        try:
            answer = await scheduler.luminal_fleet_ask(what=what, **options)
        except OSError as error:
            raise PhotonStateError(
                f"the scheduler was lost during {what!r}",
                why=str(error),
                hint="its outcome is not known: ask for the status once the scheduler "
                "is back, before you repeat it",
            ) from error
        if answer is None:  # Dask has no handler of that name
            raise HostNotRunningError(
                f"the scheduler at {scheduler.address} coordinates no fleet",
                hint="start it with --preload luminal.fleet.dask --journal PATH",
            )
        # Dask itself unpickles what the scheduler sends.
        return pickle.loads(answer)  # noqa: S301
