"""A read-only page about a running host, for this machine, and the same page as a file.

`serve` shows it on a port, `create_app` returns it as an ASGI application, and
`render_page` makes one HTML file of a `HostSnapshot`. The libraries that these need are
in the extra ``luminal-photons[web]``; importing this package imports none of them.
"""

from __future__ import annotations

from luminal.web._app import Server, create_app, serve
from luminal.web._page import render_page
from luminal.web._report import (
    ErrorRow,
    HookChange,
    HookRow,
    HostReport,
    LeakRow,
    LoadRow,
    LossRow,
    PhaseRow,
    PhotonRow,
    compare,
    read_report,
    report_of,
)
from luminal.web._report_page import render_report
from luminal.web._report_page import span as span
from luminal.web._snapshot import (
    Failure,
    HostSnapshot,
    PhotonSnapshot,
    snapshot_of,
    snapshot_of_status,
)

__all__ = [
    "ErrorRow",
    "Failure",
    "HookChange",
    "HookRow",
    "HostReport",
    "HostSnapshot",
    "LeakRow",
    "LoadRow",
    "LossRow",
    "PhaseRow",
    "PhotonRow",
    "PhotonSnapshot",
    "Server",
    "compare",
    "create_app",
    "read_report",
    "render_page",
    "render_report",
    "report_of",
    "serve",
    "snapshot_of",
    "snapshot_of_status",
]
