"""Swaps of real local workers, many of which are killed meanwhile: a command.

``python -m tests.fleet.soak_local [--swaps N]`` tells how far it is, and fails where an
answer was not decided, or where workers do not come to run the same.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from random import Random

from luminal.errors import LuminalError
from luminal.fleet import read_journal
from luminal.fleet._contents import digest_of
from luminal.fleet._protocol import Begin, Commit, Log
from luminal.fleet._sources import bytes_of
from tests.fleet.test_fleet_local import Place, Worker
from tests.waiting import DEADLINE

KINDS = (
    "no fault",
    "coordinator killed",
    "worker killed",
    "worker paused",
    "refused",
    "refused, coordinator killed",
)
NAMES = ("a", "b", "c", "d")


def words_decided(place: Place, words: dict[str, str]) -> list[str]:
    """Return what was decided, the latest last."""
    begun: dict[int, str] = {}
    decided = []
    for entry in read_journal(place.journal):
        if isinstance(entry.row, Begin):
            begun[entry.row.number] = entry.row.digest
        elif isinstance(entry.row, Commit):
            decided.append(words[begun[entry.row.number]])
    return decided


def check(place: Place, words: dict[str, str]) -> None:
    """Wait until all run what was decided last; nobody ever runs anything else."""
    end = time.monotonic() + DEADLINE
    while True:
        answers = [answer for (answer,) in place.answers()]
        decided = words_decided(place, words)
        assert set(answers) <= set(decided), (answers, decided)
        if set(answers) == {decided[-1]}:
            return
        assert time.monotonic() < end, f"{answers} are not {decided[-1]}"


def hurt(place: Place, kind: str, random: Random) -> Worker | None:
    """Let one fault happen; return the worker that has ended, if one has."""
    if kind.endswith("coordinator killed"):
        victim = place.coordinator()
    elif kind.startswith("worker"):
        victim = random.choice([w for w in place.workers if not w.ask("decides")])
    else:
        return None
    time.sleep(random.uniform(0.0, 0.1))
    if kind == "worker paused":
        victim.process.send_signal(signal.SIGSTOP)
        time.sleep(random.uniform(0.0, 0.5))
        victim.process.send_signal(signal.SIGCONT)
        return None
    place.kill(victim)
    return victim


def ask(place: Place, source: Path, outcome: list[str]) -> None:
    """Ask for a swap, and note what came of it."""
    try:
        report = asyncio.run(place.client.swap(source))
        outcome.append("committed" if report.is_committed else "aborted")
    except LuminalError:
        outcome.append("unknown to who asked")


def soak(place: Place, swaps: int, random: Random) -> Counter[str]:
    """Make swaps, and return what has happened how often."""
    counts: Counter[str] = Counter()
    words = {digest_of(bytes_of(place.source)): "one"}
    for worker in place.start(*NAMES):
        assert worker.heard() == ["one"]
    for number in range(swaps):
        kind = random.choice(KINDS)
        is_bad = kind.startswith("refused")
        start = "raise RuntimeError('not here')" if is_bad else "pass"
        word = f"bad {number}" if is_bad else f"word {number}"
        source = place.save(word, start, "next")
        words[digest_of(bytes_of(source))] = word
        outcome: list[str] = []
        thread = threading.Thread(target=ask, args=(place, source, outcome))
        is_first = random.random() < 0.5  # the fault, and then the swap
        if not is_first:
            thread.start()
        victim = hurt(place, kind, random)
        if is_first:
            thread.start()
        thread.join()
        counts.update((kind, *outcome))
        if is_first or not kind.endswith("coordinator killed"):
            assert outcome == ["aborted" if is_bad else "committed"], kind
        if victim is not None:
            (again,) = place.start(victim.name)
            (answer,) = again.heard()
            assert answer in words_decided(place, words)
        check(place, words)
        assert f"bad {number}" not in words_decided(place, words)
        if (number + 1) % 10 == 0:
            sys.stdout.write(f"{number + 1} of {swaps} swaps\n")
            sys.stdout.flush()
    Log(e.row for e in read_journal(place.journal) if e.row is not None)
    return counts


def main() -> None:
    """Soak, and print what has happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=200, help="how many swaps")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lf-") as directory:
        for kind in ("STATE", "RUNTIME", "CACHE"):
            path = os.path.join(directory, kind.lower())
            os.mkdir(path, 0o700)
            os.environ[f"LUMINAL_{kind}_DIR"] = path
        place = Place(Path(directory))
        place.save("one")
        try:
            counts = soak(place, arguments.swaps, Random(arguments.seed))
        finally:
            for worker in place.workers:
                worker.process.kill()
                worker.close()
    for what, count in sorted(counts.items()):
        sys.stdout.write(f"{count:6,} {what}\n")


if __name__ == "__main__":
    main()
