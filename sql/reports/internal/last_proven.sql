-- When was each listing proven last, and what did its last observation say?
-- Grain: one row per listing.
with latest as (
    select distinct on (region, project_id, direction)
        region,
        project_id,
        direction,
        observed_at,
        status,
        reason,
        held_count
    from observations
    order by region, project_id, direction, observed_at desc
),

proven as (
    select
        region,
        project_id,
        direction,
        max(observed_at) as proven_at
    from observations
    where is_proven
    group by region, project_id, direction
)

select
    latest.region,
    latest.project_id,
    latest.direction,
    proven.proven_at,
    latest.observed_at,
    latest.status,
    latest.held_count as held,
    latest.reason
from latest
left join proven using (region, project_id, direction)
order by latest.region, latest.project_id, latest.direction
