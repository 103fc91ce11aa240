"""The contract of one record, told to both readers: what is read, to what, and what is put into quarantine and why.

Not here: that both readers agree on everything (test_normalize.py), key material (test_redact.py).
"""

import json
from datetime import UTC, datetime, timedelta

import pytest

from pipelines import normalize
from pipelines.normalize import normalize_pages

SHARE_ID = "e842bf23-1e05-4c2c-b0f9-25222f4686da"
BACKUP_ID = "066b1e37-9305-4057-97e5-2e99b21fc71d"

BACKUP = {
    "availability_zone": "eu-de-01",
    "container": "c1",
    "created_at": "2017-08-08T04:03:27.456859",
    "data_timestamp": "2017-08-08T04:02:54.456859",
    "description": "before the upgrade",
    "fail_reason": "",
    "has_dependent_backups": False,
    "id": BACKUP_ID,
    "is_incremental": True,
    "name": "lbf",
    "object_count": 0,
    "size": 40,
    "snapshot_id": "s1",
    "status": "available",
    "updated_at": "2017-08-08T04:03:35.109308",
    "volume_id": "a7d7783f-02b7-4645-b0e3-61df63f0ba10",
    "service_metadata": '{"CS": 642}',
}
SHARE = {
    "backup": BACKUP,
    "backup_id": BACKUP_ID,
    "created_at": "2017-08-10T12:25:40.480424",
    "from_project_id": "c13f5220dc1949b0b741ea81a7cd5554",
    "id": SHARE_ID,
    "to_project_id": "722513ed0a324dadaabe5b2d0fe848b9",
    "updated_at": "2017-08-14T06:41:49.381069",
}

STRINGS = {
    "backup.volume_id": "volume_id",
    "backup.snapshot_id": "volume_snapshot_id",
    "backup.name": "backup_name",
    "backup.status": "backup_status",
    "backup.availability_zone": "availability_zone",
    "backup.container": "container",
    "backup.description": "description",
    "backup.fail_reason": "fail_reason",
}
INTEGERS = {"backup.size": "size_gb", "backup.object_count": "object_count"}
FLAGS = {"backup.is_incremental": "is_incremental", "backup.has_dependent_backups": "has_dependent_backups"}
TIMES = {
    "created_at": "share_created_at",
    "updated_at": "share_updated_at",
    "backup.created_at": "backup_created_at",
    "backup.updated_at": "backup_updated_at",
    "backup.data_timestamp": "data_timestamp",
}
IDS = ("id", "backup_id", "from_project_id", "to_project_id")

NO_STRING = ("1", "-1.5", "1e3", "0", "true", "false", "{}", '{"a": 1}', "[]", '["x"]', "[null]")
NO_INTEGER = ('"1"', '""', '"twelve"', "true", "false", "1.5", "1.0", "1e3", "1E400", "{}", "[]", "[1]")
BEYOND_64_BITS = (str(2**63), str(2**70), str(-(2**63) - 1), "9" * 30, "-" + "9" * 4000)
NO_FLAG = ("0", "1", '"true"', '"True"', '""', "1.5", "{}", "[]", "[true]")

WRONG = {
    **dict.fromkeys([*STRINGS, *TIMES, *IDS, "backup.id", "backup.service_metadata"], NO_STRING),
    **dict.fromkeys(INTEGERS, NO_INTEGER + BEYOND_64_BITS),
    **dict.fromkeys([*FLAGS, "backup.has_dependent_backup"], NO_FLAG),
    "backup": ("[]", '"x"', "5", "true", "[{}]", "1.5"),
}


@pytest.fixture(params=["either reader", "exact reader"])
def read(request, monkeypatch):
    if request.param == "exact reader":
        monkeypatch.setattr(normalize, "_read_typed", lambda *_: None)
    return lambda *pages: normalize_pages(pages)


@pytest.fixture(scope="module")
def thousand() -> list[str]:
    return [json.dumps(neighbour(number)) for number in range(1000)]


def neighbour(number: int) -> dict:
    """A sound record with ids of its own."""
    backup_id = f"00000000-0000-4000-8000-{number:012x}"
    return {
        **SHARE,
        "id": f"10000000-0000-4000-8000-{number:012x}",
        "backup_id": backup_id,
        "backup": {**BACKUP, "id": backup_id},
    }


