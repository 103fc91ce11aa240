"""The frozen beginning of the landing: the tables as they stood at a horizon, in place of the files before it.

    LANDING_DIR/_baseline/<horizon>/   one Parquet file for each table of FACTS, and manifest.json

The manifest holds horizon, versions and the SHA-256 of each table, and a digest of itself; which landed files were
folded, and the SHA-256 of each, stands in the table `observations`. A baseline is written aside, flushed to the disk
and renamed, so it is there whole or not at all. The newest one counts; older ones are what a killed prune left.
Whoever raises SCHEMA_VERSION teaches `find` what the tables of earlier baselines become.
Not here: when and what is folded (retention.py), how a warehouse begins from it (load.py, rebuild.py).
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Table

from pipelines.errors import LandingError, printable, system_words
from pipelines.landing import abandoned, fsync_folder
from pipelines.schema import FACTS, SCHEMA_VERSION, arrow_schema, observations

FOLDER = "_baseline"
"""Below the landing, beside the regions: the name of a region cannot begin so."""
FORMAT_VERSION = 1
_MANIFEST = "manifest.json"
_STAMP = "%Y%m%dT%H%M%S%fZ"
_NAME = re.compile(r"[0-9]{8}T[0-9]{12}Z")


@dataclass(frozen=True)
class Baseline:
    """A baseline by its manifest; the tables are read, and checked, when they are asked for."""

    path: Path
    horizon: datetime
    """All observations before it are folded, none from it on."""
    digests: Mapping[str, str]
    """SHA-256 of the file of each table, by the table's name."""

    @property
    def name(self) -> str:
        """As people find it: the path below the landing."""
        return f"{FOLDER}/{self.path.name}"

    def table(self, table: Table) -> pa.Table:
        """All rows of one of FACTS, with the types of arrow_schema; raises LandingError where the file is damaged."""
        name = _file_name(table)
        try:
            content = (self.path / name).read_bytes()
            if hashlib.sha256(content).hexdigest() != self.digests[table.name]:
                raise ValueError("another content")
            rows: pa.Table = pq.ParquetFile(pa.BufferReader(content)).read()
            return rows.cast(arrow_schema(list(table.columns)))
        except (OSError, pa.ArrowException, LookupError, ValueError) as error:
            raise _damaged(f"{self.name}/{name}", error) from None

    def facts(self) -> dict[str, pa.Table]:
        """The rows of all FACTS, by the table's name; raises LandingError as `table`."""
        return {table.name: self.table(table) for table in FACTS}

    def observation_ids(self) -> frozenset[str]:
        """The observations that are folded; raises LandingError as `table`."""
        return frozenset(self.table(observations).column("observation_id").to_pylist())


def find(landing: Path) -> Baseline | None:
    """The baseline that counts, if there is one; raises LandingError where its manifest is damaged or not for us."""
    names = _names(landing)
    if not names:
        return None
    path = landing / FOLDER / names[-1]
    try:
        manifest = json.loads((path / _MANIFEST).read_bytes())
        about = manifest["baseline"]
        if manifest["sha256"] != _digest(about):
            raise ValueError("another content")
        versions = (about["format"], about["schema_version"])
        found = Baseline(path, datetime.fromisoformat(about["horizon"]), dict(about["tables"]))
        if f"{found.horizon:{_STAMP}}" != path.name:
            raise ValueError("of another horizon")
    except (OSError, LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(f"{FOLDER}/{path.name}/{_MANIFEST}", error) from None
    if versions != (FORMAT_VERSION, SCHEMA_VERSION):
        told = printable(" and ".join(map(str, versions)), 40)
        raise LandingError(
            f"the baseline {found.name} has format and tables of the versions {told}, and this program reads "
            f"{FORMAT_VERSION} and {SCHEMA_VERSION}: use the one that wrote it"
        )
    return found


def freeze(landing: Path, horizon: datetime, facts: Mapping[str, pa.Table]) -> Baseline:
    """Write the rows of FACTS as the baseline of that horizon, and read them back; raises LandingError.

    Whatever ends it early leaves the baseline that counted before.
    """
    folder = landing / FOLDER
    aside, final = folder / f".{os.getpid()}-{os.urandom(4).hex()}.tmp", folder / f"{horizon.astimezone(UTC):{_STAMP}}"
    try:
        aside.mkdir(mode=0o700)
        try:
            digests = {table.name: _write_table(aside, table, facts[table.name]) for table in FACTS}
            about = {
                "format": FORMAT_VERSION,
                "schema_version": SCHEMA_VERSION,
                "horizon": horizon.astimezone(UTC).isoformat(),
                "tables": digests,
            }
            text = json.dumps({"baseline": about, "sha256": _digest(about)}, indent=1)
            _write(aside / _MANIFEST, text.encode())
            fsync_folder(aside)
            written = Baseline(aside, horizon, digests).facts()
            for name, rows in written.items():
                if not rows.equals(facts[name]):
                    raise LandingError(f"the disk does not give back what was written to {aside}: nothing was pruned")
            aside.rename(final)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        fsync_folder(folder)
    except OSError as error:
        raise _write_error(landing, error) from None
    return Baseline(final, horizon, digests)


@contextmanager
def only_pruner(landing: Path) -> Iterator[None]:
    """One at a time may change the baseline; raises LandingError when another does. Leftovers of killed ones go."""
    folder = landing / FOLDER
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        fsync_folder(landing)
        lock = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise _write_error(landing, error) from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LandingError(f"another prune is at work in {landing}: wait for it to end") from None
        for leftover in abandoned(folder.glob(".*-*.tmp")):
            shutil.rmtree(leftover, ignore_errors=True)
        yield
    finally:
        os.close(lock)
        with suppress(OSError):
            folder.rmdir()  # where nothing was frozen


def drop_older(landing: Path) -> None:
    """Remove the baselines that do not count any more; raises LandingError."""
    try:
        for name in _names(landing)[:-1]:
            shutil.rmtree(landing / FOLDER / name)
    except OSError as error:
        raise _write_error(landing, error) from None


def _names(landing: Path) -> list[str]:
    try:
        return sorted(path.name for path in (landing / FOLDER).iterdir() if _NAME.fullmatch(path.name))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise LandingError(f"the baselines in {landing / FOLDER} cannot be read: {system_words(error)}") from None


def _file_name(table: Table) -> str:
    return f"{table.name}.parquet"


def _write_table(folder: Path, table: Table, rows: pa.Table) -> str:
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd")
    content = sink.getvalue().to_pybytes()
    _write(folder / _file_name(table), content)
    return hashlib.sha256(content).hexdigest()


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _digest(about: Any) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _damaged(name: str, error: Exception) -> LandingError:
    return LandingError(
        f"the baseline file {name} is damaged ({type(error).__name__}): restore it from a backup; "
        "what was pruned stands nowhere else but in the warehouse"
    )


def _write_error(landing: Path, error: OSError) -> LandingError:
    return LandingError(f"cannot prune the landing folder {landing} (LANDING_DIR): {system_words(error)}")
