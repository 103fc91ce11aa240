"""The identity service of one cloud: log in, list projects, read the catalogue; and the tokens of a run.

keystoneauth1 builds and reads the messages. Its HTTP is a requests session of our own: no proxies and no netrc from
the environment, no redirects, one origin, deadlines, a byte cap. What fails leaves here as one of our errors, made
anew outside of the library: its exceptions and their frames hold passwords.
Not here: which clouds there are (clouds.py), which projects are observed (auth.py).
"""

import json
import re
import threading
import time
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from keystoneauth1.access import AccessInfo
from keystoneauth1.exceptions import ClientException
from keystoneauth1.identity import v3
from keystoneauth1.session import Session
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from pipelines.clouds import SERVICE_TYPES, Cloud
from pipelines.errors import ApiError, CredentialError, PermanentApiError, TransientApiError, printable
from pipelines.settings import TOKEN

T = TypeVar("T")

MAX_ANSWER_BYTES = 32 * 2**20
MAX_OUTAGES = 3
"""Logins in a row without an answer before the identity service counts as gone for the rest of the run."""
RENEWAL_MARGIN = 300.0
"""Seconds before its end at which a token is renewed; a tenth of its life if that is less."""

_TRANSIENT = {408, 409, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Project:
    id: str
    name: str


@dataclass(frozen=True)
class Endpoint:
    """The service in the catalogue: under which type, in which region ("": everywhere), at which address."""

    service_type: str
    region: str
    url: str


@dataclass(frozen=True)
class Ticket:
    """What a login gives. `lifetime` in seconds, as the identity service says; None: it does not."""

    token: str = field(repr=False)
    project: Project | None
    lifetime: float | None
    endpoints: tuple[Endpoint, ...]


class Identity:
    """The identity service of one cloud. Thread-safe.

    Every method raises CredentialError (401), TransientApiError or PermanentApiError.
    """

    def __init__(
        self,
        cloud: Cloud,
        *,
        connect_timeout: float = 10.0,
        read_timeout: float = 30.0,
        deadline: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cloud = cloud
        self._url = cloud.auth_url if cloud.auth_url.endswith("/v3") else f"{cloud.auth_url}/v3"
        http = requests.Session()
        http.trust_env = False
        http.adapters.clear()
        parts = urlsplit(cloud.auth_url)
        secrets = [value for key, value in cloud.auth.items() if key in _SECRET_OPTIONS]
        wire = _Wire((connect_timeout, read_timeout), deadline, clock, secrets)
        http.mount(f"{parts.scheme}://{parts.netloc}/", wire)
        self._session = Session(session=http, verify=cloud.ca_file or True, redirect=False)

    def log_in(self, project_id: str | None) -> Ticket:
        """One login for this project; None: with the scope that clouds.yaml names, or without any."""
        ticket = self._asked(lambda: self._ticket(self._plugin(project_id).get_access(self._session)))
        if project_id and (ticket.project is None or ticket.project.id != project_id):
            raise PermanentApiError(
                f"the identity service gave a token for another project than {project_id}, which is not used: ask the "
                "provider, or leave the project out in VBS_PROJECTS with a !"
            )
        return ticket

    def projects(self, token: str) -> list[Project]:
        """The enabled projects for which whoever has this token may get one."""
        return self._asked(lambda: _enabled_projects(self._get("/auth/projects", token)))

    def _get(self, path: str, token: str) -> Any:
        headers = {"X-Auth-Token": token}
        return self._session.get(self._url + path, headers=headers, authenticated=False, log=False).json()

    def _plugin(self, project_id: str | None) -> v3.Auth:
        auth = self._cloud.auth
        names = ("username", "user_id", "application_credential_id", "application_credential_name")
        options: dict[str, Any] = {name: auth.get(name) for name in names}
        for name in ("domain_name", "domain_id"):
            options[f"user_{name}"] = auth.get(f"user_{name}") or auth.get(name)
        # RunTokens counts the logins: nothing is renewed behind its back.
        base: dict[str, Any] = {"auth_url": self._url, "reauthenticate": False}
        if self._cloud.method == "application credential":
            # It belongs to one project and takes no scope.
            secret = auth["application_credential_secret"]
            return v3.ApplicationCredential(**base, **options, application_credential_secret=secret)
        base |= {"project_id": project_id} if project_id else _configured_scope(auth)
        if self._cloud.method == "token":
            return v3.Token(**base, token=auth["token"])
        user = {name: value for name, value in options.items() if name.startswith("user")}
        return v3.Password(**base, **user, password=auth["password"])

    def _ticket(self, access: AccessInfo) -> Ticket:
        token = access.auth_token
        if not isinstance(token, str) or not re.fullmatch(TOKEN, token):
            raise ValueError("not a token")
        project = Project(access.project_id, access.project_name or "") if access.project_id else None
        endpoints = [
            Endpoint(kind, "" if found.region_name in (None, "*") else found.region_name, found.catalog_url)
            for kind in SERVICE_TYPES
            for found in self._in_catalogue(access, kind)
        ]
        return Ticket(token, project, _lifetime(access), tuple(endpoints))

    def _in_catalogue(self, access: AccessInfo, kind: str) -> list[Any]:
        if not access.has_service_catalog():
            return []
        interface = self._cloud.interface
        interfaces = interface if isinstance(interface, str) else list(interface)
        return access.service_catalog.get_endpoints_data(service_type=kind, interface=interfaces).get(kind, [])

    def _asked(self, question: Callable[[], T]) -> T:
        host = urlsplit(self._url).netloc
        try:
            return question()
        except ApiError as error:
            failure = error
        except (ClientException, LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
            failure = PermanentApiError(
                f"the identity service at {host} gave an answer that cannot be understood "
                f"({type(error).__name__}): check auth_url"
            )
        raise failure.with_traceback(None)


_SECRET_OPTIONS = {"password", "token", "application_credential_secret"}


def _configured_scope(auth: Any) -> dict[str, str]:
    names = ("project_id", "project_name", "project_domain_id", "project_domain_name")
    scope = {name: auth[name] for name in names if name in auth}
    return scope if {"project_id", "project_name"} & set(scope) else {}


def _lifetime(access: AccessInfo) -> float | None:
    """From the two times of the identity service, so that a wrong clock here does not matter."""
    try:
        if access.expires is None or access.issued is None:
            return None
        return (access.expires - access.issued).total_seconds()
    except (ValueError, LookupError, TypeError):
        return None


def _enabled_projects(document: Any) -> list[Project]:
    if (document.get("links") or {}).get("next"):
        raise PermanentApiError(
            "the identity service lists projects in pages, which it should not: the list is not whole"
        )
    projects = []
    for entry in document["projects"]:
        if entry.get("enabled") is not False and entry.get("is_domain") is not True:
            project = Project(entry["id"], entry.get("name") or "")
            if not isinstance(project.id, str) or not isinstance(project.name, str):
                raise TypeError("not a project")
            projects.append(project)
    return projects


class _Wire(HTTPAdapter):
    """Sends one request and reads its answer whole, within a deadline; raises our errors for all but success."""

    def __init__(
        self, timeouts: tuple[float, float], deadline: float, clock: Callable[[], float], secrets: list[str]
    ) -> None:
        super().__init__()
        self._timeouts, self._deadline, self._clock, self._secrets = timeouts, deadline, clock, secrets

    def send(self, request: requests.PreparedRequest, *_: Any, **options: Any) -> requests.Response:
        host = urlsplit(request.url or "").netloc
        options |= {"stream": True, "timeout": self._timeouts, "proxies": {}}
        end = self._clock() + self._deadline
        failure: ApiError
        try:
            response = super().send(request, **options)
            response._content = self._read(response, end)
            response._content_consumed = True  # type: ignore[attr-defined]
            return self._checked(response, host, str(request.headers.get("X-Auth-Token", "")))
        except requests.exceptions.SSLError:
            failure = PermanentApiError(
                f"the certificate of the identity service at {host} is not trusted: check auth_url and cacert"
            )
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()
            failure = TransientApiError(
                f"no answer from the identity service at {host}: {kind}; check auth_url and the network"
            )
        raise failure

    def _read(self, response: requests.Response, end: float) -> bytes:
        chunks, size = [], 0
        # As many bytes as are there: a read timeout alone never ends an answer that drips.
        while chunk := response.raw.read1(65_536, decode_content=True):
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                raise PermanentApiError(f"the identity service's answer is larger than {MAX_ANSWER_BYTES} bytes")
            if self._clock() > end:
                raise TransientApiError(
                    f"the identity service's answer took longer than {self._deadline:g} s (VBS_REQUEST_DEADLINE)"
                )
        return b"".join(chunks)

    def _checked(self, response: requests.Response, host: str, token: str) -> requests.Response:
        status = response.status_code
        if status in (200, 201):
            return response
        code, text = (self._harmless(each, token) for each in _error_words(response.content))
        words = "; ".join(each for each in (f"HTTP {status}", code, text) if each)
        where = f"the identity service at {host}"
        if status in _TRANSIENT:
            raise TransientApiError(f"{where} failed: {words}; run again later", status=status, code=code)
        if status == 401:
            raise CredentialError(
                f"{where} refused the login: {words}; check the credential. It is not tried again in this run, "
                "because repeated bad logins lock an account",
                status=status,
                code=code,
            )
        advice = "a redirect is not followed: check auth_url" if 300 <= status < 400 else "check auth_url and rights"
        raise PermanentApiError(f"{where} refused: {words}; {advice}", status=status, code=code)

    def _harmless(self, text: str, token: str) -> str:
        """A service that quotes what it got must not bring it into a message."""
        for secret in (*self._secrets, token):
            text = text.replace(secret, "[secret]") if secret else text
        return printable(text)


def _error_words(body: bytes) -> tuple[str, str]:
    """Code and text of an error in the two shapes of IAM (api-facts 5.1); empty for anything else."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    inner = document.get("error") if isinstance(document, dict) else None
    error = inner if isinstance(inner, dict) else document if isinstance(document, dict) else {}
    code, text = error.get("error_code", error.get("code")), error.get("error_msg", error.get("message"))
    return str(code) if isinstance(code, str | int) else "", text if isinstance(text, str) else ""


@dataclass
class _Held:
    ticket: Ticket
    renew_at: float


class RunTokens:
    """The tokens of one credential in one run, one for each project. Thread-safe; one login at a time.

    A login that is refused is remembered: with 401 for the whole credential, else for its project (for all, if no
    login was ever accepted). An identity service that does not answer is given up after MAX_OUTAGES logins.
    """

    def __init__(
        self,
        log_in: Callable[[str | None], Ticket],
        *,
        ages: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ages` False: a new login would not give a token that lives longer."""
        self._log_in, self._ages, self._clock = log_in, ages, clock
        self._lock = threading.Lock()
        self._held: dict[str | None, _Held] = {}
        self._renewed: set[str] = set()
        self._refusals: dict[str | None, ApiError] = {}
        self._accepted = False
        self._outages = 0

    def __repr__(self) -> str:
        return "RunTokens(...)"

    def ticket(self, project_id: str | None = None) -> Ticket:
        """For this project; None: with the scope of clouds.yaml. At most one login, none while the last one is good."""
        held = self._held.get(project_id)
        if held is not None and not self._is_aging(held):
            return held.ticket
        with self._lock:
            held = self._held.get(project_id)
            if held is not None and not self._is_aging(held):
                return held.ticket
            try:
                return self._new_ticket(project_id)
            except TransientApiError:
                if held is None:
                    raise
                return held.ticket  # renewed early, so it is good for a while

    def token(self, project_id: str) -> str:
        return self.ticket(project_id).token

    def renewed(self, project_id: str, refused: str) -> str | None:
        """Another token than `refused`, by at most one login for each project and run; None: there is none."""
        with self._lock:
            held = self._held.get(project_id)
            if held is not None and held.ticket.token != refused:
                return held.ticket.token
            if project_id in self._renewed:
                return None
            self._renewed.add(project_id)
            self._held.pop(project_id, None)
            token = self._new_ticket(project_id).token
            return token if token != refused else None

    def _is_aging(self, held: _Held) -> bool:
        return self._clock() >= held.renew_at

    def _new_ticket(self, project_id: str | None) -> Ticket:
        refusal = self._refusals.get(None) or self._refusals.get(project_id)
        if refusal is not None:
            # A copy: several threads raise it, each with a traceback of its own.
            raise copy(refusal)
        try:
            ticket = self._log_in(project_id)
        except TransientApiError as error:
            self._outages += 1
            if self._outages >= MAX_OUTAGES:
                self._refusals[None] = PermanentApiError(f"{error}; given up for this run", status=error.status)
            raise
        except ApiError as error:
            whole = isinstance(error, CredentialError) or not self._accepted
            self._refusals[None if whole else project_id] = copy(error)
            raise
        self._accepted, self._outages = True, 0
        self._keep(project_id, ticket)
        return ticket

    def _keep(self, project_id: str | None, ticket: Ticket) -> None:
        renew_at = float("inf")
        if self._ages and ticket.lifetime is not None and ticket.lifetime > 0:
            renew_at = self._clock() + ticket.lifetime - min(RENEWAL_MARGIN, ticket.lifetime / 10)
        held = _Held(ticket, renew_at)
        self._held[project_id] = held
        if project_id is None and ticket.project is not None:
            self._held[ticket.project.id] = held
