"""The policies that were in force, kept beside the pages: one immutable file for each that differs from the one before.

    LANDING_DIR/_policy/<landed_at>_<sha256, 16 digits>.json

A file holds the checked policy, when it was landed, and the SHA-256 of what it says; so findings can be made again from
the landing alone, each by the policy of its time. Nothing here is ever removed: prune leaves it.
Not here: what a policy is (policy.py), the tables (policy_fold.py), pages (landing.py).
"""

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from pipelines.errors import LandingError, printable, system_words
from pipelines.landing import abandoned, fsync_folder, make_private_folder
from pipelines.policy import Policy, read_policy

FOLDER = "_policy"
"""Below the landing, beside the regions: the name of a region cannot begin so."""
FORMAT_VERSION = 1
_STAMP = "%Y%m%dT%H%M%S%fZ"
_NAME = re.compile(r"[0-9]{8}T[0-9]{12}Z_[0-9a-f]{16}\.json")


@dataclass(frozen=True)
class LandedPolicy:
    """A policy as it was landed. `name`: path below the landing."""

    name: str
    landed_at: datetime
    policy: Policy


def land_policy(path: Path, landing: Path, now: datetime) -> LandedPolicy | None:
    """Keep what the file says now, unless it is what was landed last; None where nothing was to be kept.

    Raises ConfigurationError for a file that is no policy, LandingError where it cannot be kept: then the policy that
    was landed last stays in force.
    """
    policy = read_policy(path)
    names = landed_policy_names(landing)
    if names:
        last = read_landed_policy(landing, names[-1])
        if last.policy.sha256 == policy.sha256:
            return None
        if now <= last.landed_at:
            raise LandingError(
                f"a policy was landed at {last.landed_at:%Y-%m-%d %H:%M:%S} UTC, and it is said to be "
                f"{now:%Y-%m-%d %H:%M:%S} now: look at the clock"
            )
    landed_at = now.astimezone(UTC)
    about = {"format": FORMAT_VERSION, "landed_at": landed_at.isoformat(), "sha256": policy.sha256}
    text = json.dumps(about | {"policy": json.loads(policy.canonical())}, indent=1)
    name = f"{FOLDER}/{landed_at:{_STAMP}}_{policy.sha256[:16]}.json"
    _write_once(landing, name, text.encode())
    return LandedPolicy(name, landed_at, policy)


def landed_policy_names(landing: Path) -> list[str]:
    """Paths of all landed policies below the landing, in the order in which they came into force."""
    try:
        found = [path.name for path in (landing / FOLDER).iterdir() if _NAME.fullmatch(path.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise LandingError(f"the policies in {landing / FOLDER} cannot be read: {system_words(error)}") from None
    return [f"{FOLDER}/{name}" for name in sorted(found)]


def read_landed_policy(landing: Path, name: str) -> LandedPolicy:
    """Raises LandingError where the file is damaged."""
    try:
        document = json.loads((landing / name).read_bytes())
        version = document["format"]
        if version == FORMAT_VERSION:
            policy = Policy.model_validate(document["policy"])
            landed_at = datetime.fromisoformat(document["landed_at"])
            is_whole = policy.sha256 == document["sha256"]
            if is_whole and name == f"{FOLDER}/{landed_at:{_STAMP}}_{policy.sha256[:16]}.json":
                return LandedPolicy(name, landed_at, policy)
            raise ValueError("not as it was written")
    except (OSError, ValidationError, LookupError, ValueError, TypeError, RecursionError) as error:
        raise LandingError(
            f"the landed policy {name} is damaged ({type(error).__name__}): restore it from a backup, or move it out "
            "of LANDING_DIR to go on without it"
        ) from None
    raise LandingError(
        f"the landed policy {name} is of format {printable(str(version), 20)}, and this program reads "
        f"{FORMAT_VERSION}: use the one that wrote it"
    )


def _write_once(landing: Path, name: str, content: bytes) -> None:
    folder, final = landing / FOLDER, landing / name
    aside = folder / f".{os.getpid()}-{os.urandom(4).hex()}.tmp"
    try:
        make_private_folder(folder, within=landing)
        for leftover in abandoned(folder.glob(".*-*.tmp")):
            leftover.unlink(missing_ok=True)
        try:
            with os.fdopen(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.rename(final)
        finally:
            with suppress(OSError):
                aside.unlink(missing_ok=True)
        fsync_folder(folder)
    except OSError as error:
        raise LandingError(
            f"cannot write to the landing folder {landing} (LANDING_DIR): {system_words(error)}"
        ) from None
