"""What of an observation differs, byte for byte, from the one before of the same listing. Pure: bytes in, bytes out.

From one day to the next nearly all records are the same bytes. Those need no parsing: what they say stands in the
warehouse already. Equal bytes prove that nothing changed; different bytes prove nothing (a service may reorder keys),
so what differs is read like any record, and compared by content.
Not here: when the comparison may be used (load.py), what is done with it (history.py, record.py).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple


class CountedPage(NamedTuple):
    """A page as landed, and how many records it held when it was received."""

    body: bytes
    record_count: int


@dataclass(frozen=True)
class Difference:
    """`new` and `left` are pages that hold the records of one side only; `same_count` distinct ones stand on both."""

    new: CountedPage
    left: CountedPage
    same_count: int


def compare(before: Iterable[CountedPage], now: Iterable[CountedPage]) -> Difference | None:
    """Compare two observations of one listing; None when the records of a page cannot be told apart beyond doubt.

    Both come in the same order, nearly, so few records wait for their like; any order gives the same result.
    """
    openings: set[bytes] = set()
    waiting: tuple[dict[bytes, None], dict[bytes, None]] = ({}, {})
    same: set[int] = set()
    for pages in zip_longest(before, now):
        for page, side in zip(pages, waiting, strict=True):
            if page is None or not page.record_count:
                continue
            split = _split(page)
            if split is None:
                return None
            opening, records = split
            openings.add(opening)
            side.update(dict.fromkeys(records))
        for record in waiting[0].keys() & waiting[1].keys():
            same.add(hash(record))
            del waiting[0][record], waiting[1][record]
    if len(openings) > 1:
        return None
    # Pages overlap: a record that found its like may have come again.
    left, new = ([record for record in side if hash(record) not in same] for side in waiting)
    opening = openings.pop() if openings else b""
    return Difference(_joined(opening, new), _joined(opening, left), len(same))


_BEGIN = re.compile(rb'\s*\{\s*"shared"\s*:\s*\[\s*(\{\s*"[A-Za-z_]+"\s*:)')
_END = re.compile(rb"\}\s*\]\s*\}\s*\Z")
_LONGEST_END = 64


def _split(page: CountedPage) -> tuple[bytes, list[bytes]] | None:
    """How every record begins, and the rest of each; None when it is not certain.

    A quote followed by a letter opens a string, so what stands before it is outside of strings: `}, {"a` can only be
    where one object ends and the next begins. The count tells records from smaller objects inside of them.
    """
    body = page.body
    begin, end = _BEGIN.match(body), _END.search(body, max(0, len(body) - _LONGEST_END))
    if not begin or not end or begin.end() > end.start():
        return None
    opening, inside = begin[1], body[begin.end() : end.start()]
    spaced = inside.split(b"}, " + opening)
    if len(spaced) == page.record_count > 1:
        return opening, spaced
    records = max(spaced, inside.split(b"}," + opening), key=len)
    return (opening, records) if len(records) == page.record_count else None


def _joined(opening: bytes, records: Sequence[bytes]) -> CountedPage:
    return CountedPage(b'{"shared": [' + b", ".join(opening + each + b"}" for each in records) + b"]}", len(records))
