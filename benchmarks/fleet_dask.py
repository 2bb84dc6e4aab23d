"""Swaps on all workers of a Dask cluster under load, a fifth of them with faults.

``python -m benchmarks.fleet_dask [--swaps 1000] [--workers 4] [--size small|full]``.
Scheduler and workers are processes of their own, started by the commands of Dask. Tasks
call a hook all the time, and each answer is checked against the journal: it must have
been decided before the call ended, and not be replaced everywhere before it began.
Workers and the scheduler are killed in the middle of swaps. Swaps are compared with a
no-op on all workers in the same run. Both begin after the same rest, in which the tasks
go on: so neither finds the processes busy with what came before, or just woken by it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import asynccontextmanager, suppress
from hashlib import sha512
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from benchmarks.measure import banner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).resolve().parent.parent
REST = 0.1
"""Seconds before each swap and each no-op."""

PATIENCE = 120.0
"""Seconds until all workers must run what is decided, whatever was killed."""

PHOTON = """\
import os, signal
{head}
from luminal import IPhoton, hookimpl

class Geo(IPhoton):
    photon_name = "geo"
    photon_version = "1.0"

    def start(self):
        {start}

    @hookimpl
    def who(self):
        return {answer}
"""

# Only one worker finds the file: the first one that starts the photon.
TAKES = (
    "try: os.unlink({mark!r})\n        except FileNotFoundError: pass\n        else: "
)

FAULTS = (
    "refused by one",
    "import broken",
    "worker killed in its start",
    "worker killed",
    "worker stopped for a while",
    "scheduler killed",
)


def noop() -> None:
    """Do nothing, on all workers."""


def call(count: int) -> list[tuple[float, float, int]]:
    """Call the hook some times; return when each began and ended, and its answer."""
    import luminal.fleet

    rows = []
    for _ in range(count):
        began = time.time()
        answers = luminal.fleet.hook().who()
        rows.append((began, time.time(), answers[0] if answers else -1))
        time.sleep(0.002)
    return rows


@attrs.define(eq=False)
class Soak:
    """A cluster, and what is known of its swaps.

    Attributes:
        directory: For all files.
        count: Of workers.
        times: Mode → seconds of each swap without a fault.
        digests: Answer → digest of the bundle that gives it.
        settled: Answer → when all workers were known to run it.
        calls: When each call began and ended, and what it answered.
        failed: Why tasks have failed → how often.
    """

    directory: Path
    count: int
    dice: random.Random
    digests: dict[int, str] = attrs.Factory(dict)
    settled: dict[int, float] = attrs.Factory(dict)
    calls: list[tuple[float, float, int]] = attrs.Factory(list)
    failed: Counter[str] = attrs.Factory(Counter)
    times: dict[str, list[float]] = attrs.Factory(lambda: defaultdict(list))
    mixed: list[float] = attrs.Factory(list)
    noops: list[float] = attrs.Factory(list)
    made: Counter[str] = attrs.Factory(Counter)
    restarts: int = 0
    client: Any = None
    scheduler: Any = None
    is_over: bool = False

    @property
    def file(self) -> Path:
        """Where the scheduler writes its address."""
        return self.directory / "scheduler.json"

    @property
    def journal(self) -> Path:
        """The journal of the fleet."""
        return self.directory / "journal"

    async def start_process(self, *arguments: str) -> Any:
        """Start a command of Dask in a process group of its own."""
        with (self.directory / "log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "dask",
                *arguments,
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def keep_scheduler(self) -> None:
        """Start the scheduler, and start it again whenever it ends."""
        while not self.is_over:
            self.file.unlink(missing_ok=True)
            self.scheduler = await self.start_process(
                *("scheduler", "--no-dashboard", "--port", "0"),
                *("--host", "127.0.0.1", "--scheduler-file", str(self.file)),
                *("--preload", "luminal.fleet.dask", "--journal", str(self.journal)),
            )
            try:
                await self.scheduler.wait()
            finally:
                kill_group(self.scheduler)
                await self.scheduler.wait()

    async def keep_worker(self, name: str) -> None:
        """Start a worker, and start it again whenever it ends."""
        while not self.is_over:
            while not self.file.exists():  # noqa: ASYNC110 - another process makes it
                await asyncio.sleep(0.05)
            worker = await self.start_process(
                *("worker", "--scheduler-file", str(self.file), "--no-dashboard"),
                *("--nthreads", "2", "--name", name, "--host", "127.0.0.1"),
                *("--local-directory", str(self.directory)),
            )
            try:
                await worker.wait()
            finally:
                kill_group(worker)
                await worker.wait()

    async def connect(self) -> None:
        """Make a new client; return once all workers are there."""
        from distributed import Client

        until = time.monotonic() + PATIENCE
        while True:
            if self.client is not None:
                with suppress(Exception):
                    await self.client.close()
            try:
                self.client = await Client(
                    scheduler_file=str(self.file), asynchronous=True, timeout=30
                )
                await self.client.wait_for_workers(self.count, timeout=PATIENCE)
            except Exception:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(0.2)
            else:
                return

    async def load(self) -> None:
        """Let tasks call the hook all the time."""
        while not self.is_over:
            client = self.client
            try:
                futures = client.map(call, [5] * 2 * self.count, pure=False)
                waiting = client.gather(futures, errors="skip")
                for rows in await asyncio.wait_for(waiting, PATIENCE):
                    self.calls += rows
                for future in futures:
                    if future.status == "error":
                        self.failed[type(await future.exception()).__name__] += 1
            except Exception as error:  # the scheduler has gone, and the client
                self.failed[f"batch: {type(error).__name__}"] += 1
                await asyncio.sleep(0.2)

    def bundle(self, answer: int, head: str = "", start: str = "pass") -> bytes:
        """Return a photon that gives *answer*."""
        from luminal.discovery import pack

        path = self.directory / "geo.py"
        path.write_text(PHOTON.format(answer=answer, head=head, start=start))
        data = pack(path).data()
        self.digests[answer] = sha512(data).hexdigest()
        return data

    async def swap(self, answer: int, fault: str) -> None:
        """Ask for a swap, with a fault in the middle, and wait until all agree."""
        from luminal.errors import LuminalError
        from luminal.fleet.dask import DaskFleet

        mark = str(self.directory / "mark")
        head, start = "", "pass"
        if fault == "import broken":
            head = "import not_there_at_all"
        elif fault in ("refused by one", "worker killed in its start"):
            Path(mark).touch()  # noqa: ASYNC240 - a benchmark
            start = TAKES.format(mark=mark) + (
                "raise ValueError('no')"
                if fault == "refused by one"
                else "os.kill(os.getpid(), signal.SIGKILL)"
            )
        data = self.bundle(answer, head, start)
        mode = self.dice.choice(("immediate", "immediate", "barrier"))
        await asyncio.sleep(REST)
        began = time.perf_counter()
        asking = asyncio.ensure_future(DaskFleet(self.client).swap(data, mode=mode))
        await self.disturb(fault)
        try:
            report = await asyncio.wait_for(asking, PATIENCE)
        except (LuminalError, OSError):
            outcome = "unknown to who asked"
        else:
            outcome = "committed" if report.is_committed else "refused"
            if not fault:
                self.times[mode].append(time.perf_counter() - began)
                self.mixed.append(report.mixed_seconds)
        Path(mark).unlink(missing_ok=True)  # noqa: ASYNC240 - likewise
        await self.agree()
        if outcome.startswith("unknown"):  # the journal has settled it
            outcome += ", committed" if answer in self.settled else ", aborted"
        self.made[f"{fault or 'no fault'}: {outcome}"] += 1

    async def disturb(self, fault: str) -> None:
        """Kill or stop something, at any moment of a swap."""
        if fault not in FAULTS[3:]:
            return
        pids = [] if fault == "scheduler killed" else await self.pids()
        await asyncio.sleep(self.dice.random() * 0.1)
        if fault == "scheduler killed":
            self.restarts += 1
            kill_group(self.scheduler)
            await self.scheduler.wait()
            await self.connect()
            return
        pid = self.dice.choice(pids)
        with suppress(ProcessLookupError):
            if fault == "worker killed":
                os.kill(pid, signal.SIGKILL)
            else:
                os.kill(pid, signal.SIGSTOP)
                await asyncio.sleep(self.dice.random())
                os.kill(pid, signal.SIGCONT)

    async def pids(self) -> list[int]:
        """Return the processes of the workers."""
        return [*(await self.client.run(os.getpid, on_error="ignore")).values()]

    async def agree(self) -> None:
        """Wait until all workers are there and run what the journal says.

        Raises:
            TimeoutError: They do not.
        """
        until = time.monotonic() + PATIENCE
        found: object = None
        while time.monotonic() < until:
            try:
                found = await self.looked_at()
            except Exception as error:  # a worker ends meanwhile, or the scheduler
                found = error
            if found is None:
                return
            await asyncio.sleep(0.1)
        raise TimeoutError(f"the workers do not agree: {found}")

    async def looked_at(self) -> object:
        """Return what is not as it should be; None where all agree."""
        from luminal.fleet.dask import DaskFleet

        status = await DaskFleet(self.client).status()
        if len(status.members) != self.count or status.blocked_by or status.under_way:
            return status
        if any(each.is_behind or each.prepared for each in status.members):
            return status
        answers = await self.client.run(call, 1)
        now = time.time()
        values = {rows[0][2] for rows in answers.values()}
        if len(answers) != self.count:
            return answers
        if len(values) != 1:
            raise SystemExit(f"SPLIT: {answers} {status}")
        value = values.pop()
        if self.digests.get(value) != status.units["geo"][1]:
            raise SystemExit(f"NOT DECIDED: {value} {status}")
        self.settled[value] = now
        return None

    def undecided_calls(self) -> list[tuple[float, float, int]]:
        """Return calls that were answered by what was not decided at their time."""
        from luminal.fleet import read_journal
        from luminal.fleet._protocol import Begin, Commit

        begun: dict[int, Begin] = {}
        decided: dict[str, tuple[int, float]] = {}
        for entry in read_journal(str(self.journal)):
            if isinstance(entry.row, Begin):
                begun[entry.row.number] = entry.row
            elif isinstance(entry.row, Commit):
                digest = begun[entry.row.number].digest
                decided[digest] = entry.row.number, entry.at
        rows = sorted(
            (decided[self.digests[v]][0], at) for v, at in self.settled.items()
        )
        wrong = []
        for began, ended, value in self.calls:
            number, at = decided.get(self.digests.get(value, ""), (0, float("inf")))
            is_replaced = any(n > number and then < began for n, then in rows)
            if at > ended or is_replaced:
                wrong.append((began, ended, value))
        return wrong


def kill_group(process: Any) -> None:
    """End a command and all that it has started."""
    if process is not None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@asynccontextmanager
async def running(directory: Path, count: int, seed: int) -> AsyncIterator[Soak]:
    """Yield a soak whose cluster is there, and end it."""
    soak = Soak(directory, count, random.Random(seed))
    tasks = [asyncio.create_task(soak.keep_scheduler())]
    tasks += [asyncio.create_task(soak.keep_worker(f"w{n}")) for n in range(count)]
    try:
        await soak.connect()
        yield soak
    finally:
        soak.is_over = True
        with suppress(Exception):
            await asyncio.wait_for(soak.client.close(), 10)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def run(options: argparse.Namespace, directory: Path) -> int:
    """Run the soak, and print what came of it."""
    async with running(directory, options.workers, options.seed) as soak:
        await soak.swap(0, "")
        load = asyncio.create_task(soak.load())
        began = time.monotonic()
        for number in range(1, options.swaps + 1):
            fault = ""
            if number % 5 == 0 and not options.no_faults:
                fault = FAULTS[(number // 5 - 1) % len(FAULTS)]
            await soak.swap(number, fault)
            await asyncio.sleep(REST)
            start = time.perf_counter()
            await soak.client.run(noop, on_error="ignore")
            soak.noops.append(time.perf_counter() - start)
            seconds = time.monotonic() - began
            if number % 50 == 0:
                print(f"{number} swaps in {seconds:.0f} s", flush=True)
            if seconds > options.minutes * 60:
                break
        soak.is_over = True
        await asyncio.wait([load], timeout=PATIENCE)
        wrong = soak.undecided_calls()
    banner(f"{number} swaps on {options.workers} Dask workers")
    print(f"swaps, scheduler killed {soak.restarts} times:")
    for outcome, count in sorted(soak.made.items()):
        print(f"  {outcome}: {count}")
    print(f"calls: {len(soak.calls):,}; failed tasks: {dict(soak.failed)}")
    print("split decisions: 0; left prepared: 0 (looked at after each swap)")
    print(f"calls answered by what was not decided: {len(wrong)} {wrong[:3]}")
    plain = statistics.median(soak.noops)
    print(f"no-op on all: {plain * 1e3:.0f} ms")
    soak.times["all"] = [*itertools.chain(*soak.times.values())]
    for mode, times in soak.times.items():
        p50, p95 = statistics.median(times), sorted(times)[int(len(times) * 0.95)]
        print(
            f"swap without faults, {mode}: p50 {p50 * 1e3:.0f} ms, "
            f"{p50 / plain:.1f} x no-op; p95 {p95 / p50:.1f} x p50"
        )
    print(f"mixed window / no-op on all: {statistics.median(soak.mixed) / plain:.1f}")
    return 1 if wrong else 0


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("small", "full"), default="small")
    parser.add_argument("--swaps", type=int, help="by default 30, or 1000 if full")
    parser.add_argument("--minutes", type=float, default=120, help="and no longer")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-faults", action="store_true")
    options = parser.parse_args()
    logging.disable()  # Dask's client tells at length of each scheduler that is killed
    options.swaps = options.swaps or (1000 if options.size == "full" else 30)
    with tempfile.TemporaryDirectory(prefix="luminal-fleet-") as directory:
        return asyncio.run(run(options, Path(directory)))


if __name__ == "__main__":
    sys.exit(main())
