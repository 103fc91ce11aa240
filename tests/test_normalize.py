"""Pages to frames: the spec's own example cell by cell, the fingerprint, the two readers held equal, and a fuzzer.

The expected values come from an independent reading of the contract in plain Python (`Oracle` below), never from
the code under test. Not here: the rules for single fields (test_records.py), key material (test_redact.py).
"""

import hashlib
import itertools
import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from pipelines import normalize
from pipelines.normalize import normalize_pages
from pipelines.simulator.scenario import Scenario
from pipelines.simulator.world import World

SPEC_EXAMPLE = (Path(__file__).parent / "data" / "spec_example.json").read_bytes()

STRING, INT, BOOL = "string[pyarrow]", "int64[pyarrow]", "bool[pyarrow]"
TIME = "timestamp[us, tz=UTC][pyarrow]"
SHARE_DTYPES = {
    "share_id": STRING,
    "backup_id": STRING,
    "from_project_id": STRING,
    "to_project_id": STRING,
    "share_created_at": TIME,
    "share_updated_at": TIME,
    "row_hash": STRING,
}
BACKUP_DTYPES = {
    "backup_id": STRING,
    "volume_id": STRING,
    "volume_snapshot_id": STRING,
    "backup_name": STRING,
    "backup_status": STRING,
    "availability_zone": STRING,
    "container": STRING,
    "description": STRING,
    "description_text": STRING,
    "fail_reason": STRING,
    "size_gb": INT,
    "object_count": INT,
    "chain_size_mb": INT,
    "space_saving_percent": INT,
    "dedup_compression_code": INT,
    "backup_type_code": INT,
    "image_type_code": INT,
    "storage_type_code": INT,
    "is_incremental": BOOL,
    "is_incremental_requested": BOOL,
    "has_dependent_backups": BOOL,
    "is_bootable": BOOL,
    "backup_created_at": TIME,
    "backup_updated_at": TIME,
    "data_timestamp": TIME,
    "row_hash": STRING,
}
REJECTED_DTYPES = {
    "page_number": "int32[pyarrow]",
    "position": "int32[pyarrow]",
    "share_id": STRING,
    "backup_id": STRING,
    "reason": STRING,
    "raw_json": STRING,
}
SHARE_FINGERPRINT = [name for name in SHARE_DTYPES if name != "row_hash"]
BACKUP_FINGERPRINT = [
    name for name in BACKUP_DTYPES if name not in ("row_hash", "description_text", "is_incremental_requested")
]
METADATA_KEYS = {
    "chain_size_mb": "CS",
    "space_saving_percent": "SS",
    "dedup_compression_code": "DL",
    "backup_type_code": "Type",
    "image_type_code": "ST",
    "storage_type_code": "BT",
}


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def rows(frame: pd.DataFrame) -> list[dict]:
    columns = {name: frame[name].array.__arrow_array__().to_pylist() for name in frame.columns}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def dtypes(frame: pd.DataFrame) -> dict[str, str]:
    return {name: str(dtype) for name, dtype in frame.dtypes.items()}


def page(*texts: str) -> bytes:
    return ('{"shared": [' + ", ".join(texts) + "]}").encode()


def uuid(number: int, kind: int = 0) -> str:
    return f"{kind:08x}-0000-4000-8000-{number:012x}"


def make_share(number: int = 1, backup: int | None = 1, changes: dict | None = None, **fields) -> dict:
    """Share `number` of backup `backup`; `changes` are fields of the nested backup."""
    record = {
        "backup_id": uuid(backup or 0, 11),
        "created_at": "2017-08-10T12:25:40.480424",
        "from_project_id": "c13f5220dc1949b0b741ea81a7cd5554",
        "id": uuid(number, 10),
        "to_project_id": "722513ed0a324dadaabe5b2d0fe848b9",
        "updated_at": None,
    }
    if backup is not None:
        nested = {"id": uuid(backup, 11), "name": "lbf", "size": 1, "updated_at": "2017-08-08T04:03:35.109308"}
        record["backup"] = {**nested, **(changes or {})}
    return record | fields


def make_page(*records) -> bytes:
    return page(*(json.dumps(record) for record in records))


