-- Who could read the backups of a project on the first of March, and what was in them?
-- Grain: one row per share on that day. The same question as of a day; a day without proof has no rows (question 8).
select
    s.to_project_id,
    b.backup_name,
    b.volume_id,
    b.size_gb
from backup_share_snapshots as s
left join backup_snapshots as b
    on s.snapshot_date = b.snapshot_date and s.region = b.region and s.backup_id = b.backup_id
where s.snapshot_date = date '2026-03-01' and s.from_project_id = 'e4204dc95964f65d84fba35fa6c85a28'
order by s.to_project_id, s.share_id
