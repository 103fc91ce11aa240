"""The policy file: what is refused and how it is told; how a policy is kept, recorded, and what a broken one stops.

Not here: what is found by a policy (test_findings.py).
"""

import json
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from pipelines.cli.frame import UNUSABLE
from pipelines.doctor import examine
from pipelines.errors import ConfigurationError, LandingError, OutOfOrderError
from pipelines.landing import landed_files
from pipelines.load import load_policies
from pipelines.policy import EXAMPLE, RULES, checked_policy, read_policy
from pipelines.policy_landing import land_policy, landed_policy_names, read_landed_policy
from pipelines.publish import reading
from pipelines.rebuild import rebuild, verify
from pipelines.retention import prune
from pipelines.schema import sql_folder
from pipelines.settings import Settings
from pipelines.simulator.service import Service
from tests.command import run
from tests.crash import House
from tests.oracle import ALICE, B1, BOB, S1, day, make_observation, make_page, make_share, make_warehouse, rows
from tests.test_definitions import NOON, ask, service, settings, sync, world

__all__ = ["service", "settings", "world"]

GOOD = f"projects:\n  - {{id: '{ALICE}', name: alice, owner: a}}\n"
EXEMPT = "exceptions:\n  - {id: x, owner: o, reason: r, "


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "policy.yaml"


# --- the file ---------------------------------------------------------------------------------------------------------


def test_the_example_is_a_policy_and_shows_every_part() -> None:
    policy, problems = checked_policy(EXAMPLE)
    assert problems == []
    assert policy is not None
    assert (len(policy.projects), len(policy.recipients), len(policy.exceptions)) == (1, 1, 1)
    assert set(yaml.safe_load(EXAMPLE.read_text())) == {"projects", "recipients", "exceptions", "limits"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty: `backup-shares policy example` prints one to begin with"),
        ("- a\n- b\n", "is no policy: it must begin with projects"),
        ("projects: [\n", ", line 2, is not YAML"),
        ("projects: \x00", "is not YAML"),
        ("projects: []\nrecipient: []\n", ", line 2: recipient is unknown: did you mean recipients?"),
        ("recipients: []\n", ", line 1: projects is missing"),
        (GOOD.replace("owner", "onwer"), ", line 2: projects[0].onwer is unknown: did you mean owner?"),
        (GOOD.replace(ALICE, "a1"), ", line 2: projects[0].id is not a project id: 32 lower-case letters and digits"),
        (GOOD.replace(f"'{ALICE}'", "1234"), ", line 2: projects[0].id is no text: put it in quotes"),
        (GOOD.replace("alice", '"\\e[2J"'), ", line 2: projects[0].name holds characters that cannot be seen"),
        (GOOD.replace("alice", '"\\u202e"'), ", line 2: projects[0].name holds characters that cannot be seen"),
        (GOOD.replace("alice", "' '"), ", line 2: projects[0].name is not usable"),
        (GOOD * 2, ", line 3: projects stands here twice"),
        (GOOD + GOOD.splitlines()[1], f", line 3: projects name {ALICE} twice"),
        (
            GOOD + f"recipients: [{{id: '{ALICE}', name: n, owner: o}}]",
            f", line 3: {ALICE} is among projects and recipients",
        ),
        (
            GOOD + f"recipients:\n  - {{id: '{BOB}', name: n, owner: o, trusted_from: 2026-02-30}}",
            ", line 4: recipients[0].trusted_from is not a day: write it as 2026-12-31",
        ),
        (
            GOOD + f"recipients:\n  - {{id: '{BOB}', name: n, owner: o, trusted_until: 20260301}}",
            ", line 4: recipients[0].trusted_until is not a day",
        ),
        (
            GOOD
            + f"recipients: [{{id: '{BOB}', name: n, owner: o, trusted_from: 2026-03-02, trusted_until: 2026-03-01}}]",
            "recipients[0]: trusted_until is before trusted_from",
        ),
        (
            GOOD + EXEMPT + "rule: fanout, backup: b, expires: 2026-03-01}",
            "exceptions[0].backup is not an id such as 01234567-89ab-cdef",
        ),
        (
            GOOD + EXEMPT + f"rule: fanout, backup: {B1}, expires: 2026-03-01}}",
            ", line 4: exceptions[0].rule is 'fanout', which is no rule: did you mean fan_out?",
        ),
        (
            GOOD + EXEMPT + f"rule: fan_out, share: {S1}, expires: 2026-03-01}}",
            "exceptions[0]: fan_out is not about a share, only about backup or from_project",
        ),
        (
            GOOD + EXEMPT + "rule: fan_out, expires: 2026-03-01}",
            "exceptions[0]: it does not say of what: name backup or from_project",
        ),
        (
            GOOD + EXEMPT + f"rule: fan_out, backup: {B1}, starts: 2026-03-02, expires: 2026-03-01}}",
            "exceptions[0]: expires is before starts",
        ),
        (
            GOOD + "limits: {max_recipients: 0}",
            ", line 3: limits.max_recipients is not usable: at least 1 is expected",
        ),
        (GOOD + "limits: {max_recipients: ten}", ", line 3: limits.max_recipients is not usable: a whole number"),
        (GOOD + "limits: 5", ", line 3: limits is not usable: names with values are expected, as `name: value`"),
        ("projects: 5", ", line 1: projects is not usable: a list is expected, each entry begun with `- `"),
        (
            GOOD + "limits: {max_age: 3}",
            ", line 3: limits.max_age is unknown: choose max_recipients, max_share_age_days",
        ),
    ],
)
def test_what_cannot_be_used_is_told_with_its_line(file: Path, text: str, problem: str) -> None:
    file.write_text(text)
    policy, problems = checked_policy(file)
    assert policy is None
    assert any(problem in each for each in problems), problems
    assert all(each.startswith(str(file)) and each.isprintable() for each in problems)
    with pytest.raises(ConfigurationError):
        read_policy(file)


