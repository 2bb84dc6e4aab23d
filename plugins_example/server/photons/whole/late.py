"""Imported by a request, long after the others."""

from .edition import EDITION

__all__ = ["EDITION"]
