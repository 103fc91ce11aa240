"""Logins: keystoneauth1 itself, over real sockets, against the simulated identity service.

Not here: what is wrong with clouds.yaml (test_clouds.py), the run as a whole (test_definitions.py, test_cli.py).
"""

import gzip
import json
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from pipelines.auth import Account, accounts
from pipelines.client import ShareClient
from pipelines.errors import ApiError, ConfigurationError, CredentialError, PermanentApiError, TransientApiError
from pipelines.extract import Options, observe_listings
from pipelines.login import Project, RunTokens, Ticket
from pipelines.observation import ProofStatus
from pipelines.settings import Settings, load_settings
from pipelines.simulator.faults import Fault, Operation
from pipelines.simulator.iam import Account as User
from pipelines.simulator.server import serve
from pipelines.simulator.service import Service
from pipelines.simulator.wire import Request
from pipelines.simulator.world import World
from tests.fakes import all_texts

PASSWORD, SECRET, TOKEN = "canary-Pass{w}ord-1", "canary-secret-2", "canary-token-3"
CANARIES = (PASSWORD, SECRET, TOKEN)
USER = User(password=PASSWORD, application_credential_secret=SECRET)
CLOUDS = Path("clouds.yaml")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and an environment without our settings and without a cloud."""
    monkeypatch.chdir(tmp_path)
    for name in [*map(str.upper, Settings.model_fields), *(name for name in os.environ if name.startswith("OS_"))]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / CLOUDS))
    monkeypatch.setenv("VBS_CLOUDS", "sim")
    return tmp_path


class Clock:
    """The clock of the simulated cloud."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service(clock: Clock) -> Service:
    return Service(World(projects=3, shares=40), token=TOKEN, account=USER, clock=clock)


class Switchboard:
    """Leads the one port of this module to the service of each test: a port takes a while to open and close."""

    service: Service
    faults = ()
    """None that would belong to the port."""

    def respond(self, request: Any) -> Any:
        return self.service.respond(request)


@pytest.fixture(scope="module")
def port() -> Iterator[tuple[str, Switchboard]]:
    board: Any = Switchboard()
    with serve(board) as address:
        yield address, board


@pytest.fixture
def url(service: Service, port: tuple[str, Switchboard]) -> str:
    address, board = port
    board.service = service
    configure(sim=password(address))
    return address


def configure(**clouds: dict[str, Any]) -> None:
    CLOUDS.write_text(json.dumps({"clouds": clouds}))
    CLOUDS.chmod(0o600)


def password(url: str, **changes: str) -> dict[str, Any]:
    auth = {"auth_url": url, "username": "demo", "password": PASSWORD, "user_domain_name": "demo-domain"}
    return {"auth": auth | changes, "region_name": "eu-de"}


def application_credential(url: str) -> dict[str, Any]:
    auth = {"application_credential_id": USER.application_credential_id, "application_credential_secret": SECRET}
    return {
        "auth_type": "v3applicationcredential",
        "auth": {"auth_url": f"{url}/v3"} | auth,
        "region_name": "eu-de",
    }


def token(url: str, **scope: str) -> dict[str, Any]:
    return {"auth_type": "token", "auth": {"auth_url": url, "token": TOKEN} | scope, "region_name": "eu-de"}


def found(**settings: Any) -> list[Account]:
    return accounts(load_settings(**settings), sleep=lambda seconds: None)


def logins(service: Service) -> int:
    return sum(path == "/v3/auth/tokens" for _, path, _ in service.requests)


def share_requests(service: Service) -> int:
    return sum("os-vendor-backup-sharing" in path for _, path, _ in service.requests)


def no_secret_in(text: str) -> bool:
    return not any(canary in text for canary in CANARIES)


