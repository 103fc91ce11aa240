"""IAM: log-in with a password, an application credential or a token; tokens of a project; the projects of a user.

A token that was issued is good for its project until it expires; the static token is good for every own project.
Not here: what a token opens (service.py).
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from pipelines.simulator.wire import Request, Response, answer, iam_error, keystone_error

REGION = "eu-de"
TOKEN_LIFETIME = timedelta(hours=24)


@dataclass(frozen=True)
class Account:
    """Who may log in. The application credential belongs to the first own project."""

    user: str = "demo"
    password: str = "demo-password"  # noqa: S105 - opens a simulator
    domain: str = "demo-domain"
    application_credential_id: str = "a1b2c3d4e5f60718293a4b5c6d7e8f90"
    application_credential_secret: str = "demo-credential-secret"  # noqa: S105 - opens a simulator


def clouds_yaml(base_url: str, account: Account, authority_file: str = "") -> str:
    """What a `clouds.yaml` says to log in here: with the password as `simulated`, and with the application credential.

    `authority_file`: certificates to trust instead of the usual ones.
    """
    password = {"username": account.user, "user_domain_name": account.domain, "password": account.password}
    credential = {
        "application_credential_id": account.application_credential_id,
        "application_credential_secret": account.application_credential_secret,
    }
    trusted = {"cacert": authority_file} if authority_file else {}
    usual = {"region_name": REGION, **trusted}
    url = {"auth_url": f"{base_url}/v3"}
    clouds = {
        "simulated": {**usual, "auth": {**url, **password}},
        "simulated-credential": {**usual, "auth_type": "v3applicationcredential", "auth": {**url, **credential}},
    }
    return yaml.safe_dump({"clouds": clouds}, sort_keys=False)


@dataclass(frozen=True)
class Grant:
    """What a token stands for. No project: it opens the list of projects and nothing else."""

    projects: frozenset[str]
    expires_at: datetime


class RefusedLoginError(Exception):
    """The log-in fails; `response` says so to the client."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


class Iam:
    def __init__(
        self, projects: tuple[str, ...], static_token: str, account: Account, clock: Callable[[], datetime]
    ) -> None:
        self._names = {project: f"{REGION}_demo-{number}" for number, project in enumerate(projects, start=1)}
        self._static_token = static_token
        self._account = account
        self._clock = clock
        self._grants: dict[str, Grant] = {}

    def grant(self, token: str) -> Grant | None:
        """What the token opens now; None when it is unknown or expired."""
        if token and token == self._static_token:
            return Grant(frozenset(self._names), datetime.max.replace(tzinfo=UTC))
        grant = self._grants.get(token)
        return grant if grant is not None and self._clock() < grant.expires_at else None

    def log_in(self, request: Request) -> Response:
        """POST /v3/auth/tokens."""
        try:
            auth = json.loads(request.body)["auth"]
            methods = auth["identity"]["methods"]
            project = self._project_after(methods, auth)
        except (ValueError, LookupError, TypeError, AttributeError):
            return keystone_error(400, "The request body is invalid")
        except RefusedLoginError as error:
            return error.response
        return self._issue(request, methods, project)

    def projects(self, request: Request) -> Response:
        """GET /v3/auth/projects."""
        if self.grant(request.token) is None:
            return keystone_error(401, "The request you have made requires authentication.")
        return answer(
            {
                "projects": [
                    {"id": project, "name": name, "domain_id": self._domain_id(), "enabled": True, "is_domain": False}
                    for project, name in self._names.items()
                ],
                "links": {"self": f"{_base_url(request)}/v3/auth/projects", "previous": None, "next": None},
            }
        )

    def _project_after(self, methods: list[str], auth: Mapping[str, Any]) -> str | None:
        """Checks the credential and returns the project that the token is for."""
        identity, scope = auth["identity"], auth.get("scope")
        if methods == ["application_credential"]:
            self._check_application_credential(identity["application_credential"])
            if scope is not None:
                raise RefusedLoginError(keystone_error(401, "Application credentials cannot request a scope."))
            return next(iter(self._names))
        if methods == ["password"]:
            self._check_password(identity["password"]["user"])
        elif methods == ["token"]:
            self._check_token(identity["token"]["id"])
        else:
            raise RefusedLoginError(keystone_error(401, "Attempted to authenticate with an unsupported method."))
        return self._scope(scope)

    def _check_password(self, user: Mapping[str, Any]) -> None:
        account = self._account
        given = (user["name"], user["password"], user["domain"]["name"])
        if given != (account.user, account.password, account.domain):
            raise RefusedLoginError(iam_error(401, "IAM.0062", "Incorrect user name or password."))

    def _check_application_credential(self, credential: Mapping[str, Any]) -> None:
        account = self._account
        given = (credential["id"], credential["secret"])
        if given != (account.application_credential_id, account.application_credential_secret):
            raise RefusedLoginError(keystone_error(401, "The request you have made requires authentication."))

    def _check_token(self, token: str) -> None:
        if self.grant(token) is None:
            raise RefusedLoginError(keystone_error(401, "The token is invalid or has expired."))

    def _scope(self, scope: Mapping[str, Any] | None) -> str | None:
        """The project asked for by id or name. Without one the token is for global services only."""
        wanted = (scope or {}).get("project")
        if wanted is None:
            return None
        for project, name in self._names.items():
            if wanted.get("id") == project or ("id" not in wanted and wanted.get("name") == name):
                return project
        raise RefusedLoginError(keystone_error(401, "Could not find the project of the scope."))

    def _issue(self, request: Request, methods: list[str], project: str | None) -> Response:
        issued_at = self._clock()
        # The number makes tokens differ that are issued in the same instant.
        seed = f"{self._static_token}/{project}/{len(self._grants)}"
        token = "MII" + hashlib.sha256(seed.encode()).hexdigest()
        projects = frozenset() if project is None else frozenset((project,))
        self._grants[token] = Grant(projects, issued_at + TOKEN_LIFETIME)
        content: dict[str, Any] = {
            "methods": methods,
            "issued_at": _iam_time(issued_at),
            "expires_at": _iam_time(issued_at + TOKEN_LIFETIME),
            "user": {"id": _id_of(self._account.user), "name": self._account.user, "domain": self._domain()},
            "roles": [{"id": "0", "name": "vbs_adm"}],
        }
        if project is not None:
            content["project"] = {"id": project, "name": self._names[project], "domain": self._domain()}
            if not dict(request.query).get("nocatalog"):
                content["catalog"] = _catalogue(_base_url(request), project)
        return answer({"token": content}, 201, (("X-Subject-Token", token),))

    def _domain(self) -> dict[str, str]:
        return {"id": self._domain_id(), "name": self._account.domain}

    def _domain_id(self) -> str:
        return _id_of(self._account.domain)


def _catalogue(base_url: str, project: str) -> list[dict[str, Any]]:
    """VBS stands in it twice, with and without the project in its address (api-facts 6.3)."""
    services = (
        ("identity", "iam", f"{base_url}/v3"),
        ("vbsv2", "vbsv2", f"{base_url}/v2/{project}"),
        ("volume-backup", "vbs", f"{base_url}/v2"),
    )
    return [
        {
            "id": _id_of(name),
            "type": type_,
            "name": name,
            "endpoints": [
                {"id": _id_of(url), "interface": "public", "region": REGION, "region_id": REGION, "url": url}
            ],
        }
        for type_, name, url in services
    ]


def _base_url(request: Request) -> str:
    return f"{request.scheme}://{request.headers.get('host', 'localhost')}"


def _iam_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _id_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]
