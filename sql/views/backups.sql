-- Which backups are visible to another project now?
-- Grain: one row per backup of shares that a listing tells of, unless another proved it to be shared no more in a sync
-- after the last one that proved that listing. Of several the one proven in the latest sync tells it, the giver's
-- first.
-- Columns as in backup_history, and:
--   last_observed_at   when that listing was last proven, UTC; far in the past means that nobody looks any more
with looks as (
    select
        region,
        project_id,
        direction,
        observed_at,
        is_proven,
        max(observed_at) over (partition by region, sync_id) as sync_end
    from observations
),

-- The listings of one sync speak at the same time, whichever was walked first: at the start of its last walk.
last_proof as (
    select
        region,
        project_id,
        direction,
        max(observed_at) as last_observed_at,
        max(sync_end) as told_until
    from looks
    where is_proven
    group by region, project_id, direction
),

-- Numbers instead of texts, of which every row would have to be hashed.
-- listing_rank: of the listings of a region that tell of a backup the first is believed, the giver's before others.
listings as (
    select
        *,
        min(told_until) over (partition by region) as oldest,
        dense_rank() over (order by region) as region_number,
        row_number() over (order by region, direction desc, project_id) as listing_rank
    from last_proof
),

-- Only where some listing was not proven as lately as others is it asked who told of a backup later.
told_later as materialized (
    select
        p.region_number,
        h.backup_id,
        max(
            case when h.valid_to = timestamptz '9999-12-31 00:00:00+00' then p.told_until else h.valid_to end
        ) as freshest
    from backup_history as h
    inner join listings as p
        on h.region = p.region and h.project_id = p.project_id and h.direction = p.direction
    where p.told_until > p.oldest
    group by p.region_number, h.backup_id
),

-- Left joins where inner ones would do: PostgreSQL takes three equal texts for rarer than they are, and a few rows for
-- so few that it compares each with all others.
told as (
    select
        h.*,
        p.last_observed_at,
        p.region_number,
        p.listing_rank
    from backup_history as h
    left join listings as p
        on h.region = p.region and h.project_id = p.project_id and h.direction = p.direction
    left join told_later as l
        on p.region_number = l.region_number and h.backup_id = l.backup_id
    where
        h.valid_to = timestamptz '9999-12-31 00:00:00+00'
        and coalesce(p.told_until >= l.freshest, true)
),

told_twice as (
    select
        region_number,
        backup_id,
        min(listing_rank) as listing_rank
    from told
    group by region_number, backup_id
    having count(*) > 1
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
left join told_twice as w
    on t.region_number = w.region_number and t.backup_id = w.backup_id
where coalesce(t.listing_rank = w.listing_rank, true)
