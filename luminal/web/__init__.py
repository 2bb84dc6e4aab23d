"""A page about a running host: read-only, on loopback, and the same as one file.

Station: beside the journey. Comes in: a `luminal.managers.Loader`. Goes out: HTML. Must
never change what runs, and never answer anybody but this machine.
"""

from __future__ import annotations

from luminal.web.app import create_app
from luminal.web.page import render_page
from luminal.web.picture import Picture, picture_of, picture_of_status
from luminal.web.serving import Served, serve

__all__ = [
    "Picture",
    "Served",
    "create_app",
    "picture_of",
    "picture_of_status",
    "render_page",
    "serve",
]
