"""``luminal watch``: run photons, and say in one line each what happens to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luminal.cli.looking import looking
from luminal.cli.telling import Teller, host, paged
from luminal.cli.verb import verb

if TYPE_CHECKING:
    from luminal.cli.exits import Exit
    from luminal.cli.looking import Look

__all__ = ["command"]


@verb("watch")
@paged
@looking
def command(look: Look, page: int | None, as_json: bool) -> Exit:
    """Run photons, reload what changes, and tell each event in one line.

    As `luminal run --watch`: PATHs are directories or files; what changes in them is
    reloaded, what appears is loaded, what is deleted is unloaded. A photon that is
    broken is refused, and the generation before goes on.

    With --json, each line is a document.
    """
    teller = Teller("watch", as_json, has_events=True)
    return host(look, teller, page, is_watching=True)
