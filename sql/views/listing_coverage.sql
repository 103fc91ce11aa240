-- On which days was each listing observed, and does anything prove what it said?
-- Grain: one row per snapshot_date (UTC) and listing, from the day on which the listing was observed first to the last
-- day on which any listing was. Nothing is carried over from another day.
-- Columns as in observations, and:
--   snapshot_date       day (UTC)
--   status              proven (some observation of the day is), partial (the best is incomplete), failed (all are),
--                       not_observed (there is none: a day was missed, or the listing is not configured any more)
--   observation_count   observations of the day
--   proven_at           observed_at of the last proven observation, the one that the snapshots show, UTC; null: there
--                       is none
--   reason              what the last observation of the day says of itself; empty if there is nothing to say
with days as (
    select
        region,
        project_id,
        direction,
        observed_at,
        is_proven,
        status,
        reason,
        cast(observed_at at time zone 'UTC' as date) as snapshot_date,
        row_number() over (
            partition by region, project_id, direction, cast(observed_at at time zone 'UTC' as date)
            order by observed_at desc
        ) as age_rank
    from observations
),

observed as (
    select
        region,
        project_id,
        direction,
        snapshot_date,
        count(*) as observation_count,
        bool_or(is_proven) as is_proven,
        bool_or(status = 'incomplete') as is_partial,
        max(case when is_proven then observed_at end) as proven_at,
        max(case when age_rank = 1 then reason end) as reason
    from days
    group by region, project_id, direction, snapshot_date
),

listings as (
    select
        region,
        project_id,
        direction,
        min(snapshot_date) as first_date
    from days
    group by region, project_id, direction
),

calendar as (
    select cast(c.midnight as date) as snapshot_date
    from (select min(snapshot_date) as first_date, max(snapshot_date) as last_date from days) as span
    cross join
        lateral generate_series(
            cast(span.first_date as timestamp), cast(span.last_date as timestamp), interval '1' day
        ) as c (midnight)
)

select
    c.snapshot_date,
    l.region,
    l.project_id,
    l.direction,
    case
        when o.snapshot_date is null then 'not_observed'
        when o.is_proven then 'proven'
        when o.is_partial then 'partial'
        else 'failed'
    end as status,
    coalesce(o.observation_count, 0) as observation_count,
    o.proven_at,
    coalesce(o.reason, '') as reason
from listings as l
inner join calendar as c
    on l.first_date <= c.snapshot_date
left join observed as o
    on
        l.region = o.region
        and l.project_id = o.project_id
        and l.direction = o.direction
        and c.snapshot_date = o.snapshot_date
