"""The simulated service on a real port, and what can go wrong on the way.

Not here: answers (test_simulator.py, test_simulator_faults.py).
"""

import threading
from datetime import datetime

import httpx
import pytest

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
