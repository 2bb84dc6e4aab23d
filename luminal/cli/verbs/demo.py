"""``luminal demo``: a small host at work, in a directory of its own."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any

import attrs
import click

from luminal.cli.blaming import tell_problem
from luminal.cli.exits import Exit
from luminal.cli.looking import state_of
from luminal.cli.paper import print_json, print_table, say
from luminal.cli.pipeline import Pipeline
from luminal.cli.showcase import BROKEN, EDITED, PHOTONS, READINGS, Station
from luminal.cli.verb import verb
from luminal.cli.writing import write_new
from luminal.discovery import discover
from luminal.errors import LuminalError
from luminal.managers import Loader
from luminal.model import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luminal.model import Candidate, Report

__all__ = ["command"]


@attrs.define(eq=False)
class _Show:
    """Tells each step, or gathers all for one JSON document."""

    directory: str
    is_json: bool
    steps: list[dict[str, Any]] = attrs.Factory(list)

    def title(self, text: str) -> None:
        if not self.is_json:
            say(f"\n{len(self.steps) + 1}. {text}", err=False, bold=True)

    def text(self, line: str) -> None:
        if not self.is_json:
            click.echo(f"   {line}")

    def step(self, name: str, **data: Any) -> None:
        self.steps.append({"step": name, **data})

    def discover(self) -> Sequence[Candidate]:
        self.title("discover: read the files, import none of them")
        found = discover(self.directory, group=None, index=False)
        if not self.is_json:
            rows = [(c.name, c.version, state_of(c), c.description) for c in found]
            print_table(("NAME", "VERSION", "STATE", "DESCRIPTION"), rows)
        self.text("'rain' needs a photon that is not there: known before any import.")
        self.text("'alarm' comes after 'mean', because it needs it.")
        self.step(
            "discover", photons=[{"name": c.name, "state": state_of(c)} for c in found]
        )
        return found

    def report(self, report: Report) -> None:
        for outcome in report:
            self.text(f"{outcome.photon}: {outcome.result}")
            if outcome.problem is not None and not self.is_json:
                tell_problem(outcome.photon, outcome.problem, err=False, indent="     ")
        photons = [{"name": o.photon, "result": o.result} for o in report]
        self.step("load", photons=photons)

    def call(self, loader: Loader, readings: Sequence[float]) -> None:
        answers = {}
        for celsius in readings:
            said = loader.hook.on_reading(celsius=celsius)
            answers[f"{celsius}"] = said
            self.text(f"{celsius:>5} degrees: {'; '.join(said)}")
        self.step("call", answers=answers)

    def write(self, name: str, text: str) -> None:
        with open(os.path.join(self.directory, name), "w", encoding="utf-8") as file:
            file.write(text)

    async def save(self, loader: Loader, pipeline: Pipeline, text: str) -> None:
        """Save *text* as the photon `fahrenheit`, reload it, and feed on."""
        name = "fahrenheit"
        self.write(f"{name}.py", text)
        problem: Problem | None = None
        try:
            await loader.reload_photon(name)
        except LuminalError as error:
            problem = Problem.of(error, "reload")
        pipeline.wait_for(_RECORDS)
        number = loader.photons[name].number
        if problem is None:
            self.text(f"swapped: generation {number} answers")
        else:
            self.text(f"refused: generation {number} goes on")
            if not self.is_json:
                tell_problem(name, problem, err=False, indent="     ")
        self.step("save", generation=number, problem=problem)

    def count(self, pipeline: Pipeline) -> bool:
        """Stop the pipeline, and return whether it has lost or doubled nothing."""
        count = pipeline.stop()
        scales = ", ".join(f"{n} in {scale}" for scale, n in count.by_scale.items())
        self.text(f"{count.fed} records fed, {scales}")
        self.text(
            f"{count.lost} lost, {count.doubled} doubled, {count.failed} calls failed"
        )
        self.step("count", count=count)
        return not (count.lost or count.doubled or count.failed)


_RECORDS = 500
"""How many records each generation is fed at least."""


async def _play(show: _Show) -> bool:
    """Play all scenes; return whether no record was lost or doubled."""
    found = show.discover()
    loader = Loader(cache=False)
    loader.plugins.add_hookspecs(Station)
    async with loader:
        show.title("load: each apart from the others; a broken one is reported")
        show.report(await loader.load(found))
        show.title("start: create them, call start, seat their hooks")
        await loader.start()
        states = {name: handler.state for name, handler in loader.photons.items()}
        for name, state in states.items():
            show.text(f"{name}: {state}")
        show.step("start", photons=states)
        show.title("call: the host asks once, every photon may answer")
        show.call(loader, READINGS)
        is_whole = await _swap(show, loader)
        show.title("unload: 'fahrenheit' goes, the host and the others stay")
        await loader.unload_photon("fahrenheit")
        show.text(f"left: {', '.join(loader.photons)}")
        show.step("unload", left=list(loader.photons))
        show.title("call again")
        show.call(loader, READINGS[-1:])
        show.title("close: finalize all, the last one first")
    show.text("nothing is left")
    show.step("close", left=list(loader.photons))
    return is_whole


async def _swap(show: _Show, loader: Loader) -> bool:
    """Change a photon while a pipeline runs; return whether every record arrived."""
    pipeline = Pipeline(loader)
    show.title("feed: from here on, a thread hands in records without a pause")
    pipeline.start()
    try:
        pipeline.wait_for(_RECORDS)
        show.text("'fahrenheit' stores them")
        show.step("feed")
        show.title("edit: 'fahrenheit' changes to Kelvin, while records come in")
        await show.save(loader, pipeline, EDITED)
        show.title("break: a slip of the finger is saved")
        await show.save(loader, pipeline, BROKEN)
        show.title("mend: the line is put right")
        await show.save(loader, pipeline, EDITED)
    finally:
        show.title("count: every record, stored once")
        is_whole = show.count(pipeline)
    return is_whole


@verb("demo")
@click.option(
    "--keep",
    metavar="DIRECTORY",
    type=click.Path(file_okay=False),
    help="Write the photons there, and leave them for you to change.",
)
def command(keep: str | None, as_json: bool) -> Exit:
    """Show what Luminal does, with photons of its own.

    The host is a weather station, with three photons that work and two that do not.
    They are discovered, loaded, started and called. While a pipeline runs, one is
    edited, broken and mended, and every record is counted. Then they are unloaded.
    """
    import asyncio
    import tempfile

    if not as_json:
        logging.basicConfig(
            level=logging.INFO, format="   %(name)s: %(message)s", stream=sys.stdout
        )
    with tempfile.TemporaryDirectory(prefix="luminal-demo-") as passing:
        directory = os.path.abspath(keep or passing)
        write_new(directory, PHOTONS)
        show = _Show(directory, as_json)
        code = Exit.FINE if asyncio.run(_play(show)) else Exit.FAILED
    if as_json:
        print_json("demo", code, steps=show.steps)
    elif keep:
        click.echo(f"\nThe photons are in {directory}; try: luminal list {keep}")
    return code
