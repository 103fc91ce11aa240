"""The commands about the sharing policy: `policy check`, `policy example`.

Not here: what a policy is (policy.py), what is found by it (sql/views/findings.sql).
"""

import sys
from pathlib import Path

import click

from pipelines.cli.frame import UNUSABLE, main, told_plainly
from pipelines.errors import ConfigurationError, counted
from pipelines.settings import load_settings


@main.group()
def policy() -> None:
    """The sharing policy: what may be shared with whom, and what was accepted."""


@policy.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
def check(file: Path | None) -> None:
    """Check a policy, and tell everything that is wrong with it. FILE unset: POLICY_FILE, else policy.yaml.

    Exit codes: 0 it can be used; 2 it cannot, or there is none.
    """
    from pipelines.policy import checked_policy

    with told_plainly():
        path = file or load_settings().policy_path
        if path is None:
            raise ConfigurationError(
                "there is no policy.yaml here, and POLICY_FILE is not set: `backup-shares policy example > policy.yaml`"
            )
        found, problems = checked_policy(path)
    if found is None:
        for problem in problems:
            click.echo(problem, err=True)
        sys.exit(UNUSABLE)
    most = counted(found.limits.max_recipients, "recipient")
    click.echo(f"{path} can be used: {found.counts()}, at most {most} of a backup")


@policy.command()
def example() -> None:
    """Print a policy with comments to begin with."""
    from pipelines.policy import EXAMPLE

    click.echo(EXAMPLE.read_text(encoding="utf-8"), nl=False)
