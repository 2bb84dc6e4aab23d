"""An ASGI server whose routes are photons: edit one while it answers."""
