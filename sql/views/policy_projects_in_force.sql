-- Which projects does the policy in force name, as our own or as trusted recipients, and who answers for them?
-- Grain: one row per project.
-- Columns as in policy_recipients, and:
--   project_id        project
--   kind              own or recipient
--   owner             who answers for it, or for the trust in it
--   in_policy_since   when the policy that first says so was landed, UTC
select
    project_id,
    'own' as kind,
    project_name,
    owner,
    cast(null as date) as trusted_from,
    cast(null as date) as trusted_until,
    valid_from as in_policy_since
from policy_projects
where valid_to = timestamptz '9999-12-31 00:00:00+00'
union all
select
    project_id,
    'recipient' as kind,
    project_name,
    owner,
    trusted_from,
    trusted_until,
    valid_from as in_policy_since
from policy_recipients
where valid_to = timestamptz '9999-12-31 00:00:00+00'