def test_everything_that_is_wrong_is_told_at_once(file: Path) -> None:
    entry = GOOD.splitlines()[1]
    lines = [entry.replace("owner", "onwer"), entry, f"{EXEMPT}rule: fanout, backup: b, expires: never}}", "  - 5"]
    file.write_text(GOOD + "\n".join(lines))
    _, problems = checked_policy(file)
    assert [problem.removeprefix(f"{file}, ").split(" id such")[0] for problem in problems] == [
        f"line 3: projects name {ALICE} twice",
        f"line 4: projects name {ALICE} twice",
        "line 3: projects[1].owner is missing",
        "line 3: projects[1].onwer is unknown: did you mean owner?",
        "line 6: exceptions[0].rule is 'fanout', which is no rule: did you mean fan_out?",
        "line 6: exceptions[0].backup is not an",
        "line 6: exceptions[0].expires is not a day: write it as 2026-12-31",
        "line 7: exceptions[1] is not usable: names with values are expected, as `name: value`",
    ]


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"a: " + b"[" * 5000, b"x" * (2**20 + 1), b"&a [*a, *a]", b"? {a: b}\n: c"]
)
def test_bytes_that_are_no_policy_are_refused_in_a_sentence(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    policy, problems = checked_policy(file)
    assert policy is None
    assert problems
    assert len(problems[0]) < 300


def test_a_file_that_is_not_there_is_named(file: Path) -> None:
    assert checked_policy(file) == (None, [f"{file} (POLICY_FILE) cannot be read: no such file or directory"])


def test_every_rule_of_the_findings_can_be_excepted_but_that_of_exceptions_that_ran_out() -> None:
    sql = (sql_folder("views") / "findings.sql").read_text()
    told = {
        line.split("'")[1] for line in sql.splitlines() if line.strip().startswith("'") and line.endswith("as rule,")
    }
    told |= {
        line.split("'")[1] for line in sql.splitlines() if line.strip().startswith("select '") and "as rule" in line
    }
    assert told == {*RULES, "expired_exception"}


def test_comments_and_order_make_no_other_policy(file: Path) -> None:
    both = [f"  - {{id: '{ALICE}', name: alice, owner: a}}\n", f"  - {{id: '{BOB}', name: bob, owner: b}}\n"]
    file.write_text("projects:\n" + "".join(both))
    first = read_policy(file)
    file.write_text("# a comment\nlimits: {}\nprojects:\n" + "".join(reversed(both)))
    assert read_policy(file).sha256 == first.sha256
    file.write_text("projects:\n" + both[0])
    assert read_policy(file).sha256 != first.sha256


# --- the command line -------------------------------------------------------------------------------------------------


def test_check_and_example_go_together(tmp_path: Path) -> None:
    nothing = run(tmp_path, "policy", "check")
    assert nothing.returncode == UNUSABLE
    assert b"`backup-shares policy example > policy.yaml`" in nothing.stderr
    (tmp_path / "policy.yaml").write_bytes(run(tmp_path, "policy", "example").stdout)
    done = run(tmp_path, "policy", "check")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(
        b"policy.yaml can be used: 1 project, 1 recipient, 1 exception, at most 10 recipients of a backup"
    )
    (tmp_path / "other.yaml").write_text("projects: []\nlimit: {}\nrecipent: []\n")
    bad = run(tmp_path, "policy", "check", POLICY_FILE="other.yaml")
    assert bad.returncode == UNUSABLE
    assert bad.stderr.decode().splitlines() == [
        "other.yaml, line 2: limit is unknown: did you mean limits?",
        "other.yaml, line 3: recipent is unknown: did you mean recipients?",
    ]


# --- kept beside the pages --------------------------------------------------------------------------------------------


def test_a_policy_is_kept_once_and_again_when_it_says_otherwise(file: Path, tmp_path: Path) -> None:
    landing = tmp_path / "landing"
    file.write_text(GOOD)
    assert land_policy(file, landing, day(1)) is not None
    assert land_policy(file, landing, day(2)) is None
    file.write_text(GOOD + "limits: {max_recipients: 3}")
    with pytest.raises(LandingError, match=r"was landed at 2026-03-01 06:00:00 UTC.* look at the clock"):
        land_policy(file, landing, day(1))
    assert land_policy(file, landing, day(3)) is not None
    file.write_text(GOOD)
    assert land_policy(file, landing, day(4)) is not None, "as on the first day"
    names = landed_policy_names(landing)
    assert [read_landed_policy(landing, name).landed_at for name in names] == [day(1), day(3), day(4)]
    assert landed_files(landing) == []
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (landing / "_policy").iterdir()}
    assert (modes, stat.S_IMODE((landing / "_policy").stat().st_mode)) == ({0o600}, 0o700)


