"""Which versions an observation opens and closes: the decision alone, and the diary of a week, written by hand.

Not here: the transaction around it and generated histories (test_warehouse.py), the proof (test_walk.py).
"""

from collections.abc import Iterable

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.history import Changes, diff_versions
from tests.oracle import (
    ALICE,
    B1,
    B2,
    BOB,
    OUT,
    S1,
    S2,
    UNPROVEN,
    day,
    make_backup,
    make_observation,
    make_page,
    make_share,
    make_warehouse,
    record,
    rows,
    shortener,
)

# --- the decision -----------------------------------------------------------------------------------------------------


def make_versions(contents: dict[str, str], **more: Iterable[str]) -> pa.Table:
    columns = {"share_id": list(contents), "row_hash": list(contents.values())}
    columns |= {name: list(values) for name, values in more.items()}
    return pa.table(columns, schema=pa.schema([(name, pa.string()) for name in columns]))


def diff(is_open: dict[str, str], observed: dict[str, str], *, gone=None, protected=()) -> Changes:
    """`gone` unset: there is evidence of absence for every key."""
    evidence = is_open.keys() if gone is None else gone
    return diff_versions(
        make_versions(is_open), make_versions(observed), "share_id", gone=evidence, protected=protected
    )


def told(changes: Changes) -> tuple[list[str], list[str], tuple[int, int, int]]:
    counts = (changes.appeared_count, changes.changed_count, changes.gone_count)
    return sorted(changes.opened["share_id"].to_pylist()), sorted(changes.closed.to_pylist()), counts


@pytest.mark.parametrize(
    ("is_open", "observed", "gone", "opened", "closed", "counts"),
    [
        pytest.param({}, {"a": "1"}, ["a"], ["a"], [], (1, 0, 0), id="observed and not open: opened"),
        pytest.param({}, {"a": "1"}, [], ["a"], [], (1, 0, 0), id="opening needs no evidence"),
        pytest.param(
            {"a": "1"}, {"a": "1"}, ["a"], [], [], (0, 0, 0), id="same fingerprint, whatever is said of it: nothing"
        ),
        pytest.param({"a": "1"}, {"a": "2"}, ["a"], ["a"], ["a"], (0, 1, 0), id="other fingerprint: closed and opened"),
        pytest.param({"a": "1"}, {"a": "2"}, [], ["a"], ["a"], (0, 1, 0), id="changing needs no evidence"),
        pytest.param({"a": "1"}, {}, ["a"], [], ["a"], (0, 0, 1), id="gone by evidence: closed"),
        pytest.param({"a": "1"}, {}, ["b"], [], [], (0, 0, 0), id="no such evidence: nothing"),
        pytest.param({}, {}, ["a"], [], [], (0, 0, 0), id="nothing open, nothing observed"),
        pytest.param(
            {"same": "1", "change": "1", "go": "1"},
            {"same": "1", "change": "2", "come": "1"},
            ["same", "go", "come"],
            ["change", "come"],
            ["change", "go"],
            (1, 1, 1),
            id="all at once",
        ),
    ],
)
def test_every_line_of_the_table_in_the_docstring_holds(is_open, observed, gone, opened, closed, counts):
    assert told(diff(is_open, observed, gone=gone)) == (opened, closed, counts)


@pytest.mark.parametrize("observed", [{}, {"a": "1"}, {"a": "2"}])
def test_a_protected_key_is_neither_changed_nor_closed(observed):
    assert told(diff({"a": "1"}, observed, protected=["a"])) == ([], [], (0, 0, 0))


def test_a_protected_key_is_not_opened_and_shields_no_other():
    found = diff({"old": "1", "gone": "1"}, {"new": "1", "bad": "1"}, protected=["bad", "old"])
    assert told(found) == (["new"], ["gone"], (1, 0, 1))


