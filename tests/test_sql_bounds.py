"""What the views say of when: bounds of versions and events, days covered; and the report that finds broken promises.

By hand, and on generated histories against a loop that looks at every walk. All of it on every engine.
Not here: that a file runs and what else it shows (test_sql.py).
"""

from collections.abc import Iterable
from typing import Any

import pytest

from pipelines.observation import Direction, Listing, ProofStatus
from pipelines.schema import report
from pipelines.warehouse import Warehouse
from tests.oracle import (
    ALICE,
    B1,
    B2,
    BOB,
    CAROL,
    IN,
    OUT,
    REGION,
    S1,
    S2,
    UNPROVEN,
    Step,
    Story,
    day,
    make_backup,
    make_observation,
    make_page,
    make_share,
    record,
    rows,
    shortener,
)
from tests.test_history import DIARY
from tests.test_sql import ENGINES, warehouse_on


@pytest.fixture(params=ENGINES)
def warehouse(request):
    with warehouse_on(request.param, request) as warehouse:
        yield warehouse


def minute_after(value: Any) -> str:
    """`d3` for the start of the walk of the third, `d3+` for its end, a minute later."""
    if hasattr(value, "minute") and value.minute == 1:
        return shortener({})(value.replace(minute=0)) + "+"
    return shortener({S1: "S1", S2: "S2", B1: "B1", B2: "B2", ALICE: "Alice", BOB: "Bob"})(value)


def lines(warehouse: Warehouse, question: str) -> list[str]:
    return [" ".join(map(minute_after, row)) for row in rows(warehouse, question)]


VERSIONS = """
    SELECT share_id, valid_from, valid_to, appeared_after, appeared_before, last_seen_at, disappeared_before
    FROM backup_share_versions ORDER BY direction DESC, share_id, valid_from
"""
BACKUPS = VERSIONS.replace("share_id", "backup_id").replace("backup_share_versions", "backup_versions")
EVENTS = """
    SELECT change_date, change_type, share_id, not_before, not_after
    FROM backup_share_changes ORDER BY seen_at, change_type, share_id
"""

FIRST, OTHER = make_share(S1, B1), make_share(S2, B2)
CHANGED = make_share(S1, B1, updated_at="2026-03-01T20:00:00")


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_the_ends_of_every_version_of_the_diary_lie_between_two_proven_walks(warehouse):
    for (observation, shares), _ in DIARY.values():
        record(warehouse, observation, make_page(*shares))
    # The fifth proves nothing, the sixth did not happen.
    assert lines(warehouse, VERSIONS) == [
        "S1 d1 d2 - d1+ d1 d2+",
        "S1 d2 d3 d1 d2+ d2 d3+",
        "S1 d4 - d3 d4+ d7 -",
        "S2 d1 - - d1+ d7 -",
    ]
    assert lines(warehouse, BACKUPS) == [
        "B1 d1 d2 - d1+ d1 d2+",
        "B1 d2 d3 d1 d2+ d2 d3+",
        "B1 d4 - d3 d4+ d7 -",
        "B2 d1 - - d1+ d7 -",
    ]
    assert lines(warehouse, EVENTS) == [
        "03-01 granted S1 - d1+",
        "03-01 granted S2 - d1+",
        "03-02 changed S1 d1 d2+",
        "03-03 withdrawn S1 d2 d3+",
        "03-04 granted S1 d3 d4+",
    ]


def test_an_unproven_walk_moves_no_bound(warehouse):
    record(warehouse, make_observation(day(1)), make_page(OTHER))
    record(warehouse, make_observation(day(2), **UNPROVEN), make_page(OTHER))
    record(warehouse, make_observation(day(3)), make_page(FIRST, OTHER))
    record(warehouse, make_observation(day(4), **UNPROVEN), make_page(FIRST, OTHER))
    record(warehouse, make_observation(day(5)), make_page())
    assert lines(warehouse, VERSIONS) == ["S1 d3 d5 d1 d3+ d3 d5+", "S2 d1 d5 - d1+ d3 d5+"]


