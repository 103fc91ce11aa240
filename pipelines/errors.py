"""Everything that can fail, named by what the caller must do about it.

    BackupSharesError
    |-- ConfigurationError       a person must change a setting; nothing was requested (exit code 2)
    |-- ApiError                 the service answered with something else than a page; the listing fails
    |   |-- TransientApiError    worth another attempt: the only kind the client retries
    |   |-- CredentialError      401: the token is refused; get a new one
    |   `-- PermanentApiError    asking again gives the same answer: rights, project, parameters
    |       `-- EndpointError    every listing of this endpoint would get it: ask it nothing more, change a setting
    |-- MalformedResponseError   200, but not a page of shares; nothing is taken for empty
    |   `-- TooLargeError        more than may be read at once: ask for a smaller page
    |-- ClockError               the clock of this machine is far from the service's; nothing is landed, set it right
    |-- StoppedError             the run was cancelled or cannot go on: ask nothing more, nothing is landed
    |-- LandingError             a landing file is missing, damaged or not ours; other files go on
    `-- WarehouseError           the warehouse refused; the landed pages are kept for the next sync
        |-- WarehouseBusyError   another writer holds it; wait or stop that one
        |-- OutOfOrderError      older than what is recorded of that listing; only a rebuild can use it
        `-- StaleDifferenceError what differs was read against another state: read the observation whole

Every message is safe to print: it holds no secret, and text from the API went through `printable`.
Not here: what is retried and how often (traffic.py), exit codes (cli.py).
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

_HIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Control, format (bidirectional marks among them), lone surrogates, line and paragraph separators."""


def printable(text: str, limit: int = 200) -> str:
    """`text` from a stranger on one line: what could steer a terminal or a log is escaped, the rest cut at `limit`."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(_escape(char) if unicodedata.category(char) in _HIDDEN_CATEGORIES else char for char in cut)


def _escape(char: str) -> str:
    return re.sub("^'|'$", "", ascii(char))


def counted(number: int, noun: str) -> str:
    """So many of it, for the inside of a sentence: `1 share`, `2 shares`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def system_words(error: OSError) -> str:
    """What the system says about a failure, for the inside of a sentence; without the path, which may be a secret."""
    return (error.strerror or type(error).__name__).lower()


_EXPECTED = {
    "bool": "true or false is expected",
    "finite": "a number is expected",
    "float": "a number is expected",
    "int": "a whole number is expected",
    "model": "names with values are expected, as `name: value`",
    "tuple": "a list is expected, each entry begun with `- `",
}


def what_is_expected(error: Mapping[str, Any]) -> str:
    """What a value has to be, in plain words, from what pydantic says of one that is not (an item of its `errors`)."""
    kind, said = str(error["type"]), str(error["msg"])
    bounds = {name: f"{value:g}" if isinstance(value, float) else value for name, value in error.get("ctx", {}).items()}
    match kind:
        case "value_error":
            return said.removeprefix("Value error, ")
        case "greater_than_equal":
            return f"at least {bounds['ge']} is expected"
        case "less_than_equal":
            return f"at most {bounds['le']} is expected"
        case "greater_than":
            return f"more than {bounds['gt']} is expected"
        case "string_too_short":
            return "a text is expected, it is empty"
    return _EXPECTED.get(kind.split("_")[0]) or printable(said[:1].lower() + said[1:], 120)


class BackupSharesError(Exception):
    """Base of all errors that this package raises on purpose."""


class ConfigurationError(BackupSharesError):
    """A setting is missing or unusable. The message names the setting and says what it expects."""


class ApiError(BackupSharesError):
    """The service refused or failed.

    `status` is the HTTP status (None: no answer), `code` the service's own. `advice` is what to do; it ends the text.
    `effort` is what was tried to no avail. `shared_cause` names a cause that lies with the endpoint rather than the
    listing: when several listings in a row meet the same one, the others will.
    """

    def __init__(
        self, message: str, *, status: int | None = None, code: str = "", advice: str = "", shared_cause: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.advice = advice
        self.shared_cause = shared_cause
        self.effort = ""

    def __str__(self) -> str:
        return "; ".join(part for part in (*self.args, self.effort, self.advice) if part)


class TransientApiError(ApiError):
    """May succeed when repeated.

    `retry_after` is the pause in seconds that the service asked for, if any. `is_overload`: a smaller page is less
    work for the service and may succeed where this one did not.
    """

    def __init__(
        self, message: str, *, retry_after: float | None = None, is_overload: bool = False, **details: Any
    ) -> None:
        super().__init__(message, **details)
        self.retry_after = retry_after
        self.is_overload = is_overload


class CredentialError(ApiError):
    """The service does not accept the token."""


class PermanentApiError(ApiError):
    """The same request would fail the same way."""


class EndpointError(PermanentApiError):
    """Every request to this endpoint would fail the same way: a setting or the service must change first."""


class MalformedResponseError(BackupSharesError):
    """The service said 200, and the body is not what the contract says."""


class TooLargeError(MalformedResponseError):
    """The answer is larger than what is read at once."""


class ClockError(BackupSharesError):
    """What was seen now would stand in the history at another time."""


class StoppedError(BackupSharesError):
    """The run was cancelled, or cannot go on; nothing more is asked."""


class LandingError(BackupSharesError):
    """A landing file cannot be written, or cannot be trusted."""


class WarehouseError(BackupSharesError):
    """The warehouse could not take an observation; what was published before stands."""


class WarehouseBusyError(WarehouseError):
    """Another process writes to the same warehouse."""


class OutOfOrderError(WarehouseError):
    """The observation is not newer than the last one recorded of its listing."""


class StaleDifferenceError(WarehouseError):
    """The tables say what differs from an observation that is not what the warehouse holds."""
