-- What was not seen, not read or not recorded on a day?
-- Grain: one row per listing observed on the day (UTC) $day: its last proven observation, or its last one.
select distinct on (region, project_id, direction)
    region,
    project_id,
    direction,
    observed_at,
    status,
    is_proven,
    may_close,
    reason,
    absent_count,
    held_count,
    rejected_count,
    conflict_count,
    clock_skew_seconds,
    share_count,
    shares_withdrawn
from observation_log
where snapshot_date = cast($day as date)
order by region, project_id, direction, is_proven desc, observed_at desc