def test_a_share_whose_withdrawal_waits_was_not_seen_meanwhile_nor_was_any_other_for_sure(warehouse):
    record(warehouse, make_observation(day(1)), make_page(FIRST, OTHER))
    for number in (2, 3):
        held = make_observation(day(number), gone_ids=(), absent_count=1, held_count=1, reason="held")
        record(warehouse, held, make_page(OTHER))
    assert lines(warehouse, VERSIONS) == ["S1 d1 - - d1+ d1 -", "S2 d1 - - d1+ d1 -"]
    record(warehouse, make_observation(day(4)), make_page(OTHER))
    assert lines(warehouse, VERSIONS) == ["S1 d1 d4 - d1+ d1 d4+", "S2 d1 - - d1+ d4 -"]
    assert lines(warehouse, EVENTS)[-1] == "03-04 withdrawn S1 d1 d4+"


def test_a_share_that_came_back_while_it_was_held_was_seen_again(warehouse):
    record(warehouse, make_observation(day(1)), make_page(FIRST))
    record(warehouse, make_observation(day(2), gone_ids=(), absent_count=1, held_count=1), make_page())
    record(warehouse, make_observation(day(3)), make_page(FIRST))
    assert lines(warehouse, VERSIONS) == ["S1 d1 - - d1+ d3 -"]


def test_a_walk_that_proves_no_absence_does_not_say_that_a_share_was_not_there(warehouse):
    record(warehouse, make_observation(day(1), may_close=False), make_page(OTHER))
    record(warehouse, make_observation(day(2)), make_page(FIRST, OTHER))
    record(warehouse, make_observation(day(3), may_close=False), make_page(CHANGED, OTHER))
    # That S1 was another on the second is seen, and needs no proof of absence.
    assert lines(warehouse, VERSIONS) == ["S1 d2 d3 - d2+ d2 d3+", "S1 d3 - d2 d3+ d3 -", "S2 d1 - - d1+ d3 -"]


def test_a_walk_that_could_not_read_a_share_says_nothing_of_it_and_all_of_the_others(warehouse):
    unreadable = make_share(S1, B1, created_at="yesterday")
    record(warehouse, make_observation(day(1)), make_page(OTHER))
    record(warehouse, make_observation(day(2)), make_page(OTHER, unreadable))
    record(warehouse, make_observation(day(3)), make_page(OTHER, FIRST))
    record(warehouse, make_observation(day(4)), make_page(OTHER, unreadable))
    record(warehouse, make_observation(day(5)), make_page(OTHER, CHANGED))
    record(warehouse, make_observation(day(6)), make_page(OTHER, unreadable))
    assert lines(warehouse, VERSIONS) == [
        "S1 d3 d5 d1 d3+ d3 d5+",
        "S1 d5 - d3 d5+ d5 -",
        "S2 d1 - - d1+ d6 -",
    ]
    assert lines(warehouse, BACKUPS) == ["B1 d3 - d1 d3+ d5 -", "B2 d1 - - d1+ d6 -"]


def test_behind_a_record_without_readable_backup_any_backup_may_be(warehouse):
    record(warehouse, make_observation(day(1)), make_page(OTHER))
    record(warehouse, make_observation(day(2)), make_page(OTHER, make_share(S1, "the best", backup=None)))
    record(warehouse, make_observation(day(3)), make_page(OTHER, FIRST))
    record(warehouse, make_observation(day(4)), make_page(OTHER, make_share(S1, "the best", backup=None)))
    assert lines(warehouse, BACKUPS) == ["B1 d3 - d1 d3+ d3 -", "B2 d1 - - d1+ d3 -"]


def test_listings_prove_nothing_for_each_other(warehouse):
    record(warehouse, make_observation(day(1)), make_page())
    record(warehouse, make_observation(day(2), IN), make_page(FIRST))
    record(warehouse, make_observation(day(3)), make_page(FIRST))
    assert lines(warehouse, VERSIONS) == ["S1 d3 - d1 d3+ d3 -", "S1 d2 - - d2+ d2 -"]


def test_a_withdrawal_that_another_listing_tells_has_that_listings_bounds(warehouse):
    for listing in (make_observation(day(1)).listing, IN):
        record(warehouse, make_observation(day(1), listing), make_page(FIRST))
    record(warehouse, make_observation(day(3), IN), make_page(FIRST))
    record(warehouse, make_observation(day(4), IN), make_page())
    assert lines(warehouse, EVENTS) == ["03-01 granted S1 - d1+", "03-04 withdrawn S1 d3 d4+"]


COVERAGE = """
    SELECT snapshot_date, direction, status, observation_count, proven_at, reason
    FROM listing_coverage ORDER BY direction DESC, snapshot_date
"""


