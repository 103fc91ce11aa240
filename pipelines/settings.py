"""Every setting once: name, default, meaning; the environment variable is the upper-case field name.

Read from the environment and from `.env` in the working directory; an empty value counts as unset.
The table in README.md is generated from this file (`make docs`).
Not here: what is done with a setting; tokens are read and checked in auth.py.
"""

import logging
import os
import re
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from pipelines.errors import ConfigurationError, printable, what_is_expected
from pipelines.observation import PROJECT_ID

REGION = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
"""A name of a region. It becomes part of paths."""

TOKEN = r"[!-~]{1,32768}"  # noqa: S105 - a pattern
"""What may be sent as a token. httpx quotes a header value that it refuses, so nothing else must get that far."""

LOOPBACK_HOSTS = {"localhost", "127.0.0.1", "::1"}
"""Hosts that may be spoken to without TLS: a token sent to them does not leave the machine."""


def _region(name: str) -> str:
    if not re.fullmatch(REGION, name):
        raise ValueError("letters, digits, - _ and . are expected, at most 64, a letter or digit first")
    return name


class Settings(BaseSettings):
    """All settings, typed and checked one by one; what a sync needs together is checked by the methods."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", hide_input_in_errors=True, allow_inf_nan=False
    )

    vbs_clouds: Annotated[
        str,
        Field(
            description="Clouds of `clouds.yaml` to observe, comma-separated. Unset, and no token set: what `OS_CLOUD` "
            "or `OS_AUTH_URL` says."
        ),
    ] = ""
    vbs_endpoint: Annotated[
        str | None,
        Field(
            description="Base URL of the Volume Backup Service, without the project, such as "
            "`https://vbs.eu-de.example.com`. `https` only; `http` is taken for loopback. Unset: what the cloud's "
            "catalogue says."
        ),
    ] = None
    vbs_region: Annotated[
        str,
        AfterValidator(_region),
        Field(
            description="Name under which the region is kept in the history, for a token and for clouds without "
            "`region_name`. Set it before the first sync.",
        ),
    ] = "default"
    vbs_token: Annotated[
        SecretStr | None, Field(description="Static token instead of a cloud, sent as `X-Auth-Token`.")
    ] = None
    vbs_token_file: Annotated[
        Path | None,
        Field(description="File that holds the token instead of `VBS_TOKEN`; not readable by others (`chmod 600`)."),
    ] = None
    vbs_projects: Annotated[
        str,
        Field(
            description="Projects to observe, comma-separated, both directions of each: ids or names, `*` and `?` as "
            "wildcards, a leading `!` leaves out. Unset: all that the credential can see. With a token: plain ids."
        ),
    ] = ""
    vbs_page_size: Annotated[
        int, Field(ge=20, le=1000, description="Shares asked for per request (`limit`, 20 to 1000).")
    ] = 1000
    vbs_concurrency: Annotated[int, Field(ge=1, le=64, description="Listings observed side by side.")] = 4
    vbs_project_concurrency: Annotated[
        int, Field(ge=1, le=64, description="Requests in flight per project, its listings and pages taken together.")
    ] = 8
    vbs_requests_per_second: Annotated[
        float,
        Field(
            ge=0,
            le=10_000,
            description="Requests sent per second by a whole run, as an average over some seconds. 0: no limit.",
        ),
    ] = 20.0
    vbs_pages_side_by_side: Annotated[
        int, Field(ge=1, le=64, description="Pages asked for side by side in each long listing.")
    ] = 8
    vbs_connect_timeout: Annotated[float, Field(gt=0, le=600, description="Seconds to wait for a connection.")] = 10.0
    vbs_read_timeout: Annotated[
        float, Field(gt=0, le=600, description="Seconds to wait for the next bytes of an answer.")
    ] = 30.0
    vbs_request_deadline: Annotated[
        float, Field(gt=0, le=3600, description="Seconds that one answer may take in all, however it drips.")
    ] = 60.0
    vbs_listing_deadline: Annotated[
        float, Field(gt=0, le=86_400, description="Seconds that one listing may take in all; then it fails.")
    ] = 900.0
    vbs_ca_file: Annotated[
        Path | None,
        Field(description="File of PEM certificates of authorities to trust besides the well-known ones."),
    ] = None
    data_dir: Annotated[Path, Field(description="Folder for everything that the pipeline writes.")] = Path("data")
    landing_dir: Annotated[
        Path | None, Field(description="Folder of the raw pages. Unset: `landing` in `DATA_DIR`.")
    ] = None
    warehouse_url: Annotated[
        SecretStr | None,
        Field(
            description="Warehouse as a SQLAlchemy URL: `duckdb:////absolute/path/to/file.duckdb` (three slashes: a "
            "relative path), or `postgresql+psycopg://user:password@host/database`. Unset: `warehouse.duckdb` in "
            "`DATA_DIR`."
        ),
    ] = None
    warehouse_wait: Annotated[
        float,
        Field(ge=0, le=3600, description="Seconds to wait for another sync, or a rebuild, that holds the warehouse."),
    ] = 60.0
    warehouse_keep: Annotated[
        int,
        Field(ge=1, le=1000, description="DuckDB files of earlier syncs that stay beside the published one."),
    ] = 1
    landing_keep_days: Annotated[
        int | None,
        Field(
            ge=1,
            le=100_000,
            description="Days after which `backup-shares prune` may remove raw pages. Unset: they are kept for ever.",
        ),
    ] = None
    policy_file: Annotated[
        Path | None,
        Field(
            description="File of the sharing policy, see below. Unset: `policy.yaml` in the working directory, where "
            "there is one."
        ),
    ] = None
    daily_report: Annotated[
        bool,
        Field(
            description="Whether a sync also writes the page of the day, `DATA_DIR/reports/latest.html`. "
            "`backup-shares daily-report` writes it at any time."
        ),
    ] = True
    sync_hour: Annotated[int, Field(ge=0, le=23, description="Hour of the daily schedule, UTC.")] = 3

    @property
    def landing_folder(self) -> Path:
        return self.landing_dir or self.data_dir / "landing"

    @property
    def staging_folder(self) -> Path:
        """Normalized tables between two assets of one run; may be deleted at any time."""
        return self.data_dir / "staging"

    @property
    def reports_folder(self) -> Path:
        """The daily report: a page per day, and the latest."""
        return self.data_dir / "reports"

    @property
    def policy_path(self) -> Path | None:
        """The policy to read; None where there is none. What POLICY_FILE names is meant to be there."""
        usual = Path("policy.yaml")
        return self.policy_file or (usual if usual.exists() else None)

    @property
    def dagster_home(self) -> Path:
        """Where Dagster keeps runs and schedules; a DAGSTER_HOME in the environment takes its place."""
        return Path(os.environ.get("DAGSTER_HOME") or self.data_dir / "dagster_home")

    def warehouse_address(self) -> str:
        """The warehouse URL. It may hold a password: hand it to the engine, never to a message."""
        if self.warehouse_url is not None:
            return self.warehouse_url.get_secret_value()
        return f"duckdb:///{quote(str((self.data_dir / 'warehouse.duckdb').absolute()))}"

    def endpoint(self) -> str:
        """The base URL, without trailing slash and without `/v2`; raises ConfigurationError."""
        if self.vbs_endpoint is None:
            raise ConfigurationError(f"VBS_ENDPOINT is not set: {_ENDPOINT_SHAPE}")
        return _without_version(checked_url(self.vbs_endpoint.strip(), "VBS_ENDPOINT"), "VBS_ENDPOINT")

    def project_ids(self) -> tuple[str, ...]:
        """The configured project ids, in order; raises ConfigurationError unless each is well-formed."""
        ids = comma_separated(self.vbs_projects)
        if not ids:
            raise ConfigurationError("VBS_PROJECTS is not set: name the project ids to observe, comma-separated")
        for project_id in ids:
            if re.search(r"[*?]|^!", project_id):
                raise ConfigurationError(
                    f"VBS_PROJECTS holds {printable(project_id, 40)!r}, a pattern, and what a static token can see is "
                    "not known: name plain project ids, or use a cloud (VBS_CLOUDS)"
                )
            if not re.fullmatch(PROJECT_ID, project_id):
                raise ConfigurationError(
                    f"VBS_PROJECTS holds {printable(project_id, 40)!r}, which is not a project id: "
                    "32 lower-case letters and digits, not digits only"
                )
        return ids


_ENDPOINT_SHAPE = "give the base URL of the service, such as https://vbs.eu-de.example.com"
_HOST_AND_PORT = re.compile(r"([A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?")
_PROJECT_AT_END = re.compile(rf"/+({PROJECT_ID}|%\((project|tenant)_id\)s)/*$")


def comma_separated(text: str) -> tuple[str, ...]:
    """What stands between the commas, without the blanks around it."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def base_url(url: str, name: str) -> str:
    """The base URL of the service out of what a catalogue says: without `/v2` and without the project at its end.

    `name` is what the ConfigurationError calls it.
    """
    return _without_version(checked_url(_PROJECT_AT_END.sub("", url.strip()), name), name)


