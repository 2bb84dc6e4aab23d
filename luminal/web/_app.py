"""The page as an ASGI application that a host may mount, and on a port of its own.

The application answers only requests of this machine. ``/`` is the page, ``/events``
sends the parts of it that changed as server-sent events, and ``/report.json`` is all of
it as JSON; ``/plots.json`` has the numbers over time that it plots, and ``/metrics``
the present ones for Prometheus. It answers GET and HEAD, and,
where a token was given, POST below ``/actions``.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, Self

import attrs

from luminal._plain import to_json
from luminal.errors import LuminalError
from luminal.managers import OperationGuard, Permit
from luminal.managers.status import keep_records, report_of
from luminal.metrics import create_app as create_metrics_app
from luminal.reload import LoopRunner
from luminal.web._page import (
    content_security_policy,
    render_page,
    render_parts,
    requires_extra,
)
from luminal.web._plots import Plots
from luminal.web._snapshot import snapshot_of

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Coroutine,
        MutableMapping,
    )
    from types import TracebackType

    from luminal.managers import Loader

    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    Application = Callable[[Any, Any, Send], Awaitable[None]]

__all__ = ["Server", "create_app", "serve"]

_INTERVAL = 1.0
"""Seconds after which the page is rendered again without an event: for the numbers."""

_PAUSE_FACTOR = 20
"""How many times the time of rendering is waited after it: a host with many photons and
many events spends at most a twentieth of one core on each page."""

_LONGEST_PAUSE = 2.0
"""Seconds of this pause at most; the end of the server is noticed after it."""

_KEEP_ALIVE = 15
"""Intervals without a change after which a comment is sent: it fails if the client has
gone."""

_STOP_TIMEOUT = 5.0
"""Seconds that `Server.stop` waits for the thread of the server."""


_ACTIONS = {"reload": "reloaded", "roll-back": "rolled back"}
"""What the page may ask for → what is answered when it is done."""

_SHORTEST_TOKEN = 16
"""Characters that a token has at least."""


def create_app(
    loader: Loader,
    is_over: Callable[[], bool] = lambda: False,
    *,
    token: str = "",
    run: Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any] | None = None,
) -> Application:
    """Return an ASGI application that shows *loader*'s host to this machine.

    Args:
        loader: The host.
        is_over: Whether open event streams are to end, for a quick shutdown.
        token: Whoever sends it may reload photons and roll them back; open the page
            with ``#token=`` and the token at the end of its address. Empty for a page
            that is read-only.
        run: Runs what a function returns on the host's event loop, and waits for it;
            called in a thread. None where the application itself runs on that loop.

    Returns:
        The application, for example for ``Mount("/luminal", create_app(loader))``.

    Raises:
        ValueError: *token* is too short to be a secret.
        MissingExtraError: Starlette or jinja2 is not installed.
    """
    if token and len(token) < _SHORTEST_TOKEN:
        raise ValueError(f"a token has at least {_SHORTEST_TOKEN} characters")
    with requires_extra():
        import jinja2  # noqa: F401 - its absence is reported now, not at a request
        from starlette.applications import Starlette
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import (
            HTMLResponse,
            PlainTextResponse,
            Response,
            StreamingResponse,
        )
        from starlette.routing import Route

    keep_records()
    guard = OperationGuard(loader, "page")

    async def page(request: Any) -> HTMLResponse:
        # In a mounted application, `url_for` would search the routes of the host.
        root = request.scope.get("root_path", "")
        snapshot = await run_in_threadpool(snapshot_of, loader)
        actions = f"{root}/actions" if token else ""
        urls = f"{root}/events", actions, f"{root}/plots.json"
        return HTMLResponse(await run_in_threadpool(render_page, snapshot, *urls))

    async def report(request: Any) -> Response:
        del request
        text = await run_in_threadpool(
            lambda: to_json({"schema": 1, **report_of(loader)}, indent=2)
        )
        return Response(text, media_type="application/json")

    kept = Plots(loader)

    async def plots(request: Any) -> Response:
        del request
        text = await run_in_threadpool(
            lambda: to_json({"schema": 1, "points": kept.points()})
        )
        return Response(text, media_type="application/json")

    async def events(request: Any) -> StreamingResponse:
        del request
        changes = _changes(loader, is_over)
        return StreamingResponse(changes, media_type="text/event-stream")

    async def act(request: Any) -> PlainTextResponse:
        why = _refused_action(request.headers, token)
        if why:
            return PlainTextResponse(f"refused: {why}\n", status_code=403)
        name = request.path_params["action"]
        photon = request.query_params.get("photon", "")
        life = loader.photons.get(photon)
        if name not in _ACTIONS or life is None:
            return PlainTextResponse("no such action or photon\n", status_code=404)

        before = life.number
        held = await run_in_threadpool(_held, guard, name, photon, request.headers)
        if isinstance(held, tuple):
            return PlainTextResponse(held[0], status_code=held[1])

        async def work() -> None:
            if name == "reload":
                await loader._reload([photon], approved=held.files)  # noqa: SLF001
            else:
                await loader._roll_back(photon, held.files)  # noqa: SLF001

        try:
            await (work() if run is None else run_in_threadpool(run, work))
        except (LuminalError, CancelledError) as error:
            text, status = _why_not_done(error)
            return PlainTextResponse(text, status_code=status)
        handler = loader.photons.get(photon)
        if handler is None or handler.number == before:  # of `suppress_errors`
            return PlainTextResponse("rejected; see the failures", status_code=409)
        return PlainTextResponse(f"{_ACTIONS[name]}, generation {handler.number}")

    routes = [
        Route("/", page),
        Route("/events", events),
        Route("/report.json", report),
        Route("/plots.json", plots),
        Route("/metrics", endpoint=_Endpoint(create_metrics_app(loader))),
    ]
    if token:
        routes.append(Route("/actions/{action}", act, methods=["POST"]))
    return _guarded(Starlette(routes=routes))


class _Endpoint:
    """An application at one path: Starlette hands it scope, receive and send."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        await self._app(scope, receive, send)


