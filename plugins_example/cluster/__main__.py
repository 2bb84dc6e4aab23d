"""Run the pipeline on a cluster of processes: ``python -m plugins_example.cluster``."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import luminal
from plugins_example.cluster import steps
from plugins_example.pipeline import output
from plugins_example.pipeline.generate import generate
from plugins_example.pipeline.hookspecs import PipelineSpecs
from plugins_example.pipeline.host import in_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luminal.fleet.dask import DaskFleet

PHOTONS = Path(__file__).resolve().parent.parent / "photons"
ON_WORKERS = ("agents", "combined.py", "filters.py")
IN_THE_PROGRAM = ("agents", "bots", "latency", "suspects", "traffic")
BATCH = 500
"""Lines of a task."""


def edit(photons: Path) -> None:
    """Edit a photon: from now on requests for ``.ico`` files are reported too."""
    path = photons / "filters.py"
    text = path.read_text(encoding="utf-8").replace('".ico", ', "")
    path.write_text(text, encoding="utf-8")


async def swap(fleet: DaskFleet, photons: Path) -> None:
    """Let all workers run the photons of a directory.

    Raises:
        SystemExit: A worker has voted against it.
    """
    report = await fleet.swap(photons, version="1.0")
    if not report.is_committed:
        raise SystemExit(f"nothing was swapped: {report.why}")
    output.say(
        f"decision {report.number}: {len(report.votes)} workers have swapped in "
        f"{report.seconds * 1e3:.0f} ms; for {report.mixed_seconds * 1e3:.0f} ms old "
        "and new have answered"
    )


async def spread(
    client: Any,
    fleet: DaskFleet,
    lines: Sequence[str],
    photons: Path,
    in_flight: int,
) -> list[steps.Row]:
    """Process *lines* on the workers, and swap a photon half-way.

    Args:
        client: Of the cluster.
        fleet: Of the cluster.
        lines: All of them.
        photons: What is swapped, once it was edited.
        in_flight: How many tasks are under way at a time.
    """
    from distributed import as_completed

    batches = [range(at, at + BATCH) for at in range(0, len(lines), BATCH)]

    def submit(batch: range) -> Any:
        text = lines[batch.start : batch.stop]
        # Not pure: the same call after a swap is another one.
        return client.submit(steps.process, batch.start, text, pure=False)

    half = len(batches) // 2
    waiting = batches[in_flight:]
    rows: list[steps.Row] = []
    done = as_completed(  # type: ignore[no-untyped-call]
        [submit(batch) for batch in batches[:in_flight]], with_results=True
    )
    async for _, found in done:
        rows += found
        if waiting:
            done.add(submit(waiting.pop(0)))  # type: ignore[no-untyped-call]
        if len(waiting) == half:
            edit(photons)
            await swap(fleet, photons)
    return rows


async def count(records: Sequence[dict[str, Any]]) -> tuple[Any, ...]:
    """Return the sections of the report, by photons of this process."""
    found = luminal.discover(PHOTONS, group=None, allow=IN_THE_PROGRAM)
    async with luminal.Loader(hookspecs=[PipelineSpecs]) as loader:
        await loader.load(found)
        await loader.start()
        hooks = loader.hooks(PipelineSpecs)
        for record in records:
            hooks.aggregate(record=record)
        return in_order(hooks.report())


async def run(options: argparse.Namespace, directory: Path) -> int:
    """Process a generated log; return 1 if a line was lost or counted twice."""
    from distributed import Client, LocalCluster

    from luminal.fleet.dask import DaskFleet

    photons = directory / "steps"
    photons.mkdir()
    for name in ON_WORKERS:
        copy = shutil.copytree if (PHOTONS / name).is_dir() else shutil.copy
        copy(PHOTONS / name, photons / name)
    lines = list(generate(options.records, options.seed))
    loader = f"{steps.__name__}:{steps.make_loader.__name__}"
    settings = ["--journal", str(directory / "journal"), "--loader", loader]
    output.say(f"starting {options.workers} workers")
    async with (
        LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=options.workers,
            threads_per_worker=1,
            asynchronous=True,
            dashboard_address="127.0.0.1:0",
            local_directory=str(directory),
            scheduler_kwargs={
                "preload": ["luminal.fleet.dask"],
                "preload_argv": [settings],
            },
        ) as cluster,
        Client(cluster, asynchronous=True) as client,  # type: ignore[no-untyped-call]
    ):
        fleet = DaskFleet(client)
        await swap(fleet, photons)
        rows = await spread(client, fleet, lines, photons, 2 * options.workers)
    seen = Counter(number for number, _ in rows)
    kept = [record for _, record in sorted(rows, key=lambda row: row[0]) if record]
    for section in await count(kept):
        output.print_table(section["title"], section["headings"], section["rows"])
    lost = len(lines) - len(seen)
    doubled = sum(seen.values()) - len(seen)
    print(
        f"\n{len(lines):,} lines: {len(kept):,} in the report, "
        f"{len(rows) - len(kept):,} dropped, {lost} lost, {doubled} counted twice"
    )
    return 1 if lost or doubled else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="cluster", description=__doc__)
    parser.add_argument("--records", type=int, default=60_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1, help="of the generated log")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="luminal-cluster-") as directory:
        return asyncio.run(run(options, Path(directory)))


if __name__ == "__main__":
    sys.exit(main())
