-- What did each observation of a listing see, with which proof, and at what cost?
-- Grain: one row per observation, proven or not. It is the ledger, with the day to which each counts.
-- Columns as in observations, and:
--   snapshot_date   day (UTC) of observed_at
select
    cast(observed_at at time zone 'UTC' as date) as snapshot_date,
    observation_id,
    sync_id,
    region,
    project_id,
    direction,
    observed_at,
    finished_at,
    status,
    is_proven,
    may_close,
    reason,
    error_code,
    count_before,
    count_after,
    distinct_ids,
    absent_count,
    held_count,
    pass_count,
    page_count,
    request_count,
    clock_skew_seconds,
    share_count,
    backup_count,
    rejected_count,
    conflict_count,
    shares_granted,
    shares_changed,
    shares_withdrawn,
    backups_opened,
    backups_closed,
    landing_file,
    landing_sha256
from observations
