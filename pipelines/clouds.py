"""Which clouds are configured: clouds.yaml, secure.yaml and `OS_*` as openstack.config reads them, checked offline.

openstack.config is forgiving: it skips a file that it cannot read and logs the lines around the mistake. Here every
file is looked at first, so that a mistake is told in one sentence, and no line that could hold a password is.
Nothing is requested: a vendor profile that is an address, and would be fetched, is refused.
Not here: logging in (login.py), which projects are observed (auth.py).
"""

import json
import logging
import os
import re
import ssl
import stat
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import yaml
from openstack.config import OpenStackConfig, loader
from openstack.exceptions import SDKException

from pipelines.errors import ConfigurationError, printable, system_words
from pipelines.settings import REGION, base_url, checked_url

T = TypeVar("T")

SERVICE_TYPES = ("vbsv2", "vbs", "volume-backup", "volume_backup")
"""What catalogues call the service, the one to prefer first (api-facts 6.3)."""

_SECRETS = {"password", "token", "auth_token", "application_credential_secret", "passcode", "client_secret"}
_METHODS = {
    "password": "password",
    "v3password": "password",
    "token": "token",
    "v3token": "token",
    "v3applicationcredential": "application credential",
}
_AUTH_OPTIONS = {
    "auth_url",
    "username",
    "user_id",
    "password",
    "application_credential_id",
    "application_credential_name",
    "application_credential_secret",
}
_AUTH_URL_SHAPE = "give the address of the identity service, such as https://iam.eu-de.example.com/v3"

# These libraries log at DEBUG what they send and receive, and at WARNING the lines around a mistake in clouds.yaml.
for _name in ("keystoneauth", "openstack", "stevedore", "urllib3"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)
    logging.getLogger(_name).propagate = False


@dataclass(frozen=True)
class Cloud:
    """One cloud as configured. `auth` holds the secrets and is not shown; `region` None: the cloud names none."""

    name: str
    region: str | None
    auth_url: str
    method: str
    auth: Mapping[str, str] = field(repr=False)
    interface: str | Sequence[str]
    endpoint: str | None
    ca_file: str | None


def configured_clouds(names: Sequence[str], region: str) -> list[Cloud]:
    """The clouds of these names. `region` decides where a cloud has several regions and names none.

    Raises ConfigurationError that names file, cloud and field, never with a secret in it or behind it.
    """
    configuration = _understood("clouds.yaml or the OS_* variables", _read_files)
    clouds = configuration.cloud_config["clouds"]
    _check_names(names, clouds, configuration.config_filename)
    return [_understood(f"cloud {printable(name, 40)}", partial(_cloud, configuration, name, region)) for name in names]


def _read_files() -> OpenStackConfig:
    config_file = _checked_file("OS_CLIENT_CONFIG_FILE", loader.CONFIG_FILES)
    secure_file = _checked_file("OS_CLIENT_SECURE_FILE", loader.SECURE_FILES)
    return OpenStackConfig(
        config_files=[config_file] if config_file else [], secure_files=[secure_file] if secure_file else []
    )


def _check_names(names: Sequence[str], clouds: Any, file: str | None) -> None:
    known = [name for name in clouds if name != "defaults"] if isinstance(clouds, dict) else []
    for name in names:
        if name in known:
            continue
        if known:
            listed = ", ".join(printable(str(each), 40) for each in known)
            raise ConfigurationError(f"there is no cloud {printable(name, 40)!r} in clouds.yaml, only: {listed}")
        where = f"{printable(file)} names no clouds" if file else "no clouds.yaml was found"
        raise ConfigurationError(
            f"there is no cloud {printable(name, 40)!r}: {where} "
            "(OS_CLIENT_CONFIG_FILE, in the environment, says where it is)"
        )


