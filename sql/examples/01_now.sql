-- Who can read the backups of a project now?
-- Grain: one row per share that the project gives, the newest first.
select
    s.to_project_id,
    b.backup_name,
    b.size_gb,
    s.share_created_at
from backup_shares as s
left join backups as b
    on s.region = b.region and s.backup_id = b.backup_id
where s.from_project_id = 'e4204dc95964f65d84fba35fa6c85a28'
order by s.share_created_at desc, s.share_id
