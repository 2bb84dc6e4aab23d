"""A worker of a local fleet, which a test asks by lines of JSON.

``python -m tests.fleet.local_worker NAME SOURCE OPTIONS``
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

from luminal import Loader, LuminalError
from luminal.fleet.local import LocalFleet


def say(**values: Any) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


async def main(name: str, source: str, options: dict[str, Any]) -> None:
    loader = Loader()
    sources = options.pop("sources", [source])
    fleet = LocalFleet(
        loader, "shop", sources, member=name, again_seconds=0.2, **options
    )

    def who() -> Any:
        try:
            return fleet.hook.who()
        except Exception as error:
            return repr(error)

    while True:
        try:
            await fleet.join()
        except LuminalError as error:
            say(error=str(error))
        else:
            say(answer=who())
            break
    while line := await asyncio.to_thread(sys.stdin.readline):
        request = json.loads(line)
        if request == "answer":
            say(answer=who())
        elif request == "decides":
            say(answer=fleet.is_coordinator)
        elif request == "fork":  # a child that outlives this process
            pid = os.fork()
            if pid == 0:
                os.closerange(0, 3)
                signal.pause()
            say(answer=pid)
    await fleet.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
