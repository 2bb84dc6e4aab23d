"""The page as an ASGI application, which a host may mount.

Comes in: a Loader. Goes out: ``/``, the page, and ``/events``, what changes in it as
server-sent events. Must never change anything: it answers GET and HEAD only.
"""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

from luminal.errors import MissingExtraError
from luminal.web.guard import Guard
from luminal.web.page import parts_of, render_page
from luminal.web.picture import picture_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from luminal.managers import Loader

__all__ = ["create_app"]

_TICK = 1.0
"""Seconds after which a page is drawn anew though no event has come: for numbers."""

_REST = 20
"""How often the time that a page took to draw is rested after it: a host with many
photons and much news gives a twentieth of a core at most to each page."""

_LONGEST_REST = 2.0
"""Seconds that it is rested at most; the end of the server is noticed after them."""

_SILENCE = 15
"""Ticks without a change after which a comment is sent, to notice who is gone."""


def create_app(
    loader: Loader, is_over: Callable[[], bool] = lambda: False
) -> Callable[..., Awaitable[None]]:
    """Return an ASGI application that shows *loader*'s host, for loopback only.

    Args:
        loader: The host.
        is_over: Whether pages that listen are to be let go, for a quick shutdown.

    Returns:
        Mount it where you like: ``Mount("/luminal", create_app(loader))``.

    Raises:
        MissingExtraError: Starlette is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import HTMLResponse, StreamingResponse
        from starlette.routing import Route
    except ImportError as error:
        raise MissingExtraError(
            "the page needs Starlette",
            why=str(error),
            hint="install it: pip install 'luminal-photons[web]'",
        ) from error

    async def page(request: Any) -> HTMLResponse:
        # Mounted by a host, a name would be looked up among the host's routes.
        events = request.scope.get("root_path", "") + "/events"
        picture = await run_in_threadpool(picture_of, loader)
        return HTMLResponse(await run_in_threadpool(render_page, picture, events))

    async def events(request: Any) -> StreamingResponse:
        del request
        news = _news(loader, is_over)
        return StreamingResponse(news, media_type="text/event-stream")

    routes = [Route("/", page), Route("/events", events)]
    return Guard(Starlette(routes=routes))


async def _news(loader: Loader, is_over: Callable[[], bool]) -> AsyncIterator[str]:
    """Yield the parts of the page that have changed, soon after each event."""
    import asyncio

    from starlette.concurrency import run_in_threadpool

    loop = asyncio.get_running_loop()
    happened = asyncio.Event()

    def hear(event: object) -> None:
        del event  # the picture tells more than the event does
        if not loop.is_closed():
            loop.call_soon_threadsafe(happened.set)

    shown: dict[str, str] = {}
    silent = 0
    unsubscribe = loader.events.subscribe(hear)
    try:
        while not is_over():
            happened.clear()
            began = time.monotonic()
            parts = await run_in_threadpool(lambda: parts_of(picture_of(loader)))
            new = {key: html for key, html in parts.items() if shown.get(key) != html}
            shown, silent = parts, 0 if new else silent + 1
            if new:
                yield f"event: parts\ndata: {json.dumps(new)}\n\n"
            elif silent % _SILENCE == 0:
                yield ": still here\n\n"
            await asyncio.sleep(min(_REST * (time.monotonic() - began), _LONGEST_REST))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(happened.wait(), _TICK)
    finally:
        unsubscribe()
