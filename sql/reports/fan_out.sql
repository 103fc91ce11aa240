-- Which backups can be read by how many recipients?
-- Grain: one row per backup with at least so many recipients now, the most first.
-- Parameter: recipients integer = 2: how many at least (the service allows 10)
-- Columns:
--   region            region of the listing
--   backup_id         backup
--   backup_name       its name; null where no listing told of the backup
--   volume_id         volume that was backed up
--   size_gb           size of that volume, GB
--   recipient_count   projects that may read it
--   share_count       shares of it
with recipients as (
    select
        region,
        backup_id,
        count(distinct to_project_id) as recipient_count,
        count(*) as share_count
    from backup_shares
    group by region, backup_id
)

select
    r.region,
    r.backup_id,
    b.backup_name,
    b.volume_id,
    b.size_gb,
    r.recipient_count,
    r.share_count
from recipients as r
left join backups as b
    on r.region = b.region and r.backup_id = b.backup_id
where r.recipient_count >= cast($recipients as integer)
order by r.recipient_count desc, r.region, r.backup_id
