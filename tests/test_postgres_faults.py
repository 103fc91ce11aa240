"""PostgreSQL and the line to it fail at every point: what is recorded is whole, once, and needs no hands.

What must come out is what an undisturbed load of the same observations gives; that this is right is shown elsewhere.
Not here: the servers and the proxy themselves (test_postgres_server.py), rights of the groups (test_roles.py).
"""

import itertools
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from pipelines.errors import WarehouseError
from pipelines.load import load_pending
from pipelines.observation import Listing
from pipelines.publish import reading, writing
from pipelines.schema import metadata
from tests.oracle import IN, OUT, day, land, make_id, make_observation, make_page, make_share, record
from tests.postgres import connect
from tests.proxy import Proxy

pytestmark = pytest.mark.slow

SHARES = 12


def told(number: int, listing: Listing = OUT):
    """The n-th observation of a listing: of twelve shares one is absent, another has just changed."""
    at = day(1) + timedelta(minutes=number)
    shares = [
        make_share(
            make_id("5", key), make_id("b", key), updated_at=f"2026-02-03T00:00:{(number + key) // SHARES % 60:02}"
        )
        for key in range(SHARES)
        if key != number % SHARES
    ]
    return make_observation(at, listing, sync_id=f"sync {number}"), make_page(*shares)


def facts(url: str) -> dict[str, list[str]]:
    """Every row of every table, past the product."""
    with connect(url) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        return {
            name: [row for (row,) in connection.execute(f"SELECT fact::text FROM {name} AS fact ORDER BY 1")]
            for name in metadata.tables
        }


@contextmanager
def loading(url: str, *, pauses: list[float] | None = None):
    with writing(url, sleep=(pauses if pauses is not None else []).append) as warehouse:
        yield warehouse


def load(url: str, landing: Path) -> list[str]:
    """What could not be loaded, and why."""
    with loading(url) as warehouse:
        return [each.reason for each in load_pending(warehouse, landing, landing.parent / "staging")]


@pytest.fixture
def undisturbed(postgres):
    """The facts that come of the first so many observations, or of a landing, when nothing happens."""

    def facts_of(source: int | Path) -> dict[str, list[str]]:
        url = postgres.create_database()
        if isinstance(source, Path):
            assert load(url, source) == []
        else:
            with loading(url) as warehouse:
                for number in range(source):
                    record(warehouse, *told(number))
        found = facts(url)
        postgres.drop_database(url)
        return found

    return facts_of


@pytest.fixture
def line(postgres_url) -> Iterator[Proxy]:
    with Proxy.before(postgres_url) as proxy:
        yield proxy


@pytest.fixture
def landing(tmp_path) -> Path:
    return tmp_path / "landing"


@pytest.fixture
def rng() -> random.Random:
    seed = int(os.environ.get("SEED", random.randrange(10**6)))
    print(f"SEED={seed}")
    return random.Random(seed)


def rounds(few: int, many: int):
    return [pytest.param(few), pytest.param(many, marks=pytest.mark.soak)]


# --- the line ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", rounds(50, 300))
@pytest.mark.parametrize("way", ["the reply is lost", "it never arrives"])
def test_a_commit_of_which_nobody_heard_is_looked_up_and_recorded_once(
    line, postgres_url, undisturbed, figures, way, times
):
    figures("commits of which nobody heard, PostgreSQL", 0)
    with loading(line.url) as warehouse:
        for number in range(times):
            stays_down = number % 3 == 2
            if way == "the reply is lost":
                line.swallow_commit_reply(stay_down=stays_down)
            else:
                line.drop_commit(stay_down=stays_down)
            if stays_down:
                with pytest.raises(WarehouseError):
                    record(warehouse, *told(number))
                line.heal()
                record(warehouse, *told(number))
            else:
                record(warehouse, *told(number))
            assert line.strikes == 1
            assert line.swallowed == (b"COMMIT" if way == "the reply is lost" else b"")
            figures("commits of which nobody heard, PostgreSQL")
    assert facts(postgres_url) == undisturbed(times)


@pytest.mark.parametrize(
    ("forward", "stay_down"),
    [
        (False, False),
        (True, True),
        pytest.param(True, False, marks=pytest.mark.soak),
        pytest.param(False, True, marks=pytest.mark.soak),
    ],
)
def test_a_line_cut_at_any_message_leaves_the_state_before_or_after(
    line, postgres_url, undisturbed, figures, forward, stay_down
):
    cuts = 0
    figures("cuts of the line, PostgreSQL", 0)
    with loading(line.url) as warehouse:
        for number in itertools.count():
            line.cut_at(number + 1, forward=forward, stay_down=stay_down)
            try:
                record(warehouse, *told(number))
            except WarehouseError:
                assert stay_down
                assert count(postgres_url, "observations") in (number, number + 1)
                line.heal()
                record(warehouse, *told(number))
            if not line.strikes:
                break
            cuts += 1
    figures("cuts of the line, PostgreSQL", cuts)
    assert cuts >= 40
    assert facts(postgres_url) == undisturbed(number + 1)


