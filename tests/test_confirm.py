"""Which absent shares count as gone: the decision alone, against scripted answers of the filter.

Not here: the questions on the wire and what becomes of the answer (test_extract.py, test_definitions.py).
"""

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.confirm import Verdict, confirm
from pipelines.observation import ProofStatus
from pipelines.walk import Row, Walk

HERE = Row("share-0", "backup-0")


def make_proof(ids: Sequence[str] = ("share-0",), *, may_close: bool = True, count: int | None = 1) -> Walk:
    return Walk(ProofStatus.COVERED, may_close, "", frozenset(ids), (), count, count, 1)


class Service:
    """The filter of a service that holds these rows; `asked` are the backups that it was asked about."""

    def __init__(self, *rows: Row) -> None:
        self.rows = rows
        self.asked: list[str] = []

    def __call__(self, backup_ids: Sequence[str]) -> Iterator[Sequence[Row] | None]:
        for backup_id in backup_ids:
            self.asked.append(backup_id)
            yield self.answer(backup_id)

    def answer(self, backup_id: str) -> Sequence[Row] | None:
        return [row for row in self.rows if row.backup_id == backup_id]


class IgnoresTheFilter(Service):
    def answer(self, backup_id: str) -> Sequence[Row] | None:
        return self.rows


class AnswersEmpty(Service):
    def answer(self, backup_id: str) -> Sequence[Row] | None:
        return []


class FailsAboutTheAbsent(Service):
    def answer(self, backup_id: str) -> Sequence[Row] | None:
        return super().answer(backup_id) if backup_id == HERE.backup_id else None


def judge(
    absent: dict[str, str], service: Service, *, known: int | None = None, proof: Walk | None = None, **more
) -> Verdict:
    """`known` shares were known before; those that are not absent are on the pages."""
    seen = {f"seen {number}": f"backup of seen {number}" for number in range((known or len(absent)) - len(absent))}
    proof = proof or make_proof([HERE.share_id, *seen])
    return confirm({**absent, **seen}, proof, [HERE], service, **more)


def test_nothing_absent_is_no_question():
    service = Service(HERE)
    assert judge({}, service) == Verdict()
    assert service.asked == []


def test_an_absent_share_that_the_filter_does_not_show_either_is_gone():
    service = Service(HERE, Row("other", "backup-1"))
    assert judge({"share-1": "backup-1", "share-2": "backup-2"}, service) == Verdict(("share-1", "share-2"))
    assert service.asked == ["backup-0", "backup-1", "backup-2"], "a share that is there is tried first"


def test_a_backup_that_lost_several_shares_is_asked_about_once():
    service = Service(HERE)
    assert judge({"c": "b", "a": "b", "d": "b"}, service) == Verdict(("a", "c", "d"))
    assert service.asked == ["backup-0", "b"]


def test_a_share_that_the_filter_shows_was_hidden_by_the_pages():
    verdict = judge({"share-1": "backup-1", "share-2": "backup-1"}, Service(HERE, Row("share-1", "backup-1")))
    assert (verdict.shown_ids, verdict.gone_ids) == (("share-1",), ("share-2",))


def test_a_walk_that_proves_no_absence_asks_nothing_and_calls_nothing_gone():
    service = Service(HERE)
    assert judge({"share-1": "backup-1"}, service, proof=make_proof(may_close=False)) == Verdict()
    assert service.asked == []


@pytest.mark.parametrize("service", [IgnoresTheFilter(HERE, Row("x", "y")), AnswersEmpty(HERE), Service()])
def test_a_filter_that_does_not_work_is_no_evidence(service):
    verdict = judge({"share-1": "backup-1"}, service)
    assert (verdict.gone_ids, verdict.shown_ids) == ((), ())
    assert "filter does not show a share that is there" in verdict.reason