def checked_url(url: str, name: str, shape: str = _ENDPOINT_SHAPE) -> str:
    """`url` without trailing slash: https (or http to loopback), host, port and path, and nothing else.

    Raises ConfigurationError that calls the URL `name` and never quotes it.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ConfigurationError(f"{name} is not a URL: {shape}") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigurationError(f"{name} has more than scheme, host and path: {shape}")
    is_plain = url.isascii() and url.isprintable() and " " not in url and _HOST_AND_PORT.fullmatch(parts.netloc)
    if parts.scheme not in ("http", "https") or not is_plain:
        raise ConfigurationError(f"{name} is not an http(s) URL: {shape}")
    if parts.scheme == "http" and host not in LOOPBACK_HOSTS:
        raise ConfigurationError(
            f"{name} begins with http:// and would send the token in the clear: use https:// "
            "(http is taken for loopback only)"
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _without_version(url: str, name: str) -> str:
    url = url.removesuffix("/v2").rstrip("/")
    if any(re.fullmatch(PROJECT_ID, segment) for segment in url.split("/")[3:]):
        raise ConfigurationError(f"{name} ends in a project id: give it without the project")
    return url


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment and `.env`; raises ConfigurationError that names the first bad one."""
    settings, complaints = usable_settings(**overrides)
    if complaints:
        raise ConfigurationError(complaints[0])
    return settings


