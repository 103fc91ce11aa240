-- How many shares did each project give and receive at noon of the third of March, and how old is what we know of it?
-- Grain: one row per listing that tells of shares. On the third one project could not be observed: last_proven_at says
-- that its shares are told as they were the day before.
select
    project_id,
    direction,
    last_proven_at,
    count(*) as share_count
from backup_shares_as_of(timestamptz '2026-03-03 12:00:00+00')
group by project_id, direction, last_proven_at
order by project_id, direction
