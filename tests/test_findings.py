"""What the view findings says of a small diary, on every engine: each rule found and not found, accepted, over, again.

The expected rows are worked out by hand from the diary and the policies in front of it.
Not here: the policy file and its landing (test_policy.py), other views (test_sql.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines.load import load_pending, load_policies
from pipelines.policy_landing import land_policy
from pipelines.publish import reading, writing
from pipelines.rebuild import rebuild, verify
from pipelines.schema import LANDED, report
from pipelines.warehouse import Warehouse
from tests.oracle import (
    ALICE,
    BOB,
    CAROL,
    IN,
    OUT,
    UNPROVEN,
    day,
    land,
    make_backup,
    make_id,
    make_observation,
    make_page,
    make_share,
    make_warehouse,
    rows,
)

DAVE, FRANK, GRACE, HEIDI, IVAN, JUDY, MALLORY = (sign * 16 for sign in ("d4", "f6", "a7", "a8", "a9", "aa", "ee"))
NAMES = {
    ALICE: "Alice",
    BOB: "Bob",
    CAROL: "Carol",
    DAVE: "Dave",
    FRANK: "Frank",
    GRACE: "Grace",
    HEIDI: "Heidi",
    IVAN: "Ivan",
    JUDY: "Judy",
    MALLORY: "Mallory",
}

# --- the policies -----------------------------------------------------------------------------------------------------

TRUST = {
    "Carol until the 5th": f"{{id: '{CAROL}', name: c, owner: o, trusted_from: 2026-03-01, trusted_until: 2026-03-05}}",
    "Dave": f"{{id: '{DAVE}', name: d, owner: o}}",
    "Heidi": f"{{id: '{HEIDI}', name: h, owner: o}}",
}


def policy(*trusted: str) -> str:
    recipients = "".join(f"\n  - {TRUST[each]}" for each in trusted)
    return f"""
projects:
  - {{id: '{ALICE}', name: alice, owner: a}}
  - {{id: '{BOB}', name: "<b>$name %s", owner: "'; DROP TABLE observations; --"}}
recipients:{recipients}
exceptions:
  - {{id: frank, rule: untrusted_recipient, to_project: {FRANK}, owner: Fred, reason: audit, expires: 2026-03-07}}
  - {{id: grace, rule: untrusted_recipient, to_project: {GRACE}, owner: Gil, reason: move, expires: 2026-03-31}}
  - {{id: grace-too, rule: unknown_project, project: {GRACE}, owner: Gil, reason: move, expires: 2026-03-31}}
  - {{id: old-disk, rule: stale_share, share: {make_id("5", 9)}, owner: Olga, reason: legal, expires: 2026-03-31}}
  - {{id: drill, rule: short_lived_share, to_project: {DAVE}, owner: Dan, reason: drill, expires: 2026-03-05}}
  - {{id: later, rule: self_share, from_project: {ALICE},
     owner: Lea, reason: test, starts: 2026-04-01, expires: 2026-04-02}}
