"""Every table and column of the warehouse, once: type, meaning, unit, and where in the API's answer it comes from.

Rendered from here: the DDL of each engine (`sql/schema/`, `make docs`), the Arrow schema of the frames, the
fingerprinted columns, the column lists that Dagster shows. Adding a field of the API is one entry here.
Not here: how a value is read from the JSON (normalize.py), the views (sql/views/), any I/O but finding `sql/`.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import Constraint, CreateTable
from sqlalchemy.types import TypeEngine

from pipelines.errors import ConfigurationError

SCHEMA_VERSION = 2
"""Raised with every change of a table, or of what counts as known (`known_values`, UNREAD_METADATA). What an earlier
version made is made again from the landing; baselines of pruned landings hold tables of their version (baseline.py)."""

OPEN_END = datetime(9999, 12, 31, tzinfo=UTC)
"""`valid_to` of a version that is current. The views show it as null; as a value it lets (key, valid_to) be unique."""

metadata = MetaData()


LISTING_KEY = ("region", "project_id", "direction")
"""The columns that name a listing."""


def _text(name: str, comment: str, **info: Any) -> Column[Any]:
    return _column(name, Text(), comment, info)


def _integer(name: str, comment: str, **info: Any) -> Column[Any]:
    return _column(name, BigInteger(), comment, info)


def _boolean(name: str, comment: str, **info: Any) -> Column[Any]:
    return _column(name, Boolean(), comment, info)


def _timestamp(name: str, comment: str, **info: Any) -> Column[Any]:
    return _column(name, DateTime(timezone=True), comment, info)


def _date(name: str, comment: str, **info: Any) -> Column[Any]:
    return _column(name, Date(), comment, info)


def _column(name: str, type_: TypeEngine[Any], comment: str, info: dict[str, Any]) -> Column[Any]:
    required = info.pop("required", False)
    return Column(name, type_, comment=comment, info=info, nullable=not required)


def _listing_key() -> list[Column[Any]]:
    return [
        _text("region", "Region that was asked (setting VBS_REGION).", required=True),
        _text("project_id", "Project whose listing was read: the witness of this row.", required=True),
        _text("direction", "outgoing: shared by the project; incoming: shared with it.", required=True),
    ]


def _version_bookkeeping() -> list[Column[Any]]:
    return [
        _text(
            "row_hash",
            "Fingerprint of the columns that come from the API (fingerprint in normalize.py).",
            required=True,
        ),
        _timestamp(
            "valid_from", "observed_at of the observation that first saw this content; inclusive; UTC.", required=True
        ),
        _timestamp(
            "valid_to",
            "observed_at of the observation that ended it; exclusive; UTC; 9999-12-31 while current.",
            required=True,
        ),
        _text("opened_by", "observation_id of the observation at valid_from.", required=True),
        _text("closed_by", "observation_id of the observation at valid_to; null while current."),
    ]


def _version_constraints(key: str) -> list[Constraint]:
    # On DuckDB an index would cost three times the load; there the single writer and a validation query before
    # publish carry the promise (warehouse.py).
    on_server = [
        # valid_to before the key: so the index also finds the open versions of a listing at one place.
        UniqueConstraint("region", "project_id", "direction", "valid_to", key),
        UniqueConstraint("region", "project_id", "direction", "valid_from", key),
        *(_known_observation(name) for name in ("opened_by", "closed_by")),
    ]
    return [
        CheckConstraint("valid_from < valid_to"),
        CheckConstraint("(closed_by IS NULL) = (valid_to = TIMESTAMPTZ '9999-12-31 00:00:00+00')"),
        *(constraint.ddl_if(dialect="postgresql") for constraint in on_server),
    ]


def _known_observation(name: str) -> Constraint:
    # The ledger row is written last in its transaction.
    return ForeignKeyConstraint([name], ["observations.observation_id"], deferrable=True, initially="DEFERRED")


backup_share_history = Table(
    "backup_share_history",
    metadata,
    *_listing_key(),
    _text("share_id", "Share.", source="shared[].id", required=True),
    _text("backup_id", "Backup that is shared.", source="shared[].backup_id", required=True),
    _text("from_project_id", "Project that shares the backup: the giver.", source="shared[].from_project_id"),
    _text(
        "to_project_id",
        "Project that the backup is shared with: the recipient (the API's page says otherwise).",
        source="shared[].to_project_id",
    ),
    _timestamp("share_created_at", "When the share was granted, UTC.", source="shared[].created_at"),
    _timestamp(
        "share_updated_at", "When the share was last changed, UTC; null if never.", source="shared[].updated_at"
    ),
    *_version_bookkeeping(),
    *_version_constraints("share_id"),
    comment="One row per listing, share and version: what a listing said of a share, and from when until when.",
    info={"key": "share_id", "row_key": [*LISTING_KEY, "share_id", "valid_from"]},
)

_BACKUP = "shared[].backup."
_METADATA = "shared[].backup.service_metadata."

UNREAD_METADATA = frozenset(
    {
        "AT",
        "BP",
        "B_ID",
        "BackupSize",
        "CMKID",
        "OMID",
        "SNAPSHOTSIZE",
        "SP",
        "VK",
        "VMID",
        "VT",
        "backupurl",
        "ebk_T_I",
        "progress",
        "snap_id",
    }
)
"""Keys of `service_metadata` that are known (api-facts 4.5) and no columns on purpose: they tell of the inside of the
service or of other tenants, or are key material."""

backup_history = Table(
    "backup_history",
    metadata,
    *_listing_key(),
    _text("backup_id", "Backup.", source=_BACKUP + "id", required=True),
    _text("volume_id", "Volume (disk) that was backed up.", source=_BACKUP + "volume_id"),
    _text(
        "volume_snapshot_id", "Snapshot of the volume that the backup was made from.", source=_BACKUP + "snapshot_id"
    ),
    _text("backup_name", "Name of the backup, chosen by its owner.", source=_BACKUP + "name"),
    _text(
        "backup_status",
        "Status of the backup: available, error, restoring, creating, deleting, and others.",
        source=_BACKUP + "status",
        # What VBS documents, old pages and new ones together; the list is an open one (api-facts 4.7).
        known_values=(
            "available",
            "creating",
            "deleting",
            "error",
            "error_deleting",
            "error_restoring",
            "restoring",
        ),
    ),
    _text("availability_zone", "Availability zone of the backup.", source=_BACKUP + "availability_zone"),
    _text("container", "Container in the object storage; not a stable key.", source=_BACKUP + "container"),
    _text(
        "description", "Description as received; often JSON with the keys DESC and INC.", source=_BACKUP + "description"
    ),
    _text(
        "description_text",
        "Description as a person wrote it: DESC where the description is such JSON.",
        derived_from="description",
    ),
    _text(
        "fail_reason",
        "Cause of a failure; may be filled while the status is available.",
        source=_BACKUP + "fail_reason",
    ),
    _integer("size_gb", "Size of the source volume.", source=_BACKUP + "size", unit="GB"),
    _integer(
        "object_count",
        "Objects in the object storage; some clouds put a size in MB here.",
        source=_BACKUP + "object_count",
    ),
    _integer("chain_size_mb", "Data of the backup chain.", source=_METADATA + "CS", unit="MB"),
    _integer("space_saving_percent", "Space saving rate.", source=_METADATA + "SS", unit="%"),
    _integer(
        "dedup_compression_code",
        "0 none, 1 deduplication, 2 compression, 3 both.",
        source=_METADATA + "DL",
        known_values=(0, 1, 2, 3),
    ),
    _integer(
        "backup_type_code",
        "Full or incremental; the vendors' texts disagree on which of 0 and 1 is which.",
        source=_METADATA + "Type",
        known_values=(0, 1),
    ),
    _integer(
        "image_type_code",
        "0 disk, 1 server, 4 disk copy, 5 server copy.",
        source=_METADATA + "ST",
        known_values=(0, 1, 4, 5),
    ),
    _integer("storage_type_code", "Type of the storage that holds the backup.", source=_METADATA + "BT"),
    _boolean(
        "is_incremental",
        "Whether the backup is incremental, says the API; often null, not reliable.",
        source=_BACKUP + "is_incremental",
    ),
    _boolean(
        "is_incremental_requested",
        "Whether an incremental backup was asked for (INC of the description).",
        derived_from="description",
    ),
    _boolean(
        "has_dependent_backups", "Whether other backups build on this one.", source=_BACKUP + "has_dependent_backups"
    ),
    _boolean("is_bootable", "Whether the source volume is a boot disk.", source=_METADATA + "bootable"),
    _timestamp("backup_created_at", "When the backup was made, UTC.", source=_BACKUP + "created_at"),
    _timestamp("backup_updated_at", "When the backup was last changed, UTC.", source=_BACKUP + "updated_at"),
    _timestamp(
        "data_timestamp",
        "Recovery point: the instant whose data the backup holds, UTC.",
        source=_BACKUP + "data_timestamp",
    ),
    *_version_bookkeeping(),
    *_version_constraints("backup_id"),
    comment="One row per listing, backup and version: what a listing said of a backup, and from when until when.",
    info={"key": "backup_id", "row_key": [*LISTING_KEY, "backup_id", "valid_from"]},
)

observations = Table(
    "observations",
    metadata,
    _text("observation_id", "One walk of one listing in one sync.", required=True),
    _text("sync_id", "Sync (Dagster run) that observed.", required=True),
    *_listing_key(),
    _timestamp("observed_at", "Start of the walk, UTC; its date is the snapshot_date.", required=True),
    _timestamp("finished_at", "End of the walk, UTC.", required=True),
    _text("status", "exact, covered, incomplete or failed: how much the walk proves.", required=True),
    _boolean(
        "is_proven",
        "Whether the status proves that no share which existed throughout the walk is missing.",
        required=True,
    ),
    _boolean(
        "may_close",
        "Whether the walk proves absence: a share on no page was not there throughout.",
        required=True,
    ),
    _text(
        "reason", "Why it is not proven, or why nothing was closed; empty if there is nothing to say.", required=True
    ),
    _text("error_code", "The service's own code of the error that ended the walk.", required=True),
    _integer("count_before", "Shares in the listing according to the count endpoint, before the walk."),
    _integer("count_after", "The same after the walk."),
    _integer("distinct_ids", "Distinct share ids that the walk read.", required=True),
    _integer("absent_count", "Shares known before that no page of the walk showed.", required=True),
    _integer(
        "held_count",
        "Of those, shares whose withdrawal waits for a person's word, because too many are absent at once.",
        required=True,
    ),
    _integer("pass_count", "Times that the listing was walked.", required=True),
    _integer("page_count", "Pages that were accepted and landed.", required=True),
    _integer("request_count", "Requests sent, repeats included.", required=True),
    _integer(
        "clock_skew_seconds",
        "How far the service's clock was ahead of ours (negative: behind), at most so far; null: it did not tell.",
        unit="s",
    ),
    _integer("share_count", "Shares in the normalized listing.", required=True),
    _integer("backup_count", "Distinct backups that those shares are of.", required=True),
    _integer("rejected_count", "Records that could not be read (rejected_records).", required=True),
    _integer(
        "conflict_count",
        "Shares and backups of which the listing told two things; what was told last, or is newer, was taken.",
        required=True,
    ),
    _integer("shares_granted", "Shares that were not open before.", required=True),
    _integer("shares_changed", "Shares whose content changed.", required=True),
    _integer("shares_withdrawn", "Shares that were closed.", required=True),
    _integer("backups_opened", "Versions of backups that were opened.", required=True),
    _integer("backups_closed", "Versions of backups that were closed.", required=True),
    _text("landing_file", "File of the raw pages, below LANDING_DIR.", required=True),
    _text("landing_sha256", "SHA-256 of that file.", required=True),
    PrimaryKeyConstraint("observation_id"),
    UniqueConstraint("region", "project_id", "direction", "observed_at").ddl_if(dialect="postgresql"),
    CheckConstraint("status IN ('exact', 'covered', 'incomplete', 'failed')"),
    CheckConstraint("is_proven = (status IN ('exact', 'covered'))"),
    comment="The ledger: one row per observation, proven or not. What is not here was not observed.",
    info={"row_key": ["observation_id"]},
)

rejected_records = Table(
    "rejected_records",
    metadata,
    _text("observation_id", "Observation that met the record.", required=True),
    *_listing_key(),
    _timestamp("observed_at", "observed_at of that observation, UTC.", required=True),
    Column("page_number", Integer(), comment="Page in the landing file, from 0.", nullable=False),
    Column("position", Integer(), comment="Position of the record in the page, from 0.", nullable=False),
    _text("share_id", "Share, if the record's id can be read; its open version is neither changed nor closed."),
    _text("backup_id", "Backup, if that id can be read; its open version is neither changed nor closed."),
    _text("reason", "What is wrong with the record.", required=True),
    _text("raw_json", "The record as received, key material blanked.", required=True),
    _known_observation("observation_id").ddl_if(dialect="postgresql"),
    comment="Quarantine: one row per record that could not be read, kept as received with the reason.",
    info={"row_key": ["observation_id", "page_number", "position"]},
)

observed_drift = Table(
    "observed_drift",
    metadata,
    _text("observation_id", "Observation that met it.", required=True),
    *_listing_key(),
    _timestamp("observed_at", "observed_at of that observation, UTC.", required=True),
    _text(
        "kind",
        "unknown_field: a field that no column is read from; unknown_value: a value beside the documented ones.",
        required=True,
    ),
    _text("path", "Where in the API's answer, such as shared[].backup.status.", required=True),
    _text("value", "The unknown value, shortened; empty for an unknown field.", required=True),
    _integer(
        "record_count", "Records that hold it, each share once; pages, for a field beside `shared`.", required=True
    ),
    _text(
        "example",
        "What an unknown field held in one record, as JSON, shortened, key material withheld; empty for a value.",
        required=True,
    ),
    _text("share_id", "Share of that record; null for a field beside `shared`, or if its id cannot be read."),
    _known_observation("observation_id").ddl_if(dialect="postgresql"),
    comment="Schema drift: one row per observation and thing in the answer that this program does not know.",
    info={"row_key": ["observation_id", "kind", "path", "value"]},
)


def _policy_table(name: str, keys: list[str], *columns: Column[Any], comment: str) -> Table:
    """What policies say, entry by entry: a version ends when a later policy says otherwise or nothing."""
    return Table(
        name,
        metadata,
        *columns,
        _timestamp("valid_from", "When the policy that first says so was landed; inclusive; UTC.", required=True),
        _timestamp(
            "valid_to",
            "When the policy that says otherwise was landed; exclusive; UTC; 9999-12-31 while in force.",
            required=True,
        ),
        CheckConstraint("valid_from < valid_to"),
        UniqueConstraint(*keys, "valid_to").ddl_if(dialect="postgresql"),
        comment=comment,
        info={"key": keys, "row_key": [*keys, "valid_from"]},
    )


policy_versions = _policy_table(
    "policy_versions",
    [],
    _text("policy_sha256", "SHA-256 of what the policy says, whatever its comments and order.", required=True),
    _text("landing_file", "File of the policy, below LANDING_DIR.", required=True),
    comment="One row per sharing policy that was ever in force. None: there never was one.",
)

policy_projects = _policy_table(
    "policy_projects",
    ["project_id"],
    _text("project_id", "Project of our own.", source="projects[].id", required=True),
    _text("project_name", "Its name.", source="projects[].name", required=True),
    _text("owner", "Who answers for it.", source="projects[].owner", required=True),
    comment="One row per project that a policy names as our own, and version.",
)

policy_recipients = _policy_table(
    "policy_recipients",
    ["project_id"],
    _text("project_id", "Project of others that may see our backups.", source="recipients[].id", required=True),
    _text("project_name", "Its name.", source="recipients[].name", required=True),
    _text("owner", "Who answers for the trust.", source="recipients[].owner", required=True),
    _date("trusted_from", "First day of the trust, UTC; null: always.", source="recipients[].trusted_from"),
    _date("trusted_until", "Last day of the trust, UTC; null: without end.", source="recipients[].trusted_until"),
    comment="One row per recipient that a policy trusts, and version.",
)

policy_exceptions = _policy_table(
    "policy_exceptions",
    ["exception_id"],
    _text("exception_id", "Name of the exception.", source="exceptions[].id", required=True),
    _text("rule", "Rule whose findings it accepts (findings.rule).", source="exceptions[].rule", required=True),
    _text("share_id", "Of this share only; null: of any.", source="exceptions[].share"),
    _text("backup_id", "Of this backup only; null: of any.", source="exceptions[].backup"),
    _text("from_project_id", "Of what this project shares only; null: any.", source="exceptions[].from_project"),
    _text("to_project_id", "Of what is shared with this project only; null: any.", source="exceptions[].to_project"),
    _text("project_id", "About this project only; null: any.", source="exceptions[].project"),
    _text("owner", "Who answers for it.", source="exceptions[].owner", required=True),
    _text("reason", "Why it is accepted.", source="exceptions[].reason", required=True),
    _date("accepted_from", "First day, UTC; null: always.", source="exceptions[].starts"),
    _date("expires_on", "Last day, UTC.", source="exceptions[].expires", required=True),
    comment="One row per exception of a policy, and version.",
)

policy_limits = _policy_table(
    "policy_limits",
    [],
    _integer("max_recipients", "Most projects that may see one backup.", source="limits.max_recipients", required=True),
    _integer(
        "max_share_age_days", "Longest that a share may last; null: any.", source="limits.max_share_age_days", unit="d"
    ),
    _integer(
        "short_lived_hours",
        "A share withdrawn sooner is short-lived; null: none is.",
        source="limits.short_lived_hours",
        unit="h",
    ),
    comment="One row per version of the limits of a policy.",
)

schema_version = Table(
    "schema_version",
    metadata,
    _integer("version", "Version of the tables (SCHEMA_VERSION in schema.py).", required=True),
    _text("definition_sha256", "SHA-256 of the statements that made tables and views.", required=True),
    comment="One row: which version of the program made tables and views.",
)

HISTORY_TABLES = (backup_share_history, backup_history)
FACTS = (*HISTORY_TABLES, observations, rejected_records, observed_drift)
"""What the pages determine: when they are pruned, these tables are frozen in their place (baseline.py)."""

POLICY_TABLES = (policy_projects, policy_recipients, policy_exceptions, policy_limits, policy_versions)
LANDED = (*FACTS, *POLICY_TABLES)
"""What the landing determines: a rebuild gives these tables again, row for row."""


def tracked_columns(table: Table) -> list[str]:
    """Columns that come from the API: a change in one of them is a new version."""
    return [column.name for column in table.columns if "source" in column.info]


def content_columns(table: Table) -> list[Column[Any]]:
    """What a normalized frame holds: columns from the API and those derived from them, in the table's order."""
    return [column for column in table.columns if column.info.keys() & {"source", "derived_from"}]