def text_of(changes: dict[str, str], record: dict = SHARE) -> str:
    """The record as JSON text with the values at these paths replaced by JSON text, or added."""
    record = {**record, "backup": dict(record["backup"])}
    marks = {}
    for path, raw in changes.items():
        *above, key = path.split(".")
        (record["backup"] if above else record)[key] = mark = f"@mark {path}@"
        marks[json.dumps(mark)] = raw
    text = json.dumps(record)
    for mark, raw in marks.items():
        assert text.count(mark) == 1
        text = text.replace(mark, raw)
    return text


def without(*paths: str) -> str:
    record = {**SHARE, "backup": dict(BACKUP)}
    for path in paths:
        *above, key = path.split(".")
        (record["backup"] if above else record).pop(key)
    return json.dumps(record)


def page(*texts: str) -> bytes:
    return ('{"shared": [' + ", ".join(texts) + "]}").encode()


def rows(frame) -> list[dict]:
    columns = {name: frame[name].array.__arrow_array__().to_pylist() for name in frame.columns}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def only_rejection(result) -> dict:
    assert rows(result.shares) == []
    assert rows(result.backups) == []
    [rejection] = rows(result.rejected)
    return rejection


def only_share(result) -> dict:
    assert rows(result.rejected) == []
    [row] = rows(result.shares)
    return row


def only_backup(result) -> dict:
    assert rows(result.rejected) == []
    [row] = rows(result.backups)
    return row


# --- Types


@pytest.mark.parametrize("field", WRONG)
def test_a_value_of_the_wrong_type_quarantines_its_record_and_no_other(field):
    good = [neighbour(1), neighbour(2)]
    for value in WRONG[field]:
        bad = text_of({field: value})
        result = normalize_pages([page(json.dumps(good[0]), bad, json.dumps(good[1]))])
        assert [row["share_id"] for row in rows(result.shares)] == [record["id"] for record in good], value
        assert [row["backup_id"] for row in rows(result.backups)] == [record["backup_id"] for record in good], value
        [rejection] = rows(result.rejected)
        reason = rejection.pop("reason")
        assert reason.startswith(f"{field} is "), (value, reason)
        assert rejection == {
            "page_number": 0,
            "position": 1,
            "share_id": None if field == "id" else SHARE_ID,
            "backup_id": None if field == "backup_id" else BACKUP_ID,
            "raw_json": bad,
        }, value


@pytest.mark.parametrize(("number", "field"), [*enumerate(WRONG)])
def test_one_bad_record_among_a_thousand_costs_one_record(thousand, number, field):
    value = WRONG[field][number % len(WRONG[field])]
    position = (0, 500, 999)[number % 3]
    texts = list(thousand)
    texts[position] = text_of({field: value})
    result = normalize_pages([page(json.dumps(neighbour(5000))), page(*texts)])
    assert len(result.shares) == len(result.backups) == 1000
    assert SHARE_ID not in set(result.shares["share_id"])
    [rejection] = rows(result.rejected)
    assert (rejection["page_number"], rejection["position"]) == (1, position)
    assert rejection["reason"].startswith(f"{field} is ")
    assert rejection["raw_json"] == texts[position]


@pytest.mark.parametrize("field", INTEGERS)
@pytest.mark.parametrize("value", [0, 1, -1, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)])
def test_whole_numbers_are_exact_to_64_bits(read, field, value):
    # A neighbour with null must not turn the column into floats.
    null = json.dumps({**neighbour(1), "backup": {**neighbour(1)["backup"], field.removeprefix("backup."): None}})
    result = read(page(text_of({field: str(value)}), null))
    assert [row[INTEGERS[field]] for row in rows(result.backups)] == [value, None]
    assert str(result.backups[INTEGERS[field]].dtype) == "int64[pyarrow]"


@pytest.mark.parametrize("value", ["-0", "0"])
def test_minus_zero_is_zero(read, value):
    assert only_backup(read(page(text_of({"backup.size": value}))))["size_gb"] == 0


@pytest.mark.parametrize("field", [*STRINGS, *INTEGERS, *FLAGS])
@pytest.mark.parametrize("how", ["null", "missing"])
def test_an_optional_field_may_be_null_or_missing(read, field, how):
    text = text_of({field: "null"}) if how == "null" else without(field)
    column = {**STRINGS, **INTEGERS, **FLAGS}[field]
    assert only_backup(read(page(text)))[column] is None


