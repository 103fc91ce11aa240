"""The simulated service on a real port, and what can go wrong on the way.

Not here: answers (test_simulator.py, test_simulator_faults.py).
"""

import contextlib
import socket
import ssl
import threading
from contextlib import AbstractContextManager
from datetime import datetime

import httpx
import pytest

from pipelines.simulator import faults
from pipelines.simulator.faults import Fault, Operation
from pipelines.simulator.server import serve
from pipelines.simulator.service import DEMO_TOKEN
from pipelines.simulator.world import World
from tests.fakes import NOW, make_service, password_identity, transport


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_the_port_and_the_transport_answer_byte_for_byte_alike(world):
    project = world.projects[0]
    paths = [
        f"/v2/{project}/os-vendor-backup-sharing/detail?sort_key=id&sort_dir=asc&limit=7&offset=3&name=%E6%95%B0",
        f"/v2/{project}/os-vendor-backup-sharing/detail",
        f"/v2/{project}/os-vendor-backup-sharing/count?share_to_me=true",
        f"/v2/{project}/os-vendor-backup-sharing/detail?limit=x",
        f"/v2/{'f' * 32}/os-vendor-backup-sharing/detail",
        "/elsewhere",
    ]
    headers = {"X-Auth-Token": DEMO_TOKEN}

    def answers(client: httpx.Client, base_url: str) -> list[tuple]:
        taken = [client.get(base_url + path, headers=headers) for path in paths]
        return [(answer.status_code, sorted(answer.headers.items()), answer.content) for answer in taken]

    with serve(make_service(world)) as base_url, httpx.Client(trust_env=False) as client:
        over_the_port = answers(client, base_url)
    with httpx.Client(transport=transport(make_service(world))) as client:
        in_process = answers(client, base_url)
    assert [answer[0] for answer in in_process] == [200, 200, 200, 400, 404, 404]
    assert over_the_port == in_process


def test_a_log_in_works_over_the_port_and_the_catalogue_leads_back_to_it(world):
    body = {"auth": {"identity": password_identity(), "scope": {"project": {"id": world.projects[0]}}}}
    with serve(make_service(world)) as base_url, httpx.Client(trust_env=False) as client:
        answer = client.post(f"{base_url}/v3/auth/tokens", json=body)
        (vbs,) = [service for service in answer.json()["token"]["catalog"] if service["type"] == "vbsv2"]
        url = vbs["endpoints"][0]["url"] + "/os-vendor-backup-sharing/count"
        count = client.get(url, headers={"X-Auth-Token": answer.headers["X-Subject-Token"]})
    assert url.startswith(base_url)
    assert count.status_code == 200


def test_over_tls_the_catalogue_says_https(world, tmp_path):
    body = {"auth": {"identity": password_identity(), "scope": {"project": {"id": world.projects[0]}}}}
    authority = tmp_path / "authority.pem"
    with struck(world, f"tls:kind=valid,authority_file={authority}") as base_url:
        trusting = ssl.create_default_context(cafile=authority)
        with httpx.Client(trust_env=False, verify=trusting) as client:
            catalogue = client.post(f"{base_url}/v3/auth/tokens", json=body).json()["token"]["catalog"]
    assert base_url.startswith("https://")
    assert all(service["endpoints"][0]["url"].startswith(f"{base_url}/v") for service in catalogue)


def test_a_slow_answer_over_the_port_holds_up_nobody_else(world):
    arrived = threading.Event()
    order: list[str] = []

    def clock() -> datetime:
        arrived.set()
        return NOW

    def ask_for(client: httpx.Client, url: str) -> None:
        client.get(url, headers={"X-Auth-Token": DEMO_TOKEN})
        order.append(url.rpartition("/")[2])

    service = make_service(world, clock=clock, faults=[Fault(Operation.COUNT, delay=0.3)])
    with serve(service) as base_url, httpx.Client(trust_env=False) as client:
        path = f"{base_url}/v2/{world.projects[0]}/os-vendor-backup-sharing"
        thread = threading.Thread(target=ask_for, args=(client, f"{path}/count"))
        thread.start()
        arrived.wait()
        ask_for(client, f"{path}/detail")
        thread.join()
    assert order == ["detail", "count"]


