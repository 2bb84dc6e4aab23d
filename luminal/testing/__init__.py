"""The test kit: what a photon's author needs to test a photon."""

from __future__ import annotations

__all__: list[str] = []