def test_where_two_listings_tell_the_end_of_a_backup_at_the_same_time_the_givers_is_believed(warehouse):
    """Bob saw it first and was not looked at again; his listing still shows it."""
    carols = Listing(REGION, CAROL, Direction.INCOMING)
    with_bob, with_carol = make_share(S1, B1), make_share(S2, B1, to_project_id=CAROL)
    record(warehouse, make_observation(day(1), IN), make_page(with_bob))
    record(warehouse, make_observation(day(2), OUT), make_page(with_bob, with_carol))
    record(warehouse, make_observation(day(2), carols), make_page(with_carol))
    for listing in (OUT, carols):
        record(warehouse, make_observation(day(3), listing), make_page())
    told = "SELECT change_type, direction, seen_at FROM backup_changes ORDER BY seen_at"
    assert lines(warehouse, told) == ["appeared incoming d1", "disappeared outgoing d3"]


def test_every_day_of_a_listing_is_proven_partial_failed_or_not_observed(warehouse):
    failed = {"status": ProofStatus.FAILED, "may_close": False, "reason": "503"}
    record(warehouse, make_observation(day(1)), make_page(OTHER))
    record(warehouse, make_observation(day(1, 12), **UNPROVEN), make_page())
    record(warehouse, make_observation(day(2), **UNPROVEN), make_page())
    record(warehouse, make_observation(day(2, 9), **failed), make_page())
    record(warehouse, make_observation(day(3), **failed), make_page())
    # The fourth is missed. From the fifth on the other listing is observed, and the first one is not any more.
    record(warehouse, make_observation(day(5), IN, **UNPROVEN), make_page())
    record(warehouse, make_observation(day(5, 8), IN), make_page())
    record(warehouse, make_observation(day(5, 10), IN), make_page())
    assert lines(warehouse, COVERAGE) == [
        "03-01 outgoing proven 2 d1 rows are missing",
        "03-02 outgoing partial 2 - 503",
        "03-03 outgoing failed 1 - 503",
        "03-04 outgoing not_observed 0 - ",
        "03-05 outgoing not_observed 0 - ",
        "03-05 incoming proven 3 d5@10 ",
    ]


# --- generated histories ----------------------------------------------------------------------------------------------


def walks_of(story: Story, listing: Any) -> list[tuple[Step, Any]]:
    """The proven walks of a listing, and what the story says that each one saw."""
    found = {}
    for step in story.steps:
        if step.observation.listing == listing and story.is_accepted(step) and step.plan != "unproven":
            found[step.observation.observed_at] = (step, story._seen[step.observation.observation_id])
    return [found[at] for at in sorted(found)]


def expected_bounds(story: Story, listing: Any, kind: str) -> list[tuple[Any, ...]]:
    """Key, start, appeared_after, appeared_before, last_seen_at, disappeared_before of each version: by looking."""
    oracle = (story.shares if kind == "shares" else story.backups)[listing]
    of_shares = story.shares[listing].versions
    absent, shown = [], []  # instants, with the keys of which the walk says nothing
    ends = {}
    for step, (told, _, _, _, bad) in walks_of(story, listing):
        at = step.observation.observed_at
        ends[at] = step.observation.finished_at
        bad_share, bad_backup = bad or ("none", "none")
        unclear = bad_share if kind == "shares" else bad_backup
        if unclear is None and kind == "backups":
            continue
        is_open = {
            key for key, story_ in of_shares.items() for v in story_ if v[0] <= at and (v[1] is None or at < v[1])
        }
        if step.observation.may_close and bad_share is not None:
            absent.append((at, unclear))
        if is_open - {bad_share} <= told.keys():
            shown.append((at, unclear))
    found = []
    for key, versions in oracle.versions.items():
        for number, (start, end, *_) in enumerate(versions):
            before = [at for at, unclear in absent if at < start and unclear != key]
            if number and versions[number - 1][1] == start:
                before += [versions[number - 1][0], *(at for at, unclear in shown if at < start and unclear != key)]
            sights = [at for at, unclear in shown if start <= at and (end is None or at < end) and unclear != key]
            found.append((key, start, max(before, default=None), ends[start], max([start, *sights]), ends.get(end)))
    return found


