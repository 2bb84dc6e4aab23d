"""An example host: a log pipeline whose every step is a photon.

It reads lines from a file, from standard input, or from a file that grows. For each
line it calls the hooks of `plugins_example.pipeline.hookspecs`, and at the end it
prints the sections of the report. It contains no code about logs: without photons it
runs too, and the report is empty.
"""
