"""An example host: a log pipeline whose every step is a photon.

Lines come in from a file, from standard input, or from a file that still grows;
each passes the hooks of `plugins_example.pipeline.hookspecs`; sections of a report
come out. The host itself knows nothing about logs: take all photons away and it
still runs, and reports nothing.
"""