def test_opened_rows_keep_all_their_columns_and_types():
    observed = make_versions({"a": "1", "b": "2"}, name=["first", "second"])
    changes = diff_versions(make_versions({"a": "1"}), observed, "share_id")
    assert changes.opened.to_pylist() == [{"share_id": "b", "row_hash": "2", "name": "second"}]
    assert changes.opened.schema == observed.schema


keys = st.sets(st.sampled_from("abcdef"))
contents = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("123"))


@settings(deadline=None, derandomize=True, max_examples=200)
@given(is_open=contents, observed=contents, gone=keys, protected=keys)
def test_any_decision_is_the_one_a_dictionary_gives(is_open, observed, gone, protected):
    new, changed, ended = [], [], []
    for key in sorted({*is_open, *observed} - protected):
        if key not in is_open:
            new.append(key)
        elif key not in observed:
            ended += [key] if key in gone else []
        elif is_open[key] != observed[key]:
            changed.append(key)
    expected = sorted(new + changed), sorted(changed + ended), (len(new), len(changed), len(ended))
    assert told(diff(is_open, observed, gone=gone, protected=protected)) == expected


# --- the diary --------------------------------------------------------------------------------------------------------

# S1 of backup B1 appears, changes, vanishes and returns; S2 of backup B2 is there all the time and never changes.
BYSTANDER = make_share(S2, B2)
FIRST = make_share(S1, B1)
CHANGED = make_share(S1, B1, updated_at="2026-03-01T20:00:00.000000", backup=make_backup(B1, name="renamed"))

