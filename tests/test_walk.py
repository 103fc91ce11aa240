"""What a walk proves, tried on listings that change while they are read and on services that misbehave.

Expected values come from the model (model_listing.py), never from walk.py. A *silent loss* is a share that was alive
during the whole walk and is missing from `ids` of a proven one. Not here: HTTP, retries (test_client.py).
"""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_listing import (
    MISBEHAVING,
    AlwaysAscending,
    AnswersEmptyAtTimes,
    Change,
    ClampsTo1,
    CountsNothing,
    HasNoCount,
    HidesFromListAndCount,
    HidesFromTheList,
    IgnoresOffset,
    LinksInCircles,
    LinksOnly,
    LinksWithoutOrder,
    ModelListing,
    NeverEnds,
    SendsTooManyRows,
    random_changes,
)
from schedules import ALWAYS, Enumeration, Tiny, schedule_count

from pipelines.observation import ProofStatus
from pipelines.walk import Row, Walk, walk


def is_proven(seen: Walk) -> bool:
    return seen.status in (ProofStatus.COVERED, ProofStatus.EXACT)


def lost(seen: Walk, listing: ModelListing) -> set[str | None]:
    return set(listing.always_alive - seen.ids) if is_proven(seen) else set()


def assert_no_silent_loss(seen: Walk, listing: ModelListing, context: object) -> None:
    """What no walk may break, whatever the service does, unless nobody could see it."""
    assert not lost(seen, listing), (
        f"silent loss of {sorted(map(str, lost(seen, listing)))} in {context}: {seen.reason}"
    )


# --- every schedule of changes on a few rows ------------------------------------------------------------------------

SIZES = (4, 5, 6, 7)
PAGES = ((3, 3), (4, 3), (4, 4))
"""Limit asked, rows served at most."""
SHORT_PAGES = ((2, 2), (3, 2), (4, 2))
"""Pages of two rows: where the keys of both are in order, no order can be told, and little is proven."""
ARRIVALS = ((0, 1), (1, 0), (0, 2, 1), (2, 0, 1), (2, 1, 0), (3, 1, 0, 2))
"""How many pages are asked for side by side, and in which order they reach the service."""
QUICK = (
    *(Tiny("share", 4, limit, clamp) for limit, clamp in ((2, 1), (3, 3), (4, 3), (4, 4))),
    *(Tiny("share", 4, 4, 4, counts=ALWAYS), Tiny("share", 4, 4, 4, depth=3), Tiny("aligned", 6, 4, 4)),
    *(Tiny("ties", 4, 3, 3), Tiny("ties", 4, 4, 4), Tiny("ties", 4, 4, 4, counts=ALWAYS)),
    *(Tiny("ties", size, *pages, salt=salt) for size, pages in ((6, (3, 3)), (10, (5, 5))) for salt in (1, 2)),
    Tiny("aligned", 5, 4, 4, counts=ALWAYS),
)
QUICK_SIDE_BY_SIDE = (
    *(Tiny("share", 8, 3, 3, counts=1, arrival=arrival) for arrival in ARRIVALS),
    *(Tiny("aligned", 9, 4, 4, counts=1, arrival=(1, 0)), Tiny("ties", 13, 6, 6, depth=1, counts=1, arrival=(1, 0))),
    Tiny("share", 8, 3, 3, depth=1, counts=ALWAYS, arrival=(1, 0)),
    Tiny("share", 10, 3, 3, counts=1, arrival=(1, 0)),
)
ONE_AFTER_THE_OTHER = (
    *(Tiny("share", size, *pages, depth=3) for size in SIZES for pages in PAGES),
    *(Tiny("share", size, *pages, counts=1) for size in SIZES for pages in PAGES),
    *(Tiny("share", size, *pages) for size in (4, 5) for pages in SHORT_PAGES),
    *(Tiny("aligned", size, *pages) for size in SIZES for pages in PAGES),
    *(Tiny("aligned", size, 4, 4, depth=3) for size in (4, 5)),
    *(Tiny("ties", size, *pages) for size in (4, 5) for pages in PAGES),
    *(Tiny("ties", size, 4, 4) for size in (6, 7)),
    *(Tiny(order, 4, limit, 1) for order in ("share", "aligned") for limit in (2, 4)),
    *(Tiny("share", size, *pages, counts=ALWAYS) for size in SIZES for pages in PAGES),
    *(Tiny("aligned", size, *pages, counts=ALWAYS) for size in (4, 5) for pages in PAGES),
    *(Tiny("ties", size, 4, 4, counts=ALWAYS) for size in (4, 5)),
)
"""Three changes (depth 3) where that is quick."""
SIDE_BY_SIDE = (
    *(Tiny("share", 8, 3, 3, depth=3, counts=1, arrival=arrival) for arrival in ((0, 1), (1, 0))),
    *(
        Tiny("share", size, *pages, counts=1, arrival=arrival)
        for size in (10, 12)
        for pages in PAGES
        for arrival in ARRIVALS
    ),
    *(Tiny("share", 7, 2, 2, counts=1, arrival=arrival) for arrival in ARRIVALS),
    *(Tiny("aligned", 9, 4, 4, counts=1, arrival=arrival) for arrival in ARRIVALS),
    *(Tiny("ties", size, 6, 6, counts=1, arrival=arrival) for size in (13, 14) for arrival in ((0, 1), (1, 0))),
    Tiny("share", 8, 3, 3, counts=ALWAYS, arrival=(1, 0)),
)


