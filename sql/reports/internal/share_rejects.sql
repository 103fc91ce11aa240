-- Which records of one share could not be read, and why?
-- Grain: one row per such record. Parameter: $share_id.
select
    observation_id,
    region,
    project_id,
    direction,
    observed_at,
    page_number,
    position,
    reason
from rejected_records
where share_id = $share_id
order by region, project_id, direction, observed_at, page_number, position