def arrow_type(column: Column[Any]) -> pa.DataType:
    """The Arrow type of a column; timestamps are microseconds in UTC."""
    match column.type:
        case Boolean():
            return pa.bool_()
        case BigInteger():
            return pa.int64()
        case Integer():
            return pa.int32()
        case DateTime():
            return pa.timestamp("us", tz="UTC")
        case Date():
            return pa.date32()
        case _:
            return pa.string()


def arrow_schema(columns: list[Column[Any]]) -> pa.Schema:
    return pa.schema([pa.field(column.name, arrow_type(column)) for column in columns])


class Explanation(NamedTuple):
    """What a column means; `source`: where in the API's answer, in the policy or in which column it comes from."""

    meaning: str
    unit: str = ""
    source: str = ""

    @property
    def comment(self) -> str:
        """All of it, as the comment in the database."""
        parts = [
            self.meaning,
            f"Unit: {self.unit}." if self.unit else "",
            f"From {self.source}." if self.source else "",
        ]
        return " ".join(part for part in parts if part)


def explained_columns(table: Table) -> dict[str, Explanation]:
    return {
        column.name: Explanation(
            column.comment or "",
            column.info.get("unit", ""),
            column.info.get("source") or column.info.get("derived_from", ""),
        )
        for column in table.columns
    }


