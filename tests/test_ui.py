"""The Dagster UI as an operator uses it: `dagster dev`, a persistent home, a browser, a click on "Materialize all"."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines.defs.run import prepare_home
from pipelines.simulator.server import serve
from pipelines.simulator.service import DEMO_TOKEN, Service
from pipelines.simulator.world import World
from tests.conftest import CHROMIUM_FLAGS

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
JOB = "locations/backup_shares/jobs/sync_backup_shares"
READY = """{workspaceOrError{... on Workspace{locationEntries{loadStatus locationOrLoadError{
  __typename ... on PythonError{message}}}}} instance{daemonHealth{allDaemonStatuses{required healthy}}}}"""
RUN = "query($id:ID!){runOrError(runId:$id){... on Run{status}}}"
SCHEDULES = """{schedulesOrError(repositorySelector:{repositoryName:"__repository__",
  repositoryLocationName:"backup_shares"}){... on Schedules{results{name cronSchedule executionTimezone
  scheduleState{status}}}}}"""
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}


class DagsterDev:
    """`dagster dev` in a process group of its own."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = home / "dev.log"
        command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def ask(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer
        return answer["data"]

    def wait_until_ready(self) -> None:
        for _ in self.tries(150):
            try:
                data = self.ask(READY)
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                continue
            entries = data["workspaceOrError"].get("locationEntries", [])
            errors = [entry["locationOrLoadError"] for entry in entries]
            assert not any(error and error["__typename"] == "PythonError" for error in errors), errors
            daemons = data["instance"]["daemonHealth"]["allDaemonStatuses"]
            loaded = entries and all(entry["loadStatus"] == "LOADED" for entry in entries)
            if loaded and all(daemon["healthy"] for daemon in daemons if daemon["required"]):
                return

    def wait_for_run(self, run_id: str) -> str:
        for _ in self.tries(150):
            status = self.ask(RUN, id=run_id)["runOrError"]["status"]
            if status in ENDED:
                return str(status)
        raise AssertionError("unreachable")

    def tries(self, seconds: float) -> Iterator[None]:
        """Polling another program: there is nothing to be woken by."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process.poll() is None, f"dagster dev ended:\n{self.log.read_text()[-3000:]}"
            yield
            time.sleep(0.25)
        raise AssertionError(f"not ready in {seconds} s:\n{self.log.read_text()[-3000:]}")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(30)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


@pytest.fixture
def world() -> World:
    return World(projects=2, shares=20)


@pytest.fixture
def dagster(world: World, tmp_path: Path) -> Iterator[DagsterDev]:
    home = prepare_home(tmp_path / "home")
    with serve(Service(world)) as url:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("VBS_", "DAGSTER"))}
        environment |= {
            "DAGSTER_HOME": str(home),
            "DATA_DIR": str(tmp_path / "data"),
            "VBS_ENDPOINT": url,
            "VBS_TOKEN": DEMO_TOKEN,
            "VBS_PROJECTS": ",".join(world.projects),
            "PYTHONWARNINGS": "ignore",
        }
        dev = DagsterDev(home, environment)
        try:
            dev.wait_until_ready()
            yield dev
        finally:
            dev.stop()


def test_materialize_all_in_the_browser_runs_the_sync_and_fills_the_warehouse(
    dagster: DagsterDev, chromium: str, world: World, tmp_path: Path
) -> None:
    from playwright.sync_api import Response, expect, sync_playwright

    expect.set_options(timeout=30_000)
    shots = Path(os.environ.get("SCREENSHOTS", tmp_path))
    foreign: list[str] = []

    def is_launch(response: Response) -> bool:
        sent = response.request.post_data or ""
        return "/graphql" in response.url and ("launchPipelineExecution" in sent or "launchMultipleRuns" in sent)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        own = (dagster.url, dagster.url.replace("http", "ws", 1), "data:", "blob:")
        page.on("request", lambda request: None if request.url.startswith(own) else foreign.append(request.url))

        page.goto(f"{dagster.url}/{JOB}", wait_until="domcontentloaded")
        button = page.get_by_role("button", name="Materialize all")
        expect(button).to_be_enabled()
        expect(page.get_by_text("View 7 assets")).to_be_visible()
        page.screenshot(path=shots / "graph.png")
        with page.expect_response(is_launch) as launched:
            button.click()
        result = next(iter(launched.value.json()["data"].values()))
        run = (result.get("launchMultipleRunsResult") or [result])[0]["run"]
        run_id = run.get("runId") or run["id"]

        assert dagster.wait_for_run(run_id) == "SUCCESS", dagster.log.read_text()[-3000:]
        page.goto(f"{dagster.url}/runs/{run_id}", wait_until="domcontentloaded")
        expect(page.get_by_text("RUN_SUCCESS").first).to_be_visible()
        page.screenshot(path=shots / "run.png")
        page.goto(f"{dagster.url}/assets/sync_report", wait_until="domcontentloaded")
        expect(page.get_by_text("changes_per_day").first).to_be_visible()
        page.screenshot(path=shots / "report.png")
        browser.close()

    assert foreign == [], "the UI must not reach for another host"
    with duckdb.connect(str(tmp_path / "data" / "warehouse.duckdb"), read_only=True) as connection:
        (shares,) = connection.execute("SELECT count(*) FROM backup_shares").fetchone() or (None,)
    assert shares == len(world.shares(0))
    schedules = dagster.ask(SCHEDULES)["schedulesOrError"]["results"]
    assert sorted(schedules, key=lambda each: each["name"]) == [
        {
            "name": "prune_landing_weekly",
            "cronSchedule": "0 15 * * 0",
            "executionTimezone": "UTC",
            "scheduleState": {"status": "STOPPED"},
        },
        {
            "name": "sync_backup_shares_daily",
            "cronSchedule": "0 3 * * *",
            "executionTimezone": "UTC",
            "scheduleState": {"status": "RUNNING"},
        },
    ]