def test_the_sparsest_sound_record_has_only_its_ids(read):
    text = json.dumps({**{key: SHARE[key] for key in IDS}, "backup": {"id": BACKUP_ID}})
    result = read(page(text))
    share, backup = only_share(result), only_backup(result)
    assert {name: value for name, value in share.items() if value is not None and name != "row_hash"} == {
        "share_id": SHARE_ID,
        "backup_id": BACKUP_ID,
        "from_project_id": "c13f5220dc1949b0b741ea81a7cd5554",
        "to_project_id": "722513ed0a324dadaabe5b2d0fe848b9",
    }
    assert {name for name, value in backup.items() if value is not None} == {"backup_id", "row_hash"}


def test_raw_json_of_a_rejected_record_is_what_was_received_byte_for_byte(read):
    bad = '{ "size":1,\t"id" : "nonsense"  ,\r\n "n\\u0061me":"caf\\u00e9 é 😀 \\/", "x": [1e3 , -0.10] }'
    rejection = only_rejection(read(page(bad)))
    assert rejection["raw_json"] == bad
    assert rejection["reason"] == "id is nonsense, which is not an id"


# --- Times

T = datetime(2017, 8, 8, 4, 3, 27, tzinfo=UTC)
GOOD_TIMES = {
    "2017-08-08T04:03:27": T,
    "2017-08-08 04:03:27": T,
    "2017-08-08T04:03:27.5": T.replace(microsecond=500000),
    "2017-08-08 04:03:27.12345": T.replace(microsecond=123450),
    "2017-08-08T04:03:27.000000": T,
    "2017-08-08T04:03:27.456859": T.replace(microsecond=456859),
    "2017-08-08T04:03:27.123Z": T.replace(microsecond=123000),
    "2017-08-08T04:03:27Z": T,
    "2017-08-08T04:03:27.123+00:00": T.replace(microsecond=123000),
    "2017-08-08T04:03:27+02:00": T - timedelta(hours=2),
    "2017-08-08 04:03:27.000001-05:30": T + timedelta(hours=5, minutes=30, microseconds=1),
    "2016-02-29T00:00:00": datetime(2016, 2, 29, tzinfo=UTC),
    "1969-12-31T23:59:59.999999": datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    "1677-01-01T00:00:00": datetime(1677, 1, 1, tzinfo=UTC),
    "0001-01-01T00:00:00": datetime(1, 1, 1, tzinfo=UTC),
    "9999-12-31T23:59:59.999999": datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
}
BAD_TIMES = [
    "2017-13-08T04:03:27",
    "2017-00-08T04:03:27",
    "2017-02-29T04:03:27",
    "1900-02-29T04:03:27",
    "2017-08-32T04:03:27",
    "2017-08-08T04:03:60",
    "2017-08-08T04:60:27",
    "2017-08-08T24:00:00",
    "0000-01-01T00:00:00",
    "20170808",
    "20170808T040327",
    "20170808T040327000000",
    "2017-08-08",
    "2017-08-08T04",
    "2017-08-08T04:03",
    "2017-08-08T04:03+00:00",
    "2017-08-08T04:03:27.",
    "2017-08-08T04:03:27.1234567",
    "2017-08-08T04:03:27.1234567890",
    "2017-08-08T04:03:27.000000000",
    "2017-08-08T04:03:27,5",
    " 2017-08-08T04:03:27",
    "2017-08-08T04:03:27 ",
    "2017-08-08T04:03:27\n",
    "2017-08-08t04:03:27",
    "2017-08-08T04:03:27z",
    "2017-08-08T04:03:27 Z",
    "2017-08-08T04:03:27+01",
    "2017-08-08T04:03:27+0100",
    "2017-08-08T04:03:27+24:00",
    "2017-08-08T04:03:27+00:60",
    "2017-08-08T04:03:27+01:00:00",
    "2017-08-08  04:03:27",
    "10000-01-01T00:00:00",
    "-0001-01-01T00:00:00",
    "+2017-08-08T04:03:27",
    "0001-01-01T00:00:00+00:01",
    "9999-12-31T23:59:59-00:01",
    "٢٠١٧-08-08T04:03:27",
    "2017-08-08T04:03:2７",
    "1502165007",
    "infinity",
    "now",
    "null",
    " ",
    "x" * 10_000,
]


@pytest.mark.parametrize(("text", "instant"), GOOD_TIMES.items())
def test_a_time_in_a_known_shape_is_read_exactly_and_is_utc(read, text, instant):
    row = only_share(read(page(text_of({"created_at": json.dumps(text)}))))
    assert row["share_created_at"] == instant
    assert row["share_created_at"].utcoffset() == timedelta(0)


