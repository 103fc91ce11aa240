-- Which backups were visible to another project on a given day, and in which state?
-- Grain: one row per snapshot_date (UTC) and backup, for every day on which the listing was proven: the state after the
-- last proven observation of the day. A day without proof is a gap, never a copy of the day before.
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

as_told as (
    select
        d.snapshot_date,
        d.observed_at,
        h.*,
        row_number() over (
            partition by d.snapshot_date, h.region, h.backup_id
            order by h.direction desc, h.project_id -- outgoing before incoming
        ) as witness_rank
    from proven_days as d
    inner join backup_history as h
        on
            d.region = h.region
            and d.project_id = h.project_id
            and d.direction = h.direction
            and d.observed_at >= h.valid_from
            and d.observed_at < h.valid_to
)

select
    snapshot_date,
    backup_id,
    volume_id,
    volume_snapshot_id,
    backup_name,
    backup_status,
    availability_zone,
    container,
    description,
    description_text,
    fail_reason,
    size_gb,
    object_count,
    chain_size_mb,
    space_saving_percent,
    dedup_compression_code,
    backup_type_code,
    image_type_code,
    storage_type_code,
    is_incremental,
    is_incremental_requested,
    has_dependent_backups,
    is_bootable,
    backup_created_at,
    backup_updated_at,
    data_timestamp,
    region,
    project_id,
    direction,
    observed_at
from as_told
where witness_rank = 1
