"""What all commands share: the group, exit codes, how errors and answers are told.

Not here: the commands.
"""

import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.errors import BackupSharesError, ConfigurationError, printable, system_words
from pipelines.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console

    from pipelines.warehouse import Warehouse

SOME_NOT_PROVEN, UNUSABLE = 1, 2


class _Commands(click.Group):
    """What goes wrong with the output of any command is told in a sentence."""

    def invoke(self, ctx: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A stranger's text may hold what the terminal's encoding has no sign for.
                stream.reconfigure(errors="backslashreplace")
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except OSError as error:
            if error.errno not in _NOT_WRITTEN or error.filename is not None:
                raise
            # Or the end of the process would try to write the rest, and print a traceback.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            click.echo(f"backup-shares: the answer cannot be written: {system_words(error)}", err=True)
            sys.exit(SOME_NOT_PROVEN)


_NOT_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="backup-shares", message="backup-shares %(version)s")
def main() -> None:
    """Observe who shares volume backups with whom, and keep the answer."""


def answer_options(command: Callable[..., None]) -> Callable[..., None]:
    kind = click.option(
        "--format",
        "kind",
        default="table",
        show_default=True,
        type=click.Choice(["table", "csv", "json", "jsonl", "parquet"]),
    )
    output = click.option(
        "--output",
        type=click.Path(dir_okay=False, path_type=Path),
        help="File to write (not for table); unset: standard output.",
    )
    return kind(output(command))


def check_output(kind: str, output: Path | None) -> None:
    if kind == "table" and output is not None:
        raise click.UsageError("--output goes with --format csv, json, jsonl or parquet")
    if kind == "parquet" and output is None and sys.stdout.isatty():
        raise click.UsageError("parquet is nothing for a terminal: name a file with --output")


def deliver(answer: "pa.Table", kind: str, output: Path | None) -> None:
    from pipelines import output as out

    if kind == "table":
        out.print_answer(console_for_people(), answer)
        return
    try:
        content = out.FORMATS[kind](answer)
    except (ValueError, OverflowError, NotImplementedError) as error:
        raise click.ClickException(f"the answer cannot be written as {kind}: {error}") from None
    if output is None:
        sys.stdout.buffer.write(_for_terminal(content) if sys.stdout.isatty() else content)
        return
    try:
        output.write_bytes(content)
    except OSError as error:
        raise click.ClickException(f"--output: cannot write {output}: {system_words(error)}") from None


def _for_terminal(content: bytes) -> bytes:
    """Strangers wrote the texts: a terminal would obey what they hold. A file or a pipe gets every byte as it is."""
    lines = [line.removesuffix("\r") for line in content.decode().split("\n")]
    return "\n".join(printable(line, len(line)) for line in lines).encode()


@contextmanager
def published(settings: Settings) -> "Iterator[Warehouse]":
    """The warehouse, for questions; raises ConfigurationError where there is none yet."""
    from pipelines.landing import landed_files
    from pipelines.publish import reading, warehouse_name

    address = settings.warehouse_address()
    with reading(address) as warehouse:
        if warehouse is None:
            landed = len(landed_files(settings.landing_folder))
            advice = "run a sync, or `backup-shares migrate`, first"
            if landed:
                advice = f"{landed} observations are landed, `backup-shares rebuild` makes it from them"
            place = f"{warehouse_name(address)} (WAREHOUSE_URL, DATA_DIR)"
            raise ConfigurationError(f"there is no warehouse yet at {place}: {advice}")
        yield warehouse


@contextmanager
def told_plainly() -> Iterator[None]:
    try:
        yield
    except ConfigurationError as error:
        click.echo(f"backup-shares: {error}", err=True)
        sys.exit(UNUSABLE)
    except BackupSharesError as error:
        click.echo(f"backup-shares: {error}", err=True)
        sys.exit(SOME_NOT_PROVEN)


def console_for_people() -> "Console":
    from rich.console import Console

    console = Console()
    # A file or a pipe has no width: the usual 80 would break sentences.
    return console if console.is_terminal else Console(width=250)
