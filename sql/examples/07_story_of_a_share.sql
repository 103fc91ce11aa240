-- When was one share there, and how sure are both ends?
-- Grain: one row per listing and version of the share. This one was withdrawn and came back. `backup-shares explain` with
-- its id tells the same down to the landed page.
select
    direction,
    valid_from,
    valid_to,
    appeared_after,
    appeared_before,
    last_seen_at,
    disappeared_before
from backup_share_versions
where share_id = '98fb1948-a1b3-4372-aed3-c20b799a77ab'
order by direction, valid_from
