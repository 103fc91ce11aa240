"""The documented filters of the listing, typed, and their verification on what comes back. Pure.

A server may drop a filter that it does not know or does not grant and return everything (api-facts 3), so whoever
filters must look at the answer: `matches` says whether a record is one of those asked for.
Not here: requests (client.py), what a person asks (ask.py).
"""

from dataclasses import dataclass, fields
from typing import Any

_PARAMETERS = {"availability_zone": "avalilability_zone"}
"""The API spells the zone so, in all vendors' pages; nowhere else in this package."""


@dataclass(frozen=True)
class Filters:
    """Conditions that must hold together; None: any.

    `name` is fuzzy at the server, and nobody says how: here it means that the backup's name contains the text,
    whatever the case. All others are compared character by character.
    """

    backup_id: str | None = None
    volume_id: str | None = None
    name: str | None = None
    status: str | None = None
    from_project_id: str | None = None
    to_project_id: str | None = None
    availability_zone: str | None = None

    def query(self) -> dict[str, str]:
        """The parameters of the request."""
        return {_PARAMETERS.get(name, name): value for name, value in self._given().items()}

    def matches(self, record: Any) -> bool:
        """Whether a record of the answer (parsed JSON) fulfils all conditions; one that cannot be read does not."""
        if not isinstance(record, dict):
            return not self._given()
        backup = record.get("backup")
        fields_of_backup = backup if isinstance(backup, dict) else {}
        found = {**fields_of_backup, **{name: record.get(name) for name in _OF_THE_SHARE}}
        return all(_fits(name, found.get(name), value) for name, value in self._given().items())

    def _given(self) -> dict[str, str]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


_OF_THE_SHARE = ("backup_id", "from_project_id", "to_project_id")


def _fits(name: str, found: Any, wanted: str) -> bool:
    if not isinstance(found, str):
        return False
    return wanted.casefold() in found.casefold() if name == "name" else found == wanted
