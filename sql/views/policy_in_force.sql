-- Which sharing policy is in force, since when, and what are its limits?
-- Grain: one row per policy in force: one, or none where there never was any.
-- Columns as in policy_versions, policy_limits, and:
--   policy_since         when it was landed, UTC
--   first_policy_since   when the first policy ever was landed, UTC
select
    v.policy_sha256,
    v.valid_from as policy_since,
    (select min(valid_from) from policy_versions) as first_policy_since,
    l.max_recipients,
    l.max_share_age_days,
    l.short_lived_hours
from policy_versions as v
left join policy_limits as l
    on l.valid_to = timestamptz '9999-12-31 00:00:00+00'
where v.valid_to = timestamptz '9999-12-31 00:00:00+00'
