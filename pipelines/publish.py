"""How a warehouse is opened, whatever its engine: for writing, for reading, to be made again.

A DuckDB file is published whole at the end of a block, a server's rows with each transaction. Either way a reader
sees whole observations only, and a kill at any moment leaves what was published as it is.
Not here: the two kinds of warehouse (duckdb_file.py, postgres.py), what is written (warehouse.py).
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from pipelines import duckdb_file, postgres
from pipelines.errors import ConfigurationError, printable
from pipelines.warehouse import Warehouse

SERVER = "postgresql+psycopg"
EXPECTED = f"write duckdb:////absolute/path/to/file.duckdb or {SERVER}://user:password@host/database"


def warehouse_url(address: str) -> URL:
    """The address, checked; raises ConfigurationError, never with the address in its text: it may hold a password."""
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        raise ConfigurationError(f"WAREHOUSE_URL is not a URL: {EXPECTED}") from None
    if url.drivername == SERVER:
        postgres.check_url(url)
    elif url.drivername == "duckdb":
        duckdb_file.warehouse_file(url)
    else:
        raise ConfigurationError(f"WAREHOUSE_URL is of the kind {printable(url.drivername, 40)}: {EXPECTED}")
    return url


def warehouse_file(address: str) -> Path | None:
    """The file of a DuckDB address; None for a server. Raises ConfigurationError for any other address."""
    url = warehouse_url(address)
    return None if url.drivername == SERVER else duckdb_file.warehouse_file(url)


def earlier_addresses(address: str) -> list[str]:
    """Of the DuckDB files that were published before and are still there, the youngest first; none of a server."""
    published = warehouse_file(address)
    return [f"duckdb:///{quote(str(each))}" for each in duckdb_file.earlier_files(published)] if published else []


def warehouse_name(address: str) -> str:
    """The warehouse as people call it: file, or host and database; never with user or password."""
    url = warehouse_url(address)
    return f"{url.host or 'localhost'}/{url.database}" if url.drivername == SERVER else str(warehouse_file(address))


def writing(
    address: str, *, wait: float = 60.0, keep: int = 1, sleep: Callable[[float], None] = time.sleep
) -> AbstractContextManager[Warehouse]:
    """The warehouse for a writer. A DuckDB file is published when the block ends well, a server commits on the way.

    `keep`: how many DuckDB files that were published before stay beside the published one.
    Raises ConfigurationError for an address of another kind, WarehouseBusyError when another writer does not end
    within `wait` seconds, WarehouseError when the tables are of another version.
    """
    url = warehouse_url(address)
    if url.drivername == SERVER:
        return postgres.writing(url, wait=wait, sleep=sleep)
    return duckdb_file.writing(url, wait=wait, keep=keep, sleep=sleep)


def reading(address: str) -> AbstractContextManager[Warehouse | None]:
    """The published warehouse, read-only; None where nothing was published yet."""
    url = warehouse_url(address)
    return postgres.reading(url) if url.drivername == SERVER else duckdb_file.reading(url)


def may_be_made(address: str) -> bool:
    """Whether a sync may make the warehouse where there is none yet: on a server that takes a right of the login."""
    url = warehouse_url(address)
    return url.drivername != SERVER or postgres.may_make_tables(url)


def rebuilding(
    address: str, *, wait: float = 60.0, keep: int = 1, sleep: Callable[[float], None] = time.sleep
) -> AbstractContextManager[Warehouse]:
    """An empty warehouse that takes the place of the published one, whatever its version, when the block ends well."""
    url = warehouse_url(address)
    if url.drivername == SERVER:
        return postgres.rebuilding(url, wait=wait, sleep=sleep)
    return duckdb_file.writing(url, wait=wait, keep=keep, sleep=sleep, afresh=True)


def aside(file: Path) -> AbstractContextManager[Warehouse]:
    """A warehouse in a DuckDB file that is not there yet, with empty tables and no views; it is never published."""
    return duckdb_file.aside(file)
