"""Ad-hoc questions: the answer is what the API holds, whatever it does with the filters, and nothing is recorded.

Not here: the filters one by one (test_requests.py), the formats (test_cli.py).
"""

import csv
import io
import json
import subprocess
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import httpx
import pyarrow.parquet as pq
import pytest

from pipelines.ask import SORT_COLUMNS, Reading, ask, together
from pipelines.auth import StaticToken
from pipelines.cli.looking import SORT_KEYS
from pipelines.client import ShareClient
from pipelines.connect import OpenClouds
from pipelines.filters import Filters
from pipelines.observation import Direction, ProofStatus, listings
from pipelines.simulator.faults import Fault, Operation
from pipelines.simulator.server import serve
from pipelines.simulator.service import DEMO_TOKEN, Service
from pipelines.simulator.world import World
from tests.command import run_text
from tests.fakes import transport

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def world() -> World:
    return World(seed=7, projects=2, shares=120)


@pytest.fixture
def service(world: World) -> Service:
    return Service(world, clock=lambda: NOW)


def readings(service: Service, filters: Filters, *, through=None, **options) -> list[Reading]:
    carrier = through or transport(service)
    with closing(
        ShareClient("http://simulator", StaticToken(DEMO_TOKEN), transport=carrier, sleep=lambda seconds: None)
    ) as client:
        return ask(
            OpenClouds(dict.fromkeys(listings("eu-de", service.world.projects), client), []),
            filters,
            page_size=20,
            **options,
        )


def truth(service: Service, keep) -> list[tuple[str, str, str]]:
    """Project, direction and share of everything that `keep` keeps."""
    return sorted(
        (project, str(direction), record["id"])
        for project in service.world.projects
        for direction in Direction
        for record in service.listing(project, direction)
        if keep(record)
    )


def answered(found: list[Reading]) -> list[tuple[str, str, str]]:
    rows = together(found, sort_key="id", descending=False).to_pylist()
    return sorted((row["project_id"], row["direction"], row["share_id"]) for row in rows)


class Ignores:
    """Takes the named parameters away before the service sees them, from pages, counts, or both."""

    def __init__(self, service: Service, *names: str, operations=("detail", "count")) -> None:
        self.inner, self.names, self.operations = transport(service), names, operations

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.rsplit("/", 1)[1] in self.operations:
            kept = [(name, value) for name, value in parse_qsl(request.url.query.decode()) if name not in self.names]
            request.url = request.url.copy_with(query=urlencode(kept).encode())
        return self.inner.handle_request(request)


QUESTIONS = {
    "everything": (Filters(), lambda r: True),
    "status": (Filters(status="error"), lambda r: r["backup"]["status"] == "error"),
    "zone": (Filters(availability_zone="eu-de-01"), lambda r: r["backup"]["availability_zone"] == "eu-de-01"),
    "name": (Filters(name="e"), lambda r: "e" in (r["backup"]["name"] or "")),
    "two": (
        Filters(name="a", availability_zone="eu-de-02"),
        lambda r: "a" in (r["backup"]["name"] or "") and r["backup"]["availability_zone"] == "eu-de-02",
    ),
}
PARAMETERS = ("status", "avalilability_zone", "name")


@pytest.mark.parametrize(("filters", "keep"), QUESTIONS.values(), ids=QUESTIONS)
def test_the_answer_is_what_the_api_holds(service, filters, keep):
    found = readings(service, filters)
    assert answered(found) == truth(service, keep)
    assert {reading.status for reading in found} == {ProofStatus.COVERED}
    assert [reading.remarks for reading in found] == [[]] * 4


@pytest.mark.parametrize("operations", [("detail", "count"), ("detail",)])
@pytest.mark.parametrize(("filters", "keep"), list(QUESTIONS.values())[1:], ids=list(QUESTIONS)[1:])
def test_a_filter_that_the_service_ignores_is_noticed_and_the_answer_is_the_same(service, filters, keep, operations):
    through = httpx.MockTransport(Ignores(service, *PARAMETERS, operations=operations))
    found = readings(service, filters, through=through)
    assert answered(found) == truth(service, keep)
    for reading in found:
        everything = len(service.listing(reading.listing.project_id, reading.listing.direction))
        assert reading.status is ProofStatus.COVERED
        assert reading.remarks == [
            f"{everything - reading.rows.num_rows} shares came that do not match and are left out: "
            "the service ignores a filter, or understands it otherwise"
        ]


def test_one_direction_alone_can_be_asked(service):
    found = readings(service, Filters(), directions=[Direction.INCOMING])
    assert [reading.listing.direction for reading in found] == [Direction.INCOMING] * 2
    assert all("share_to_me" in query for _, _, query in service.requests)


