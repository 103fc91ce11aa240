-- Which backups does somebody else see now, whose are they, and since when?
-- Grain: one row per current share, newest first.
select
    s.from_project_id,
    s.to_project_id,
    b.backup_name,
    b.backup_status,
    b.size_gb,
    s.share_created_at,
    s.last_observed_at,
    s.share_id
from backup_shares as s
left join backups as b
    on s.region = b.region and s.backup_id = b.backup_id
order by s.share_created_at desc nulls last, s.share_id
