"""Settings -> plain objects, made when a step needs them, so that the code location loads without a cloud.

Not here: the settings themselves (settings.py).
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from pipelines.auth import Account, accounts
from pipelines.client import ShareClient, Transport
from pipelines.errors import BackupSharesError
from pipelines.observation import Listing
from pipelines.publish import reading, writing
from pipelines.settings import Settings
from pipelines.warehouse import Warehouse


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class OpenClouds:
    """What can be observed now: the listings, the client for each, and a sentence for each cloud that is closed."""

    clients: dict[Listing, ShareClient]
    problems: list[str]


@dataclass(frozen=True)
class ClientResource:
    """The clouds as configured. `find_accounts`, `transport` and `now` are replaced by the command line and tests."""

    load_settings: Callable[[], Settings]
    find_accounts: Callable[[Settings], list[Account]] = accounts
    transport: Transport | None = None
    now: Callable[[], datetime] = utc_now

    @contextmanager
    def open(self) -> Iterator[OpenClouds]:
        """Logs in where that is needed; one client for each account."""
        settings = self.load_settings()
        opened = OpenClouds({}, [])
        with ExitStack() as stack:
            for account in self.find_accounts(settings):
                client = stack.enter_context(closing(self._client(account, settings)))
                opened.clients.update(dict.fromkeys(account.listings(), client))
                if account.problem:
                    opened.problems.append(account.problem)
            yield opened

    def _client(self, account: Account, settings: Settings) -> ShareClient:
        return ShareClient(
            account.endpoint,
            account.tokens,
            connect_timeout=settings.vbs_connect_timeout,
            read_timeout=settings.vbs_read_timeout,
            deadline=settings.vbs_request_deadline,
            max_connections=settings.vbs_concurrency,
            ca_file=account.ca_file,
            transport=self.transport,
            now=self.now,
        )


@dataclass(frozen=True)
class WarehouseResource:
    """Landing, staging and warehouse as configured."""

    load_settings: Callable[[], Settings]

    @property
    def landing(self) -> Path:
        return self.load_settings().landing_folder

    @property
    def staging(self) -> Path:
        return self.load_settings().staging_folder

    def writing(self) -> AbstractContextManager[Warehouse]:
        settings = self.load_settings()
        return writing(settings.warehouse_address(), wait=settings.warehouse_wait)

    def reading(self) -> AbstractContextManager[Warehouse | None]:
        return reading(self.load_settings().warehouse_address())


@contextmanager
def plain_failures() -> Iterator[None]:
    """Our own errors end a step with their sentence, not with a traceback; they say what to do."""
    try:
        yield
    except BackupSharesError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from None
