"""A route in one file. Edit the text and save: the next response has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse

import luminal

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

TEXT = "Hello from a photon."


class Greeting(luminal.IPhoton):
    """Responds with a greeting."""

    photon_name = "greeting"
    photon_version = "1.0"

    @luminal.hookimpl
    async def respond(self, request: Request) -> Response | None:
        """Respond to ``/``."""
        return PlainTextResponse(TEXT) if request.url.path == "/" else None
