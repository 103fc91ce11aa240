-- Which backups were visible to another project on a given day, and in which state?
-- Grain: one row per snapshot_date (UTC) and backup, for every day on which the listing was proven. It is the state
-- after the last proven observation of the day. A day without proof is a gap, never a copy of the day before.
-- Columns as in backup_history, observations, and:
--   snapshot_date   day (UTC)
with proven_days as (
    select
        region,
        project_id,
        direction,
        cast(observed_at at time zone 'UTC' as date) as snapshot_date,
        max(observed_at) as observed_at
    from observations
    where is_proven
    group by region, project_id, direction, cast(observed_at at time zone 'UTC' as date)
),

-- Numbers instead of texts, of which every row would have to be hashed.
-- listing_rank: of the listings of a region that tell of a backup the first is believed, the giver's before others.
-- Day by day, and told is not kept as a whole, so that a question for one day is worked out for that day only.
listings as (
    select
        *,
        dense_rank() over (partition by snapshot_date order by region) as region_number,
        row_number() over (partition by snapshot_date order by region, direction desc, project_id) as listing_rank
    from proven_days
),

-- Left joins where inner ones would do: PostgreSQL takes three equal texts for rarer than they are, and a few rows for
-- so few that it compares each with all others.
told as not materialized (
    select
        d.snapshot_date,
        d.observed_at,
        d.region_number,
        d.listing_rank,
        h.*
    from backup_history as h
    left join listings as d
        on
            h.region = d.region
            and h.project_id = d.project_id
            and h.direction = d.direction
            and h.valid_from <= d.observed_at
            and h.valid_to > d.observed_at
    where coalesce(d.listing_rank, 0) > 0
),

told_twice as (
    select
        snapshot_date,
        region_number,
        backup_id,
        min(listing_rank) as listing_rank
    from told
    group by snapshot_date, region_number, backup_id
    having count(*) > 1
)

select
    t.snapshot_date,
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
    t.observed_at
from told as t
left join told_twice as w
    on t.snapshot_date = w.snapshot_date and t.region_number = w.region_number and t.backup_id = w.backup_id
where coalesce(t.listing_rank = w.listing_rank, true)
