"""The tables of the policy: what changed from one landed policy to the next, entry by entry.

Like the history of shares they are a fold over the landing, in order.
Not here: what a policy says (policy.py), how it is kept (policy_landing.py).
"""

from typing import Any

from sqlalchemy import Connection, Table, func, insert, select

from pipelines.errors import OutOfOrderError
from pipelines.policy import Policy
from pipelines.policy_landing import LandedPolicy
from pipelines.schema import (
    OPEN_END,
    POLICY_TABLES,
    policy_exceptions,
    policy_limits,
    policy_projects,
    policy_recipients,
    policy_versions,
)


def fold_policy(connection: Connection, landed: LandedPolicy) -> None:
    """End what the policy does not say any more and begin what it says anew; raises OutOfOrderError."""
    last = connection.execute(select(func.max(policy_versions.c.valid_from))).scalars().all()[0]
    if last is not None and landed.landed_at <= last:
        raise OutOfOrderError(
            f"the landed policy {landed.name} is older than what is recorded: only a rebuild can use it "
            "(`backup-shares rebuild`)"
        )
    for table in POLICY_TABLES:
        _fold(connection, table, landed)


def _fold(connection: Connection, table: Table, landed: LandedPolicy) -> None:
    names = _columns(table)
    is_open = table.c.valid_to == OPEN_END
    before = {tuple(row) for row in connection.execute(select(*(table.c[name] for name in names)).where(is_open)).all()}
    after = {tuple(row[name] for name in names) for row in _rows(table, landed)}
    for row in before - after:
        keys = {name: value for name, value in zip(names, row, strict=True) if name in table.info["key"]}
        ending = table.update().where(is_open, *(table.c[name] == value for name, value in keys.items()))
        connection.execute(ending.values(valid_to=landed.landed_at))
    if begun := after - before:
        span = {"valid_from": landed.landed_at, "valid_to": OPEN_END}
        ordered = sorted(begun, key=lambda row: str(row[0]))
        connection.execute(insert(table), [dict(zip(names, row, strict=True)) | span for row in ordered])


def _columns(table: Table) -> list[str]:
    return [column.name for column in table.columns if column.name not in ("valid_from", "valid_to")]


def _rows(table: Table, landed: LandedPolicy) -> list[dict[str, Any]]:
    """What the table holds of the policy, a row for each entry."""
    if table is policy_versions:
        return [{"policy_sha256": landed.policy.sha256, "landing_file": landed.name}]
    return [_row(table, entry) for entry in _entries(table, landed.policy)]


def _entries(table: Table, policy: Policy) -> tuple[Any, ...]:
    return {
        policy_projects: policy.projects,
        policy_recipients: policy.recipients,
        policy_exceptions: policy.exceptions,
        policy_limits: (policy.limits,),
    }[table]


def _row(table: Table, entry: Any) -> dict[str, Any]:
    # The column says where in the file its value stands.
    return {name: getattr(entry, table.c[name].info["source"].rpartition(".")[2]) for name in _columns(table)}
