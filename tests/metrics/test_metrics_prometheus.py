"""A real Prometheus scrapes a real host; skipped where Debian's package is missing."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from luminal import hookspec
from luminal.testing import Host
from luminal.web import serve
from tests.waiting import wait_until

PROMETHEUS = shutil.which("prometheus")
PROMTOOL = shutil.which("promtool")


class Specification:
    @hookspec
    def locate(self, place: str) -> Any: ...


GEO = """
from luminal import IPhoton, hookimpl

class Photon(IPhoton):
    @hookimpl
    def locate(self, place):
        return place
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.slow
@pytest.mark.skipif(
    PROMETHEUS is None or PROMTOOL is None, reason="needs Debian's prometheus"
)
def test_prometheus_scrapes_the_page(tmp_path: Path) -> None:
    port = free_port()
    with (
        Host(hookspecs=[Specification]) as host,
        serve(host.loader, port=0) as served,
    ):
        host.write("geo.py", GEO)
        host.run()
        for _ in range(41):
            host.hook.locate(place="here")
        host.write("geo.py", GEO + "# 2\n")
        host.reload("geo")
        host.hook.locate(place="here")
        with urllib.request.urlopen(served.url + "metrics") as answer:
            text = answer.read()
        checked = subprocess.run(
            [str(PROMTOOL), "check", "metrics"],
            input=text,
            capture_output=True,
            check=False,
        )
        assert checked.returncode == 0, checked.stderr
        target = served.url.removeprefix("http://").rstrip("/")
        (tmp_path / "prometheus.yml").write_text(
            "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
            "scrape_configs:\n"
            f"- {{job_name: luminal, static_configs: [{{targets: ['{target}']}}]}}\n"
        )
        with subprocess.Popen(
            [
                str(PROMETHEUS),
                f"--config.file={tmp_path / 'prometheus.yml'}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                query = quote('luminal_hook_calls_total{photon="geo"}')
                url = f"http://127.0.0.1:{port}/api/v1/query?query={query}"

                def value() -> str | None:
                    try:
                        with urllib.request.urlopen(url) as answer:
                            result = json.load(answer)["data"]["result"]
                    except (urllib.error.URLError, ConnectionError):
                        return None
                    return str(result[0]["value"][1]) if result else None

                assert wait_until(value) == "42"
            finally:
                process.terminate()
