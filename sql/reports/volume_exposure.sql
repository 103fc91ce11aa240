-- Who could ever read a backup of a volume, and from when until when?
-- Grain: one row per backup of the volume and recipient, ever.
-- Parameter: volume text = any: id of the volume
-- Columns:
--   region             region of the listing
--   volume_id          volume
--   backup_id          backup of it
--   size_gb            largest size that was told of it, GB
--   from_project_id    giver
--   to_project_id      recipient
--   share_count        shares of the backup with the recipient, ever
--   first_created_at   when the service says that the first of them was granted
--   first_seen_at      first observation that told of one
--   gone_at            observation by which the last of them was gone; null: one is still open
--   share_id           that share, for `backup-shares explain`; of several the first by id (backup_share_versions: all)
with copies as (
    select
        region,
        volume_id,
        backup_id,
        max(size_gb) as size_gb
    from backup_periods
    where volume_id is not null and (cast($volume as text) is null or volume_id = $volume)
    group by region, volume_id, backup_id
),

-- A row per share, so that none need be told from another when they are counted.
shares as (
    select
        c.region,
        c.volume_id,
        c.backup_id,
        c.size_gb,
        s.from_project_id,
        s.to_project_id,
        s.share_id,
        min(s.share_created_at) as share_created_at,
        min(s.valid_from) as valid_from,
        max(s.valid_to) as valid_to
    from copies as c
    inner join backup_share_periods as s
        on c.region = s.region and c.backup_id = s.backup_id
    group by c.region, c.volume_id, c.backup_id, c.size_gb, s.from_project_id, s.to_project_id, s.share_id
)

select
    region,
    volume_id,
    backup_id,
    size_gb,
    from_project_id,
    to_project_id,
    count(*) as share_count,
    min(share_created_at) as first_created_at,
    min(valid_from) as first_seen_at,
    nullif(max(valid_to), timestamptz '9999-12-31 00:00:00+00') as gone_at,
    min(share_id) as share_id
from shares
group by region, volume_id, backup_id, size_gb, from_project_id, to_project_id
order by region, volume_id, first_seen_at, backup_id, from_project_id, to_project_id
