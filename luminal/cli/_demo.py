"""The command ``demo``: a small host at work, with the photons in ``demo/``.

The host is a weather station. While a thread calls a hook without a pause, a photon is
edited, broken and fixed; each call is counted.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
from collections import Counter
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import attrs
import click

from luminal.cli._options import command, state_of
from luminal.cli._output import (
    Exit,
    print_json,
    print_message,
    print_problem,
    print_table,
    run_async,
    write_new_files,
)
from luminal.discovery import discover
from luminal.errors import LuminalError
from luminal.interfaces import hookspec
from luminal.managers import Loader
from luminal.model import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luminal.model import Candidate, Report

__all__ = ["demo_command"]


@command("demo")
@click.option(
    "--keep",
    metavar="DIRECTORY",
    type=click.Path(file_okay=False),
    help="Write the photons there, and keep them for you to change.",
)
def demo_command(keep: str | None, as_json: bool) -> Exit:
    """Show what Luminal does, with photons of its own.

    The host is a weather station, with three photons that work and two that do not.
    They are discovered, loaded, started and called. While a thread calls a hook
    without a pause, one photon is edited, broken and fixed, and every call is counted.
    Then the photons are unloaded.
    """
    if not as_json:
        logging.basicConfig(
            level=logging.INFO, format="   %(name)s: %(message)s", stream=sys.stdout
        )
    with tempfile.TemporaryDirectory(prefix="luminal-demo-") as temporary:
        directory = os.path.abspath(keep or temporary)
        photons = {path: _photon(path) for path in _PHOTONS}
        write_new_files(directory, photons)
        demo = _Demo(directory, as_json)
        code = Exit.FINE if run_async(demo.run()) else Exit.FAILED
    if as_json:
        print_json("demo", code, steps=demo.steps)
    elif keep:
        click.echo(f"\nThe photons are in {directory}; try: luminal list {keep}")
    return code


# --- What it shows -------------------------------------------------------------------

_PHOTONS = (
    "fahrenheit.py",
    "mean.py",
    "alarm/__init__.py",
    "alarm/limits.py",
    "humidity.py",
    "rain.py",
)
"""Paths below ``demo/``."""

_READINGS = (12.0, 19.5, 31.0)
"""Temperatures in degrees Celsius."""

_RECORDS = 500
"""How many records each generation is given at least."""


def _photon(path: str) -> str:
    """Return the text of a file in ``demo/``."""
    file = files("luminal.cli").joinpath("demo", *path.split("/"))
    return file.read_text(encoding="utf-8")


def _kelvin() -> str:
    """Return the photon `fahrenheit`, edited to convert to Kelvin."""
    text = _photon("fahrenheit.py")
    text = text.replace("celsius * 9 / 5 + 32", "celsius + 273.15")
    return text.replace('Fahrenheit"', 'Kelvin"')


class _Station:
    """The hooks of the weather station."""

    @hookspec
    def on_reading(self, celsius: float) -> str | None:
        """Say something about a reading, or nothing."""

    @hookspec(firstresult=True)
    def on_record(self, number: int) -> tuple[int, str] | None:
        """Return the number of the record, and the scale that it was stored in."""


@attrs.frozen
class _Count:
    """What became of the records.

    Attributes:
        fed: How many were given to the hook.
        lost: How many no photon has stored.
        doubled: How many were stored more than once.
        failed: How many calls raised.
        by_scale: Scale → how many were stored in it.
    """

    fed: int
    lost: int
    doubled: int
    failed: int
    by_scale: dict[str, int]


@attrs.define(eq=False)
class _Feeder:
    """Calls ``on_record`` again and again without a pause, on a thread of its own.

    Args:
        loader: The host that is called.
    """

    loader: Loader
    # Written by the thread, read by others while they hold the condition.
    _stored: list[tuple[int, str]] = attrs.field(init=False, factory=list)
    _fed: int = attrs.field(init=False, default=0)
    _failed: int = attrs.field(init=False, default=0)
    _is_over: bool = attrs.field(init=False, default=False)
    _condition: Any = attrs.field(init=False, factory=threading.Condition)
    _thread: threading.Thread = attrs.field(init=False)

    def start(self) -> None:
        """Begin to call."""
        self._thread = threading.Thread(target=self._feed, name="demo-feeder")
        self._thread.start()

    def _feed(self) -> None:
        while not self._is_over:
            answer = None
            try:
                answer = self.loader.hook.on_record(number=self._fed)
            except Exception:  # noqa: BLE001 - whatever fails is counted
                self._failed += 1
            with self._condition:
                self._fed += 1
                if answer is not None:
                    self._stored.append(answer)
                self._condition.notify_all()

    def wait_for(self, more: int, deadline: float = 30.0) -> None:
        """Wait until *more* records have been fed.

        Args:
            more: How many, from now on.
            deadline: Seconds to wait at most.
        """
        with self._condition:
            goal = self._fed + more
            self._condition.wait_for(lambda: self._fed >= goal, deadline)

    def stop(self) -> _Count:
        """End the thread, and count."""
        self._is_over = True
        self._thread.join()
        times = Counter(number for number, _ in self._stored)
        return _Count(
            fed=self._fed,
            lost=self._fed - len(times),
            doubled=sum(1 for count in times.values() if count > 1),
            failed=self._failed,
            by_scale=dict(Counter(scale for _, scale in self._stored)),
        )


# --- Its steps -----------------------------------------------------------------------


@attrs.define(eq=False)
class _Demo:
    """Runs the steps; prints each, or collects all for one JSON document.

    Args:
        directory: Absolute path of the photons.
        is_json: Whether they are collected.
        steps: What was collected.
    """

    directory: str
    is_json: bool
    steps: list[dict[str, Any]] = attrs.Factory(list)

    async def run(self) -> bool:
        """Run all steps; return whether no record was lost, doubled or failed."""
        found = self._discover()
        loader = Loader(cache=False, lock="off")
        loader.plugins.add_hookspecs(_Station)
        async with loader:
            self._title("load: import each photon on its own; report those that fail")
            self._report(await loader.load(found))
            self._title("start: create each photon, call start, register its hooks")
            await loader.start()
            states = {name: handler.state for name, handler in loader.photons.items()}
            for name, state in states.items():
                self._print(f"{name}: {state}")
            self._step("start", photons=states)
            self._title("call: the host calls a hook once, every photon may answer")
            self._call(loader, _READINGS)
            is_whole = await self._swap(loader)
            self._title("unload: remove 'fahrenheit'; the host and the others stay")
            await loader.unload_photon("fahrenheit")
            self._print(f"left: {', '.join(loader.photons)}")
            self._step("unload", left=list(loader.photons))
            self._title("call again")
            self._call(loader, _READINGS[-1:])
            self._title("close: finalize all photons, in reverse order")
        self._print("no photon is left")
        self._step("close", left=list(loader.photons))
        return is_whole

    def _title(self, text: str) -> None:
        if not self.is_json:
            print_message(f"\n{len(self.steps) + 1}. {text}", err=False, bold=True)

    def _print(self, line: str) -> None:
        if not self.is_json:
            click.echo(f"   {line}")

    def _step(self, name: str, **data: Any) -> None:
        self.steps.append({"step": name, **data})

    def _problem(self, photon: str, problem: Problem) -> None:
        if not self.is_json:
            print_problem(photon, problem, err=False, indent="     ")

    def _discover(self) -> Sequence[Candidate]:
        self._title("discover: read the files, import none of them")
        found = discover(self.directory, group=None, index=False)
        if not self.is_json:
            rows = [(c.name, c.version, state_of(c), c.description) for c in found]
            print_table(("NAME", "VERSION", "STATE", "DESCRIPTION"), rows)
        self._print("'rain' requires a photon that does not exist: seen before import.")
        self._print("'alarm' is loaded after 'mean', because it requires it.")
        photons = [{"name": c.name, "state": state_of(c)} for c in found]
        self._step("discover", photons=photons)
        return found

    def _report(self, report: Report) -> None:
        for outcome in report:
            self._print(f"{outcome.photon}: {outcome.result}")
            if outcome.problem is not None:
                self._problem(outcome.photon, outcome.problem)
        photons = [{"name": o.photon, "result": o.result} for o in report]
        self._step("load", photons=photons)

    def _call(self, loader: Loader, readings: Sequence[float]) -> None:
        answers = {}
        for celsius in readings:
            said = loader.hook.on_reading(celsius=celsius)
            answers[f"{celsius}"] = said
            self._print(f"{celsius:>5} degrees: {'; '.join(said)}")
        self._step("call", answers=answers)

    async def _swap(self, loader: Loader) -> bool:
        """Change a photon while it is called; return whether each call was answered."""
        feeder = _Feeder(loader)
        self._title("feed: from now on, a thread calls another hook without a pause")
        feeder.start()
        try:
            feeder.wait_for(_RECORDS)
            self._print("'fahrenheit' stores the records")
            self._step("feed")
            self._title("edit: change 'fahrenheit' to Kelvin, while it is called")
            await self._save(loader, feeder, _kelvin())
            self._title("break: save a syntax error")
            broken = _kelvin().replace("return number", "return number,")
            await self._save(loader, feeder, broken)
            self._title("fix: save the correct line")
            await self._save(loader, feeder, _kelvin())
        finally:
            self._title("count: every record was stored once")
            count = feeder.stop()
        scales = ", ".join(f"{n} in {scale}" for scale, n in count.by_scale.items())
        self._print(f"{count.fed} records fed, {scales}")
        self._print(
            f"{count.lost} lost, {count.doubled} doubled, {count.failed} calls failed"
        )
        self._step("count", count=count)
        return not (count.lost or count.doubled or count.failed)

    def _write(self, name: str, text: str) -> None:
        with open(os.path.join(self.directory, name), "w", encoding="utf-8") as file:
            file.write(text)

    async def _save(self, loader: Loader, feeder: _Feeder, text: str) -> None:
        """Save *text* as the photon `fahrenheit`, reload it, and feed on."""
        name = "fahrenheit"
        self._write(f"{name}.py", text)
        problem: Problem | None = None
        try:
            await loader.reload_photon(name)
        except LuminalError as error:
            problem = Problem.of(error, "reload")
        feeder.wait_for(_RECORDS)
        number = loader.photons[name].number
        if problem is None:
            self._print(f"swapped: generation {number} runs")
        else:
            self._print(f"rejected: still running generation {number}")
            self._problem(name, problem)
        self._step("save", generation=number, problem=problem)