def check_soundness(story: Story, listing: Any, table: list[tuple[Any, ...]]) -> None:
    """No share's bound claims what the walk did not see."""
    saw = {step.observation.observed_at: told for step, (told, *_) in walks_of(story, listing)}
    content = {(key, v[0]): v[2] for key, versions in story.shares[listing].versions.items() for v in versions}
    for key, start, after, _, last_seen, _ in table:
        assert saw[last_seen].get(key) == content[key, start], (story.seed, key, last_seen)
        assert after is None or saw[after].get(key) != content[key, start], (story.seed, key, after)


def content_of(kind: str, row: dict[str, Any]) -> str:
    return (
        f"{row['backup_id']} {row['share_updated_at']:%Y-%m-%dT%H:%M:%S.%f}" if kind == "shares" else row["backup_name"]
    )


def snapshots_of(warehouse: Warehouse, kind: str, region: str) -> list[tuple[Any, ...]]:
    view, key = ("backup_share_snapshots", "share_id") if kind == "shares" else ("backup_snapshots", "backup_id")
    table = warehouse.query(f"SELECT * FROM {view} WHERE region = $region", region=region).to_pylist()
    return sorted(
        (row["snapshot_date"], row[key], content_of(kind, row), row["direction"], row["observed_at"]) for row in table
    )


@pytest.mark.parametrize(("engine", "seeds"), [("duckdb", range(5000, 5020)), ("postgresql", range(5020, 5026))])
def test_generated_histories_have_the_bounds_that_looking_at_every_walk_gives(engine, seeds, request):
    stories = [Story(seed, groups=3) for seed in seeds]
    with warehouse_on(engine, request) as warehouse:
        for story in stories:
            for step in story.steps:
                if story.is_accepted(step):
                    record(warehouse, step.observation, *step.pages)
                    story.tell(step)
        compared = 0
        for story in stories:
            for listing in story.listings:
                for kind, view, key in (
                    ("shares", "backup_share_versions", "share_id"),
                    ("backups", "backup_versions", "backup_id"),
                ):
                    found = rows(
                        warehouse,
                        f"SELECT {key}, valid_from, appeared_after, appeared_before, last_seen_at, disappeared_before "
                        f"FROM {view} WHERE region = $region AND direction = $direction ORDER BY 1, 2",
                        region=story.region,
                        direction=str(listing.direction),
                    )
                    expected = sorted(expected_bounds(story, listing, kind), key=lambda row: row[:2])
                    assert found == expected, f"seed {story.seed}, {listing.direction}, {kind}"
                    compared += len(found)
                    if kind == "shares":
                        check_soundness(story, listing, found)
            for kind, oracles in (("shares", story.shares), ("backups", story.backups)):
                assert snapshots_of(warehouse, kind, story.region) == story.snapshots(oracles), f"seed {story.seed}"
        assert compared > 5 * len(stories)
        check_events(warehouse)
        assert rows(warehouse, report("invariants")) == []


def check_events(warehouse: Warehouse) -> None:
    """An event has the bounds of the version that begins or ends with it.

    A grant in the middle of a version is a return: the listing was not proven when another proved the share gone.
    """
    begin, end = "valid_from = c.seen_at", "valid_to = c.seen_at"
    for types, side, lower, upper in (
        ("'granted', 'changed'", begin, "appeared_after", "appeared_before"),
        ("'withdrawn'", end, "last_seen_at", "disappeared_before"),
    ):
        strays = rows(
            warehouse,
            f"""SELECT c.region, c.share_id, c.seen_at FROM backup_share_changes AS c
            LEFT JOIN backup_share_versions AS v ON v.region = c.region AND v.project_id = c.project_id
            AND v.direction = c.direction AND v.share_id = c.share_id AND v.{side}
            WHERE c.change_type IN ({types}) AND (v.share_id IS NULL
            OR c.not_before IS DISTINCT FROM v.{lower} OR c.not_after IS DISTINCT FROM v.{upper})
            AND NOT EXISTS (SELECT 1 FROM ({RETURNS}) AS r WHERE r.event_id = c.event_id)""",
        )
        assert strays == []


RETURNS = """
    SELECT c.event_id
    FROM backup_share_changes AS c
    INNER JOIN backup_share_history AS h ON h.region = c.region AND h.project_id = c.project_id
    AND h.direction = c.direction AND h.share_id = c.share_id AND h.valid_from < c.seen_at AND h.valid_to >= c.seen_at
    INNER JOIN observations AS o ON o.observation_id = c.observation_id AND o.finished_at = c.not_after
    INNER JOIN backup_share_history AS w ON w.region = c.region AND w.share_id = c.share_id
    AND w.valid_to = c.not_before
    WHERE c.change_type = 'granted' AND (w.project_id <> c.project_id OR w.direction <> c.direction)
"""

