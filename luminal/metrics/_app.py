"""The text format of Prometheus as an ASGI application, without a library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from luminal.metrics._snapshot import snapshot
from luminal.metrics._text import CONTENT_TYPE, TextWriter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from luminal.managers import Loader

    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    Application = Callable[[Any, Any, Send], Awaitable[None]]

__all__ = ["create_app"]


def create_app(loader: Loader, host: str = "") -> Application:
    """Return an ASGI application that answers GET with the numbers of a host.

    Whoever can reach it can read the names of photons and hooks: who may is the host's
    decision. The page of `luminal.web` has the same at ``/metrics``, for this machine
    alone.

    Args:
        loader: The host.
        host: Its name, where several are watched together.

    Returns:
        The application, for example for ``Mount("/metrics", create_app(loader))``.
    """
    writer = TextWriter()

    def body_now() -> bytes:
        return writer.write(snapshot(loader, host)).encode()

    async def answer(scope: Any, receive: Any, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            return
        status, body = 405, b"only GET\n"
        if scope["method"] in ("GET", "HEAD"):
            import asyncio

            # On a thread of its own: the loop's other tasks do not wait for it.
            status, body = 200, await asyncio.to_thread(body_now)
        headers = [
            (b"content-type", CONTENT_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        if status == 405:
            headers.append((b"allow", b"GET, HEAD"))
        start = {"type": "http.response.start", "status": status, "headers": headers}
        await send(start)
        is_head = scope["method"] == "HEAD"
        await send({"type": "http.response.body", "body": b"" if is_head else body})

    return answer


async def _live(receive: Any, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