def refusal(**settings: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        found(**settings)
    assert no_secret_in(all_texts(caught.value))
    assert str(caught.value).isprintable()
    return str(caught.value)


# The three ways in


def test_a_password_opens_every_project_of_its_user_each_with_a_token_of_its_own(url: str, service: Service) -> None:
    (account,) = found()
    assert (account.region, account.endpoint, account.cloud, account.problem) == ("eu-de", url, "sim", "")
    assert account.project_ids == service.world.projects

    tokens = {project: account.tokens.token(project) for project in account.project_ids}

    assert len(set(tokens.values())) == 3
    with closing(ShareClient(account.endpoint, account.tokens)) as client:
        counted = [client.count(listing) for listing in account.listings()]
    assert counted == [len(service.listing(each.project_id, each.direction)) for each in account.listings()]
    assert logins(service) == 4, "one to ask for the projects, one for each project"


def test_an_application_credential_opens_its_own_project(url: str, service: Service) -> None:
    configure(sim=application_credential(url))
    (account,) = found()
    assert (account.endpoint, account.project_ids) == (url, service.world.projects[:1])
    assert account.tokens.token(service.world.projects[0])
    assert logins(service) == 1


def test_a_token_opens_every_project_that_it_can_be_exchanged_for(url: str, service: Service) -> None:
    configure(sim=token(url))
    (account,) = found()
    assert account.project_ids == service.world.projects
    assert TOKEN not in [account.tokens.token(project) for project in account.project_ids]


def test_a_token_with_a_project_opens_that_one(url: str, service: Service) -> None:
    configure(sim=token(url, project_id=service.world.projects[1]))
    assert found()[0].project_ids == service.world.projects[1:2]


def test_a_login_with_a_project_serves_that_project_too(url: str, service: Service) -> None:
    configure(sim=password(url, project_name="eu-de_demo-2", project_domain_name="demo-domain"))
    (account,) = found()
    assert account.project_ids == service.world.projects
    account.tokens.token(service.world.projects[1])
    assert logins(service) == 1


@pytest.mark.parametrize("variable", ["OS_CLOUD", "OS_AUTH_URL"])
def test_what_the_environment_says_is_used_like_any_openstack_client_does(
    variable: str, url: str, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VBS_CLOUDS")
    if variable == "OS_CLOUD":
        monkeypatch.setenv("OS_CLOUD", "sim")
    else:
        configure()
        for name, value in password(url)["auth"].items():
            monkeypatch.setenv(f"OS_{name.upper()}", value)
        monkeypatch.setenv("OS_REGION_NAME", "eu-de")
    (account,) = found()
    assert (account.region, account.project_ids) == ("eu-de", service.world.projects)


def test_nothing_of_the_environment_sends_a_login_elsewhere(
    url: str, service: Service, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (folder / ".netrc").write_text("default login me password other\n")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    assert found()[0].problem == ""


# The endpoint


def catalogue(service: Service, *entries: tuple[str, str, str], interface: str = "public") -> Fault:
    """The body of every login: a token for the first project, with a catalogue of (type, region, url)."""
    services = [
        {"type": kind, "name": kind, "endpoints": [{"id": "e", "interface": interface, "region": region, "url": url}]}
        for kind, region, url in entries
    ]
    body = {"token": {"methods": [], "project": {"id": service.world.projects[0], "name": "a"}, "catalog": services}}
    return Fault(Operation.TOKEN, body=json.dumps(body).encode())


PROJECT = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("entries", "endpoint"),
    [
        ([("vbs", "eu-de", "https://b.example"), ("vbsv2", "eu-de", "https://a.example")], "https://a.example"),
        ([("volume-backup", "eu-de", "https://c.example"), ("vbs", "eu-de", "https://b.example")], "https://b.example"),
        ([("volume_backup", "eu-de", "https://d.example/v2/")], "https://d.example"),
        ([("vbsv2", "eu-de", f"https://a.example/v2/{PROJECT}")], "https://a.example"),
        ([("vbsv2", "eu-nl", "https://nl.example"), ("vbs", "eu-de", "https://de.example")], "https://de.example"),
        ([("vbs", "*", "https://all.example:8443/vbs/v2")], "https://all.example:8443/vbs"),
    ],
)
def test_the_catalogue_leads_to_the_base_url(
    entries: list[tuple[str, str, str]], endpoint: str, url: str, service: Service
) -> None:
    service.faults = [catalogue(service, *entries)]
    assert found()[0].endpoint == endpoint


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([], "the catalogue of cloud sim has no Volume Backup Service: set VBS_ENDPOINT"),
        ([("volumev2", "eu-de", "https://a.example")], "the catalogue of cloud sim has no Volume Backup Service"),
        ([("vbs", "eu-nl", "https://a.example")], "the catalogue of cloud sim has the Volume Backup Service in the"),
        ([("vbs", "eu-de", "http://a.example")], "the endpoint in the catalogue of cloud sim begins with http://"),
        ([("vbs", "eu-de", "https://u:p@a.example")], "the endpoint in the catalogue of cloud sim has more than"),
        ([("vbs", "eu-de", "a.example")], "the endpoint in the catalogue of cloud sim is not an http(s) URL"),
    ],
)
def test_a_catalogue_that_leads_nowhere_is_told(
    entries: list[tuple[str, str, str]], sentence: str, url: str, service: Service
) -> None:
    service.faults = [catalogue(service, *entries)]
    assert refusal().startswith(sentence)
    assert share_requests(service) == 0


