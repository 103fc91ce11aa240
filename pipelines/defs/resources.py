"""Settings -> plain objects, made when a step needs them, so that the code location loads without a cloud.

Not here: the settings themselves (settings.py).
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import dagster as dg

from pipelines.auth import Account, accounts
from pipelines.client import Transport
from pipelines.connect import OpenClouds, open_clouds, utc_now
from pipelines.errors import BackupSharesError
from pipelines.publish import reading, writing
from pipelines.settings import Settings
from pipelines.warehouse import Warehouse


@dataclass(frozen=True)
class ClientResource:
    """The clouds as configured. `find_accounts`, `transport` and `now` are replaced by the command line and tests."""

    load_settings: Callable[[], Settings]
    find_accounts: Callable[[Settings], list[Account]] = accounts
    transport: Transport | None = None
    now: Callable[[], datetime] = utc_now

    def open(self) -> AbstractContextManager[OpenClouds]:
        """Logs in where that is needed."""
        return open_clouds(
            self.load_settings(), find_accounts=self.find_accounts, transport=self.transport, now=self.now
        )


@dataclass(frozen=True)
class WarehouseResource:
    """Landing, staging, warehouse and daily reports as configured."""

    load_settings: Callable[[], Settings]

    @property
    def landing(self) -> Path:
        return self.load_settings().landing_folder

    @property
    def staging(self) -> Path:
        return self.load_settings().staging_folder

    @property
    def reports(self) -> Path:
        return self.load_settings().reports_folder

    def writing(self) -> AbstractContextManager[Warehouse]:
        settings = self.load_settings()
        return writing(settings.warehouse_address(), wait=settings.warehouse_wait, keep=settings.warehouse_keep)

    def reading(self) -> AbstractContextManager[Warehouse | None]:
        return reading(self.load_settings().warehouse_address())


@contextmanager
def plain_failures() -> Iterator[None]:
    """Our own errors end a step with their sentence, not with a traceback; they say what to do."""
    try:
        yield
    except BackupSharesError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from None
