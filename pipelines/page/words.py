"""How the page writes days, spans, figures and projects.

Not here: sentences about what was observed (says.py, caveats.py), what is escaped (look.py).
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

SHORTEST_ID = 8
"""Characters of a project id that stand for it, more where two projects would look alike."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 share`, `2,000 shares`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def span(length: timedelta) -> str:
    """Roughly how long: what a reader needs to know whether it is old."""
    minutes = max(0, int(length.total_seconds() // 60))
    if minutes < 120:
        return counted(minutes, "minute")
    hours = minutes // 60
    return counted(hours, "hour") if hours < 48 else counted(hours // 24, "day")


def changed(now: int, before: int) -> str:
    """The difference with its sign, a true minus; `no change` is said in words."""
    difference = now - before
    return f"{'+' if difference > 0 else '−'}{abs(difference):,}" if difference else "no change"


class Labels:
    """What a project is called: as the policy names it, else by the beginning of its id. No two look alike."""

    def __init__(self, ids: Iterable[str], names: Mapping[str, str]) -> None:
        self.ids = sorted(set(ids))
        length = next(n for n in range(SHORTEST_ID, 65) if len({each[:n] for each in self.ids}) == len(self.ids))
        told = [names[each] for each in self.ids if each in names]
        self._labels = {
            each: names[each] if each in names and told.count(names[each]) == 1 else _short(each, length)
            for each in self.ids
        }
        for each in self.ids:
            if told.count(names.get(each, "")) > 1:
                self._labels[each] = f"{names[each]} {_short(each, length)}"

    def __call__(self, project_id: str | None) -> str:
        return "" if project_id is None else self._labels.get(project_id, project_id)

    def within(self, text: str) -> str:
        """The text with the label in the place of every id."""
        for each in self.ids:
            text = text.replace(each, self._labels[each])
        return text


def _short(project_id: str, length: int) -> str:
    return project_id if len(project_id) <= length else f"{project_id[:length]}…"
