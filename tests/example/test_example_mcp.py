"""The example MCP server: tools change under clients, whose calls do not fail."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest

pytest.importorskip("mcp")

import mcp_types as types
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from plugins_example.mcp.host import GROUP, ToolHost
from tests.conftest import Photons
from tests.distributions import put
from tests.waiting import DEADLINE, async_wait_until

ROOT = Path(__file__).resolve().parents[2]
PROTOCOLS = ("legacy", "2026-07-28")
"""With a handshake, which most clients make, and without one."""

TOOL = """\
from plugins_example.mcp.tools import ToolPhoton, tool

class Edition(ToolPhoton):
    photon_name = "edition"

    @tool
    def edition(self) -> int:
        '''Return {0}.'''
        return {0}
"""
BROKEN = TOOL + "    def broken(\n"


@attrs.define(eq=False)
class Session:
    """A client, and what its server has told it."""

    client: Client
    changes: asyncio.Event = attrs.Factory(asyncio.Event)
    log: list[str] = attrs.Factory(list)

    async def call(self, name: str, **arguments: Any) -> tuple[str, ...]:
        """Call a tool that must not fail; return its texts."""
        result = await self.client.call_tool(name, arguments)
        assert not result.is_error, result
        return texts(result)

    async def told(self) -> None:
        """Wait until the list of tools has changed since this returned last."""
        await asyncio.wait_for(self.changes.wait(), DEADLINE)
        self.changes.clear()

    async def until(self, value: str, notes: int = 0) -> tuple[str, ...]:
        """Wait until the tool ``edition`` returns *value* and *notes*; return these.

        Each attempt but the first follows a notification.
        """
        while True:
            first, *rest = await self.call("edition")
            if first == value and len(rest) == notes:
                return tuple(rest)
            await self.told()

    async def until_told(self, file: Path) -> None:
        """Save *file* until the client is told of it.

        What a server says before the client has opened a stream for it is lost.
        """
        for edit in itertools.count():
            save(file, f"{TOOL.format(0)}EDIT = {edit}\n")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.changes.wait(), 0.5)
                return


def save(file: Path, text: str) -> None:
    file.write_text(text)


def read(file: Path) -> str:
    return file.read_text()


def texts(result: types.CallToolResult) -> tuple[str, ...]:
    return tuple(c.text for c in result.content if isinstance(c, types.TextContent))


@contextlib.asynccontextmanager
async def serving(transport: str, photons: Path) -> AsyncIterator[Any]:
    """Run the server; yield what a client connects to."""
    command = ["-m", "plugins_example.mcp", "--photons", str(photons)]
    if transport == "stdio":
        parameters = StdioServerParameters(
            command=sys.executable, args=command, cwd=ROOT, env=dict(os.environ)
        )
        with (photons.parent / "log").open("w") as log:
            yield stdio_client(parameters, errlog=log)
        return
    async with http_server(command, photons.parent / "log") as (url, _):
        yield url


@contextlib.asynccontextmanager
async def http_server(
    command: list[str], log: Path
) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """Run the server on a free port; yield its address and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, "--http", str(port), cwd=ROOT, stderr=output
        )

        def is_ready() -> bool:
            assert process.returncode is None, read(log)
            with contextlib.suppress(OSError), socket.create_connection(address):
                return True
            return False

        address = ("127.0.0.1", port)
        try:
            await async_wait_until(is_ready)
            yield f"http://127.0.0.1:{port}/mcp", process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGINT)
            assert await asyncio.wait_for(process.wait(), DEADLINE) == 0
            assert "Traceback" not in read(log)


@contextlib.asynccontextmanager
async def connected(server: Any, protocol: str) -> AsyncIterator[Session]:
    """Connect a client; yield it when it listens for changes."""

    async def on_message(message: object) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            session.changes.set()

    async def on_log(params: types.LoggingMessageNotificationParams) -> None:
        session.log.append(str(params.data))

    client = Client(
        server, mode=protocol, message_handler=on_message, logging_callback=on_log
    )
    session = Session(client)
    async with client, contextlib.AsyncExitStack() as exits:
        if protocol != "legacy":
            await exits.enter_async_context(client.listen(tools_list_changed=True))
        yield session


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_fifty_edits_under_calls(
    transport: str, protocol: str, photons: Photons
) -> None:
    """No call fails, every edit is told, the last one is live."""
    file = photons.write("edition.py", TOOL.format(0))
    seen: list[int] = []

    async def keep_calling(session: Session) -> None:
        while True:
            seen.append(int((await session.call("edition"))[0]))

    async with (
        serving(transport, photons.path) as server,
        connected(server, protocol) as session,
    ):
        await session.until_told(file)
        calling = asyncio.create_task(keep_calling(session))
        good = 0
        for edit in range(1, 51):
            session.changes.clear()
            if edit % 5:
                good = edit
                file.write_text(TOOL.format(edit))
                await session.told()
                await session.until(str(edit))
                continue
            session.log.clear()
            file.write_text(BROKEN.format(edit))
            await session.told()
            (note,) = await session.until(str(good), notes=1)
            assert "edition.py:10" in note
            described = (await session.client.list_tools()).tools[0].description
            assert described is not None
            assert note in described
            if protocol == "legacy":
                await async_wait_until(lambda: session.log)
                assert session.log[0] in note
        assert not calling.done(), calling
        calling.cancel()
        file.write_text(TOOL.format(51))
        await session.until("51")
    assert seen == sorted(seen)
    assert not any(edit and edit % 5 == 0 for edit in seen)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_ctrl_c_ends_the_server_while_a_client_listens(
    protocol: str, photons: Photons, tmp_path: Path
) -> None:
    command = ["-m", "plugins_example.mcp", "--photons", str(photons.path)]
    file = photons.path / "edition.py"
    async with (
        http_server(command, tmp_path / "log") as (url, process),
        connected(url, protocol) as session,
    ):
        await session.until_told(file)
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), DEADLINE) == 0


