"""Settings -> plain objects, made when a step needs them, so that the code location loads without a cloud.

Not here: the settings themselves (settings.py).
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from pipelines.auth import token_source
from pipelines.client import ShareClient, Transport
from pipelines.errors import BackupSharesError
from pipelines.observation import Listing, listings
from pipelines.publish import reading, writing
from pipelines.settings import Settings
from pipelines.warehouse import Warehouse


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class ClientResource:
    """The cloud as configured. `transport` and `now` are replaced in tests and in the demo."""

    load_settings: Callable[[], Settings]
    transport: Transport | None = None
    now: Callable[[], datetime] = utc_now

    def listings(self) -> list[Listing]:
        settings = self.load_settings()
        return listings(settings.vbs_region, settings.project_ids())

    @contextmanager
    def open(self) -> Iterator[ShareClient]:
        settings = self.load_settings()
        client = ShareClient(
            settings.endpoint(),
            token_source(settings),
            connect_timeout=settings.vbs_connect_timeout,
            read_timeout=settings.vbs_read_timeout,
            deadline=settings.vbs_request_deadline,
            max_connections=settings.vbs_concurrency * settings.vbs_pages_side_by_side,
            transport=self.transport,
            now=self.now,
        )
        try:
            yield client
        finally:
            client.close()


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
