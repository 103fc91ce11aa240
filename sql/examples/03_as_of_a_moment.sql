-- How many shares did each giver have at noon of the third of March, and how old is what we know of it?
-- Grain: one row per giver and listing that tells of it. On the third one project could not be observed:
-- last_proven_at says that its shares are told as they were the day before.
select
    from_project_id,
    project_id as told_by,
    last_proven_at,
    count(*) as share_count
from backup_shares_as_of(timestamptz '2026-03-03 12:00:00+00')
group by from_project_id, project_id, last_proven_at
order by last_proven_at, share_count desc, from_project_id, told_by
limit 8
