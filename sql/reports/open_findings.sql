-- What needs somebody's word now, the gravest first?
-- Grain: one row per finding that is open or reopened, by the last proven observation of any listing.
-- Columns:
--   severity           high, medium or low
--   rule               rule of the sharing policy, or of common sense
--   state              open or reopened
--   detail             the finding in a sentence
--   first_seen         when the condition began
--   region             region
--   share_id           share, where it is about one
--   backup_id          backup, where it is about one
--   from_project_id    giver, where it is about one
--   to_project_id      recipient, where it is about one
--   project_id         project, where it is about one
--   exception_id       exception that covered it before and ran out
--   policy_since       since when the policy in force is so; null: there is none, and the rules that need one are silent
--   finding_id         the same whenever the warehouse is made again
select
    f.severity,
    f.rule,
    f.state,
    f.detail,
    f.first_seen,
    f.region,
    f.share_id,
    f.backup_id,
    f.from_project_id,
    f.to_project_id,
    f.project_id,
    f.exception_id,
    p.policy_since,
    f.finding_id
from findings as f
cross join (select max(policy_since) as policy_since from policy_in_force) as p
where f.state in ('open', 'reopened')
order by
    case f.severity when 'high' then 1 when 'medium' then 2 else 3 end,
    f.first_seen,
    f.rule,
    f.finding_id
