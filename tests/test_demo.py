"""The demo, through the real job, a real port and the views: its numbers are the simulator's truth."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines.demo import Demo, make_demo
from pipelines.dictionary import answer_table, example_queries
from pipelines.duckdb_file import OLDEST_CLIENT
from pipelines.observation import Direction
from pipelines.publish import reading, warehouse_file
from pipelines.rebuild import rebuild
from pipelines.relations import view_queries
from pipelines.schema import sql_folder
from pipelines.simulator.world import World
from tests.truth import backup_row, canonical, share_row

pytestmark = pytest.mark.slow
DAYS = 5
REVOKED_DAY, MALFORMED_DAY = 2, 1


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    made = make_demo(tmp_path_factory.mktemp("demo"))
    outcomes = [done.outcome.succeeded for done in made.run(DAYS)]
    assert outcomes == [day != REVOKED_DAY for day in range(DAYS)]
    return made


def ask(demo: Demo, sql: str, **parameters: Any) -> list[dict[str, Any]]:
    with reading(demo.address) as warehouse:
        assert warehouse is not None
        return warehouse.query(sql, **parameters).to_pylist()


def visible(demo: Demo, day: int) -> dict[tuple[str, str], list[Any]]:
    """What the listings that could be read truly held on a day."""
    world, scenario = demo.world, demo.scenario
    broken = scenario.malformed_on(day)
    return {
        (project, str(direction)): [
            record for record in world.listing(day, project, direction) if record["id"] not in broken
        ]
        for project in world.projects
        if not scenario.is_revoked(day, project)
        for direction in Direction
    }


def in_view(demo: Demo, view: str, key: str, columns: list[str], where: str = "true") -> dict[str, dict[str, Any]]:
    rows = ask(demo, f"SELECT {', '.join(columns)} FROM {view} WHERE {where}")
    found = {row[key]: row for row in rows}
    assert len(found) == len(rows), f"{view} has a {key} twice"
    return found


def test_the_findings_of_each_page_are_those_of_the_day_before_with_the_new_and_without_the_resolved(
    demo: Demo,
) -> None:
    pages = sorted(warehouse_file(demo.address).with_name("reports").glob("2026-*.html"))
    texts = [re.sub(r"\s*<[^>]*>\s*", " ", page.read_text(encoding="utf-8")) for page in pages]
    first, *later = (re.search(r"Open findings +(\d+) +(?:(\d+) new, (\d+) resolved)?", text) for text in texts)
    assert len(later) == DAYS - 1
    standing = int(first[1])
    for found in later:
        standing += int(found[2]) - int(found[3])
        assert int(found[1]) == standing


@pytest.mark.parametrize("day", range(DAYS))
def test_the_snapshot_of_every_day_holds_the_shares_that_truly_existed(demo: Demo, day: int) -> None:
    expected = canonical(visible(demo, day), share_row, "share_id")
    if day == MALFORMED_DAY:  # a quarantined record keeps its share as it was known before
        for share_id in demo.scenario.malformed_on(day):
            (known,) = [record for record in demo.world.shares(day - 1) if record["id"] == share_id]
            expected[share_id] = share_row(known) | {"project_id": known["from_project_id"], "direction": "outgoing"}
    columns = [*next(iter(expected.values()))]

    found = in_view(demo, "backup_share_snapshots", "share_id", columns, f"snapshot_date = DATE '2026-03-0{day + 1}'")

    assert found == expected


@pytest.mark.parametrize("day", range(DAYS))
def test_the_snapshot_of_every_day_holds_the_backups_as_they_truly_were(demo: Demo, day: int) -> None:
    expected = canonical(visible(demo, day), backup_row, "backup_id")
    for share_id in demo.scenario.malformed_on(day):
        (known,) = [record for record in demo.world.shares(day - 1) if record["id"] == share_id]
        expected.setdefault(
            known["backup_id"], backup_row(known) | {"project_id": known["from_project_id"], "direction": "outgoing"}
        )
    columns = [*next(iter(expected.values()))]

    found = in_view(demo, "backup_snapshots", "backup_id", columns, f"snapshot_date = DATE '2026-03-0{day + 1}'")

    assert found == expected


def test_the_current_views_hold_the_last_day(demo: Demo) -> None:
    expected = canonical(visible(demo, DAYS - 1), share_row, "share_id")
    columns = [*next(iter(expected.values()))]

    assert in_view(demo, "backup_shares", "share_id", columns) == expected
    backups = canonical(visible(demo, DAYS - 1), backup_row, "backup_id")
    assert in_view(demo, "backups", "backup_id", [*next(iter(backups.values()))]) == backups


def test_the_changes_are_the_differences_between_the_proven_days(demo: Demo) -> None:
    assert _changes(demo) == _expected_changes(demo)
    kinds = {kind for _, kind, _ in _changes(demo)}
    assert kinds == {"granted", "changed", "withdrawn"}, "the demo must show every kind"


def _changes(demo: Demo) -> set[tuple[int, str, str]]:
    rows = ask(demo, "SELECT change_date, change_type, share_id FROM backup_share_changes")
    assert len(rows) == len({tuple(row.values()) for row in rows})
    return {(row["change_date"].day - 1, row["change_type"], row["share_id"]) for row in rows}


def _expected_changes(demo: Demo) -> set[tuple[int, str, str]]:
    """By the giver's listing where it is one of ours, else the receiver's; day by day over its proven days."""
    world: World = demo.world
    expected = set()
    for project in world.projects:
        for direction in Direction:
            known: dict[str, Any] | None = None
            for day in range(DAYS):
                if demo.scenario.is_revoked(day, project):
                    continue
                now = {record["id"]: share_row(record) for record in world.listing(day, project, direction)}
                if direction is Direction.INCOMING:
                    now = {key: row for key, row in now.items() if row["from_project_id"] not in world.projects}
                before = known or {}
                expected |= {(day, "granted", key) for key in now.keys() - before.keys()}
                expected |= {(day, "withdrawn", key) for key in before.keys() - now.keys()}
                expected |= {(day, "changed", key) for key in now.keys() & before.keys() if now[key] != before[key]}
                known = now
    return expected


def test_the_malformed_record_is_quarantined_with_its_reason_and_its_share_stays(demo: Demo) -> None:
    (share_id,) = demo.scenario.malformed_on(MALFORMED_DAY)
    rejected = ask(demo, "SELECT share_id, reason, raw_json, cast(observed_at AS DATE) AS day FROM rejected_records")

    assert [(row["share_id"], row["day"].day) for row in rejected] == [(share_id, MALFORMED_DAY + 1)]
    assert rejected[0]["reason"] == 'backup.size is "twelve", a string where a whole number was expected'
    assert '"size": "twelve"' in rejected[0]["raw_json"] or '"size":"twelve"' in rejected[0]["raw_json"]
    versions = ask(demo, "SELECT valid_from FROM backup_share_history WHERE share_id = $id", id=share_id)
    assert len(versions) == 1


def test_the_revoked_day_is_a_gap_of_that_project_and_not_a_withdrawal(demo: Demo) -> None:
    (project,) = demo.scenario.revoked[REVOKED_DAY]
    ledger = ask(demo, "SELECT direction, status, reason FROM observations WHERE NOT is_proven ORDER BY direction")
    snapshot = ask(
        demo,
        "SELECT count(*) AS n FROM backup_share_snapshots WHERE snapshot_date = DATE '2026-03-03' AND project_id = $p",
        p=project,
    )

    assert [(row["direction"], row["status"]) for row in ledger] == [("incoming", "failed"), ("outgoing", "failed")]
    assert all("403" in row["reason"] for row in ledger)
    assert snapshot == [{"n": 0}]


def test_a_backup_shared_to_several_projects_is_one_backup(demo: Demo) -> None:
    rows = ask(demo, "SELECT backup_id, count(*) AS n FROM backup_shares GROUP BY backup_id HAVING count(*) >= 3")

    assert rows
    for row in rows:
        assert len(ask(demo, "SELECT * FROM backups WHERE backup_id = $id", id=row["backup_id"])) == 1


@pytest.mark.parametrize("engine", ["duckdb", "postgresql"])
def test_every_worked_question_has_the_answer_that_stands_in_the_dictionary(
    demo: Demo, engine: str, request: pytest.FixtureRequest
) -> None:
    page = (sql_folder("examples").parent / "README.md").read_text(encoding="utf-8")
    address = demo.address
    if engine == "postgresql":  # from the same landing, as the page says
        address = request.getfixturevalue("postgres_url")
        settings = demo.settings(url="")
        rebuild(address, settings.landing_folder)
    queries = example_queries()
    assert len(queries) == 10
    with reading(address) as warehouse:
        assert warehouse is not None
        for name, query in queries.items():
            answer = warehouse.query(query)
            assert answer.num_rows, name
            assert f"```\n\n{answer_table(answer)}\n" in page, name


def test_the_oldest_client_that_is_promised_reads_every_view_and_answers_the_questions(
    demo: Demo, tmp_path: Path
) -> None:
    client = Path(sys.executable).with_name("duckdb")
    version = subprocess.run([client, "--version"], capture_output=True, text=True, check=True).stdout
    assert version.startswith(f"v{OLDEST_CLIENT}.")
    views = [f"SELECT count(*) FROM {name}" for name in view_queries()]
    asked = [*example_queries().values(), *views, "SELECT * FROM backup_shares_as_of('2026-03-03') ORDER BY ALL"]
    told = tmp_path / "told.parquet"
    for query in asked:
        file = tmp_path / "question.sql"
        file.write_text(f"COPY ({query.rstrip().rstrip(';')}\n) TO '{told}' (FORMAT parquet)")
        # As sql/README.md says it.
        line = [client, "-readonly", warehouse_file(demo.address), "-cmd", "SET TimeZone = 'UTC'", "-f", file]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), query
        assert pq.read_table(told).to_pylist() == ask(demo, query), query
