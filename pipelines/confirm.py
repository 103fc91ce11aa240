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
    known: Mapping[str, str], proof: Walk, present: Collection[Row], ask: Ask, *, release_held: bool = False
) -> Verdict:
    """Judge the shares that were known before (id -> id of their backup) and that the walk did not see.

    `present`: some shares that the walk saw, to try the filter on. `release_held`: a person has looked.
    """
    absent = absent_shares(known, proof)
    if not absent or not proof.may_close:
        return Verdict()
    if not proof.ids and proof.count_after != 0:
        return Verdict(reason="the listing is empty and no count says so: nothing is recorded as withdrawn")
    if len(absent) > max(HELD_ABOVE, HELD_SHARE * len(known)) and not release_held:
        return Verdict(
            held_count=len(absent),
            reason=f"{len(absent)} of {len(known)} known shares are absent at once: their withdrawal is held until "
            "somebody has looked (rights, project, service) and runs `backup-shares sync --release-held`",
        )
    if proof.ids and (complaint := _complaint_about_filter(present, ask)):
        return Verdict(reason=f"{complaint}: nothing is recorded as withdrawn")
    return _verdict(absent, _companions(known, absent, proof), ask)


def absent_shares(known: Mapping[str, str], proof: Walk) -> dict[str, str]:
    """The known shares that no page of the walk showed."""
    return {share_id: known[share_id] for share_id in known.keys() - proof.ids - {*proof.excluded_ids}}


def _complaint_about_filter(present: Collection[Row], ask: Ask) -> str:
    """Why the filter is no evidence; empty if it shows a share that is there, and nothing of other backups."""
    complaint = "the service does not answer when asked by the backup_id filter"
    # One of them may have been withdrawn since; the next is asked only then.
    for row in present:
        for answer in ask([row.backup_id or ""]):
            if answer is None:
                continue
            if row in answer and all(each.backup_id == row.backup_id for each in answer):
                return ""
            complaint = "the backup_id filter does not show a share that is there, or shows others"
    return complaint


def _companions(known: Mapping[str, str], absent: Mapping[str, str], proof: Walk) -> dict[str, set[str]]:
    """By backup that lost a share: its other shares that the walk saw, which every whole answer shows."""
    found: dict[str, set[str]] = {backup_id: set() for backup_id in absent.values()}
    for share_id, backup_id in known.items():
        if backup_id in found and share_id in proof.ids:
            found[backup_id].add(share_id)
    return found


def _verdict(absent: Mapping[str, str], companions: Mapping[str, set[str]], ask: Ask) -> Verdict:
    shares_of: defaultdict[str, list[str]] = defaultdict(list)
    for share_id, backup_id in sorted(absent.items()):
        shares_of[backup_id].append(share_id)
    gone, shown, unanswered = [], [], 0
    for (backup_id, asked), answer in zip(shares_of.items(), ask(list(shares_of)), strict=True):
        told = {row.share_id for row in answer or ()}
        shown += [share_id for share_id in asked if share_id in told]
        is_strange = any(row.backup_id != backup_id or row.share_id is None for row in answer or ())
        if answer is None or is_strange or not companions[backup_id] <= told:
            unanswered += len(asked)
        else:
            gone += [share_id for share_id in asked if share_id not in told]
    reason = f"{unanswered} absent shares are not recorded as withdrawn: the service did not answer about them"
    return Verdict(tuple(sorted(gone)), 0, tuple(sorted(shown)), reason if unanswered else "")
