"""The configured clouds as clients that are ready to ask, one for every account, with one pace for all.

Not here: settings (settings.py), credentials (auth.py), what is asked (extract.py, ask.py).
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipelines.auth import Account, accounts
from pipelines.client import ShareClient, Transport
from pipelines.observation import Listing
from pipelines.settings import Settings
from pipelines.traffic import Traffic


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class OpenClouds:
    """What can be asked now: the listings, the client for each, and a sentence for each cloud that is closed."""

    clients: dict[Listing, ShareClient]
    problems: list[str]


@contextmanager
def open_clouds(
    settings: Settings,
    *,
    find_accounts: Callable[[Settings], list[Account]] = accounts,
    transport: Transport | None = None,
    now: Callable[[], datetime] = utc_now,
) -> Iterator[OpenClouds]:
    """All configured clouds; logs in where that is needed. Raises ConfigurationError."""
    traffic = Traffic(
        requests_per_second=settings.vbs_requests_per_second, project_concurrency=settings.vbs_project_concurrency
    )
    opened = OpenClouds({}, [])
    with ExitStack() as stack:
        for account in find_accounts(settings):
            if account.problem:
                opened.problems.append(account.problem)
                continue
            client = stack.enter_context(closing(_client(account, settings, traffic, transport, now)))
            opened.clients.update(dict.fromkeys(account.listings(), client))
        yield opened


def _client(
    account: Account, settings: Settings, traffic: Traffic, transport: Transport | None, now: Callable[[], datetime]
) -> ShareClient:
    return ShareClient(
        account.endpoint,
        account.tokens,
        traffic=traffic,
        connect_timeout=settings.vbs_connect_timeout,
        read_timeout=settings.vbs_read_timeout,
        deadline=settings.vbs_request_deadline,
        listing_deadline=settings.vbs_listing_deadline,
        max_connections=settings.vbs_concurrency * settings.vbs_project_concurrency,
        ca_file=Path(account.ca_file) if account.ca_file else settings.vbs_ca_file,
        transport=transport,
        now=now,
    )