def enumerate_schedules(kinds: Sequence[Tiny], figures: Callable[..., None]) -> Counter[str]:
    """Walk every schedule; stop at the first silent loss."""
    total: Counter[str] = Counter()
    figures(SCHEDULES, 0)
    for kind in kinds:
        total += Enumeration(kind).run()
    figures(SCHEDULES, schedule_count(total))
    return total


SCHEDULES = "schedules of changes during a walk"


def proven_share(total: Counter[str]) -> float:
    return (total["covered"] + total["exact"]) / schedule_count(total)


def test_no_schedule_of_two_changes_on_a_few_rows_loses_a_share(figures) -> None:
    total = enumerate_schedules(QUICK + QUICK_SIDE_BY_SIDE, figures)
    assert schedule_count(total) >= 20_000
    assert proven_share(total) >= 1 / 4, "the enumeration must not be about walks that prove nothing"


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [ONE_AFTER_THE_OTHER, SIDE_BY_SIDE], ids=["one after the other", "side by side"])
def test_no_schedule_out_of_450_000_loses_a_share_on_either_path(kinds: tuple[Tiny, ...], figures) -> None:
    total = enumerate_schedules(kinds, figures)
    assert schedule_count(total) >= 450_000
    assert proven_share(total) >= 1 / 2, "the enumeration must not be about walks that prove nothing"
    assert total["plans"] >= total["walks"] / 2 or kinds is ONE_AFTER_THE_OTHER, "pages must be asked for side by side"


# --- random runs of an honest service ------------------------------------------------------------------------------

RATES = (0, 0.01, 0.1, 0.5, 1)
"""Changes per request."""