def test_the_port_is_free_again_after_the_block(world):
    with serve(make_service(world)) as base_url:
        port = int(base_url.rpartition(":")[2])
    with serve(make_service(world), port) as again:
        assert again == base_url


# By name


def detail(world: World) -> str:
    return f"/v2/{world.projects[0]}/os-vendor-backup-sharing/detail?limit=5&sort_key=id&sort_dir=asc"


def get(base_url: str, path: str, verify: ssl.SSLContext | bool = True) -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=10, verify=verify) as client:
        return client.get(base_url + path, headers={"X-Auth-Token": DEMO_TOKEN})


def reply(base_url: str, path: str) -> bytes:
    """Every byte that comes back until the connection ends. Raises ConnectionResetError."""
    host, _, port = base_url.rpartition("/")[2].partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nX-Auth-Token: {DEMO_TOKEN}\r\n\r\n".encode())
        received = b""
        while data := connection.recv(65_536):
            received += data
        return received


QUICK = {"drip": {"bytes_per_second": 1e6}, "slow-answer": {"seconds": 0.01}, "huge-body": {"megabytes": 5}}
"""Parameters that spare the tests a wait; all others are tried as they are by default."""
TRANSPORT = [faults.name_of(kind) for kind in faults.GROUPS["transport"]]


@pytest.mark.parametrize("name", faults.FAULTS)
def test_every_fault_is_served_and_the_service_outlives_it(name, world):
    service = make_service(world, faults=[faults.named(name, **QUICK.get(name, {}))])
    url = f"/v2/{world.projects[0]}/os-vendor-backup-sharing/"
    may_fail = contextlib.suppress(httpx.HTTPError if name in TRANSPORT else ())
    timeout = 0.2 if name == "silence" else 10
    headers = {"X-Auth-Token": DEMO_TOKEN}
    with serve(service) as base_url, httpx.Client(base_url=base_url, trust_env=False, timeout=timeout) as client:
        for what in ("detail", "count"):
            with may_fail, client.stream("GET", url + what, headers=headers) as response:
                assert 100 <= response.status_code < 600
                b"".join(response.iter_raw())
        service.faults = []
        if name not in ("refused", "tls"):
            assert client.get(url + "detail", headers=headers).status_code == 200


# On the way


@pytest.fixture(scope="module")
def honest(world: World) -> bytes:
    """The body of the answer to `detail`, when nothing goes wrong."""
    with serve(make_service(world)) as base_url:
        return get(base_url, detail(world)).content


def struck(world: World, text: str) -> AbstractContextManager[str]:
    return serve(make_service(world, faults=[faults.parse(text)]))


def test_a_refused_connection_is_refused_at_once(world):
    with struck(world, "refused") as base_url, pytest.raises(httpx.ConnectError, match="refused"):
        get(base_url, detail(world))


@pytest.mark.parametrize("after", [0, 1, 17, 60, 200])
def test_a_connection_can_be_reset_after_any_byte(world, after):
    with struck(world, f"reset:after={after}") as base_url, pytest.raises(httpx.ReadError):
        get(base_url, detail(world))


@pytest.mark.parametrize("after", [0, 1, 17, 400])
def test_a_connection_can_be_closed_after_any_byte(world, after):
    with struck(world, f"hangup:after={after}") as base_url:
        assert len(reply(base_url, detail(world))) == after
        with pytest.raises(httpx.RemoteProtocolError):
            get(base_url, detail(world))


def test_bytes_can_be_counted_from_the_begin_of_the_body(world, honest):
    with struck(world, "hangup:after=9,of=body") as base_url:
        head, _, body = reply(base_url, detail(world)).partition(b"\r\n\r\n")
    assert body == honest[:9]
    assert f"content-length: {len(honest)}".encode() in head