async def _changes(loader: Loader, is_over: Callable[[], bool]) -> AsyncIterator[str]:
    """Yield the parts of the page that have changed, soon after each event."""
    import asyncio

    from starlette.concurrency import run_in_threadpool

    loop = asyncio.get_running_loop()
    has_changed = asyncio.Event()

    def notify(event: object) -> None:
        del event  # the snapshot contains it
        if not loop.is_closed():
            loop.call_soon_threadsafe(has_changed.set)

    sent: dict[str, str] = {}
    unchanged = 0
    unsubscribe = loader.events.subscribe(notify)
    try:
        while not is_over():
            has_changed.clear()
            began = time.monotonic()
            parts = await run_in_threadpool(lambda: render_parts(snapshot_of(loader)))
            new = {key: html for key, html in parts.items() if sent.get(key) != html}
            sent, unchanged = parts, 0 if new else unchanged + 1
            if new:
                yield f"event: parts\ndata: {json.dumps(new)}\n\n"
            elif unchanged % _KEEP_ALIVE == 0:
                yield ": keep alive\n\n"
            took = time.monotonic() - began
            await asyncio.sleep(min(_PAUSE_FACTOR * took, _LONGEST_PAUSE))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(has_changed.wait(), _INTERVAL)
    finally:
        unsubscribe()


def _guarded(app: Application) -> Application:
    """Return *app* with protective headers, for this machine's own requests only.

    A page in a browser can send requests to loopback, also under a name of its own that
    resolves to loopback (DNS rebinding). Headers that scripts cannot set show both.
    """

    async def answer(scope: Any, receive: Any, send: Send) -> None:
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
        elif scope["type"] == "http":
            why = _refusal(scope)
            if not why:
                await app(scope, receive, _protected(send))
                return
            from starlette.responses import PlainTextResponse

            response = PlainTextResponse(f"refused: {why}\n", status_code=403)
            await response(scope, receive, _protected(send))

    return answer


def _refusal(scope: Any) -> str:
    """Return why the request is refused, or an empty string."""
    headers: dict[str, list[str]] = {}
    for key, value in scope["headers"]:
        headers.setdefault(key.decode("latin-1"), []).append(value.decode("latin-1"))
    hosts = headers.get("host", [])
    if len(hosts) != 1 or not _is_loopback(_host_of(hosts[0])):
        return "the Host header is not a loopback address"
    client = scope.get("client")
    if client and not _is_loopback(client[0]):
        return "the request comes from another machine"
    origins = {f"http://{hosts[0]}", f"https://{hosts[0]}"}
    if not origins.issuperset(headers.get("origin", [])):
        return "the request comes from a page of another origin"
    site = headers.get("sec-fetch-site", ["none"])[0]
    is_navigation = headers.get("sec-fetch-mode", [""])[0] == "navigate"
    if site not in ("none", "same-origin") and not is_navigation:
        return "the request comes from a page of another site"
    return ""


def _refused_action(headers: Any, token: str) -> str:
    """Return why a request may not change anything, or an empty string.

    Another site's page cannot send the header with the token: its browser would ask
    first, and is not answered. The origin is compared by `_refusal`; here it must be
    there.
    """
    import hmac

    if "origin" not in headers:
        return "there is no Origin header"
    given = headers.get("x-luminal-token", "").encode()
    if not hmac.compare_digest(given, token.encode()):
        return "the token is wrong; open the address that the host has printed"
    return ""


def _why_not_done(error: LuminalError | CancelledError) -> tuple[str, int]:
    """Return what to answer where an action has failed, and the status."""
    if isinstance(error, CancelledError):  # by `Server.halt`
        return "the host is being stopped", 503
    return f"{error.what}: {error.why}" if error.why else error.what, 409


