-- In which period did a listing say what of each backup?
-- Grain: one row per listing, backup and version. It counts from valid_from (inclusive) to valid_to (exclusive), which
-- is 9999-12-31 while current, so that "valid_from <= moment and valid_to > moment" is the whole question and a quick
-- one. How sure both ends are: backup_versions.
-- Columns as in backup_history.
select
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
    valid_from,
    valid_to,
    opened_by,
    closed_by
from backup_history
