"""A route with a state: the count goes on from one generation to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

import luminal

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


class Visits(luminal.IPhoton):
    """Counts its visits, over reloads too."""

    photon_name = "visits"
    photon_version = "1.0"

    def on_reload(self, previous: luminal.Previous) -> None:
        """Say what was taken over; ``context.data`` is a copy of it already."""
        count = self.context.data.get("count", 0)
        self.context.logger.info(
            "goes on at %d visits, after generation %d", count, previous.generation
        )

    @luminal.hookimpl
    async def respond(self, request: Request) -> Response | None:
        """Answer ``/visits``."""
        if request.url.path != "/visits":
            return None
        data = self.context.data
        data["count"] = data.get("count", 0) + 1
        return JSONResponse({"count": data["count"]})
