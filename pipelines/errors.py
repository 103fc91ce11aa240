"""Everything that can fail, named by what the caller must do about it.

    BackupSharesError
    |-- ConfigurationError       a person must change a setting; nothing was requested (exit code 2)
    |-- ApiError                 the service answered with something else than a page; the listing fails
    |   |-- TransientApiError    worth another attempt: the only kind the client retries
    |   |-- CredentialError      401: the token is refused; get a new one
    |   `-- PermanentApiError    asking again gives the same answer: rights, endpoint, parameters
    |-- MalformedResponseError   200, but not a page of shares; nothing is taken for empty
    |-- LandingError             a landing file is missing, damaged or not ours; other files go on
    `-- WarehouseError           the warehouse refused; the landed pages are kept for the next sync
        |-- WarehouseBusyError   another writer holds it; wait or stop that one
        |-- OutOfOrderError      older than what is recorded of that listing; only a rebuild can use it
        `-- StaleDifferenceError what differs was read against another state: read the observation whole

Every message is safe to print: it holds no secret, and text from the API went through `printable`.
Not here: what is retried and how often (client.py), exit codes (cli.py).
"""

import re
import unicodedata

_HIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Control, format (bidirectional marks among them), lone surrogates, line and paragraph separators."""


def printable(text: str, limit: int = 200) -> str:
    """`text` from a stranger on one line: what could steer a terminal or a log is escaped, the rest cut at `limit`."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(_escape(char) if unicodedata.category(char) in _HIDDEN_CATEGORIES else char for char in cut)


def _escape(char: str) -> str:
    return re.sub("^'|'$", "", ascii(char))


class BackupSharesError(Exception):
    """Base of all errors that this package raises on purpose."""


class ConfigurationError(BackupSharesError):
    """A setting is missing or unusable. The message names the setting and says what it expects."""


class ApiError(BackupSharesError):
    """The service refused or failed. `status` is the HTTP status (None: no answer), `code` the service's own."""

    def __init__(self, message: str, *, status: int | None = None, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class TransientApiError(ApiError):
    """May succeed when repeated. `retry_after` is the pause in seconds that the service asked for, if any."""

    def __init__(
        self, message: str, *, status: int | None = None, code: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(message, status=status, code=code)
        self.retry_after = retry_after


class CredentialError(ApiError):
    """The service does not accept the token."""


class PermanentApiError(ApiError):
    """The same request would fail the same way."""


class MalformedResponseError(BackupSharesError):
    """The service said 200, and the body is not what the contract says."""


class LandingError(BackupSharesError):
    """A landing file cannot be written, or cannot be trusted."""


class WarehouseError(BackupSharesError):
    """The warehouse could not take an observation; what was published before stands."""


class WarehouseBusyError(WarehouseError):
    """Another process writes to the same warehouse."""


class OutOfOrderError(WarehouseError):
    """The observation is not newer than the last one recorded of its listing."""


class StaleDifferenceError(WarehouseError):
    """The frames say what differs from an observation that is not what the warehouse holds."""