@pytest.mark.slow
async def test_a_pip_upgrade_swaps_tools(
    photons: Photons, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    monkeypatch.setenv("PYTHONPATH", str(site))

    async def install(version: str) -> None:
        unpacked = tmp_path / version
        put(
            unpacked,
            "editions",
            version,
            group=GROUP,
            entries="edition = editions:Edition",
            files={
                "editions/__init__.py": TOOL.format(version),
                f"editions-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\n"
                "Root-Is-Purelib: true\nTag: py3-none-any\n",
            },
        )
        wheel = tmp_path / f"editions-{version}-py3-none-any.whl"
        os.replace(shutil.make_archive(str(unpacked), "zip", unpacked), wheel)
        pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "-q"]
        process = await asyncio.create_subprocess_exec(
            *pip, "--upgrade", "--target", str(site), str(wheel)
        )
        assert await process.wait() == 0

    await install("1")
    async with (
        serving("stdio", photons.path) as server,
        connected(server, "legacy") as session,
    ):
        await session.until("1")
        session.changes.clear()
        await install("2")
        await session.told()
        await session.until("2")


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_call_in_flight_ends_on_the_old_code(
    protocol: str, photons: Photons, tmp_path: Path
) -> None:
    waiting = TOOL + (
        "    @tool\n"
        "    def slow(self, file: str) -> int:\n"
        "        open(file + '.begun', 'w').close()\n"
        "        while not os.path.exists(file):\n"
        "            time.sleep(0.002)\n"
        "        return {0}\n"
    )
    waiting = "import os, time\n" + waiting
    file = photons.write("edition.py", waiting.format(1))
    let_go = tmp_path / "let go"
    async with ToolHost(photons.path) as host, connected(host.server, protocol) as one:
        slow = asyncio.create_task(one.call("slow", file=str(let_go)))
        await async_wait_until((tmp_path / "let go.begun").exists)
        file.write_text(waiting.format(2))
        await one.until("2")
        assert not slow.done()
        let_go.touch()
        assert await slow == ("1",)


async def test_arguments_and_errors_of_a_tool(photons: Photons) -> None:
    photons.write(
        "tools.py",
        """\
        from plugins_example.mcp.tools import ToolError, ToolPhoton, tool

        class Tools(ToolPhoton):
            photon_name = "tools"

            @tool
            async def double(self, number: int, times: int = 2) -> list[int]:
                '''Double a number.'''
                return [number] * times

            @tool
            def refuse(self) -> None:
                raise ToolError("not today")

            @tool
            def crash(self) -> None:
                raise OSError("no disk")

            def hidden(self) -> None: ...
        """,
    )
    async with (
        ToolHost(photons.path) as host,
        connected(host.server, "legacy") as session,
    ):
        client = session.client
        assert client.server_capabilities.tools is not None
        assert client.server_capabilities.tools.list_changed
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert list(tools) == ["crash", "double", "refuse"]
        assert tools["double"].description == "Double a number."
        assert list(tools["double"].input_schema["properties"]) == ["number", "times"]
        assert tools["double"].input_schema["required"] == ["number"]
        assert await session.call("double", number=4) == ("4", "4")
        for name, arguments, why in (
            ("double", {"number": "x"}, "number"),
            ("double", {}, "number"),
            ("refuse", {}, "not today"),
            ("crash", {}, "OSError: no disk"),
            ("hidden", {}, "no tool 'hidden'"),
        ):
            result = await client.call_tool(name, arguments)
            assert result.is_error
            assert why in texts(result)[0]


async def test_a_tool_that_never_loaded_says_why_until_its_file_is_gone(
    photons: Photons,
) -> None:
    async with (
        ToolHost(photons.path) as host,
        connected(host.server, "legacy") as session,
    ):

        async def ask() -> str:
            return texts(await session.client.call_tool("edition"))[0]

        file = photons.write("edition.py", BROKEN.format(1))
        while "edition.py:10" not in await ask():
            await session.told()
        file.unlink()
        assert "edition.py" not in await ask()
        photons.write("edition.py", TOOL.format(1))
        while await ask() != "1":
            await session.told()


async def test_a_client_chooses_the_level_of_messages(photons: Photons) -> None:
    file = photons.write("edition.py", TOOL.format(1))
    async with (
        ToolHost(photons.path) as host,
        connected(host.server, "legacy") as loud,
        connected(host.server, "legacy") as quiet,
    ):
        request = types.SetLevelRequest(
            params=types.SetLevelRequestParams(level="critical")
        )
        await quiet.client.session.send_request(request, types.EmptyResult)
        file.write_text(BROKEN.format(2))
        await asyncio.gather(loud.told(), quiet.told())
        assert len(loud.log) == 1
        assert not quiet.log


async def test_a_schema_that_the_sdk_refuses_rejects_the_save(
    photons: Photons,
) -> None:
    file = photons.write("edition.py", TOOL.format(1))
    async with (
        ToolHost(photons.path) as host,
        connected(host.server, "legacy") as session,
    ):
        file.write_text(TOOL.format(2).replace("(self)", "(self, _private: int)"))
        (note,) = await session.until("1", notes=1)
        assert "_private" in note


def test_without_the_sdk_one_line_says_what_to_install() -> None:
    program = (
        "import runpy, sys\n"
        "sys.modules['mcp'] = sys.modules['mcp_types'] = None\n"
        "runpy.run_module('plugins_example.mcp', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "pip install" in done.stderr
    assert "mcp" in done.stderr