def test_a_cloud_without_region_in_a_catalogue_of_several_needs_one(url: str, service: Service) -> None:
    cloud = password(url)
    del cloud["region_name"]
    configure(sim=cloud)
    service.faults = [
        catalogue(service, ("vbs", "eu-de", "https://de.example"), ("vbsv2", "eu-nl", "https://nl.example"))
    ]
    assert refusal() == (
        "the catalogue of cloud sim has the Volume Backup Service in the regions eu-de, eu-nl, and not in default: "
        "set region_name in clouds.yaml"
    )
    (account,) = found(vbs_region="eu-nl")
    assert (account.region, account.endpoint) == ("eu-nl", "https://nl.example")


def test_a_cloud_without_region_in_a_catalogue_of_one_is_kept_under_the_region_that_is_set(url: str) -> None:
    cloud = password(url)
    del cloud["region_name"]
    configure(sim=cloud)
    (account,) = found(vbs_region="mine")
    assert (account.region, account.endpoint) == ("mine", url)


def test_an_override_is_stronger_than_the_catalogue_and_the_setting_stronger_still(url: str, service: Service) -> None:
    configure(sim=password(url) | {"volume_backup_endpoint_override": "https://own.example/v2/"})
    assert found()[0].endpoint == "https://own.example"
    assert logins(service) == 1, "no catalogue is needed"
    assert found(vbs_endpoint="https://set.example")[0].endpoint == "https://set.example"


def test_another_interface_of_the_catalogue_can_be_chosen(url: str, service: Service) -> None:
    service.faults = [catalogue(service, ("vbs", "eu-de", "https://in.example"), interface="internal")]
    assert refusal().startswith("the catalogue of cloud sim has no Volume Backup Service")
    configure(sim=password(url) | {"interface": "internal"})
    assert found()[0].endpoint == "https://in.example"


# The projects


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ("", "012"),
        ("*", "012"),
        ("eu-de*", "012"),
        ("eu-de_demo-2", "1"),
        ("eu-de_demo-?", "012"),
        ("!eu-de_demo-2", "02"),
        ("*-1,*-3", "02"),
        ("*,!*-1,!*-3", "1"),
        ("! eu-de_demo-1", "12"),
        ("ID1", "1"),
        ("!ID1", "02"),
        ("ID2,eu-de_demo-3", "2"),
        ("ID0,eu-de_demo-3", "02"),
        ("eu-de_demo-1,nothing*", "0"),
    ],
)
def test_projects_are_narrowed_by_patterns_over_ids_and_names(
    patterns: str, expected: str, url: str, service: Service
) -> None:
    for number, project in enumerate(service.world.projects):
        patterns = patterns.replace(f"ID{number}", project)
    chosen = tuple(service.world.projects[int(number)] for number in expected)
    assert found(vbs_projects=patterns)[0].project_ids == chosen


@pytest.mark.parametrize(
    ("patterns", "sentence"),
    [
        (PROJECT, f"VBS_PROJECTS names '{PROJECT}', and the credential can see no enabled project with that id"),
        ("*,eu-nl_demo", "VBS_PROJECTS names 'eu-nl_demo', and the credential can see no enabled project with that"),
        ("[e]u*", "VBS_PROJECTS leaves none of the 3 projects that the credential can see"),
        ("eu-nl*", "VBS_PROJECTS leaves none of the 3 projects that the credential can see"),
        ("!*", "VBS_PROJECTS leaves none of the 3 projects that the credential can see"),
    ],
)
def test_patterns_that_do_not_fit_are_told(patterns: str, sentence: str, url: str, service: Service) -> None:
    assert refusal(vbs_projects=patterns).startswith(sentence)
    assert share_requests(service) == 0


def projects(*entries: dict[str, Any], **other: Any) -> Fault:
    return Fault(Operation.PROJECTS, body=json.dumps({"projects": entries} | other).encode())