@pytest.mark.parametrize("text", BAD_TIMES)
def test_what_is_no_time_is_not_repaired(text):
    rejection = only_rejection(normalize_pages([page(text_of({"created_at": json.dumps(text)}))]))
    assert rejection["reason"].startswith("created_at is ")
    assert rejection["reason"].endswith(", which is not a time")
    assert len(rejection["reason"]) < 200
    assert rejection["share_id"] == SHARE_ID


@pytest.mark.parametrize("field", TIMES)
@pytest.mark.parametrize("value", ['""', "null", None])
def test_an_empty_or_missing_time_is_null_in_every_field(read, field, value):
    result = read(page(without(field) if value is None else text_of({field: value})))
    assert {**only_share(result), **only_backup(result)}[TIMES[field]] is None


@pytest.mark.parametrize("field", TIMES)
def test_every_time_field_is_held_to_the_same_rules(read, field):
    good = read(page(text_of({field: '"1677-01-01 00:00:00.1+01:00"'})))
    instant = {**only_share(good), **only_backup(good)}[TIMES[field]]
    assert instant == datetime(1676, 12, 31, 23, 0, 0, 100000, tzinfo=UTC)
    bad = only_rejection(read(page(text_of({field: '"2017-08-08T04:03:60"'}))))
    assert bad["reason"] == f"{field} is 2017-08-08T04:03:60, which is not a time"


def test_times_of_many_shapes_stand_together_in_one_page(read):
    texts = [
        json.dumps({**neighbour(number), "created_at": text, "updated_at": None if number % 2 else ""})
        for number, text in enumerate(GOOD_TIMES)
    ]
    result = read(page(*texts))
    assert [row["share_created_at"] for row in rows(result.shares)] == list(GOOD_TIMES.values())
    assert {row["share_updated_at"] for row in rows(result.shares)} == {None}


# --- The dependency flag and the nested backup

SPELLINGS = ("backup.has_dependent_backup", "backup.has_dependent_backups")


@pytest.mark.parametrize(
    ("singular", "plural", "expected"),
    [
        (None, None, None),
        ("null", None, None),
        (None, "null", None),
        ("null", "null", None),
        ("true", None, True),
        ("false", None, False),
        (None, "true", True),
        (None, "false", False),
        ("true", "null", True),
        ("null", "false", False),
        ("true", "true", True),
        ("false", "false", False),
    ],
)
def test_the_dependency_flag_is_read_in_either_spelling(read, singular, plural, expected):
    changes = {path: raw for path, raw in zip(SPELLINGS, (singular, plural), strict=True) if raw is not None}
    record = {**SHARE, "backup": {key: value for key, value in BACKUP.items() if key != "has_dependent_backups"}}
    assert only_backup(read(page(text_of(changes, record))))["has_dependent_backups"] is expected


@pytest.mark.parametrize("values", [("true", "false"), ("false", "true")])
def test_a_dependency_flag_that_contradicts_itself_is_quarantined(read, values):
    rejection = only_rejection(read(page(text_of(dict(zip(SPELLINGS, values, strict=True))))))
    assert rejection["reason"] == "has_dependent_backup and has_dependent_backups contradict each other"


@pytest.mark.parametrize("nested", [f'"{SHARE_ID}"', "null", '""', f'"{BACKUP_ID.upper()}"', f'"{BACKUP_ID} "'])
def test_a_nested_backup_with_another_id_is_quarantined(nested):
    rejection = only_rejection(normalize_pages([page(text_of({"backup.id": nested}))]))
    assert rejection["reason"] == "backup.id is not the backup_id of the share"
    assert (rejection["share_id"], rejection["backup_id"]) == (SHARE_ID, BACKUP_ID)


def test_the_nested_id_never_overwrites_the_ids_of_the_share(read):
    # Flattened with "_" the nested `id` would become `backup_id`, and `backup.created_at` `backup_created_at`.
    extra = {"backup_created_at": '"1999-01-01T00:00:00"', "backup.backup_id": f'"{SHARE_ID}"', "share_id": '"x"'}
    result = read(page(text_of(extra)))
    assert only_share(result)["share_id"] == SHARE_ID
    assert only_share(result)["backup_id"] == BACKUP_ID
    assert only_backup(result)["backup_id"] == BACKUP_ID
    assert only_backup(result)["backup_created_at"] == datetime(2017, 8, 8, 4, 3, 27, 456859, tzinfo=UTC)


