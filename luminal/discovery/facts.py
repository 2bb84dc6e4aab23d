"""What one file says about itself, as plain values: the product of `syntax`."""

from __future__ import annotations

import attrs

from luminal.model import Problem

__all__ = ["ClassFacts", "ModuleFacts"]


@attrs.frozen
class ClassFacts:
    """A class statement at the top of a module.

    Attributes:
        name: Its name.
        line: Its line, counted from 1.
        bases: Its bases as dotted names, as written.
        literals: ``photon_*`` attributes whose values are literals of the right
            type, without the prefix.
        unreadable_name: Line of a ``photon_name`` that is no literal string, else 0.
        is_abstract: Whether it holds methods marked ``abstractmethod``.
    """

    name: str
    line: int
    bases: tuple[str, ...]
    literals: dict[str, object]
    unreadable_name: int
    is_abstract: bool

    @property
    def names_itself(self) -> bool:
        """Whether its body sets ``photon_name``."""
        return "name" in self.literals or bool(self.unreadable_name)


@attrs.frozen
class ModuleFacts:
    """A module as its syntax tree shows it.

    Attributes:
        checksum: SHA-512 hex digest of the file, or empty where it was not read.
        problem: Why there are no facts, or None.
        classes: Classes by name; of two of one name, the last.
        imports: Local name → (reference, line). A reference is ``module`` or
            ``module:attribute``, with leading dots where it is relative.
        stars: References of modules that everything is imported from.
        bound: Every name that is bound at the top.
        is_dynamic: Whether names may be bound in ways that the tree does not show.
    """

    checksum: str = ""
    problem: Problem | None = None
    classes: dict[str, ClassFacts] = attrs.field(factory=dict)
    imports: dict[str, tuple[str, int]] = attrs.field(factory=dict)
    stars: tuple[str, ...] = ()
    bound: tuple[str, ...] = ()
    is_dynamic: bool = False

    def pack(self) -> tuple[object, ...]:
        """Return the facts as values that the index can keep."""
        return (
            self.checksum,
            attrs.astuple(self.problem) if self.problem else None,
            tuple(attrs.astuple(c, recurse=False) for c in self.classes.values()),
            self.imports,
            self.stars,
            self.bound,
            self.is_dynamic,
        )

    @classmethod
    def unpack(cls, row: tuple[object, ...]) -> ModuleFacts:
        """Return the facts that `pack` made *row* of."""
        checksum, problem, classes, *rest = row
        made = [ClassFacts(*c) for c in classes]  # type: ignore[attr-defined]
        return cls(
            checksum,  # type: ignore[arg-type]
            Problem(*problem) if problem else None,  # type: ignore[misc]
            {c.name: c for c in made},
            *rest,  # type: ignore[arg-type]
        )
