"""One long listing over a slow line: pages one after the other against side by side. Prints, asserts no clock.

Part of `make bench`. The simulator runs in a process of its own and answers each page after a delay; the time is told
by the clock, as that is what side by side is for. Each walk is compared with the simulator's count before its figure
counts. Options: --shares, --delay, --widths, --rounds.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path

from pipelines.auth import StaticToken
from pipelines.client import ShareClient
from pipelines.extract import Options, observe_listing
from pipelines.observation import Direction, Listing
from pipelines.simulator.faults import Fault, Operation
from pipelines.simulator.server import run
from pipelines.simulator.service import DEMO_TOKEN, Service
from pipelines.simulator.world import World
from pipelines.traffic import Traffic


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shares", type=int, default=148_500)
    parser.add_argument("--delay", type=float, default=0.05, help="seconds that each page takes")
    parser.add_argument("--widths", type=int, nargs="*", default=[8])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with _simulator(options.shares, options.delay) as (endpoint, project, count):
        listing = Listing("bench", project, Direction.OUTGOING)
        print(f"one listing of {count} shares, {1000 * options.delay:g} ms a page, median of {options.rounds}")
        _walk(endpoint, listing, count, 16)  # the simulator writes its records as text once
        slowest = 0.0
        for width in (1, *options.widths):
            turns = [_walk(endpoint, listing, count, width) for _ in range(options.rounds)]
            wall, cpu, pages = (statistics.median(figures) for figures in zip(*turns, strict=True))
            slowest = slowest or wall
            print(f"  {width:3} at once: {wall:6.2f} s, {wall / slowest:4.0%}; {cpu:5.2f} s CPU; {pages:.0f} pages")


def _walk(endpoint: str, listing: Listing, count: int, width: int) -> tuple[float, float, int]:
    """Seconds by the clock, CPU seconds of this process, pages."""
    client = ShareClient(
        endpoint, StaticToken(DEMO_TOKEN), traffic=Traffic(project_concurrency=width), max_connections=width
    )
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, closing(client):
        began, cpu = time.perf_counter(), time.process_time()
        _, seen = observe_listing(
            listing,
            client,
            Path(folder),
            sync_id="bench",
            now=lambda: datetime.now(UTC),
            options=Options(pages_side_by_side=width),
        )
        took = time.perf_counter() - began, time.process_time() - cpu, seen.page_count
    assert (seen.status.is_proven, seen.distinct_ids) == (True, count), seen
    return took


@contextmanager
def _simulator(shares: int, delay: float) -> Iterator[tuple[str, str, int]]:
    """Its endpoint, its only project and the length of that project's outgoing listing."""
    context = multiprocessing.get_context("spawn")
    told, tell = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(shares, delay, tell), daemon=True)
    process.start()
    tell.close()
    try:
        yield told.recv()
    finally:
        process.terminate()
        process.join()


def _serve(shares: int, delay: float, tell: Connection) -> None:
    world = World(projects=1, shares=shares)
    project = world.projects[0]
    count = len(world.listing(0, project, Direction.OUTGOING))
    service = Service(world, faults=[Fault(Operation.DETAIL, delay=delay)])
    run(service, on_start=lambda endpoint: tell.send((endpoint, project, count)))


if __name__ == "__main__":
    main()
