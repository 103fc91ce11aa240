-- Which records could not be read, when, and why?
-- Grain: one row per day (UTC), listing and reason.
-- Parameter: since date = today-30: first day
-- Columns:
--   snapshot_date     day
--   region            region of the listing
--   project_id        project
--   direction         outgoing or incoming
--   reason            what is wrong with the records
--   record_count      records that were rejected for it
--   share_count       distinct shares that they are of, as far as their ids can be read
--   first_share_id    one of them
select
    snapshot_date,
    region,
    project_id,
    direction,
    reason,
    count(*) as record_count,
    count(distinct share_id) as share_count,
    min(share_id) as first_share_id
from quarantine
where snapshot_date >= cast($since as date)
group by snapshot_date, region, project_id, direction, reason
order by snapshot_date, region, project_id, direction, reason
