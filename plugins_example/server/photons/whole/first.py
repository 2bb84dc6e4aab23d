"""Reads the number when it is imported."""

from .edition import EDITION

__all__ = ["EDITION"]
