"""A swap of a fleet: four workers of one machine, and simulated fleets of any size.

``python -m benchmarks.fleet [--size small|full]``. The swap of a local fleet is timed
beside the same swap in four processes at once without a protocol, and two fsyncs; both
in the same processes, in turn. In simulated fleets the rules alone run: a message takes
a millisecond, a row two, and a member's work fifty; so the messages and the times of
one swap are exact, and the processor's time is what the rules of all need.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import banner, ratio

WORKERS = 4
PHOTON = """\
from luminal import IPhoton, hookimpl

class Photon(IPhoton):
    photon_name = "{name}"
    photon_version = "1"

    @hookimpl
    def who_{name}(self):
        return {answer}
"""


# --- Workers -------------------------------------------------------------------------


async def work(name: str) -> None:
    """Be a worker: of the fleet, and of swaps that are asked for on standard input."""
    from luminal import Loader
    from luminal.fleet.local import LocalFleet
    from luminal.trust import open_bundle

    loader, plain = Loader(), Loader()
    fleet = LocalFleet(loader, "bench", "geo.py", member=name)
    await fleet.join()
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
    )
    print("ready", flush=True)
    while path := (await reader.readline()).decode().strip():
        data = await asyncio.to_thread(Path(path).read_bytes)
        bundle = await asyncio.to_thread(open_bundle, data, "plain")
        prepared = await plain._prepare_for_fleet(bundle)
        await prepared.commit()
        print("done", flush=True)
    await fleet.close()


class Workers:
    """Four processes that do both."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.answers = itertools.count()
        self.write("geo")
        self.journal = os.open(directory / "rows", os.O_WRONLY | os.O_CREAT)
        command = [sys.executable, "-m", "benchmarks.fleet", "--worker"]
        path = os.pathsep.join([os.getcwd(), *sys.path])
        self.processes = [
            subprocess.Popen(
                [*command, f"w{number}"],
                cwd=directory,
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(WORKERS)
        ]
        for process in self.processes:
            assert process.stdout.readline() == "ready\n"

    def write(self, name: str) -> Path:
        """Write a photon that answers what none has answered before."""
        path = self.directory / f"{name}.py"
        path.write_text(PHOTON.format(name=name, answer=next(self.answers)))
        return path

    def beside(self) -> None:
        """Swap in all processes at once, and fsync twice."""
        from luminal.discovery import pack

        data = pack(self.directory / "plain.py").data()
        path = self.directory / "plain.photon"
        path.write_bytes(data)
        for _ in range(2):
            os.write(self.journal, b"row\n")
            os.fsync(self.journal)
        for process in self.processes:
            process.stdin.write(f"{path}\n")
            process.stdin.flush()
        for process in self.processes:
            assert process.stdout.readline() == "done\n"

    def close(self) -> None:
        """End the processes."""
        for process in self.processes:
            process.stdin.close()
        for process in self.processes:
            process.wait()
            process.stdout.close()
        os.close(self.journal)


def percentile(times: list[float], part: float) -> float:
    return sorted(times)[int(len(times) * part)]


async def measure_local(workers: Workers, count: int) -> None:
    from luminal.fleet.local import LocalClient

    client = LocalClient("bench")
    names = {
        "without protocol": "",
        "local fleet": "immediate",
        "local fleet, barrier": "barrier",
    }
    times: dict[str, list[float]] = {name: [] for name in names}
    mixed: list[float] = []
    for turn in range(count + 2):
        for name, mode in names.items():
            path = workers.write("geo" if mode else "plain")
            await asyncio.sleep(0.05)  # what the last one has left to do is done
            start = time.perf_counter()
            if mode:
                report = await client.swap(path, mode=mode)
                assert report.is_committed, report
                assert not report.behind, report
            else:
                await asyncio.to_thread(workers.beside)
            if turn > 1:
                times[name].append(time.perf_counter() - start)
                if mode == "immediate":
                    mixed.append(report.mixed_seconds)
    for name, of in times.items():
        p50, p95 = statistics.median(of), percentile(of, 0.95)
        beside = ratio(times, name, "without protocol")
        print(
            f"{name:<24} {p50 * 1e6:10.0f} µs  {beside:5.2f} x without protocol;"
            f" p95 {p95 * 1e3:6.1f} ms, {p95 / p50:4.2f} x p50"
        )
    p50 = statistics.median(mixed)
    print(
        f"{'mixed window':<24} {p50 * 1e6:10.0f} µs  "
        f"{p50 / statistics.median(times['without protocol']):5.2f} x without protocol;"
        f" p95 {percentile(mixed, 0.95) * 1e3:6.1f} ms"
    )


# --- Simulated -----------------------------------------------------------------------

MESSAGE, ROW, WORK = 0.001, 0.002, 0.050


class Network:
    """Rules of a coordinator and of members, with a clock that jumps."""

    def __init__(self, count: int) -> None:
        from luminal.fleet._protocol import Coordinator, Log, Member

        self.now = 0.0
        self.queue: list[Any] = []
        self.order = itertools.count()
        self.messages = 0
        self.bytes = 0
        self.finished: list[Any] = []
        self.coordinator = Coordinator(Log())
        self.members = {f"m{n}": Member(f"m{n}") for n in range(count)}
        for name in self.members:
            self.decide(self.coordinator.joined(name, self.now))
        self.run()

    def later(self, seconds: float, do: Any, *args: Any) -> None:
        """Let something happen in *seconds*."""
        heapq.heappush(self.queue, (self.now + seconds, next(self.order), do, args))

    def run(self) -> None:
        """Do all that is to be done."""
        while self.queue:
            self.now, _, do, args = heapq.heappop(self.queue)
            do(*args)

    def decide(self, effects: list[Any]) -> None:
        """Do what the coordinator wants."""
        from luminal.fleet._protocol import Send, Write

        for effect in effects:
            if type(effect) is Send:
                self.count(effect.message)
                member = self.members[effect.member]
                self.later(MESSAGE, self.tell, member, effect.message)
            elif type(effect) is Write:
                self.later(ROW, self.write, effect.row)
            else:
                self.finished.append(self.now)

    def count(self, message: Any) -> None:
        """Count a message."""
        self.messages += 1
        if self.is_counting_bytes:
            from luminal.fleet._codec import encode

            self.bytes += len(encode(message))

    is_counting_bytes = False

    def write(self, row: Any) -> None:
        """Tell that a row is there."""
        self.decide(self.coordinator.written(row, self.now))

    def tell(self, member: Any, message: Any) -> None:
        """Deliver a message to a member."""
        self.act(member, member.received(message))

    def act(self, member: Any, effects: list[Any]) -> None:
        """Do what a member wants."""
        from luminal.fleet._protocol import CommitPrepared, Load, MemberState, Stage

        for effect in effects:
            kind = type(effect)
            if kind is MemberState:
                self.count(effect)
                self.later(MESSAGE, self.hear, member.name, effect)
            elif kind is Stage:
                self.later(WORK, lambda m=member, e=effect: self.act(m, m.staged(e)))
            elif kind in (CommitPrepared, Load):
                self.later(MESSAGE, self.commit, member, effect)

    def commit(self, member: Any, effect: Any) -> None:
        """Tell that a member runs something."""
        self.act(member, member.committed(effect.unit, effect.number))

    def hear(self, name: str, state: Any) -> None:
        """Deliver a message to the coordinator."""
        self.decide(self.coordinator.received(name, state, self.now))

    def swap(self, digest: str) -> float:
        """Swap, and return how long it took in simulated seconds."""
        start = self.now
        self.decide(self.coordinator.request("geo", digest))
        self.run()
        return self.finished[-1] - start


def simulate(sizes: tuple[int, ...]) -> None:
    print("members  messages  a member  KiB sent  simulated ms  processor ms")
    for size in sizes:
        network = Network(size)
        network.swap("a")
        network.messages = 0
        start = time.process_time()
        seconds = network.swap("b")
        processor = time.process_time() - start
        messages = network.messages
        network.is_counting_bytes = True
        network.swap("c")
        print(
            f"{size:7,} {messages:9,} {messages / size:9.2f} "
            f"{network.bytes / 1024:9,.0f} {seconds * 1e3:13.1f} "
            f"{processor * 1e3:13.1f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("small", "full"), default="small")
    parser.add_argument("--swaps", type=int, help="of the local fleet")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        asyncio.run(work(options.worker))
        return
    is_full = options.size == "full"
    banner("simulated fleets: one swap")
    simulate((1, 2, 4, 10, 30, 100, 300, 1000) if is_full else (1, 4, 100))
    banner(f"a swap of {WORKERS} local workers")
    with tempfile.TemporaryDirectory(prefix="fleet") as place:
        for key in ("RUNTIME", "STATE", "CACHE"):
            os.environ[f"LUMINAL_{key}_DIR"] = os.path.join(place, key.lower())
        count = options.swaps or (200 if is_full else 20)
        workers = Workers(Path(place))
        try:
            asyncio.run(measure_local(workers, count))
        finally:
            workers.close()


if __name__ == "__main__":
    main()
