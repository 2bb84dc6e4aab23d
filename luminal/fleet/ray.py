"""A fleet whose members are processes of a Ray cluster (the extra ``ray``).

One detached actor coordinates: it has the journal, which has to lie where each node
that may run the actor finds it. Each process that serves is a member: the actors that
`RayFleet.add_members` starts, or any actor of yours that calls `join` in its
``__init__``::

    @ray.remote(max_restarts=-1, max_concurrency=8)
    class Worker:
        def __init__(self):
            luminal.fleet.ray.join("shop")  # returns once this runs what is decided

        def locate(self, address):
            return luminal.fleet.hook().locate(address=address)

    fleet = luminal.fleet.ray.RayFleet("shop", journal="/shared/shop")
    report = await fleet.swap("photons/geo")

An actor that Ray starts again runs what is decided before it takes calls: Ray makes
none before ``__init__`` has returned. A call that takes long keeps no swap waiting,
also with ``max_concurrency=1``: messages of the fleet do not come as calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from luminal.errors import FleetError, HostNotRunningError, MissingExtraError
from luminal.fleet._socket import fleet_directory
from luminal.fleet._sources import bytes_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from luminal.fleet._journal import Journal
    from luminal.fleet._polling import PollingMember
    from luminal.fleet._report import FleetStatus, SwapReport
    from luminal.managers import Loader

__all__ = ["RayFleet", "join"]

_NAMESPACE = "luminal"
"""Where the names of coordinators are, whatever namespace a program is in."""


def import_ray() -> Any:
    """Return the package ray.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError(
            "'luminal.fleet.ray' needs the library of the extra 'ray'",
            why=str(error),
            hint="install it: pip install 'luminal-photons[ray]'",
        ) from error
    return ray


def _actor_name(fleet: str) -> str:
    return f"luminal-fleet-{fleet}"


def _open_journal(directory: str) -> Journal:
    """Open the journal; wait a while for the end of who has it.

    Ray may start the actor again before the system has cleared up the killed process.
    """
    from luminal.fleet._journal import Journal, JournalBusyError

    until = time.monotonic() + 10.0
    while True:
        try:
            return Journal(os.path.join(directory, "journal"))
        except JournalBusyError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


# --- Coordinator ---------------------------------------------------------------------


class _Coordinator:
    """The actor that coordinates. It answers members while it drives a swap.

    Args:
        directory: With the journal and the bytes.
        options: Of `luminal.fleet._polling.PollingCoordinator`.
    """

    def __init__(self, directory: str, options: dict[str, Any]) -> None:
        self._directory = directory
        self._options = options
        self._service: Any = None
        self._starting: asyncio.Future[None] | None = None

    async def _ready(self) -> Any:
        """Return the service; begin it with the first call, which has an event loop."""
        if self._service is None:
            if self._starting is None or self._starting.done():
                self._starting = asyncio.ensure_future(self._start())
            await asyncio.shield(self._starting)
        return self._service

    async def _start(self) -> None:
        from luminal.fleet._contents import Contents
        from luminal.fleet._polling import PollingCoordinator

        journal = await asyncio.to_thread(_open_journal, self._directory)
        contents = Contents(os.path.join(self._directory, "contents"))
        label = f"{socket.gethostname()}-{os.getpid()}"
        service = PollingCoordinator(journal, contents, label=label, **self._options)
        await service.start()
        self._service = service

    async def call(self, method: str, *args: Any, **options: Any) -> Any:
        """Call a method of the service, for a member or for who asks the fleet."""
        result = getattr(await self._ready(), method)(*args, **options)
        return await result if asyncio.iscoroutine(result) else result

    async def pid(self) -> int:
        """Return the number of this process."""
        return os.getpid()

    async def close(self) -> None:
        if self._service is not None:
            await self._service.close()


# --- Member --------------------------------------------------------------------------


