"""A headless Chromium for tests, driven through chromedriver by urllib."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from tests.waiting import DEADLINE

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
WHY_NOT = "Chromium and its driver are not installed (Debian: chromium chromium-driver)"

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


@attrs.define
class Chrome:
    """One window of a browser."""

    session: str

    def ask(self, path: str, **body: Any) -> Any:
        return _post(f"{self.session}/{path}", body)

    def open(self, url: str) -> None:
        self.ask("url", url=url)

    @contextmanager
    def tab(self) -> Iterator[None]:
        """Be in a new tab, and return to the one before at the end."""
        place = f"{self.session}/window"
        before = _call(urllib.request.Request(place))
        own = self.ask("window/new", type="tab")["handle"]
        self.ask("window", handle=own)
        try:
            yield
        finally:
            self.ask("window", handle=own)
            _call(urllib.request.Request(place, method="DELETE"))
            self.ask("window", handle=before)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run *script*, which may return a value, in the page."""
        return self.ask("execute/sync", script=script, args=list(arguments))

    def devtools(self, command: str, **parameters: Any) -> Any:
        return self.ask("goog/cdp/execute", cmd=command, params=parameters)

    def look(self, width: int, scheme: str, *, height: int = 900) -> None:
        """Be as wide as a device, whose owner likes light or dark."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.devtools("Emulation.setEmulatedMedia", features=features)

    def press(self, key: str) -> None:
        keys = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        actions = [{"type": "key", "id": "keyboard", "actions": keys}]
        self.ask("actions", actions=actions)

    def until(self, script: str, deadline: float = DEADLINE) -> Any:
        """Wait until *script* returns something true, and return that."""
        end = time.monotonic() + deadline
        while True:
            value = self.run(script)
            if value:
                return value
            if time.monotonic() > end:
                text = self.run("return document.body.innerText")
                raise AssertionError(f"never true: {script}\n{text}")
            time.sleep(0.05)  # the page, not this process, is waited for

    def complaints(self) -> list[str]:
        """Return the messages of the browser's console since the last call."""
        return [entry["message"] for entry in self.ask("se/log", type="browser")]

    def shoot(self, path: Path) -> None:
        """Save a screenshot of the whole page."""
        size = self.devtools("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"]}
        shot = self.devtools(
            "Page.captureScreenshot",
            captureBeyondViewport=True,
            clip={**clip, "scale": 1},
        )
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def chrome(place: Path) -> Iterator[Chrome]:
    """Start a browser with a profile of its own below *place*, and end it."""
    command = [str(DRIVER), "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        try:
            base = f"http://127.0.0.1:{_port_of(driver)}"
            flags = [*_FLAGS, f"--user-data-dir={place / 'profile'}"]
            wanted = {
                "goog:chromeOptions": {"args": flags, "binary": CHROMIUM},
                "goog:loggingPrefs": {"browser": "ALL"},
            }
            made = _post(f"{base}/session", {"capabilities": {"alwaysMatch": wanted}})
            window = Chrome(f"{base}/session/{made['sessionId']}")
            try:
                yield window
            finally:
                _call(urllib.request.Request(window.session, method="DELETE"))
        finally:
            driver.terminate()


def _port_of(driver: subprocess.Popen[str]) -> int:
    assert driver.stdout is not None
    said: Callable[[], str] = driver.stdout.readline
    for line in iter(said, ""):
        if "started successfully on port" in line:
            return int(line.rstrip().rstrip(".").rpartition(" ")[2])
    raise RuntimeError("chromedriver did not start")


def _post(url: str, body: dict[str, Any]) -> Any:
    data = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    return _call(urllib.request.Request(url, data, headers))


def _call(request: urllib.request.Request) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=DEADLINE) as answer:
        return json.loads(answer.read())["value"]
