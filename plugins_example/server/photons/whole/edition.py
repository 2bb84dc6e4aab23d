"""The number that the other modules of this package take over."""

EDITION = 1
