"""Whether shares that are on no page are gone: asked of the service once more, share by share, before anyone says so.

A walk that proves absence is good evidence, and the service's `backup_id` filter is a second one that shares nothing
with paging. Only shares that both call gone are recorded as withdrawn. Two things are no evidence at all: a filter that
does not even find a share that is there, and very many shares gone at once (a revoked right, a wrong project, a service
that answers empty): those wait for a person's word. No I/O: the questions are an argument.
Not here: which shares were known (load.py), requests (extract.py), what is closed (history.py).
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipelines.rows import Row
from pipelines.walk import Walk

HELD_ABOVE = 20
"""So many shares of a listing may be gone at once without anybody being asked."""
HELD_SHARE = 0.2
"""And this part of a large listing."""

Ask = Callable[[Sequence[str]], Iterable[Sequence[Row] | None]]
"""All shares of each of these backups in the listing, by the `backup_id` filter; None where no whole answer comes."""


@dataclass(frozen=True)
class Verdict:
    """`gone_ids` are gone by evidence. `held_count` wait for a person. `shown_ids` are there although no page showed
    them: then the walk was deceived, and proves nothing. `reason`: why shares that are absent are not called gone."""

    gone_ids: tuple[str, ...] = ()
    held_count: int = 0
    shown_ids: tuple[str, ...] = ()
    reason: str = ""


def confirm(
    absent: Mapping[str, str],
    known_count: int,
    proof: Walk,
    present: Collection[Row],
    ask: Ask,
    *,
    release_held: bool = False,
) -> Verdict:
    """Judge the absent shares (id -> id of their backup) of a listing of which `known_count` shares were known.

    `present`: some shares that the walk saw, to try the filter on. `release_held`: a person has looked.
    """
    if not absent or not proof.may_close:
        return Verdict()
    if not proof.ids and proof.count_after != 0:
        return Verdict(reason="the listing is empty and no count says so: nothing is recorded as withdrawn")
    if len(absent) > max(HELD_ABOVE, HELD_SHARE * known_count) and not release_held:
        return Verdict(
            held_count=len(absent),
            reason=f"{len(absent)} of {known_count} known shares are absent at once: their withdrawal is held until "
            "somebody has looked (rights, project, service) and runs `backup-shares sync --release-held`",
        )
    if proof.ids and not _filter_works(present, ask):
        return Verdict(
            reason="the backup_id filter does not show a share that is there: nothing is recorded as withdrawn"
        )
    return _verdict(absent, ask)


def _filter_works(present: Collection[Row], ask: Ask) -> bool:
    # One of them may have been withdrawn since; the next is asked only then.
    for row in present:
        for answer in ask([row.backup_id or ""]):
            if answer is not None and row in answer:
                return all(each.backup_id == row.backup_id for each in answer)
    return False


def _verdict(absent: Mapping[str, str], ask: Ask) -> Verdict:
    shares_of: defaultdict[str, list[str]] = defaultdict(list)
    for share_id, backup_id in sorted(absent.items()):
        shares_of[backup_id].append(share_id)
    gone, shown, unanswered = [], [], 0
    for (backup_id, asked), answer in zip(shares_of.items(), ask(list(shares_of)), strict=True):
        told = {row.share_id for row in answer or ()}
        shown += [share_id for share_id in asked if share_id in told]
        if answer is None or any(row.backup_id != backup_id or row.share_id is None for row in answer):
            unanswered += len(asked)
        else:
            gone += [share_id for share_id in asked if share_id not in told]
    reason = f"{unanswered} absent shares are not recorded as withdrawn: the service did not answer about them"
    return Verdict(tuple(sorted(gone)), 0, tuple(sorted(shown)), reason if unanswered else "")
