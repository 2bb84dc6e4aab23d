"""A host that has unloaded everything looks again at what photons start."""

from __future__ import annotations

from pathlib import Path

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
