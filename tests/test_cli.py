"""The command line, as a user meets it: real processes, a simulator on a real port, exit codes and texts."""

import contextlib
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from rich.console import Console

from pipelines.cli import main
from pipelines.output import print_answer, to_csv, to_json, to_jsonl
from pipelines.simulator.faults import FAULTS, Fault, meaning
from pipelines.simulator.iam import Account
from pipelines.simulator.server import serve
from pipelines.simulator.service import Service
from pipelines.simulator.world import World
from tests.command import KEPT, run

CANARY = "canary-token-0f9a8b7c"
PROJECT = "c13f5220dc1949b0b741ea81a7cd5554"
CONFIGURED = {"VBS_ENDPOINT": "http://127.0.0.1:9", "VBS_TOKEN": CANARY, "VBS_PROJECTS": PROJECT}


@pytest.fixture(scope="module")
def service() -> Service:
    return Service(World(projects=2, shares=20), token=CANARY)


@pytest.fixture(scope="module")
def synced(service: Service, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which one sync ran well, and what it printed."""
    folder = tmp_path_factory.mktemp("synced")
    with serve(service) as url:
        done = run(folder, "sync", VBS_ENDPOINT=url, VBS_TOKEN=CANARY, VBS_PROJECTS=",".join(service.world.projects))
    assert done.returncode == 0, done.stderr.decode()
    return folder, done.stdout.decode()


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"VBS_ENDPOINT": ""}, "VBS_ENDPOINT is not set"),
        ({"VBS_ENDPOINT": "vbs.example.com"}, "VBS_ENDPOINT is not an http(s) URL"),
        ({"VBS_ENDPOINT": "http://vbs.example.com"}, "VBS_ENDPOINT begins with http://"),
        ({"VBS_PROJECTS": ""}, "VBS_PROJECTS is not set"),
        ({"VBS_PROJECTS": "../../etc"}, "VBS_PROJECTS holds '../../etc', which is not a project id"),
        ({"VBS_PROJECTS": f"{PROJECT},{PROJECT}"}, f"VBS_PROJECTS names {PROJECT} twice"),
        ({"VBS_TOKEN": ""}, "no credential is set"),
        ({"VBS_TOKEN": f"{CANARY}\nX-Evil: 1"}, "VBS_TOKEN must hold one token"),
        ({"VBS_CLOUDS": "otc"}, "VBS_CLOUDS and VBS_TOKEN or VBS_TOKEN_FILE are both set"),
        ({"VBS_TOKEN": "", "VBS_CLOUDS": "otc"}, "there is no cloud 'otc': no clouds.yaml was found"),
        ({"VBS_TOKEN": "", "OS_CLOUD": "otc"}, "there is no cloud 'otc': no clouds.yaml was found"),
        (
            {"VBS_TOKEN": "", "OS_AUTH_URL": "http://iam.example.com", "OS_TOKEN": CANARY},
            "the auth_url of cloud envvars",
        ),
        (
            {"VBS_TOKEN": "", "OS_AUTH_URL": "https://iam.example.com", "OS_PASSWORD": CANARY},
            "cloud envvars lacks user",
        ),
        ({"VBS_TOKEN": "", "VBS_TOKEN_FILE": "/does/not/exist"}, "VBS_TOKEN_FILE cannot be read: no such file"),
        ({"WAREHOUSE_URL": f"oracle://me:{CANARY}@db/x"}, "WAREHOUSE_URL is of the kind oracle"),
        ({"WAREHOUSE_URL": f"{CANARY} is no url"}, "WAREHOUSE_URL is not a URL"),
        ({"VBS_CA_FILE": "no.pem"}, "VBS_CA_FILE cannot be used: no such file"),
        ({"VBS_PAGE_SIZE": "5000"}, "VBS_PAGE_SIZE is not usable"),
        ({"SYNC_HOUR": "noon"}, "SYNC_HOUR is not usable"),
        ({"VBS_REGION": "../up"}, "VBS_REGION is not usable"),
    ],
)
def test_bad_configuration_is_one_sentence_exit_code_2_and_nothing_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], sentence: str
) -> None:
    # In this process: a process of its own for each would cost two seconds.
    for name in set(os.environ) - set(KEPT):
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["sync"], env=CONFIGURED | environment)

    assert done.exit_code == 2, done.stderr
    assert done.stderr.startswith(f"backup-shares: {sentence}")
    assert done.stderr.count("\n") == 1
    assert CANARY not in done.output
    assert list(tmp_path.iterdir()) == [], "a refused sync leaves nothing behind"


def test_the_version_is_told() -> None:
    done = CliRunner().invoke(main, ["--version"])
    assert done.output == f"backup-shares {version('backup-shares')}\n"


def test_a_process_with_bad_configuration_ends_as_quietly(tmp_path: Path) -> None:
    done = run(tmp_path, "sync", **CONFIGURED | {"VBS_PROJECTS": ""})
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"backup-shares: VBS_PROJECTS is not set")
    assert done.stderr.count(b"\n") == 1


def test_a_sync_tells_of_a_variable_that_is_no_setting(tmp_path: Path) -> None:
    done = run(tmp_path, "sync", **CONFIGURED | {"VBS_PROJECTS": "", "VBS_PROJEKTS": PROJECT})
    first, second = done.stderr.decode().splitlines()
    assert first == "backup-shares: VBS_PROJEKTS is no setting: VBS_PROJECTS may be meant"
    assert second.startswith("backup-shares: VBS_PROJECTS is not set")


def test_an_unknown_command_is_a_usage_error(tmp_path: Path) -> None:
    assert run(tmp_path, "frobnicate").returncode == 2


def test_a_sync_prints_every_listing_with_its_proof(synced: tuple[Path, str], service: Service) -> None:
    _, printed = synced
    for project in service.world.projects:
        assert printed.count(project) == 2
    assert printed.count("covered") == 4


def test_a_sync_with_a_failing_listing_exits_1_and_says_which_and_what_to_do(tmp_path: Path, service: Service) -> None:
    revoked = service.world.projects[0]
    broken = Service(World(projects=2, shares=20), token=CANARY, faults=[Fault(project_id=revoked, status=403)])
    with serve(broken) as url:
        done = run(tmp_path, "sync", VBS_ENDPOINT=url, VBS_TOKEN=CANARY, VBS_PROJECTS=",".join(service.world.projects))

    told = done.stderr.decode()
    assert done.returncode == 1
    lines = told.splitlines()
    assert [re.sub("[0-9]", "0", line[:25]) for line in lines[:4]] == ["0000-00-00 00:00:00 UTC  "] * 4
    as_it_went = sorted(line[25:].split("; ")[0] for line in lines[:4])
    assert as_it_went[:2] == [
        f"WARNING: {way} shares of project {revoked}: failed, 0 shares on 0 pages" for way in ("incoming", "outgoing")
    ]
    assert all(line.endswith("on 2 pages") and ": covered, " in line for line in as_it_went[2:])
    assert lines[4] == "2 of 4 listings are not proven; the others are published."
    assert [line.split("; ")[0] for line in lines[5:]] == [
        f"{way} {revoked}: failed, HTTP 403" for way in ("incoming", "outgoing")
    ]
    assert CANARY not in told
    found = json.loads(run(tmp_path, "query", "SELECT count(*) AS n FROM backup_shares", "--format", "json").stdout)
    assert found[0]["n"] > 0


def test_a_query_answers_in_every_format(synced: tuple[Path, str], service: Service) -> None:
    folder, _ = synced
    sql = "-- a comment = no option\nSELECT share_id, share_created_at FROM backup_shares ORDER BY share_id"
    expected = sorted(record["id"] for record in service.world.shares(0))

    as_json = json.loads(run(folder, "query", sql, "--format", "json").stdout)
    as_csv = list(csv.DictReader(io.StringIO(run(folder, "query", sql, "--format", "csv").stdout.decode())))
    run(folder, "query", sql, "--format", "parquet", "--output", "out.parquet")
    as_parquet = pq.read_table(folder / "out.parquet")
    as_table = run(folder, "query", sql).stdout.decode()

    assert [row["share_id"] for row in as_json] == expected
    assert [row["share_id"] for row in as_csv] == expected
    assert as_parquet.column("share_id").to_pylist() == expected
    assert as_parquet.schema.field("share_created_at").type == pa.timestamp("us", tz="UTC")
    assert all(share_id in as_table for share_id in expected)


CLOUD = {"OS_USERNAME": "demo", "OS_USER_DOMAIN_NAME": "demo-domain", "OS_REGION_NAME": "eu-de"}
PASSWORD = "canary-password-2b1f"


def test_a_sync_logs_in_with_what_a_cloud_user_has_in_the_environment(tmp_path: Path) -> None:
    service = Service(World(projects=2, shares=20), account=Account(password=PASSWORD))
    with serve(service) as url:
        done = run(tmp_path, "sync", OS_AUTH_URL=f"{url}/v3", OS_PASSWORD=PASSWORD, **CLOUD)

    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().count("covered") == 4
    assert PASSWORD not in done.stdout.decode() + done.stderr.decode()
    tokens = [path for _, path, _ in service.requests if path == "/v3/auth/tokens"]
    assert len(tokens) == 3, "what was found before the job is what the job uses"


def test_a_refused_login_exits_1_with_a_sentence_after_one_attempt(tmp_path: Path) -> None:
    service = Service(World(projects=2, shares=20), account=Account(password=PASSWORD))
    with serve(service) as url:
        done = run(tmp_path, "sync", OS_AUTH_URL=url, OS_PASSWORD=f"wrong-{PASSWORD}", **CLOUD)

    told = done.stderr.decode()
    assert done.returncode == 1
    assert "\nNo listing was observed.\ncloud envvars: the identity service at 127.0.0.1" in told
    assert "refused the login: HTTP 401; IAM.0062; Incorrect user name or password." in told
    assert PASSWORD not in told + done.stdout.decode()
    assert [path for _, path, _ in service.requests] == ["/v3/auth/tokens"]


def test_a_project_that_is_not_visible_exits_2_and_nothing_is_asked_about_shares(tmp_path: Path) -> None:
    service = Service(World(projects=2, shares=20), account=Account(password=PASSWORD))
    with serve(service) as url:
        done = run(tmp_path, "sync", OS_AUTH_URL=url, OS_PASSWORD=PASSWORD, VBS_PROJECTS=PROJECT, **CLOUD)

    assert done.returncode == 2
    assert done.stderr.decode().startswith(f"backup-shares: VBS_PROJECTS names '{PROJECT}', and the credential can see")
    assert [path for _, path, _ in service.requests] == ["/v3/auth/tokens", "/v3/auth/projects"]


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM backup_share_history",
        "CREATE TABLE x (a INTEGER)",
        "COPY observations TO 'stolen.csv'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELEKT 1",
    ],
)
def test_a_query_can_only_read_the_warehouse(synced: tuple[Path, str], sql: str) -> None:
    folder, _ = synced
    done = run(folder, "query", sql)

    assert done.returncode == 1
    assert done.stderr.decode().startswith("backup-shares: the warehouse refused: ")
    assert "Traceback" not in done.stderr.decode()
    assert not (folder / "stolen.csv").exists()


def test_a_name_that_is_nearly_right_is_answered_with_the_one_that_may_be_meant(synced: tuple[Path, str]) -> None:
    folder, _ = synced
    done = run(folder, "query", "SELECT * FROM backup_share")
    assert b'backup_share does not exist! Did you mean "backup_shares' in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_of_several_statements_none_is_answered(synced: tuple[Path, str]) -> None:
    folder, _ = synced
    done = run(folder, "query", "SELECT 1 AS n; SELECT 2 AS n")

    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == "backup-shares: those are several statements: ask one at a time\n"
    assert json.loads(run(folder, "query", "SELECT 1 AS n; -- that is all", "--format", "json").stdout) == [{"n": 1}]


def ask_in_a_process(folder: Path, sql: str | bytes, **streams: Any) -> subprocess.CompletedProcess[bytes]:
    """From nothing: how the streams are opened is settled when Python starts."""
    environment = {name: os.environ[name] for name in KEPT if name in os.environ} | {"PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, "-m", "pipelines.cli", "query", sql]
    return subprocess.run(command, cwd=folder, env=environment, stderr=subprocess.PIPE, **streams)


def test_a_sign_that_the_terminal_does_not_know_is_shown_as_an_escape(synced: tuple[Path, str]) -> None:
    done = ask_in_a_process(synced[0], "SELECT 'Zürich → Bern' AS way", stdout=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "Zürich \\u2192 Bern" in done.stdout.decode("latin-1")


def test_an_answer_for_which_there_is_no_room_is_one_sentence(synced: tuple[Path, str]) -> None:
    with open("/dev/full", "wb") as full:
        done = ask_in_a_process(synced[0], "SELECT 1 AS n", stdout=full)
    told = b"backup-shares: the answer cannot be written: no space left on device\n"
    assert (done.returncode, done.stderr) == (1, told)


def test_a_question_that_is_no_utf_8_is_a_usage_error(synced: tuple[Path, str]) -> None:
    done = ask_in_a_process(synced[0], b"SELECT '\xff'", stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.endswith(b"Error: the question is not UTF-8\n")


def test_a_query_before_the_first_sync_says_what_to_do(tmp_path: Path) -> None:
    done = run(tmp_path, "query", "SELECT 1")

    assert done.returncode == 2
    assert b"there is no warehouse yet" in done.stderr


def test_a_second_sync_of_the_same_state_opens_no_versions(synced: tuple[Path, str], service: Service) -> None:
    folder, _ = synced
    count = "SELECT count(*) AS n FROM backup_share_history"
    before = json.loads(run(folder, "query", count, "--format", "json").stdout)
    with serve(service) as url:
        again = run(
            folder, "sync", "--quiet", VBS_ENDPOINT=url, VBS_TOKEN=CANARY, VBS_PROJECTS=",".join(service.world.projects)
        )

    assert again.returncode == 0, again.stderr.decode()
    assert json.loads(run(folder, "query", count, "--format", "json").stdout) == before


def test_the_warehouse_opens_in_plain_duckdb(synced: tuple[Path, str], service: Service) -> None:
    folder, _ = synced
    with duckdb.connect(str(folder / "data" / "warehouse.duckdb"), read_only=True) as connection:
        (count,) = connection.execute("SELECT count(*) FROM backup_shares").fetchone() or (None,)
    assert count == len(service.world.shares(0))


def test_simulate_says_how_to_reach_it_and_ends_quietly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipelines.cli", "simulate", "--port", "0", "--shares", "5", "--projects", "1"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(3)]
        process.send_signal(2)
        _, errors = process.communicate(timeout=20)

    assert [line.split("=")[0] for line in lines] == ["VBS_ENDPOINT", "VBS_TOKEN", "VBS_PROJECTS"]
    assert process.returncode == 0
    assert errors == ""


def test_simulate_serves_the_faults_it_is_told(tmp_path: Path) -> None:
    faults = ["--fault", "status:code=502,nth=0", "--fault", "content-type:type=text/html,nth=1-"]
    command = [sys.executable, "-m", "pipelines.cli", "simulate", "--port", "0", "--shares", "5", *faults]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = dict(process.stdout.readline().strip().split("=") for _ in range(3))
        url = f"{told['VBS_ENDPOINT']}/v2/{told['VBS_PROJECTS'].split(',')[0]}/os-vendor-backup-sharing/count"
        headers = {"X-Auth-Token": told["VBS_TOKEN"]}
        answers = [httpx.get(url, headers=headers, trust_env=False) for _ in range(2)]
        process.send_signal(2)

    assert [answer.status_code for answer in answers] == [502, 200]
    assert answers[1].headers["content-type"] == "text/html"


def test_simulate_lists_every_fault_with_its_meaning_and_its_parameters(tmp_path: Path) -> None:
    listed = run(tmp_path, "simulate", "--list-faults")

    text = listed.stdout.decode()
    assert listed.returncode == 0
    for name, kind in FAULTS.items():
        assert f"│ {name} " in text
        assert meaning(kind)[:60] in text
    assert "bytes_per_second=10.0" in text
    assert "of=body|reply" in text
    assert "Every fault also takes operation, project_id, direction, nth" in text


def test_simulate_writes_a_clouds_yaml_that_logs_in_over_tls(tmp_path: Path) -> None:
    tls = ["--fault", "tls:kind=valid,authority_file=ca.pem", "--clouds-yaml", "clouds.yaml"]
    command = [
        sys.executable,
        "-m",
        "pipelines.cli",
        "simulate",
        "--port",
        "0",
        "--shares",
        "9",
        "--projects",
        "1",
        *tls,
    ]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = dict(process.stdout.readline().strip().split("=") for _ in range(2))
        clouds = [told["VBS_CLOUDS"], "simulated-credential"]
        listed = [run(tmp_path, "list", "--format", "json", **told | {"VBS_CLOUDS": cloud}) for cloud in clouds]
        process.send_signal(2)

    assert told["VBS_CLOUDS"] == "simulated"
    assert [done.returncode for done in listed] == [0, 0], listed[0].stderr + listed[1].stderr
    assert len(json.loads(listed[0].stdout)) > 0
    assert listed[0].stdout == listed[1].stdout
    assert (tmp_path / "clouds.yaml").stat().st_mode & 0o077 == 0


def test_simulate_leaves_a_clouds_yaml_of_somebody_else_alone(tmp_path: Path) -> None:
    (tmp_path / "clouds.yaml").write_text("clouds: {production: {}}")
    refused = run(tmp_path, "simulate", "--port", "0", "--clouds-yaml", "clouds.yaml")

    assert refused.returncode == 2
    assert refused.stderr.decode() == (
        "backup-shares: --clouds-yaml: clouds.yaml is there already and not of `simulate`: name another file\n"
    )
    assert (tmp_path / "clouds.yaml").read_text() == "clouds: {production: {}}"


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf"])
def test_simulate_refuses_days_that_are_no_time(tmp_path: Path, seconds: str) -> None:
    refused = run(tmp_path, "simulate", "--day-seconds", seconds)
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert b"a number of seconds, 0 or more, is expected" in refused.stderr


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("dripp", 'there is no fault "dripp"; there are: drift, '),
        ("drip:speed=1", 'the fault drip has no parameter "speed"; it has: bytes_per_second, of, '),
        ("drip:bytes_per_second=0", "the fault drip, bytes_per_second: Input should be greater than 0"),
        ("drip:nth=4-2", "the fault drip, nth: must not end before it begins"),
        ("drip:project_id=zzz", '"drip:project_id=zzz" never strikes: the projects here are '),
    ],
)
def test_simulate_refuses_a_wrong_fault_in_one_sentence(tmp_path: Path, fault: str, sentence: str) -> None:
    refused = run(tmp_path, "simulate", "--fault", fault)

    assert refused.returncode == 2
    assert refused.stdout == b""
    assert refused.stderr.decode().count("\n") == 1
    assert refused.stderr.decode().startswith(f"backup-shares: --fault: {sentence}")


HOSTILE = ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "＝1", "plain", 'say "hi"', "a,b", "line\nbreak", None]


def test_csv_holds_no_formula_and_loses_nothing_else() -> None:
    answer = pa.table({"name": pa.array(HOSTILE, pa.string()), "size": pa.array(range(-1, len(HOSTILE) - 1))})

    rows = list(csv.reader(io.StringIO(to_csv(answer).decode(), newline="")))

    assert rows[0] == ["name", "size"]
    assert [row[0] for row in rows[1:]] == [
        "'=1+1", "'+1", "'-1", "'@x", "'\tx", "'\rx", "'＝1", "plain", 'say "hi"', "a,b", "line\nbreak", "",
    ]  # fmt: skip
    assert [row[1] for row in rows[1:3]] == ["-1", "0"], "a number is not a formula"


def test_json_carries_the_values_as_they_are() -> None:
    answer = pa.table({"name": pa.array(HOSTILE, pa.string())})

    assert [row["name"] for row in json.loads(to_json(answer))] == HOSTILE


def test_json_has_numbers_where_sql_has_numbers() -> None:
    answer = pa.table({"total": [Decimal("11747"), Decimal("1.5")], "ratio": [float("nan"), 0.5]})

    assert json.loads(to_json(answer)) == [{"total": 11747, "ratio": None}, {"total": 1.5, "ratio": 0.5}]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--output", "t.txt"), b"--output goes with --format csv, json, jsonl or parquet\n"),
        (
            ("--format", "csv", "--output", "no/such/folder.csv"),
            b"--output: cannot write no/such/folder.csv: no such file or directory\n",
        ),
    ],
    ids=["table", "folder"],
)
def test_an_answer_that_cannot_be_written_ends_in_a_sentence(
    synced: tuple[Path, str], arguments: tuple[str], sentence: bytes
) -> None:
    folder, _ = synced
    done = run(folder, "query", "SELECT 1", *arguments)

    assert done.returncode != 0
    assert b"Traceback" not in done.stderr
    assert done.stderr.endswith(b"Error: " + sentence)


def test_where_the_warehouse_was_lost_the_way_back_is_named(synced: tuple[Path, str], tmp_path: Path) -> None:
    folder = shutil.copytree(synced[0], tmp_path / "copy")
    (folder / "data" / "warehouse.duckdb").unlink()
    landed = len(list((folder / "data" / "landing").glob("*/*/*/*.parquet")))
    done = run(folder, "query", "SELECT 1")
    assert (done.returncode, landed >= 4) == (2, True)
    told = f"data/warehouse.duckdb (WAREHOUSE_URL, DATA_DIR): {landed} observations are landed, `backup-shares rebuild`"
    assert told in done.stderr.decode()


def on_a_terminal(folder: Path, *arguments: str) -> tuple[int, str]:
    """`backup-shares ...` with a terminal as its standard output: exit code, and all that it showed."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "pipelines.cli", *arguments]
    with subprocess.Popen(command, cwd=folder, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # so it ends where nobody holds the other side any more
            while piece := os.read(ours, 4096):
                shown += piece
    os.close(ours)
    return process.returncode, shown.decode()


def test_a_terminal_is_shown_escapes_and_nothing_binary(synced: tuple[Path, str]) -> None:
    folder, _ = synced
    question = "SELECT chr(27) || '[2J' AS name, 'a' AS other"
    assert on_a_terminal(folder, "query", question, "--format", "csv") == (0, '"name","other"\r\n"\\x1b[2J","a"\r\n')
    assert run(folder, "query", question, "--format", "csv").stdout == b'"name","other"\r\n"\x1b[2J","a"\r\n'
    code, shown = on_a_terminal(folder, "query", question, "--format", "parquet")
    assert (code, "name a file with --output" in shown) == (2, True)


def printed(answer: pa.Table, width: int, *, is_terminal: bool) -> str:
    out = io.StringIO()
    print_answer(Console(file=out, width=width, force_terminal=is_terminal, color_system=None), answer)
    return out.getvalue()


IDS = pa.table({f"id_{number}": [f"{number:02}" + "0123456789abcdef" * 2] * 2 for number in range(12)})


@pytest.mark.parametrize("write", [to_json, to_jsonl])
def test_of_two_columns_with_one_name_json_loses_none_without_a_word(write) -> None:
    answer = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(ValueError, match="two columns are called a: give one another name with AS"):
        write(answer)


def test_into_a_pipe_no_column_is_cut_however_many_there_are() -> None:
    lines = printed(IDS, 80, is_terminal=False).splitlines()
    assert all(f"{number:02}0123456789abcdef0123456789abcdef" in lines[3] for number in range(12))
    assert lines[-2] == "2 rows"


def test_a_terminal_that_is_too_narrow_for_so_many_columns_gets_row_after_row() -> None:
    lines = printed(IDS, 60, is_terminal=True).splitlines()
    assert [line.strip() for line in lines if "row" in line] == ["row 1 of 2", "row 2 of 2"]
    assert sum("│ id_7 " in line and "070123456789abcdef0123456789abcdef" in line for line in lines) == 2
    assert "1 row" in printed(IDS.select(["id_0"]).slice(0, 1), 60, is_terminal=True), "what fits is a table"
    assert "0 rows" in printed(IDS.slice(0, 0), 60, is_terminal=True)


def test_hostile_names_do_not_steer_the_terminal(tmp_path: Path) -> None:
    names = ["\x1b[2J\x1b]0;owned\x07", "a\u202egpj.exe", "x\x9b31m", "[red]markup[/red]", "two\nlines", "\u2028"]
    with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
        connection.execute("CREATE TABLE t AS SELECT unnest(?) AS name", [names])

    printed = run(
        tmp_path, "query", "SELECT name FROM t", WAREHOUSE_URL=f"duckdb:///{tmp_path}/w.duckdb"
    ).stdout.decode()

    forbidden = {*map(chr, range(0x20)), *map(chr, range(0x80, 0xA0)), *"\u2028\u2029\u202a\u202b\u202c\u202d\u202e"}
    assert not forbidden - {"\n"} & set(printed)
    assert "[red]markup[/red]" in printed
    assert "\\x1b[2J" in printed
