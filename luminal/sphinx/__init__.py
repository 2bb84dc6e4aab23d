"""The Sphinx extension: pages about photons, hooks and errors."""

from __future__ import annotations

__all__: list[str] = []