def _held(
    guard: OperationGuard, action: str, photon: str, headers: Any
) -> tuple[str, int] | Permit:
    """Return what to answer to who may not do this, and the status; else a permit."""
    answer = None
    if "x-luminal-nonce" in headers:
        code = headers.get("x-luminal-code", "")
        answer = {"nonce": headers["x-luminal-nonce"], "code": code}
    try:
        permit = guard.hold(action, [photon], answer)
    except LuminalError as error:
        return f"{error.what}: {error.why}", 403
    asked = permit.challenge
    if asked is None:
        return permit
    if asked["kind"] != "totp":
        return f"this host asks for a {asked['kind']}: use luminal in a terminal", 403
    return to_json({"nonce": asked["nonce"], "seconds": asked["seconds"]}), 401


def _host_of(header: str) -> str:
    """Return the host of ``host:port``; an empty string if it has another form."""
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:[0-9]+)?", header)
    return match[1] if match else ""


def _is_loopback(host: str) -> bool:
    """Whether *host* is ``localhost`` or a loopback address."""
    import ipaddress

    name = host.removeprefix("[").removesuffix("]")
    if name.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    # A server of both families sees 127.0.0.1 as ::ffff:127.0.0.1.
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _protected(send: Send) -> Send:
    """Return *send* with the protective headers added to each response."""
    added = {
        # Only a header can forbid frames; the document's own policy cannot.
        b"content-security-policy": (
            f"{content_security_policy()}; frame-ancestors 'none'".encode()
        ),
        b"cross-origin-resource-policy": b"same-origin",
        b"cross-origin-opener-policy": b"same-origin",
        b"x-content-type-options": b"nosniff",
        b"referrer-policy": b"no-referrer",
        b"cache-control": b"no-store",
    }

    async def protected(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            kept = [pair for pair in message["headers"] if pair[0] not in added]
            message = {**message, "headers": [*kept, *added.items()]}
        await send(message)

    return protected


@attrs.define(eq=False)
class Server:
    """The server of a page. As a context manager it stops at the end of the block.

    Attributes:
        url: Where the page is.
        token: What allows to reload and roll back; empty for a page that is read-only.
    """

    url: str
    token: str = attrs.field(repr=False)
    _runner: LoopRunner = attrs.field(repr=False)
    _server: Any = attrs.field(repr=False)
    _thread: threading.Thread = attrs.field(repr=False)

    def halt(self) -> None:
        """Cancel what was asked for on the page and is under way."""
        self._runner.halt()

    def stop(self) -> None:
        """Stop serving the page; open event streams end."""
        self._server.should_exit = True
        self._thread.join(_STOP_TIMEOUT)
        self._runner.close()

    def use_running_loop(self) -> None:
        """Reload on the event loop that is running, as long as it runs.

        For hosts that serve the page before their loop runs.

        Raises:
            RuntimeError: No loop is running.
        """
        import asyncio

        self._runner.use(asyncio.get_running_loop())

    @property
    def private_url(self) -> str:
        """Where the page is, with the token: show it to nobody else."""
        return f"{self.url}#token={self.token}" if self.token else self.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def serve(
    loader: Loader,
    host: str = "127.0.0.1",
    port: int = 8421,
    *,
    actions: bool = False,
) -> Server:
    """Serve the page of *loader*'s host on a thread of its own, and return at once.

    The event loop of the host may be busy or end meanwhile.

    Args:
        loader: The host.
        host: A loopback address, or ``localhost``.
        port: The port; 0 for any free port.
        actions: Whether who has the new token may reload photons and roll them back,
            see `Server.private_url`. They run on the event loop that is running now,
            as long as it runs; where none is, see `Server.use_running_loop`.

    Raises:
        ValueError: *host* is not loopback: the page is for this machine only.
        OSError: The port is taken.
        MissingExtraError: Starlette, uvicorn or jinja2 is not installed.
    """
    if not _is_loopback(host):
        raise ValueError(f"not a loopback address: {host!r}")
    with requires_extra():
        import uvicorn
    runner = LoopRunner()
    token = ""
    if actions:
        import asyncio
        import secrets

        token = secrets.token_urlsafe(32)
        with contextlib.suppress(RuntimeError):  # no loop is running
            runner.use(asyncio.get_running_loop())
    server: uvicorn.Server
    config = uvicorn.Config(
        create_app(loader, lambda: server.should_exit, token=token, run=runner.run),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        # Headers must not make another machine look like this one.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    server = uvicorn.Server(config)
    listener = _listen(host, port)
    thread = threading.Thread(
        target=server.run, args=([listener],), name="luminal-web", daemon=True
    )
    thread.start()
    name = f"[{host}]" if ":" in host else host
    url = f"http://{name}:{listener.getsockname()[1]}/"
    return Server(url, token, runner, server, thread)


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that accepts connections from now on."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        if error.errno is None:
            raise
        text = f"{error.strerror}: port {port} of {host}; port 0 takes any free port"
        raise OSError(error.errno, text) from error
    return listener
