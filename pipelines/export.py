"""The whole history as files: a folder per relation, Parquet partitioned by month in the way of Hive.

    DIR/backup_share_versions/month=2026-03/part-0.parquet

DuckDB, Spark and pandas read each folder as one data set, `month` included. Rows stream from the warehouse to the disk,
all of one state of it; the files are written aside and renamed, so half an export is never seen under its name.
Views only: whoever may read these can export.
Not here: single answers (output.py), how rows are streamed (warehouse.py, engines.py).
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds

from pipelines.errors import ConfigurationError, WarehouseError, system_words
from pipelines.schema import SCHEMA_VERSION
from pipelines.warehouse import Snapshot, Warehouse

RELATIONS = {
    "backup_share_versions": "valid_from",
    "backup_versions": "valid_from",
    "backup_share_changes": "seen_at",
    "backup_changes": "seen_at",
    "observation_log": "observed_at",
    "quarantine": "observed_at",
}
"""What is exported, and the time (UTC) whose month is the partition."""

MARK = "_export.json"
"""Says that a folder is an export, of when, and how many rows it holds; readers of data sets pass over it."""


def export(warehouse: Warehouse, folder: Path, now: datetime) -> dict[str, int]:
    """Write all relations; how many rows each has. Raises ConfigurationError where the folder is something else's."""
    folder = folder.absolute()
    _refuse_foreign(folder)
    try:
        with _written_aside(folder) as aside, warehouse.snapshot() as snapshot:
            counts = {name: _write(snapshot, name, time, aside / name) for name, time in RELATIONS.items()}
            told = {"exported_at": now.isoformat(), "schema_version": SCHEMA_VERSION, "rows": counts}
            (aside / MARK).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        return counts
    except OSError as error:
        raise WarehouseError(f"cannot write the export {folder}: {system_words(error)}") from None


def _refuse_foreign(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ConfigurationError(f"{folder} is no folder: name a new one")
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise ConfigurationError(f"{folder} holds something else than an export: name a new folder")


@contextmanager
def _written_aside(folder: Path) -> Iterator[Path]:
    aside, before = (folder.with_name(f".{folder.name}.{what}") for what in ("writing", "before"))
    for leftover in (aside, before):
        shutil.rmtree(leftover, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
        _sync(aside)
        if folder.exists():
            folder.rename(before)
        try:
            aside.rename(folder)
        except OSError:
            if before.exists():
                before.rename(folder)
            raise
    finally:
        for leftover in (aside, before):
            shutil.rmtree(leftover, ignore_errors=True)


def _sync(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _write(snapshot: Snapshot, relation: str, time: str, target: Path) -> int:
    month = f"substr(cast(cast({time} at time zone 'UTC' as date) as text), 1, 7)"
    count = 0

    def counted(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        nonlocal count
        for batch in batches:
            count += batch.num_rows
            yield batch

    schema, batches = snapshot.stream(f"SELECT *, {month} AS month FROM {relation}")  # noqa: S608 - own names
    target.mkdir()
    ds.write_dataset(
        counted(batches),
        target,
        schema=schema,
        format="parquet",
        file_options=ds.ParquetFileFormat().make_write_options(compression="zstd"),
        partitioning=ds.partitioning(pa.schema([("month", pa.string())]), flavor="hive"),
        basename_template="part-{i}.parquet",
        max_rows_per_file=1_000_000,
        max_rows_per_group=100_000,
        use_threads=False,
    )
    return count