def test_a_body_can_be_shorter_than_announced(world, honest):
    with struck(world, "short-body:missing=10") as base_url:
        assert reply(base_url, detail(world)).endswith(honest[:-10])
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
            get(base_url, detail(world))


def test_chunks_can_end_before_the_last_one(world, honest):
    with struck(world, "cut-chunks:chunk=100,chunks=2") as base_url:
        body = reply(base_url, detail(world)).partition(b"\r\n\r\n")[2]
        assert body == b"64\r\n" + honest[:100] + b"\r\n64\r\n" + honest[100:200] + b"\r\n"
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            get(base_url, detail(world))


def test_a_body_of_unknown_length_can_be_cut_unseen(world, honest):
    with struck(world, "unknown-length:missing=10") as base_url:
        assert get(base_url, detail(world)).content == honest[:-10]


def test_a_drip_brings_the_whole_answer_in_small_pieces(world, honest):
    with (
        struck(world, "drip:bytes_per_second=50000") as base_url,
        httpx.Client(trust_env=False) as client,
        client.stream("GET", base_url + detail(world), headers={"X-Auth-Token": DEMO_TOKEN}) as response,
    ):
        pieces = list(response.iter_raw())
    assert b"".join(pieces) == honest
    assert len(pieces) > 1


def test_a_silent_service_never_answers_and_can_be_stopped(world):
    with (
        struck(world, "silence") as base_url,
        httpx.Client(trust_env=False, timeout=0.1) as client,
        pytest.raises(httpx.ReadTimeout),
    ):
        client.get(base_url + detail(world))


def test_a_stop_does_not_wait_for_a_client_that_stays(world):
    with struck(world, "silence:after=30") as base_url:
        host, _, port = base_url.rpartition("/")[2].partition(":")
        connection = socket.create_connection((host, int(port)), timeout=10)
        connection.sendall(f"GET {detail(world)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 401")
    connection.close()


def test_garbage_is_no_http(world):
    with struck(world, "garbage") as base_url, pytest.raises(httpx.RemoteProtocolError):
        get(base_url, detail(world))


def test_a_fault_of_the_transport_strikes_the_request_it_is_told(world):
    with struck(world, "reset:nth=1,operation=detail") as base_url:
        assert get(base_url, detail(world)).status_code == 200
        with pytest.raises(httpx.ReadError):
            get(base_url, detail(world))
        assert get(base_url, detail(world)).status_code == 200


def test_a_transport_in_memory_says_that_it_has_no_way(world):
    service = make_service(world, faults=[faults.named("drip")])
    with httpx.Client(transport=transport(service)) as client, pytest.raises(AssertionError, match="needs a port"):
        client.get("http://vbs.example" + detail(world))


def test_a_request_that_is_none_is_answered_400(world):
    with serve(make_service(world)) as base_url:
        host, _, port = base_url.rpartition("/")[2].partition(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 400 Bad Request")


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("unknown-authority", "unable to get local issuer certificate"),
        ("self-signed", "self-signed certificate"),
        ("wrong-name", "IP address mismatch"),
        ("expired", "certificate has expired"),
        ("old-version", "(?i)version|protocol"),
    ],
)
def test_a_certificate_has_the_one_fault_asked_for(world, tmp_path, kind, complaint):
    authority = tmp_path / "authority.pem"
    with struck(world, f"tls:kind={kind},authority_file={authority}") as base_url:
        assert base_url.startswith("https://")
        with pytest.raises(httpx.ConnectError, match=complaint):
            get(base_url, detail(world), ssl.create_default_context(cafile=authority))


def test_a_good_certificate_is_trusted_by_whoever_trusts_its_authority(world, tmp_path, honest):
    authority = tmp_path / "authority.pem"
    with struck(world, f"tls:kind=valid,authority_file={authority}") as base_url:
        trusting = ssl.create_default_context(cafile=authority)
        assert get(base_url, detail(world), trusting).content == honest
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            get(base_url, detail(world))
