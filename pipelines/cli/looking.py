"""The commands that look and change nothing: `doctor`, `list`, `query`, `explain`.

Not here: what is found (doctor.py, ask.py, explain.py, story.py), how an answer is written (output.py).
"""

import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipelines.cli.frame import (
    SOME_NOT_PROVEN,
    UNUSABLE,
    answer_options,
    check_output,
    console_for_people,
    deliver,
    main,
    published,
    told_plainly,
)
from pipelines.errors import counted
from pipelines.settings import Settings, load_settings

if TYPE_CHECKING:
    from pipelines.diagnosis import Finding

SORT_KEYS = ["created_at", "updated_at", "id", "name", "status", "size"]


@main.command()
@click.option("--format", "kind", default="table", show_default=True, type=click.Choice(["table", "json"]))
def doctor(kind: str) -> None:
    """Check settings, credentials, service, landing and warehouse. Changes nothing.

    Exit codes: 0 nothing is broken; 1 something is; 2 a setting has to be changed first.
    """
    from pipelines.doctor import examine
    from pipelines.settings import misspelt_settings, usable_settings

    settings, complaints = usable_settings()
    with told_plainly():
        findings = list(examine(settings, complaints, remarks=misspelt_settings()))
    _print_findings(findings, kind)
    if kind == "table":
        states = Counter(str(finding.state) for finding in findings)
        click.echo(", ".join(f"{state}: {states[state]}" for state in STYLES))
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
    table = Table()
    for name in ("state", "check", "of", "found", "what to do"):
        table.add_column(name, overflow="fold")  # half a path is of no use
    for state, *texts in rows:
        table.add_row(Text(state, STYLES[state]), *(Text(printable(text, 1000)) for text in texts))
    console_for_people().print(table)


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
@click.option(
    "--limit",
    type=click.IntRange(1),
    help="Rows to show, the first in this order; a share between two of these projects is a row of each. Unset: all.",
)
@answer_options
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

    check_output(kind, output)
    with told_plainly():
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
    deliver(rows.select(TABLE_COLUMNS) if kind == "table" else rows, kind, output)
    for problem in clouds.problems:
        click.echo(problem, err=True)
    for reading in readings:
        line = f"{reading.listing}: {reading.status}, {counted(reading.rows.num_rows, 'share')}"
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


# A question may begin with a comment, which looks like an option.
@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("sql")
@answer_options
def query(sql: str, kind: str, output: Path | None) -> None:
    """Ask the warehouse one question in SQL; it is opened read-only."""
    check_output(kind, output)
    try:
        sql.encode()
    except UnicodeEncodeError:
        raise click.UsageError("the question is not UTF-8") from None
    with told_plainly(), published(load_settings()) as warehouse:
        answer = warehouse.query(sql)
    deliver(answer, kind, output)


@main.command()
@click.argument("share_id")
@click.option("--format", "kind", default="table", show_default=True, type=click.Choice(["table", "json"]))
def explain(share_id: str, kind: str) -> None:
    """Tell the whole story of one share: every version, which landed page shows it, and why it ended.

    Exit codes: 0 told, and what the landing still has to hold of it is as it was recorded; 1 some of that is not, or no
    listing ever told of this share; 2 this is no id, or there is no warehouse yet.
    """
    from pipelines.explain import explain as verb
    from pipelines.records import OBJECT_ID
    from pipelines.story import as_data, as_text

    share_id = share_id.strip().lower()
    if not re.fullmatch(OBJECT_ID, share_id):
        raise click.UsageError("that is no id of a share: write it as 01234567-89ab-cdef-0123-456789abcdef")
    with told_plainly():
        settings = load_settings()
        with published(settings) as warehouse:
            story = verb(warehouse, settings.landing_folder, share_id)
    if story is None:
        click.echo(f"backup-shares: no listing that was recorded ever told of the share {share_id}", err=True)
        sys.exit(SOME_NOT_PROVEN)
    click.echo(json.dumps(as_data(story), indent=2) if kind == "json" else "\n".join(as_text(story)))
    if story.remarks:
        click.echo(f"backup-shares: {counted(len(story.remarks), 'note')} on landing files, see there", err=True)
        sys.exit(SOME_NOT_PROVEN)
