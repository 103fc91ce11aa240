-- Which findings stand, and which are over since a given moment, the gravest first?
-- Grain: one row per finding. Parameter: $moment, a time with zone. The name of a backup is the one told last.
select
    f.severity,
    f.rule,
    f.state,
    f.detail,
    f.first_seen,
    f.known_since,
    f.resolved_at,
    f.from_project_id,
    f.to_project_id,
    f.project_id,
    coalesce(b.backup_name, p.backup_name) as backup_name,
    f.exception_id,
    f.exception_owner,
    f.exception_expires_on
from findings as f
left join backups as b
    on f.region = b.region and f.backup_id = b.backup_id
left join backups_as_of($moment) as p
    on f.region = p.region and f.backup_id = p.backup_id
where f.state <> 'resolved' or f.resolved_at > $moment
order by
    case f.severity when 'high' then 1 when 'medium' then 2 else 3 end,
    f.first_seen,
    f.rule,
    f.finding_id
