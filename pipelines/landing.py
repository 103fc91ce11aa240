"""The landing: the raw pages of every observation and its proof, one immutable Parquet file each.

A file is written aside, flushed to the disk and renamed, so it is there whole or not at all; it is never changed.
Its rows are the pages as received (key material blanked), its footer holds the observation as JSON and a
digest of that. Everything that the history needs is in it: the warehouse can be rebuilt from these files alone.
Paths are built from validated ids only:  <region>/<project_id>/<direction>/<observed_at>_<observation_id>.parquet
Not here: what the pages mean (normalize.py), which files were loaded (warehouse.py).
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.errors import LandingError, printable, system_words
from pipelines.observation import PROJECT_ID, Direction, Listing, Observation, Page, ProofStatus

FORMAT_VERSION = 2
GROUP_BYTES = 2**20
"""Pages are written when so much has come together: a group of its own for a page of a few rows costs more than it."""
_FOOTER_KEY = b"backup_shares.observation"
_DIGEST_KEY = b"backup_shares.observation.sha256"
"""Parquet guards the pages with checksums, but not its own footer."""
_FORMAT: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 1,
    "write_page_checksum": True,
    # Neither helps with bodies that are all different; statistics would repeat small ones in the footer.
    "use_dictionary": False,
    "write_statistics": False,
}
_UTC = pa.timestamp("us", tz="UTC")
_PAGES = pa.schema(
    [
        pa.field("page_number", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("limit", pa.int32(), nullable=False),
        pa.field("descending", pa.bool_(), nullable=False),
        pa.field("backup_id", pa.string()),
        pa.field("requested_at", _UTC, nullable=False),
        pa.field("received_at", _UTC, nullable=False),
        pa.field("request_id", pa.string(), nullable=False),
        pa.field("record_count", pa.int32(), nullable=False),
        pa.field("body", pa.binary(), nullable=False),
    ]
)
_FILE_NAME = re.compile(r"([0-9]{8}T[0-9]{12}Z)_([0-9a-f-]{36})\.parquet")
_STAMP = "%Y%m%dT%H%M%S%fZ"


@dataclass(frozen=True)
class LandedFile:
    """A file of the landing by its name alone: enough to know what it is, without opening it."""

    root: Path
    name: str
    """Path below the root, `/` between the parts; the column `landing_file`."""
    listing: Listing
    observed_at: datetime
    observation_id: str

    @property
    def path(self) -> Path:
        return self.root / self.name


class LandingWriter:
    """Takes the pages of one observation as they arrive; `commit` makes the file appear, leaving without it none."""

    def __init__(self, root: Path, listing: Listing) -> None:
        self._root = root
        try:
            self._folder = root / listing.region / listing.project_id / listing.direction
            make_private_folder(self._folder, within=root)
            self._aside = self._folder / f".{os.getpid()}-{os.urandom(4).hex()}.tmp"
            self._file = os.fdopen(os.open(self._aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")
        except OSError as error:
            raise _write_error(root, error) from None
        self._parquet = pq.ParquetWriter(self._file, _PAGES, **_FORMAT)
        self._count = self._bytes = 0
        self._rows: list[dict[str, Any]] = []

    def add(self, page: Page, record_count: int) -> None:
        self._rows.append({"page_number": self._count, "record_count": record_count, **vars(page)})
        self._count += 1
        self._bytes += len(page.body)
        if self._bytes >= GROUP_BYTES:
            self._guard(self._write_group)

    def _write_group(self) -> None:
        self._parquet.write_table(pa.Table.from_pylist(self._rows, schema=_PAGES))
        self._rows, self._bytes = [], 0

    def commit(self, observation: Observation) -> LandedFile:
        """Finish the file with the proof in its footer; raises LandingError and leaves nothing if that fails."""
        name = f"{observation.observed_at:{_STAMP}}_{observation.observation_id}.parquet"
        final = self._folder / name
        if final.exists():
            raise LandingError(f"{final} exists already: an observation is written once")
        self._guard(lambda: self._finish(observation, final))
        return LandedFile(
            self._root,
            final.relative_to(self._root).as_posix(),
            observation.listing,
            observation.observed_at,
            observation.observation_id,
        )

    def _finish(self, observation: Observation, final: Path) -> None:
        if self._rows:
            self._write_group()
        footer = _to_json(observation)
        self._parquet.add_key_value_metadata({_FOOTER_KEY: footer, _DIGEST_KEY: _digest(footer)})
        self._parquet.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._aside.rename(final)
        fsync_folder(self._folder)

    def _guard(self, write: Any) -> None:
        try:
            write()
        except OSError as error:
            raise _write_error(self._root, error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Without a commit the rest of the buffers is written to a file that is deleted at once: it may fail unheard.
        with contextlib.suppress(OSError, ValueError):
            self._parquet.close()
        with contextlib.suppress(OSError):
            self._file.close()
        # What cannot be removed now is swept by a later sync; it must not hide what went wrong before.
        with contextlib.suppress(OSError):
            self._aside.unlink(missing_ok=True)


def sweep(root: Path) -> None:
    """Remove what killed processes left half written; files of processes that live are theirs."""
    for leftover in abandoned(root.glob("*/*/*/.*-*.tmp")):
        leftover.unlink(missing_ok=True)


def abandoned(leftovers: Iterable[Path]) -> Iterator[Path]:
    """Those whose name begins with the number of a process (`.<pid>-...`) that is gone."""
    for leftover in leftovers:
        pid = leftover.name[1:].split("-", 1)[0]
        if pid.isdecimal() and not _is_alive(int(pid)):
            yield leftover


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def make_private_folder(folder: Path, *, within: Path) -> None:
    """Make a folder in `within` for its owner only, and what is missing above it, all to survive a power loss.

    Folders above `within` get the usual rights.
    """
    if folder.is_dir():
        return
    make_private_folder(folder.parent, within=within)
    folder.mkdir(exist_ok=True, mode=0o700 if folder.is_relative_to(within) else 0o777)
    fsync_folder(folder.parent)


def fsync_folder(folder: Path) -> None:
    """Make what was renamed to or made in `folder` survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class FolderState:
    """What a folder is before anything is written to it. `problem`: why nothing can be, empty if it can."""

    exists: bool
    problem: str = ""
    others_can_look: bool = False
    free_bytes: int = 0


