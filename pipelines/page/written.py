"""The page as files: one per day, which a later sync of the same day replaces, and the latest under a name of its own.

Not here: what stands in it (says.py, look.py).
"""

import os
from datetime import datetime
from pathlib import Path

from pipelines.errors import WarehouseError, system_words
from pipelines.landing import fsync_folder
from pipelines.page.asked import ask
from pipelines.page.look import render
from pipelines.page.says import Page, say
from pipelines.warehouse import Warehouse

LATEST = "latest.html"


def make_page(warehouse: Warehouse, now: datetime) -> tuple[Page | None, str]:
    """What the page says of the last observed day (None: there is none yet), and its HTML."""
    answers = ask(warehouse)
    page = None if answers is None else say(answers, now)
    return page, render(page)


def publish_page(folder: Path, page: Page, html: str) -> Path:
    """The file of the page's day in the folder, beside the same as latest.html. Raises WarehouseError."""
    file = folder / f"{page.day}.html"
    try:
        # It tells who can read what: as private as the landing, until a person opens the folder.
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in (file, folder / LATEST):
            write_whole(path, html)
    except OSError as error:
        raise WarehouseError(f"cannot write the daily report into {folder}: {system_words(error)}") from None
    return file


def write_whole(path: Path, html: str) -> None:
    """Written aside and renamed: half a page is never seen."""
    aside = path.with_name(f".{path.name}.writing")
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(html)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    fsync_folder(path.parent)
