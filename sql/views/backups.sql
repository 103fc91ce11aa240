-- Which backups are visible to another project now?
-- Grain: one row per backup that stands in an open listing. A backup that several listings tell of is told by its
-- giver's listing where there is one.
with open_versions as (
    select
        *,
        row_number() over (
            partition by region, backup_id
            order by direction desc, project_id -- outgoing before incoming
        ) as witness_rank
    from backup_history
    where valid_to = timestamptz '9999-12-31 00:00:00+00'
),

last_proof as (
    select region, project_id, direction, max(observed_at) as last_observed_at
    from observations
    where is_proven
    group by region, project_id, direction
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
    p.last_observed_at
from open_versions as v
inner join last_proof as p
    on v.region = p.region and v.project_id = p.project_id and v.direction = p.direction
where v.witness_rank = 1