def _checked_file(variable: str, places: Sequence[str]) -> str | None:
    """The file that openstack.config will read; raises ConfigurationError when it would skip or misread it."""
    override = os.environ.get(variable)
    path = override or next((place for place in places if os.path.exists(place)), None)
    if path is None:
        return None
    shown = f"{variable} ({printable(path)})" if override else printable(path)
    document, everybody_reads = _parsed(path, shown)
    if document is not None and not (isinstance(document, dict) and isinstance(document.get("clouds", {}), dict)):
        raise ConfigurationError(f"{shown} is not a clouds.yaml: it must map `clouds` to clouds by name")
    if everybody_reads and _holds_secret(document):
        raise ConfigurationError(
            f"{shown} holds a password or token and can be read by everybody on this machine: chmod 600 it"
        )
    return path


def _parsed(path: str, shown: str) -> tuple[Any, bool]:
    """The content of the file, and whether everybody can read it."""
    try:
        with open(path, encoding="utf-8") as file:
            everybody_reads = bool(os.fstat(file.fileno()).st_mode & stat.S_IROTH)
            text = file.read()
        return (json.loads(text) if path.endswith("json") else yaml.safe_load(text)), everybody_reads
    except OSError as error:
        problem = f"cannot be read: {system_words(error)}"
    except yaml.MarkedYAMLError as error:
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        problem = f"is not YAML{line}: correct it"
    except (yaml.YAMLError, ValueError, RecursionError):
        problem = "is not YAML or JSON text: correct it"
    # Not within the handlers: those errors hold lines of the file.
    raise ConfigurationError(f"{shown} {problem}")


def _holds_secret(document: Any) -> bool:
    if isinstance(document, list):
        return any(_holds_secret(each) for each in document)
    if not isinstance(document, dict):
        return False
    return any(
        (str(key).replace("-", "_") in _SECRETS and value) or _holds_secret(value) for key, value in document.items()
    )


def _cloud(configuration: OpenStackConfig, name: str, region: str) -> Cloud:
    raw = configuration.cloud_config["clouds"][name]
    _check_raw(name, raw)
    _gather_auth(raw)
    options = configuration.get_one(name, validate=False, region_name=_region(configuration, name, region)).config
    auth = {key: value for key, value in options["auth"].items() if value not in (None, "")}
    for key, value in auth.items():
        if not isinstance(value, str):
            raise ConfigurationError(f"cloud {name}: {printable(str(key), 40)} is not text: put it in quotes")
    _refuse_unverified(name, options)
    method = _method(name, options.get("auth_type"), auth)
    if missing := _missing(method, auth):
        raise ConfigurationError(f"cloud {name} lacks {' and '.join(missing)} (its login is by {method})")
    overrides = (options.get(f"{kind.replace('-', '_')}_endpoint_override") for kind in SERVICE_TYPES)
    override = next((str(each) for each in overrides if each), None)
    return Cloud(
        name=name,
        region=_checked_region(name, options.get("region_name")),
        auth_url=checked_url(auth["auth_url"].strip(), f"the auth_url of cloud {name}", _AUTH_URL_SHAPE),
        method=method,
        auth=auth,
        interface=options.get("interface") or "public",
        endpoint=base_url(override, f"the endpoint override of cloud {name}") if override else None,
        ca_file=_checked_ca_file(name, options.get("cacert")),
    )


def _check_raw(name: str, raw: Any) -> None:
    if not re.fullmatch(r"[\w .@:+-]{1,80}", name):
        raise ConfigurationError(f"the name of cloud {printable(name, 40)!r} has odd characters: give it another")
    if not isinstance(raw, dict) or not isinstance(raw.get("auth", {}), dict):
        raise ConfigurationError(f"cloud {name} cannot be understood: it and its `auth` must map names to values")
    if "://" in str(raw.get("profile", raw.get("cloud", ""))):
        raise ConfigurationError(f"cloud {name} has an address as profile: name one that openstacksdk knows")


