"""A worker of a local fleet, for tests of ``luminal fleet``: NAME MEMBER SOURCE."""

from __future__ import annotations

import asyncio
import sys

from luminal import Loader
from luminal.fleet.local import LocalFleet


async def main(name: str, member: str, *sources: str) -> None:
    fleet = LocalFleet(Loader(), name, sources, member=member, again_seconds=0.2)
    await fleet.join()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
