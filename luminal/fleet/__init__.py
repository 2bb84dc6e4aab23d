"""One swap over all processes that serve together, decided once."""
