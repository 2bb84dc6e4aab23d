"""Two photons in one file. Each drops records that do not matter for the report."""

from __future__ import annotations

from typing import Any

import luminal

ASSETS = (".css", ".js", ".ico", ".png", ".svg", ".woff2")


class HealthChecks(luminal.IPhoton):
    """Drops the requests of monitors."""

    photon_name = "health-checks"
    photon_version = "1.0"
    photon_description = "drops the requests of monitors"
    photon_tags = ("filter",)

    @luminal.hookimpl
    def keep(self, record: dict[str, Any]) -> bool | None:
        """Return False for a health check."""
        return False if record["path"] in ("/healthz", "/readyz") else None


class StaticAssets(luminal.IPhoton):
    """Drops requests for style sheets, scripts and pictures that succeeded."""

    photon_name = "static-assets"
    photon_version = "1.0"
    photon_description = "drops style sheets, scripts and pictures"
    photon_tags = ("filter",)

    @luminal.hookimpl
    def keep(self, record: dict[str, Any]) -> bool | None:
        """Return False for an asset, unless the request failed."""
        is_dropped = record["status"] < 400 and record["path"].endswith(ASSETS)
        return False if is_dropped else None