def test_disabled_projects_and_domains_are_left_out(url: str, service: Service) -> None:
    first, second, third = service.world.projects
    service.faults = [
        projects(
            {"id": first, "name": "a", "enabled": False},
            {"id": second, "name": "b", "enabled": True, "is_domain": True},
            {"id": third, "name": "c"},
            {"id": third, "name": "c"},
        )
    ]
    assert found()[0].project_ids == (third,)
    assert refusal(vbs_projects=first).startswith(
        f"VBS_PROJECTS names '{first}', and the credential can see no enabled"
    )


@pytest.mark.parametrize("bad", ["../../../etc/passwd", "0" * 32, PROJECT.upper(), PROJECT + "\n", "\x1b[2J", ""])
def test_a_project_whose_id_is_none_is_refused_before_any_request_about_shares(
    bad: str, url: str, service: Service
) -> None:
    service.faults = [projects({"id": bad, "name": "odd"}, {"id": service.world.projects[0], "name": "fine"})]
    assert refusal().startswith("the cloud shows a project with the id ")
    assert share_requests(service) == 0
    assert found(vbs_projects="!odd")[0].project_ids == service.world.projects[:1]


def test_a_credential_that_sees_nothing_is_told(url: str, service: Service) -> None:
    service.faults = [projects()]
    assert refusal() == "the credential can see no enabled project: give it a role in one"


def test_a_project_that_two_clouds_of_a_region_show_is_refused(url: str, service: Service) -> None:
    configure(sim=password(url), other=application_credential(url))
    assert refusal(vbs_clouds="sim,other") == (
        f"project {service.world.projects[0]} in region eu-de is visible through the clouds sim and other: "
        "leave one of them out of VBS_CLOUDS"
    )
    assert share_requests(service) == 0
    assert len(found(vbs_clouds="sim,other", vbs_projects="*,!eu-de_demo-1")) == 2


def test_the_same_project_id_in_two_regions_is_two_projects(url: str, service: Service) -> None:
    override = {"volume_backup_endpoint_override": "https://nl.example"}
    configure(sim=password(url), other=password(url) | override | {"region_name": "eu-nl"})
    assert [account.region for account in found(vbs_clouds="sim,other")] == ["eu-de", "eu-nl"]


# Refused and unreachable


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_wrong_password_is_one_login_in_the_whole_run(url: str, service: Service, concurrency: int) -> None:
    configure(sim=password(url, password="wrong-" + PASSWORD))
    (account,) = found()

    assert account.project_ids == ()
    assert account.problem.startswith(
        f"cloud sim: the identity service at {url.removeprefix('http://')} refused the login: HTTP 401; IAM.0062; "
        "Incorrect user name or password.; check the credential. It is not tried again in this run"
    )
    with ThreadPoolExecutor(concurrency) as pool:
        errors = list(pool.map(lambda _: refused(account, service.world.projects[0]), range(20)))
    assert {type(error) for error in errors} == {CredentialError}
    assert logins(service) == 1
    assert all(no_secret_in(all_texts(error)) for error in errors)


def refused(account: Account, project_id: str) -> ApiError:
    with pytest.raises(ApiError) as caught:
        account.tokens.token(project_id)
    return caught.value


def test_a_cloud_that_lets_nobody_in_does_not_stop_the_others(service: Service) -> None:
    other = Service(World(seed=11, projects=2, shares=10), account=USER)
    with serve(service) as url, serve(other) as second:
        configure(sim=password(url, password="wrong"), other=password(second), gone=password("http://127.0.0.1:9"))
        refused, fine, gone = found(vbs_clouds="sim,other,gone", vbs_projects=f"*,{service.world.projects[0]}")
    assert "refused the login" in refused.problem
    assert "cloud gone: no answer from the identity service at 127.0.0.1:9: " in gone.problem
    assert (fine.problem, fine.project_ids) == ("", other.world.projects)


def test_an_identity_service_that_fails_once_is_asked_again(url: str, service: Service) -> None:
    service.faults = [Fault(Operation.TOKEN, nth=0, status=503), Fault(Operation.PROJECTS, nth=0, status=429)]
    assert found()[0].problem == ""