def random_run(seed: int, rate: float) -> tuple[ModelListing, Walk, str]:
    rng = random.Random(f"{seed} {rate}")
    by_backup = rng.random() < 0.3
    # An order with ties needs pages longer than the shares of one backup (ten at most).
    size, limit = rng.randint(0, 300), rng.randint(30 if by_backup else 5, 100)
    clamp = rng.choice((1000, max(limit // 2, 30 if by_backup else 5)))
    listing = ModelListing(
        size,
        random_changes(rng.randrange(10**9), rate, 2000),
        clamp=clamp,
        by_backup=by_backup,
        aligned=rng.random() < 0.2,
        shares_per_backup=rng.randint(1, 8 if by_backup else 3),
        seed=seed,
    )
    context = f"seed {seed}, rate {rate}, {size} rows, limit {limit}, clamp {clamp}, by backup: {by_backup}"
    fetch_many = listing.fetch_many if rng.random() < 0.5 else None
    return listing, walk(listing.fetch, listing.count, limit=limit, fetch_many=fetch_many), context


def check_honest(seen: Walk, listing: ModelListing, context: object) -> None:
    assert_no_silent_loss(seen, listing, context)
    if seen.may_close:
        assert is_proven(seen), context
        assert listing.always_alive <= seen.ids, context
    if seen.status is ProofStatus.EXACT:
        assert seen.ids in listing.states, f"no state at any instant: {context}"
    assert seen.reason or seen.may_close, context


def run_at_random(runs_per_rate: int, figures: Callable[..., None], first: int = 0) -> None:
    for rate in RATES:
        statuses: Counter[ProofStatus] = Counter()
        for seed in range(first, first + runs_per_rate):
            figures("walks with random changes")
            listing, seen, context = random_run(seed, rate)
            check_honest(seen, listing, context)
            assert seen.ids <= listing.ever_alive, context
            statuses[seen.status] += 1
        if rate <= 0.1:
            assert statuses[ProofStatus.INCOMPLETE] <= runs_per_rate / 100, f"rate {rate}: {statuses}"


def test_random_changes_lose_nothing_and_an_honest_service_is_rarely_called_incomplete(figures) -> None:
    run_at_random(60, figures)


@pytest.mark.slow
def test_five_thousand_runs_with_random_changes_lose_nothing(figures) -> None:
    run_at_random(1000, figures)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(1, 4))
def test_thirty_thousand_runs_with_random_changes_lose_nothing(part: int, figures) -> None:
    run_at_random(2000, figures, first=part * 10_000)


orders = st.sampled_from(({}, {"aligned": True}, {"by_backup": True}, {"by_backup": True, "shares_per_backup": 3}))
changes = st.lists(st.builds(Change, st.integers(1, 30), st.booleans(), st.integers(0, 50)), max_size=12)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    size=st.integers(0, 40),
    changes=changes,
    limit=st.integers(4, 30),
    clamp=st.integers(4, 30),
    order=orders,
    counted=st.booleans(),
    side_by_side=st.booleans(),
    seed=st.integers(0, 99),
)
def test_whatever_changes_a_proven_walk_of_an_honest_service_lost_nothing(
    size: int,
    changes: list[Change],
    limit: int,
    clamp: int,
    order: dict[str, int],
    counted: bool,
    side_by_side: bool,
    seed: int,
) -> None:
    listing = ModelListing(size, changes, clamp=clamp, seed=seed, **order)
    fetch_many = listing.fetch_many if side_by_side else None
    seen = walk(listing.fetch, listing.count if counted else lambda: None, limit=limit, fetch_many=fetch_many)
    check_honest(seen, listing, f"seed {seed}")


# --- what it costs, and what the naive loop loses -------------------------------------------------------------------


def naive_loop(fetch: Callable[..., Sequence[Row]], limit: int) -> set[str | None]:
    """Stop at the first short page, as everybody does."""
    ids: set[str | None] = set()
    offset = 0
    while True:
        rows = fetch(offset, limit)
        ids |= {row.share_id for row in rows}
        if len(rows) < limit:
            return ids
        offset += limit


@pytest.mark.parametrize("side_by_side", [False, True])
@pytest.mark.parametrize(("by_backup", "shares_per_backup"), [(False, 1), (True, 3), (True, 10)])
@pytest.mark.parametrize("size", [0, 1, 2, 999, 1000, 1001, 2000, 2500, 2995, 2999, 5990, 9987, 20_000])
def test_a_quiet_listing_costs_at_most_three_requests_more_than_the_naive_loop(
    size: int, by_backup: bool, shares_per_backup: int, side_by_side: bool
) -> None:
    naive, listing = ModelListing(size), ModelListing(size, by_backup=by_backup, shares_per_backup=shares_per_backup)
    assert naive_loop(naive.fetch, 1000) == naive.always_alive
    fetch_many = listing.fetch_many if side_by_side else None
    seen = walk(listing.fetch, listing.count, limit=1000, fetch_many=fetch_many)
    assert listing.requests <= naive.requests + 3
    assert (seen.status, seen.may_close, seen.reason) == (ProofStatus.COVERED, True, "")
    assert seen.ids == listing.always_alive


def test_a_row_deleted_before_the_offset_is_lost_by_the_naive_loop_and_not_by_the_walk() -> None:
    schedule = (Change(1, False, 0),)
    naive, listing = ModelListing(6, schedule), ModelListing(6, schedule)
    assert len(naive.always_alive - naive_loop(naive.fetch, 3)) == 1
    seen = walk(listing.fetch, lambda: None, limit=3)
    assert seen.status is ProofStatus.COVERED
    assert listing.always_alive <= seen.ids


def test_an_insert_and_a_delete_that_cancel_out_in_the_count_do_not_deceive_the_walk() -> None:
    schedule = (Change(1, True, 0), Change(2, False, 0), Change(2, False, 0), Change(3, True, 0))
    naive, listing = ModelListing(7, schedule), ModelListing(7, schedule)
    assert naive.always_alive - naive_loop(naive.fetch, 3)
    check_honest(walk(listing.fetch, listing.count, limit=3), listing, schedule)


def test_the_naive_loop_loses_rows_in_many_random_runs_and_the_walk_in_none() -> None:
    losses = 0
    for seed in range(40):
        changes = random_changes(seed, 0.5, 500)
        naive, listing = ModelListing(200, changes), ModelListing(200, changes)
        losses += bool(naive.always_alive - naive_loop(naive.fetch, 10))
        check_honest(walk(listing.fetch, listing.count, limit=10), listing, f"seed {seed}")
    assert losses >= 20


def test_ties_redrawn_on_each_request_lose_rows_for_the_naive_loop_though_nothing_changes() -> None:
    naive, listing = (ModelListing(300, by_backup=True, shares_per_backup=10) for _ in range(2))
    assert naive.always_alive - naive_loop(naive.fetch, 24)
    seen = walk(listing.fetch, listing.count, limit=24)
    assert (seen.status, seen.may_close, seen.ids) == (ProofStatus.COVERED, True, listing.always_alive)


# --- pages side by side ----------------------------------------------------------------------------------------------


class Recorder:
    """Notes what is asked for; `taken` pages of a plan, in which places they begin, and whether it was closed."""

    def __init__(self, listing: ModelListing) -> None:
        self.listing = listing
        self.single: list[int] = []
        self.planned: list[int] = []
        self.limits: set[int] = set()
        self.taken = self.closed = 0

    def fetch(self, offset: int, limit: int, *, descending: bool = False) -> Sequence[Row]:
        self.single += [] if descending else [offset]
        return self.listing.fetch(offset, limit, descending=descending)

    def fetch_many(self, offsets: Sequence[int], limit: int) -> Iterator[Sequence[Row]]:
        self.planned += offsets
        self.limits.add(limit)
        try:
            for page in self.listing.fetch_many(offsets, limit):
                self.taken += 1
                yield page
        finally:
            self.closed += 1

    def walk(self, limit: int) -> Walk:
        return walk(self.fetch, self.listing.count, limit=limit, fetch_many=self.fetch_many)


def test_a_long_quiet_listing_is_read_side_by_side_after_its_first_page() -> None:
    recorder = Recorder(ModelListing(95))
    seen = recorder.walk(limit=10)
    assert (seen.status, seen.may_close, seen.ids) == (ProofStatus.COVERED, True, recorder.listing.always_alive)
    assert recorder.single == [0]
    # Ten pages of ten overlap by a row at least; the last stretch is the top of the list. Count, page, top, count: 4.
    assert recorder.planned == [9, 18, 27, 36, 45, 54, 63, 72, 81]
    assert (recorder.taken, recorder.closed, recorder.listing.requests) == (9, 1, 4 + 9)


def test_a_listing_of_a_few_pages_is_not_worth_a_plan() -> None:
    for size in (0, 1, 10, 20, 28):
        recorder = Recorder(ModelListing(size))
        assert recorder.walk(limit=10).ids == recorder.listing.always_alive
        assert recorder.planned == []


def test_without_a_count_nothing_is_planned() -> None:
    recorder = Recorder(HasNoCount(300))
    assert recorder.walk(limit=10).ids == recorder.listing.always_alive
    assert recorder.planned == []


def test_a_service_that_clamps_is_read_side_by_side_once_its_page_size_is_known() -> None:
    recorder = Recorder(ModelListing(400, clamp=25))
    assert recorder.walk(limit=1000).ids == recorder.listing.always_alive
    assert recorder.single == [0, 24]
    assert recorder.limits == {25}


def test_pages_of_an_order_by_backup_overlap_by_more_than_the_shares_of_a_backup() -> None:
    recorder = Recorder(ModelListing(1000, by_backup=True, shares_per_backup=7))
    assert recorder.walk(limit=50).ids == recorder.listing.always_alive
    assert recorder.single == [0]
    assert max(after - before for before, after in pairwise(recorder.planned)) <= 50 - 8


@pytest.mark.parametrize("deleted", [1, 30])
def test_a_hole_is_filled_and_the_pages_behind_it_are_used(deleted: int) -> None:
    # The rows vanish after three of the pages: the others begin too late, by as many rows.
    for first in range(2, 5):
        listing = ModelListing(1000, [Change(first, False, 0)] * deleted)
        recorder = Recorder(listing)
        seen = recorder.walk(limit=50)
        check_honest(seen, listing, first)
        # Another pass finds the listing quiet; the first one needs few requests for the hole.
        assert listing.requests <= 2 * (1000 // 49 + 1 + 3) + 4


def test_a_plan_is_given_up_where_pages_show_nothing_new() -> None:
    recorder = Recorder(IgnoresOffset(1000))
    recorder.walk(limit=10)
    assert (recorder.closed, recorder.taken) == (2, 2 * 4)
    assert recorder.listing.requests <= 2 * (2 + 12 + 8) + 3


def test_no_page_that_was_asked_for_ahead_outlives_its_pass() -> None:
    """The certificate needs to know which pages came before a count."""
    listing = ModelListing(300, [Change(12, False, 250)] * 100)
    recorder = Recorder(listing)
    open_plans = []

    def count() -> int | None:
        open_plans.append(len(recorder.planned) > 0 and recorder.closed == 0)
        return listing.count()

    seen = walk(recorder.fetch, count, limit=20, fetch_many=recorder.fetch_many)
    check_honest(seen, listing, "the listing shrinks")
    assert recorder.taken < len(recorder.planned)
    assert not any(open_plans)


def test_an_error_of_a_page_ahead_passes_through_and_closes_the_plan() -> None:
    class Breaks(ModelListing):
        def tick(self) -> None:
            if self.requests == 6:
                raise BrokenError
            super().tick()

    recorder = Recorder(Breaks(300))
    with pytest.raises(BrokenError):
        recorder.walk(limit=20)
    assert recorder.closed == 1


def test_a_planned_page_longer_than_asked_is_named() -> None:
    class SendsTooManyLater(ModelListing):
        def cut(self, rows: list[Row], offset: int, limit: int) -> Sequence[Row]:
            return rows[offset : offset + limit + (3 if offset else 0)]

    seen = Recorder(SendsTooManyLater(300)).walk(limit=20)
    assert seen.status is ProofStatus.INCOMPLETE
    assert seen.reason.startswith("a page of 23 shares came where 20 were asked for")


# --- links to the next page ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [LinksOnly, LinksWithoutOrder])
@pytest.mark.parametrize("size", [30, 100, 105])
def test_links_of_a_service_that_ignores_offset_are_followed_and_the_count_proves(
    kind: type[LinksOnly], size: int
) -> None:
    listing = kind(size)
    seen = walk(listing.fetch, listing.count, limit=10, follow=listing.follow)
    assert (seen.status, seen.may_close, seen.reason) == (ProofStatus.EXACT, True, "")
    assert (seen.ids, seen.pass_count) == (listing.always_alive, 2)


def test_the_second_pass_follows_the_links_at_once() -> None:
    listing = LinksOnly(100)
    walk(listing.fetch, listing.count, limit=10, follow=listing.follow)
    # Three counts and twice eleven pages; what is left found out that offset is ignored.
    assert listing.requests <= 3 + 2 * 11 + 10


@pytest.mark.parametrize("kind", [LinksOnly, LinksWithoutOrder])
@pytest.mark.parametrize("rate", [0.1, 1])
def test_what_is_proven_of_pages_that_came_by_links_is_the_state_at_an_instant(
    kind: type[ModelListing], rate: float
) -> None:
    proven = 0
    for seed in range(60):
        listing, seen, context = misbehave(kind, rate, seed)
        check_honest(seen, listing, context)
        proven += is_proven(seen)
    assert proven


def test_links_without_a_count_prove_nothing() -> None:
    listing = LinksOnly(100)
    seen = walk(listing.fetch, lambda: None, limit=10, follow=listing.follow)
    assert (seen.status, seen.may_close, seen.pass_count) == (ProofStatus.INCOMPLETE, False, 2)
    assert "by links, as the service ignores offset" in seen.reason


def test_links_in_circles_are_named_and_end() -> None:
    listing = LinksInCircles(100)
    seen = walk(listing.fetch, lambda: None, limit=10, follow=listing.follow, max_passes=1)
    assert seen.status is ProofStatus.INCOMPLETE
    assert "in circles" in seen.reason
    assert listing.requests <= 40


def test_endless_links_end_with_the_page_budget() -> None:
    served = iter(range(10**9))

    def made_up() -> list[Row]:
        return [Row(f"share {next(served)}", "backup") for _ in range(10)]

    listing = IgnoresOffset(100)
    seen = walk(listing.fetch, listing.count, limit=10, follow=made_up)
    assert (seen.status, seen.pass_count) == (ProofStatus.INCOMPLETE, 1)
    assert "did not end within" in seen.reason
    assert next(served) <= 10 * (3 * (100 // 9) + 60)


def test_links_are_not_asked_for_where_offset_works() -> None:
    def must_not_be_asked() -> None:
        raise AssertionError("the offsets lead to the end")

    listing = ModelListing(300)
    seen = walk(listing.fetch, listing.count, limit=20, follow=must_not_be_asked)
    assert (seen.status, seen.ids) == (ProofStatus.COVERED, listing.always_alive)


# --- services that misbehave ---------------------------------------------------------------------------------------

SEEDS = range(20)


def misbehave(
    kind: type[ModelListing], rate: float, seed: int, *, side_by_side: bool = False
) -> tuple[ModelListing, Walk, str]:
    rng = random.Random(f"{kind.__name__} {rate} {seed}")
    size, limit = rng.randint(20, 300), rng.randint(20, 100)
    listing = kind(size, random_changes(rng.randrange(10**9), rate, 3000), seed=seed)
    fetch_many = listing.fetch_many if side_by_side else None
    follow = listing.follow if isinstance(listing, LinksOnly) else None
    seen = walk(listing.fetch, listing.count, limit=limit, fetch_many=fetch_many, follow=follow)
    context = f"{kind.__name__}, seed {seed}, rate {rate}, {size} rows, limit {limit}, {listing.requests} requests"
    if kind is not HasNoCount:
        page = 1 if kind is ClampsTo1 else limit
        assert listing.requests <= 12 * (3 * (size // max(page - 1, 1)) + 60) + 100, f"too many requests: {context}"
    return listing, seen, context


def test_there_are_more_than_twenty_kinds_of_misbehaving_services() -> None:
    assert len(set(MISBEHAVING)) >= 20


# A list that hides rows and a count that goes along cannot be told from a list without them: not asserted.
# A list alone that hides rows has its own tests below, and so have empty answers.
NOT_HIDING = [k for k in MISBEHAVING if k not in (HidesFromListAndCount, HidesFromTheList, AnswersEmptyAtTimes)]


@pytest.mark.parametrize("side_by_side", [False, True])
@pytest.mark.parametrize("rate", [0, 0.1, 1])
@pytest.mark.parametrize("kind", NOT_HIDING)
def test_a_misbehaving_service_is_never_proven_wrongly_and_never_endless(
    kind: type[ModelListing], rate: float, side_by_side: bool
) -> None:
    for seed in SEEDS:
        listing, seen, context = misbehave(kind, rate, seed, side_by_side=side_by_side)
        assert_no_silent_loss(seen, listing, context)


def test_the_first_page_is_not_taken_for_the_top_of_a_list_that_ignores_sort_dir_and_has_no_count() -> None:
    listing = AlwaysAscending(12, (), clamp=5)
    seen = walk(listing.fetch, lambda: None, limit=10)
    assert_no_silent_loss(seen, listing, seen)


@pytest.mark.parametrize("rate", [0, 0.1, 1])
def test_rows_hidden_from_list_and_count_alike_end_the_walk_but_nobody_could_see_them(rate: float) -> None:
    for seed in SEEDS:
        listing, seen, context = misbehave(HidesFromListAndCount, rate, seed)
        assert seen.ids <= listing.ever_alive, context


def test_a_quiet_list_that_hides_rows_which_the_count_includes_is_incomplete() -> None:
    for seed in SEEDS:
        _, seen, context = misbehave(HidesFromTheList, 0, seed)
        assert seen.status is ProofStatus.INCOMPLETE, context
        assert "hides shares, or the count is wrong" in seen.reason, context


@pytest.mark.parametrize("rate", [0.01, 0.1])
def test_a_moving_list_that_hides_rows_which_the_count_includes_is_not_proven(rate: float) -> None:
    for seed in range(60):
        listing, seen, context = misbehave(HidesFromTheList, rate, seed, side_by_side=seed % 2 == 1)
        assert_no_silent_loss(seen, listing, context)


@pytest.mark.parametrize("rate", [0, 0.1, 1])
def test_an_empty_answer_is_not_an_empty_listing(rate: float) -> None:
    for seed in range(60):
        listing, seen, context = misbehave(AnswersEmptyAtTimes, rate, seed, side_by_side=seed % 2 == 1)
        assert_no_silent_loss(seen, listing, context)


def test_a_wrong_count_on_a_quiet_listing_is_named_and_nothing_is_lost() -> None:
    for kind in MISBEHAVING:
        if kind.__name__ in ("CountsTooMany", "CountsTooFew", "CountsNothing"):
            _, seen, context = misbehave(kind, 0, 1)
            assert seen.status is ProofStatus.INCOMPLETE, context
            assert seen.reason, context


def test_without_a_count_a_walk_is_covered_at_best_and_says_so() -> None:
    listing, seen, _ = misbehave(HasNoCount, 0, 1)
    assert (seen.status, seen.may_close) == (ProofStatus.COVERED, True)
    assert seen.ids == listing.always_alive
    assert "no count" in seen.reason
    assert (seen.count_before, seen.count_after) == (None, None)


def test_endless_pages_without_a_count_end_all_the_same() -> None:
    listing = NeverEnds(30)
    seen = walk(listing.fetch, lambda: None, limit=2, max_passes=1)
    assert seen.status is ProofStatus.INCOMPLETE
    assert listing.requests <= 2 * 10_000


class OneBackupListing(ModelListing):
    """Three recipients of one backup, two rows per page, ties redrawn: the first page and the top can be the same."""

    def __init__(self, seed: int) -> None:
        super().__init__(3, clamp=2, by_backup=True, shares_per_backup=10, seed=seed)


def test_a_page_that_the_shares_of_one_backup_fill_does_not_prove_that_it_is_all() -> None:
    for seed in SEEDS:
        listing = OneBackupListing(seed)
        seen = walk(listing.fetch, lambda: None, limit=1000)
        assert_no_silent_loss(seen, listing, f"seed {seed}")


# --- a few rows by hand ---------------------------------------------------------------------------------------------

A, B, C = (Row(f"share {name}", f"backup {10 - position}") for position, name in enumerate("abc"))
UNREADABLE = Row(None, "backup 5")


def walk_rows(rows: list[Row], limit: int = 1000, **options: int) -> Walk:
    def fetch(offset: int, limit: int, *, descending: bool = False) -> list[Row]:
        return (rows[::-1] if descending else rows)[offset : offset + limit]

    return walk(fetch, lambda: len(rows), limit=limit, **options)


def test_an_empty_list_is_proven_empty() -> None:
    seen = walk_rows([])
    assert (seen.status, seen.may_close, seen.ids, seen.pass_count) == (ProofStatus.COVERED, True, frozenset(), 1)


def test_a_single_row_is_proven() -> None:
    seen = walk_rows([A])
    assert (seen.status, seen.may_close, seen.ids) == (ProofStatus.COVERED, True, {"share a"})


def test_a_backup_shared_to_ten_recipients_is_proven() -> None:
    rows = [Row(f"share {n}", "backup") for n in range(10)]
    seen = walk_rows(rows)
    assert (seen.status, seen.may_close, len(seen.ids)) == (ProofStatus.COVERED, True, 10)


def test_ten_recipients_among_others_with_ties_redrawn_are_proven() -> None:
    listing = ModelListing(45, by_backup=True, shares_per_backup=10, clamp=15)
    seen = walk(listing.fetch, listing.count, limit=1000)
    assert (seen.status, seen.may_close, seen.ids) == (ProofStatus.COVERED, True, listing.always_alive)


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_row_without_readable_id_forbids_closing_but_not_publishing(place: int) -> None:
    rows = [A, B, C]
    rows.insert(place, UNREADABLE)
    seen = walk_rows(rows)
    assert (seen.status, seen.may_close) == (ProofStatus.COVERED, False)
    assert seen.ids == {"share a", "share b", "share c"}
    assert "without readable id" in seen.reason


@pytest.mark.parametrize("place", [0, 19, 20, 30, 39])
def test_a_row_without_readable_id_at_the_edge_of_a_page_does_not_stop_the_walk(place: int) -> None:
    rows = [Row(f"share {n:02d}", f"backup {n * 7 % 39:02d}") for n in range(39)]
    rows.insert(place, UNREADABLE)
    seen = walk_rows(rows, limit=20)
    assert (seen.status, seen.may_close, len(seen.ids)) == (ProofStatus.COVERED, False, 39)


@pytest.mark.parametrize("place", [20, 30, 39])
def test_without_a_count_a_row_without_readable_id_forbids_closing_too(place: int) -> None:
    rows = [Row(f"share {n:02d}", f"backup {n * 7 % 39:02d}") for n in range(39)]
    rows.insert(place, UNREADABLE)
    listing = ModelListing(0)
    listing.rows = rows
    seen = walk(listing.fetch, lambda: None, limit=20)
    assert (seen.status, seen.may_close, len(seen.ids)) == (ProofStatus.COVERED, False, 39)
    assert "no count" in seen.reason
    assert "without readable id" in seen.reason


def test_an_empty_listing_without_a_count_closes_nothing() -> None:
    seen = walk(ModelListing(0).fetch, lambda: None)
    assert (seen.status, seen.may_close, seen.ids) == (ProofStatus.COVERED, False, frozenset())
    assert "closes nothing" in seen.reason


def test_only_unreadable_rows_prove_nothing() -> None:
    seen = walk_rows([UNREADABLE])
    assert (seen.status, seen.may_close) == (ProofStatus.INCOMPLETE, False)
    assert "readable id" in seen.reason


def test_counts_and_passes_are_reported() -> None:
    # Requests: count, page, top of the list, count; page, top, count.
    listing = ModelListing(5, [Change(1, True, 2), Change(6, True, 2)])
    seen = walk(listing.fetch, listing.count, limit=1000)
    assert (seen.count_before, seen.count_after, seen.pass_count) == (5, 7, 2)
    assert (seen.status, seen.may_close, seen.ids) == (ProofStatus.EXACT, True, listing.states[1])


def test_a_share_that_vanished_between_the_passes_is_excluded_and_named() -> None:
    listing = ModelListing(5, [Change(3, False, 0)])
    gone = listing.rows[0].share_id
    seen = walk(listing.fetch, listing.count, limit=1000)
    assert (seen.status, seen.may_close) == (ProofStatus.COVERED, True)
    assert seen.excluded_ids == (gone,)
    assert seen.ids == listing.states[-1]


def test_a_share_that_only_the_top_of_a_list_showed_is_excluded_when_it_is_gone() -> None:
    """It was landed: what is not excluded would be published."""
    asked = iter(range(1000))
    rows, newcomers = [A, B, C], [Row(f"share x{n:02d}", f"backup x{n:02d}") for n in range(40)]

    def fetch(offset: int, limit: int, *, descending: bool = False) -> list[Row]:
        now = rows + newcomers if next(asked) == 2 else rows
        return (now[::-1] if descending else now)[offset : offset + limit]

    def count() -> int:
        next(asked)
        return len(rows)

    seen = walk(fetch, count)
    assert (seen.status, seen.ids) == (ProofStatus.COVERED, {"share a", "share b", "share c"})
    assert set(seen.excluded_ids) == {row.share_id for row in newcomers[20:]}


class BrokenError(Exception):
    """An error of the service that is no business of the walk."""


@pytest.mark.parametrize("request_number", range(5))
def test_errors_of_fetch_and_count_pass_through_untouched(request_number: int) -> None:
    error = BrokenError()

    class Breaks(ModelListing):
        def tick(self) -> None:
            if self.requests == request_number:
                raise error
            super().tick()

    listing = Breaks(3000)
    with pytest.raises(BrokenError) as caught:
        walk(listing.fetch, listing.count, limit=1000)
    assert caught.value is error


def test_a_page_longer_than_asked_is_named() -> None:
    listing = SendsTooManyRows(100)
    seen = walk(listing.fetch, listing.count, limit=10, max_passes=1)
    assert seen.status is ProofStatus.INCOMPLETE
    assert seen.reason.startswith("a page of 13 shares came where 10 were asked for: the service ignores limit")


def test_a_service_that_ignores_offset_is_named_after_a_few_requests() -> None:
    listing = IgnoresOffset(100)
    seen = walk(listing.fetch, listing.count, limit=10)
    assert seen.status is ProofStatus.INCOMPLETE
    assert "ignores offset" in seen.reason
    assert listing.requests <= 4 * 10 + 5


@pytest.mark.parametrize("max_passes", [1, 2])
def test_no_more_passes_are_made_than_allowed(max_passes: int) -> None:
    listing = CountsNothing(50)
    seen = walk(listing.fetch, listing.count, limit=20, max_passes=max_passes)
    assert seen.pass_count == max_passes


WHAT_TO_DO = re.compile(r"(: |; |and if it stays so )(run again|report|raise VBS_PAGE_SIZE|look at)")


@pytest.mark.parametrize("rate", [0, 1])
def test_every_incomplete_walk_says_why_and_what_to_do(rate: float) -> None:
    incomplete = 0
    for kind in MISBEHAVING:
        for seed in range(2):
            _, seen, context = misbehave(kind, rate, seed)
            if seen.status is ProofStatus.INCOMPLETE:
                incomplete += 1
                assert WHAT_TO_DO.search(seen.reason), f"{seen.reason!r} of {context}"
                assert not seen.may_close, context
    assert incomplete


def test_an_empty_answer_between_two_full_ones_is_no_certificate() -> None:
    """A replica that is blank for a moment: count 5, all five rows, count 0, nothing, count 5."""
    rows = [Row(f"share {n}", f"backup {n * 3 % 5}") for n in range(5)]
    asked = iter(range(1000))

    def is_blank() -> bool:
        return next(asked) in (3, 4)

    def fetch(offset: int, limit: int, *, descending: bool = False) -> list[Row]:
        return [] if is_blank() else (rows[::-1] if descending else rows)[offset : offset + limit]

    seen = walk(fetch, lambda: 0 if is_blank() else len(rows))

    assert seen.ids == {row.share_id for row in rows}