def count(url: str, table: str) -> int:
    with connect(url) as connection:
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


# --- the server refuses for the moment --------------------------------------------------------------------------------

REFUSE_SOME = """
CREATE SEQUENCE refusals;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('refusals') <= {times} THEN
        RAISE EXCEPTION 'not now' USING ERRCODE = '{state}';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON observations FOR EACH ROW EXECUTE FUNCTION refuse();
"""


@pytest.mark.parametrize("state", ["40001", "40P01", "57P01", "53300"])
def test_what_will_pass_is_tried_three_times_and_then_given_up_whole(postgres, undisturbed, state):
    for times in (1, 2, 3):
        url, pauses = postgres.create_database(), []
        with loading(url, pauses=pauses) as warehouse:
            postgres.execute(REFUSE_SOME.format(times=times, state=state), url=url)
            if times < 3:
                record(warehouse, *told(0))
            else:
                with pytest.raises(WarehouseError, match="not now"):
                    record(warehouse, *told(0))
                assert facts(url) == undisturbed(0)
                record(warehouse, *told(0))
        assert len(pauses) == min(times, 2)
        assert facts(url) == undisturbed(1)
        postgres.drop_database(url)


@pytest.mark.parametrize("state", ["23514", "22003", "42703", "57014"])
def test_what_will_not_pass_is_tried_once(postgres, postgres_url, state):
    pauses: list[float] = []
    with loading(postgres_url, pauses=pauses) as warehouse:
        postgres.execute(REFUSE_SOME.format(times=1, state=state), url=postgres_url)
        with pytest.raises(WarehouseError, match="not now"):
            record(warehouse, *told(0))
    assert pauses == []


def test_the_victim_of_a_deadlock_records_all_the_same(postgres_url, undisturbed):
    pauses: list[float] = []
    other_lost = False
    with loading(postgres_url, pauses=pauses) as warehouse, connect(postgres_url) as other:
        record(warehouse, *told(0))
        # The loader looks for a deadlock after a second. If the machine sleeps just then, the other loses.
        other.execute("SET deadlock_timeout = '10s'")
        other.execute("BEGIN")
        other.execute("LOCK TABLE backup_history IN ACCESS EXCLUSIVE MODE")
        with in_thread(lambda: record(warehouse, *told(1))):
            with connect(postgres_url) as watch:
                until(watch, "SELECT FROM pg_locks WHERE relation = 'backup_history'::regclass AND NOT granted")
            try:
                other.execute("LOCK TABLE observations IN ACCESS EXCLUSIVE MODE")
            except psycopg.errors.DeadlockDetected:
                other_lost = True
            other.execute("ROLLBACK")
    assert other_lost or len(pauses) == 1
    assert facts(postgres_url) == undisturbed(2)


def until(watch: psycopg.Connection, question: str, is_over: threading.Event | None = None) -> list[tuple]:
    """The first answer that is not empty; an empty one only when it is over."""
    while True:
        ending = is_over is not None and is_over.is_set()
        answer = watch.execute(question)
        if answer.rowcount or ending:
            return answer.fetchall() if answer.description else []