def folder_state(folder: Path) -> FolderState:
    """Looks without writing. A folder that is not there can be made where the nearest one above it is writable."""
    try:
        place = folder.absolute()
        exists = place.exists()
        while not place.exists():
            place = place.parent
        if not place.is_dir():
            return FolderState(exists, f"{place} is no folder")
        if not os.access(place, os.W_OK | os.X_OK):
            return FolderState(exists, f"{place} is not writable for this user")
        others = bool(place.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
        return FolderState(exists, "", exists and others, shutil.disk_usage(place).free)
    except OSError as error:
        return FolderState(False, f"{folder} cannot be looked at: {system_words(error)}")


def landed_files(root: Path) -> list[LandedFile]:
    """Every observation in the landing, in the order in which they were observed."""
    found = (landed_file(root, path.relative_to(root).as_posix()) for path in root.glob("*/*/*/*.parquet"))
    return sorted((file for file in found if file is not None), key=lambda file: (file.observed_at, file.name))


def landed_file(root: Path, name: str) -> LandedFile | None:
    """The file of that name below the root; None for a name that the landing does not give."""
    parts = name.split("/")
    match = _FILE_NAME.fullmatch(parts[-1])
    if not match or len(parts) != 4 or not re.fullmatch(PROJECT_ID, parts[1]) or parts[2] not in set(Direction):
        return None
    try:
        observed_at = datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
    return LandedFile(root, name, Listing(parts[0], parts[1], Direction(parts[2])), observed_at, match[2])


def read_observation(file: LandedFile) -> Observation:
    """The proof in the footer; raises LandingError when the file is damaged or says another thing than its name."""
    try:
        footer = pq.read_metadata(file.path).metadata or {}
        if footer[_DIGEST_KEY] != _digest(footer[_FOOTER_KEY]):
            raise ValueError("the proof is not as it was written")
        version = json.loads(footer[_FOOTER_KEY])["format"]
        observation = _from_json(footer[_FOOTER_KEY]) if version == FORMAT_VERSION else None
    except (OSError, pa.ArrowException, LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise LandingError(f"landing file {file.name} is damaged ({type(error).__name__}): {_MEND}") from None
    if observation is None:
        raise LandingError(
            f"landing file {file.name} is of format {printable(str(version), 20)}, and this program reads "
            f"{FORMAT_VERSION}: use the one that wrote it, or move it out of LANDING_DIR to go on without it"
        )
    said = (observation.observation_id, observation.listing, observation.observed_at)
    if said != (file.observation_id, file.listing, file.observed_at):
        raise LandingError(f"landing file {file.name} holds another observation than its name says: {_MEND}")
    return observation


def read_pages(file: LandedFile) -> Iterator[bytes]:
    """The bodies of the pages in the order of their arrival, a few in memory at a time."""
    return (body for body, _ in read_counted_pages(file))


def read_counted_pages(file: LandedFile) -> Iterator[tuple[bytes, int]]:
    """As `read_pages`, and how many records each held when it was received.

    Pages that were asked for with the backup_id filter are evidence, and no part of the walk: they are left out.
    """
    columns = ["body", "record_count"]
    try:
        with pq.ParquetFile(file.path, page_checksum_verification=True) as parquet:
            for group in range(parquet.num_row_groups):
                pages = parquet.read_row_group(group, columns=[*columns, "backup_id"])
                if len(pages) != parquet.metadata.row_group(group).num_rows:
                    raise ValueError("a page is not where the footer says")
                pages = pages.filter(pc.is_null(pages.column("backup_id")))
                yield from zip(*(pages.column(name).to_pylist() for name in columns), strict=True)
    except (OSError, pa.ArrowException, LookupError, ValueError) as error:
        raise LandingError(f"landing file {file.name} is damaged ({type(error).__name__}): {_MEND}") from None


class LandedPage(NamedTuple):
    """A page as landed. `number`: its place in the file, from 0; `record_count`: how many records it held."""

    number: int
    record_count: int
    page: Page


def read_landed_pages(file: LandedFile) -> Iterator[LandedPage]:
    """Every page with how it was asked for, the evidence behind the walk as well; raises LandingError."""
    try:
        with pq.ParquetFile(file.path, page_checksum_verification=True) as parquet:
            for group in range(parquet.num_row_groups):
                for row in parquet.read_row_group(group).to_pylist():
                    number, count = row.pop("page_number"), row.pop("record_count")
                    yield LandedPage(number, count, Page(**row))
    except (OSError, pa.ArrowException, LookupError, ValueError, TypeError) as error:
        raise LandingError(f"landing file {file.name} is damaged ({type(error).__name__}): {_MEND}") from None


def sha256(file: LandedFile) -> str:
    try:
        with file.path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise LandingError(f"landing file {file.name} cannot be read: {system_words(error)}") from None


_MEND = "restore it from a backup, or move it out of LANDING_DIR to go on without it"


def _write_error(root: Path, error: OSError) -> LandingError:
    return LandingError(f"cannot write to the landing folder {root} (LANDING_DIR): {system_words(error)}")


def _digest(footer: bytes) -> bytes:
    return hashlib.sha256(footer).hexdigest().encode()


def _to_json(observation: Observation) -> bytes:
    fields = dataclasses.asdict(observation)
    stamps = {name: fields[name].isoformat() for name in ("observed_at", "finished_at")}
    return json.dumps({"format": FORMAT_VERSION, **fields, **stamps}).encode()


def _from_json(text: bytes) -> Observation:
    fields = json.loads(text)
    del fields["format"]
    listing = fields.pop("listing")
    return Observation(
        **fields
        | {
            "listing": Listing(listing["region"], listing["project_id"], Direction(listing["direction"])),
            "observed_at": datetime.fromisoformat(fields["observed_at"]),
            "finished_at": datetime.fromisoformat(fields["finished_at"]),
            "status": ProofStatus(fields["status"]),
            "excluded_ids": tuple(fields["excluded_ids"]),
            "gone_ids": tuple(fields["gone_ids"]),
        }
    )