DIARY = {
    "day 1: a share appears beside another": (
        (make_observation(day(1)), [FIRST, BYSTANDER]),
        """
        observations
          d1 exact proven shares 2 backups 2 granted 2 changed 0 withdrawn 0 opened 2 closed 0
        backup_share_history
          S1 B1 Alice Bob 02-02 -           | d1 9999-12-31 | o1 -
          S2 B2 Alice Bob 02-02 -           | d1 9999-12-31 | o1 -
        backup_history
          B1 nightly available 40           | d1 9999-12-31 | o1 -
          B2 nightly available 40           | d1 9999-12-31 | o1 -
        backup_shares
          S1 B1 Alice Bob 02-02 -           | d1 d1
          S2 B2 Alice Bob 02-02 -           | d1 d1
        backups
          B1 nightly available 40           | d1 d1
          B2 nightly available 40           | d1 d1
        backup_share_snapshots
          03-01 S1 B1 Alice Bob 02-02 -     | d1
          03-01 S2 B2 Alice Bob 02-02 -     | d1
        backup_snapshots
          03-01 B1 nightly available 40     | d1
          03-01 B2 nightly available 40     | d1
        backup_share_changes
          03-01 granted   S1 B1 Alice Bob 02-02 -       baseline | d1 o1
          03-01 granted   S2 B2 Alice Bob 02-02 -       baseline | d1 o1
        """,
    ),
    "day 2: it changes, and so does its backup": (
        (make_observation(day(2)), [CHANGED, BYSTANDER]),
        """
        observations
          d1 exact proven shares 2 backups 2 granted 2 changed 0 withdrawn 0 opened 2 closed 0
          d2 exact proven shares 2 backups 2 granted 0 changed 1 withdrawn 0 opened 1 closed 1
        backup_share_history
          S1 B1 Alice Bob 02-02 -           | d1 d2 | o1 o2
          S1 B1 Alice Bob 02-02 03-01       | d2 9999-12-31 | o2 -
          S2 B2 Alice Bob 02-02 -           | d1 9999-12-31 | o1 -
        backup_history
          B1 nightly available 40           | d1 d2 | o1 o2
          B1 renamed available 40           | d2 9999-12-31 | o2 -
          B2 nightly available 40           | d1 9999-12-31 | o1 -
        backup_shares
          S1 B1 Alice Bob 02-02 03-01       | d2 d2
          S2 B2 Alice Bob 02-02 -           | d1 d2
        backups
          B1 renamed available 40           | d2 d2
          B2 nightly available 40           | d1 d2
        backup_share_snapshots
          03-01 S1 B1 Alice Bob 02-02 -     | d1
          03-01 S2 B2 Alice Bob 02-02 -     | d1
          03-02 S1 B1 Alice Bob 02-02 03-01 | d2
          03-02 S2 B2 Alice Bob 02-02 -     | d2
        backup_snapshots
          03-01 B1 nightly available 40     | d1
          03-01 B2 nightly available 40     | d1
          03-02 B1 renamed available 40     | d2
          03-02 B2 nightly available 40     | d2
        backup_share_changes
          03-01 granted   S1 B1 Alice Bob 02-02 -       baseline | d1 o1
          03-01 granted   S2 B2 Alice Bob 02-02 -       baseline | d1 o1
          03-02 changed   S1 B1 Alice Bob 02-02 03-01            | d2 o2
        """,
    ),
    "day 3: it vanishes, and its backup with it": (
        (make_observation(day(3)), [BYSTANDER]),
        """
        observations
          d1 exact proven shares 2 backups 2 granted 2 changed 0 withdrawn 0 opened 2 closed 0
          d2 exact proven shares 2 backups 2 granted 0 changed 1 withdrawn 0 opened 1 closed 1
          d3 exact proven shares 1 backups 1 granted 0 changed 0 withdrawn 1 opened 0 closed 1
        backup_share_history
          S1 B1 Alice Bob 02-02 -           | d1 d2 | o1 o2
          S1 B1 Alice Bob 02-02 03-01       | d2 d3 | o2 o3
          S2 B2 Alice Bob 02-02 -           | d1 9999-12-31 | o1 -
        backup_history
          B1 nightly available 40           | d1 d2 | o1 o2
          B1 renamed available 40           | d2 d3 | o2 o3
          B2 nightly available 40           | d1 9999-12-31 | o1 -
        backup_shares
          S2 B2 Alice Bob 02-02 -           | d1 d3
        backups
          B2 nightly available 40           | d1 d3
        backup_share_snapshots
          03-01 S1 B1 Alice Bob 02-02 -     | d1
          03-01 S2 B2 Alice Bob 02-02 -     | d1
          03-02 S1 B1 Alice Bob 02-02 03-01 | d2
          03-02 S2 B2 Alice Bob 02-02 -     | d2
          03-03 S2 B2 Alice Bob 02-02 -     | d3
        backup_snapshots
          03-01 B1 nightly available 40     | d1
          03-01 B2 nightly available 40     | d1
          03-02 B1 renamed available 40     | d2
          03-02 B2 nightly available 40     | d2
          03-03 B2 nightly available 40     | d3
        backup_share_changes
          03-01 granted   S1 B1 Alice Bob 02-02 -       baseline | d1 o1
          03-01 granted   S2 B2 Alice Bob 02-02 -       baseline | d1 o1
          03-02 changed   S1 B1 Alice Bob 02-02 03-01            | d2 o2
          03-03 withdrawn S1 B1 Alice Bob 02-02 03-01            | d3 o3
        """,
    ),
    "day 4: it returns as it was": (
        (make_observation(day(4)), [CHANGED, BYSTANDER]),
        """
        observations
          d1 exact proven shares 2 backups 2 granted 2 changed 0 withdrawn 0 opened 2 closed 0
          d2 exact proven shares 2 backups 2 granted 0 changed 1 withdrawn 0 opened 1 closed 1
          d3 exact proven shares 1 backups 1 granted 0 changed 0 withdrawn 1 opened 0 closed 1
          d4 exact proven shares 2 backups 2 granted 1 changed 0 withdrawn 0 opened 1 closed 0
        backup_share_history
          S1 B1 Alice Bob 02-02 -           | d1 d2 | o1 o2
          S1 B1 Alice Bob 02-02 03-01       | d2 d3 | o2 o3
          S1 B1 Alice Bob 02-02 03-01       | d4 9999-12-31 | o4 -
          S2 B2 Alice Bob 02-02 -           | d1 9999-12-31 | o1 -
        backup_history
          B1 nightly available 40           | d1 d2 | o1 o2
          B1 renamed available 40           | d2 d3 | o2 o3
          B1 renamed available 40           | d4 9999-12-31 | o4 -
          B2 nightly available 40           | d1 9999-12-31 | o1 -
        backup_shares
          S1 B1 Alice Bob 02-02 03-01       | d4 d4
          S2 B2 Alice Bob 02-02 -           | d1 d4
        backups
          B1 renamed available 40           | d4 d4
          B2 nightly available 40           | d1 d4
        backup_share_snapshots
          03-01 S1 B1 Alice Bob 02-02 -     | d1
          03-01 S2 B2 Alice Bob 02-02 -     | d1
          03-02 S1 B1 Alice Bob 02-02 03-01 | d2
          03-02 S2 B2 Alice Bob 02-02 -     | d2
          03-03 S2 B2 Alice Bob 02-02 -     | d3
          03-04 S1 B1 Alice Bob 02-02 03-01 | d4
          03-04 S2 B2 Alice Bob 02-02 -     | d4
        backup_snapshots
          03-01 B1 nightly available 40     | d1
          03-01 B2 nightly available 40     | d1
          03-02 B1 renamed available 40     | d2
          03-02 B2 nightly available 40     | d2
          03-03 B2 nightly available 40     | d3
          03-04 B1 renamed available 40     | d4
          03-04 B2 nightly available 40     | d4
        backup_share_changes
          03-01 granted   S1 B1 Alice Bob 02-02 -       baseline | d1 o1
          03-01 granted   S2 B2 Alice Bob 02-02 -       baseline | d1 o1
          03-02 changed   S1 B1 Alice Bob 02-02 03-01            | d2 o2
          03-03 withdrawn S1 B1 Alice Bob 02-02 03-01            | d3 o3
          03-04 granted   S1 B1 Alice Bob 02-02 03-01            | d4 o4
        """,
    ),
    "day 5: a walk that saw nothing and proves nothing leaves its line in the ledger only": (
        (make_observation(day(5), **UNPROVEN), []),
        """
        observations
          d1 exact proven shares 2 backups 2 granted 2 changed 0 withdrawn 0 opened 2 closed 0
          d2 exact proven shares 2 backups 2 granted 0 changed 1 withdrawn 0 opened 1 closed 1
          d3 exact proven shares 1 backups 1 granted 0 changed 0 withdrawn 1 opened 0 closed 1
          d4 exact proven shares 2 backups 2 granted 1 changed 0 withdrawn 0 opened 1 closed 0
          d5 incomplete unproven shares 0 backups 0 granted 0 changed 0 withdrawn 0 opened 0 closed 0
        backup_share_history
          S1 B1 Alice Bob 02-02 -           | d1 d2 | o1 o2
          S1 B1 Alice Bob 02-02 03-01       | d2 d3 | o2 o3
          S1 B1 Alice Bob 02-02 03-01       | d4 9999-12-31 | o4 -
          S2 B2 Alice Bob 02-02 -           | d1 9999-12-31 | o1 -
        backup_history
          B1 nightly available 40           | d1 d2 | o1 o2
          B1 renamed available 40           | d2 d3 | o2 o3
          B1 renamed available 40           | d4 9999-12-31 | o4 -
          B2 nightly available 40           | d1 9999-12-31 | o1 -
        backup_shares
          S1 B1 Alice Bob 02-02 03-01       | d4 d4
          S2 B2 Alice Bob 02-02 -           | d1 d4
        backups
          B1 renamed available 40           | d4 d4
          B2 nightly available 40           | d1 d4
        backup_share_snapshots
          03-01 S1 B1 Alice Bob 02-02 -     | d1
          03-01 S2 B2 Alice Bob 02-02 -     | d1
          03-02 S1 B1 Alice Bob 02-02 03-01 | d2
          03-02 S2 B2 Alice Bob 02-02 -     | d2
          03-03 S2 B2 Alice Bob 02-02 -     | d3
          03-04 S1 B1 Alice Bob 02-02 03-01 | d4
          03-04 S2 B2 Alice Bob 02-02 -     | d4
        backup_snapshots
          03-01 B1 nightly available 40     | d1
          03-01 B2 nightly available 40     | d1
          03-02 B1 renamed available 40     | d2
          03-02 B2 nightly available 40     | d2
          03-03 B2 nightly available 40     | d3
          03-04 B1 renamed available 40     | d4
          03-04 B2 nightly available 40     | d4
        backup_share_changes
          03-01 granted   S1 B1 Alice Bob 02-02 -       baseline | d1 o1
          03-01 granted   S2 B2 Alice Bob 02-02 -       baseline | d1 o1
          03-02 changed   S1 B1 Alice Bob 02-02 03-01            | d2 o2
          03-03 withdrawn S1 B1 Alice Bob 02-02 03-01            | d3 o3
          03-04 granted   S1 B1 Alice Bob 02-02 03-01            | d4 o4
        """,
    ),
    "day 7, after a day without any observation: nothing changed, the two days are gaps in the snapshots": (
        (make_observation(day(7)), [CHANGED, BYSTANDER]),
        """
        observations
          d1 exact proven shares 2 backups 2 granted 2 changed 0 withdrawn 0 opened 2 closed 0
          d2 exact proven shares 2 backups 2 granted 0 changed 1 withdrawn 0 opened 1 closed 1
          d3 exact proven shares 1 backups 1 granted 0 changed 0 withdrawn 1 opened 0 closed 1
          d4 exact proven shares 2 backups 2 granted 1 changed 0 withdrawn 0 opened 1 closed 0
          d5 incomplete unproven shares 0 backups 0 granted 0 changed 0 withdrawn 0 opened 0 closed 0
          d7 exact proven shares 2 backups 2 granted 0 changed 0 withdrawn 0 opened 0 closed 0
        backup_share_history
          S1 B1 Alice Bob 02-02 -           | d1 d2 | o1 o2
          S1 B1 Alice Bob 02-02 03-01       | d2 d3 | o2 o3
          S1 B1 Alice Bob 02-02 03-01       | d4 9999-12-31 | o4 -
          S2 B2 Alice Bob 02-02 -           | d1 9999-12-31 | o1 -
        backup_history
          B1 nightly available 40           | d1 d2 | o1 o2
          B1 renamed available 40           | d2 d3 | o2 o3
          B1 renamed available 40           | d4 9999-12-31 | o4 -
          B2 nightly available 40           | d1 9999-12-31 | o1 -
        backup_shares
          S1 B1 Alice Bob 02-02 03-01       | d4 d7
          S2 B2 Alice Bob 02-02 -           | d1 d7
        backups
          B1 renamed available 40           | d4 d7
          B2 nightly available 40           | d1 d7
        backup_share_snapshots
          03-01 S1 B1 Alice Bob 02-02 -     | d1
          03-01 S2 B2 Alice Bob 02-02 -     | d1
          03-02 S1 B1 Alice Bob 02-02 03-01 | d2
          03-02 S2 B2 Alice Bob 02-02 -     | d2
          03-03 S2 B2 Alice Bob 02-02 -     | d3
          03-04 S1 B1 Alice Bob 02-02 03-01 | d4
          03-04 S2 B2 Alice Bob 02-02 -     | d4
          03-07 S1 B1 Alice Bob 02-02 03-01 | d7
          03-07 S2 B2 Alice Bob 02-02 -     | d7
        backup_snapshots
          03-01 B1 nightly available 40     | d1
          03-01 B2 nightly available 40     | d1
          03-02 B1 renamed available 40     | d2
          03-02 B2 nightly available 40     | d2
          03-03 B2 nightly available 40     | d3
          03-04 B1 renamed available 40     | d4
          03-04 B2 nightly available 40     | d4
          03-07 B1 renamed available 40     | d7
          03-07 B2 nightly available 40     | d7
        backup_share_changes
          03-01 granted   S1 B1 Alice Bob 02-02 -       baseline | d1 o1
          03-01 granted   S2 B2 Alice Bob 02-02 -       baseline | d1 o1
          03-02 changed   S1 B1 Alice Bob 02-02 03-01            | d2 o2
          03-03 withdrawn S1 B1 Alice Bob 02-02 03-01            | d3 o3
          03-04 granted   S1 B1 Alice Bob 02-02 03-01            | d4 o4
        """,
    ),
}