@pytest.mark.parametrize("text", [text_of({"backup": "null"}), without("backup")], ids=["null", "missing"])
def test_a_share_without_its_backup_is_kept_alone(read, text):
    result = read(page(json.dumps(neighbour(1)), text))
    assert [row["share_id"] for row in rows(result.shares)] == [neighbour(1)["id"], SHARE_ID]
    assert [row["backup_id"] for row in rows(result.backups)] == [neighbour(1)["backup_id"]]
    assert rows(result.rejected) == []


def test_an_empty_backup_is_quarantined(read):
    rejection = only_rejection(read(page(text_of({"backup": "{}"}))))
    assert rejection["reason"] == "backup.id is not the backup_id of the share"


# --- Whole records and pages


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("null", "null"),
        ('"x"', '"x", a string'),
        ("[]", "[], a list"),
        ("3", "3, a number"),
        ("1.5", "1.5, a number"),
        ("true", "true, a boolean"),
    ],
)
def test_a_record_that_is_no_object_is_quarantined(read, text, found):
    result = read(page(json.dumps(neighbour(1)), text, json.dumps(neighbour(2))))
    assert [row["share_id"] for row in rows(result.shares)] == [neighbour(1)["id"], neighbour(2)["id"]]
    assert rows(result.rejected) == [
        {
            "page_number": 0,
            "position": 1,
            "share_id": None,
            "backup_id": None,
            "reason": f"the record is {found} where an object was expected",
            "raw_json": text,
        }
    ]


def test_ids_are_not_taken_from_an_object_inside_a_record_that_is_a_list(read):
    rejection = only_rejection(read(page(f"[{json.dumps(SHARE)}]")))
    assert (rejection["share_id"], rejection["backup_id"]) == (None, None)


def test_ids_are_not_taken_from_the_nested_backup(read):
    record = {"backup": {**BACKUP, "backup_id": BACKUP_ID}}
    rejection = only_rejection(read(page(json.dumps(record))))
    assert (rejection["share_id"], rejection["backup_id"]) == (None, None)


@pytest.mark.parametrize("field", IDS)
@pytest.mark.parametrize("how", ["null", "missing"])
def test_a_record_without_one_of_its_ids_is_quarantined(read, field, how):
    rejection = only_rejection(read(page(text_of({field: "null"}) if how == "null" else without(field))))
    assert rejection["reason"] == f"{field} is missing"
    assert rejection["share_id"] == (None if field == "id" else SHARE_ID)


BAD_IDS = [
    "",
    " ",
    "x",
    "a" * 10_000,
    SHARE_ID.upper(),
    SHARE_ID[:-1] + "A",
    SHARE_ID + " ",
    " " + SHARE_ID,
    SHARE_ID + "\n",
    SHARE_ID + "\0",
    SHARE_ID.replace("-", ""),
    "{" + SHARE_ID + "}",
    SHARE_ID[:-1],
    SHARE_ID + "0",
    SHARE_ID[:-1] + "g",
    SHARE_ID[:-1] + "０",
    "\ud800",
]


@pytest.mark.parametrize("value", BAD_IDS)
def test_an_id_that_is_no_lower_case_uuid_cannot_name_a_share(value):
    rejection = only_rejection(normalize_pages([page(text_of({"id": json.dumps(value)}))]))
    assert rejection["share_id"] is None
    assert rejection["backup_id"] == BACKUP_ID
    assert rejection["reason"].startswith("id is ")
    assert len(rejection["reason"]) < 200
    assert rejection["raw_json"] == text_of({"id": json.dumps(value)})


@pytest.mark.parametrize("value", BAD_IDS)
def test_an_id_that_is_no_lower_case_uuid_cannot_name_a_backup(value):
    raw = json.dumps(value)
    rejection = only_rejection(normalize_pages([page(text_of({"backup_id": raw, "backup.id": raw}))]))
    assert (rejection["share_id"], rejection["backup_id"]) == (SHARE_ID, None)


@pytest.mark.parametrize("field", ["from_project_id", "to_project_id"])
@pytest.mark.parametrize("value", ["", " ", "a b", "a" * 65, "a\n", "ａ", "a/b", "a\0"])
def test_a_project_id_that_is_none_is_quarantined(field, value):
    rejection = only_rejection(normalize_pages([page(text_of({field: json.dumps(value)}))]))
    assert rejection["reason"].startswith(f"{field} is ")


