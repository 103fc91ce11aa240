"""The demo: several simulated days through the real job, against the simulator on loopback, into a fresh warehouse.

Not here: the world and its incidents (simulator/), the job (definitions.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipelines.definitions import JOB_NAME, build_definitions
from pipelines.defs.run import RunOutcome, open_home, run_job
from pipelines.settings import Settings, isolated_settings
from pipelines.simulator.scenario import Scenario
from pipelines.simulator.server import serve
from pipelines.simulator.service import DEMO_TOKEN, Service
from pipelines.simulator.world import World

REGION = "simulated"


@dataclass(frozen=True)
class DemoDay:
    day: int
    outcome: RunOutcome


@dataclass(frozen=True)
class Demo:
    """A demo in its own folder. `world` and `scenario` are the truth of every day."""

    folder: Path
    world: World
    scenario: Scenario
    service: Service

    def settings(self, url: str) -> Settings:
        """Nothing from the environment: a demo never touches a real cloud or warehouse."""
        return isolated_settings(
            vbs_endpoint=url,
            vbs_region=REGION,
            vbs_token=DEMO_TOKEN,
            vbs_projects=",".join(self.world.projects),
            vbs_requests_per_second=0,  # the simulator is on this machine
            data_dir=self.folder,
            policy_file=self.folder / "policy.yaml",
        )

    @property
    def address(self) -> str:
        """The warehouse of this demo, as WAREHOUSE_URL takes it."""
        return self.settings(url="").warehouse_address()

    def run(self, days: int) -> Iterator[DemoDay]:
        """Sync once per simulated day; yields after each."""
        with serve(self.service) as url, open_home(self.folder / "dagster_home") as instance:
            settings = self.settings(url)
            for day in range(days):
                self.service.day = day
                definitions = build_definitions(lambda: settings, now=partial(self.world.moment, day))
                yield DemoDay(day, run_job(definitions, JOB_NAME, instance, log_level="CRITICAL"))


def make_demo(folder: Path) -> Demo:
    world = World()
    scenario = Scenario.demo(world)
    # Its clock goes with the simulated days, as that of the syncs does.
    service = Service(world, scenario=scenario, clock=lambda: world.moment(service.day))
    _write_policy(folder / "policy.yaml", world)
    return Demo(folder, world, scenario, service)


def _write_policy(path: Path, world: World) -> None:
    """All projects but the last are ours: what is shared with that one is found, and one thing of it accepted."""
    *ours, other = world.projects
    path.parent.mkdir(parents=True, exist_ok=True)
    named = "".join(f"  - {{id: '{each}', name: demo {number}, owner: demo}}\n" for number, each in enumerate(ours, 1))
    until = f"{world.moment(365):%Y-%m-%d}"
    path.write_text(
        f"projects:\n{named}"
        f"recipients:\n  - {{id: '{'f' * 32}', name: recovery drill, owner: demo, trusted_until: {until}}}\n"
        "exceptions:\n  - id: partner\n    rule: first_ever_recipient\n"
        f"    to_project: '{other}'\n    owner: demo\n"
        f"    reason: that we share with them is known\n    expires: {until}\n"
        "limits: {max_recipients: 10}\n",
        encoding="utf-8",
    )
