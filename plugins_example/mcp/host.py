"""The host: an MCP server that lists and calls its tools through hooks of photons."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any, Self, get_args

import attrs
import mcp_types as types
import uvicorn
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    ToolsListChanged,
)

import luminal
from luminal.model import EventKind
from plugins_example.mcp.tools import PHOTON, failure

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

    from mcp.server.context import ServerRequestContext
    from mcp.server.models import InitializationOptions
    from starlette.applications import Starlette

    from luminal.model import Event, Problem

__all__ = ["GROUP", "ToolHost", "ToolSpecs"]

GROUP = "plugins_example.mcp"
"""Entry-point group of installed photons."""

_LEVELS: tuple[types.LoggingLevel, ...] = get_args(types.LoggingLevel)
"""From the least severe to the most severe."""

_FAILURES = (EventKind.REJECTED, EventKind.FAILED)
_CHANGES = (
    EventKind.LOADED,
    EventKind.STARTED,
    EventKind.SWAPPED,
    EventKind.ROLLED_BACK,
    EventKind.UNLOADED,
    *_FAILURES,
)


class ToolSpecs:
    """The hooks that photons of this host implement; `ToolPhoton` does it for them."""

    @luminal.hookspec(isolate=True)
    def list_tools(self) -> list[types.Tool] | None:
        """Return the photon's tools."""

    @luminal.hookspec(firstresult=True)
    async def call_tool(
        self, name: str, arguments: dict[str, Any]
    ) -> types.CallToolResult | types.InputRequiredResult | None:
        """Call the tool *name*, or return None to leave it to another photon."""


class _Server(Server[Any]):
    """Says in each handshake, over any transport, that the list of tools changes."""

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        """Return the options of a handshake."""
        return super().create_initialization_options(
            notification_options or NotificationOptions(tools_changed=True),
            experimental_capabilities,
            extensions,
        )


