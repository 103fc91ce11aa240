"""What the API says that is not known: kept, counted, shown, never fatal; and what is in quarantine comes back.

Not here: the rules for one record (test_records.py), the difference that a sync reads otherwise (test_load.py).
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import drift, records
from pipelines.load import read_staged, stage
from pipelines.normalize import normalize_pages
from pipelines.publish import reading, writing
from pipelines.rebuild import rebuild, verify
from pipelines.retention import prune
from pipelines.schema import backup_history, report
from tests.crash import House
from tests.oracle import (
    B1,
    B2,
    B3,
    IN,
    S1,
    S2,
    S3,
    day,
    land,
    make_backup,
    make_id,
    make_observation,
    make_page,
    make_share,
    rows,
)

SPEC_EXAMPLE = (Path(__file__).parent / "data" / "spec_example.json").read_bytes()
STATUSES_OF_VBS = ("available", "error", "restoring", "creating", "deleting", "error_deleting", "error_restoring")
"""Of its pages, the old and the current ones (api-facts 4.7)."""
DOCUMENTED = {
    "DL": 2,
    "VK": "",
    "CMKID": "",
    "bootable": True,
    "backupurl": "an image",
    "SP": "a/b/c",
    "BP": "a bucket",
    "VMID": "a machine",
    "ST": 0,
    "BT": "2",
    "SS": 90,
    "progress": "0",
    "CS": 642,
    "VT": "pool1",
    "OMID": "a host",
    "Type": 1,
    "ebk_T_I": "a job",
    "AT": 1.2,
    "B_ID": "a host",
    "SNAPSHOTSIZE": "1",
    "BackupSize": 1,
    "snap_id": "a snapshot",
}
"""The union of the keys of service_metadata in api-facts 4.5."""


def nested(share_id: str = S1, backup_id: str = B1, **changes: Any) -> dict[str, Any]:
    """A share whose nested backup has these fields besides, or instead."""
    return make_share(share_id, backup_id, backup=make_backup(backup_id, **changes))


def with_metadata(share_id: str = S1, backup_id: str = B1, **keys: Any) -> dict[str, Any]:
    return nested(share_id, backup_id, service_metadata=json.dumps(DOCUMENTED | keys))


def drift_of(*pages: bytes) -> list[tuple[Any, ...]]:
    frame = normalize_pages(pages).drift
    names = ("kind", "path", "value", "record_count", "example", "share_id")
    assert tuple(frame.columns) == names
    return list(frame.astype(object).where(frame.notna(), None).itertuples(index=False, name=None))


def field(path: str, count: int = 1, example: str = "1", share_id: str | None = S1) -> tuple[Any, ...]:
    return ("unknown_field", path, "", count, example, share_id)


def value(path: str, text: str, count: int = 1, share_id: str | None = S1) -> tuple[Any, ...]:
    return ("unknown_value", path, text, count, "", share_id)


# --- what is unknown --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "page",
    [
        SPEC_EXAMPLE,
        make_page(),
        make_page(make_share(S1, B1), make_share(S2, B2, backup=None)),
        make_page(with_metadata(), nested(S2, B2, service_metadata=None), nested(S3, B3, service_metadata="no JSON")),
        make_page(nested(has_dependent_backup=True), nested(S2, B2, has_dependent_backups=False)),
        *(
            make_page(nested(status=status))
            for status in (
                *("available", "error", "restoring", "creating", "deleting"),
                "error_deleting",
                "error_restoring",
            )
        ),
        make_page(nested(status=None)),
        # Documented fields that are missing: that happens (api-facts 4.1).
        make_page({name: make_share(S1, B1)[name] for name in ("id", "backup_id", "from_project_id", "to_project_id")}),
        # What people write is not the service's format.
        make_page(nested(description='{"DESC": "text", "INC": 1, "more": 1}')),
    ],
)
def test_what_is_documented_is_no_drift(page):
    assert drift_of(page) == []


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (make_page(make_share(S1, B1))[:-1] + b', "shared_links": [1]}', field("shared_links", 1, "[1]", None)),
        (make_page(make_share(S1, B1, more=1)), field("shared[].more")),
        (make_page(nested(more=None)), field("shared[].backup.more", 1, "null")),
        (make_page(nested(**{"os-bak-tenant-attr:tenant_id": "a b"})), field(
            "shared[].backup.os-bak-tenant-attr:tenant_id", 1, '"a b"'
        )),
        (make_page(with_metadata(more=True)), field("shared[].backup.service_metadata.more", 1, "true")),
        (make_page(nested(status="protecting")), value("shared[].backup.status", "protecting")),
        (make_page(nested(status="Available")), value("shared[].backup.status", "Available")),
        (make_page(nested(status="")), value("shared[].backup.status", "")),
        (make_page(with_metadata(DL=4)), value("shared[].backup.service_metadata.DL", "4")),
        (make_page(with_metadata(ST="2")), value("shared[].backup.service_metadata.ST", "2")),
        (make_page(with_metadata(Type=2)), value("shared[].backup.service_metadata.Type", "2")),
    ],
)  # fmt: skip
def test_what_is_unknown_is_named_wherever_it_stands(page, expected):
    assert drift_of(page) == [expected]
    found = normalize_pages([page])
    assert (len(found.shares), len(found.backups), len(found.rejected)) == (1, 1, 0)


def test_an_unknown_status_is_kept_as_a_value():
    found = normalize_pages([make_page(nested(status="protecting"), nested(S2, B2))])
    assert found.backups["backup_status"].tolist() == ["protecting", "available"]


def test_a_documented_field_under_another_name_is_a_field_that_is_not_known_and_a_value_less():
    backup = make_backup(B1)
    backup["state"] = backup.pop("status")
    found = normalize_pages([make_page(make_share(S1, B1, backup=backup))])
    assert drift_of(make_page(make_share(S1, B1, backup=backup))) == [field("shared[].backup.state", 1, '"available"')]
    assert found.backups["backup_status"].isna().all()


def test_a_record_counts_once_for_each_thing_in_it_however_many_pages_show_it():
    one, two = make_share(S1, B1, more=1), make_share(S2, B1, more=2, extra=3)
    assert drift_of(make_page(one, two), make_page(two), make_page(make_share(S3, B2))) == [
        field("shared[].extra", 1, "3", S2),
        field("shared[].more", 2, "2", S2),
    ]


def test_shares_of_one_backup_count_each():
    page = make_page(*(with_metadata(share_id, B1, more=1) for share_id in (S1, S2, S3)))
    assert drift_of(page) == [field("shared[].backup.service_metadata.more", 3, "1", S3)]


def test_a_share_counts_as_it_was_told_last():
    before, after = nested(status="protecting"), nested(status="waiting")
    assert drift_of(make_page(before), make_page(after)) == [value("shared[].backup.status", "waiting")]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_drift_on_one_page_is_met_whichever_it_is(place):
    pages = [make_page(make_share(S2, B2)), make_page(make_share(S3, B2)), make_page()]
    pages[place] = make_page(make_share(S1, B1, more=1), make_share(make_id("5", 9), B1))
    assert drift_of(*pages) == [field("shared[].more")]


@pytest.mark.parametrize(
    "bad",
    ["42", make_share(S3, B3, created_at="yesterday"), make_share(S3, B3, from_project_id="\ud800")],
    ids=["no record", "no time", "a lone surrogate"],
)
def test_a_record_that_cannot_be_read_hides_no_drift_of_others(bad):
    page = make_page(make_share(S1, B1, more=1), bad, nested(S2, B2, status="protecting"))
    assert drift_of(page) == [field("shared[].more"), value("shared[].backup.status", "protecting", 1, S2)]


def test_a_record_that_cannot_be_read_tells_its_drift_which_may_be_the_reason():
    assert drift_of(make_page(make_share("the fifth", B1, more=1), make_share(S1, B1, created_at=1, extra=1))) == [
        field("shared[].extra"),
        field("shared[].more", share_id=None),
    ]


@pytest.mark.parametrize("depth", [200, 900, 1020, 5000])
def test_a_record_that_is_nested_too_deep_is_no_failure(depth):
    deep = '{"id": 3, "deep": ' + "[" * depth + "]" * depth + "}"
    assert field("shared[].more") in drift_of(make_page(deep, make_share(S1, B1, more=1), deep))


# --- strangers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("", '""'),
        ("backup.status", '"backup.status"'),
        ('a"b\\', '"a\\"b\\\\"'),
        ("a\nb\x1b[2J", '"a\\nb\\u001b[2J"'),
        ("a\0b", '"a\u2400b"'),
        ("'; DROP TABLE observations; --", '"\'; DROP TABLE observations; --"'),
        ("\u202eназвание", '"\u202eназвание"'),
        ("x" * 1_000_000, '"' + "x" * 199 + '…"'),
    ],
)
def test_a_name_that_is_no_plain_one_is_quoted_and_cut(name, shown):
    assert drift_of(make_page(make_share(S1, B1, **{name: 1}))) == [field(f"shared[].{shown}")]


def test_fields_without_end_are_counted_together_beyond_the_first_hundred():
    names = {f"n{number:04}": number for number in range(1000)}
    found = drift_of(make_page(make_share(S1, B1, **names), make_share(S2, B2, **names)))
    assert len(found) == 101
    assert found[0] == ("unknown_field", "(others)", "", 2, "", S2)
    assert [(row[1], row[3]) for row in found[1:]] == [(f"shared[].n{number:04}", 2) for number in range(100)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("VK", "SECRET"),
        ("vk", "SECRET"),
        ("access_key", "SECRET"),
        ("password", "SECRET"),
        ("more", {"inside": [{"token": "SECRET"}]}),
        ("more", '{"VK": "SECRET"}'),
        ("more", json.dumps({"deep": '{"\\u0056\\u004b": "SECRET"}'})),
        ("more", "SECRET" + "0123456789abcdef" * 4),
    ],
)
@pytest.mark.parametrize("where", ["share", "backup", "metadata"])
def test_what_could_be_a_secret_is_no_example(where, name, content):
    put = {
        "share": lambda: make_share(S1, B1, **{name: content}),
        "backup": lambda: nested(**{name: content}),
        "metadata": lambda: with_metadata(**{name: content}),
    }
    found = drift_of(make_page(put[where]()))
    assert "SECRET" not in repr(found)
    assert len(found) == (0 if (where, name) == ("metadata", "VK") else 1)


def test_texts_of_the_metadata_are_no_examples_and_numbers_are():
    found = drift_of(make_page(with_metadata(host="node-1.inside", free=12)))
    assert [row[4] for row in found] == ["12", '"[withheld: 15 characters]"']


FIELDS = st.dictionaries(st.sampled_from(["more", "extra", "status", "size", "id"]), st.just(1), max_size=2)
STATUSES = st.sampled_from(["available", "error", "protecting", None, 3])
KEYS = st.dictionaries(st.sampled_from(["DL", "Type", "more", "CS"]), st.sampled_from([0, 3, 9, "1", "9", None]))


@st.composite
def records_drawn(draw) -> dict[str, Any]:
    number = draw(st.integers(1, 4))
    backup = make_backup(B1, status=draw(STATUSES), service_metadata=json.dumps(draw(KEYS))) | draw(FIELDS)
    backup["id"] = B1
    return make_share(make_id("5", number), B1, backup=draw(st.sampled_from([backup, backup, None]))) | draw(
        st.sampled_from([{}, {}, {"more": 1}, {"created_at": "yesterday"}])
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(records_drawn(), max_size=3), max_size=3), st.booleans())
def test_the_quick_look_never_misses_what_a_look_at_every_record_finds(pages, is_excluded):
    bodies = [make_page(*page) for page in pages]
    found = normalize_pages(bodies, [S1] if is_excluded else []).drift
    assert found.astype(object).where(found.notna(), None).to_dict("records") == drift.count_drift(bodies)


# --- in the warehouse -------------------------------------------------------------------------------------------------


@pytest.fixture
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    """On DuckDB, unless a test asks for another engine."""
    if getattr(request, "param", "duckdb") == "duckdb":
        return House(tmp_path, f"duckdb:///{tmp_path}/warehouse.duckdb")
    return House(tmp_path, request.getfixturevalue("postgres_url"))


on_both_engines = pytest.mark.parametrize("house", ["duckdb", "postgresql"], indirect=True)


def ask(house: House, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
    with reading(house.address) as warehouse:
        return rows(warehouse, sql, **parameters)


PLAIN = [make_share(S1, B1), make_share(S2, B2), make_share(S3, B3)]
NEW = [make_share(S1, B1, more=1), make_share(S2, B2, more=2), make_share(S3, B3)]
NEWER = [make_share(S1, B1, more=3), nested(S2, B2, status="protecting"), make_share(S3, B3)]


def observed(number: int, shares: list[Any], listing: Any = None, hour: int = 6) -> Any:
    where = {"listing": listing} if listing else {}
    return make_observation(day(number, hour), distinct_ids=3, **where), (make_page(*shares),)


@on_both_engines
def test_the_view_tells_when_where_and_how_often_and_the_report_what_is_new(house):
    house.sync(observed(1, PLAIN))
    assert ask(house, "SELECT * FROM schema_drift") == []
    house.sync(observed(2, NEW), observed(2, [make_share(S1, B1, more=9)], IN, 7))
    house.sync(observed(3, NEWER))
    house.sync(observed(4, [make_share(S1, B1), *NEWER[1:]]), observed(4, [], IN, 7))
    assert ask(
        house,
        """SELECT kind, path, value, first_seen_at, last_seen_at, is_current, listing_count, record_count, example,
        share_id FROM schema_drift ORDER BY kind""",
    ) == [
        ("unknown_field", "shared[].more", "", day(2), day(3), False, 2, 2, "3", S1),
        ("unknown_value", "shared[].backup.status", "protecting", day(3), day(4), True, 1, 1, "", S2),
    ]
    told = ask(house, f"SELECT is_current, value, share_id FROM ({report('schema_drift')}) AS r ORDER BY value")
    assert told == [(False, "", S1), (True, "protecting", S2)]
    new = report("new_drift")
    names = "kind, path, value, record_count"
    assert ask(house, f"SELECT {names} FROM ({new}) AS r", sync_id="sync of 03-02 06") == [
        ("unknown_field", "shared[].more", "", 2)
    ]
    assert ask(house, f"SELECT {names} FROM ({new}) AS r", sync_id="sync of 03-03 06") == [
        ("unknown_value", "shared[].backup.status", "protecting", 1)
    ]
    assert ask(house, f"SELECT {names} FROM ({new}) AS r", sync_id="sync of 03-04 06") == []


def test_an_unknown_field_is_no_change_of_a_share(house):
    for number, shares in enumerate((PLAIN, NEW, PLAIN), start=1):
        house.sync(observed(number, shares))
    assert ask(house, "SELECT share_id, valid_from FROM backup_share_history ORDER BY 1") == [
        (share_id, day(1)) for share_id in (S1, S2, S3)
    ]


def test_what_stays_unknown_is_counted_every_day_although_nothing_differs(house):
    staged = []
    for number in (1, 2, 3, 4, 5):
        observation, pages = observed(number, NEW if number in (2, 3) else PLAIN)
        file = land(house.landing, observation, *pages)
        with writing(house.address) as warehouse:
            stage(file, house.staging, warehouse.ledger())
        staged.append(read_staged(file, house.staging).since is not None)
        assert house.load() == []
    # From a plain day to a plain day only what differs is read.
    assert staged == [False, False, False, False, True]
    assert ask(house, "SELECT observed_at, path, record_count FROM observed_drift ORDER BY 1") == [
        (day(2), "shared[].more", 2),
        (day(3), "shared[].more", 2),
    ]


def test_drift_is_rebuilt_verified_and_goes_into_the_baseline(house):
    for number, shares in enumerate((NEW, PLAIN, NEWER, PLAIN), start=1):
        house.sync(observed(number, shares))
    before = house.published()
    assert len(before["observed_drift"]) == 3
    assert prune(house.address, house.landing, day(3)).files
    assert verify(house.address, house.landing) is None
    rebuild(house.address, house.landing)
    assert house.published() == before


def test_what_a_newer_program_knows_is_no_drift_any_more_after_a_rebuild(house, monkeypatch):
    with monkeypatch.context() as earlier:
        earlier.setitem(backup_history.c.backup_status.info, "known_values", ("available",))
        house.sync(observed(1, [nested(status="restoring"), *PLAIN[1:]]))
        assert ask(house, "SELECT value FROM schema_drift") == [("restoring",)]
    assert str(verify(house.address, house.landing)).startswith("observed_drift: what the landing says lacks the row")
    rebuild(house.address, house.landing)
    assert ask(house, "SELECT value FROM schema_drift") == []
    assert ask(house, "SELECT backup_status FROM backups WHERE backup_id = $id", id=B1) == [("restoring",)]


# --- quarantine -------------------------------------------------------------------------------------------------------

EARLIER_TIME = re.compile(records._TIME.pattern.replace("(Z|[+-]", "([+-]"), re.ASCII)
"""The rule of a reader that does not know the Z behind a time."""
CHANGED = "2026-03-02T05:00:00Z"
SHARES = "SELECT share_id, valid_from, valid_to FROM backup_share_versions ORDER BY 1, 2"
BACKUPS = "SELECT backup_id, backup_name, valid_from, valid_to FROM backup_versions ORDER BY 1, 3"


@on_both_engines
def test_what_an_earlier_reader_rejected_comes_into_the_right_day_by_a_rebuild(house, monkeypatch):
    monkeypatch.setattr(records, "_TIME", EARLIER_TIME)
    house.sync(observed(1, [make_share(S1, B1), make_share(S2, B2)]))
    # The service writes its times in another way on this day: S1 has changed, S3 is new, S2 is gone.
    changed = make_share(S1, B1, updated_at=CHANGED, backup=make_backup(B1, name="renamed", updated_at=CHANGED))
    house.sync(observed(2, [changed, make_share(S3, B3, created_at=CHANGED)]))
    # Neither changed nor closed, though the service calls everything gone; nor is anything made up.
    assert ask(house, SHARES) == [(S1, day(1), None), (S2, day(1), day(2))]
    assert ask(house, BACKUPS) == [(B1, "nightly", day(1), None), (B2, "nightly", day(1), day(2))]
    text = json.dumps(changed)
    assert ask(house, "SELECT observed_at, page_number, position, share_id, backup_id, raw_json FROM rejected_records")[
        0
    ] == (day(2), 0, 0, S1, B1, text)
    assert ask(house, "SELECT DISTINCT reason FROM rejected_records ORDER BY 1") == [
        (f"created_at is {CHANGED}, which is not a time",),
        (f"updated_at is {CHANGED}, which is not a time",),
    ]
    # And again as before, on a day on which S3 is gone.
    plain = CHANGED.removesuffix("Z")
    told = make_share(S1, B1, updated_at=plain, backup=make_backup(B1, name="renamed", updated_at=plain))
    house.sync(observed(3, [told]))
    assert ask(house, SHARES) == [(S1, day(1), day(3)), (S1, day(3), None), (S2, day(1), day(2))]

    monkeypatch.undo()
    rebuild(house.address, house.landing)

    assert ask(house, SHARES) == [
        (S1, day(1), day(2)),
        (S1, day(2), None),
        (S2, day(1), day(2)),
        (S3, day(2), day(3)),
    ]
    assert ask(house, BACKUPS) == [
        (B1, "nightly", day(1), day(2)),
        (B1, "renamed", day(2), None),
        (B2, "nightly", day(1), day(2)),
        (B3, "nightly", day(2), day(3)),
    ]
    snapshots = "SELECT observed_at, share_id FROM backup_share_snapshots ORDER BY 1, 2"
    assert ask(house, snapshots) == [(day(1), S1), (day(1), S2), (day(2), S1), (day(2), S3), (day(3), S1)]
    assert ask(house, "SELECT count(*) FROM rejected_records") == [(0,)]
    assert ask(house, report("invariants")) == []
    assert verify(house.address, house.landing) is None
