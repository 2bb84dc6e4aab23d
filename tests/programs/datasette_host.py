"""A Datasette whose plugins come from a Loader, four clients, and upgrades by pip.

``python datasette_host.py FOLDER WHEEL …`` installs one wheel of the plugin after the
other while the clients read, and prints what they saw as JSON. Each version answers at
``/-/version``, which is a route, and in each cell of a table.
"""

# ruff: noqa: E402, T201 - a program that patches before it imports

from __future__ import annotations

import asyncio
import json
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pluggy

import luminal.blocking
from luminal.hooks import DeferredPluginManager

# Before datasette is imported: its manager is Luminal's, and loads no plugins itself.
pluggy.PluginManager = DeferredPluginManager

import uvicorn
from datasette.app import Datasette
from datasette.plugins import pm

CLIENTS = 4
FOLDER, WHEELS = Path(sys.argv[1]), sys.argv[2:]
DEADLINE = 60


class Site(Datasette):
    """A Datasette that asks its plugins for routes again when they have changed."""

    def _routes(self):
        self.table = super()._routes()
        return self.table

    def renew(self):
        """Replace the routes, in the list that the application has."""
        self.table[:] = super()._routes()


class Client(threading.Thread):
    """Reads both pages in turn, and keeps the versions and errors."""

    def __init__(self, port):
        super().__init__()
        self.port, self.errors, self.seen, self.pages, self.is_over = (
            port,
            [],
            {},
            0,
            False,
        )

    def run(self):
        while not self.is_over:
            for path in ("/-/version", "/data/t"):
                try:
                    url = f"http://127.0.0.1:{self.port}{path}"
                    with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
                        text = answer.read().decode()
                    (found, *_) = re.findall(r"version (\d+)", text)
                    if int(found) < self.seen.get(path, 0):
                        self.errors.append(f"{path}: {found} after {self.seen[path]}")
                    self.seen[path] = int(found)
                except Exception as error:
                    self.errors.append(f"{path}: {error!r}")
                self.pages += 1


def install(wheel):
    """Install *wheel* as a user does."""
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--upgrade", wheel], check=True)


def serve(app):
    """Serve *app* in a thread; return its server, its loop and its port."""
    sock = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    loops = []

    async def run():
        loops.append(asyncio.get_running_loop())
        await server.serve([sock])

    threading.Thread(target=lambda: asyncio.run(run()), daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    return server, loops[0], sock.getsockname()[1]


def main():
    """Run it, and print the outcome."""
    database = FOLDER / "data.db"
    with sqlite3.connect(database) as connection:
        connection.execute("create table t (one)")
        connection.execute("insert into t values (1)")
    install(WHEELS[0])
    loader = luminal.blocking.Loader(plugins=pm, project="datasette")
    with loader:
        print(loader.load(), file=sys.stderr)
        loader.start()
        site = Site([str(database)])
        server, loop, port = serve(site.app())

        def renew(hooks):
            # On the loop: no request is being routed meanwhile.
            if "register_routes" in hooks:
                loop.call_soon_threadsafe(site.renew)

        loader.on_hooks_changed(renew)
        loader.watch_distributions()
        clients = [Client(port) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        late = []
        for version, wheel in enumerate(WHEELS[1:], 2):
            install(wheel)
            until = time.monotonic() + DEADLINE
            while any(set(c.seen.values()) != {version} for c in clients):
                if time.monotonic() > until:
                    late.append([version, [c.seen for c in clients]])
                    break
                time.sleep(0.01)
        for client in clients:
            client.is_over = True
        for client in clients:
            client.join()
        names = [plugin for plugin, _ in pm.list_name_plugin()]
        server.should_exit = True
    print(
        json.dumps(
            {
                "upgrades": len(WHEELS) - 1,
                "pages": sum(client.pages for client in clients),
                "errors": [e for client in clients for e in client.errors],
                "late": late,
                "listed": "versioned" in names,
            }
        )
    )


if __name__ == "__main__":
    main()
