-- Which observations could have told of one share?
-- Grain: one row per observation of a listing that ever told of the share, readable or not. Parameter: $share_id.
with witnesses as (
    select region, project_id, direction
    from backup_share_history
    where share_id = $share_id
    union
    select region, project_id, direction
    from rejected_records
    where share_id = $share_id
)

select
    o.observation_id,
    o.sync_id,
    o.region,
    o.project_id,
    o.direction,
    o.observed_at,
    o.finished_at,
    o.status,
    o.is_proven,
    o.may_close,
    o.reason,
    o.held_count,
    o.landing_file,
    o.landing_sha256
from observations as o
inner join witnesses as w
    on o.region = w.region and o.project_id = w.project_id and o.direction = w.direction
order by o.region, o.project_id, o.direction, o.observed_at
