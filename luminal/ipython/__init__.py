"""The IPython extension: ``%photon``, and how photons look in a notebook."""

from __future__ import annotations

__all__: list[str] = []
