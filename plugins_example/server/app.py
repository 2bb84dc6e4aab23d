"""The host: a Starlette application that calls a hook of photons at each request."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

import luminal

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["ServerSpecs", "create_app"]


class ServerSpecs:
    """The hooks that photons of this host implement."""

    @luminal.hookspec(firstresult=True)
    async def respond(self, request: Request) -> Response | None:
        """Return the response, or None to let the next photon respond."""


def create_app(photons: str | os.PathLike[str]) -> Starlette:
    """Return an application that loads and watches the directory *photons*."""
    loader = luminal.Loader(suppress_errors=True)
    loader.plugins.add_hookspecs(ServerSpecs)
    hooks = loader.hooks(ServerSpecs)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        handlers = await loader.load_photons(photons)
        await handlers.start()
        await loader.watch_photons(photons)
        yield
        await loader.close()

    async def answer(request: Request) -> Response:
        response = await hooks.respond(request=request)
        return response or PlainTextResponse("no photon responds to this path", 404)

    async def state(_: Request) -> Response:
        return JSONResponse(
            {
                "photons": [
                    {
                        "name": handler.name,
                        "state": str(handler.state),
                        "generation": handler.number,
                        "since": handler.since,
                    }
                    for handler in loader.photons.values()
                ],
                "journal": [str(event) for event in list(loader.events.journal)[-20:]],
            }
        )

    routes = [
        Route("/_photons", state),
        Route("/{path:path}", answer, methods=["GET", "POST"]),
    ]
    return Starlette(routes=routes, lifespan=lifespan)
