"""The number that the other modules of this package read."""

EDITION = 1
