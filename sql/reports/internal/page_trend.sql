-- How many shares and GB did the listings tell of, day by day?
-- Grain: one row per day (UTC) and direction, from the day $since on.
-- proven_count: listings proven on the day, the only ones that the figures are of; listing_count: those that should
-- have been, from the first to the last day of their observation. gb: each backup counts once per listing.
-- Figures are summed up from what began and ended, so that a year of versions is read once, not once a day.
with covered as (
    select
        *,
        max(case when status <> 'not_observed' then snapshot_date end) over (
            partition by region, project_id, direction
        ) as last_observed_day
    from listing_coverage
    where snapshot_date >= cast($since as date)
),

moves as (
    select region, project_id, direction, valid_from as moved_at, 1 as shares, 0 as gb, cast(null as date) as day
    from backup_share_periods
    union all
    select region, project_id, direction, valid_to, -1, 0, null
    from backup_share_periods
    union all
    select region, project_id, direction, valid_from, 0, coalesce(size_gb, 0), null
    from backup_periods
    union all
    select region, project_id, direction, valid_to, 0, -coalesce(size_gb, 0), null
    from backup_periods
    union all
    select region, project_id, direction, proven_at, 0, 0, snapshot_date
    from covered
    where status = 'proven'
),

sums as (
    select region, project_id, direction, moved_at, max(day) as day, sum(shares) as shares, sum(gb) as gb
    from moves
    group by region, project_id, direction, moved_at
),

running as (
    select
        region,
        project_id,
        direction,
        day,
        sum(shares) over story as share_count,
        sum(gb) over story as gb
    from sums
    window story as (partition by region, project_id, direction order by moved_at)
)

select
    c.snapshot_date as day,
    c.direction,
    count(r.day) as proven_count,
    count(*) filter (where c.snapshot_date <= c.last_observed_day) as listing_count,
    cast(sum(r.share_count) as bigint) as share_count,
    cast(sum(r.gb) as bigint) as gb
from covered as c
left join running as r
    on
        c.region = r.region
        and c.project_id = r.project_id
        and c.direction = r.direction
        and c.snapshot_date = r.day
group by c.snapshot_date, c.direction
order by c.snapshot_date, c.direction