# The giver's listing and two receivers', all of which tell of the same shares, some in one sync, some not proven.
TOGETHER: dict[str, Any] = {
    "witnesses": 3,
    "togetherness": 0.6,
    "length": 30,
    "groups": 2,
    "plans": ["observe"] * 8 + ["unproven"] * 4 + ["not closable", "unreadable record"],
}
EVENT_KINDS = {
    "shares": ("backup_share_changes", "share_id", ("granted", "withdrawn"), "backup_shares"),
    "backups": ("backup_changes", "backup_id", ("appeared", "disappeared"), "backups"),
}


def events_of(warehouse: Warehouse, kind: str) -> dict[str, list[tuple[Any, ...]]]:
    """Region to events in the words of the oracle."""
    view, key, (began, ended), _ = EVENT_KINDS[kind]
    found: dict[str, set[tuple[Any, ...]]] = {}
    for row in warehouse.query(f"SELECT * FROM {view}").to_pylist():
        sign = {began: "+", ended: "-"}.get(row["change_type"]) or content_of(kind, row)
        found.setdefault(row["region"], set()).add((row[key], sign, row["observation_id"]))
    return {region: sorted(events) for region, events in found.items()}


# Alone in its warehouse, or with others that have the same ids in other regions.
@pytest.mark.parametrize("harmony", [True, False], ids=["one world", "worlds of their own"])
@pytest.mark.parametrize(
    ("engine", "seeds"),
    [("duckdb", [5100]), ("duckdb", [5101]), ("duckdb", range(5102, 5107)), ("postgresql", range(5107, 5110))],
)
def test_the_events_of_several_listings_are_what_all_together_say_and_none_is_ever_taken_back(
    engine, seeds, harmony, request
):
    with warehouse_on(engine, request) as warehouse:
        tell_together(warehouse, seeds, harmony=harmony)


