"""The configured clouds as clients that are ready to ask.

Not here: settings (settings.py), credentials (auth.py), what is asked (extract.py, ask.py).
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from pipelines.auth import TokenSource, token_source
from pipelines.client import ShareClient, Transport
from pipelines.observation import Listing, listings
from pipelines.settings import Settings
from pipelines.traffic import Traffic


@dataclass(frozen=True)
class Account:
    """One credential in one region."""

    region: str
    endpoint: str
    project_ids: tuple[str, ...]
    tokens: TokenSource


def accounts(settings: Settings) -> list[Account]:
    """The configured accounts; raises ConfigurationError before any request."""
    return [Account(settings.vbs_region, settings.endpoint(), settings.project_ids(), token_source(settings))]


@dataclass(frozen=True)
class Cloud:
    """A client and the listings that it can ask for, both directions of every project."""

    client: ShareClient
    listings: list[Listing]


@contextmanager
def open_clouds(
    settings: Settings, *, transport: Transport | None = None, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Iterator[list[Cloud]]:
    """All configured clouds, with one pace and one budget of repeats for all; raises ConfigurationError."""
    traffic = Traffic(
        requests_per_second=settings.vbs_requests_per_second, project_concurrency=settings.vbs_project_concurrency
    )
    with ExitStack() as stack:
        yield [
            Cloud(
                stack.enter_context(closing(client_of(account, settings, traffic, transport=transport, now=now))),
                listings(account.region, account.project_ids),
            )
            for account in accounts(settings)
        ]


def client_of(
    account: Account,
    settings: Settings,
    traffic: Traffic,
    *,
    transport: Transport | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> ShareClient:
    """A client for one account, as configured; close it after use."""
    return ShareClient(
        account.endpoint,
        account.tokens,
        traffic=traffic,
        connect_timeout=settings.vbs_connect_timeout,
        read_timeout=settings.vbs_read_timeout,
        deadline=settings.vbs_request_deadline,
        listing_deadline=settings.vbs_listing_deadline,
        max_connections=settings.vbs_concurrency * settings.vbs_project_concurrency,
        ca_file=settings.vbs_ca_file,
        transport=transport,
        now=now,
    )
