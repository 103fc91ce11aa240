"""What differs, byte for byte: the records of both sides, whatever their order, spelling and pages.

Not here: that a sync which uses it records the same as one that reads everything (test_load.py).
"""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.delta import CountedPage, Difference, compare


def make_page(records: Sequence[object], *, separators: tuple[str, str] = (", ", ": "), indent: int | None = None):
    text = json.dumps({"shared": records}, separators=separators, indent=indent)
    return CountedPage(text.encode(), len(records))


def make_record(number: int, note: str = "") -> dict:
    return {"backup": {"id": f"b{number}", "service_metadata": json.dumps({"a": [{"b": 1}, {"b": 2}]})}, "note": note}


def records_in(page: CountedPage) -> list[str]:
    records = json.loads(page.body)["shared"]
    assert len(records) == page.record_count
    return sorted(json.dumps(record) for record in records)


def told(difference: Difference | None) -> tuple[list[str], list[str], int]:
    assert difference is not None
    return records_in(difference.new), records_in(difference.left), difference.same_count


def texts(*records: object) -> list[str]:
    return sorted(json.dumps(record) for record in records)


def test_what_is_new_and_what_left_stand_on_pages_of_their_own():
    one, two, three = (make_record(number) for number in (1, 2, 3))
    changed = make_record(2, "changed")
    found = compare([make_page([one, two])], [make_page([one, changed]), make_page([three])])
    assert told(found) == (texts(changed, three), texts(two), 1)


def test_two_empty_observations_do_not_differ():
    assert told(compare([make_page([])], [])) == ([], [], 0)


@pytest.mark.parametrize("before", [[], [make_page([])]])
def test_everything_is_new_after_nothing(before):
    assert told(compare(before, [make_page([make_record(1)])])) == (texts(make_record(1)), [], 0)


def test_a_record_on_two_overlapping_pages_is_one_record():
    one, two, three = (make_record(number) for number in (1, 2, 3))
    before = [make_page([one, two]), make_page([two, three])]
    now = [make_page([one, two, three])]
    assert told(compare(before, now)) == ([], [], 3)
    assert told(compare(now, before)) == ([], [], 3)


LISTS = st.lists(st.integers(0, 12), unique=True, max_size=12)
NOTES = st.sampled_from(["", '}, {"backup": {', "},{", '}, {"', '"', "\\", "]}", '"shared": [', "ü", "\u2028"])


@given(
    before=LISTS,
    now=LISTS,
    notes=st.lists(NOTES, min_size=13, max_size=13),
    later=st.lists(NOTES, min_size=13, max_size=13),
    cuts=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    separators=st.sampled_from([(", ", ": "), (",", ":")]),
)
def test_any_two_observations_differ_in_what_a_set_says(before, now, notes, later, cuts, separators):
    then = [make_record(number, notes[number]) for number in before]
    here = [make_record(number, later[number]) for number in now]

    def pages(records: list[dict], length: int) -> list[CountedPage]:
        starts = range(0, len(records), length)
        return [make_page(records[start : start + length + 1], separators=separators) for start in starts]

    found = compare(pages(then, cuts[0]), pages(here, cuts[1]))
    olds, news = set(texts(*then)), set(texts(*here))
    assert told(found) == (sorted(news - olds), sorted(olds - news), len(olds & news))


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(CountedPage(make_page([make_record(1)]).body, 2), id="fewer records than were counted"),
        pytest.param(CountedPage(make_page([make_record(1), make_record(2)]).body, 1), id="more than were counted"),
        pytest.param(CountedPage(b'{"shared": [1, 2]}', 2), id="records that are no objects"),
        pytest.param(CountedPage(b'{"shared": [{}]}', 1), id="a record without keys"),
        pytest.param(CountedPage(b'{"shared": null}', 1), id="no list"),
        pytest.param(CountedPage(b'{"total": 1, "shared": [{"a": 1}]}', 1), id="something before the list"),
        pytest.param(CountedPage(b'{"shared": [{"a": 1}], "total": 1}', 1), id="something behind it"),
        pytest.param(CountedPage(b'{"shared": [{"a": 1}, {"b": 1}]}', 2), id="keys in another order"),
        pytest.param(CountedPage(b'{"shared": [{"a": 1},\n{"a": 1}]}', 2), id="another space between records"),
        pytest.param(CountedPage(b'{"shared": [{"a": [{"a": 1}, {"a": 2}]}]}', 1), id="records inside of a record"),
        pytest.param(CountedPage(b"", 1), id="nothing"),
        pytest.param(CountedPage(b'{"shared": [', 1), id="cut"),
    ],
)
def test_a_page_whose_records_cannot_be_told_apart_is_not_compared(page):
    sound = make_page([make_record(1)])
    assert compare([sound], [page]) is None
    assert compare([page], [sound]) is None


def test_pages_whose_records_begin_differently_are_not_compared():
    assert compare([make_page([{"a": 1}])], [make_page([{"b": 1}])]) is None
