"""The command line: `backup-shares demo | sync | doctor | list | simulate | query`.

Exit codes: 0 every listing proven; 1 something was not (the rest is published); 2 configuration or usage, nothing
requested. Heavy imports happen inside the commands, so that help and errors are instant.
Not here: any work; each command calls a verb and prints what it did.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.errors import BackupSharesError, ConfigurationError
from pipelines.settings import Settings, load_settings

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console

    from pipelines.auth import Account
    from pipelines.doctor import Finding
    from pipelines.simulator.behaviour import Behaviour
    from pipelines.warehouse import Warehouse

SOME_NOT_PROVEN, UNUSABLE = 1, 2

SORT_KEYS = ["created_at", "updated_at", "id", "name", "status", "size"]

DEMO_QUERIES = (
    "SELECT backup_name, to_project_id, share_created_at FROM backup_shares JOIN backups USING (region, backup_id)",
    "SELECT snapshot_date, count(*) AS shares FROM backup_share_snapshots GROUP BY ALL ORDER BY ALL",
    "SELECT observed_at, project_id, direction, status, reason FROM observations WHERE NOT is_proven",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Observe who shares volume backups with whom, and keep the answer."""


@main.command()
@click.option("--days", default=5, show_default=True, type=click.IntRange(1, 30), help="Simulated days.")
def demo(days: int) -> None:
    """Run the real job over several simulated days and show what the warehouse says."""
    from pipelines.demo import make_demo
    from pipelines.publish import reading

    console = _console()
    folder = Path("data/demo") / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    with _told_plainly():
        made = make_demo(folder.absolute())
        console.print(
            f"{len(made.world.projects)} projects, both directions, {days} simulated days, one sync each.",
            highlight=False,
        )
        for done in made.run(days):
            with reading(made.address) as warehouse:
                line = _day_line(done.day, warehouse, done.outcome.sync_id)
            told = "\n".join([line, *done.outcome.failures]).replace("\n", "\n       ")
            console.print(told, highlight=False, markup=False, soft_wrap=True)
        with reading(made.address) as warehouse:
            _print_demo(console, warehouse)
    console.print(f"The warehouse: {folder / 'warehouse.duckdb'}. Try:\n", highlight=False)
    for query in DEMO_QUERIES:
        line = f'WAREHOUSE_URL={made.address} .venv/bin/backup-shares query "{query}"'
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _day_line(day: int, warehouse: "Warehouse | None", sync_id: str) -> str:
    if warehouse is None:
        return f"day {day}: nothing was published"
    rows = _listing_status(warehouse, sync_id)
    proven = sum(row["is_proven"] for row in rows)
    today = warehouse.query(_report("changes_per_day")).to_pylist()[-1]
    if today["change_date"] != rows[0]["observed_at"].date():
        return f"day {day}: {proven} of {len(rows)} listings proven; nothing changed"
    counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in today.items() if name != "change_date")
    return f"day {day}: {proven} of {len(rows)} listings proven; {counts}"


def _print_demo(console: "Console", warehouse: "Warehouse | None") -> None:
    from pipelines.output import print_table

    if warehouse is None:
        raise ConfigurationError("the demo published nothing")
    console.print()
    print_table(console, warehouse.query(_report("all_listings")), "What was observed, and with which proof")
    print_table(console, warehouse.query(_report("current_shares")), "Shares now, the newest first", most=20)
    print_table(console, warehouse.query(_report("changes_per_day")), "What changed per day")


@main.command()
@click.option("--quiet", is_flag=True, help="Show the result only.")
@click.option(
    "--release-held",
    is_flag=True,
    help="Record withdrawals that are held because too many shares are absent at once; look first.",
)
def sync(quiet: bool, release_held: bool) -> None:
    """Run the job once against the configured cloud."""
    with _told_plainly():
        settings, found = _checked_settings()
        outcome, rows = _sync(settings, found, "CRITICAL" if quiet else "INFO", release_held)
    if not (outcome.succeeded and rows and all(row["is_proven"] for row in rows)):
        for failure in outcome.failures:
            click.echo(failure, err=True)
        sys.exit(SOME_NOT_PROVEN)


def _checked_settings() -> "tuple[Settings, list[Account]]":
    """Settings and credentials, everything looked at that a sync needs, before the first request about shares."""
    from pipelines.auth import accounts
    from pipelines.publish import warehouse_url

    settings = load_settings()
    warehouse_url(settings.warehouse_address())
    return settings, accounts(settings)


