"""A host that has unloaded everything looks again at what photons start."""

from __future__ import annotations

import threading
from pathlib import Path
from unittest import mock

import luminal

CODE = """\
import threading
import luminal


class Geo(luminal.IPhoton):
    photon_name = "geo"

    def start(self):
        self.gate = threading.Event()
        threading.Thread(target=self.gate.wait, daemon=True).start()
"""


async def test_threads_belong_to_a_photon_that_is_loaded_again(tmp_path: Path) -> None:
    """Also while code of the life before is still in memory."""
    (tmp_path / "geo.py").write_text(CODE)
    kept = []
    for _ in range(2):
        async with luminal.Loader() as loader:
            await (await loader.load_photons(tmp_path)).start()
            handler = loader.photons["geo"]
            kept.append(handler.instance)
            scope = handler.context.scope
            assert [each.kind for each in scope.living()] == ["thread"]


async def test_a_test_that_replaces_what_is_wrapped_meanwhile(tmp_path: Path) -> None:
    """At its end it puts our wrapper back; that one is not wrapped once more."""
    (tmp_path / "geo.py").write_text(CODE)
    with mock.patch.object(threading.Thread, "start", threading.Thread.start) as plain:
        for _ in range(2):
            async with luminal.Loader() as loader:
                await (await loader.load_photons(tmp_path)).start()
                scope = loader.photons["geo"].context.scope
                assert [each.kind for each in scope.living()] == ["thread"]
                patch = mock.patch.object(threading.Thread, "start", plain)
                patch.start()
            patch.stop()
    assert threading.Thread.start is plain
