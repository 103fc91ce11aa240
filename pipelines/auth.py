"""Credentials: where the token for a project comes from.

A `TokenSource` is the seam: today a static token from VBS_TOKEN or VBS_TOKEN_FILE; a login through
keystoneauth1 and clouds.yaml takes the same place.
Not here: sending the token (client.py).
"""

import stat
from pathlib import Path
from typing import Protocol

from pipelines.errors import ConfigurationError
from pipelines.settings import Settings

MAX_TOKEN_LENGTH = 32_768


class TokenSource(Protocol):
    def token(self, project_id: str) -> str:
        """The token to send with requests about this project."""

    def renewed(self, project_id: str, refused: str) -> str | None:
        """After a 401: another token than `refused`; None where there is none to be had."""


class StaticToken:
    """One token for every project."""

    def __init__(self, value: str) -> None:
        self._value = value

    def token(self, project_id: str) -> str:  # noqa: ARG002 - a static token knows no projects
        return self._value

    def renewed(self, project_id: str, refused: str) -> str | None:  # noqa: ARG002 - as above
        return None

    def __repr__(self) -> str:
        return "StaticToken(...)"


def token_source(settings: Settings) -> TokenSource:
    """The configured credential; raises ConfigurationError, never with the secret in its text."""
    if settings.vbs_token is not None and settings.vbs_token_file is not None:
        raise ConfigurationError("VBS_TOKEN and VBS_TOKEN_FILE are both set: set one of them")
    if settings.vbs_token is not None:
        return StaticToken(_checked_token(settings.vbs_token.get_secret_value(), "VBS_TOKEN"))
    if settings.vbs_token_file is not None:
        # Editors end a file with a newline; one is not part of the token.
        text = _read_private_file(settings.vbs_token_file)
        return StaticToken(_checked_token(text.removesuffix("\n").removesuffix("\r"), "VBS_TOKEN_FILE"))
    raise ConfigurationError("no credential is set: put a token into VBS_TOKEN or a file named by VBS_TOKEN_FILE")


def _read_private_file(path: Path) -> str:
    try:
        if path.stat().st_mode & stat.S_IROTH:
            raise ConfigurationError("VBS_TOKEN_FILE can be read by everybody on this machine: chmod 600 it")
        # Latin-1 takes every byte; ASCII would fail with an error that holds the whole text.
        return path.read_text(encoding="latin-1")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(f"VBS_TOKEN_FILE cannot be read: {reason.lower()}") from None


_TOKEN_SHAPE = "must hold one token: printable ASCII characters without blanks or line breaks"  # noqa: S105


def _checked_token(value: str, setting: str) -> str:
    # httpx quotes a header value that it refuses, so a bad token must never get that far.
    if not 0 < len(value) <= MAX_TOKEN_LENGTH or not all("!" <= char <= "~" for char in value):
        raise ConfigurationError(f"{setting} {_TOKEN_SHAPE}")
    return value
