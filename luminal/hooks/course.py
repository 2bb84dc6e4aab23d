"""One call that runs in the general way: its occupants, its options, its answers.

In come a view and who serves, out come attributions and, where asked for, a record
of who answered what.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from luminal.hooks.failure import blame, is_own

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luminal.hooks.occupant import Occupant
    from luminal.hooks.policy import Policy
    from luminal.hooks.records import Answer
    from luminal.hooks.view import View

__all__ = ["Course", "attribute"]


def attribute(
    policy: Policy,
    hook: str,
    occupants: Sequence[Occupant],
    place: int,
    error: BaseException,
    *,
    spared: bool = False,
    ends: bool = False,
) -> None:
    """Count and name the *error* of the occupant at *place*.

    Args:
        policy: What the hooks share.
        hook: Name of the hook.
        occupants: Those of the call.
        place: Whose error it is.
        error: What it raised.
        spared: Whether it is reported and the call goes on.
        ends: Whether those behind it are not called because of it.
    """
    occupant = occupants[place]
    missed = occupants[place + 1 :] if ends else ()
    where = blame(error, occupant, hook, missed)
    seconds = policy.failed(occupant)
    if spared or seconds:
        from luminal.hooks.records import HookFailure

        policy.tell(
            HookFailure(
                occupant.photon, hook, occupant.generation, where, error, seconds
            )
        )


class Course:
    """A call under way.

    Attributes:
        view: What it sees.
        hook: Name of the hook.
        is_first: Whether the first result ends the call.
        isolated: Whether a failure leaves the others to answer.
        concurrent: Whether implementations are awaited side by side.
        answers: Where answers are kept, or None.
    """

    __slots__ = (
        "answers",
        "concurrent",
        "hook",
        "is_first",
        "isolated",
        "occupants",
        "policy",
        "view",
    )

    def __init__(
        self,
        policy: Policy,
        view: View,
        occupants: Sequence[Occupant],
        *,
        is_first: bool,
        isolated: bool,
        concurrent: bool = False,
        answers: list[Answer] | None = None,
    ) -> None:
        self.policy = policy
        self.view = view
        self.hook = view.hook.name
        self.occupants = occupants
        self.is_first = is_first
        self.isolated = isolated
        self.concurrent = concurrent
        self.answers = answers

    def blame(self, place: int, error: BaseException) -> None:
        """Attribute *error*, which ends the call."""
        attribute(self.policy, self.hook, self.occupants, place, error, ends=True)

    def spare(self, place: int, error: BaseException) -> bool:
        """Attribute *error*; return whether the call goes on without it."""
        if not is_own(error):
            return False
        spared = self.isolated and not isinstance(error, KeyboardInterrupt)
        attribute(self.policy, self.hook, self.occupants, place, error, spared=spared)
        return spared

    def fared_well(self, place: int) -> None:
        """Note that the wrapper at *place* came to its end without a failure."""
        self.policy.succeeded(self.occupants[place])

    def answered(
        self, occupant: Occupant, value: Any, error: BaseException | None
    ) -> None:
        """Keep an answer where answers are kept."""
        if self.answers is not None and not (value is None and error is None):
            from luminal.hooks.records import Answer

            self.answers.append(
                Answer(occupant.photon, occupant.generation, value, error)
            )

    def deadline(self, occupant: Occupant) -> float | None:
        """Return the seconds that *occupant* may take, or None."""
        return self.policy.deadline(occupant)
