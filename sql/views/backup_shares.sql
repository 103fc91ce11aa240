-- Who shares which backup with whom now?
-- Grain: one row per share that is open. A share between two observed projects is told by its giver.
with open_versions as (
    select
        *,
        row_number() over (
            partition by region, share_id
            order by direction desc, project_id -- outgoing before incoming
        ) as witness_rank
    from backup_share_history
    where valid_to = timestamptz '9999-12-31 00:00:00+00'
),

last_proof as (
    select region, project_id, direction, max(observed_at) as last_observed_at
    from observations
    where is_proven
    group by region, project_id, direction
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
    p.last_observed_at
from open_versions as v
inner join last_proof as p
    on v.region = p.region and v.project_id = p.project_id and v.direction = p.direction
where v.witness_rank = 1
