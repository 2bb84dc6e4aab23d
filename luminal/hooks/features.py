"""What a hook is by its specification and by its manager's wishes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luminal.hooks.policy import Policy

__all__ = ["Features"]


class Features:
    """The features of one hook.

    Attributes:
        name: Its name.
        policy: What it shares with the manager's other hooks.
        spec: pluggy's record of its specification, or None.
    """

    def __init__(self, name: str, policy: Policy) -> None:
        self.name = name
        self.policy = policy
        self.spec: Any = None

    def option(self, name: str) -> Any:
        """Return an option of the specification, or None."""
        return None if self.spec is None else self.spec.opts.get(name)

    @property
    def is_first(self) -> bool:
        """Whether the first result that is not None ends a call."""
        return bool(self.option("firstresult"))

    @property
    def is_historic(self) -> bool:
        """Whether calls are repeated for those who are registered later."""
        return bool(self.option("historic"))

    @property
    def is_isolated(self) -> bool:
        """Whether one photon's failure leaves the others to answer."""
        asked = self.option("isolate")
        return self.policy.isolate if asked is None else bool(asked)

    @property
    def defaults(self) -> dict[str, Any]:
        """What the specification gives for arguments that a call leaves out."""
        return {} if self.spec is None else dict(self.spec.kwargdefaults)