@pytest.mark.soak
@pytest.mark.parametrize("harmony", [True, False], ids=["one world", "worlds of their own"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("first", range(5200, 5300, 10))
def test_the_events_of_many_more_listings_are_what_all_together_say(engine, first, harmony, request):
    with warehouse_on(engine, request) as warehouse:
        tell_together(warehouse, range(first, first + 10), harmony=harmony)


def tell_together(warehouse: Warehouse, seeds: Iterable[int], *, harmony: bool) -> None:
    """All stories step by step; compared with the oracle, with what is there now, and with what was told before."""
    stories = [Story(seed, 0.1 if harmony else 0.35, harmony=harmony, **TOGETHER) for seed in seeds]
    told: dict[tuple[str, str], set[tuple[Any, ...]]] = {}
    for number in range(TOGETHER["length"]):
        for story in stories:
            step = story.steps[number]
            if story.is_accepted(step):
                record(warehouse, step.observation, *step.pages)
                story.tell(step)
        if number % 2 == 0:  # every question takes its time
            continue
        for kind, (_, key, _, current) in EVENT_KINDS.items():
            found = events_of(warehouse, kind)
            there = rows(warehouse, f"SELECT region, {key} FROM {current}")
            for story in stories:
                where = f"seed {story.seed}, {kind}, after step {number}"
                events = found.get(story.region, [])
                assert events == story.events(getattr(story, kind)), where
                assert balance(events) == {each for region, each in there if region == story.region}, where
                if not goes_on(story, number):
                    assert told.get((story.region, kind), set()) <= set(events), where
                    told[story.region, kind] = set(events)
    check_events(warehouse)
    assert sum(map(len, told.values())) > 10 * len(stories)


def balance(events: list[tuple[Any, ...]]) -> set[str]:
    """Whoever began once more often than it ended: each event turns over what was before."""
    signs = [(key, sign) for key, sign, _ in events if sign in "+-"]
    counts = {key: signs.count((key, "+")) - signs.count((key, "-")) for key, _ in signs}
    assert set(counts.values()) <= {0, 1}
    return {key for key, count in counts.items() if count}


def goes_on(story: Story, number: int) -> bool:
    """Whether a later step belongs to the sync of the last one that was accepted."""
    *_, last = (step.observation.sync_id for step in story.steps[: number + 1] if story.is_accepted(step))
    return any(story.is_accepted(step) and step.observation.sync_id == last for step in story.steps[number + 1 :])


# --- broken promises --------------------------------------------------------------------------------------------------

TABLES = ("backup_share_history", "backup_history", "observations", "rejected_records")
O1, O2, O3, O4, O5 = (make_observation(day(number)).observation_id for number in range(1, 6))
COPIED = "INSERT INTO {table} SELECT * FROM {table} WHERE {which}"

# The histories of the diary, damaged in one place. S1: d1-d2, d2-d3, d4-; S2: d1-; backups B1, B2 likewise.
DAMAGE = {
    "nothing": ([], set()),
    "a version that ends as it begins": (
        [f"UPDATE backup_share_history SET valid_to = valid_from WHERE share_id = '{S1}' AND opened_by = '{O1}'"],
        # Its end is not at its observation's instant, and what was a change looks like a withdrawal and a new grant.
        {("I1", S1), ("I6", S1), ("I21", O2)},
    ),
    "two open versions": (
        [
            COPIED.format(table="backup_share_history", which=f"share_id = '{S2}'"),
        ],
        {("I2", S2), ("I3", S2), ("I21", O1)},
    ),
    "versions that overlap": (
        [
            f"""UPDATE backup_history SET valid_to = '2026-03-03 06:00:00+00', closed_by = '{O3}'
            WHERE backup_id = '{B1}' AND opened_by = '{O1}'"""
        ],
        {("I3", B1), ("I21", O2), ("I21", O3)},
    ),
    "a gap that nothing proves": (
        [f"UPDATE observations SET may_close = false WHERE observation_id = '{O3}'"],
        {("I4", S1)},
    ),
    "an end that is not proven": (
        [f"UPDATE observations SET is_proven = false WHERE observation_id = '{O3}'"],
        {("I4", S1), ("I4", B1), ("I6", S1), ("I6", B1)},
    ),
    "neighbours that are the same": (
        [f"UPDATE backup_history SET row_hash = 'same' WHERE backup_id = '{B1}'"],
        {("I5", B1)},
    ),
    "an observation that the ledger does not know": (
        [f"DELETE FROM observations WHERE observation_id = '{O4}'"],
        {("I6", S1), ("I6", B1)},
    ),
    "a version of another listing than its observation": (
        [f"UPDATE backup_share_history SET direction = 'incoming' WHERE share_id = '{S2}'"],
        {("I6", S2)},
    ),
    "an end that is no observation's": (
        [f"UPDATE backup_share_history SET closed_by = NULL WHERE share_id = '{S1}' AND closed_by = '{O3}'"],
        {("I6", S1), ("I21", O3)},
    ),
    "a version that was lost": (
        [f"DELETE FROM backup_history WHERE backup_id = '{B2}'"],
        {("I21", O1)},
    ),
    "a count of an unproven observation": (
        [f"UPDATE observations SET shares_granted = 1 WHERE observation_id = '{O5}'"],
        {("I21", O5)},
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_report_finds_a_broken_promise_and_no_other(warehouse, damage):
    for (observation, shares), _ in DIARY.values():
        record(warehouse, observation, make_page(*shares))
    statements, expected = DAMAGE[damage]
    with warehouse._engine.connect() as connection:
        # Copies without the constraints that would refuse the damage; they hide the tables from this connection.
        for table in TABLES:
            connection.exec_driver_sql(f"CREATE TEMPORARY TABLE {table} AS SELECT * FROM {table}")
        for statement in statements:
            connection.exec_driver_sql(statement)
        found = connection.exec_driver_sql(report("invariants")).fetchall()
    assert {(promise, key) for promise, _, _, _, _, key, _ in found} == expected
    assert all(detail for *_, detail in found)


def test_a_backup_may_end_by_a_share_that_turns_to_another_one(warehouse):
    record(warehouse, make_observation(day(1)), make_page(FIRST))
    turned = make_share(S1, B2, backup=make_backup(B2))
    record(warehouse, make_observation(day(2), may_close=False), make_page(turned))
    assert lines(warehouse, BACKUPS) == ["B1 d1 d2 - d1+ d1 d2+", "B2 d2 - d1 d2+ d2 -"]
    assert rows(warehouse, report("invariants")) == []
