-- Which exceptions does the policy in force hold, whoever has accepted them?
-- Grain: one row per exception. Also those that are not in force yet or have run out. Of share_id, backup_id,
-- from_project_id, to_project_id and project_id it covers what fits all that are not null.
-- Columns as in policy_exceptions, and:
--   in_policy_since   when the policy that first says so was landed, UTC
select
    exception_id,
    rule,
    share_id,
    backup_id,
    from_project_id,
    to_project_id,
    project_id,
    owner,
    reason,
    accepted_from,
    expires_on,
    valid_from as in_policy_since
from policy_exceptions
where valid_to = timestamptz '9999-12-31 00:00:00+00'