def usable_settings(**overrides: Any) -> tuple[Settings, list[str]]:
    """Settings as `load_settings`, those that are not usable left at their defaults; a sentence for each of them."""
    complaints = [
        f".env, line {line}, cannot be read: write it as NAME=value, with a quote on both sides or on none"
        for line in _unreadable_lines()
    ]
    while True:
        try:
            return Settings(**overrides), complaints
        except ValidationError as error:
            bad = error.errors(include_input=False, include_url=False)
        except UnicodeDecodeError:
            # Nothing of the error is kept: it holds the bytes of the file, a token among them.
            overrides["_env_file"] = None
            complaints.append(".env is not UTF-8 text: write it again")
            continue
        for each in bad:
            name = str(each["loc"][0])
            overrides[name] = Settings.model_fields[name].default
            complaints.append(f"{name.upper()} is not usable: {what_is_expected(each)}")


logging.getLogger("dotenv.main").setLevel(logging.ERROR)  # it warns of such lines, and does not say in which file


def _unreadable_lines() -> list[int]:
    """Lines of `.env` that say nothing to python-dotenv, which goes on without them: a token may be among them."""
    try:
        with Path(".env").open(encoding="utf-8") as file:
            bad = [each.original for each in parse_stream(file) if each.error]
    except (OSError, UnicodeDecodeError):
        return []
    # It counts the empty lines before one as part of it.
    return [each.line + each.string[: -len(each.string.lstrip())].count("\n") for each in bad]


def misspelt_settings() -> list[str]:
    """A sentence for each variable of the environment or `.env` that looks like a setting and is none.

    Nothing else would tell of it.
    """
    found = set(os.environ)
    with suppress(UnicodeDecodeError):  # `usable_settings` says so
        found |= dotenv_values(".env").keys()
    known = [name.upper() for name in Settings.model_fields]
    told = []
    for name in sorted(name for name in found if name.upper() not in known):
        is_ours = name.upper().startswith("VBS_")
        like = get_close_matches(name.upper(), known, n=1, cutoff=0.8 if is_ours else 0.88)
        if is_ours or like:
            told.append(f"{printable(name, 60)} is no setting" + (f": {like[0]} may be meant" if like else ""))
    return told


class _IsolatedSettings(Settings):
    """Settings that nothing but the given values makes."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def isolated_settings(**values: Any) -> Settings:
    """Settings from `values` and defaults alone, for the demo and for tests."""
    return _IsolatedSettings(**values)


def settings_table() -> str:
    """The settings as a Markdown table, for README.md."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = f"`{field.default}`" if field.default not in (None, "") else "unset"
        lines.append(f"| `{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines)
