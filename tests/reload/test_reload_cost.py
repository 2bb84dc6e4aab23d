"""What a reload does is the same among few photons and among many."""

from __future__ import annotations

import sys

from luminal import Loader

PHOTON = """
from luminal import IPhoton
class Photon{at}(IPhoton):
    NUMBER = {number}
"""


async def lines_of_a_reload(folder, count):
    """Return how many lines of ours run on the loop while one photon is reloaded."""
    folder.mkdir()
    for at in range(count):
        (folder / f"p{at}.py").write_text(PHOTON.format(at=at, number=0))
    lines = 0

    def trace(frame, event, _):
        nonlocal lines
        if "luminal" not in frame.f_code.co_filename:
            return None
        lines += event == "line"
        return trace

    async with Loader(cache=False) as loader:
        handlers = await loader.load_photons(folder)
        await handlers.start()
        before = sys.gettrace()
        for number in (1, 2):  # the first swap begins the thread that stages
            (folder / "p0.py").write_text(PHOTON.format(at=0, number=number))
            lines = 0
            sys.settrace(trace)
            try:
                await loader.reload_photon(folder / "p0.py")
            finally:
                sys.settrace(before)
        assert loader.photons["Photon0"].instance.NUMBER == 2
    return lines


async def test_a_reload_does_not_look_at_the_other_photons(tmp_path):
    """Ten times as many photons cost no line more, but for how a thread was met."""
    few = await lines_of_a_reload(tmp_path / "few", 5)
    many = await lines_of_a_reload(tmp_path / "many", 200)
    assert 0 < many < few + 100