def test_the_filter_is_tried_on_another_share_when_the_first_has_just_gone():
    service, other = Service(Row("share-9", "backup-9")), Row("share-9", "backup-9")
    verdict = confirm({"share-1": "backup-1"}, make_proof(["share-0", "share-9"]), [HERE, other], service)
    assert verdict == Verdict(("share-1",))
    assert service.asked == ["backup-0", "backup-9", "backup-1"]


def test_a_filter_that_never_answers_is_not_called_wrong():
    class Silent(Service):
        def answer(self, backup_id: str) -> Sequence[Row] | None:
            return None

    verdict = judge({"share-1": "backup-1"}, Silent())
    assert verdict.gone_ids == ()
    assert verdict.reason.startswith("the service does not answer when asked by the backup_id filter")


def test_no_answer_is_no_evidence():
    verdict = judge({"share-1": "backup-1", "share-2": "backup-1"}, FailsAboutTheAbsent(HERE))
    assert verdict.gone_ids == ()
    assert verdict.reason.startswith("2 absent shares are not recorded as withdrawn")


@pytest.mark.parametrize("stranger", [Row("share-3", "backup-3"), Row(None, "backup-1"), Row("share-3", None)])
def test_an_answer_with_something_else_in_it_is_no_evidence(stranger):
    class Confused(Service):
        def answer(self, backup_id: str) -> Sequence[Row] | None:
            return [HERE] if backup_id == "backup-0" else [stranger]

    assert judge({"share-1": "backup-1"}, Confused()).gone_ids == ()


@pytest.mark.parametrize(
    ("absent", "known", "held"),
    [(20, 20, 0), (21, 21, 21), (21, 104, 21), (21, 105, 0), (200, 1000, 0), (201, 1000, 201)],
)
def test_more_than_twenty_and_a_fifth_at_once_wait_for_a_person(absent, known, held):
    missing = {f"share {number}": f"backup {number}" for number in range(absent)}
    service = Service(HERE)
    verdict = judge(missing, service, known=known)
    assert (verdict.held_count, len(verdict.gone_ids)) == (held, 0 if held else absent)
    assert bool(service.asked) == (not held), "what is held is not even asked about"
    assert ("--release-held" in verdict.reason) == bool(held)
    released = judge(missing, Service(HERE), known=known, release_held=True)
    assert (released.held_count, len(released.gone_ids)) == (0, absent)


@pytest.mark.parametrize(("count", "gone"), [(0, ("share-1",)), (None, ()), (1, ())])
def test_a_listing_that_is_empty_now_needs_a_count_of_zero(count, gone):
    verdict = judge({"share-1": "backup-1"}, Service(), proof=make_proof((), count=count))
    assert verdict.gone_ids == gone
    assert bool(verdict.reason) == (not gone)


def test_an_answer_that_lacks_a_share_that_is_there_is_not_whole():
    """The backup has a second share, which the pages showed: a filter that does not show it may hide the first too."""
    known = {"share-1": "backup-1", "share-2": "backup-1"}
    proof = make_proof(["share-0", "share-2"])
    whole = Service(HERE, Row("share-2", "backup-1"))
    assert confirm(known, proof, [HERE], whole) == Verdict(("share-1",))
    assert confirm(known, proof, [HERE], Service(HERE)).gone_ids == ()


SHARES = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["b1", "b2", "b3"]), max_size=6)


@given(absent=SHARES, there=SHARES, silent=st.sets(st.sampled_from(["b1", "b2", "b3"])))
def test_nothing_that_is_there_and_nothing_without_an_answer_is_ever_called_gone(absent, there, silent):
    class Partly(Service):
        def answer(self, backup_id: str) -> Sequence[Row] | None:
            return None if backup_id in silent else super().answer(backup_id)

    service = Partly(HERE, *(Row(share_id, backup_id) for share_id, backup_id in there.items()))
    verdict = judge(absent, service)
    expected = {key for key, backup in absent.items() if there.get(key) != backup and backup not in silent}
    assert set(verdict.gone_ids) == expected
    assert set(verdict.shown_ids) == {
        key for key, backup in absent.items() if there.get(key) == backup and backup not in silent
    }
