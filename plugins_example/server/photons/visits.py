"""A route with state: each generation continues the count of the one before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

import luminal

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


class Visits(luminal.IPhoton):
    """Counts its visits, also across reloads."""

    photon_name = "visits"
    photon_version = "1.0"

    def on_reload(self, previous: luminal.Previous) -> None:
        """Log the count; ``context.data`` is a copy of the old generation's already."""
        count = self.context.data.get("count", 0)
        self.context.logger.info(
            "continues at %d visits, after generation %d", count, previous.generation
        )

    @luminal.hookimpl
    async def respond(self, request: Request) -> Response | None:
        """Respond to ``/visits``."""
        if request.url.path != "/visits":
            return None
        data = self.context.data
        data["count"] = data.get("count", 0) + 1
        return JSONResponse({"count": data["count"]})
