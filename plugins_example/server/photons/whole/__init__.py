"""A route in a package of modules that are always swapped together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

import luminal

from . import first, second
from .edition import EDITION

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


class Whole(luminal.IPhoton):
    """Responds with the edition that each of its modules has: always the same."""

    photon_name = "whole"
    photon_version = "1.0"

    @luminal.hookimpl
    async def respond(self, request: Request) -> Response | None:
        """Respond to ``/whole``."""
        if request.url.path != "/whole":
            return None
        from . import late  # imported at the first request, in its own generation

        editions = [EDITION, first.EDITION, second.edition(), late.EDITION]
        return JSONResponse({"editions": editions})
