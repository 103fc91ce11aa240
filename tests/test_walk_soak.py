"""Millions of schedules of changes against the walk, on all cores: `make soak`. Prints what was tried.

Not here: the schedules of the daily test run, and everything else about the walk (test_walk.py).
"""

import multiprocessing
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import product

import pytest
from schedules import ALWAYS, Enumeration, Tiny, schedule_count

pytestmark = pytest.mark.soak

SIZES = (4, 5, 6, 7)
PAGES = ((2, 2), (3, 2), (4, 2), (3, 3), (4, 3), (4, 4))
"""Limit asked, rows served at most."""
ARRIVALS = ((0, 1), (1, 0), (0, 2, 1), (2, 0, 1), (2, 1, 0), (1, 2, 0), (3, 1, 0, 2), (3, 2, 1, 0))
"""How many pages are asked for side by side, and in which order they reach the service."""
LISTINGS = [(size, *pages) for size, pages in product(SIZES, PAGES)]
COMPLETE = [
    *(Tiny(order, *listing, depth=3) for order, listing in product(("share", "aligned"), LISTINGS)),
    *(Tiny("share", *listing, depth=3, counts=1) for listing in LISTINGS),
    *(Tiny("share", size, *pages, depth=3, counts=ALWAYS) for size, pages in product((4, 5), PAGES[3:])),
    *(Tiny("ties", size, *pages, depth=3, salt=salt) for size, pages, salt in product((4, 5), PAGES[3:], (1, 2))),
    *(Tiny("ties", size, 4, 4, depth=3) for size in (6, 7)),
    *(Tiny("share", 7, 2, 2, depth=3, counts=1, arrival=arrival) for arrival in ARRIVALS[1:4]),
    *(Tiny("share", 8, 3, 3, depth=3, counts=1, arrival=arrival) for arrival in ARRIVALS),
    *(Tiny("aligned", 9, 4, 4, depth=3, counts=1, arrival=arrival) for arrival in ARRIVALS[:4]),
]
"""Three changes, all schedules."""
SAMPLED = [
    *(Tiny("share", size, *pages, depth=4) for size, pages in product(SIZES, PAGES[3:])),
    *(Tiny("ties", size, 4, 4, depth=4) for size in (4, 6)),
    *(Tiny("share", 8, 3, 3, depth=4, counts=1, arrival=arrival) for arrival in ARRIVALS[:3]),
    *(Tiny("share", 10, 3, 3, depth=3, counts=1, arrival=arrival) for arrival in ARRIVALS),
    *(Tiny("ties", 13, 6, 6, depth=3, counts=1, arrival=arrival) for arrival in ARRIVALS[:2]),
]
"""More changes, or more rows: a tenth."""


def enumerate_kind(kind: Tiny, sample: float) -> Counter[str]:
    return Enumeration(kind).run(sample=sample)


def test_no_schedule_out_of_20_million_loses_a_share(figures) -> None:
    total: Counter[str] = Counter()
    figures("schedules of changes during a walk", 0)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=spawn) as pool:
        tried = [pool.submit(enumerate_kind, kind, 1) for kind in COMPLETE]
        tried += [pool.submit(enumerate_kind, kind, 0.1) for kind in SAMPLED]
        for each in tried:
            total += each.result()  # the AssertionError of a silent loss ends it
    figures("schedules of changes during a walk", schedule_count(total))
    print(f"0 silent losses: {dict(total)}")
    assert schedule_count(total) >= 20_000_000
