-- Who shared which backup with whom on a given day?
-- Grain: one row per snapshot_date (UTC) and share, for every day on which the listing was proven. It is the state
-- after the last proven observation of the day. A day without proof is a gap, never a copy of the day before.
-- Columns as in backup_share_history, observations, and:
--   snapshot_date   day (UTC)
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

told as (
    select
        d.snapshot_date,
        d.observed_at,
        h.*
    from proven_days as d
    inner join backup_share_history as h
        on
            d.region = h.region
            and d.project_id = h.project_id
            and d.direction = h.direction
            and d.observed_at >= h.valid_from
            and d.observed_at < h.valid_to
),

-- Half the time of a rank over all rows.
witnesses as (
    select
        snapshot_date,
        region,
        share_id,
        max(direction) as direction, -- outgoing before incoming
        coalesce(min(case when direction = 'outgoing' then project_id end), min(project_id)) as project_id
    from told
    group by snapshot_date, region, share_id
)

select
    t.snapshot_date,
    t.share_id,
    t.backup_id,
    t.from_project_id,
    t.to_project_id,
    t.share_created_at,
    t.share_updated_at,
    t.region,
    t.project_id,
    t.direction,
    t.observed_at
from told as t
inner join witnesses as w
    on
        t.snapshot_date = w.snapshot_date
        and t.region = w.region
        and t.share_id = w.share_id
        and t.direction = w.direction
        and t.project_id = w.project_id
