-- Who shared which backup with whom on a given day?
-- Grain: one row per snapshot_date (UTC) and share, for every day on which the listing was proven: the state after the
-- last proven observation of the day. A day without proof is a gap, never a copy of the day before.
with proven_days as (
    select
        region,
        project_id,
        direction,
        cast(observed_at at time zone 'UTC' as date) as snapshot_date,
        max(observed_at) as observed_at
    from observations
    where is_proven
    group by region, project_id, direction, cast(observed_at at time zone 'UTC' as date)
),

as_told as (
    select
        d.snapshot_date,
        d.observed_at,
        h.*,
        row_number() over (
            partition by d.snapshot_date, h.region, h.share_id
            order by h.direction desc, h.project_id -- outgoing before incoming
        ) as witness_rank
    from proven_days as d
    inner join backup_share_history as h
        on
            d.region = h.region
            and d.project_id = h.project_id
            and d.direction = h.direction
            and d.observed_at >= h.valid_from
            and d.observed_at < h.valid_to
)

select
    snapshot_date,
    share_id,
    backup_id,
    from_project_id,
    to_project_id,
    share_created_at,
    share_updated_at,
    region,
    project_id,
    direction,
    observed_at
from as_told
where witness_rank = 1
