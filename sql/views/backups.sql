-- Which backups are visible to another project now?
-- Grain: one row per backup that is open in a listing of those proven last that ever told of it. Of several the giver's
-- listing tells it.
-- Columns as in backup_history, and:
--   last_observed_at   when that listing was last proven, UTC; far in the past means that nobody looks any more
with last_proof as (
    select
        region,
        project_id,
        direction,
        max(observed_at) as last_observed_at,
        max(cast(observed_at at time zone 'UTC' as date)) as last_proven_day
    from observations
    where is_proven
    group by region, project_id, direction
),

-- Only where some listing was not proven as lately as others is it asked who told of a backup later: it costs most.
behind as (
    select
        region,
        min(last_proven_day) as oldest_day
    from last_proof
    group by region
    having min(last_proven_day) < max(last_proven_day)
),

fresher as (
    select p.*
    from last_proof as p
    inner join behind as b
        on p.region = b.region and p.last_proven_day > b.oldest_day
),

told_later as materialized (
    select
        h.region,
        h.backup_id,
        max(p.last_proven_day) as freshest_day
    from backup_history as h
    inner join fresher as p
        on h.region = p.region and h.project_id = p.project_id and h.direction = p.direction
    group by h.region, h.backup_id
),

told as (
    select
        h.*,
        p.last_observed_at
    from backup_history as h
    inner join last_proof as p
        on h.region = p.region and h.project_id = p.project_id and h.direction = p.direction
    left join told_later as l
        on h.region = l.region and h.backup_id = l.backup_id
    where
        h.valid_to = timestamptz '9999-12-31 00:00:00+00'
        and (l.freshest_day is null or p.last_proven_day >= l.freshest_day)
),

witnesses as (
    select
        region,
        backup_id,
        max(direction) as direction, -- outgoing before incoming
        coalesce(min(case when direction = 'outgoing' then project_id end), min(project_id)) as project_id
    from told
    group by region, backup_id
)

select
    t.backup_id,
    t.volume_id,
    t.volume_snapshot_id,
    t.backup_name,
    t.backup_status,
    t.availability_zone,
    t.container,
    t.description,
    t.description_text,
    t.fail_reason,
    t.size_gb,
    t.object_count,
    t.chain_size_mb,
    t.space_saving_percent,
    t.dedup_compression_code,
    t.backup_type_code,
    t.image_type_code,
    t.storage_type_code,
    t.is_incremental,
    t.is_incremental_requested,
    t.has_dependent_backups,
    t.is_bootable,
    t.backup_created_at,
    t.backup_updated_at,
    t.data_timestamp,
    t.region,
    t.project_id,
    t.direction,
    t.valid_from,
    t.last_observed_at
from told as t
inner join witnesses as w
    on
        t.region = w.region
        and t.backup_id = w.backup_id
        and t.direction = w.direction
        and t.project_id = w.project_id
