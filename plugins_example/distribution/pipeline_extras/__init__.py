"""Photons for the log pipeline that pip installs."""
