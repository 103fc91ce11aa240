-- What was observed of each listing on each day, and with which proof?
-- Grain: one row per observation.
select
    cast(observed_at at time zone 'UTC' as date) as day,
    substr(project_id, 1, 8) as project,
    direction,
    status,
    share_count as shares,
    shares_granted as granted,
    shares_changed as changed,
    shares_withdrawn as withdrawn,
    rejected_count as rejected,
    reason
from observations
order by observed_at, project_id, direction
