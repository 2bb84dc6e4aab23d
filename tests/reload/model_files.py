"""What the model's host works on: files of photons, and an installed distribution."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from pathlib import Path

NAMES = ("a", "b", "c")
SHIPPED = "shipped_by_model"
GROUP = "luminal.photons.model"
FAULTS = {
    "syntax": ("def (", ""),
    "import": ("1 / 0", ""),
    "exit": ("raise SystemExit", ""),
    "start": ("", "def start(self): raise ValueError"),
    "state": ("", "def on_reload(self, previous): previous.data.clear(); 1 / 0"),
    "hook": ("", "@hookimpl(specname='who')\n    def more(self, what): ..."),
}
AT_IMPORT = frozenset({"syntax", "import", "exit"})
TEXT = """
from luminal import IPhoton, hookimpl
import luminal_test_ledger as ledger
{head}

class Photon(IPhoton):
    photon_name = {name!r}
    def __init__(self):
        self.key = ({name!r}, {number}, ledger.next())
    def start(self):
        ledger.started.append(self.key)
    def is_healthy(self):
        return ({name!r}, {number}) not in ledger.sick
    {body}
    @hookimpl
    def who(self):
        assert self.key not in ledger.finalized, "called after its end"
        return ({name!r}, {number}, {helper}, self.context.data.get("n"))
    @hookimpl
    def visit(self, go):
        return ({name!r}, {number}, {helper}), go()
    def finalize(self):
        ledger.finalized.append(self.key)
"""


class Ledger:
    """What photons note about their lives; a module to them."""

    def __init__(self):
        self.started, self.finalized, self.sick = [], [], set()
        self.count = 0

    def next(self):
        self.count += 1
        return self.count


def _in_place(path, text):
    path.write_text(text)


def _rename(path, text):
    fresh = path.with_name("fresh.tmp")
    fresh.write_text(text)
    os.replace(fresh, path)


def _vim(path, text):
    backup = path.with_name(path.name + "~")
    if path.exists():
        path.rename(backup)
    path.write_text(text)
    backup.unlink(missing_ok=True)


def _delete_and_create(path, text):
    path.unlink(missing_ok=True)
    path.write_text(text)


def _same_second(path, text):
    path.write_text(text)
    os.utime(path, (1_700_000_000, 1_700_000_000))


def _two_writes(path, text):
    with path.open("w") as file:
        file.write(text[:40])
        file.flush()
        file.write(text[40:])


WAYS = {
    "in place": _in_place,
    "rename": _rename,
    "as vim does": _vim,
    "delete and create": _delete_and_create,
    "same second": _same_second,
    "two writes": _two_writes,
}


def photon_text(name, number, fault):
    head, body = FAULTS.get(fault, ("", ""))
    return TEXT.format(
        name=name,
        number=number,
        body=body,
        head=f"from . import shared\n{head}",
        helper="shared.NUMBER",
    )


def helper_text(number, fault):
    return f"NUMBER = {number}\n{FAULTS.get(fault, ('', ''))[0]}\n"


class Installed:
    """A distribution of one package with two modules, installed as pip does it."""

    def __init__(self, site: Path) -> None:
        self.site = site
        site.mkdir()

    def install(self, number, fault, first=""):
        """Take what is there away, put the new version there, RECORD last."""
        self.uninstall()
        head, body = FAULTS.get(fault, ("", ""))
        texts = {
            f"{SHIPPED}/part.py": f"NUMBER = {number}\n",
            f"{SHIPPED}/__init__.py": TEXT.format(
                name="shipped",
                number=number,
                body=body,
                head=f"from .part import NUMBER\n{first}\n{head}",
                helper="NUMBER",
            ),
        }
        info = f"{SHIPPED}-{number}.dist-info"
        texts |= {
            f"{info}/INSTALLER": "pip\n",
            f"{info}/METADATA": (
                f"Metadata-Version: 2.1\nName: {SHIPPED}\nVersion: {number}\n"
            ),
            f"{info}/entry_points.txt": f"[{GROUP}]\nshipped = {SHIPPED}:Photon\n",
        }
        rows = []
        for name, text in texts.items():
            path = self.site / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            digest = hashlib.sha256(text.encode()).digest()
            code = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            rows.append(f"{name},sha256={code},{len(text)}\n")
        (self.site / info / "RECORD").write_text("".join(rows) + f"{info}/RECORD,,\n")

    def uninstall(self):
        for info in self.site.glob("*.dist-info"):
            (info / "RECORD").unlink()
            shutil.rmtree(info)
        shutil.rmtree(self.site / SHIPPED, ignore_errors=True)

    def tear(self):
        """Leave a file that is not what RECORD says, as in the middle of pip's work."""
        (self.site / SHIPPED / "part.py").write_text("NUMBER = 'torn'\n")
