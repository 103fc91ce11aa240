-- Which backups are shared although they failed?
-- Grain: one row per active share of a backup that is in error or has a cause of failure.
-- Columns:
--   region             region of the listing
--   backup_id          backup
--   backup_name        its name
--   backup_status      its status
--   fail_reason        cause of the failure; may be there while the status is available
--   volume_id          volume that was backed up
--   from_project_id    giver
--   to_project_id      recipient
--   share_id           share
--   last_observed_at   when the listing that tells the share was proven last
select
    b.region,
    b.backup_id,
    b.backup_name,
    b.backup_status,
    b.fail_reason,
    b.volume_id,
    s.from_project_id,
    s.to_project_id,
    s.share_id,
    s.last_observed_at
from backups as b
inner join backup_shares as s
    on b.region = s.region and b.backup_id = s.backup_id
where lower(b.backup_status) like '%error%' or coalesce(b.fail_reason, '') <> ''
order by b.region, b.backup_id, s.share_id