class _HttpServer(uvicorn.Server):
    """Ends the streams on which clients listen for changes; it waits for the others.

    Args:
        config: Settings of the server.
        listen: What serves these streams.
    """

    def __init__(self, config: uvicorn.Config, listen: ListenHandler) -> None:
        super().__init__(config)
        self.listen = listen

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down."""
        self.listen.close()
        await super().shutdown(sockets)


@attrs.define(eq=False)
class _Client:
    """A client that has made a handshake.

    Attributes:
        level: The least severe level of messages that it wants.
        messages: What is to be sent to it.
    """

    level: types.LoggingLevel = "info"
    messages: asyncio.Queue[types.ServerNotification] = attrs.Factory(asyncio.Queue)


@attrs.frozen
class _Rejected:
    """Why the latest version of a photon does not run, and the state of its file."""

    text: str
    file: str
    state: tuple[int, int] | None

    @classmethod
    def of(cls, photon: str, problem: Problem) -> _Rejected:
        """Return the rejection of *photon* for *problem*."""
        return cls(str(problem.error(photon)), problem.file, _state(problem.file))

    @property
    def is_current(self) -> bool:
        """Whether the file is as it was; one that was restored emits no event."""
        return not self.file or (
            self.state is not None and _state(self.file) == self.state
        )


def _state(file: str) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


class ToolHost:
    """An MCP server whose tools are photons of a directory and of distributions.

    Enter it to load, start and watch them; leave it to unload them.

    Args:
        photons: Path of the directory.
    """

    def __init__(self, photons: str | os.PathLike[str]) -> None:
        self.photons = photons
        self.loader = luminal.Loader(suppress_errors=True, hookspecs=[ToolSpecs])
        # Clients that make a handshake, by what they said in it: the one object that
        # the SDK keeps for a connection. Others ask for changes by `_listen`.
        self._clients: dict[int, _Client] = {}
        self._changes = InMemorySubscriptionBus()
        self._listen = ListenHandler(self._changes)
        self._rejected: dict[str, _Rejected] = {}
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._exits = contextlib.AsyncExitStack()
        self.server = _Server(
            "luminal-tools",
            version=luminal.__version__,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_subscriptions_listen=self._listen,
        )
        self.server.add_notification_handler(
            "notifications/initialized", types.NotificationParams, self._follow
        )
        self.server.add_request_handler(
            "logging/setLevel", types.SetLevelRequestParams, self._set_level
        )

    async def __aenter__(self) -> Self:
        """Load, start and watch the photons."""
        loop = asyncio.get_running_loop()

        def note(event: Event) -> None:  # on the thread in which it happens
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._events.put_nowait, event)

        self._exits.callback(self.loader.events.subscribe(note))
        reporting = asyncio.create_task(self._report_events())
        self._exits.callback(reporting.cancel)
        await self._exits.enter_async_context(self.loader)
        await self.loader.load(luminal.discover(self.photons, group=GROUP))
        await self.loader.start()
        await self.loader.watch_photons(self.photons)
        await self.loader.watch_distributions()
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the watches, and unload the photons."""
        await self._exits.aclose()

    def serve_stdio(self) -> None:
        """Serve one client over stdin and stdout until it leaves."""

        async def serve() -> None:
            async with self, stdio_server() as (reading, writing):
                await self.server.run(
                    reading, writing, self.server.create_initialization_options()
                )

        asyncio.run(serve())

    def serve_http(self, port: int) -> None:
        """Serve streamable HTTP at ``http://127.0.0.1:PORT/mcp`` until Ctrl-C.

        Args:
            port: Number of the port.
        """
        app = self.server.streamable_http_app()
        sessions = app.router.lifespan_context

        @contextlib.asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            async with self, sessions(app):
                yield

        app.router.lifespan_context = lifespan
        config = uvicorn.Config(
            app,
            host="127.0.0.1",
            port=port,
            log_level="warning",
            timeout_graceful_shutdown=5,
        )
        with contextlib.suppress(KeyboardInterrupt):
            _HttpServer(config, self._listen).run()

    async def _report_events(self) -> None:
        """Tell clients what happens to photons, in order."""
        while True:
            event = await self._events.get()
            if event.kind in _CHANGES:
                await self._report(event)

    async def _report(self, event: Event) -> None:
        if event.kind in _FAILURES and event.problem is not None:
            rejected = _Rejected.of(event.photon, event.problem)
            self._rejected[event.photon] = rejected
            self._log("error", rejected.text)
        else:
            self._rejected.pop(event.photon, None)
        for client in self._clients.values():
            client.messages.put_nowait(types.ToolListChangedNotification())
        await self._changes.publish(ToolsListChanged())

    def _log(self, level: types.LoggingLevel, text: str) -> None:
        params = types.LoggingMessageNotificationParams(
            level=level, logger="luminal", data=text
        )
        for client in self._clients.values():
            if _LEVELS.index(level) >= _LEVELS.index(client.level):
                client.messages.put_nowait(
                    types.LoggingMessageNotification(params=params)
                )

    async def _follow(
        self, ctx: ServerRequestContext[Any], _: types.NotificationParams
    ) -> None:
        """Send a client what it is to be told, from its handshake until it leaves.

        The SDK runs this in a task of the connection, and cancels it at its end.
        """
        handshake = ctx.session.client_params
        client = self._clients.setdefault(id(handshake), _Client())
        try:
            while True:
                await ctx.session.send_notification(await client.messages.get())
        finally:
            self._clients.pop(id(handshake), None)

    async def _set_level(
        self, ctx: ServerRequestContext[Any], params: types.SetLevelRequestParams
    ) -> types.EmptyResult:
        client = self._clients.get(id(ctx.session.client_params))
        if client is not None:
            client.level = params.level
        return types.EmptyResult()

    async def _list_tools(
        self, _: ServerRequestContext[Any], __: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        tools: dict[str, types.Tool] = {}
        for of_photon in self.loader.hooks(ToolSpecs).list_tools():
            for tool in of_photon or ():
                texts = (tool.description, self._note(tool))
                tool.description = "\n\n".join(filter(None, texts))
                # Of two tools of one name, the first is the one that is called.
                tools.setdefault(tool.name, tool)
        return types.ListToolsResult(tools=sorted(tools.values(), key=lambda t: t.name))

    async def _call_tool(
        self, _: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        result = await self.loader.hooks(ToolSpecs).call_tool(
            name=params.name, arguments=params.arguments or {}
        )
        if result is None:
            reasons = [r.text for r in self._rejected.values() if r.is_current]
            return failure("\n".join((f"there is no tool {params.name!r}", *reasons)))
        note = self._note(result)
        if note and isinstance(result, types.CallToolResult):
            result.content = [
                *result.content,
                types.TextContent(type="text", text=note),
            ]
        return result

    def _note(self, of: types.Tool | types.Result) -> str:
        """Return why a newer version of the photon does not run, or an empty string."""
        rejected = self._rejected.get((of.meta or {}).get(PHOTON, ""))
        if rejected is None or not rejected.is_current:
            return ""
        return f"A newer version was rejected, this one still runs: {rejected.text}"
