"""A host names the photons without which it cannot work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import luminal
import luminal.blocking
from luminal.errors import LuminalError, PhotonNotFoundError

if TYPE_CHECKING:
    from pathlib import Path

GOOD = "import luminal\nclass Good(luminal.IPhoton):\n    photon_name = 'good'\n"
CASES = {
    "import": "1 / 0\n" + GOOD,
    "syntax": GOOD + "    def f(:\n",
    "start": GOOD + "    def start(self): raise OSError('no disk')\n",
}


def write(folder: Path, text: str) -> None:
    (folder / "must.py").write_text(text.replace("ood", "one"))
    (folder / "good.py").write_text(GOOD)


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("suppress", [True, False])
async def test_load_and_start_raise(tmp_path: Path, kind: str, suppress: bool) -> None:
    """Only where the photon is named; the others are loaded and started."""
    write(tmp_path, CASES[kind])
    name = "must" if kind == "syntax" else "gone"
    for must_have in (["good"], [name.upper(), "good"]):
        async with luminal.Loader(
            suppress_errors=suppress, must_have=must_have
        ) as loader:
            raised = None
            try:
                await loader.load(luminal.discover(tmp_path, group=None))
                await loader.start()
            except LuminalError as error:
                raised = error
            assert (raised is not None) == (len(must_have) == 2)
            assert raised is None or raised.photon == name
            assert "good" in loader.photons


@pytest.mark.parametrize("kind", CASES)
def test_the_same_by_handlers_and_without_asyncio(tmp_path: Path, kind: str) -> None:
    write(tmp_path, CASES[kind])
    name = "must" if kind == "syntax" else "gone"
    with (
        luminal.blocking.Loader(suppress_errors=True, must_have=[name]) as loader,
        pytest.raises(LuminalError) as raised,
    ):
        loader.load_photons(tmp_path).start()
    assert raised.value.photon == name


async def test_one_that_is_not_there() -> None:
    async with luminal.Loader(must_have=["db"]) as loader:
        await loader.load([])
        with pytest.raises(PhotonNotFoundError, match="db"):
            await loader.start()
    with pytest.raises(TypeError, match="list of names"):
        luminal.Loader(must_have="db")


class Specs:
    """Hooks with types."""

    @luminal.hookspec
    def price(self, net: float) -> list[float]:
        """Return prices."""
        raise NotImplementedError


def test_hooks_with_types(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(
        GOOD + "    @luminal.hookimpl\n    def price(self, net): return net * 2\n"
    )
    with luminal.blocking.Loader(hookspecs=[Specs]) as loader:
        loader.load_photons(tmp_path).start()
        prices: list[float] = loader.hooks(Specs).price(net=1.5)
        also: Any = loader.loader.hooks(Specs).price(net=2)
        assert (prices, also) == ([3.0], [4])