limits: {{max_recipients: 2, max_share_age_days: 30, short_lived_hours: 48}}
"""


POLICIES = {
    1: policy("Carol until the 5th", "Heidi"),
    3: policy("Carol until the 5th", "Dave"),
    5: policy("Carol until the 5th", "Dave", "Heidi"),
    8: policy("Carol until the 5th", "Dave"),
}
"""In force from five in the morning of that day; the listings are walked at six and seven."""

# --- the diary --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """A share with the days on which a listing tells of it."""

    number: int
    to: str
    days: Any
    backup: int = 0
    created: str = "2026-03-01"
    giver: str = ALICE
    failed: Any = ()
    reason: Any = ()

    def on(self, number: int) -> dict[str, Any]:
        backup_id = make_id("b", self.backup or self.number)
        status = "error_deleting" if number in self.failed else "available"
        fail_reason = "disk" if number in self.reason else ""
        return make_share(
            make_id("5", self.number),
            backup_id,
            from_project_id=self.giver,
            to_project_id=self.to,
            created_at=f"{self.created}T00:00:00",
            backup=make_backup(backup_id, status=status, fail_reason=fail_reason),
        )


ALWAYS = range(1, 10)
GIVEN = [
    Told(1, DAVE, ALWAYS),
    Told(2, DAVE, range(3, 10), created="2026-03-03"),
    Told(3, CAROL, ALWAYS),
    Told(4, FRANK, ALWAYS),
    Told(5, GRACE, ALWAYS),
    Told(6, HEIDI, ALWAYS),
    # Three recipients of one backup from the 3rd to the 5th, and again from the 7th; two before and in between.
    Told(21, BOB, ALWAYS, backup=20),
    Told(22, DAVE, ALWAYS, backup=20),
    Told(23, IVAN, range(3, 5), backup=20, created="2026-03-03"),
    Told(24, IVAN, range(7, 10), backup=20, created="2026-03-07"),
    Told(7, JUDY, range(2, 5), created="2026-03-02"),
    Told(8, BOB, ALWAYS, created="2026-02-05"),
    Told(9, BOB, ALWAYS, created="2026-01-01"),
    Told(10, CAROL, [2], created="2026-03-02"),
    Told(11, DAVE, [2], created="2026-03-02"),
    Told(12, ALICE, range(2, 5), created="2026-03-02"),
    Told(13, BOB, ALWAYS, failed=range(2, 5)),
    Told(14, BOB, ALWAYS, reason=range(8, 10)),
    Told(15, BOB, ALWAYS),
    Told(16, BOB, range(6, 10), created="2026-03-05"),
    Told(17, BOB, range(7, 10), created="2026-03-07"),
]
RECEIVED = [
    *(each for each in GIVEN if each.to == BOB and each.number not in (15, 16, 17)),
    Told(15, BOB, [1, 2, 5, 6, 7, 8, 9]),  # hidden on the 3rd and the 4th
    Told(16, BOB, range(5, 10), created="2026-03-05"),  # granted between the walks of the 5th
    Told(18, BOB, range(2, 10), giver=MALLORY, created="2026-03-02"),
]
NOT_OBSERVED, NOT_PROVEN = 4, 6
"""Days on which what Alice shares was not walked, and was walked in vain."""

# rule, subject, state, first_seen, resolved_at, occurrences; a day alone is six in the morning.
EXPECTED = """
untrusted_recipient      5-1   resolved  d1@00  d3@05  1
untrusted_recipient      5-3   open      d6@00  -      1
untrusted_recipient      5-4   reopened  d1@00  -      1
untrusted_recipient      5-5   accepted  d1@00  -      1
untrusted_recipient      5-6   reopened  d3@05  -      2
untrusted_recipient      5-22  resolved  d1@00  d3@05  1
untrusted_recipient      5-23  resolved  d3@00  d5     1
untrusted_recipient      5-24  open      d7@00  -      1
untrusted_recipient      5-7   resolved  d2@00  d5     1
untrusted_recipient      5-11  resolved  d2@00  d3@05  1
first_ever_recipient     Ivan  resolved  d3     d5     1
first_ever_recipient     Judy  resolved  d2     d5     1
unknown_project          Dave     resolved  d1@00  d3@05  1
unknown_project          Frank    open      d1@00  -      1
unknown_project          Grace    accepted  d1@00  -      1
unknown_project          Heidi    reopened  d3@05  -      2
unknown_project          Ivan     reopened  d3@00  -      2
unknown_project          Judy     resolved  d2@00  d5     1
unknown_project          Mallory  open      d2@00  -      1
fan_out                  b-20  reopened  d3     -      2
stale_share              5-8   open      d7@00  -      1
stale_share              5-9   accepted  d1     -      1
short_lived_share        5-10  open      d3     -      1
short_lived_share        5-11  accepted  d3     -      1
regranted_share          5-24  open      d7     -      1
self_share               5-12  resolved  d2     d5     1
failed_backup_shared     b-13  resolved  d2     d5@07  1
failed_backup_shared     b-14  open      d8     -      1
giver_receiver_disagree  5-15  resolved  d3@07  d5@07  1
giver_receiver_disagree  5-17  open      d7@07  -      1
expired_exception        frank    open      d8@00  -      1
"""


def land_diary(folder: Path, until: int = 9) -> Path:
    """All days and policies as a sync would land them."""
    landing, file = folder / "landing", folder / "policy.yaml"
    everything = tuple(make_id("5", number) for number in range(30))
    for number in range(1, until + 1):
        if number in POLICIES:
            file.write_text(POLICIES[number])
            land_policy(file, landing, day(number, 5))
        for hour, listing, told in ((6, OUT, GIVEN), (7, IN, RECEIVED)):
            if listing is OUT and number == NOT_OBSERVED:
                continue
            proof = UNPROVEN if listing is OUT and number == NOT_PROVEN else {}
            page = make_page(*(each.on(number) for each in told if number in each.days))
            sync = f"sync of day {number}"
            land(
                landing, make_observation(day(number, hour), listing, sync_id=sync, gone_ids=everything, **proof), page
            )
    return landing


def load(warehouse: Warehouse, landing: Path) -> None:
    load_policies(warehouse, landing)
    assert load_pending(warehouse, landing, landing.parent / "staging") == []


@dataclass
class House:
    address: str
    landing: Path


@pytest.fixture(scope="module", params=["duckdb", "postgresql"])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("diary")
    landing = land_diary(folder)
    if request.param == "duckdb":
        address = f"duckdb:///{folder}/warehouse.duckdb"
    else:
        address = request.getfixturevalue("postgres").create_database()
    with writing(address) as warehouse:
        load(warehouse, landing)
    yield House(address, landing)
    if request.param == "postgresql":
        request.getfixturevalue("postgres").drop_database(address)


def short(value: Any) -> str:
    match value:
        case None:
            return "-"
        case datetime():
            return f"d{value.day}" if value == day(value.day) else f"d{value.day}@{value:%H}"
        case str() if len(value) == 36:
            return f"{value[0]}-{int(value[-12:])}"
        case _:
            return NAMES.get(value, str(value))


FINDINGS = """
    SELECT rule,
        CASE WHEN rule = 'first_ever_recipient' THEN to_project_id
            WHEN rule = 'expired_exception' THEN exception_id
            ELSE coalesce(share_id, backup_id, project_id) END AS subject,
        state, first_seen, resolved_at, occurrence_count
    FROM findings
