-- Who could read which backup at the end of a given day?
-- Grain: one row per share that the ledger knew at the end of the day (UTC).
-- Parameter: as_of date = today: the day
-- Parameter: project text = any: only shares that this project gives or receives
-- Parameter: volume text = any: only backups of this volume
-- Columns:
--   region               region of the listing
--   to_project_id        recipient: could read the backup
--   from_project_id      giver
--   share_id             share
--   backup_id            backup
--   backup_name          its name on that day
--   volume_id            volume that was backed up
--   size_gb              size of that volume, GB
--   share_created_at     when the service says that it was granted
--   last_proven_at       the observation that says so: the last proven one by then
--   is_proven_that_day   false: the day is a gap, and this is what was known before it
with shares as (
    select *
    from backup_shares_as_of(
        (cast($as_of as date) + interval '1' day - interval '0.000001 seconds') at time zone 'UTC'
    )
),

backups_then as (
    select *
    from backups_as_of(
        (cast($as_of as date) + interval '1' day - interval '0.000001 seconds') at time zone 'UTC'
    )
)

select
    s.region,
    s.to_project_id,
    s.from_project_id,
    s.share_id,
    s.backup_id,
    b.backup_name,
    b.volume_id,
    b.size_gb,
    s.share_created_at,
    s.last_proven_at,
    cast(s.last_proven_at at time zone 'UTC' as date) = cast($as_of as date) as is_proven_that_day
from shares as s
left join backups_then as b
    on s.region = b.region and s.backup_id = b.backup_id
where
    (cast($project as text) is null or $project in (s.from_project_id, s.to_project_id))
    and (cast($volume as text) is null or b.volume_id = $volume)
order by s.region, s.to_project_id, s.from_project_id, s.share_id
