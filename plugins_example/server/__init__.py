"""An ASGI server whose routes are photons, which can be edited while it runs."""
