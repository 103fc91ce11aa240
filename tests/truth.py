"""What the warehouse should say, worked out from the simulator's world alone: the oracle of the end-to-end tests.

Plain loops over the API's own records; nothing of the pipeline is used.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

Record = Mapping[str, Any]
GIVER_FIRST = ("outgoing", "incoming")


def moment(text: str | None) -> datetime | None:
    """The times of the simulator: ISO without zone, UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else None


def share_row(record: Record) -> dict[str, Any]:
    return {
        "share_id": record["id"],
        "backup_id": record["backup_id"],
        "from_project_id": record["from_project_id"],
        "to_project_id": record["to_project_id"],
        "share_created_at": moment(record["created_at"]),
        "share_updated_at": moment(record["updated_at"]),
    }


def backup_row(record: Record) -> dict[str, Any]:
    backup = record["backup"]
    metadata = json.loads(backup["service_metadata"] or "{}")
    description = backup["description"]
    wrapped = json.loads(description) if description and description.startswith("{") else None
    return {
        "backup_id": backup["id"],
        "volume_id": backup["volume_id"],
        "volume_snapshot_id": backup["snapshot_id"],
        "backup_name": backup["name"],
        "backup_status": backup["status"],
        "availability_zone": backup["availability_zone"],
        "container": backup["container"],
        "description": description,
        "description_text": wrapped.get("DESC") if wrapped else description,
        "fail_reason": backup["fail_reason"],
        "size_gb": backup["size"],
        "object_count": backup["object_count"],
        "chain_size_mb": metadata.get("CS"),
        "space_saving_percent": metadata.get("SS"),
        "dedup_compression_code": metadata.get("DL"),
        "backup_type_code": metadata.get("Type"),
        "image_type_code": metadata.get("ST"),
        "storage_type_code": int(metadata["BT"]) if "BT" in metadata else None,
        "is_incremental": backup["is_incremental"],
        "is_incremental_requested": {0: False, 1: True}[wrapped["INC"]] if wrapped and "INC" in wrapped else None,
        "has_dependent_backups": backup.get("has_dependent_backups", backup.get("has_dependent_backup")),
        "is_bootable": metadata.get("bootable"),
        "backup_created_at": moment(backup["created_at"]),
        "backup_updated_at": moment(backup["updated_at"]),
        "data_timestamp": moment(backup["data_timestamp"]),
    }


def canonical(listings: Mapping[tuple[str, str], Iterable[Record]], row: Any, key: str) -> dict[str, dict[str, Any]]:
    """One row per id over listings {(project, direction): records}; the giver's side is preferred."""
    found: dict[str, dict[str, Any]] = {}
    for direction in GIVER_FIRST:
        for (project, way), records in sorted(listings.items()):
            if way != direction:
                continue
            for record in records:
                told = row(record) | {"project_id": project, "direction": way}
                found.setdefault(told[key], told)
    return found
