"""The workers of a Dask cluster as a fleet, on one cluster for all quick checks.

Functions in here are run by workers, in processes of their own.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from luminal import Loader
from luminal.errors import LuminalError
from luminal.model import Probation
from tests.waiting import DEADLINE, async_wait_until

distributed = pytest.importorskip("distributed")

ROOT = Path(__file__).resolve().parents[2]
THIS = "tests.fleet.test_fleet_dask"

TEXT = """
{head}
from luminal import IPhoton, hookimpl

class Point:
    def __init__(self, x):
        self.x = x

class Geo(IPhoton):
    photon_name = "geo"
    photon_version = "1.0"

    @hookimpl
    def who(self):
        return {answer}

    @hookimpl
    def point(self, x):
        return Point(x)
"""


def write(directory: Path, answer: int, head: str = "") -> Path:
    path = directory / "geo.py"
    path.write_text(TEXT.format(answer=answer, head=head))
    return path


def make_loader() -> Loader:
    """Return the Loader of a worker; one that is to fail does."""
    if os.environ.get("LUMINAL_TEST_REFUSES"):
        raise ValueError("this worker cannot be set up")
    return Loader()


def call(_: int) -> int:
    import luminal.fleet

    return luminal.fleet.hook().who()[0]


def ended(_: int) -> tuple[int, int]:
    return os.getpid(), call(0)


def cut_connections(dask_scheduler: Any) -> None:
    for comm, operation in list(dask_scheduler._comms.items()):
        if operation == "luminal_fleet_talk":
            comm.abort()


def work_long(number: int) -> tuple[int, int]:
    """Take so long that a few of these are more than one worker has time for."""
    time.sleep(0.2)
    return ended(number)


def make_point(x: int) -> bytes:
    import luminal.fleet

    return pickle.dumps(luminal.fleet.hook().point(x=x)[0])


def x_of(point: bytes) -> int:
    return pickle.loads(point).x


async def answers(client: Any, count: int = 12) -> set[int]:
    futures = client.map(call, range(count), pure=False)
    async with asyncio.timeout(DEADLINE):  # Dask waits for workers without a limit
        return set(await client.gather(futures))


@asynccontextmanager
async def started(
    journal: str, directory: Path, count: int
) -> AsyncIterator[tuple[Any, Any]]:
    async with (
        distributed.LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            asynchronous=True,
            dashboard_address="127.0.0.1:0",
            local_directory=str(directory),
            scheduler_kwargs={
                "preload": ["luminal.fleet.dask"],
                "preload_argv": [
                    ["--journal", journal, "--loader", f"{THIS}:make_loader"]
                ],
            },
        ) as made,
        distributed.Client(made, asynchronous=True) as client,
    ):
        yield made, client


@asynccontextmanager
async def cluster_of(directory: Path, count: int) -> AsyncIterator[tuple[Any, Any]]:
    """Yield a cluster of processes on this machine, and its client."""
    import dask

    journal = str(directory / "journal")
    # On a busy machine Dask would give up a worker that is being started again.
    patience = {"distributed.deploy.lost-worker-timeout": "10 minutes"}
    with dask.config.set(patience):
        async with started(journal, directory, count) as found:
            yield found


async def test_workers_run_what_is_decided(tmp_path: Path) -> None:
    from luminal.fleet.dask import DaskFleet

    async with cluster_of(tmp_path, 2) as (cluster, client):
        fleet = DaskFleet(client)
        first = await fleet.swap(write(tmp_path, 1))
        assert (first.number, first.is_committed, first.behind) == (1, True, ())
        assert await answers(client) == {1}
        # Instances of photons' classes pickle between workers.
        here, there = sorted(cluster.scheduler.workers)
        point = await client.submit(make_point, 5, workers=[here])
        assert await client.submit(x_of, point, workers=[there]) == 5

        second = await fleet.swap(write(tmp_path, 2), mode="barrier")
        assert second.is_committed
        assert await answers(client) == {2}

        third = await fleet.swap(write(tmp_path, 3, "import not_there_at_all"))
        assert not third.is_committed
        assert "not_there_at_all" in third.why
        assert await answers(client) == {2}
        assert not any(each.prepared for each in (await fleet.status()).members)

        assert (await fleet.roll_back("geo")).is_committed
        assert await answers(client) == {1}
        with pytest.raises(LuminalError):
            await fleet.roll_back("nothing")

        # The same bytes again are no swap.
        again = await fleet.swap(write(tmp_path, 1))
        assert again.is_committed
        assert again.number == 0

        # A worker that is killed, or is new, takes tasks when it runs what is decided.
        pids = set((await client.run(os.getpid)).values())
        os.kill(min(pids), signal.SIGKILL)
        cluster.scale(3)

        async def all_pids() -> set[tuple[int, int]]:
            futures = client.map(ended, range(30), pure=False)
            return set(await client.gather(futures))

        seen: set[tuple[int, int]] = set()
        while len(seen) < 3 or min(pids) in {pid for pid, _ in seen}:
            seen = await asyncio.wait_for(all_pids(), DEADLINE)
            assert {answer for _, answer in seen} == {1}

        names = sorted(m.info.name for m in (await fleet.status()).members)
        canary = await fleet.swap(write(tmp_path, 4), members=names[:1])
        assert canary.is_committed
        assert await answers(client, 40) == {1, 4}
        assert (await fleet.swap(write(tmp_path, 4))).is_committed
        assert await answers(client) == {4}

        history = await fleet.history()
        assert [each.is_committed for each in history[:4]] == [True, True, False, True]

        # Some run it first, for a while in which they stay well.
        health = Probation(seconds=0.2, interval=0.1)
        canary = await fleet.swap(
            write(tmp_path, 5), mode="canary", first=names[1:2], health=health
        )
        assert canary.is_committed
        assert await answers(client) == {5}

        # A connection that is lost is made anew.
        await client.run_on_scheduler(cut_connections)
        assert (await fleet.swap(write(tmp_path, 6))).is_committed
        assert await answers(client) == {6}


@pytest.mark.slow
async def test_workers_that_adaptive_scaling_starts_and_ends(tmp_path: Path) -> None:
    """Each answers what was decided, while swaps happen, and one is refused."""
    from luminal.fleet.dask import DaskFleet

    async with cluster_of(tmp_path, 0) as (cluster, client):
        fleet = DaskFleet(client)
        cluster.scale(1)
        await client.wait_for_workers(1, timeout=DEADLINE)
        # It may not be set up yet, and votes all the same.
        first = await fleet.swap(write(tmp_path, 1))
        assert first.is_committed
        assert [*first.votes.values()] == [""]
        decided = 1
        seen: dict[int, set[int]] = {}  # process → what it has answered

        async def work() -> None:
            """Give more work than one worker has time for."""
            least = decided
            futures = client.map(work_long, range(20), pure=False)
            rows = await asyncio.wait_for(client.gather(futures), DEADLINE)
            for pid, answer in rows:
                seen.setdefault(pid, set()).add(answer)
                assert least <= answer <= asked

        cluster.adapt(minimum=1, maximum=3, interval="100ms", target_duration="500ms")
        asked = 1
        async with asyncio.timeout(2 * DEADLINE):
            while len(seen) < 3:
                asked += 1
                working = asyncio.ensure_future(work())
                report = await fleet.swap(write(tmp_path, asked))
                assert report.is_committed
                decided = asked
                bad = await fleet.swap(write(tmp_path, 0, "import not_there_at_all"))
                assert not bad.is_committed
                await working
        await async_wait_until(lambda: len(cluster.scheduler.workers) == 1)
        asked += 1
        assert (await fleet.swap(write(tmp_path, asked))).is_committed
        assert await answers(client) == {asked}
        (member,) = (await fleet.status()).members
        assert not member.is_behind


@pytest.mark.slow
async def test_a_worker_that_cannot_be_set_up_takes_no_task(tmp_path: Path) -> None:
    async with cluster_of(tmp_path, 1) as (cluster, client):
        from luminal.fleet.dask import DaskFleet

        await DaskFleet(client).swap(write(tmp_path, 4))
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "dask",
            "worker",
            cluster.scheduler_address,
            "--no-nanny",
            "--no-dashboard",
            cwd=ROOT,
            env={**os.environ, "LUMINAL_TEST_REFUSES": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while worker.returncode is None:
                assert await answers(client) == {4}
                await asyncio.sleep(0.1)
        finally:
            if worker.returncode is None:
                worker.kill()
            await worker.wait()


def certificate(directory: Path) -> dict[str, str]:
    """Make a certificate, and return the environment of a cluster that uses TLS."""
    path = directory / "all.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
        f"-keyout {path} -out {directory / 'cert.pem'}"
    )
    subprocess.run(command.split(), check=True, capture_output=True, timeout=DEADLINE)
    path.write_text(path.read_text() + (directory / "cert.pem").read_text())
    names = {"ca-file": directory / "cert.pem"}
    for role in ("scheduler", "worker", "client"):
        names[f"{role}__cert"] = names[f"{role}__key"] = path
    made = {
        f"DASK_DISTRIBUTED__COMM__TLS__{k.upper().replace('-', '_')}": str(v)
        for k, v in names.items()
    }
    return {**made, "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True"}


@asynccontextmanager
async def process(*command: str, env: dict[str, str]) -> AsyncIterator[Any]:
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "dask",
        *command,
        cwd=ROOT,
        env={**os.environ, **env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            os.killpg(started.pid, signal.SIGKILL)
        await started.wait()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no openssl command")
async def test_a_scheduler_that_is_killed_comes_back_with_its_journal(
    tmp_path: Path,
) -> None:
    """By ``dask scheduler`` and ``dask worker``, over TLS."""
    from luminal.fleet.dask import DaskFleet

    env = certificate(tmp_path)
    file = tmp_path / "scheduler.json"
    scheduler = (
        *("scheduler", "--no-dashboard", "--protocol", "tls", "--port", "0"),
        *("--host", "127.0.0.1", "--scheduler-file", str(file)),
        *("--preload", "luminal.fleet.dask", "--journal", str(tmp_path / "journal")),
    )
    worker = ("worker", "--scheduler-file", str(file), "--no-dashboard")
    pem = str(tmp_path / "all.pem")
    security = distributed.Security(
        tls_ca_file=str(tmp_path / "cert.pem"),
        tls_client_cert=pem,
        tls_client_key=pem,
        require_encryption=True,
    )

    @asynccontextmanager
    async def connected() -> AsyncIterator[Any]:
        async with distributed.Client(
            scheduler_file=str(file),
            asynchronous=True,
            security=security,
            timeout=DEADLINE,
        ) as client:
            await client.wait_for_workers(1, timeout=DEADLINE)
            yield client

    async with process(*scheduler, env=env) as first:
        await async_wait_until(file.exists)
        async with process(*worker, env=env), connected() as client:
            assert (await DaskFleet(client).swap(write(tmp_path, 7))).is_committed
            assert await answers(client) == {7}
            os.killpg(first.pid, signal.SIGKILL)
            await first.wait()
            file.unlink()
    async with process(*scheduler, env=env):
        await async_wait_until(file.exists)
        async with process(*worker, env=env), connected() as client:
            assert await answers(client) == {7}
            assert (await DaskFleet(client).status()).number == 1
            assert (await DaskFleet(client).swap(write(tmp_path, 8))).is_committed
            assert await answers(client) == {8}


async def test_workers_that_were_there_before_their_coordinator(tmp_path: Path) -> None:
    from luminal.fleet.dask import DaskFleet, FleetScheduler

    async with (
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            asynchronous=True,
            dashboard_address="127.0.0.1:0",
            local_directory=str(tmp_path),
        ) as made,
        distributed.Client(made, asynchronous=True) as client,
    ):
        journal = str(tmp_path / "journal")
        await client.register_plugin(FleetScheduler(journal, f"{THIS}:make_loader"))
        report = await DaskFleet(client).swap(write(tmp_path, 1))
        assert report.is_committed
        assert [*report.votes.values()] == [""]
        assert await answers(client) == {1}


async def test_a_scheduler_without_its_journal_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as failed:
        async with distributed.Scheduler(
            port=0,
            dashboard_address="127.0.0.1:0",
            preload=["luminal.fleet.dask"],
        ):
            pass
    assert "the journal of the fleet is not named" in str(failed.value.__cause__)
