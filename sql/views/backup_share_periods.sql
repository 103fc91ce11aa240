-- In which period did a listing say what of each share?
-- Grain: one row per listing, share and version. It counts from valid_from (inclusive) to valid_to (exclusive), which
-- is 9999-12-31 while current, so that "valid_from <= moment and valid_to > moment" is the whole question and a quick
-- one. How sure both ends are: backup_share_versions.
-- Columns as in backup_share_history.
select
    share_id,
    backup_id,
    from_project_id,
    to_project_id,
    share_created_at,
    share_updated_at,
    region,
    project_id,
    direction,
    valid_from,
    valid_to,
    opened_by,
    closed_by
from backup_share_history