@pytest.mark.parametrize("value", ["7", "A_b-c", "a" * 64, "722513ed-0a32-4dad-aabe-5b2d0fe848b9"])
def test_project_ids_of_other_tenants_may_look_otherwise(read, value):
    assert only_share(read(page(text_of({"to_project_id": json.dumps(value)}))))["to_project_id"] == value


@pytest.mark.parametrize(
    "field", [*IDS, "created_at", "backup", "backup.id", "backup.size", "backup.name", SPELLINGS[0]]
)
@pytest.mark.parametrize("alike", [True, False])
def test_a_record_that_says_a_thing_twice_is_quarantined(field, alike):
    *above, key = field.split(".")
    first = json.dumps((BACKUP if above else SHARE).get(key))
    pair = f'"{key}": {first if alike else "null"}'
    text = text_of({SPELLINGS[0]: "null"})
    text = text.replace('"backup": {', '"backup": {' + pair + ", ") if above else "{" + pair + ", " + text[1:]
    rejection = only_rejection(normalize_pages([page(text)]))
    assert rejection["reason"].startswith(f"{field} is given twice")
    assert rejection["share_id"] == (None if field == "id" else SHARE_ID)
    assert rejection["backup_id"] == (None if field == "backup_id" else BACKUP_ID)


def test_a_key_that_is_twice_there_only_by_escapes_is_still_twice(read):
    text = '{"\\u0069d": "x", ' + json.dumps(SHARE)[1:]
    assert only_rejection(read(page(text)))["reason"].startswith("id is given twice")


@pytest.mark.parametrize(
    "extra",
    [
        {"tags": '["a", {"b": null}]', "backup.links": "[[], {}]"},
        {f"unknown_{number}": str(number) for number in range(1000)},
        {f"backup.unknown_{number}": '"x"' for number in range(1000)},
        {"k" * 100_000: "null"},
        {"x": '{"id": 1, "id": 2, "backup": {"id": 5}}'},
        {"x": '[{"a": 1, "a": 2}]', "backup.y": '{"size": "big"}'},
        {"x": "9" * 4000, "backup.y": "-" + "9" * 40},
        {"x": "1e999", "y": "-0.0"},
        {"x": '"\\ud800 \\u0000"'},
        {"deleted": "false", "deleted_at": "null", "ID": "7", "Id": "null"},
        {"x": "[" * 200 + "]" * 200, "backup.x": '{"a":' * 200 + "1" + "}" * 200},
    ],
    ids=[
        "both levels",
        "many",
        "many nested",
        "long key",
        "doubled inside",
        "doubled",
        "digits",
        "inf",
        "text",
        "case",
        "deep",
    ],
)
def test_fields_that_nobody_knows_change_nothing(read, extra):
    plain, more = read(page(json.dumps(SHARE))), read(page(text_of(extra)))
    assert rows(more.rejected) == []
    assert rows(more.shares) == rows(plain.shares)
    assert rows(more.backups) == rows(plain.backups)


def test_an_unknown_field_given_twice_changes_nothing(read):
    text = '{"x": 1, "x": 2, ' + json.dumps(SHARE)[1:]
    assert only_share(read(page(text)))["share_id"] == SHARE_ID


def test_a_record_nested_deeper_than_python_reads_costs_one_record_at_most(read):
    # 1,015 is about as deep as the client lets pass.
    deep = text_of({"x": "[" * 1015 + "]" * 1015})
    wrong = json.dumps({**neighbour(2), "created_at": 1})
    result = read(page(json.dumps(neighbour(1)), deep, wrong))
    assert neighbour(1)["id"] in set(result.shares["share_id"])
    assert {row["position"]: row["reason"] for row in rows(result.rejected)} == {
        1: "the record is nested too deep",
        2: "created_at is 1, a number where a string was expected",
    }


@pytest.mark.parametrize(
    "body",
    [
        b'{"shared": []}',
        b'{"shared":[]}\n',
        b' \t\r\n{ "shared" : [ ] } ',
        b'{"count": 0, "shared": [], "shared_links": []}',
    ],
)
def test_a_page_without_records_gives_empty_frames_of_the_same_types(read, body):
    empty, full = read(body), read(page(json.dumps(SHARE)))
    for name in ("shares", "backups", "rejected"):
        assert len(getattr(empty, name)) == 0
        assert list(getattr(empty, name).dtypes.items()) == list(getattr(full, name).dtypes.items())


