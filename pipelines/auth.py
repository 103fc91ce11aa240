"""Credentials -> accounts: which projects are observed with which tokens at which endpoint.

Either one static token (VBS_TOKEN, VBS_TOKEN_FILE) with endpoint and projects as set, or clouds, each of which is
logged in to and says itself which projects it shows and where the service is.
Not here: reading clouds.yaml (clouds.py), logging in (login.py), sending a token (client.py).
"""

import os
import re
import ssl
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import tenacity

from pipelines.errors import (
    ApiError,
    ConfigurationError,
    PermanentApiError,
    TransientApiError,
    printable,
    system_words,
)
from pipelines.observation import PROJECT_ID, Listing, listings
from pipelines.settings import TOKEN, Settings, base_url, comma_separated
from pipelines.sockets import trust

if TYPE_CHECKING:
    from pipelines.clouds import Cloud
    from pipelines.login import Endpoint, Project, RunTokens

T = TypeVar("T")

DISCOVERY_ATTEMPTS = 3


class TokenSource(Protocol):
    def token(self, project_id: str) -> str:
        """The token to send with requests about this project.

        Raises CredentialError, TransientApiError or PermanentApiError when it takes a login and that fails.
        """

    def renewed(self, project_id: str, refused: str) -> str | None:
        """After a 401: another token than `refused`, by at most one login. None: there is none to be had.

        Raises what `token` raises.
        """


class StaticToken:
    """One token for every project."""

    def __init__(self, value: str) -> None:
        self._value = value

    def token(self, project_id: str) -> str:  # noqa: ARG002 - a static token knows no projects
        return self._value

    def renewed(self, project_id: str, refused: str) -> str | None:  # noqa: ARG002 - the same
        return None

    def __repr__(self) -> str:
        return "StaticToken(...)"


@dataclass(frozen=True)
class Account:
    """One credential in one region, with the projects to observe. `endpoint` is the base URL, without `/v2`.

    A cloud that could not be entered has a `problem`, in one sentence, and no projects.
    """

    region: str
    endpoint: str
    project_ids: tuple[str, ...]
    tokens: TokenSource
    cloud: str = ""
    """Its name in clouds.yaml; empty for a static token."""
    ca_file: str | None = None
    """Certificates to trust instead of the usual ones."""
    problem: str = ""

    def listings(self) -> list[Listing]:
        """Both directions of every project."""
        return listings(self.region, self.project_ids)


def accounts(
    settings: Settings,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Account]:
    """Every configured credential; clouds are logged in to, nothing is asked about shares.

    Raises ConfigurationError, before the first login where that can be known. A cloud that refuses the login or does
    not answer is no such error: it comes back with a `problem`, so that the other clouds go on.
    """
    if settings.vbs_ca_file is not None:
        trust(ssl.create_default_context(), settings.vbs_ca_file)
    has_token = settings.vbs_token is not None or settings.vbs_token_file is not None
    if has_token and comma_separated(settings.vbs_clouds):
        raise ConfigurationError("VBS_CLOUDS and VBS_TOKEN or VBS_TOKEN_FILE are both set: set one of them")
    if has_token:
        found = [Account(settings.vbs_region, settings.endpoint(), settings.project_ids(), _static_token(settings))]
    else:
        found = _cloud_accounts(settings, clock, sleep)
    _refuse_twice(found)
    return found


def _refuse_twice(found: Sequence[Account]) -> None:
    """A project that is observed twice would be observed by two racing walks."""
    owners: dict[Listing, str] = {}
    for account in found:
        for listing in account.listings():
            owner = owners.setdefault(listing, account.cloud)
            if owner != account.cloud:
                raise ConfigurationError(
                    f"project {listing.project_id} in region {listing.region} is visible through the clouds {owner} "
                    f"and {account.cloud}: leave one of them out of VBS_CLOUDS"
                )


# A static token


def _static_token(settings: Settings) -> StaticToken:
    """The configured token; raises ConfigurationError, never with the secret in its text."""
    if settings.vbs_token is not None and settings.vbs_token_file is not None:
        raise ConfigurationError("VBS_TOKEN and VBS_TOKEN_FILE are both set: set one of them")
    if settings.vbs_token_file is not None:
        # Editors end a file with a newline; one is not part of the token.
        text = _read_private_file(settings.vbs_token_file)
        return StaticToken(_checked_token(text.removesuffix("\n").removesuffix("\r"), "VBS_TOKEN_FILE"))
    assert settings.vbs_token is not None  # noqa: S101 - `accounts` looked
    return StaticToken(_checked_token(settings.vbs_token.get_secret_value(), "VBS_TOKEN"))


