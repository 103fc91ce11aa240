-- Which backups are visible to another project now?
-- Grain: one row per backup that is open in a listing of those proven last that ever told of it. Of several the giver's
-- listing tells it. last_observed_at: when that listing was last proven.
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

told as (
    select
        h.*,
        p.last_observed_at,
        p.last_proven_day,
        max(p.last_proven_day) over (partition by h.region, h.backup_id) as freshest_day
    from backup_history as h
    inner join last_proof as p
        on h.region = p.region and h.project_id = p.project_id and h.direction = p.direction
),

open_versions as (
    select
        *,
        row_number() over (
            partition by region, backup_id
            order by direction desc, project_id -- outgoing before incoming
        ) as witness_rank
    from told
    where
        valid_to = timestamptz '9999-12-31 00:00:00+00'
        and last_proven_day = freshest_day
)

select
    v.backup_id,
    v.volume_id,
    v.volume_snapshot_id,
    v.backup_name,
    v.backup_status,
    v.availability_zone,
    v.container,
    v.description,
    v.description_text,
    v.fail_reason,
    v.size_gb,
    v.object_count,
    v.chain_size_mb,
    v.space_saving_percent,
    v.dedup_compression_code,
    v.backup_type_code,
    v.image_type_code,
    v.storage_type_code,
    v.is_incremental,
    v.is_incremental_requested,
    v.has_dependent_backups,
    v.is_bootable,
    v.backup_created_at,
    v.backup_updated_at,
    v.data_timestamp,
    v.region,
    v.project_id,
    v.direction,
    v.valid_from,
    v.last_observed_at
from open_versions as v
where v.witness_rank = 1
