"""A host under an attacker that exchanges its files, for some seconds.

The attacker is a process of its own. It replaces modules, data files, compiled files,
the code cache and the vault of the host, as fast as it can. The host loads, reloads,
imports late, reads data, and unloads, again and again. An audit hook looks at each code
object that is executed: its text must be one that was accepted. The digest of each is
noted by compiling the accepted texts.

Run as a program: ``python -m tests.trust.attack DIRECTORY SECONDS [off]``; it prints
counts. With ``off`` the host has no lock, and the same attacker comes through: it ends
at the first text that nobody has accepted.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
import time
import traceback
from pathlib import Path
from types import CodeType

import luminal
from luminal.errors import LuminalError, PhotonVerificationError
from luminal.managers import accept_units, find_units
from luminal.trust import open_judge

ROOT = """\
import pkgutil
from importlib import import_module, resources
from luminal import IPhoton
try:
    from .extra import EXTRA
except ImportError:
    EXTRA = None
class Geo(IPhoton):
    photon_name = "NAME"
    def read(self):
        return pkgutil.get_data(__name__, "data.txt"), resources.files(
            __name__).joinpath("data.txt").read_bytes()
    def late(self, name):
        return import_module("." + name, __package__).VALUE
"""
ACCEPTED = {
    "__init__.py": ROOT,
    "extra.py": "EXTRA = 1\n",
    "late.py": "from .deep import VALUE\n",
    "deep.py": "VALUE = 'accepted'\n",
    "data.txt": "accepted",
}
notes: list[str] = []
"""What was seen of that which must not be, for who reads a failure."""
EVIL = "import sys\nsys.evil = getattr(sys, 'evil', 0) + 1\nVALUE = EXTRA = 'evil'\n"


def attack(directory: Path, seconds: float) -> None:
    """Exchange files until the time is over."""
    chance = random.Random(1)
    folders = [directory / "site" / "geo", directory / "plugins" / "pack"]
    end = time.monotonic() + seconds
    kept: list[bytes] = []
    while time.monotonic() < end:
        folder = chance.choice(folders)
        name = chance.choice([*ACCEPTED, "planted.py", "late/__init__.py"])
        text = chance.choice([ACCEPTED.get(name, EVIL), EVIL, EVIL + "#" * 50_000])
        text = text.replace("NAME", folder.name)
        with contextlib.suppress(OSError):
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            if chance.random() < 0.5:
                path.write_text(text)
            else:
                new = folder / f".new{chance.random()}"
                new.write_text(text)
                os.replace(new, path)
            if chance.random() < 0.3:
                pyc = Path(importlib.util.cache_from_source(str(path)))
                pyc.parent.mkdir(exist_ok=True)
                (folder / "planted.pyc").write_bytes(b"")
                pyc.write_bytes(os.urandom(64))
            if chance.random() < 0.3:
                for each, whole in ACCEPTED.items():  # now and then all is right
                    (folder / each).write_text(whole.replace("NAME", folder.name))
                (folder / "planted.py").unlink(missing_ok=True)
                shutil.rmtree(folder / "late", ignore_errors=True)
        with contextlib.suppress(OSError, IndexError):
            for sealed in (directory / "cache").glob("code-*.sealed"):
                kept.append(sealed.read_bytes())
                data = bytearray(chance.choice(kept[-20:]))
                if chance.random() < 0.5:
                    data[chance.randrange(len(data))] ^= 1
                sealed.write_bytes(data)
            del kept[:-20]
        with contextlib.suppress(OSError, IndexError):
            files = [p for p in (directory / "state").rglob("*.py") if p.is_file()]
            chance.choice(files).write_text(EVIL)


def allowed_codes(directory: Path) -> dict[tuple[str, CodeType], str]:
    """Return (name of the file, code) of each text that was accepted → its digest."""
    found = {}
    for folder in ("geo", "pack"):
        for name, text in ACCEPTED.items():
            data = text.replace("NAME", folder).encode()
            if name.endswith(".py"):
                code = compile(data, name, "exec", dont_inherit=True)
                found[f"{folder}/{name}", code] = hashlib.sha512(data).hexdigest()
    return found


def described(code: CodeType) -> str:
    """Return what is known of code that nobody has accepted: whose it is, and why."""
    found = [f"{code.co_filename}: names {code.co_names}, constants {code.co_consts}"]
    with contextlib.suppress(OSError):
        digest = hashlib.sha512(Path(code.co_filename).read_bytes()).hexdigest()
        found.append(f"SHA-512 of the file by now: {digest}")
    for fullname, module in [*sys.modules.items()]:
        if getattr(module, "__file__", None) == code.co_filename:
            loader = getattr(module, "__loader__", None)
            verdict = getattr(getattr(loader, "generation", None), "verdict", None)
            found.append(f"module {fullname} of {loader!r}, verdict {verdict}")
    return "\n".join([*found, *traceback.format_stack()[:-2]])


async def use(directory: Path, counts: dict[str, int]) -> None:
    """Load, use, reload and unload the photons once."""
    lock = "off" if "off" in sys.argv else directory / "luminal.lock"
    async with luminal.Loader(suppress_errors=True, lock=lock) as loader:
        await loader.load(luminal.discover(directory / "plugins", index=False))
        await loader.start()
        for handler in [*loader.photons.values()]:
            counts["loaded"] += 1
            # What is not there is looked for often: it may appear in that moment.
            for name in ("late", "deep", *["planted"] * 20):
                try:
                    value = handler.instance.late(name)
                    counts["late" if value == "accepted" else "wrong"] += 1
                    if value != "accepted":
                        notes.append(
                            f"{handler.name} {name}, {handler.verdict}: {value}"
                        )
                except PhotonVerificationError:
                    counts["refused"] += 1
                except ImportError:
                    pass
                except AttributeError:  # a file was read while it was empty
                    counts["wrong"] += 1
                    notes.append(
                        f"{handler.name} {name}, {handler.verdict}:\n"
                        f"{traceback.format_exc()}"
                    )
            with contextlib.suppress(OSError):
                read = handler.instance.read()
                if read != (b"accepted", b"accepted"):
                    counts["wrong"] += 1
                    notes.append(f"{handler.name}, {handler.verdict}: read {read}")
            try:
                await loader.reload_photon(handler)
                is_bad = loader.photons[handler.name].problem is not None
                counts["refused" if is_bad else "reloaded"] += 1
            except LuminalError:
                counts["refused"] += 1


async def host(directory: Path, counts: dict[str, int]) -> None:
    """Use the photons until the attacker has ended, or has come through."""
    await use(directory, counts)  # before that: all that was accepted is executed once
    attacker = subprocess.Popen(  # noqa: ASYNC220 - nothing else is on the loop
        [sys.executable, "-m", "tests.trust.attack", *sys.argv[1:3], "attack"]
    )
    try:
        while attacker.poll() is None:
            await use(directory, counts)
            if "off" in sys.argv and counts["unjudged"]:
                return
    finally:
        attacker.kill()
        attacker.wait()


def main() -> None:
    directory, seconds = Path(sys.argv[1]), float(sys.argv[2])
    if "attack" in sys.argv[3:]:
        attack(directory, seconds)
        return
    os.environ["LUMINAL_CACHE_DIR"] = str(directory / "cache")
    os.environ["LUMINAL_STATE_DIR"] = str(directory / "state")
    from tests.distributions import put

    site = directory / "site"
    site.mkdir()
    texts = {f"geo/{n}": text.replace("NAME", "geo") for n, text in ACCEPTED.items()}
    put(site, "geo", "1.0", files=texts, entries="geo = geo:Geo")
    for name, text in ACCEPTED.items():
        path = directory / "plugins" / "pack" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("NAME", "pack"))
    sys.path.insert(0, str(site))
    lock = directory / "luminal.lock"
    lock.write_text('version = 1\nmode = "frozen"\n')
    judge = open_judge(lock)
    assert judge is not None
    found = find_units(judge, luminal.discover(directory / "plugins", index=False))
    units = [each.unit for each in found if each.unit and each.photons != ()]
    accept_units(judge, [u for u in units if u.name in ("geo", "plugins/pack/")])
    allowed = allowed_codes(directory)
    ours = str(directory)
    counts = dict.fromkeys(
        ("executed", "unjudged", "wrong", "loaded", "late", "refused", "reloaded"), 0
    )
    digests: set[str] = set()

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event != "exec" or type(arguments[0]) is not CodeType:
            return
        code = arguments[0]
        if not code.co_filename.startswith(ours):
            return
        counts["executed"] += 1
        name = "/".join(code.co_filename.split(os.sep)[-2:])
        digest = allowed.get((name, code))
        if digest is None:
            counts["unjudged"] += 1
            notes.append(f"executed {described(code)}")
        else:
            digests.add(digest)

    sys.addaudithook(watch)
    asyncio.run(host(directory, counts))
    counts["digests"] = len(digests)
    counts["evil"] = getattr(sys, "evil", 0)
    sys.stdout.write(json.dumps({**counts, "notes": notes[:3]}) + "\n")


if __name__ == "__main__":
    main()