def test_a_changed_byte_of_a_landed_policy_is_noticed(file: Path, tmp_path: Path) -> None:
    file.write_text(GOOD)
    landed = land_policy(file, tmp_path, day(1))
    assert landed is not None
    path = tmp_path / landed.name
    path.write_text(path.read_text().replace('"alice"', '"mallory"'))
    with pytest.raises(LandingError, match=rf"{landed.name} is damaged .*: restore it from a backup"):
        read_landed_policy(tmp_path, landed.name)
    path.write_text(json.dumps({"format": 99}))
    with pytest.raises(LandingError, match="is of format 99, and this program reads 1"):
        read_landed_policy(tmp_path, landed.name)


def test_an_older_policy_that_turns_up_late_is_for_a_rebuild_only(file: Path, tmp_path: Path) -> None:
    landing, warehouse = tmp_path / "landing", make_warehouse()
    file.write_text(GOOD)
    assert land_policy(file, landing, day(5))
    load_policies(warehouse, landing)
    load_policies(warehouse, landing)
    late = tmp_path / "late"
    landed = land_policy(file, late, day(2))
    assert landed is not None
    (late / landed.name).rename(landing / landed.name)
    file.write_text(GOOD + "limits: {max_recipients: 3}")
    assert land_policy(file, landing, day(6))
    with pytest.raises(OutOfOrderError, match="only a rebuild can use it"):
        load_policies(warehouse, landing)
    assert rows(warehouse, "SELECT valid_from FROM policy_versions ORDER BY 1") == [(day(5),), (day(6),)]
    warehouse.close()