@contextmanager
def in_thread(work) -> Iterator[None]:
    """What fails in the thread fails the test."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - it is raised again below
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join(60)
    assert not thread.is_alive()
    if failures:
        raise failures[0]


# --- processes of the server die --------------------------------------------------------------------------------------

WHO_LOADS = """
SELECT pid FROM pg_stat_activity
WHERE application_name = 'backup-shares' AND datname = current_database()
AND (SELECT count(*) FROM observations) >= {recorded}
"""


@pytest.mark.parametrize("times", rounds(20, 100))
def test_a_backend_killed_while_it_loads_loses_nothing(postgres_server, landing, undisturbed, rng, figures, times):
    """Every fourth time by SIGKILL, which throws out everybody and makes the server recover."""
    figures("kills of a backend, PostgreSQL", 0)
    url, hits = postgres_server.create_database(), 0
    assert load(url, landing) == []
    for number in range(times):
        for more in range(4):
            land(landing, *told(4 * number + more))
        is_over = threading.Event()
        question = WHO_LOADS.format(recorded=4 * number + rng.randint(0, 2))

        def strike(number=number, is_over=is_over, question=question) -> None:
            nonlocal hits
            with connect(url) as watch:
                found = until(watch, question, is_over)
                if found and number % 4 < 3:
                    watch.execute("SELECT pg_terminate_backend(%s)", found[0])
            if found and number % 4 == 3:
                postgres_server.kill_backend(*found[0])
            hits += bool(found)

        with in_thread(strike):
            with suppress(WarehouseError):  # the server may not even let it in while it recovers
                load(url, landing)
            is_over.set()
        assert load(url, landing) == []
    assert hits >= times // 2
    figures("kills of a backend, PostgreSQL", hits)
    assert facts(url) == undisturbed(landing)


LOADER = """
import sys
from pathlib import Path
from pipelines.errors import WarehouseError
from pipelines.load import load_pending
from pipelines.publish import writing
url, landing = sys.argv[1], Path(sys.argv[2])
print("ready", flush=True)
for _ in sys.stdin:
    try:
        with writing(url, sleep=lambda _: None) as warehouse:
            print(len(load_pending(warehouse, landing, landing.parent / "staging")), flush=True)
    except WarehouseError as error:
        print(error, flush=True)
