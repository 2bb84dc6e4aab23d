"""Two photons in one file: each drops a kind of record that only makes noise."""

from __future__ import annotations

from typing import Any

import luminal

ASSETS = (".css", ".js", ".ico", ".png", ".svg", ".woff2")


class HealthChecks(luminal.IPhoton):
    """Drops what a monitor asks for once a few seconds."""

    photon_name = "health-checks"
    photon_version = "1.0"
    photon_description = "drops the requests of monitors"
    photon_tags = ("filter",)

    @luminal.hookimpl
    def keep(self, record: dict[str, Any]) -> bool | None:
        """Say False for a health check."""
        return False if record["path"] in ("/healthz", "/readyz") else None


class StaticAssets(luminal.IPhoton):
    """Drops style sheets, scripts and pictures that were served well."""

    photon_name = "static-assets"
    photon_version = "1.0"
    photon_description = "drops style sheets, scripts and pictures"
    photon_tags = ("filter",)

    @luminal.hookimpl
    def keep(self, record: dict[str, Any]) -> bool | None:
        """Say False for an asset; one that failed is worth a look."""
        is_noise = record["status"] < 400 and record["path"].endswith(ASSETS)
        return False if is_noise else None
