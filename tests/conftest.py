"""Fixtures that many test files share: PostgreSQL, a browser; how long a soak may take; the table of its figures.

Not here: how a server is found and run (postgres.py).
"""

import gc
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import pytest
from rich import box
from rich.console import Console
from rich.table import Table

from tests.postgres import Postgres, Server, server_or_skip

CHROMIUM_FLAGS = [
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


SOAK_SECONDS = 60 * float(os.environ.get("SOAK_MINUTES", "60"))
LONGEST_BATCH = 8 * 60
"""Seconds, on a slow machine; none is begun when less than that is left."""
BEGUN = time.monotonic()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Batches of a soak in turns, so that of each kind some have run when the time is over."""
    batches = [item for item in items if item.get_closest_marker("soak")]
    items[:] = [item for item in items if not item.get_closest_marker("soak")] + in_turns(batches)


def in_turns(batches: Sequence[pytest.Item]) -> list[pytest.Item]:
    kinds = [item.nodeid.split("[")[0] for item in batches]
    size, seen, places = Counter(kinds), Counter[str](), []
    for kind in kinds:
        places.append((seen[kind] + 0.5) / size[kind])
        seen[kind] += 1
    return [item for _, item in sorted(zip(places, batches, strict=True), key=lambda pair: pair[0])]


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("soak") and time.monotonic() - BEGUN > max(SOAK_SECONDS - LONGEST_BATCH, 0):
        pytest.skip(f"the time of a soak is over; SOAK_MINUTES={SOAK_SECONDS / 60:.0f} allows no more here")


def pytest_collection_finish() -> None:
    gc.freeze()  # what was imported stays: to look through all of it again and again costs each test


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server for databases of tests, one for each process of pytest; it may lose data when the machine dies."""
    if address := os.environ.get("TEST_DATABASE_URL"):
        given = Postgres(address)
        try:
            yield given
        finally:
            given.drop_all()
        return
    with server_or_skip(durable=False) as server:
        yield server


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """A fresh empty database."""
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)


@pytest.fixture
def postgres_server() -> Iterator[Server]:
    """A server of the test's own, which may be killed and keeps what was committed."""
    with server_or_skip(durable=True) as server:
        yield server


@pytest.fixture
def chromium() -> str:
    """The browser, for tests that look at a page."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is not installed; .ci/run installs it")
        pytest.skip("chromium is not installed: nothing was tried in a browser")
    return found


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Callable[..., None]:
    """`figures(what, count=1)`: so many more of these were tried. The table after the run adds up what all tests told.

    Tell as you go, and once with 0 before the first: a test that fails counts as a violation in each of its rows, and
    these must be known by then. Words as in a table, with the engine where it matters: "kills of a load, DuckDB".
    """
    told: dict[str, int] = {}

    def tell(what: str, count: int = 1) -> None:
        told[what] = told.get(what, 0) + count

    request.node.user_properties.append(("figures", told))  # travels with the report, from xdist's processes too
    return tell


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts, violations, seconds = Counter[str](), Counter[str](), Counter[str]()
    for report in (each for reports in terminalreporter.stats.values() for each in reports):
        if getattr(report, "when", "") != "call":
            continue
        for told in (value for name, value in report.user_properties if name == "figures"):
            for what, count in (told or {report.nodeid: 0}).items():
                counts[what] += count
                violations[what] += report.failed
                seconds[what] += report.duration
    if not counts:
        return
    table = Table("what", box=box.SIMPLE_HEAD)
    for title in ("how many", "violations", "seconds"):
        table.add_column(title, justify="right")
    for what in sorted(counts):
        table.add_row(what, f"{counts[what]:,}", f"{violations[what]}", f"{seconds[what]:.0f}")
    console = Console(width=100, markup=False)
    with console.capture() as printed:
        console.print(table)
    terminalreporter.section("figures")
    terminalreporter.write(printed.get())
