"""Imported by the first request, after the other modules."""

from .edition import EDITION

__all__ = ["EDITION"]
