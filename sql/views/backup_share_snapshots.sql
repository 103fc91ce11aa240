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

-- Numbers instead of texts, of which every row would have to be hashed.
-- listing_rank: of the listings of a region that tell of a share the first is believed, the giver's before others.
-- Day by day, and told is not kept as a whole, so that a question for one day is worked out for that day only.
listings as (
    select
        *,
        dense_rank() over (partition by snapshot_date order by region) as region_number,
        row_number() over (partition by snapshot_date order by region, direction desc, project_id) as listing_rank
    from proven_days
),

-- Left joins where inner ones would do: PostgreSQL takes three equal texts for rarer than they are, and a few rows for
-- so few that it compares each with all others.
told as not materialized (
    select
        d.snapshot_date,
        d.observed_at,
        d.region_number,
        d.listing_rank,
        h.*
    from backup_share_history as h
    left join listings as d
        on
            h.region = d.region
            and h.project_id = d.project_id
            and h.direction = d.direction
            and h.valid_from <= d.observed_at
            and h.valid_to > d.observed_at
    where coalesce(d.listing_rank, 0) > 0
),

told_twice as (
    select
        snapshot_date,
        region_number,
        share_id,
        min(listing_rank) as listing_rank
    from told
    group by snapshot_date, region_number, share_id
    having count(*) > 1
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
left join told_twice as w
    on t.snapshot_date = w.snapshot_date and t.region_number = w.region_number and t.share_id = w.share_id
where coalesce(t.listing_rank = w.listing_rank, true)