def _sync(settings: Settings, found: "list[Account]", log_level: str, release_held: bool) -> Any:
    from pipelines.definitions import JOB_NAME, build_definitions
    from pipelines.defs.run import run_job
    from pipelines.output import print_table
    from pipelines.publish import reading

    home = settings.dagster_home
    # The job goes on with these logins: a second one for the same run would count against the account.
    definitions = build_definitions(lambda: settings, find_accounts=lambda _: found)
    outcome = run_job(definitions, JOB_NAME, home, log_level=log_level, release_held=release_held)
    with reading(settings.warehouse_address()) as warehouse:
        rows = _listing_status(warehouse, outcome.sync_id)
        if warehouse is not None and rows:
            print_table(_console(), warehouse.query(_report("listing_status"), sync_id=outcome.sync_id))
    return outcome, rows


@main.command()
@click.option("--format", "kind", default="table", show_default=True, type=click.Choice(["table", "json"]))
def doctor(kind: str) -> None:
    """Check settings, credentials, service, landing and warehouse. Changes nothing.

    Exit codes: 0 nothing is broken; 1 something is; 2 a setting has to be changed first.
    """
    from pipelines.doctor import examine
    from pipelines.settings import usable_settings

    settings, complaints = usable_settings()
    with _told_plainly():
        findings = list(examine(settings, complaints))
    _print_findings(findings, kind)
    if any(finding.judgement.is_configuration for finding in findings):
        sys.exit(UNUSABLE)
    if any(finding.state == "broken" for finding in findings):
        sys.exit(SOME_NOT_PROVEN)


STYLES = {"ok": "green", "attention": "yellow", "broken": "bold red"}


def _print_findings(findings: "list[Finding]", kind: str) -> None:
    from rich.table import Table
    from rich.text import Text

    from pipelines.errors import printable

    rows = [(str(each.state), each.check, each.about, each.judgement.found, each.judgement.advice) for each in findings]
    if kind == "json":
        names = ("state", "check", "about", "found", "advice")
        click.echo(json.dumps([dict(zip(names, row, strict=True)) for row in rows], indent=2))
        return
    table = Table("state", "check", "of", "found", "what to do")
    for state, *texts in rows:
        table.add_row(Text(state, STYLES[state]), *(Text(printable(text, 1000)) for text in texts))
    _console().print(table)


@main.command()
@click.option("--port", default=8776, show_default=True, type=click.IntRange(0, 65535), help="0: any free port.")
@click.option("--day", default=0, show_default=True, type=click.IntRange(0, 10_000), help="Day of the world.")
@click.option("--shares", default=60, show_default=True, type=click.IntRange(0, 2_000_000), help="Shares on day 0.")
@click.option("--projects", default=3, show_default=True, type=click.IntRange(1, 1000), help="Own projects.")
@click.option("--day-seconds", default=0.0, help="A simulated day passes every so many seconds; 0: time stands still.")
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
        _print_faults(_console())
        return
    from pipelines.simulator.iam import Account
    from pipelines.simulator.iam import clouds_yaml as yaml_of
    from pipelines.simulator.server import passing_days, run
    from pipelines.simulator.service import DEMO_TOKEN, Service
    from pipelines.simulator.world import World

    with _told_plainly():
        struck = _parsed_faults(faults)
    world = World(projects=projects, shares=shares)
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
        with _told_plainly():
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


def _parsed_faults(texts: tuple[str, ...]) -> "list[Behaviour]":
    from pipelines.simulator import faults

    try:
        return [faults.parse(text) for text in texts]
    except faults.FaultError as error:
        raise ConfigurationError(f"--fault: {error}") from None


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


def _answer_options(command: Callable[..., None]) -> Callable[..., None]:
    kind = click.option(
        "--format", "kind", default="table", show_default=True, type=click.Choice(["table", "csv", "json", "parquet"])
    )
    output = click.option(
        "--output",
        type=click.Path(dir_okay=False, path_type=Path),
        help="File to write (not for table); unset: standard output.",
    )
    return kind(output(command))