@pytest.mark.parametrize("blank", ["", " ", "\n", "\r", "\r\n", "\t", " \n\t\r "])
def test_blanks_between_the_signs_of_json_do_not_matter(read, blank):
    record = json.dumps(SHARE, separators=(f"{blank},{blank}", f"{blank}:{blank}"))
    body = blank.join(["", "{", '"shared"', ":", "[", record, ",", json.dumps(neighbour(1)), "]", "}", ""])
    assert [row["share_id"] for row in rows(read(body.encode()).shares)] == [SHARE_ID, neighbour(1)["id"]]


def test_other_keys_beside_the_list_are_passed_over(read):
    before, after = '{"a": {"shared": [1]}, "b": "]}\\"", "sh\\u0061red": [', '], "c": [[{"shared": 2}], "{"]}'
    body = before + json.dumps(SHARE) + after
    assert only_share(read(body.encode()))["share_id"] == SHARE_ID


@pytest.mark.parametrize("first", ["[]", "null", "5", "{}", f"[{json.dumps(neighbour(1))}]"])
def test_of_two_lists_in_one_page_the_last_counts_as_it_does_for_the_client(read, first):
    body = f'{{"shared": {first}, "shared": [{json.dumps(SHARE)}]}}'
    assert [record["id"] for record in json.loads(body)["shared"]] == [SHARE_ID]
    assert only_share(read(body.encode()))["share_id"] == SHARE_ID


# --- Text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ('"a\\u0000b"', "a\u2400b"),
        ('"\\u0000"', "\u2400"),
        ('"\\\\u0000"', "\\u0000"),
        ('"a\\ud800b"', "a\ufffdb"),
        ('"\\udc00\\ud800"', "\ufffd\ufffd"),
        ('"\\udfff\\u0000"', "\ufffd\u2400"),
        ('"\\ud83d\\ude00"', "😀"),
        ('"😀"', "😀"),
        ('"\\u20ac\\/\\b\\f\\n\\r\\t\\"\\\\"', '€/\b\f\n\r\t"\\'),
        ('"\\u202e\\u001b[2J\\u2028\\ufeff"', "\u202e\x1b[2J\u2028\ufeff"),
        ('""', ""),
        ('"  padded  "', "  padded  "),
        ('"null"', "null"),
        ('"NaN"', "NaN"),
    ],
)
def test_text_is_kept_but_for_what_no_engine_can_store(read, raw, text):
    row = only_backup(read(page(text_of(dict.fromkeys(STRINGS, raw)))))
    assert {name: row[name] for name in STRINGS.values()} == dict.fromkeys(STRINGS.values(), text)


def test_a_very_long_text_is_kept_whole(read):
    long = "é" * 1_000_000
    assert only_backup(read(page(text_of({"backup.fail_reason": json.dumps(long)}))))["fail_reason"] == long


def test_a_reason_holds_no_control_signs(read):
    rejection = only_rejection(read(page(text_of({"id": '"\\u001b[2J\\u202e"'}))))
    assert rejection["reason"] == "id is \\x1b[2J\\u202e, which is not an id"


# --- The description


@pytest.mark.parametrize(
    ("description", "text", "requested"),
    [
        (None, None, None),
        ("", "", None),
        ("monthly close", "monthly close", None),
        ('{"DESC": "monthly", "INC": 1}', "monthly", True),
        ('{"DESC":"","INC":0}', "", False),
        ('  {"DESC": "padded", "INC": 1}  ', "padded", True),
        ('{"ST": 0, "INC": 1}', None, True),
        ('{"DESC": "only text"}', "only text", None),
        ('{"DESC": null, "INC": 0}', None, False),
        ('{"DESC": 5, "INC": "1"}', None, None),
        ('{"DESC": "x", "INC": 2}', "x", None),
        ('{"DESC": "x", "INC": [1]}', "x", None),
        ('{"DESC": "caf\\u00e9 \\u0000"}', "café \u2400", None),
        ('{"other": "json"}', '{"other": "json"}', None),
        ("{}", "{}", None),
        ('["DESC"]', '["DESC"]', None),
        ('{"DESC": "cut', '{"DESC": "cut', None),
        ('"DESC"', '"DESC"', None),
        ("null", "null", None),
        ("12", "12", None),
    ],
)
def test_the_description_is_kept_as_received_and_read_where_it_is_json(read, description, text, requested):
    row = only_backup(read(page(text_of({"backup.description": json.dumps(description)}))))
    assert row["description"] == description
    assert row["description_text"] == text
    assert row["is_incremental_requested"] is requested


