"""The suite of all fleets over actors of Ray, of which it starts one on this machine.

``python -m tests.fleet.ray_conformance`` runs it; arguments are pytest's. Ray is not
among the packages of the usual tests: ``pip install 'luminal-photons[ray]'``.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import luminal.fleet.ray as fleet_ray
from luminal.supervise import LoopThread
from tests.fleet.conformance import Adapter, Conformance, Flags, running
from tests.waiting import DEADLINE, wait_until

ROOT = Path(__file__).resolve().parents[2]


class Coordinator(fleet_ray._Coordinator):
    """The coordinator's actor, which obeys the flags of the tests."""

    def __init__(self, directory: str, options: dict[str, Any]) -> None:
        from tests.fleet import faults

        faults.install(Flags(Path(directory).parent / "flags"))
        super().__init__(directory, options)


class Worker:
    """An actor of a user, which is a member."""

    def __init__(self, name: str, environ: dict[str, str]) -> None:
        import luminal

        os.environ.update(environ, FLEET_MEMBER=name)
        if version := environ.get("FLEET_LUMINAL"):
            luminal.__version__ = version
        self.loader = fleet_ray.join(
            "tests", name=name, ask_seconds=0.2, drain_seconds=1.0
        )

    async def answer(self, unit: str) -> str:
        from tests.fleet.processes import MemberTarget

        return await MemberTarget(self.loader).answer(unit)

    async def local(self, operation: str, unit: str) -> str:
        from tests.fleet.processes import MemberTarget

        return await MemberTarget(self.loader).local(operation, unit)

    async def pid(self) -> int:
        return os.getpid()


class Ray(Adapter):
    """Actors of a Ray on this machine."""

    name = "ray"
    comes_back = True

    def __init__(self, directory: Path) -> None:
        import ray

        super().__init__(directory)
        self.ray = ray
        self.loop = LoopThread("ray-tests")
        self.workers: dict[str, Any] = {}
        self.pids: dict[str, int] = {}
        self.fleet: Any = None
        fleet_ray._Coordinator = Coordinator  # type: ignore[misc]

    def start_coordinator(self) -> None:
        def answers() -> bool:
            try:
                if self.fleet is None:
                    self.fleet = fleet_ray.RayFleet(
                        "tests",
                        journal=self.journal.parent,
                        poll_seconds=0.5,
                        silence_seconds=4.0,
                        again_seconds=0.2,
                    )
                return self.ask("status") is not None
            except (self.ray.exceptions.RayError, RuntimeError, ValueError):
                time.sleep(0.2)
                return False

        wait_until(answers)

    def end_coordinator(self) -> None:
        self.ray.kill(self.fleet._actor)
        self.fleet = None

    def add(self, member: str, **environ: str) -> None:
        worker = self.workers.get(member)
        if worker is None:
            once = bool(environ)  # one that is refused would be started for ever
            make = self.ray.remote(Worker).options(
                max_restarts=0 if once else -1, max_concurrency=8, num_cpus=0
            )
            worker = make.remote(member, environ)
            if not once:
                self.workers[member] = worker
        old = self.pids.get(member)

        def is_there() -> bool:
            try:
                pid = self.ray.get(worker.pid.remote(), timeout=DEADLINE)
            except self.ray.exceptions.ActorUnavailableError:
                time.sleep(0.2)
                return False
            if pid != old:
                self.pids[member] = pid
            return pid != old

        wait_until(is_there)

    def kill(self, member: str) -> None:
        os.kill(self.pids[member], signal.SIGKILL)

    def remove(self, member: str) -> None:
        self.ray.kill(self.workers.pop(member))
        self.pids.pop(member, None)

    def swap(self, source: Path, **options: Any) -> Any:
        return self.loop.run(self.fleet.swap(source, **options))

    def roll_back(self, unit: str) -> Any:
        return self.loop.run(self.fleet.roll_back(unit))

    def ask(self, method: str, *args: Any) -> Any:
        return self.loop.run(getattr(self.fleet, method)(*args))

    def answer(self, member: str, unit: str) -> str:
        answer = self.workers[member].answer.remote(unit)
        return self.ray.get(answer, timeout=DEADLINE)

    def local(self, member: str, operation: str, unit: str) -> str:
        answer = self.workers[member].local.remote(operation, unit)
        return self.ray.get(answer, timeout=DEADLINE)

    def close(self) -> None:
        for worker in self.workers.values():
            self.ray.kill(worker)
        if self.fleet is not None:
            self.ray.kill(self.fleet._actor)
        self.loop.close()
        self.ray.shutdown()
        self.pool.shutdown()


@pytest.fixture(scope="module")
def fleet() -> Iterator[Adapter]:
    ray = pytest.importorskip("ray")
    # Workers inherit it: they have to find the classes of this module.
    os.environ["PYTHONPATH"] = str(ROOT)
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
    )
    with running(Ray) as adapter:
        yield adapter


class TestRay(Conformance):
    # Ray carries messages by TCP: they are lost with a process only.
    test_messages_are_lost_or_come_twice = None  # type: ignore[assignment]


if __name__ == "__main__":
    own = ["-p", "no:xdist", "-W", "default", "--pyargs", "tests.fleet.ray_conformance"]
    sys.exit(pytest.main([*own, *sys.argv[1:]]))
