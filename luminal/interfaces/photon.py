"""`IPhoton`, the base class of photons, and the hooks of their life cycle.

The life cycle is specified as hooks, so that libraries can observe or guard it.
Luminal's own implementation is called last. An implementation that returns something
other than None takes its place; one that raises rejects the step; a wrapper sees it
begin and end. Implementations and wrappers may be plain or ``async``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self

from luminal.interfaces.context import S
from luminal.interfaces.markers import hookspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luminal.interfaces.context import PhotonContext
    from luminal.model import Candidate, Deadlines

__all__ = ["IPhoton", "LifecycleSpecs", "Subject"]

if TYPE_CHECKING:

    class _WithSettings(Generic[S]): ...

else:  # `typing` would keep the class of settings, and with it a whole generation

    class _WithSettings:
        def __class_getitem__(cls, settings: object) -> type[Self]:
            return cls


class IPhoton(_WithSettings[S]):
    """Base class of photons. Everything that it declares is optional.

    A photon may define these methods, each plain or ``async``. Plain ones run on a
    thread of their own, so that they may block; ``async`` ones run on the loop of
    whoever starts or stops the photon.

    - ``__init__(self)``: the photon is created when it is started, not when it is
      loaded; `context` is there already.
    - ``start(self)``: begin to work. When it raises, passes its deadline or is
      cancelled, the photon is reported and ``finalize`` is not called, as with the
      ``setUp`` of a test case. What it began through `context` is ended all the same.
    - ``finalize(self)``: release what ``start`` took. A false value other than None
      says that this did not go well.
    - ``on_reload(self, previous)``: take over from the generation before.

    With ``IPhoton[Settings]`` as base, type checkers know ``context.settings``.

    It implements hooks of the host with methods marked by `luminal.hookimpl`.

    Attributes:
        photon_name: Name of the photon; by default the class's own, or for a class
            called just ``Photon`` that of its file or package.
        photon_author: Who wrote it.
        photon_version: Its version, by PEP 440.
        photon_description: One line about it.
        photon_tags: Free labels.
        photon_requires: Photons that must be loaded before it, with PEP 440 ranges,
            such as ``("geo>=1.2",)``.
        photon_before: Photons that are to be loaded after it, if they are there.
        photon_after: Photons that are to be loaded before it, if they are there.
        photon_api: PEP 440 range of the host's API version that it works with.
        photon_owns: Libraries that are its own, such as ``("bridgelib",)``: upgraded
            and freed with it, and seen by no one else. Names of distributions.
        photon_files: Patterns of data files, such as ``("*.yaml",)``, relative to the
            folder of the photon's file: a watch reloads the photon when one changes,
            comes or goes. What it reads by `importlib.resources` need not be named.
        photon_enabled: False keeps it from being loaded.
        photon_exclusive: True where it cannot live beside its successor, because it
            owns a port or a device, say.
        photon_settings: An attrs class; the host's settings for the photon reach it
            as an instance of that, in ``context.settings``.
        context: The context of this instance, set before ``__init__``.
    """

    # Discovery reads these from the syntax tree, so they have to be literals.
    photon_name: ClassVar[str]
    photon_author: ClassVar[str] = ""
    photon_version: ClassVar[str] = ""
    photon_description: ClassVar[str] = ""
    photon_tags: ClassVar[Sequence[str]] = ()
    photon_requires: ClassVar[Sequence[str]] = ()
    photon_before: ClassVar[Sequence[str]] = ()
    photon_after: ClassVar[Sequence[str]] = ()
    photon_api: ClassVar[str] = ""
    photon_owns: ClassVar[Sequence[str]] = ()
    photon_files: ClassVar[Sequence[str]] = ()
    photon_enabled: ClassVar[bool] = True
    photon_exclusive: ClassVar[bool] = False

    # Looked up when the photon is started; there is none by default.
    photon_settings: ClassVar[type]

    context: PhotonContext[S]


class Subject(Protocol):
    """What the life-cycle hooks get to know of a photon; every Handler is one."""

    @property
    def name(self) -> str:
        """Name of the photon."""

    @property
    def filepath(self) -> str:
        """Path of its file."""

    @property
    def checksum(self) -> str:
        """SHA-512 of the bytes that were compiled, as a hex digest."""

    @property
    def number(self) -> int:
        """Number of its generation, 0 for a photon that was not loaded."""

    @property
    def instance(self) -> Any:
        """The photon; None before it is created."""

    @property
    def factory(self) -> Any:
        """Its class; None where the instance was there from the beginning."""

    @property
    def candidate(self) -> Candidate | None:
        """What discovery knows of it."""

    @property
    def context(self) -> PhotonContext:
        """Its context."""

    @property
    def deadlines(self) -> Deadlines:
        """How long it may take for each step."""


class LifecycleSpecs:
    """The steps of every photon's life."""

    @hookspec(firstresult=True)
    def photon_create(self, handler: Subject) -> object:
        """Create the photon; returns the instance."""

    @hookspec(firstresult=True)
    def photon_start(self, handler: Subject) -> object:
        """Start the photon; what it returns is ignored."""

    @hookspec(firstresult=True)
    def photon_finalize(self, handler: Subject) -> object:
        """Finalize the photon; returns False where that did not go well."""

    @hookspec(firstresult=True)
    def photon_reload(self, handler: Subject, previous: object) -> object:
        """Hand the state of *previous* to the photon; what it returns is ignored."""