def test_an_identity_service_that_stays_away_is_given_up_after_three_logins(url: str, service: Service) -> None:
    service.faults = [Fault(Operation.TOKEN, status=500)]
    (account,) = found()
    assert "failed: HTTP 500" in account.problem
    errors = [refused(account, project) for project in service.world.projects for _ in range(3)]
    assert logins(service) == 3
    assert {type(error) for error in errors} == {PermanentApiError}
    assert "given up for this run" in str(errors[0])


@pytest.mark.parametrize("status", [300, 301, 302, 307, 308, 400, 403, 404, 405, 407, 418, 501])
def test_a_login_that_fails_for_good_is_not_repeated(status: int, url: str, service: Service) -> None:
    elsewhere = (("Location", "http://127.0.0.1:9/v3/auth/tokens"),)
    service.faults = [Fault(Operation.TOKEN, status=status, headers=elsewhere)]
    (account,) = found()
    assert f"HTTP {status}" in account.problem
    assert logins(service) == 1


def test_a_project_that_is_closed_does_not_close_its_cloud(url: str, service: Service) -> None:
    service.faults = [Fault(Operation.TOKEN, nth=1, status=403)]
    (account,) = found()
    assert (account.problem, account.project_ids) == ("", service.world.projects)
    assert "HTTP 403" in str(refused(account, service.world.projects[0]))
    assert account.tokens.token(service.world.projects[2])


def test_projects_that_are_all_closed_are_told(url: str, service: Service) -> None:
    service.faults = [Fault(Operation.TOKEN, nth=range(1, 9), status=403)]
    assert "refused: HTTP 403" in found()[0].problem
    assert logins(service) == 4


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_failure_that_may_pass_is_one_to_the_caller(status: int, url: str, service: Service) -> None:
    (account,) = found()
    service.faults = [Fault(Operation.TOKEN, nth=0, status=status)]
    error = refused(account, account.project_ids[1])
    assert isinstance(error, TransientApiError)
    assert account.tokens.token(account.project_ids[1])


HOSTILE_BODIES = {
    "nothing": b"",
    "html": b"<html>log in</html>",
    "no token": b"{}",
    "null": b"null",
    "list": b"[]",
    "number": b"1",
    "token is null": b'{"token": null}',
    "token is text": b'{"token": "x"}',
    "catalogue is text": b'{"token": {"project": {"id": "a", "name": "b"}, "catalog": "x"}}',
    "deep": b"[" * 100_000,
    "huge integer": b'{"token": ' + b"9" * 5000 + b"}",
    "not UTF-8": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("body", HOSTILE_BODIES.values(), ids=HOSTILE_BODIES.keys())
@pytest.mark.parametrize("operation", [Operation.TOKEN, Operation.PROJECTS])
def test_an_answer_that_makes_no_sense_is_one_sentence(
    body: bytes, operation: Operation, url: str, service: Service
) -> None:
    service.faults = [Fault(operation, body=body)]
    (account,) = found()
    assert account.problem.startswith("cloud sim: the identity service ")
    assert "an answer that cannot be understood" in account.problem or "for another project" in account.problem


def test_a_token_for_another_project_is_none(url: str, service: Service) -> None:
    (account,) = found()
    service.faults = [catalogue(service)]
    error = refused(account, service.world.projects[1])
    assert f"a token for another project than {service.world.projects[1]}, which is not used" in str(error)


@pytest.mark.parametrize("bad", ["", "two words", "x" * 32_769])
def test_a_token_that_cannot_be_sent_is_none(bad: str, url: str, service: Service) -> None:
    service.faults = [Fault(Operation.TOKEN, headers=(("X-Subject-Token", bad),))]
    assert "an answer that cannot be understood" in found()[0].problem


def test_a_list_of_projects_in_pages_is_not_taken_for_whole(url: str, service: Service) -> None:
    service.faults = [projects({"id": service.world.projects[0], "name": "a"}, links={"next": "http://127.0.0.1:9/"})]
    assert "the list is not whole" in found()[0].problem


@pytest.fixture
def raw_server() -> Iterator[Callable[[Callable[[Any], None]], str]]:
    """Starts a server that answers every POST as it is told, byte by byte if need be."""
    with ExitStack() as stack:

        def start(answer: Callable[[Any], None]) -> str:
            class Handler(BaseHTTPRequestHandler):
                def do_POST(self) -> None:
                    self.rfile.read(int(self.headers["Content-Length"]))
                    answer(self)

                def log_message(self, *arguments: object) -> None:
                    pass

            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}"

        yield start