_SHARE = """
    share_id, backup_id, from_project_id, to_project_id,
    strftime(share_created_at, '%m-%d'), strftime(share_updated_at, '%m-%d')
"""
_BACKUP = "backup_id, backup_name, backup_status, size_gb"
QUESTIONS = {
    "observations": """
        SELECT observed_at, status, if(is_proven, 'proven', 'unproven'), 'shares', share_count, 'backups', backup_count,
            'granted', shares_granted, 'changed', shares_changed, 'withdrawn', shares_withdrawn,
            'opened', backups_opened, 'closed', backups_closed
    """,
    "backup_share_history": f"SELECT {_SHARE}, '|', valid_from, valid_to, '|', opened_by, closed_by",
    "backup_history": f"SELECT {_BACKUP}, '|', valid_from, valid_to, '|', opened_by, closed_by",
    "backup_shares": f"SELECT {_SHARE}, '|', valid_from, last_observed_at",
    "backups": f"SELECT {_BACKUP}, '|', valid_from, last_observed_at",
    "backup_share_snapshots": f"SELECT snapshot_date, {_SHARE}, '|', observed_at",
    "backup_snapshots": f"SELECT snapshot_date, {_BACKUP}, '|', observed_at",
    "backup_share_changes": f"""
        SELECT change_date, change_type, {_SHARE}, if(is_baseline, 'baseline', ''), '|', seen_at, observation_id
    """,
}
NICKNAMES = {S1: "S1", S2: "S2", B1: "B1", B2: "B2", ALICE: "Alice", BOB: "Bob"} | {
    make_observation(day(number)).observation_id: f"o{number}" for number in range(1, 8)
}


