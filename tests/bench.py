"""`make bench`: CPU seconds and memory of 100,000 shares over 10 projects, outside Dagster. Prints, asserts no clock.

The simulator runs in a process of its own; each day is synced by a fresh process, whose CPU time (user + system) and
peak memory the operating system tells. The result is compared with the simulator's truth, row by row, before any
figure counts. Options: --shares, --projects, --rounds.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.observation import Direction
from pipelines.simulator.world import World
from tests.truth import backup_row, canonical, share_row

REGION = "bench"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shares", type=int, default=100_000)
    parser.add_argument("--projects", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{options.shares} shares, {options.projects} projects, both directions; {os.cpu_count()} cores")
    world = World(projects=options.projects, shares=options.shares)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for day in (0, 1):
            _bench_day(world, day, options, Path(folder))
        _bench_normalize(Path(folder) / "round-0" / "landing", options.rounds)


def _bench_day(world: World, day: int, options: argparse.Namespace, folder: Path) -> None:
    figures = []
    with _simulator(day, options) as cloud:
        for turn in range(options.rounds):
            home = folder / f"round-{turn}"
            figures.append(_measured([sys.executable, "-m", "tests.bench_sync", str(home), str(day)], cloud))
    _verify(world, day, folder / "round-0")
    print(f"\nday {day}: verified against the truth; median of {options.rounds} runs (min .. max)")
    for name, unit in (("cpu", "s, whole process"), ("work", "s, after the imports"), ("memory", "MB peak")):
        values = sorted(figure[name] for figure in figures)
        print(f"  {name:7} {statistics.median(values):8.2f}  ({values[0]:.2f} .. {values[-1]:.2f}) {unit}")
    print(f"  requests {figures[0]['requests']:7}    counts, pages, and one or two for each backup that lost a share")
    for step in figures[0]["steps"]:
        print(f"    {step:10} {statistics.median(figure['steps'][step] for figure in figures):6.2f} s")


@contextmanager
def _simulator(day: int, options: argparse.Namespace) -> Iterator[dict[str, str]]:
    command = [sys.executable, "-m", "pipelines.cli", "simulate", "--port", "0", "--day", str(day)]
    command += ["--shares", str(options.shares), "--projects", str(options.projects)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            lines = [process.stdout.readline().strip() for _ in range(3)]
            yield dict(line.split("=", 1) for line in lines)
        finally:
            process.terminate()


def _measured(command: list[str], cloud: dict[str, str]) -> dict[str, Any]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **cloud}) as process:
        assert process.stdout is not None
        told = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, "the sync failed"
    figures: dict[str, Any] = json.loads(told)
    return figures | {"cpu": usage.ru_utime + usage.ru_stime}


def _verify(world: World, day: int, home: Path) -> None:
    from pipelines.publish import reading

    listings = {
        (project, str(way)): world.listing(day, project, way) for project in world.projects for way in Direction
    }
    with reading(f"duckdb:///{home / 'warehouse.duckdb'}") as warehouse:
        assert warehouse is not None
        for view, row, key in (("backup_shares", share_row, "share_id"), ("backups", backup_row, "backup_id")):
            expected = canonical(listings, row, key)
            columns = ", ".join(next(iter(expected.values())))
            found = {each[key]: each for each in warehouse.query(f"SELECT {columns} FROM {view}").to_pylist()}
            assert found == expected, f"{view} is not the truth of day {day}"
        (count,) = warehouse.query("SELECT count(*) AS n FROM backup_share_history").to_pylist()
    assert count["n"] == _expected_versions(world, day), "the share history has other versions than the truth"


def _expected_versions(world: World, day: int) -> int:
    """Versions that the history must hold: one per content that a listing showed, day by day."""
    count = 0
    for project in world.projects:
        for way in Direction:
            known: Mapping[str, Any] = {}
            for each in range(day + 1):
                now = {record["id"]: share_row(record) for record in world.listing(each, project, way)}
                count += sum(known.get(key) != row for key, row in now.items())
                known = now
    return count


def _bench_normalize(landing: Path, rounds: int) -> None:
    """Ours against json_normalize: flattening alone, and all the way to the same columns."""
    from pipelines.landing import landed_files, read_pages
    from pipelines.normalize import normalize_pages

    bodies = [list(read_pages(file)) for file in landed_files(landing)[:4]]
    megabytes = sum(len(body) for pages in bodies for body in pages) / 1e6

    def each(work: Callable[[list[bytes]], object]) -> float:
        before = time.process_time()
        for pages in bodies:
            work(pages)
        return time.process_time() - before

    each(normalize_pages)
    turns = [(each(normalize_pages), each(_flattened), each(_same_tables)) for _ in range(max(rounds, 3))]
    ours, flat, same = (statistics.median(figures) for figures in zip(*turns, strict=True))
    print(f"\nnormalize, {megabytes:.0f} MB of pages, median of {len(turns)}: {ours:.2f} s CPU")
    for name, other in (("json_normalize alone", flat), ("json_normalize to the same two tables", same)):
        print(f"  {name}: {other:.2f} s, {other / ours:.1f} times as much")


def _flattened(pages: list[bytes]) -> Any:
    import pandas as pd

    return pd.json_normalize([record for body in pages for record in json.loads(body)["shared"]], sep=".")


def _same_tables(pages: list[bytes]) -> None:
    """The usual pandas way to what normalize_pages gives: two tables, typed, with parsed metadata and a row hash."""
    import pandas as pd

    flat = _flattened(pages)
    shares = flat[[name for name in flat.columns if "." not in name]].drop_duplicates("id")
    backups = flat.filter(like="backup.").drop_duplicates("backup.id").reset_index(drop=True)
    metadata = [json.loads(text) if isinstance(text, str) else {} for text in backups["backup.service_metadata"]]
    parsed = pd.json_normalize(metadata).reindex(columns=["CS", "SS", "DL", "Type", "ST", "BT", "bootable"])
    descriptions = backups["backup.description"]
    wrapped = [json.loads(text) if isinstance(text, str) and text.startswith("{") else {} for text in descriptions]
    backups = pd.concat([backups, parsed, pd.json_normalize(wrapped)], axis=1)
    for frame in (shares, backups):
        for name in frame.columns:
            if name.endswith(("_at", "_timestamp")):
                frame = frame.assign(**{name: pd.to_datetime(frame[name], format="ISO8601", utc=True)})
            elif name in ("backup.size", "backup.object_count", "CS", "SS", "DL", "Type", "ST", "BT"):
                frame = frame.assign(**{name: pd.to_numeric(frame[name]).astype("Int64")})
        pd.util.hash_pandas_object(frame, index=False)


def cpu_of_this_process() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