def test_an_answer_that_drips_ends_at_the_deadline(raw_server: Any) -> None:
    ended = threading.Event()

    def drip(handler: Any) -> None:
        handler.send_response(201)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        while not ended.wait(0.02):
            try:
                handler.wfile.write(b" ")
            except OSError:
                return

    configure(sim=password(raw_server(drip)))
    (account,) = found(vbs_request_deadline=0.1)
    ended.set()
    assert "took longer than 0.1 s (VBS_REQUEST_DEADLINE)" in account.problem


def test_a_bomb_is_not_unpacked(raw_server: Any) -> None:
    bomb = gzip.compress(bytes(64 * 2**20), 1)

    def send(handler: Any) -> None:
        handler.send_response(201)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(bomb)))
        handler.end_headers()
        with suppress(OSError):
            handler.wfile.write(bomb)

    configure(sim=password(raw_server(send)))
    assert "the identity service's answer is larger than" in found()[0].problem


@pytest.fixture
def tls(service: Service) -> Iterator[Callable[[str], tuple[str, int]]]:
    """Starts the service behind a certificate for this name; gives the file of its authority and the port."""
    with ExitStack() as stack:

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                path, _, query = self.path.partition("?")
                request = Request.received(self.command, path, query.encode(), dict(self.headers), body)
                response = service.respond(request)
                self.send_response(response.status)
                for name, value in (*response.headers, ("Content-Length", str(len(response.body)))):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(response.body)

            do_POST = do_GET

            def log_message(self, *arguments: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, *arguments: object) -> None:
                """A client that does not like the certificate goes away."""

        def start(name: str) -> tuple[str, int]:
            authority = trustme.CA()
            authority.cert_pem.write_to_path("ca.pem")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert(name).configure_cert(context)
            server = stack.enter_context(Quiet(("127.0.0.1", 0), Handler))
            server.daemon_threads = True
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
            stack.callback(server.shutdown)
            return str(Path("ca.pem").absolute()), server.server_port

        yield start


def test_an_authority_of_ones_own_is_trusted_for_the_login_and_for_the_shares(tls: Any, service: Service) -> None:
    ca_file, port = tls("localhost")
    address = f"https://localhost:{port}"
    configure(sim=password(address) | {"cacert": ca_file, "vbs_endpoint_override": address})
    (account,) = found()
    assert (account.problem, account.ca_file) == ("", ca_file)
    listing = account.listings()[0]
    with closing(ShareClient(account.endpoint, account.tokens, ca_file=account.ca_file)) as client:
        assert client.count(listing) == len(service.listing(listing.project_id, listing.direction))


@pytest.mark.parametrize(("name", "with_authority"), [("localhost", False), ("elsewhere.example", True)])
def test_a_certificate_that_is_not_trusted_ends_it_before_the_password_is_sent(
    name: str, with_authority: bool, tls: Any, service: Service
) -> None:
    ca_file, port = tls(name)
    configure(sim=password(f"https://localhost:{port}") | ({"cacert": ca_file} if with_authority else {}))
    assert found()[0].problem == (
        f"cloud sim: the certificate of the identity service at localhost:{port} is not trusted: "
        "check auth_url and cacert"
    )
    assert service.requests == []


