"""The verbs, a module each: ``command`` is the click command. Imported when used."""

from __future__ import annotations

__all__: list[str] = []