def _read_private_file(path: Path) -> str:
    try:
        if path.stat().st_mode & stat.S_IROTH:
            raise ConfigurationError("VBS_TOKEN_FILE can be read by everybody on this machine: chmod 600 it")
        # Latin-1 takes every byte; ASCII would fail with an error that holds the whole text.
        return path.read_text(encoding="latin-1")
    except OSError as error:
        raise ConfigurationError(f"VBS_TOKEN_FILE cannot be read: {system_words(error)}") from None


_TOKEN_SHAPE = "must hold one token: printable ASCII characters without blanks or line breaks"  # noqa: S105


def _checked_token(value: str, setting: str) -> str:
    if not re.fullmatch(TOKEN, value):
        raise ConfigurationError(f"{setting} {_TOKEN_SHAPE}")
    return value


# Clouds


@dataclass(frozen=True)
class _Entered:
    """A cloud after the first login: what it shows, or why it could not be entered."""

    cloud: "Cloud"
    tokens: "RunTokens"
    visible: tuple["Project", ...] = ()
    problem: str = ""


def _cloud_accounts(settings: Settings, clock: Callable[[], float], sleep: Callable[[float], None]) -> list[Account]:
    names = _cloud_names(settings.vbs_clouds)
    if not names:
        raise ConfigurationError(
            "no credential is set: name clouds of clouds.yaml in VBS_CLOUDS, or put a token into VBS_TOKEN or a file "
            "named by VBS_TOKEN_FILE"
        )
    # Half a second of imports, for those who use it.
    from pipelines.clouds import configured_clouds

    clouds = configured_clouds(names, settings.vbs_region)
    if settings.vbs_endpoint is not None:
        if len(clouds) > 1:
            raise ConfigurationError(
                "VBS_ENDPOINT is set and VBS_CLOUDS names several clouds, whose tokens must not all go there: "
                "set volume_backup_endpoint_override in clouds.yaml instead"
            )
        settings.endpoint()
    wanted = _Wanted.parse(settings.vbs_projects)
    entered = [_enter(cloud, settings, clock, sleep) for cloud in clouds]
    chosen = wanted.choose(entered)
    return [_account(each, ids, settings, sleep) for each, ids in zip(entered, chosen, strict=True)]


def _cloud_names(vbs_clouds: str) -> tuple[str, ...]:
    """VBS_CLOUDS, else what OS_CLOUD or OS_AUTH_URL stands for; empty when there is none."""
    names = comma_separated(vbs_clouds)
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ConfigurationError(f"VBS_CLOUDS names {printable(twice[0], 40)!r} twice: name every cloud once")
    if names:
        return names
    if name := os.environ.get("OS_CLOUD"):
        return (name,)
    # The name that openstack.config gives to what the environment describes.
    return (os.environ.get("OS_CLOUD_NAME") or "envvars",) if os.environ.get("OS_AUTH_URL") else ()


def _enter(cloud: "Cloud", settings: Settings, clock: Callable[[], float], sleep: Callable[[float], None]) -> _Entered:
    from pipelines.login import Identity, RunTokens

    identity = Identity(
        cloud,
        connect_timeout=settings.vbs_connect_timeout,
        read_timeout=settings.vbs_read_timeout,
        deadline=settings.vbs_request_deadline,
    )
    # A token does not live longer for being exchanged.
    tokens = RunTokens(identity.log_in, ages=cloud.method != "token", clock=clock)

    def visible() -> tuple["Project", ...]:
        ticket = tokens.ticket()
        # What belongs to one project opens that one, whatever else its user could see.
        if ticket.project is not None and cloud.method != "password":
            return (ticket.project,)
        return tuple(dict.fromkeys(identity.projects(ticket.token)))

    try:
        return _Entered(cloud, tokens, _repeated(visible, sleep))
    except ApiError as error:
        return _Entered(cloud, tokens, problem=f"cloud {cloud.name}: {error}")


def _repeated(action: Callable[[], T], sleep: Callable[[float], None]) -> T:
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(TransientApiError),
        stop=tenacity.stop_after_attempt(DISCOVERY_ATTEMPTS),
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=30),
        sleep=sleep,
        reraise=True,
    )
    return retrying(action)


def _account(
    entered: _Entered, project_ids: tuple[str, ...], settings: Settings, sleep: Callable[[float], None]
) -> Account:
    cloud = entered.cloud
    account = Account(
        region=cloud.region or settings.vbs_region,
        endpoint="",
        project_ids=(),
        tokens=entered.tokens,
        cloud=cloud.name,
        ca_file=cloud.ca_file,
        problem=entered.problem,
    )
    if not project_ids:
        return account
    try:
        endpoint = _repeated(lambda: _endpoint(entered, project_ids, settings), sleep)
    except ApiError as error:
        return replace(account, problem=f"cloud {cloud.name}: {error}")
    return replace(account, endpoint=endpoint, project_ids=project_ids)


