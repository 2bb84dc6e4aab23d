"""Photons for the log pipeline that come by pip rather than from a directory."""