def test_a_service_that_quotes_the_secrets_brings_them_into_no_text(
    url: str, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    # The code is long: what is cut before it is looked through would show the begin of a secret.
    quote = json.dumps(
        {"error": {"code": "c" * 50 + PASSWORD, "message": f"bad {PASSWORD}, {SECRET} \x1b[2J {TOKEN}"}}
    ).encode()
    for cloud in (password(url), application_credential(url), token(url)):
        for fault in (
            Fault(Operation.TOKEN, status=401, body=quote),
            Fault(Operation.TOKEN, status=500, body=quote),
            Fault(Operation.PROJECTS, status=403, body=quote),
            Fault(Operation.TOKEN, body=quote),
        ):
            secret = next(
                value for key, value in cloud["auth"].items() if key in ("password", "token") or "secret" in key
            )
            configure(sim=cloud)
            service.faults = [fault]
            (account,) = found()
            service.faults = [Fault(Operation.TOKEN, status=401, body=quote)]
            texts = [account.problem, repr(account), caplog.text]
            if account.problem:
                texts.append(all_texts(refused(account, service.world.projects[2])))
            assert secret not in "\n".join(texts)
            assert secret[:8] not in account.problem or secret != PASSWORD
            assert "\x1b" not in account.problem


def test_no_frame_of_the_library_hangs_on_an_error(url: str, service: Service) -> None:
    """Their variables hold the password, and some tools print variables."""
    (account,) = found()
    for status in (401, 500):
        service.faults = [Fault(Operation.TOKEN, status=status)]
        error: BaseException | None = refused(account, service.world.projects[1 if status == 500 else 2])
        while error is not None:
            frame = error.__traceback__
            while frame is not None:
                assert "site-packages" not in frame.tb_frame.f_code.co_filename
                frame = frame.tb_next
            error = error.__cause__ or error.__context__


def test_nothing_that_is_logged_shows_a_secret_or_comes_from_the_library(
    url: str, service: Service, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    (account,) = found()
    tokens = [account.tokens.token(project) for project in account.project_ids]
    libraries = {"keystoneauth", "openstack", "stevedore", "urllib3"}
    assert not {record.name.split(".")[0] for record in caplog.records} & libraries
    told = caplog.text + "".join(capfd.readouterr()) + repr(account)
    assert no_secret_in(told)
    assert not any(each in told for each in tokens)


# Renewal, over the wire


def observe(account: Account, folder: Path, client: ShareClient, **options: Any) -> list[tuple[ProofStatus, str]]:
    clients = dict.fromkeys(account.listings(), client)
    observed = observe_listings(
        clients, folder, sync_id="s", now=lambda: datetime.now(UTC), options=Options(page_size=20, **options)
    )
    return [(seen.status, seen.reason) for _, seen in observed]


class ExpiringService(Service):
    """All tokens that were issued end when the request with number `at` about shares comes in."""

    def __init__(self, clock: Clock, at: int, **options: Any) -> None:
        super().__init__(World(projects=1, shares=70), token=TOKEN, account=USER, clock=clock, **options)
        self.cloud_clock, self.at, self.asked = clock, at, 0

    def respond(self, request: Any) -> Any:
        if "os-vendor-backup-sharing" in request.path:
            if self.asked == self.at:
                self.cloud_clock.now += timedelta(hours=25)
            self.asked += 1
        return super().respond(request)


@pytest.mark.parametrize("at", range(8))
def test_a_token_that_ends_in_mid_walk_is_renewed_once_and_the_walk_goes_on(
    at: int, clock: Clock, folder: Path
) -> None:
    with serve(ExpiringService(clock, at=10_000)) as url:
        configure(sim=password(url))
        (account,) = found()
        with closing(ShareClient(account.endpoint, account.tokens, sleep=lambda seconds: None)) as client:
            undisturbed = observe(account, folder / "calm", client)
    service = ExpiringService(clock, at)
    with serve(service) as url:
        configure(sim=password(url))
        (account,) = found()
        with closing(ShareClient(account.endpoint, account.tokens, sleep=lambda seconds: None)) as client:
            assert observe(account, folder / "expiring", client) == undisturbed
    assert [status for status, _ in undisturbed] == [ProofStatus.COVERED] * 2
    assert service.asked > at
    assert logins(service) == 3, "for the list of projects, for the project, and once more"


def test_a_service_that_refuses_every_token_costs_one_renewal_for_each_project(
    url: str, service: Service, folder: Path
) -> None:
    (account,) = found()
    before = logins(service)
    service.faults = [Fault(Operation.DETAIL, status=401), Fault(Operation.COUNT, status=401)]
    with closing(ShareClient(account.endpoint, account.tokens, sleep=lambda seconds: None)) as client:
        observed = observe(account, folder, client, concurrency=4)
    assert {status for status, _ in observed} == {ProofStatus.FAILED}
    assert logins(service) - before == 2 + 3, "two projects had no token yet; one renewal for each"


# The tokens of a run, by themselves


class Office:
    """Stands for the identity service: hands out numbered tickets and counts."""

    def __init__(self, lifetime: float | None = None, failures: dict[int, ApiError] | None = None) -> None:
        self.asked: list[str | None] = []
        self.lifetime, self.failures = lifetime, failures or {}

    def log_in(self, project_id: str | None) -> Ticket:
        number = len(self.asked)
        self.asked.append(project_id)
        if number in self.failures:
            raise self.failures[number]
        return Ticket(f"token-{number}", Project(project_id, "") if project_id else None, self.lifetime, ())


def test_a_token_is_kept_for_its_project() -> None:
    office = Office()
    tokens = RunTokens(office.log_in)
    assert [tokens.token(project) for project in "abab"] == ["token-0", "token-1", "token-0", "token-1"]


def test_many_threads_that_ask_at_once_are_one_login() -> None:
    together, office = threading.Barrier(16), Office()
    tokens = RunTokens(office.log_in)

    def ask(_: int) -> str:
        together.wait(10)
        return tokens.token("a")

    def renew(_: int) -> str | None:
        together.wait(10)
        return tokens.renewed("a", "token-0")

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(ask, range(16))) == {"token-0"}
        assert set(pool.map(renew, range(16))) == {"token-1"}
    assert office.asked == ["a", "a"]


def test_a_refused_token_is_renewed_once_and_then_there_is_none() -> None:
    office = Office()
    tokens = RunTokens(office.log_in)
    first = tokens.token("a")
    second = tokens.renewed("a", first)
    assert second == "token-1"
    assert tokens.renewed("a", first) == second, "who comes late with the old one gets the new one"
    assert tokens.renewed("a", second) is None
    assert tokens.token("a") == second
    assert tokens.renewed("b", "whatever") == "token-2", "each project has a renewal of its own"
    assert len(office.asked) == 3


def test_the_same_token_again_is_no_renewal() -> None:
    ticket = Ticket("same", None, None, ())
    tokens = RunTokens(lambda _: ticket)
    assert tokens.renewed("a", tokens.token("a")) is None


@pytest.mark.parametrize(("lifetime", "renewed_after"), [(86_400.0, 86_100.0), (1_000.0, 900.0), (10.0, 9.0)])
def test_a_token_is_renewed_before_its_end(lifetime: float, renewed_after: float) -> None:
    now, office = [5.0], Office(lifetime)
    tokens = RunTokens(office.log_in, clock=lambda: now[0])
    tokens.token("a")
    now[0] = 5.0 + renewed_after - 0.1
    assert tokens.token("a") == "token-0"
    now[0] = 5.0 + renewed_after
    assert tokens.token("a") == "token-1"
    assert tokens.token("a") == "token-1"
    assert tokens.renewed("a", "token-1") == "token-2", "the renewal after a refusal is not spent by it"


@pytest.mark.parametrize("lifetime", [None, 0.0, -3600.0])
def test_a_token_whose_life_makes_no_sense_is_kept_until_it_is_refused(lifetime: float | None) -> None:
    now, office = [0.0], Office(lifetime)
    tokens = RunTokens(office.log_in, clock=lambda: now[0])
    tokens.token("a")
    now[0] = 1e9
    assert tokens.token("a") == "token-0"


def test_an_early_renewal_that_does_not_succeed_leaves_the_old_token_in_use() -> None:
    now = [0.0]
    office = Office(1000.0, failures={number: TransientApiError("away") for number in range(1, 10)})
    tokens = RunTokens(office.log_in, clock=lambda: now[0])
    tokens.token("a")
    now[0] = 950.0
    assert [tokens.token("a") for _ in range(2)] == ["token-0"] * 2


def test_a_refused_login_is_the_last_of_its_credential() -> None:
    office = Office(failures={1: CredentialError("no", status=401)})
    tokens = RunTokens(office.log_in)
    assert tokens.token("a") == "token-0"
    for project in "bcb":
        with pytest.raises(CredentialError, match="no"):
            tokens.token(project)
    with pytest.raises(CredentialError, match="no"):
        tokens.renewed("a", "token-0")
    assert office.asked == ["a", "b"]


def test_a_project_that_is_closed_to_a_good_credential_is_closed_alone() -> None:
    office = Office(failures={1: PermanentApiError("forbidden", status=403)})
    tokens = RunTokens(office.log_in)
    tokens.token("a")
    for _ in range(3):
        with pytest.raises(PermanentApiError, match="forbidden"):
            tokens.token("b")
    assert tokens.token("c") == "token-2"
    assert office.asked == ["a", "b", "c"]


def test_the_tokens_of_a_run_do_not_show_themselves() -> None:
    tokens = RunTokens(Office().log_in)
    shown = f"{tokens} {tokens!r} {tokens.ticket('a')} {[tokens]} {tokens.token('a') and ''}"
    assert "token-0" not in shown