def test_a_prune_keeps_every_policy_and_a_rebuild_finds_them(file: Path, tmp_path: Path) -> None:
    house = House(tmp_path / "house", f"duckdb:///{tmp_path}/house/warehouse.duckdb")
    file.write_text(GOOD)
    page = make_page(make_share(S1, B1))
    house.land(*((make_observation(day(number), distinct_ids=1), (page,)) for number in (1, 2, 3)))
    assert land_policy(file, house.landing, day(1, 5))
    rebuild(house.address, house.landing)
    assert len(prune(house.address, house.landing, day(20)).files) == 2
    assert verify(house.address, house.landing) is None
    rebuild(house.address, house.landing)
    with reading(house.address) as warehouse:
        assert warehouse is not None
        assert rows(warehouse, "SELECT rule, state FROM findings WHERE rule = 'untrusted_recipient'") == [
            ("untrusted_recipient", "open")
        ]


# --- in a sync --------------------------------------------------------------------------------------------------------


def with_policy(settings: Settings, text: str) -> Settings:
    path = settings.data_dir.parent / "policy.yaml"
    path.write_text(text)
    return settings.model_copy(update={"policy_file": path})


def checks_of(settings: Settings, run_id: str) -> list[Any]:
    with dg.DagsterInstance.from_config(str(settings.data_dir / "dagster_home")) as instance:
        logs = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    return [each.dagster_event.event_specific_data for each in logs if each.dagster_event]


def ours(projects: list[str]) -> str:
    named = "".join(f"\n  - {{id: '{each}', name: n, owner: o}}" for each in projects)
    return f"projects:{named}\n"


def test_a_broken_policy_is_told_and_the_shares_are_published_all_the_same(
    settings: Settings, service: Service, world: Any
) -> None:
    good = with_policy(settings, ours(world.projects))
    first = sync(good, service, home=good.data_dir / "dagster_home")
    assert first.succeeded
    assert ask(good, "SELECT count(*) AS n FROM policy_projects") == [{"n": 2}]
    check = next(each for each in checks_of(good, first.sync_id) if each.check_name == "no_finding_is_open")
    open_count = ask(good, "SELECT count(*) AS n FROM findings WHERE state IN ('open', 'reopened')")[0]["n"]
    assert open_count, "the simulated world shares with strangers, too"
    assert (check.passed, check.severity.value) == (False, "WARN")
    assert check.metadata["open_findings"].value == open_count
    service.day = 1
    broken = with_policy(settings, "projects: []\nlimit: 3\n")
    outcome = sync(broken, service, NOON + timedelta(days=1))
    assert not outcome.succeeded
    (told,) = outcome.failures
    assert "All 4 listings that were observed are proven and published. Look at this:" in told
    assert "the last good one stays in force" in told
    assert "policy.yaml, line 2: limit is unknown: did you mean limits?" in told
    assert ask(broken, "SELECT count(*) AS n FROM observations WHERE is_proven") == [{"n": 8}]
    assert ask(broken, "SELECT count(*) AS n FROM policy_versions") == [{"n": 1}]
    judgements = [each for each in examine(broken, find_accounts=lambda _: []) if each.check == "policy"]
    assert [(str(each.state), each.judgement.is_configuration) for each in judgements] == [("broken", True)]
    gone = settings.model_copy(update={"policy_file": None})
    (left,) = [each for each in examine(gone, find_accounts=lambda _: []) if each.check == "policy"]
    assert left.judgement.found == "there is no file; the one that was landed last stays in force"


def test_a_damaged_landed_policy_stops_no_share(settings: Settings, service: Service, world: Any) -> None:
    good = with_policy(settings, ours(world.projects))
    folder = good.landing_folder / "_policy"
    folder.mkdir(parents=True)
    (folder / f"20260101T000000000000Z_{'0' * 16}.json").write_text("{}")
    outcome = sync(good, service)
    assert not outcome.succeeded
    assert "_policy/20260101T000000000000Z_0000000000000000.json is damaged" in outcome.failures[0]
    assert ask(good, "SELECT count(*) AS n FROM observations WHERE is_proven") == [{"n": 4}]