def _gather_auth(raw: dict[str, Any]) -> None:
    """Moves what belongs into `auth` there: outside of it openstack.config takes braces in a secret for a template."""
    outside = {key: raw.pop(key) for key in list(raw) if key.replace("-", "_") in _AUTH_OPTIONS}
    raw["auth"] = {key.replace("-", "_"): value for key, value in outside.items()} | raw.get("auth", {})


def _region(configuration: OpenStackConfig, name: str, region: str) -> str | None:
    """The region to ask openstack.config for; None: the one that the cloud has."""
    chosen = os.environ.get("OS_REGION_NAME") if os.environ.get("OS_CLOUD") == name else None
    known = [each["name"] for each in configuration._get_known_regions(name)]
    if chosen and known and chosen not in known:
        raise ConfigurationError(
            f"OS_REGION_NAME is none of the regions of cloud {name}: {printable(', '.join(known))}"
        )
    if chosen or len(known) < 2:
        return chosen
    if region in known:
        return region
    raise ConfigurationError(
        f"cloud {name} has the regions {printable(', '.join(known))}: set its region_name, or VBS_REGION to one of them"
    )


def _checked_region(name: str, region: Any) -> str | None:
    if not region:
        return None
    if not re.fullmatch(REGION, str(region)):
        raise ConfigurationError(f"the region_name of cloud {name} is {printable(str(region), 40)!r}: no such name")
    return str(region)


def _refuse_unverified(name: str, options: Mapping[str, Any]) -> None:
    verify = str(options.get("verify", True)).strip().lower()
    if options.get("insecure") or verify in ("false", "no", "off", "0"):
        raise ConfigurationError(
            f"cloud {name} turns the check of certificates off (verify, insecure, OS_INSECURE), which is not offered: "
            "name the file of your authority in cacert"
        )


def _checked_ca_file(name: str, path: Any) -> str | None:
    if not path:
        return None
    full = os.path.expanduser(str(path))
    try:
        ssl.create_default_context(cafile=full)
    except OSError:  # an ssl.SSLError is one
        raise ConfigurationError(
            f"the cacert of cloud {name} is no file of certificates that can be read: {printable(full)}"
        ) from None
    return full


def _method(name: str, auth_type: Any, auth: Mapping[str, str]) -> str:
    method = _METHODS.get(str(auth_type))
    if method is None:
        raise ConfigurationError(
            f"cloud {name} has auth_type {printable(str(auth_type), 40)!r}: password, token and "
            "v3applicationcredential are understood"
        )
    # Password is the default of openstack.config, so it may mean that nothing was said.
    if method == "password" and "password" not in auth:
        if "application_credential_secret" in auth:
            return "application credential"
        if "token" in auth:
            return "token"
    return method


def _missing(method: str, auth: Mapping[str, str]) -> list[str]:
    """The fields without which the login cannot be tried, as people write them."""
    wanted: list[tuple[str, ...]] = [("auth_url",)]
    if method == "token":
        wanted += [("token",)]
    if method == "password":
        wanted += [("password",)]
    if method == "application credential":
        wanted += [("application_credential_secret",), ("application_credential_id", "application_credential_name")]
    if method == "password" or (method == "application credential" and "application_credential_id" not in auth):
        wanted += [("username", "user_id")]
        if "user_id" not in auth:
            wanted += [("user_domain_name", "user_domain_id", "domain_name", "domain_id")]
    return [" or ".join(names[:2]) for names in wanted if not any(name in auth for name in names)]


def _understood(what: str, action: Callable[[], T]) -> T:
    """openstack.config meets odd input with errors of any kind, whose texts may hold any value of the input."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return action()
        except (SDKException, LookupError, TypeError, AttributeError, ValueError, OSError, RecursionError) as error:
            kind = type(error).__name__
    # Not within the handler, nor in a context manager: an error that hangs on that one would hold its text.
    raise ConfigurationError(f"{what} cannot be understood ({kind}): compare with the format of clouds.yaml")