def ddl(dialect: Dialect, *, commented: bool = True) -> Iterator[str]:
    """The statements that make all tables and their comments, in the engine's own words."""
    for table in metadata.sorted_tables:
        yield str(CreateTable(table, if_not_exists=True).compile(dialect=dialect)).strip()
        if commented:
            yield comment_on(f"TABLE {table.name}", table.comment or "")
            for name, explanation in explained_columns(table).items():
                yield comment_on(f"COLUMN {table.name}.{name}", explanation.comment)


def comment_on(what: str, text: str) -> str:
    """The statement, the same on both engines."""
    quoted = text.replace("'", "''")
    return f"COMMENT ON {what} IS '{quoted}'"


def report(name: str) -> str:
    """The question that stands in `sql/reports/<name>.sql`, or among those that the program itself asks."""
    folder = sql_folder("reports")
    path = folder / f"{name}.sql"
    return (path if path.exists() else folder / "internal" / path.name).read_text(encoding="utf-8")


def sql_folder(name: str) -> Path:
    """The folder `sql/<name>` of the checkout; raises ConfigurationError where there is none."""
    folder = Path(__file__).resolve().parent.parent / "sql" / name
    if not folder.is_dir():
        raise ConfigurationError(
            "the folder sql/ is not beside the package: install from a checkout with pip install -e ."
        )
    return folder
