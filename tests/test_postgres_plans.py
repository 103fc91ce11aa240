"""Questions to PostgreSQL never compare every row with every other, however the planner guesses.

Counted is what each step of a plan met, rows that it threw away included: no clock is asked.
"""

import re
from datetime import timedelta

import pytest
from sqlalchemy.engine import make_url

from pipelines.publish import reading, writing
from pipelines.reports import bound_values, load_report, report_names
from pipelines.schema import FACTS, backup_history, backup_share_history, report
from tests.bench_reports import FIRST, POLICY, fill

DAYS = 20
LAST = FIRST + timedelta(days=DAYS - 1)
FEEDS = (
    "backup_share_changes",
    "backup_changes",
    "backup_share_versions",
    "backup_versions",
    "backup_share_snapshots",
    "backup_snapshots",
)


@pytest.fixture(scope="module")
def warehouse(postgres, tmp_path_factory):
    """Twenty days of 1,000 shares, and a policy."""
    filled = f"duckdb:///{tmp_path_factory.mktemp('filled') / 'warehouse.duckdb'}"
    address = postgres.create_database()
    with writing(filled) as source, writing(address) as target:
        fill(source, 1000, DAYS)
        target.begin_with({table.name: source.facts(table) for table in FACTS})
        target.record_policy(POLICY)
    # What would go on for hours is to end as a failure.
    postgres.execute(f"ALTER DATABASE \"{make_url(address).database}\" SET statement_timeout = '60s'")
    with reading(address) as made:
        yield made
    postgres.drop_database(address)


def most_rows_met(warehouse, question, **parameters):
    """Of the step of the plan that met the most, and its words."""
    plan = warehouse.query(f"EXPLAIN (ANALYZE, TIMING OFF) {question}", **parameters).column(0).to_pylist()
    met, loops = [], 1
    for line in plan:
        if step := re.search(r"\(actual rows=([\d.]+) loops=(\d+)\)", line):
            loops = int(step[2])
            met.append((float(step[1]) * loops, line.strip()))
        elif thrown := re.search(r"Rows Removed by .*: ([\d.]+)", line):
            met.append((float(thrown[1]) * loops, line.strip()))
    return max(met)


QUESTIONS = {
    **{name: (load_report(name).sql, bound_values(load_report(name), {}, LAST)) for name in report_names()},
    **{view: (f"SELECT * FROM {view}", {}) for view in FEEDS},
    "invariants": (report("invariants"), {}),
    "findings": ("SELECT * FROM findings", {}),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_no_step_of_a_question_meets_many_times_the_rows_there_are(warehouse, name):
    question, parameters = QUESTIONS[name]
    versions = warehouse.count(backup_share_history) + warehouse.count(backup_history)
    met, step = most_rows_met(warehouse, question, **parameters)
    # Of two tables compared row by row it would be thousands of times, of snapshots it is once per day.
    assert met <= versions * (DAYS if "snapshots" in name else 15), step


def test_no_question_is_compiled_before_it_is_answered(warehouse):
    assert warehouse.query("SELECT current_setting('jit') AS jit").to_pylist() == [{"jit": "off"}]