class _RayCall:
    """Carries a member's calls to the coordinator's actor, wherever that is now.

    Args:
        fleet: Name of the fleet.
        seconds: How long an answer is waited for; a poll is held open meanwhile.
    """

    def __init__(self, fleet: str, seconds: float = 10.0) -> None:
        self._fleet = fleet
        self._seconds = seconds
        self._actor: Any = None

    async def __call__(self, method: str, *args: Any) -> Any:
        if self._actor is None:
            self._actor = await asyncio.to_thread(_find_actor, self._fleet)
        try:
            async with asyncio.timeout(self._seconds):
                return await self._actor.call.remote(method, *args)
        except import_ray().exceptions.ActorDiedError:
            self._actor = None  # it was ended, and perhaps made anew
            raise


def _find_actor(fleet: str) -> Any:
    """Return the actor that coordinates *fleet*.

    Raises:
        ValueError: There is none.
    """
    return import_ray().get_actor(_actor_name(fleet), namespace=_NAMESPACE)


_members: dict[str, PollingMember] = {}
"""Fleet → this process' member of it; a process is a member once."""

_joining = threading.Lock()


def join(
    fleet: str,
    loader: Loader | None = None,
    *,
    name: str = "",
    seconds: float | None = None,
    **options: Any,
) -> Loader:
    """Make this process a member of *fleet*; return once it runs what is decided.

    Call it in ``__init__`` of an actor: Ray gives the actor no call before. Where it
    raises, the actor does not start; Ray starts it again as its ``max_restarts`` says.
    A second call in a process returns the Loader of the first.

    Args:
        fleet: Name of the fleet.
        loader: What runs the photons; None for a new Loader.
        name: Of the member, by default the actor's, which it keeps when it is started
            again.
        seconds: How long at most it takes; None for no limit.
        options: Of `MemberDriver`, such as ``drain_seconds``.

    Returns:
        The Loader. `luminal.fleet.hook` calls its hooks as the fleet asks.

    Raises:
        MissingExtraError: ray is not installed.
        LuminalError: The coordinator refuses this process; it says why.
        TimeoutError: It took longer than *seconds*.
    """
    ray = import_ray()
    from luminal.fleet._polling import PollingMember
    from luminal.fleet._report import MemberInfo
    from luminal.managers import Loader

    with _joining:
        member = _members.get(fleet)
        if member is None:
            here = ray.get_runtime_context()
            number = here.get_actor_id() or here.get_worker_id()
            name = name or here.get_actor_name() or number[:12]
            about = MemberInfo.of_this_process(name)
            member = PollingMember(
                loader or Loader(), about, _RayCall(fleet), **options
            )
            _members[fleet] = member
    try:
        member.wait_current(seconds)
    except BaseException:
        _members.pop(fleet, None)
        member.close()
        raise
    return member.driver.loader


class _Member:
    """The actor that `RayFleet.add_members` starts: calls hooks, and nothing else."""

    def __init__(self, fleet: str, options: dict[str, Any]) -> None:
        join(fleet, **options)

    def call(self, name: str, **arguments: Any) -> Any:
        """Call a hook of this member."""
        from luminal.fleet import hook

        return getattr(hook(), name)(**arguments)

    def pid(self) -> int:
        """Return the number of this process."""
        return os.getpid()


# --- The user's side -----------------------------------------------------------------


