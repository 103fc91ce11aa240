-- What needs somebody's word now, the gravest first?
-- Grain: one row per finding that is open or reopened, by the last proven observation of any listing.
-- detail says it in a sentence; policy_since: since when the policy in force is so (null: there is no policy, and the
-- rules that need one are silent); exception_id: an exception that covered it before and ran out.
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
    p.valid_from as policy_since,
    f.finding_id
from findings as f
left join policy_versions as p
    on p.valid_to = timestamptz '9999-12-31 00:00:00+00'
where f.state in ('open', 'reopened')
order by
    case f.severity when 'high' then 1 when 'medium' then 2 else 3 end,
    f.first_seen,
    f.rule,
    f.finding_id
