-- On which days was each listing proven, and why not on the others?
-- Grain: one row per listing and day (UTC), from the day on which it was observed first.
-- Parameter: since date = today-30: first day
-- Parameter: project text = any: only its listings
-- Columns:
--   snapshot_date       day
--   region              region of the listing
--   project_id          project
--   direction           outgoing or incoming
--   status              proven, partial, failed or not_observed
--   observation_count   observations of the day
--   reason              what the last of them says
select
    snapshot_date,
    region,
    project_id,
    direction,
    status,
    observation_count,
    reason
from listing_coverage
where
    snapshot_date >= cast($since as date)
    and (cast($project as text) is null or project_id = $project)
order by region, project_id, direction, snapshot_date
