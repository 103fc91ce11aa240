"""One run of the job in this process, for the command line and the demo; the UI starts the same job by itself.

Not here: what the job does (assets.py), exit codes (cli.py).
"""

import fcntl
import logging
import os
import shutil
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from pipelines.errors import ConfigurationError, system_words

TEMPLATE = Path(__file__).resolve().parent.parent / "dagster.yaml"


@dataclass(frozen=True)
class RunOutcome:
    """`sync_id` is Dagster's run id. `failures`: what each failed step says, without traceback."""

    sync_id: str
    succeeded: bool
    failures: list[str]


def prepare_home(folder: Path) -> Path:
    """A DAGSTER_HOME: absolute and existing, else Dagster drops its history at exit; with our dagster.yaml at first."""
    home = folder.absolute()
    if set(str(home)) & {"%", "?"}:
        # Dagster makes a URL of the path without quoting it.
        raise ConfigurationError(f"DATA_DIR or DAGSTER_HOME: Dagster cannot live in {home}, whose name has a % or a ?")
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not (home / TEMPLATE.name).exists():
            shutil.copyfile(TEMPLATE, home / TEMPLATE.name)
    except OSError as error:
        raise ConfigurationError(f"DATA_DIR or DAGSTER_HOME: {home} cannot be made: {system_words(error)}") from None
    return home


def open_home(folder: Path) -> dg.DagsterInstance:
    """A DAGSTER_HOME as `prepare_home` makes it, open until the end of a `with`."""
    home = prepare_home(folder)
    # Dagster makes its tables when it opens them for the first time, and two that do so at once make them twice.
    descriptor = os.open(home, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return dg.DagsterInstance.from_config(str(home))
    finally:
        os.close(descriptor)


def run_job(
    definitions: dg.Definitions, job_name: str, instance: dg.DagsterInstance, *, log_level: str = "INFO", **said: bool
) -> RunOutcome:
    """Run the job to its end; the run and its events stand in the UI of the DAGSTER_HOME that `instance` is, if any.

    `said`: what a person says of this run, fields of SyncConfig. What is logged goes to standard error, a line each.
    """
    job = definitions.resolve_job_def(job_name).with_logger_defs({"console": _console})
    result = job.execute_in_process(
        run_config={
            "loggers": {"console": {"config": {"log_level": log_level}}},
            "ops": {"backup_share_pages": {"config": said}},
        },
        instance=instance,
        raise_on_error=False,
    )
    return RunOutcome(result.run_id, result.success, [*_failed_checks(result), *map(_told, _failed_steps(result))])


@dg.logger({"log_level": str}, description="One line for each message, as people read it.")
def _console(context: dg.InitLoggerContext) -> logging.Logger:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    logger = logging.Logger("backup-shares", context.logger_config["log_level"])
    logger.addHandler(handler)
    if logger.level > logging.DEBUG:
        logger.addFilter(_is_news)
    return logger


class _Lines(logging.Formatter):
    """Time, the level where it matters, the message; of Dagster's own events all that Dagster says."""

    def format(self, record: logging.LogRecord) -> str:
        about = record.__dict__.get("dagster_meta", {})
        text = record.getMessage() if about.get("dagster_event") else about.get("orig_message", record.getMessage())
        level = f"{record.levelname}: " if record.levelno != logging.INFO else ""
        return f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%d %H:%M:%S} UTC  {level}{text}"


def _is_news(record: logging.LogRecord) -> bool:
    """Not what RunOutcome says of a failure that is ours: Dagster would tell it twice, with where in Dagster it was."""
    event = record.__dict__.get("dagster_meta", {}).get("dagster_event")
    if event is None:
        return True
    if event.event_type is dg.DagsterEventType.RUN_FAILURE:
        # A run can also fail, or be interrupted, by itself: then nobody else says so.
        return event.job_failure_data.first_step_failure_event is None
    return not (event.is_step_failure and _is_ours(event))


def _is_ours(event: dg.DagsterEvent) -> bool:
    """Whether a step failed for what we raised, or for what a check of ours found."""
    data = event.step_failure_data
    return data.user_failure_data is not None or _is_by_a_check(event)


def _is_by_a_check(event: dg.DagsterEvent) -> bool:
    error = event.step_failure_data.error
    return error is not None and error.cls_name == "DagsterAssetCheckFailedError"


def _failed_checks(result: dg.ExecuteInProcessResult) -> list[str]:
    checks = result.get_asset_check_evaluations()
    failed = [check for check in checks if not check.passed and check.severity is dg.AssetCheckSeverity.ERROR]
    return [check.description or check.check_name for check in failed]


def _failed_steps(result: dg.ExecuteInProcessResult) -> list[dg.DagsterEvent]:
    """Without those that failed for what they had checked: the check says it better."""
    return [event for event in result.all_events if event.is_step_failure and not _is_by_a_check(event)]


def _told(event: dg.DagsterEvent) -> str:
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return data.user_failure_data.description
    # Not one of our errors: the type and the message of the cause, the traceback is in the event log.
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return f"{event.step_key}: {error.message.strip() if error else 'failed'}"
