"""What a lock costs: a load of what has not changed, and a save in development.

A distribution of 31 modules and its data is loaded with a lock that lists it, and
without one, in turn. The verdict is all that the lock adds: the files that are no
modules are read, the digest is made, and the judge looks at it. A photon of a directory
that no lock lists is saved and reloaded under ``pin`` and under ``off``, in turn.

    python -m benchmarks.trust [--rounds N]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import banner, ratio, table

MODULES = 30

BODY = '''
class Part{number}:
    """One of many classes of a photon that does something."""

    def __init__(self, name: str, limit: int = {number}) -> None:
        self.name = name
        self.limit = limit
        self.seen: dict[str, int] = {{}}

    def add(self, key: str, amount: int = 1) -> int:
        """Add to what was seen of a key, up to the limit."""
        known = self.seen.get(key, 0)
        if known + amount > self.limit * 1000:
            raise ValueError(f"{{self.name}}: too many of {{key!r}}")
        self.seen[key] = known + amount
        return self.seen[key]
'''


def write(site: Path) -> None:
    """Write the distribution."""
    from tests.distributions import photon_text, put

    imports = "".join(f"from . import part{n}\n" for n in range(MODULES))
    files = {"geo/__init__.py": imports + photon_text("geo", "1.0")}
    for number in range(MODULES):
        text = "".join(BODY.format(number=100 * number + n) for n in range(12))
        files[f"geo/part{number}.py"] = text
    files["geo/data/table.csv"] = "name,value\n" * 4_000
    put(site, "geo", "1.0", files=files)


async def load(lock: Any, *, is_cached: bool = False) -> tuple[float, float]:
    """Return the seconds of a load, and of the verdict in it."""
    import luminal
    from luminal.lifecycle import _accepted
    from luminal.loading import _judging

    spent = [0.0]

    def counted(inner: Any, sign: int = 1) -> Any:
        def call(*arguments: Any, **more: Any) -> Any:
            began = time.perf_counter()
            try:
                return inner(*arguments, **more)
            finally:
                spent[0] += sign * (time.perf_counter() - began)

        return call

    before = _judging.judged, _accepted.use_accepted, _accepted.add_owned
    _judging.judged, _accepted.use_accepted = map(counted, before[:2])
    # What it owns is looked up without a lock as well, a little later.
    _accepted.add_owned = counted(before[2], -1)
    found = luminal.discover()
    async with luminal.Loader(lock=lock, cache=is_cached) as loader:
        began = time.perf_counter()
        report = await loader.load(found)
        seconds = time.perf_counter() - began
        assert len(report.loaded) == 1, report
    _judging.judged, _accepted.use_accepted, _accepted.add_owned = before
    return seconds, spent[0]


async def save(lock: Any, folder: Path, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of reloads after a save without and with a lock, in turn."""
    import luminal
    from tests.distributions import photon_text

    times: dict[str, list[float]] = {"off": [], "pin": []}
    paths = {name: folder / name / "calc.py" for name in times}
    for path in paths.values():
        path.parent.mkdir(parents=True)
        path.write_text(photon_text("calc", "1"))
    async with (
        luminal.Loader(lock="off") as off,
        luminal.Loader(lock=lock) as pinned,
    ):
        loaders = {"off": off, "pin": pinned}
        for name, loader in loaders.items():
            await loader.load(luminal.discover(paths[name].parent, group=None))
            await loader.start()
        for number in range(rounds):
            gc.collect()
            gc.disable()
            for name in sorted(loaders, reverse=number % 2 == 1):
                paths[name].write_text(photon_text("calc", f"1.{number}"))
                began = time.perf_counter()
                await loaders[name].reload_photon("calc")
                times[name].append(time.perf_counter() - began)
            gc.enable()
    return times


def settle(lock: Path) -> None:
    """Wait until the lock is so old that its stamp proves it unchanged.

    Until then it is read again for each verdict, as in the seconds after an accept.
    """
    from luminal.store import settled, stamp_of

    while not settled(stamp_of(lock.stat()), time.time_ns()):
        time.sleep(0.05)


def main() -> None:
    """Run both, and print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        os.environ["LUMINAL_STATE_DIR"] = str(root / "state")
        os.environ["LUMINAL_CACHE_DIR"] = str(root / "cache")
        site = root / "site"
        site.mkdir()
        write(site)
        sys.path.insert(0, str(site))
        lock = root / "luminal.lock"
        lock.write_text('version = 1\nmode = "pin"\n')
        asyncio.run(load(lock))  # the first use is pinned
        settle(lock)
        for is_cached, what in ((False, "nothing"), (True, "all")):
            asyncio.run(load("off", is_cached=is_cached))  # compiles what is kept
            loads: dict[str, list[float]] = {"off": [], "pinned": [], "verdict": []}
            for _ in range(rounds):
                # A collection looks at the code of all earlier loads.
                gc.collect()
                gc.disable()
                loads["off"].append(asyncio.run(load("off", is_cached=is_cached))[0])
                seconds, verdict = asyncio.run(load(lock, is_cached=is_cached))
                gc.enable()
                loads["pinned"].append(seconds)
                loads["verdict"].append(verdict)
            banner(f"load of a distribution of 31 modules, {what} compiled before")
            table(loads, "off")
            part = min(loads["verdict"]) / min(loads["pinned"])
            print(
                f"verdict: {part:.1%} of the load (fastest of {rounds}), "
                f"{ratio(loads, 'verdict', 'pinned'):.1%} (median)"
            )
        saves = asyncio.run(save(lock, root / "plugins", 20 * rounds))
        banner("save of a photon that no lock lists, and its reload")
        table(saves, "off")
        print(f"pin / off: {ratio(saves, 'pin', 'off'):.3f}")
        print(f"fastest: {min(saves['pin']) / min(saves['off']):.3f}")


if __name__ == "__main__":
    main()