"""


def lines(answer: list[tuple[Any, ...]]) -> list[str]:
    return sorted(" ".join(map(short, row)) for row in answer)


def by_hand(text: str) -> list[str]:
    return sorted(" ".join(line.split()) for line in text.strip().splitlines())


def ask(house: House, sql: str) -> list[tuple[Any, ...]]:
    with reading(house.address) as warehouse:
        assert warehouse is not None
        return rows(warehouse, sql)


def test_the_findings_of_the_diary_are_these(house: House) -> None:
    assert lines(ask(house, FINDINGS)) == by_hand(EXPECTED)


def test_a_finding_is_known_since_an_observation_showed_it_or_the_policy_minds(house: House) -> None:
    question = """
        SELECT rule, share_id, known_since FROM findings
        WHERE known_since <> first_seen AND rule <> 'unknown_project'
    """
    assert lines(ask(house, question)) == by_hand("""
        untrusted_recipient      5-4  d1
        untrusted_recipient      5-5  d1
        untrusted_recipient      5-6  d8@05
        untrusted_recipient      5-22 d1
        untrusted_recipient      5-1  d1
        untrusted_recipient      5-23 d3
        untrusted_recipient      5-24 d7
        untrusted_recipient      5-7  d2
        untrusted_recipient      5-11 d2
        giver_receiver_disagree  5-15 d5
        giver_receiver_disagree  5-17 d8
        fan_out                  -    d7
    """)


def test_a_listing_that_was_not_proven_is_not_blamed_for_what_others_have_shown_since(tmp_path: Path) -> None:
    given = [Told(15, BOB, ALWAYS), Told(17, BOB, ALWAYS)]
    for number in (1, 2, 3):
        for hour, listing in ((6, OUT), (7, IN)):
            proof = UNPROVEN if listing is IN and number > 1 else {}
            shares = [each.on(number) for each in given if listing is OUT or each.number == 15]
            land(tmp_path / "landing", make_observation(day(number, hour), listing, **proof), make_page(*shares))
    warehouse = make_warehouse()
    load(warehouse, tmp_path / "landing")
    assert lines(rows(warehouse, FINDINGS)) == by_hand("giver_receiver_disagree 5-17 open d1@07 - 1")
    warehouse.close()


def test_a_finding_says_who_accepts_it_or_did(house: House) -> None:
    question = """
        SELECT rule, exception_id, exception_owner, exception_reason, CAST(exception_expires_on AS text)
        FROM findings WHERE exception_owner IS NOT NULL
    """
    assert lines(ask(house, question)) == by_hand("""
        untrusted_recipient frank Fred audit 2026-03-07
        expired_exception frank Fred audit 2026-03-07
        untrusted_recipient grace Gil move 2026-03-31
        unknown_project grace-too Gil move 2026-03-31
        stale_share old-disk Olga legal 2026-03-31
        short_lived_share drill Dan drill 2026-03-05
    """)


def test_a_finding_has_an_id_of_its_own_and_a_sentence(house: House) -> None:
    found = ask(house, "SELECT finding_id, severity, detail, first_seen, last_seen, resolved_at FROM findings")
    assert len({each[0] for each in found}) == len(found)
    assert {each[1] for each in found} == {"high", "medium", "low"}
    assert all("(since 2026-03-" in each[2] or "(over; it began on 2026-03-" in each[2] for each in found)
    assert all(first <= last and (resolved is None or resolved == last) for *_, first, last, resolved in found)
    assert ask(house, "SELECT finding_id, detail FROM findings WHERE rule = 'fan_out'") == [
        (
            # md5 of "fan_out eu-test-1 bbbbbbbb-0000-4000-8000-000000000020"
            "9de1461cfaf618874e6e182872b1e404",
            f"backup {make_id('b', 20)} is shared with 3 projects (since 2026-03-07)",
        )
    ]


def test_a_rebuild_gives_the_same_findings_and_tables(house: House) -> None:
    def everything() -> dict[str, list[tuple[Any, ...]]]:
        return {name: sorted(ask(house, f"SELECT * FROM {name}"), key=repr) for name in (*names, "findings")}

    names = [table.name for table in LANDED]
    assert verify(house.address, house.landing) is None
    before = everything()
    rebuild(house.address, house.landing)
    assert everything() == before


def test_the_tables_of_the_policy_keep_their_history(house: House) -> None:
    spans = "CASE WHEN valid_to > '9999-01-01' THEN NULL ELSE valid_to END"
    recipients = ask(house, f"SELECT project_id, valid_from, {spans} FROM policy_recipients")
    assert lines(recipients) == by_hand("""
        Carol d1@05 -
        Dave  d3@05 -
        Heidi d1@05 d3@05
        Heidi d5@05 d8@05
    """)
    versions = ask(house, f"SELECT valid_from, {spans} FROM policy_versions")
    assert lines(versions) == by_hand("d1@05 d3@05\nd3@05 d5@05\nd5@05 d8@05\nd8@05 -")
    hostile = ask(house, f"SELECT project_name, owner FROM policy_projects WHERE project_id = '{BOB}'")
    assert hostile == [("<b>$name %s", "'; DROP TABLE observations; --")]
    assert ask(house, "SELECT max_recipients, max_share_age_days, short_lived_hours FROM policy_limits") == [
        (2, 30, 48)
    ]


# --- as of earlier days -----------------------------------------------------------------------------------------------


def test_as_of_an_earlier_day_later_policies_and_days_do_not_show(tmp_path: Path) -> None:
    landing = land_diary(tmp_path, until=2)
    warehouse = make_warehouse()
    load(warehouse, landing)
    assert lines(rows(warehouse, FINDINGS)) == by_hand("""
        untrusted_recipient   5-1    open      d1@00 - 1
        untrusted_recipient   5-4    accepted  d1@00 - 1
        untrusted_recipient   5-5    accepted  d1@00 - 1
        untrusted_recipient   5-22   open      d1@00 - 1
        untrusted_recipient   5-7    open      d2@00 - 1
        untrusted_recipient   5-11   open      d2@00 - 1
        first_ever_recipient  Judy   open      d2    - 1
        unknown_project       Dave     open      d1@00 - 1
        unknown_project       Frank    open      d1@00 - 1
        unknown_project       Grace    accepted  d1@00 - 1
        unknown_project       Judy     open      d2@00 - 1
        unknown_project       Mallory  open      d2@00 - 1
        stale_share           5-9    accepted  d1    - 1
        self_share            5-12   open      d2    - 1
        failed_backup_shared  b-13   open      d2    - 1
    """)
    warehouse.close()


def test_without_a_policy_the_rules_that_need_one_are_silent_and_the_reports_say_so(tmp_path: Path) -> None:
    landing = land_diary(tmp_path)
    warehouse = make_warehouse()
    assert load_pending(warehouse, landing, tmp_path / "staging") == []
    assert {rule for (rule,) in rows(warehouse, "SELECT rule FROM findings")} == {
        "first_ever_recipient",
        "regranted_share",
        "self_share",
        "failed_backup_shared",
        "giver_receiver_disagree",
    }
    assert {row["policy_since"] for row in warehouse.query(report("open_findings")).to_pylist()} == {None}
    assert {row["standing"] for row in warehouse.query(report("projects")).to_pylist()} == {"no_policy"}
    warehouse.close()


# --- reports ----------------------------------------------------------------------------------------------------------


def told(house: House, name: str, *columns: str) -> list[str]:
    with reading(house.address) as warehouse:
        assert warehouse is not None
        table = warehouse.query(report(name))
    return [" ".join(short(row[column]) for column in columns) for row in table.to_pylist()]


def test_the_report_of_open_findings_holds_the_open_ones_the_gravest_first(house: House) -> None:
    found = told(house, "open_findings", "severity", "rule", "policy_since")
    assert len(found) == sum(" open " in line or " reopened " in line for line in by_hand(EXPECTED))
    assert found[0] == "high untrusted_recipient d8@05"
    assert found[-1].startswith("low ")


def test_the_report_of_exceptions_tells_what_they_accept_and_how_long(house: House) -> None:
    columns = ("exception_id", "standing", "days_left", "accepted_count", "owner")
    assert told(house, "exceptions_and_expiry", *columns) == [
        "drill expired -4 1 Dan",
        "frank expired -2 0 Fred",
        "grace in_force 22 1 Gil",
        "grace-too in_force 22 1 Gil",
        "old-disk in_force 22 1 Olga",
        "later not_yet 24 0 Lea",
    ]


def test_the_report_of_projects_tells_their_standing(house: House) -> None:
    columns = ("standing", "project_id", "shares_given", "shares_received", "is_observed")
    assert sorted(told(house, "projects", *columns)) == [
        "not_trusted_now Carol 0 1 False",
        "own Alice 16 0 True",
        "own Bob 0 9 True",
        "trusted Dave 0 3 False",
        "unknown Frank 0 1 False",
        "unknown Grace 0 1 False",
        "unknown Heidi 0 1 False",
        "unknown Ivan 0 1 False",
        "unknown Judy 0 0 False",
        "unknown Mallory 1 0 False",
    ]


def test_the_report_of_untrusted_recipients_begins_with_those_that_still_stand(house: House) -> None:
    found = told(house, "untrusted_recipients", "to_project_id", "recipient", "untrusted_from", "untrusted_until")
    assert found[:4] == ["Frank - d1@00 -", "Grace - d1@00 -", "Heidi - d3@05 -", "Carol c d6@00 -"]
    assert found[-1].endswith("d3@05")
    assert len(found) == 10
