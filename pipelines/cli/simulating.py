"""The command `simulate`: a cloud that anyone can start.

Not here: the simulator.
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipelines.cli.frame import UNUSABLE, console_for_people, main, told_plainly
from pipelines.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.simulator.behaviour import Behaviour


def _seconds(context: click.Context, parameter: click.Parameter, value: float) -> float:  # noqa: ARG001
    if not (math.isfinite(value) and value >= 0):
        raise click.BadParameter("a number of seconds, 0 or more, is expected")
    return value


@main.command()
@click.option("--port", default=8776, show_default=True, type=click.IntRange(0, 65535), help="0: any free port.")
@click.option("--day", default=0, show_default=True, type=click.IntRange(0, 10_000), help="Day of the world.")
@click.option("--shares", default=60, show_default=True, type=click.IntRange(0, 2_000_000), help="Shares on day 0.")
@click.option("--projects", default=3, show_default=True, type=click.IntRange(1, 1000), help="Own projects.")
@click.option(
    "--day-seconds",
    default=0.0,
    callback=_seconds,
    help="A simulated day passes every so many seconds; 0: time stands still.",
)
@click.option(
    "--fault", "faults", multiple=True, metavar="NAME[:key=value,...]", help="Something goes wrong; repeatable."
)
@click.option("--list-faults", is_flag=True, help="Show what can go wrong, and end.")
@click.option(
    "--clouds-yaml",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write, a clouds.yaml whose clouds log in here.",
)
def simulate(
    port: int,
    day: int,
    shares: int,
    projects: int,
    day_seconds: float,
    faults: tuple[str, ...],
    list_faults: bool,
    clouds_yaml: Path | None,
) -> None:
    """Serve a simulated cloud on this machine until interrupted.

    Prints the settings that reach it: with its static token, or, with --clouds-yaml, those to log in.
    """
    if list_faults:
        _print_faults(console_for_people())
        return
    from pipelines.simulator.iam import Account
    from pipelines.simulator.iam import clouds_yaml as yaml_of
    from pipelines.simulator.server import passing_days, run
    from pipelines.simulator.service import DEMO_TOKEN, Service
    from pipelines.simulator.world import World

    world = World(projects=projects, shares=shares)
    with told_plainly():
        struck = _parsed_faults(faults, world.projects)
    service = Service(world, day=passing_days(day, day_seconds) if day_seconds else day, faults=struck)

    authority = next((str(Path(file).absolute()) for fault in struck if (file := _authority_file(fault))), "")

    def tell(url: str) -> None:
        if clouds_yaml is None:
            settings = [f"VBS_ENDPOINT={url}", f"VBS_TOKEN={DEMO_TOKEN}", f"VBS_PROJECTS={','.join(world.projects)}"]
            settings += [f"VBS_CA_FILE={authority}"] if authority else []
        else:
            _write_clouds(clouds_yaml, yaml_of(url, Account(), authority))
            settings = [f"OS_CLIENT_CONFIG_FILE={clouds_yaml.absolute()}", "VBS_CLOUDS=simulated"]
        click.echo("\n".join(settings))
        sys.stdout.flush()

    try:
        with told_plainly():
            run(service, port, on_start=tell)
    except OSError as error:
        click.echo(f"{error.filename or f'port {port}'} cannot be used: {error.strerror}", err=True)
        sys.exit(UNUSABLE)


def _authority_file(fault: "Behaviour") -> str:
    from pipelines.simulator.faults.transport import Tls

    return fault.authority_file if isinstance(fault, Tls) else ""


CLOUDS_MARK = "# Written by backup-shares simulate.\n"


def _write_clouds(path: Path, text: str) -> None:
    """Raises ConfigurationError where the file is another's: it could hold somebody's credentials."""
    if path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(CLOUDS_MARK):
        raise ConfigurationError(f"--clouds-yaml: {path} is there already and not of `simulate`: name another file")
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(CLOUDS_MARK + text, encoding="utf-8")


def _parsed_faults(texts: tuple[str, ...], projects: Sequence[str]) -> "list[Behaviour]":
    from pipelines.simulator import faults

    try:
        parsed = [faults.parse(text) for text in texts]
    except faults.FaultError as error:
        raise ConfigurationError(f"--fault: {error}") from None
    for text, fault in zip(texts, parsed, strict=True):
        if fault.project_id is not None and fault.project_id not in projects:
            raise ConfigurationError(f'--fault: "{text}" never strikes: the projects here are {", ".join(projects)}')
    return parsed


def _print_faults(console: "Console") -> None:
    from rich.table import Table

    from pipelines.simulator import faults

    table = Table("fault", "what happens", "parameters: the default first")
    for kinds in faults.GROUPS.values():
        for kind in kinds:
            shown = "\n".join(f"{name}={value}" for name, value in faults.own_parameters(kind).items())
            table.add_row(faults.name_of(kind), faults.meaning(kind), shown)
        table.add_section()
    console.print(table, highlight=False, markup=False)
    console.print(
        f"Every fault also takes {', '.join(faults.PLACE)}: the requests that it strikes, all unless told. "
        f"operation is {', '.join(faults.Operation)}; nth counts such requests from 0: 2, 2-4 or 2-.",
        highlight=False,
        markup=False,
    )