def test_a_listing_that_fails_is_told_and_the_others_are_shown(world):
    revoked = world.projects[0]
    found = readings(Service(world, clock=lambda: NOW, faults=[Fault(project_id=revoked, status=403)]), Filters())
    assert [reading.status for reading in found] == [ProofStatus.FAILED] * 2 + [ProofStatus.COVERED] * 2
    assert "HTTP 403" in found[0].remarks[0]
    assert found[0].rows.num_rows == 0


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("sort_key", SORT_KEYS)
def test_the_answer_is_sorted_as_asked_though_the_pages_are_not(service, sort_key, descending):
    found = readings(service, Filters())
    rows = together(found, sort_key=sort_key, descending=descending).to_pylist()
    values = [row[SORT_COLUMNS[sort_key]] for row in rows if row[SORT_COLUMNS[sort_key]] is not None]
    assert values == sorted(values, reverse=descending)
    assert {query["sort_key"] for _, path, query in service.requests if path.endswith("detail")} == {"id"}
    assert together(found, sort_key=sort_key, descending=descending, limit=3).to_pylist() == rows[:3]


def test_a_record_that_cannot_be_read_is_told(world):
    broken = json.dumps({"shared": [{"id": 5}]}).encode()
    faults = [Fault(Operation.DETAIL, body=broken), Fault(Operation.COUNT, body=b'{"count": 1}')]
    found = readings(Service(world, clock=lambda: NOW, faults=faults), Filters())
    assert all("1 records cannot be read and are left out" in reading.remarks[-1] for reading in found)


# The command


@pytest.fixture(scope="module")
def cloud(world: World) -> Iterator[dict[str, str]]:
    service = Service(world, faults=[Fault(project_id=world.projects[1], direction=Direction.INCOMING, status=403)])
    with serve(service) as url:
        yield {"VBS_ENDPOINT": url, "VBS_TOKEN": DEMO_TOKEN, "VBS_PROJECTS": ",".join(world.projects)}


def list_shares(folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_text(folder, "list", *arguments, **environment)


def test_list_prints_what_is_shared_and_leaves_nothing_behind(tmp_path, world, cloud):
    done = list_shares(tmp_path, cloud, "--direction", "outgoing", "--sort-key", "id", "--sort-dir", "asc")
    service = Service(world)
    expected = [row[2] for row in truth(service, lambda r: True) if row[1] == "outgoing"]
    assert done.returncode == 0, done.stderr
    assert all(share_id in done.stdout for share_id in expected)
    assert done.stderr.count(": covered, ") == 2
    assert list(tmp_path.iterdir()) == []


def test_list_exports_all_columns_in_every_format(tmp_path, cloud, world):
    question = ("--project", world.projects[0], "--status", "error", "--limit", "2")
    as_json = json.loads(list_shares(tmp_path, cloud, *question, "--format", "json").stdout)
    as_csv = list(csv.DictReader(io.StringIO(list_shares(tmp_path, cloud, *question, "--format", "csv").stdout)))
    list_shares(tmp_path, cloud, *question, "--format", "parquet", "--output", "out.parquet")
    as_parquet = pq.read_table(tmp_path / "out.parquet")
    assert 1 <= len(as_json) <= 2
    assert {row["backup_status"] for row in as_json} == {"error"}
    assert {row["project_id"] for row in as_json} == {world.projects[0]}
    assert [row["share_id"] for row in as_csv] == [row["share_id"] for row in as_json]
    assert as_parquet.column_names == list(as_json[0])
    assert {"region", "direction", "share_created_at", "volume_id", "is_bootable"} <= set(as_parquet.column_names)


def test_list_with_a_listing_that_is_not_proven_exits_1_and_says_which(tmp_path, cloud, world):
    done = list_shares(tmp_path, cloud, "--format", "json")
    assert done.returncode == 1
    assert json.loads(done.stdout)
    assert f"incoming shares of project {world.projects[1]}: failed, 0 shares; HTTP 403" in done.stderr
    assert DEMO_TOKEN not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (("--project", "../x"), {}, "backup-shares: VBS_PROJECTS holds '../x'"),
        ((), {"VBS_TOKEN": ""}, "backup-shares: no credential is set"),
        ((), {"VBS_CA_FILE": "no.pem"}, "backup-shares: VBS_CA_FILE cannot be used: no such file"),
        (("--output", "x.txt"), {}, "--output goes with"),
        (("--sort-key", "container_format"), {}, "'container_format' is not one of"),
    ],
)
def test_list_with_bad_configuration_exits_2(tmp_path, cloud, arguments, environment, sentence):
    done = list_shares(tmp_path, cloud | environment, *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