def written_down(warehouse) -> list[str]:
    """The whole warehouse as lines of the diary; blanks do not count."""
    short = shortener(NICKNAMES)
    lines = []
    for name, question in QUESTIONS.items():
        key = {"backup_share_history": "share_id", "backup_history": "backup_id"}.get(name)
        order = f"ORDER BY {key}, valid_from" if key else "ORDER BY ALL"
        lines.append(name)
        lines += [" ".join(map(short, row)) for row in rows(warehouse, f"{question} FROM {name} {order}")]
    return [" ".join(line.split()) for line in lines]


def test_the_diary_of_a_share_that_appears_changes_vanishes_and_returns():
    warehouse = make_warehouse()
    for title, ((observation, shares), expected) in DIARY.items():
        record(warehouse, observation, make_page(*shares))
        lines = [" ".join(line.split()) for line in expected.strip().splitlines()]
        assert written_down(warehouse) == lines, title
    for table in ("backup_share_history", "backup_history"):
        assert rows(warehouse, f"SELECT count(*) FROM {table} WHERE valid_to IS NULL") == [(0,)]
        assert rows(warehouse, f"SELECT DISTINCT region, project_id, direction FROM {table}") == [
            (OUT.region, OUT.project_id, "outgoing")
        ]
    warehouse.close()


def test_returned_and_unchanged_content_has_the_fingerprint_it_had():
    warehouse = make_warehouse()
    for (observation, shares), _ in DIARY.values():
        record(warehouse, observation, make_page(*shares))
    of_s1 = f"SELECT row_hash FROM backup_share_history WHERE share_id = '{S1}' ORDER BY valid_from"
    (first,), (second,), (third,) = rows(warehouse, of_s1)
    assert first != second == third
    warehouse.close()