def read_exactly(pages) -> normalize.Normalized:
    """All pages through the exact reader."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normalize, "_read_typed", lambda *_: None)
        return normalize_pages(pages)


def assert_same(one: normalize.Normalized, other: normalize.Normalized) -> None:
    for name in ("shares", "backups", "rejected"):
        assert_frame_equal(getattr(one, name), getattr(other, name))
    assert one.conflict_count == other.conflict_count


# --- An independent reading of the contract: documented rules, plain Python, no code of the package


class Bad(Exception):
    """The record must be in quarantine."""


class Pairs(list):
    """A JSON object as its pairs."""

    def value(self, key: str):
        found = [value for name, value in self if name == key]
        if len(found) > 1:
            raise Bad(key)
        return found[0] if found else None


class Oracle:
    """The rows that a record must give, as dicts; raises Bad where it must be rejected."""

    def __init__(self, text: str) -> None:
        record = json.loads(text, object_pairs_hook=Pairs, parse_float=lambda digits: (digits,))
        if not isinstance(record, Pairs):
            raise Bad("no object")
        nested = record.value("backup")
        if nested is not None and not isinstance(nested, Pairs):
            raise Bad("backup")
        self.share = {
            "share_id": self.uuid(record.value("id")),
            "backup_id": self.uuid(record.value("backup_id")),
            "from_project_id": self.project(record.value("from_project_id")),
            "to_project_id": self.project(record.value("to_project_id")),
            "share_created_at": self.time(record.value("created_at")),
            "share_updated_at": self.time(record.value("updated_at")),
        }
        self.backup = None if nested is None else self.read_backup(nested)
        if self.backup and self.backup["backup_id"] != self.share["backup_id"]:
            raise Bad("backup.id")

    def read_backup(self, nested: Pairs) -> dict:
        text, number, flag, time = (
            lambda key, kind=kind: kind(nested.value(key)) for kind in (self.text, self.number, self.flag, self.time)
        )
        description, metadata = text("description"), self.parsed(text("service_metadata"))
        wrapped = self.parsed(description)
        is_wrapped = "DESC" in wrapped or "INC" in wrapped
        note = wrapped.get("DESC")
        flags = [value for value in (flag("has_dependent_backup"), flag("has_dependent_backups")) if value is not None]
        if len(flags) == 2 and flags[0] != flags[1]:
            raise Bad("flags")
        bootable = metadata.get("bootable")
        return {
            "backup_id": text("id"),
            "volume_id": text("volume_id"),
            "volume_snapshot_id": text("snapshot_id"),
            "backup_name": text("name"),
            "backup_status": text("status"),
            "availability_zone": text("availability_zone"),
            "container": text("container"),
            "description": description,
            "description_text": (note if isinstance(note, str) else None) if is_wrapped else description,
            "fail_reason": text("fail_reason"),
            "size_gb": number("size"),
            "object_count": number("object_count"),
            **{column: self.lenient(metadata.get(key)) for column, key in METADATA_KEYS.items()},
            "is_incremental": flag("is_incremental"),
            "is_incremental_requested": {0: False, 1: True}.get(wrapped.get("INC")) if is_wrapped else None,
            "has_dependent_backups": flags[0] if flags else None,
            "is_bootable": bootable if isinstance(bootable, bool) else None,
            "backup_created_at": time("created_at"),
            "backup_updated_at": time("updated_at"),
            "data_timestamp": time("data_timestamp"),
        }

    @staticmethod
    def text(value):
        if value is None:
            return None
        if not isinstance(value, str):
            raise Bad(value)
        return "".join("\ufffd" if 0xD800 <= ord(c) < 0xE000 else "\u2400" if c == "\0" else c for c in value)

    @staticmethod
    def number(value):
        if value is not None and (type(value) is not int or not -(2**63) <= value < 2**63):
            raise Bad(value)
        return value

    @staticmethod
    def flag(value):
        if value is not None and not isinstance(value, bool):
            raise Bad(value)
        return value

    @classmethod
    def uuid(cls, value):
        text = cls.text(value)
        parts = (text or "").split("-")
        if [len(part) for part in parts] != [8, 4, 4, 4, 12] or set("".join(parts)) - set("0123456789abcdef"):
            raise Bad(value)
        return text

    @classmethod
    def project(cls, value):
        text = cls.text(value)
        if not text or len(text) > 64 or not text.isascii() or not text.replace("-", "a").replace("_", "a").isalnum():
            raise Bad(value)
        return text

    @classmethod
    def time(cls, value):
        text = cls.text(value)
        if not text:
            return None
        try:
            shape = "".join("9" if c in "0123456789" else c for c in text)
            if shape[:19] not in ("9999-99-99T99:99:99", "9999-99-99 99:99:99"):
                raise Bad(value)
            rest, offset = text[19:], timedelta(0)
            if rest.endswith("Z"):
                rest = rest[:-1]
            elif rest[-6:-5] in ("+", "-") and shape[-5:] == "99:99":
                hours, minutes = int(rest[-5:-3]), int(rest[-2:])
                if hours > 23 or minutes > 59:
                    raise Bad(value)
                offset = timedelta(hours=hours, minutes=minutes) * (1 if rest[-6] == "+" else -1)
                rest = rest[:-6]
            if rest and (rest[0] != "." or not 2 <= len(rest) <= 7 or set(rest[1:]) - set("0123456789")):
                raise Bad(value)
            parts = [int(text[start:end]) for start, end in ((0, 4), (5, 7), (8, 10), (11, 13), (14, 16), (17, 19))]
            return datetime(*parts, int(rest[1:].ljust(6, "0") or 0), tzinfo=UTC) - offset
        except (ValueError, OverflowError):
            raise Bad(value) from None

    @staticmethod
    def parsed(text) -> dict:
        try:
            value = json.loads(text or "")
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    @staticmethod
    def lenient(value):
        if isinstance(value, str) and value.strip() and not set(value.strip()) - set("0123456789"):
            value = int(value) if len(value.strip()) <= 18 else None
        return value if type(value) is int and -(2**63) <= value < 2**63 else None


def fingerprint(row: dict, names: list[str]) -> str:
    """As documented: BLAKE2b, 16 bytes, of `name=value` of what is not null, joined by NUL."""

    def text(value) -> str:
        if isinstance(value, datetime):
            return str((value - utc(1970, 1, 1)) // timedelta(microseconds=1))
        return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)

    parts = [f"{name}={text(row[name])}" for name in names if row[name] is not None]
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


def expected_of(texts: list[str]) -> tuple[dict, dict, list[int]]:
    """Shares by id, backups by id, positions of the rejected. Ids must not repeat among sound records."""
    shares, backups, rejected = {}, {}, []
    for position, text in enumerate(texts):
        try:
            record = Oracle(text)
        except Bad:
            rejected.append(position)
            continue
        assert record.share["share_id"] not in shares, "the generator repeated an id"
        shares[record.share["share_id"]] = record.share | {"row_hash": fingerprint(record.share, SHARE_FINGERPRINT)}
        if record.backup:
            hash_ = fingerprint(record.backup, BACKUP_FINGERPRINT)
            backups[record.backup["backup_id"]] = record.backup | {"row_hash": hash_}
    return shares, backups, rejected


def assert_as_expected(result: normalize.Normalized, texts: list[str]) -> None:
    shares, backups, rejected = expected_of(texts)
    found = rows(result.rejected)
    # The same text twice is one rejection.
    assert {row["raw_json"] for row in found} == {texts[position] for position in rejected}
    taken = {row["share_id"] for row in found}
    shares = {key: row for key, row in shares.items() if key not in taken}
    backups = {row["backup_id"]: backups[row["backup_id"]] for row in shares.values() if row["backup_id"] in backups}
    assert {row["share_id"]: row for row in rows(result.shares)} == shares
    assert {row["backup_id"]: row for row in rows(result.backups)} == backups
    assert (len(result.shares), len(result.backups)) == (len(shares), len(backups))
    assert dtypes(result.shares) == SHARE_DTYPES
    assert dtypes(result.backups) == BACKUP_DTYPES
    assert dtypes(result.rejected) == REJECTED_DTYPES


# --- The example of the spec page


def test_the_example_is_the_one_of_the_spec_page():
    # Copied between the fences of querying-backup-shares.md; never edit it.
    assert (
        hashlib.sha256(SPEC_EXAMPLE).hexdigest() == "0ca8b6fefc0487eaf4f1ea9099b66a0bb174910c6edd8fa8f911ae46a8b25816"
    )
    assert SPEC_EXAMPLE.count(b'"has_dependent_backups": null') == 2


@pytest.mark.parametrize("read", [normalize_pages, read_exactly])
def test_the_example_of_the_spec_gives_two_shares_and_one_backup(read):
    result = read([SPEC_EXAMPLE])
    assert rows(result.shares) == [
        {
            "share_id": "e842bf23-1e05-4c2c-b0f9-25222f4686da",
            "backup_id": "066b1e37-9305-4057-97e5-2e99b21fc71d",
            "from_project_id": "c13f5220dc1949b0b741ea81a7cd5554",
            "to_project_id": "722513ed0a324dadaabe5b2d0fe848b9",
            "share_created_at": utc(2017, 8, 10, 12, 25, 40, 480424),
            "share_updated_at": utc(2017, 8, 14, 6, 41, 49, 381069),
            "row_hash": "23f9a8cdff5d87e6098e10cc362013a6",
        },
        {
            "share_id": "f842bf23-1e05-4c2c-b0f9-25222f4686da",
            "backup_id": "066b1e37-9305-4057-97e5-2e99b21fc71d",
            "from_project_id": "c13f5220dc1949b0b741ea81a7cd5554",
            "to_project_id": "722513ed0a324dadaabe5b2d0fe848a9",
            "share_created_at": utc(2017, 8, 10, 12, 19, 37, 318031),
            "share_updated_at": None,
            "row_hash": "37bcbc5afdf03feeb40b3b7936f4b103",
        },
    ]
    assert rows(result.backups) == [
        {
            "backup_id": "066b1e37-9305-4057-97e5-2e99b21fc71d",
            "volume_id": "a7d7783f-02b7-4645-b0e3-61df63f0ba10",
            "volume_snapshot_id": None,
            "backup_name": "lbf",
            "backup_status": "available",
            "availability_zone": "AZ1",
            "container": None,
            "description": None,
            "description_text": None,
            "fail_reason": "Invalid InitiatorConnector protocol specified DSWARE",
            "size_gb": 1,
            "object_count": None,
            "chain_size_mb": None,
            "space_saving_percent": None,
            "dedup_compression_code": None,
            "backup_type_code": None,
            "image_type_code": None,
            "storage_type_code": None,
            "is_incremental": None,
            "is_incremental_requested": None,
            "has_dependent_backups": None,
            "is_bootable": None,
            "backup_created_at": utc(2017, 8, 8, 4, 3, 27, 456859),
            "backup_updated_at": utc(2017, 8, 8, 4, 3, 35, 109308),
            "data_timestamp": utc(2017, 8, 8, 4, 3, 27, 456859),
            "row_hash": "40befa7ff5c84411bf075e31b57af882",
        }
    ]
    assert (rows(result.rejected), result.conflict_count) == ([], 0)
    assert dtypes(result.shares) == SHARE_DTYPES
    assert dtypes(result.backups) == BACKUP_DTYPES
    assert dtypes(result.rejected) == REJECTED_DTYPES


@pytest.mark.parametrize("pages", [[], [b'{"shared": []}'], [b'{"shared": [null]}'], [b'{"shared": []}'] * 3])
def test_frames_without_rows_have_the_same_columns(pages):
    result = normalize_pages(pages)
    assert (len(result.shares), len(result.backups)) == (0, 0)
    assert dtypes(result.shares) == SHARE_DTYPES
    assert dtypes(result.backups) == BACKUP_DTYPES
    assert dtypes(result.rejected) == REJECTED_DTYPES


# --- The fingerprint

FULL_BACKUP = {
    "id": uuid(1, 11),
    "volume_id": "a7d7783f-02b7-4645-b0e3-61df63f0ba10",
    "snapshot_id": "s=1",
    "name": "生产 é 😀 \x1b\n",
    "status": "available",
    "availability_zone": "eu-de-01",
    "container": "",
    "description": '{"DESC": "monthly", "INC": 1}',
    "fail_reason": "a\0b",
    "size": 2**53 + 1,
    "object_count": -1,
    "is_incremental": False,
    "has_dependent_backup": True,
    "created_at": "1677-01-01 00:00:00.1",
    "updated_at": "9999-12-31T23:59:59.999999",
    "data_timestamp": "2017-08-08T04:03:27+02:00",
    "service_metadata": ' {"CS": 642, "SS": "90", "DL": 2, "Type": 1, "ST": 0, "BT": "2", "bootable": true} ',
}


def test_the_fingerprints_of_stored_history_never_change():
    # These stand in the histories of every installation. If one differs, fix the code, never the test.
    example = normalize_pages([SPEC_EXAMPLE])
    assert example.shares["row_hash"][0] == "23f9a8cdff5d87e6098e10cc362013a6"
    assert example.backups["row_hash"][0] == "40befa7ff5c84411bf075e31b57af882"
    full = normalize_pages([make_page(make_share(backup=1, changes=FULL_BACKUP))])
    assert full.backups["row_hash"][0] == "d2d17e7e7bcf242bb899f953962a08e8"


def test_the_fingerprint_is_what_its_description_says():
    share = b"share_id=e842bf23-1e05-4c2c-b0f9-25222f4686da\0backup_id=066b1e37-9305-4057-97e5-2e99b21fc71d\0"
    share += b"from_project_id=c13f5220dc1949b0b741ea81a7cd5554\0to_project_id=722513ed0a324dadaabe5b2d0fe848b9\0"
    share += b"share_created_at=1502367940480424\0share_updated_at=1502692909381069"
    assert hashlib.blake2b(share, digest_size=16).hexdigest() == "23f9a8cdff5d87e6098e10cc362013a6"
    backup = b"backup_id=066b1e37-9305-4057-97e5-2e99b21fc71d\0volume_id=a7d7783f-02b7-4645-b0e3-61df63f0ba10\0"
    backup += b"backup_name=lbf\0backup_status=available\0availability_zone=AZ1\0"
    backup += b"fail_reason=Invalid InitiatorConnector protocol specified DSWARE\0size_gb=1\0"
    backup += b"backup_created_at=1502165007456859\0backup_updated_at=1502165015109308\0data_timestamp=1502165007456859"
    assert hashlib.blake2b(backup, digest_size=16).hexdigest() == "40befa7ff5c84411bf075e31b57af882"


def test_every_tracked_field_has_a_say_in_the_fingerprint_and_no_two_values_meet():
    other = {"snapshot_id": "s", "description": "x", "has_dependent_backup": False, "is_incremental": True, "name": ""}
    other |= {
        "created_at": "1677-01-01 00:00:00.2",
        "updated_at": "2017-08-08T04:03:27",
        "data_timestamp": "2017-08-08T04:03:27+02:01",
    }
    metadata = json.loads(FULL_BACKUP["service_metadata"])
    variants = [FULL_BACKUP]
    variants += [{**FULL_BACKUP, key: None} for key in FULL_BACKUP if key != "id"]
    variants += [{**FULL_BACKUP, key: value} for key, value in other.items()]
    for key in metadata:
        for value in (None, False if key == "bootable" else 77):
            variants.append({**FULL_BACKUP, "service_metadata": json.dumps({**metadata, key: value})})
    hashes = [
        normalize_pages([make_page(make_share(backup=1, changes=variant))]).backups["row_hash"][0]
        for variant in variants
    ]
    assert len(set(hashes)) == len(variants) == 1 + 16 + 8 + 14


def test_columns_that_are_null_do_not_count_so_a_new_column_changes_no_old_fingerprint():
    sparse = normalize_pages(
        [make_page(make_share(backup=1, changes={"name": None, "size": None, "updated_at": None}))]
    )
    assert (
        sparse.backups["row_hash"][0]
        == hashlib.blake2b(b"backup_id=0000000b-0000-4000-8000-000000000001", digest_size=16).hexdigest()
    )


# --- Generated records

GOOD_TIMES = [
    "2017-08-08T04:03:27.456859",
    "2017-08-08T04:03:27",
    "2017-08-08 04:03:27.12345",
    "1677-01-01T00:00:00",
    "0001-01-01T00:00:00.000001",
    "9999-12-31T23:59:59.999999",
    "2016-02-29T00:00:00.0",
    "1969-12-31T23:59:59.9",
]
ODD_TIMES = [
    "",
    "2017-08-08T04:03:27Z",
    "2017-08-08T04:03:27.123+00:00",
    "2017-08-08 04:03:27-05:30",
    "2017-13-08T04:03:27",
    "2017-02-29T04:03:27",
    "2017-08-08T04:03:60",
    "2017-08-08T24:00:00",
    "0000-01-01T00:00:00",
    "20170808",
    "2017-08-08",
    "2017-08-08T04:03",
    "2017-08-08T04:03:27.1234567890",
    "2017-08-08T04:03:27.",
    "2017-08-08T04:03:27+24:00",
    "0001-01-01T00:00:00+01:00",
    "9999-12-31T23:59:59-01:00",
    "2017-08-08T04:03:27 ",
    "not a time, but long",
]
ODD_TEXTS = [
    "",
    " ",
    "\0",
    "a\0b",
    "\ud800",
    "\udfff\0",
    "é",
    "😀",
    '"',
    "\\",
    "\\u0000",
    "\n",
    "\x7f",
    "\u2028",
    "null",
    "1",
    "x" * 3000,
]
DESCRIPTIONS = [
    '{"DESC": "monthly", "INC": 1}',
    '{"INC": 0, "ST": 0}',
    '{"DESC": "é 😀"}',
    '{"a": 1}',
    '{"DESC"',
    "[]",
    "{}",
]
METADATA = [
    '{"CS": 642, "SS": "90", "DL": 2, "Type": 1, "ST": 0, "BT": "2", "bootable": true, "VK": "", "AT": 1.2}',
    '  {"CS": "x", "SS": 1.5, "DL": true, "BT": " 7 ", "bootable": "true"}  ',
    '{"CS": 9223372036854775808, "SS": -3, "bootable": false}',
    '{"CS": 642',
    "not JSON",
    "[1]",
    "",
]
NUMBERS = [0, 1, -1, 40, 2**53 + 1, 2**63 - 1, -(2**63)]
ODD_JSON = [
    None,
    True,
    False,
    0,
    1,
    -1,
    1.5,
    2.0,
    1e3,
    2**63,
    2**70,
    -(2**63) - 1,
    "",
    "1",
    "x",
    [],
    {},
    [None],
    {"id": 1},
    [[{}]],
]
KINDS = {
    "created_at": GOOD_TIMES,
    "updated_at": GOOD_TIMES,
    "backup.created_at": GOOD_TIMES,
    "backup.updated_at": GOOD_TIMES,
    "backup.data_timestamp": GOOD_TIMES,
    "backup.volume_id": ["a7d7783f-02b7-4645-b0e3-61df63f0ba10", "é"],
    "backup.snapshot_id": ["s1", ""],
    "backup.name": ["lbf", "生产数据库备份", "😀", 'a\tb\\"/'],
    "backup.status": ["available", "error"],
    "backup.availability_zone": ["AZ1"],
    "backup.container": ["c1", ""],
    "backup.description": ["plain", *DESCRIPTIONS],
    "backup.fail_reason": ["", "failed"],
    "backup.size": NUMBERS,
    "backup.object_count": NUMBERS,
    "backup.is_incremental": [True, False],
    "backup.has_dependent_backups": [True, False],
    "backup.service_metadata": METADATA,
}
FIELDS = [
    *KINDS,
    "id",
    "backup_id",
    "from_project_id",
    "to_project_id",
    "backup",
    "backup.id",
    "backup.has_dependent_backup",
]


def sound_record(number: int, pick) -> dict:
    """A record that any reader must take; `pick(choices)` chooses."""
    record = make_share(number, backup=number)
    record["backup"] = {"id": uuid(number, 11)}
    for path, values in KINDS.items():
        *above, key = path.split(".")
        choice = pick([*values, None, "leave out"])
        if choice != "leave out":
            (record["backup"] if above else record)[key] = choice
    if pick([False, False, False, True]) and "has_dependent_backups" in record["backup"]:
        record["backup"]["has_dependent_backup"] = record["backup"].pop("has_dependent_backups")
    if pick([False] * 9 + [True]):
        record["backup"] = None
    if pick([False, False, True]):
        record["unknown"] = pick([1, "x", {"id": 1, "backup": []}, [None], 2.5])
    return record


def spoil(record: dict, pick) -> str:
    """The record with one thing changed, as JSON text; it may still be sound."""
    how = pick(["value", "value", "text", "time", "drop", "doubled", "raw", "whole"])
    path = pick(FIELDS)
    *above, key = path.split(".")
    record = {**record, "backup": dict(record["backup"]) if record.get("backup") else {"id": record["backup_id"]}}
    target = record["backup"] if above else record
    if how == "whole":
        return json.dumps(pick([*ODD_JSON, [record], "{"]))
    if how == "drop":
        target.pop(key, None)
    elif how == "doubled":
        pair = json.dumps(key) + ": " + json.dumps(pick([target.get(key), None, 1]))
        text = json.dumps(record)
        return text.replace('"backup": {', '"backup": {' + pair + ", ", 1) if above else "{" + pair + ", " + text[1:]
    elif how == "raw":
        target[key] = "@raw@"
        return json.dumps(record).replace(
            '"@raw@"', pick(["1e3", "-0", "1E400", "9" * 400, "-1.0", '"\\u0031"', '{"a":1,"a":2}'])
        )
    else:
        target[key] = pick({"value": ODD_JSON, "text": ODD_TEXTS, "time": [*GOOD_TIMES, *ODD_TIMES]}[how])
    return json.dumps(record, ensure_ascii=pick([True, False]) or not json_is_encodable(record))


def json_is_encodable(value) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


@st.composite
def generated_texts(draw, spoilt: float):
    """JSON texts of a few records, each maybe spoilt, with keys in any order and blanks in any place."""

    def pick(choices):
        return draw(st.sampled_from(choices))

    texts = []
    for number in range(draw(st.integers(0, 4))):
        record = sound_record(number, pick)
        if draw(st.integers(1, 100)) <= spoilt * 100:
            texts.append(spoil(record, pick))
            continue
        if isinstance(record["backup"], dict):
            record["backup"] = dict(draw(st.permutations(list(record["backup"].items()))))
        record = dict(draw(st.permutations(list(record.items()))))
        separators = pick([(", ", ": "), (",", ":"), (" ,\t", " : "), (",\n", ":\r\n")])
        texts.append(json.dumps(record, separators=separators, ensure_ascii=pick([True, False])))
    return texts


@settings(deadline=None, derandomize=True, max_examples=40)
@given(generated_texts(spoilt=0))
def test_sound_records_are_read_as_the_contract_says_by_the_quick_reader(texts):
    assert normalize._read_typed(page(*texts), "ignore") is not None
    assert_as_expected(normalize_pages([page(*texts)]), texts)


@settings(deadline=None, derandomize=True, max_examples=80)
@given(generated_texts(spoilt=0.3))
def test_both_readers_give_the_same_frames_and_those_that_the_contract_says(texts):
    either, exact = normalize_pages([page(*texts)]), read_exactly([page(*texts)])
    assert_same(either, exact)
    assert_as_expected(exact, texts)


@settings(deadline=None, derandomize=True, max_examples=20)
@given(generated_texts(spoilt=0.1), st.randoms(use_true_random=False))
def test_a_row_depends_on_nothing_but_its_record(texts, rng):
    together = normalize_pages([page(*texts)])
    alone = [normalize_pages([page(text)]) for text in texts]
    mixed = list(texts)
    rng.shuffle(mixed)
    cut = rng.randint(0, len(mixed))
    scattered = normalize_pages([page(*mixed[:cut]), page(*mixed[cut:])])
    for name, key in (("shares", "share_id"), ("backups", "backup_id")):
        expected = {row[key]: row for row in rows(getattr(together, name))}
        assert {row[key]: row for row in rows(getattr(scattered, name))} == expected
        singles = {row[key]: row for result in alone for row in rows(getattr(result, name))}
        # Alone, no rejected neighbour with the same id can take it out.
        assert {row_id: singles[row_id] for row_id in expected} == expected


# --- The simulator's world


def test_the_whole_world_of_the_simulator_is_read_alike_by_both_readers():
    world = World(seed=11, shares=300)
    for day in (0, 40):
        texts = [json.dumps(record) for record in world.shares(day)]
        pages = [page(*texts[start : start + 100]) for start in range(0, len(texts), 100)]
        assert all(normalize._read_typed(body, "ignore") is not None for body in pages)
        either = normalize_pages(pages)
        assert_same(either, read_exactly(pages))
        assert (len(either.shares), len(either.rejected), either.conflict_count) == (len(texts), 0, 0)
        assert_as_expected_with_shared_backups(either, texts)


def test_a_malformed_record_of_the_simulator_is_quarantined_and_the_world_around_it_is_not():
    world = World(seed=7, shares=100)
    [broken] = Scenario.demo(world).malformed
    texts = [
        json.dumps(broken.served(record) if record["id"] == broken.share_id else record) for record in world.shares(1)
    ]
    either = normalize_pages([page(*texts)])
    assert_same(either, read_exactly([page(*texts)]))
    [rejection] = rows(either.rejected)
    assert rejection["share_id"] == broken.share_id
    assert rejection["reason"] == 'backup.size is "twelve", a string where a whole number was expected'
    assert_as_expected_with_shared_backups(either, [text for text in texts if broken.share_id not in text])


def assert_as_expected_with_shared_backups(result: normalize.Normalized, texts: list[str]) -> None:
    shares, backups, rejected = expected_of(texts)
    assert rejected == []
    assert {row["share_id"]: row for row in rows(result.shares)} == shares
    assert {row["backup_id"]: row for row in rows(result.backups)} == backups


# --- Pages that overlap, and what is left out


def test_a_share_on_two_pages_counts_as_it_was_told_last():
    first, last = make_share(1, to_project_id="early"), make_share(1, to_project_id="late")
    for read, order in itertools.product((normalize_pages, read_exactly), ([first, last], [last, first])):
        result = read([make_page(order[0], make_share(2)), make_page(order[1], make_share(3))])
        projects = {row["share_id"]: row["to_project_id"] for row in rows(result.shares)}
        assert projects[uuid(1, 10)] == order[1]["to_project_id"]
        assert len(result.shares) == 3


def test_a_share_twice_in_one_page_counts_as_it_was_told_last():
    result = normalize_pages([make_page(make_share(1, to_project_id="early"), make_share(1, to_project_id="late"))])
    assert [row["to_project_id"] for row in rows(result.shares)] == ["late"]
    assert result.conflict_count == 1


def test_the_backup_of_an_outdated_copy_of_a_share_is_outdated_too():
    first, last = make_share(1, changes={"name": "early"}), make_share(1, changes={"name": "late", "updated_at": None})
    result = normalize_pages([make_page(first), make_page(last)])
    assert [row["backup_name"] for row in rows(result.backups)] == ["late"]
    assert result.conflict_count == 1, "the share was told in two ways, the backup in one that counts"


@pytest.mark.parametrize("kind", [list, set, tuple, frozenset])
def test_excluded_ids_are_left_out_with_the_backups_that_only_they_tell_of(kind):
    pages = [make_page(make_share(1, backup=1), make_share(2, backup=2), make_share(3, backup=1))]
    result = normalize_pages(pages, kind([uuid(2, 10), uuid(3, 10), uuid(99, 10)]))
    assert [row["share_id"] for row in rows(result.shares)] == [uuid(1, 10)]
    assert [row["backup_id"] for row in rows(result.backups)] == [uuid(1, 11)]


@pytest.mark.parametrize("bad_first", [True, False])
def test_a_rejected_record_takes_its_share_out_also_where_another_page_told_it_well(bad_first):
    bad = make_share(1, backup=1, changes={"size": "twelve"})
    pages = [make_page(bad, make_share(2, backup=2)), make_page(make_share(1, backup=1), make_share(3, backup=2))]
    result = normalize_pages(pages if bad_first else pages[::-1])
    assert {row["share_id"] for row in rows(result.shares)} == {uuid(2, 10), uuid(3, 10)}
    assert {row["backup_id"] for row in rows(result.backups)} == {uuid(2, 11)}
    [rejection] = rows(result.rejected)
    assert (rejection["share_id"], rejection["page_number"]) == (uuid(1, 10), 0 if bad_first else 1)


def test_the_same_rejected_record_on_two_overlapping_pages_is_one_rejection():
    bad, other = make_share(1, changes={"size": "twelve"}), make_share(1, changes={"size": "thirteen"})
    result = normalize_pages([make_page(make_share(2), bad), make_page(bad, make_share(3)), make_page(other)])
    assert [(row["page_number"], row["position"]) for row in rows(result.rejected)] == [(0, 1), (2, 0)]


def test_a_rejected_record_whose_id_cannot_be_read_takes_nobody_out():
    bad = make_share(1) | {"id": uuid(1, 10).upper()}
    result = normalize_pages([make_page(make_share(1), bad, make_share(2))])
    assert [row["share_id"] for row in rows(result.shares)] == [uuid(1, 10), uuid(2, 10)]


# --- Backups that are told twice


def test_a_backup_that_is_shared_often_is_one_row_and_no_conflict():
    result = normalize_pages([make_page(*(make_share(number, backup=number % 3 + 1) for number in range(30)))])
    assert {row["backup_id"] for row in rows(result.backups)} == {uuid(1, 11), uuid(2, 11), uuid(3, 11)}
    assert (len(result.backups), result.conflict_count) == (3, 0)


def test_copies_of_a_backup_that_only_spell_it_otherwise_do_not_conflict():
    spellings = [
        {"has_dependent_backups": True, "service_metadata": '{"CS": 5, "BT": "2"}', "container": None},
        {"has_dependent_backup": True, "service_metadata": '{"BT": 2, "CS": "5"}', "unknown": 1},
        {
            "has_dependent_backup": True,
            "updated_at": "2017-08-08 04:03:35.109308Z",
            "service_metadata": ' {"CS":5,"BT":2}',
        },
    ]
    result = normalize_pages([make_page(*(make_share(n, changes=change) for n, change in enumerate(spellings)))])
    assert (len(result.backups), result.conflict_count) == (1, 0)


def test_of_a_backup_that_is_told_differently_the_newest_wins_in_whatever_order():
    copies = [
        make_share(1, changes={"name": "never", "updated_at": None}),
        make_share(2, changes={"name": "old", "updated_at": "2017-08-08T04:03:35"}),
        make_share(3, changes={"name": "new", "updated_at": "2017-08-08T04:03:35.000001"}),
        make_share(4, changes={"name": "old", "updated_at": "2017-08-08T04:03:35"}),
    ]
    calm = make_share(5, backup=2)
    for order in itertools.permutations(copies):
        for pages in ([make_page(*order, calm)], [make_page(order[0], calm), make_page(*order[1:])]):
            result = normalize_pages(pages)
            assert {row["backup_id"]: row["backup_name"] for row in rows(result.backups)} == {
                uuid(1, 11): "new",
                uuid(2, 11): "lbf",
            }
            assert (len(result.shares), result.conflict_count) == (5, 1)


def test_copies_that_differ_at_the_same_instant_have_one_winner_in_whatever_order():
    copies = [make_share(number, changes={"name": f"name {number}"}) for number in range(4)]
    winners = set()
    for order in itertools.permutations(copies):
        result = normalize_pages([make_page(*order)])
        [row] = rows(result.backups)
        winners.add((row["backup_name"], row["row_hash"]))
        assert result.conflict_count == 1
    assert len(winners) == 1


def test_conflicts_count_backups_and_not_copies():
    told = [(1, "a"), (1, "b"), (1, "c"), (2, "a"), (2, "b"), (3, "a"), (3, "a")]
    records = [make_share(n, backup=backup, changes={"name": name}) for n, (backup, name) in enumerate(told)]
    assert normalize_pages([make_page(*records)]).conflict_count == 2


# --- The fuzzer


@pytest.mark.parametrize("seed", range(12))
def test_a_mutated_record_is_read_or_rejected_and_its_neighbours_are_untouched(seed):
    rng = random.Random(seed)
    for _ in range(8):
        numbers = range(rng.randrange(20, 60))
        texts = []
        for number in numbers:
            record = sound_record(number, rng.choice)
            texts.append(spoil(record, rng.choice) if rng.random() < 0.25 else json.dumps(record))
        body = page(*texts)
        assert client_takes(body), seed
        result = normalize_pages([body])
        assert_as_expected(result, texts)
        assert_same(result, read_exactly([body]))
        # And one of them alone, so that no neighbour decides which reader has to take it.
        text = rng.choice(texts)
        assert_as_expected(normalize_pages([page(text)]), [text])


def client_takes(body: bytes) -> bool:
    """What client.py asks of a page before anything is normalized."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            document = json.loads(body.decode())
        except (ValueError, RecursionError):
            return False
    return isinstance(document, dict) and isinstance(document.get("shared"), list)


@pytest.mark.parametrize("seed", range(4))
def test_a_page_with_flipped_bytes_that_is_still_json_is_read_alike_by_both_readers(seed):
    rng = random.Random(seed)
    original = page(*(json.dumps(sound_record(number, rng.choice)) for number in range(3)))
    taken = 0
    while taken < 25:
        body = bytearray(original)
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(body))
            match rng.randrange(4):
                case 0:
                    body[place] ^= 1 << rng.randrange(7)
                case 1:
                    del body[place : place + rng.randint(1, 3)]
                case 2:
                    body[place:place] = rng.choice(
                        [b'"', b"\\", b"0", b",", b"null", b"{}", b"[", b"\\u0000", b"\xc3\xa9"]
                    )
                case 3:
                    start = rng.randrange(len(body))
                    body[place:place] = body[start : start + rng.randint(1, 40)]
        if client_takes(bytes(body)):
            taken += 1
            assert_same(normalize_pages([bytes(body)]), read_exactly([bytes(body)]))
