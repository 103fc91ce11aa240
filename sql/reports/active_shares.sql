-- Which shares are active now, from whom to whom, and what is in them?
-- Grain: one row per active share, the newest first.
-- Parameter: project text = any: only shares that this project gives or receives
-- Columns:
--   region             region of the listing
--   from_project_id    giver
--   to_project_id      recipient: may read the backup
--   share_id           share
--   backup_id          backup
--   backup_name        its name; null where no listing told of the backup
--   volume_id          volume that was backed up
--   size_gb            size of that volume, GB
--   backup_status      status of the backup
--   share_created_at   when the service says that it was granted
--   told_by            outgoing: the giver's listing tells it; incoming: the recipient's
--   last_observed_at   when that listing was proven last
select
    s.region,
    s.from_project_id,
    s.to_project_id,
    s.share_id,
    s.backup_id,
    b.backup_name,
    b.volume_id,
    b.size_gb,
    b.backup_status,
    s.share_created_at,
    s.direction as told_by,
    s.last_observed_at
from backup_shares as s
left join backups as b
    on s.region = b.region and s.backup_id = b.backup_id
where cast($project as text) is null or $project in (s.from_project_id, s.to_project_id)
order by s.share_created_at desc nulls last, s.region, s.share_id