class RayFleet:
    """A fleet of a Ray cluster, for a program that is connected to it.

    The first one of a name starts the coordinator, an actor that goes on when the
    program ends (``lifetime="detached"``).

    Args:
        name: Of the fleet.
        journal: Directory of the journal, and of the bytes; by default that of the
            fleet's name in the directory for state. It has to outlive the node that
            coordinates: where Ray may start the actor on another, a volume that both
            have, with a ``flock`` that holds between them.
        actor: Options of the coordinator's actor, such as
            ``{"resources": {"head": 1}}`` to have it on one node.
        options: Of the coordinator, such as ``vote_seconds``. Where it runs already,
            those that it was started with stay.

    Raises:
        MissingExtraError: ray is not installed.
    """

    def __init__(
        self,
        name: str = "fleet",
        *,
        journal: str | os.PathLike[str] | None = None,
        actor: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        ray = import_ray()
        self.name = name
        directory = fleet_directory(name) if journal is None else os.fspath(journal)
        chosen = {
            "name": _actor_name(name),
            "namespace": _NAMESPACE,
            "get_if_exists": True,
            "lifetime": "detached",
            "max_restarts": -1,
            "max_concurrency": 10_000,  # each member has one call waiting in it
            "num_cpus": 0,
            **(actor or {}),
        }
        make = ray.remote(_Coordinator).options(**chosen)
        self._actor = make.remote(os.path.abspath(directory), {"name": name, **options})

    @classmethod
    def connect(cls, name: str = "fleet") -> RayFleet:
        """Return the fleet of that name, whose coordinator runs.

        Raises:
            HostNotRunningError: It does not.
        """
        fleet = cls.__new__(cls)
        fleet.name = name
        try:
            fleet._actor = _find_actor(name)  # noqa: SLF001 - its own class
        except ValueError:
            raise HostNotRunningError(
                f"no coordinator of the fleet {name!r} runs in this Ray cluster",
                hint="a program starts it: RayFleet(name, journal=DIRECTORY)",
            ) from None
        return fleet

    def add_members(
        self,
        count: int,
        *,
        member: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> list[Any]:
        """Start actors that are members, and return their handles.

        ``handle.call.remote("locate", address=...)`` calls a hook.

        Args:
            count: How many.
            member: Arguments of `join`.
            options: Of the actors. They are started again whenever they end
                (``max_restarts``), and eight calls run at once (``max_concurrency``).
        """
        ray = import_ray()
        chosen = {"max_restarts": -1, "max_concurrency": 8, "num_cpus": 0, **options}
        make = ray.remote(_Member).options(**chosen)
        return [make.remote(self.name, dict(member or {})) for _ in range(count)]

    async def swap(
        self, source: str | os.PathLike[str], *, by: str = "", **options: Any
    ) -> SwapReport:
        """Let all members run *source*, or none.

        Args:
            source: A directory, file, wheel, ``.photon`` file or distribution.
            by: Who asks, for the history.
            options: ``members``, ``mode`` and others of `CoordinatorDriver.swap`.

        Raises:
            FleetError: Nothing can be decided; or the coordinator has ended meanwhile,
                and what was decided is not known yet.
            LuminalError: The source cannot be packed.
        """
        data = await asyncio.to_thread(bytes_of, source)
        report: SwapReport = await self._ask("swap", data, by=by, **options)
        return report

    async def roll_back(self, unit: str, *, by: str = "") -> SwapReport:
        """Return all members to what was decided for *unit* before.

        Raises:
            FleetError: There is nothing before; and as `swap`.
        """
        report: SwapReport = await self._ask("roll_back", unit, by=by)
        return report

    async def recover(
        self, sources: Iterable[str | os.PathLike[str]] = (), *, by: str = ""
    ) -> tuple[SwapReport, ...]:
        """Decide anew, above all numbers that members know.

        Args:
            sources: What is to run. Of other units, what the journal says is decided
                again.
            by: Who asks.

        Raises:
            FleetError: Nothing can be decided.
        """
        bundles = [await asyncio.to_thread(bytes_of, each) for each in sources]
        return tuple(await self._ask("recover", bundles, by=by))

    async def status(self) -> FleetStatus:
        """Return who is a member, what each runs, and what is decided."""
        status: FleetStatus = await self._ask("status")
        return status

    async def history(self) -> tuple[SwapReport, ...]:
        """Return what was decided, the latest last."""
        reports: tuple[SwapReport, ...] = await self._ask("history")
        return reports

    async def _ask(self, method: str, *args: Any, **options: Any) -> Any:
        ray = import_ray()
        try:
            return await self._actor.call.remote("ask", method, *args, **options)
        except ray.exceptions.RayTaskError as error:
            # What the coordinator has raised; ray's own text is its traceback.
            raise error.cause if isinstance(error.cause, Exception) else error from None
        except ray.exceptions.RayActorError as error:
            raise FleetError(
                f"the coordinator of the fleet {self.name!r} does not answer",
                why=str(error).splitlines()[0],
                hint="it is started again; what was asked for may have been decided: "
                "luminal fleet history tells, do not repeat it before",
            ) from None

    def close(self) -> None:
        """End the coordinator. The members go on with what they run."""
        ray = import_ray()
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get(self._actor.close.remote())
        ray.kill(self._actor)