@main.command("list")
@click.option("--cloud", help="Cloud to ask, by its name in clouds.yaml. Unset: all that are configured.")
@click.option("--project", "projects", multiple=True, help="Project to ask; repeatable. Unset: VBS_PROJECTS.")
@click.option("--direction", default="both", show_default=True, type=click.Choice(["incoming", "outgoing", "both"]))
@click.option("--status", help="Status of the backup, such as error.")
@click.option("--name", help="Text that the backup's name contains, whatever the case.")
@click.option("--volume-id", help="Volume that was backed up.")
@click.option("--backup-id", help="Backup that is shared.")
@click.option("--availability-zone", help="Availability zone of the backup.")
@click.option("--from-project", "from_project_id", help="Project that shares.")
@click.option("--to-project", "to_project_id", help="Project that the backup is shared with.")
@click.option("--sort-key", default="created_at", show_default=True, type=click.Choice(SORT_KEYS))
@click.option("--sort-dir", default="desc", show_default=True, type=click.Choice(["asc", "desc"]))
@click.option("--limit", type=click.IntRange(1), help="Shares to show, the first ones in this order. Unset: all.")
@_answer_options
def list_shares(
    cloud: str | None,
    projects: tuple[str, ...],
    direction: str,
    sort_key: str,
    sort_dir: str,
    limit: int | None,
    kind: str,
    output: Path | None,
    **filters: str | None,
) -> None:
    """Ask the API what is shared now. Nothing is recorded: the warehouse is not touched.

    The table shows the columns that fit; csv, json and parquet hold all. How much of every listing is proven is told
    on standard error.
    """
    from pipelines.ask import TABLE_COLUMNS, ask, together
    from pipelines.connect import open_clouds
    from pipelines.filters import Filters
    from pipelines.observation import Direction

    _check_output(kind, output)
    with _told_plainly():
        settings = _settings_for(cloud, projects)
        with open_clouds(settings) as clouds:
            readings = ask(
                clouds,
                Filters(**filters),
                directions=[each for each in Direction if direction in (each, "both")],
                page_size=settings.vbs_page_size,
                concurrency=settings.vbs_concurrency,
            )
    rows = together(readings, sort_key=sort_key, descending=sort_dir == "desc", limit=limit)
    _deliver(rows.select(TABLE_COLUMNS) if kind == "table" else rows, kind, output)
    for problem in clouds.problems:
        click.echo(problem, err=True)
    for reading in readings:
        line = f"{reading.listing}: {reading.status}, {reading.rows.num_rows} shares"
        click.echo("; ".join([line, *reading.remarks]), err=True)
    if clouds.problems or not all(reading.status.is_proven for reading in readings):
        sys.exit(SOME_NOT_PROVEN)


def _settings_for(cloud: str | None, projects: tuple[str, ...]) -> Settings:
    overrides: dict[str, str] = {}
    if projects:
        overrides["vbs_projects"] = ",".join(projects)
    if cloud is not None:
        overrides["vbs_clouds"] = cloud
    return load_settings(**overrides)


@main.command()
@click.argument("sql")
@_answer_options
def query(sql: str, kind: str, output: Path | None) -> None:
    """Ask the warehouse one question in SQL; it is opened read-only."""
    from pipelines.publish import reading

    _check_output(kind, output)
    with _told_plainly(), reading(load_settings().warehouse_address()) as warehouse:
        if warehouse is None:
            raise ConfigurationError("there is no warehouse yet (WAREHOUSE_URL, DATA_DIR): run a sync first")
        answer = warehouse.query(sql)
    _deliver(answer, kind, output)


def _check_output(kind: str, output: Path | None) -> None:
    if kind == "table" and output is not None:
        raise click.UsageError("--output goes with --format csv, json or parquet")


def _deliver(answer: "pa.Table", kind: str, output: Path | None) -> None:
    from pipelines import output as out

    if kind == "table":
        out.print_table(_console(), answer)
        return
    try:
        content = out.FORMATS[kind](answer)
        if output is not None:
            output.write_bytes(content)
        else:
            sys.stdout.buffer.write(content)
    except (OSError, ValueError, OverflowError, NotImplementedError) as error:
        raise click.ClickException(f"the answer cannot be written as {kind}: {error}") from None


@contextmanager
def _told_plainly() -> Iterator[None]:
    try:
        yield
    except ConfigurationError as error:
        click.echo(f"backup-shares: {error}", err=True)
        sys.exit(UNUSABLE)
    except BackupSharesError as error:
        click.echo(f"backup-shares: {error}", err=True)
        sys.exit(SOME_NOT_PROVEN)


def _console() -> "Console":
    from rich.console import Console

    console = Console()
    # Into a file or a pipe nothing is cut.
    return console if console.is_terminal else Console(width=250)


def _report(name: str) -> str:
    from pipelines.schema import report

    return report(name)


def _listing_status(warehouse: "Warehouse | None", sync_id: str) -> list[dict[str, Any]]:
    if warehouse is None:
        return []
    rows: list[dict[str, Any]] = warehouse.query(_report("listing_status"), sync_id=sync_id).to_pylist()
    return rows


if __name__ == "__main__":
    main()
