-- Who shares which backup with whom now?
-- Grain: one row per share that is open in a listing of those proven last that ever told of it; so a listing that is
-- not observed any more does not keep what another one proved gone. Of several the giver's listing tells it.
-- last_observed_at: when that listing was last proven; far in the past means that nobody looks any more.
with last_proof as (
    select
        region,
        project_id,
        direction,
        max(observed_at) as last_observed_at,
        max(cast(observed_at at time zone 'UTC' as date)) as last_proven_day
    from observations
    where is_proven
    group by region, project_id, direction
),

told as (
    select
        h.*,
        p.last_observed_at,
        p.last_proven_day,
        max(p.last_proven_day) over (partition by h.region, h.share_id) as freshest_day
    from backup_share_history as h
    inner join last_proof as p
        on h.region = p.region and h.project_id = p.project_id and h.direction = p.direction
),

open_versions as (
    select
        *,
        row_number() over (
            partition by region, share_id
            order by direction desc, project_id -- outgoing before incoming
        ) as witness_rank
    from told
    where
        valid_to = timestamptz '9999-12-31 00:00:00+00'
        and last_proven_day = freshest_day
)

select
    v.share_id,
    v.backup_id,
    v.from_project_id,
    v.to_project_id,
    v.share_created_at,
    v.share_updated_at,
    v.region,
    v.project_id,
    v.direction,
    v.valid_from,
    v.last_observed_at
from open_versions as v
where v.witness_rank = 1
