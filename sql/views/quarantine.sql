-- Which records could not be read, in which observation, and why?
-- Grain: one row per rejected record, without the record itself (raw_json of the table rejected_records).
-- Columns as in rejected_records, and:
--   snapshot_date   day (UTC) of observed_at
select
    cast(observed_at at time zone 'UTC' as date) as snapshot_date,
    observation_id,
    region,
    project_id,
    direction,
    observed_at,
    page_number,
    position,
    share_id,
    backup_id,
    reason
from rejected_records
