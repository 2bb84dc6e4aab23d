"""`IPhoton`: what a photon derives from."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luminal.interfaces.context import PhotonContext

__all__ = ["IPhoton"]


class IPhoton:
    """Base class of photons. It asks for nothing; all of this is optional.

    A photon may define these methods, each plain or ``async``. Plain ones run on a
    thread of their own, so that they may block; ``async`` ones run on the loop of
    whoever starts or stops the photon.

    - ``__init__(self)``: the photon is created when it is started, not when it is
      loaded; `context` is there already.
    - ``start(self)``: begin to work. When it raises or passes its deadline, the photon
      is finalized and reported.
    - ``finalize(self)``: release what was taken. A false value other than None says
      that this did not go well.
    - ``on_reload(self, previous)``: take over from the generation before.

    What other photons and the host say is heard through methods marked with
    `luminal.hookimpl`.

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
        photon_enabled: False keeps it from being loaded.
        photon_exclusive: True where it cannot live beside its successor, because it
            owns a port or a device, say.
        photon_settings: An attrs class; the host's settings for the photon reach it
            as an instance of that, in ``context.settings``.
        context: What Luminal hands to this instance.
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
    photon_enabled: ClassVar[bool] = True
    photon_exclusive: ClassVar[bool] = False

    # Looked up when the photon is started; there is none by default.
    photon_settings: ClassVar[type]

    context: PhotonContext
