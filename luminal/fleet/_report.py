"""What a fleet tells of its swaps and of its members: values, ready for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FleetStatus", "MemberInfo", "MemberStatus", "SwapReport"]


@attrs.frozen
class MemberInfo:
    """What a member says about itself when it joins.

    Attributes:
        name: Unique in the fleet, such as ``web-1-4711``.
        luminal: Its version of Luminal.
        python: Its version of Python, such as ``3.11``.
        host: Name of its machine.
        pid: Of its process; 0 where it does not say.
    """

    name: str
    luminal: str = ""
    python: str = ""
    host: str = ""
    pid: int = 0

    @classmethod
    def of_this_process(cls, name: str) -> MemberInfo:
        """Return what a member in this process says."""
        import os
        import socket
        import sys

        from luminal import __version__

        python = ".".join(map(str, sys.version_info[:2]))
        return cls(name, __version__, python, socket.gethostname(), os.getpid())


@attrs.frozen
class SwapReport:
    """What came of one swap of a fleet.

    Attributes:
        unit: Name of the bundle.
        number: Of the decision; 0 where none was needed.
        digest: Of the bytes.
        is_committed: Whether it was decided. Then all members run it, but those that
            are behind, which converge.
        why: Why it was not decided, why no decision was needed, or that nobody was
            there to vote.
        by: Who has asked for it.
        mode: ``immediate``, ``barrier`` or ``canary``.
        began: When it was asked for, in seconds since 1970.
        seconds: How long it took until all that could be reached had done it.
        mixed_seconds: Between the first member's commit and the last one's, as far as
            the coordinator has seen them: so long, two generations have answered.
        votes: Member → empty for yes, or why not.
        behind: Members that had not done it by then.
        undrained: Of ``barrier``: member → how many of its calls had not ended when the
            drain limit was over. They end on the generation on which they began.
        returned: Where canaries were not healthy: the number of the decision that has
            returned them; 0 for none.
    """

    unit: str
    number: int
    digest: str
    is_committed: bool
    why: str = ""
    by: str = ""
    mode: str = "immediate"
    began: float = 0.0
    seconds: float = 0.0
    mixed_seconds: float = 0.0
    votes: Mapping[str, str] = attrs.Factory(dict)
    behind: tuple[str, ...] = ()
    returned: int = 0
    undrained: Mapping[str, int] = attrs.Factory(dict)


@attrs.frozen
class MemberStatus:
    """What the coordinator knows of one member.

    Attributes:
        info: What it has said about itself.
        runs: Name of each bundle → number of the decision that it runs.
        prepared: Number of what it has prepared, and which is not decided; or 0.
        is_behind: Whether it does not run what is decided.
        why: Why it does not run what is decided, as far as it has said; or why it has
            voted against the latest swap.
    """

    info: MemberInfo
    runs: Mapping[str, int] = attrs.Factory(dict)
    prepared: int = 0
    is_behind: bool = False
    why: str = ""


@attrs.frozen
class FleetStatus:
    """What a fleet runs.

    Attributes:
        name: Of the fleet.
        coordinator: Who decides for it.
        number: The latest decision, for or against.
        units: Name of each bundle → (number, digest) of what is decided for all.
        canaries: Name of each bundle → members that are to run something later.
        members: Those that are there.
        under_way: Name of the bundle that is being swapped; empty for none.
        blocked_by: A member that knows of a decision which the journal does not have;
            empty for none. While there is one, nothing is decided.
    """

    name: str
    coordinator: str
    number: int
    units: Mapping[str, tuple[int, str]] = attrs.Factory(dict)
    canaries: Mapping[str, tuple[str, ...]] = attrs.Factory(dict)
    members: tuple[MemberStatus, ...] = ()
    under_way: str = ""
    blocked_by: str = ""
