-- Which findings stand, and which are over since a given moment, the gravest first?
-- Grain: one row per finding. Parameter: $moment, a time with zone.
select
    severity,
    rule,
    state,
    detail,
    first_seen,
    known_since,
    resolved_at,
    from_project_id,
    to_project_id,
    project_id,
    exception_id,
    exception_owner,
    exception_expires_on
from findings
where state <> 'resolved' or resolved_at > $moment
order by
    case severity when 'high' then 1 when 'medium' then 2 else 3 end,
    first_seen,
    rule,
    finding_id