# --- service_metadata

METADATA = {
    "CS": "chain_size_mb",
    "SS": "space_saving_percent",
    "DL": "dedup_compression_code",
    "Type": "backup_type_code",
    "ST": "image_type_code",
    "BT": "storage_type_code",
    "bootable": "is_bootable",
}
REAL_METADATA = (
    '  {"DL": 2, "VK": "", "CMKID": "", "bootable": true, "BP": "obs.example.com:443:vbs", "ST": 0, "BT": "2", '
    '"SS": 90, "progress": "0", "CS": 642, "AT": 1.2, "Type": 1, "SNAPSHOTSIZE": "12"}  '
)


def metadata_of(result) -> dict:
    row = only_backup(result)
    return {key: row[column] for key, column in METADATA.items()}


def test_the_allowed_keys_of_the_metadata_become_columns(read):
    found = metadata_of(read(page(text_of({"backup.service_metadata": json.dumps(REAL_METADATA)}))))
    assert found == {"CS": 642, "SS": 90, "DL": 2, "Type": 1, "ST": 0, "BT": 2, "bootable": True}


def test_nothing_else_of_the_metadata_reaches_the_frames(read):
    result = read(page(text_of({"backup.service_metadata": json.dumps(REAL_METADATA)})))
    assert "obs.example.com" not in str(rows(result.backups))
    assert "service_metadata" not in result.backups.columns


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "null",
        "not JSON",
        "[]",
        '["CS"]',
        '"CS"',
        "5",
        "{}",
        '{"CS": 1',
        '{"CS": 1} x',
        "{'CS': 1}",
        '{"cs": 1}',
        "\ufeff{}",
        '{"CS": NaN}',
        "{" * 5000,
        '{"x": {"CS": 1}}',
        None,
    ],
)
def test_metadata_that_says_nothing_readable_is_null(read, text):
    found = metadata_of(read(page(text_of({"backup.service_metadata": json.dumps(text)}))))
    assert set(found.values()) == {None}


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        ("0", 0),
        ("-5", -5),
        ('"2"', 2),
        ('" 007 "', 7),
        ('"999999999999999999"', 10**18 - 1),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", None),
        ("18446744073709551616", None),
        ("-9223372036854775809", None),
        ("9" * 40, None),
        ('"9999999999999999999"', None),
        ('"' + "1" * 5000 + '"', None),
        ('"-5"', None),
        ('"1.5"', None),
        ('"1e3"', None),
        ('"٢"', None),
        ('"²"', None),
        ('""', None),
        ('"x"', None),
        ("1.5", None),
        ("2.0", None),
        ("true", None),
        ("false", None),
        ("null", None),
        ("[2]", None),
        ('{"a": 2}', None),
    ],
)
def test_a_number_of_the_metadata_is_a_whole_number_or_its_digits_else_null(read, raw, number):
    keys = [key for key in METADATA if key != "bootable"]
    text = "{" + "".join(f'"{key}": {raw}, ' for key in keys) + '"bootable": false, "VT": "pool1"}'
    # The neighbour must keep its numbers whatever this backup says.
    sevens = json.dumps(json.dumps(dict.fromkeys(keys, 7)))
    other = text_of({"backup.service_metadata": sevens}, neighbour(1))
    result = read(page(text_of({"backup.service_metadata": json.dumps(text)}), other))
    first, second = rows(result.backups)
    assert {(first[METADATA[key]], second[METADATA[key]]) for key in keys} == {(number, 7)}
    assert first["is_bootable"] is False
    assert {str(result.backups[METADATA[key]].dtype) for key in keys} == {"int64[pyarrow]"}


@pytest.mark.parametrize(
    ("raw", "flag"), [("true", True), ("false", False), ("null", None), ("1", None), ('"true"', None)]
)
def test_bootable_is_true_false_or_unknown(read, raw, flag):
    text = f'{{"bootable": {raw}}}'
    assert metadata_of(read(page(text_of({"backup.service_metadata": json.dumps(text)}))))["bootable"] is flag


def test_metadata_that_is_an_object_and_not_text_is_quarantined(read):
    rejection = only_rejection(read(page(text_of({"backup.service_metadata": '{"CS": 1}'}))))
    assert rejection["reason"] == 'backup.service_metadata is {"CS": 1}, an object where a string was expected'
