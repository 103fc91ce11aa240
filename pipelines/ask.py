"""Ad-hoc questions: what the API says now, read to the end, verified, and told with its proof.

The pages are walked like those of an observation, sorted by id, and sorted for the reader afterwards: an order by
name or time would lose rows while the listing changes. Nothing is landed, the warehouse is never opened.
Not here: observations (extract.py), how an answer is printed (output.py).
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa

from pipelines.client import ShareClient
from pipelines.connect import OpenClouds
from pipelines.errors import ApiError, MalformedResponseError
from pipelines.filters import Filters
from pipelines.normalize import normalize_pages
from pipelines.observation import Direction, Listing, ProofStatus
from pipelines.rows import Row, read_rows
from pipelines.schema import arrow_schema, backup_history, backup_share_history, content_columns
from pipelines.walk import Walk, walk

SORT_COLUMNS = {
    "created_at": "share_created_at",
    "updated_at": "share_updated_at",
    "id": "share_id",
    "name": "backup_name",
    "status": "backup_status",
    "size": "size_gb",
}
"""The API's sort keys and the columns they mean here; `container_format` and `disk_format` are no part of a backup."""

TABLE_COLUMNS = [
    "direction",
    "share_id",
    "backup_name",
    "backup_status",
    "size_gb",
    "availability_zone",
    "from_project_id",
    "to_project_id",
    "share_created_at",
]
"""What a person sees of them on a terminal."""

_KEY = [backup_share_history.columns[name] for name in ("region", "project_id", "direction")]
_BACKUP = [column for column in content_columns(backup_history) if column.name != "backup_id"]
_SCHEMA = arrow_schema([*_KEY, *content_columns(backup_share_history), *_BACKUP])


@dataclass(frozen=True)
class Reading:
    """What one listing answered: one row per share, columns named as in the warehouse, and how much is proven.

    `remarks` tell what the reader must know about it.
    """

    listing: Listing
    rows: pa.Table
    status: ProofStatus
    remarks: list[str] = field(default_factory=list)


def ask(
    clouds: OpenClouds,
    filters: Filters,
    *,
    directions: Sequence[Direction] = tuple(Direction),
    page_size: int = 1000,
    concurrency: int = 4,
) -> list[Reading]:
    """Ask every listing of these directions; one that fails is a reading with status failed and no rows."""
    wanted = [(client, listing) for listing, client in clouds.clients.items() if listing.direction in directions]
    with ThreadPoolExecutor(max_workers=concurrency, thread_name_prefix="ask") as pool:
        return list(pool.map(lambda pair: ask_listing(pair[1], pair[0], filters, page_size=page_size), wanted))


def ask_listing(listing: Listing, client: ShareClient, filters: Filters, *, page_size: int = 1000) -> Reading:
    """Ask one listing with these filters and keep what matches them."""
    client.begin(listing)
    try:
        pages = _Pages(listing, client, sent=filters, wanted=filters)
        proof = pages.walk(page_size)
        ignored = pages.strangers
        if ignored and not proof.status.is_proven:
            # The count may obey a filter that the pages ignore: then only the whole listing can be proven.
            pages = _Pages(listing, client, sent=Filters(), wanted=filters)
            proof = pages.walk(page_size)
    except (ApiError, MalformedResponseError) as error:
        return Reading(listing, _SCHEMA.empty_table(), ProofStatus.FAILED, [str(error)])
    rows, unreadable = pages.rows(proof)
    remarks = [proof.reason] if proof.reason else []
    if ignored:
        remarks.append(
            f"{len(ignored)} shares came that do not match and are left out: "
            "the service ignores a filter, or understands it otherwise"
        )
    if unreadable:
        remarks.append(f"{unreadable} records cannot be read and are left out; a sync keeps them (rejected_records)")
    return Reading(listing, rows, proof.status, remarks)


def together(readings: Sequence[Reading], *, sort_key: str, descending: bool, limit: int | None = None) -> pa.Table:
    """The rows of all readings, sorted as asked (a key of SORT_COLUMNS), the first `limit` of them."""
    rows = pa.concat_tables([_SCHEMA.empty_table(), *(reading.rows for reading in readings)])
    order = "descending" if descending else "ascending"
    return rows.sort_by([(SORT_COLUMNS[sort_key], order), ("share_id", order)]).slice(0, limit)


class _Pages:
    """The pages of one walk, and which shares on them are not those that were wanted."""

    def __init__(self, listing: Listing, client: ShareClient, *, sent: Filters, wanted: Filters) -> None:
        self._listing, self._client = listing, client
        self._sent, self._wanted = sent, wanted
        self._bodies: list[bytes] = []
        self.strangers: set[str] = set()

    def walk(self, page_size: int) -> Walk:
        return walk(self._fetch, lambda: self._client.count(self._listing, self._sent), limit=page_size)

    def rows(self, proof: Walk) -> tuple[pa.Table, int]:
        """The wanted shares as told last, and how many records could not be read."""
        normalized = normalize_pages(self._bodies, self.strangers.union(proof.excluded_ids))
        frame = normalized.shares.drop(columns="row_hash").merge(
            normalized.backups.drop(columns="row_hash"), on="backup_id", how="left"
        )
        for column in _KEY:
            frame[column.name] = str(getattr(self._listing, column.name))
        return pa.Table.from_pandas(frame, schema=_SCHEMA, preserve_index=False), len(normalized.rejected)

    def _fetch(self, offset: int, limit: int, *, descending: bool = False) -> list[Row]:
        reply = self._client.page(self._listing, offset, limit, descending=descending, filters=self._sent)
        self._bodies.append(reply.page.body)
        rows = read_rows(reply.records)
        for row, record in zip(rows, reply.records, strict=True):
            if row.share_id is not None:
                # A share that changed between two pages counts as it was told last.
                (self.strangers.discard if self._wanted.matches(record) else self.strangers.add)(row.share_id)
        return rows
