"""Benchmarks: every speed claim of the docs, measured beside peers in one run."""