"""


@contextmanager
def loader(url: str, landing: Path) -> Iterator[subprocess.Popen]:
    """A process that loads whenever it is told a line, and answers how much it could not load."""
    command = [sys.executable, "-c", LOADER, url, str(landing)]
    root = Path(__file__).parent.parent
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert hear(process) == "ready"
            yield process
        finally:
            process.kill()


def say(process: subprocess.Popen) -> None:
    process.stdin.write("load\n")
    process.stdin.flush()


def hear(process: subprocess.Popen) -> str:
    return process.stdout.readline().strip()


@pytest.mark.parametrize("times", rounds(3, 30))
def test_a_server_killed_while_a_process_loads_goes_on_after_a_restart(
    postgres_server, landing, undisturbed, rng, figures, times
):
    figures("kills of the whole server, PostgreSQL", 0)
    url, outcomes, most = postgres_server.create_database(), [], 30
    with loader(url, landing) as process:
        for number in range(times):
            for more in range(most):
                land(landing, *told(most * number + more))
            say(process)
            with connect(url) as watch:
                until(watch, "SELECT FROM pg_class WHERE relname = 'observations'")
                until(watch, WHO_LOADS.format(recorded=most * number + rng.randint(0, most // 2)))
            (postgres_server.stop_immediate if number % 4 == 3 else postgres_server.kill)()
            outcomes.append(hear(process))
            postgres_server.restart()
            recorded = count(url, "observations")
            assert most * number <= recorded < most * (number + 1)
            say(process)
            assert hear(process) == "0"
            figures("kills of the whole server, PostgreSQL")
    print(outcomes)
    assert facts(url) == undisturbed(landing)


@pytest.mark.parametrize("times", rounds(3, 50))
def test_a_loader_killed_at_any_moment_leaves_the_state_before_or_after(
    postgres_url, landing, undisturbed, rng, figures, times
):
    most = 10
    figures("kills of a load, PostgreSQL", 0)
    assert load(postgres_url, landing) == []
    for number in range(times):
        for more in range(most):
            land(landing, *told(most * number + more))
        with loader(postgres_url, landing) as process, connect(postgres_url) as watch:
            say(process)
            until(watch, WHO_LOADS.format(recorded=most * number + rng.randint(0, most - 2)))
            process.kill()
            process.wait()
        assert load(postgres_url, landing) == []
        figures("kills of a load, PostgreSQL")
    assert facts(postgres_url) == undisturbed(landing)


def test_what_was_observed_while_the_server_was_down_is_loaded_once_it_is_up(postgres_server, landing, undisturbed):
    url = make_url(postgres_server.create_database()).set(password="canary-of-a-password")
    address, pauses = url.render_as_string(hide_password=False), []
    land(landing, *told(0))
    assert load(address, landing) == []
    postgres_server.stop_immediate()
    file = land(landing, *told(1))
    with pytest.raises(WarehouseError) as failure, loading(address, pauses=pauses):
        pytest.fail("the server is down")
    assert "refused" in str(failure.value)
    assert "canary" not in str(failure.value)
    assert len(pauses) == 2
    assert file.path.exists()
    postgres_server.restart()
    assert load(address, landing) == []
    assert facts(address) == undisturbed(landing)


# --- a server that is not as it should be -----------------------------------------------------------------------------


def only_reads(server, url):
    server.execute(f'ALTER DATABASE "{make_url(url).database}" SET default_transaction_read_only = on')


def lacks_a_table(server, url):
    server.execute("DROP TABLE backup_history CASCADE", url=url)


def lacks_a_column(server, url):
    server.execute("ALTER TABLE backup_history RENAME COLUMN backup_name TO name", url=url)


def is_newer(server, url):
    server.execute("UPDATE schema_version SET version = version + 1", url=url)


def forgot_its_version(server, url):
    server.execute("DELETE FROM schema_version", url=url)


def gives_no_rights(server, url):
    server.execute("ALTER TABLE observations OWNER TO pg_monitor; ALTER ROLE stranger NOSUPERUSER", url=url)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (only_reads, "read-only transaction"),
        (lacks_a_table, "the tables of the warehouse lack backup_history: `backup-shares rebuild` makes them again"),
        (lacks_a_column, 'column "backup_name" of relation "backup_history" does not exist'),
        (is_newer, "newer version"),
        (forgot_its_version, "earlier version"),
        (gives_no_rights, "permission denied"),
    ],
)
def test_a_server_that_is_not_as_it_should_be_is_told_in_words_and_left_alone(postgres, landing, spoil, words):
    url, server = postgres.create_database(), postgres
    as_stranger = make_url(url).set(username="stranger").render_as_string(hide_password=False)
    land(landing, *told(0))
    assert load(url, landing) == []
    land(landing, *told(1))
    with a_stranger(server):
        spoil(server, url)
        before = remains(url)
        try:
            (said,) = load(as_stranger, landing)
        except WarehouseError as error:
            said = str(error)
        assert words in said
        assert "\n" not in said
        assert remains(url) == before
        server.drop_database(url)


@contextmanager
def a_stranger(server) -> Iterator[None]:
    """Another superuser, until a test takes that from it."""
    server.execute("CREATE ROLE stranger LOGIN SUPERUSER")
    try:
        yield
    finally:
        server.execute("DROP ROLE stranger")


def remains(url: str) -> dict[str, list[str]]:
    """The facts of the tables that are there."""
    with connect(url) as connection:
        there = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname = ANY(%s)", [list(metadata.tables)]
        ).fetchall()
        return {
            name: [row for (row,) in connection.execute(f"SELECT fact::text FROM {name} AS fact ORDER BY 1")]
            for (name,) in there
        }


# --- several at once --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", rounds(100, 600))
def test_two_processes_that_load_the_same_at_once_record_everything_once(
    postgres_url, landing, undisturbed, figures, times
):
    figures("rounds of two loads of the same at once, PostgreSQL", 0)
    with loader(postgres_url, landing) as one, loader(postgres_url, landing) as two:
        for number in range(times):
            land(landing, *told(number, OUT))
            land(landing, *told(number, IN))
            say(one)
            say(two)
            assert (hear(one), hear(two)) == ("0", "0"), f"round {number}"
            figures("rounds of two loads of the same at once, PostgreSQL")
    assert count(postgres_url, "observations") == 2 * times
    assert facts(postgres_url) == undisturbed(landing)


def whole(number: int):
    """All shares and backups say which observation it is."""
    at = day(1) + timedelta(minutes=number)
    shares = [
        make_share(make_id("5", key), make_id("b", key), updated_at=at.strftime("%Y-%m-%dT%H:%M:%S"))
        for key in range(SHARES)
    ]
    return make_observation(at, sync_id=f"sync {number}"), make_page(*shares)


@pytest.mark.parametrize("times", rounds(200, 3000))
def test_a_reader_sees_whole_observations_only(postgres_url, figures, times):
    figures("publishes under a reader's eyes, PostgreSQL", 0)
    question = """
        SELECT count(*) AS shares, min(share_updated_at) AS oldest, max(share_updated_at) AS newest,
            (SELECT max(observed_at) FROM observations) AS recorded, (SELECT count(*) FROM backups) AS backups
        FROM backup_shares
    """
    seen = set()
    with loading(postgres_url) as warehouse, reading(postgres_url) as reader:
        record(warehouse, *whole(0))
        is_over = threading.Event()

        def publish() -> None:
            try:
                for number in range(1, times):
                    record(warehouse, *whole(number))
            finally:
                is_over.set()

        with in_thread(publish):
            while not is_over.is_set():
                (state,) = reader.query(question).to_pylist()
                assert (state["shares"], state["backups"]) == (SHARES, SHARES)
                assert state["oldest"] == state["newest"] == state["recorded"]
                seen.add(state["recorded"])
    figures("publishes under a reader's eyes, PostgreSQL", times)
    assert len(seen) > times // 20