def _endpoint(entered: _Entered, project_ids: Sequence[str], settings: Settings) -> str:
    """What is set, else what the catalogue says."""
    if settings.vbs_endpoint is not None:
        return settings.endpoint()
    if entered.cloud.endpoint is not None:
        return entered.cloud.endpoint
    return _from_catalogue(entered.cloud, _catalogue(entered.tokens, project_ids), settings.vbs_region)


def _catalogue(tokens: "RunTokens", project_ids: Sequence[str]) -> tuple["Endpoint", ...]:
    """Only a token for a project has one. A project that is closed to a good credential must not close its cloud."""
    if endpoints := tokens.ticket().endpoints:
        return endpoints
    closed = None
    for project_id in project_ids:
        try:
            return tokens.ticket(project_id).endpoints
        except PermanentApiError as error:
            closed = closed or error
    if closed is not None:
        raise closed
    return ()


def _from_catalogue(cloud: "Cloud", endpoints: Sequence["Endpoint"], default_region: str) -> str:
    if not endpoints:
        raise ConfigurationError(
            f"the catalogue of cloud {cloud.name} has no Volume Backup Service: set VBS_ENDPOINT, "
            "or volume_backup_endpoint_override in clouds.yaml"
        )
    regions = sorted({endpoint.region for endpoint in endpoints if endpoint.region})
    region = cloud.region or (regions[0] if len(regions) == 1 else default_region)
    # The types come in the order of preference.
    url = next((endpoint.url for endpoint in endpoints if endpoint.region in (region, "")), None)
    if url is None:
        listed = printable(", ".join(regions))
        raise ConfigurationError(
            f"the catalogue of cloud {cloud.name} has the Volume Backup Service in the regions {listed}, and not in "
            f"{region}: set region_name in clouds.yaml"
        )
    return base_url(url, f"the endpoint in the catalogue of cloud {cloud.name}")


# Projects


@dataclass(frozen=True)
class _Wanted:
    """VBS_PROJECTS: patterns over ids and names. No `include`: everything."""

    include: tuple[str, ...]
    exclude: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "_Wanted":
        parts = comma_separated(text)
        exclude = tuple(part[1:].strip() for part in parts if part.startswith("!"))
        include = tuple(part for part in parts if not part.startswith("!"))
        twice = [part for part in include if include.count(part) > 1]
        if twice:
            raise ConfigurationError(f"VBS_PROJECTS names {printable(twice[0], 40)} twice: name every project once")
        return cls(include, exclude)

    def choose(self, entered: Sequence[_Entered]) -> list[tuple[str, ...]]:
        """The ids to observe in each cloud; raises ConfigurationError when VBS_PROJECTS does not fit what is seen."""
        visible = [project for each in entered for project in each.visible]
        if not any(each.problem for each in entered):  # else it may be there
            self._refuse_invisible(visible)
        chosen = [tuple(project.id for project in each.visible if self._takes(project)) for each in entered]
        for project_id in (one for ids in chosen for one in ids):
            if not re.fullmatch(PROJECT_ID, project_id):
                raise ConfigurationError(
                    f"the cloud shows a project with the id {printable(project_id, 40)!r}, which is not a project id "
                    "(32 lower-case letters and digits, not digits only): leave it out in VBS_PROJECTS with a !"
                )
        if not any(chosen) and not any(each.problem for each in entered):
            raise ConfigurationError(
                f"VBS_PROJECTS leaves none of the {len(visible)} projects that the credential can see"
                if visible
                else "the credential can see no enabled project: give it a role in one"
            )
        return chosen

    def _refuse_invisible(self, visible: Iterable["Project"]) -> None:
        known = list(visible)
        for pattern in self.include:
            if not re.search(r"[*?]", pattern) and not any(_fits(pattern, project) for project in known):
                raise ConfigurationError(
                    f"VBS_PROJECTS names {printable(pattern, 40)!r}, and the credential can see no enabled project "
                    "with that id or name: correct it, or grant the credential a role there"
                )

    def _takes(self, project: "Project") -> bool:
        included = not self.include or any(_fits(pattern, project) for pattern in self.include)
        return included and not any(_fits(pattern, project) for pattern in self.exclude)


def _fits(pattern: str, project: "Project") -> bool:
    # Not fnmatch: names may have brackets.
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return any(re.fullmatch(expression, text, re.DOTALL) for text in (project.id, project.name))
