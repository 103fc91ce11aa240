-- How many GB does each project share and receive, month by month?
-- Grain: one row per listing and month (UTC) with a proven observation; the state after the last of them.
-- Parameter: since date = today-365: months from that of this day on
-- Columns:
--   region              region of the listing
--   project_id          project
--   direction           outgoing: what it shares; incoming: what is shared with it
--   month               first day of the month
--   proven_at           the observation that the figures are of
--   share_count         shares
--   backup_count        distinct backups; of those that the listing described
--   gb                  size of the volumes that they are of, GB; each backup counts once
--   gb_change           GB more than in the month before; null where nothing was proven in that
--   gb_change_percent   the same in percent of the month before; null where that was 0
with month_ends as (
    select
        region,
        project_id,
        direction,
        cast(date_trunc('month', observed_at at time zone 'UTC') as date) as month,
        max(observed_at) as proven_at
    from observation_log
    where is_proven and snapshot_date >= cast(date_trunc('month', cast($since as timestamp)) as date)
    group by region, project_id, direction, cast(date_trunc('month', observed_at at time zone 'UTC') as date)
),

shares as (
    select
        m.region,
        m.project_id,
        m.direction,
        m.month,
        count(*) as share_count
    from month_ends as m
    inner join backup_share_periods as s
        on
            m.region = s.region
            and m.project_id = s.project_id
            and m.direction = s.direction
            and m.proven_at >= s.valid_from
            and m.proven_at < s.valid_to
    group by m.region, m.project_id, m.direction, m.month
),

sizes as (
    select
        m.region,
        m.project_id,
        m.direction,
        m.month,
        count(*) as backup_count,
        cast(coalesce(sum(b.size_gb), 0) as bigint) as gb
    from month_ends as m
    inner join backup_periods as b
        on
            m.region = b.region
            and m.project_id = b.project_id
            and m.direction = b.direction
            and m.proven_at >= b.valid_from
            and m.proven_at < b.valid_to
    group by m.region, m.project_id, m.direction, m.month
),

totals as (
    select
        m.region,
        m.project_id,
        m.direction,
        m.month,
        m.proven_at,
        coalesce(s.share_count, 0) as share_count,
        coalesce(z.backup_count, 0) as backup_count,
        coalesce(z.gb, 0) as gb
    from month_ends as m
    left join shares as s
        on
            m.region = s.region
            and m.project_id = s.project_id
            and m.direction = s.direction
            and m.month = s.month
    left join sizes as z
        on
            m.region = z.region
            and m.project_id = z.project_id
            and m.direction = z.direction
            and m.month = z.month
)

select
    t.region,
    t.project_id,
    t.direction,
    t.month,
    t.proven_at,
    t.share_count,
    t.backup_count,
    t.gb,
    t.gb - e.gb as gb_change,
    cast(round(cast(100.0 * (t.gb - e.gb) / nullif(e.gb, 0) as numeric(18, 6)), 1) as double precision)
        as gb_change_percent
from totals as t
left join totals as e
    on
        t.region = e.region
        and t.project_id = e.project_id
        and t.direction = e.direction
        and t.month = e.month + interval '1' month
order by t.region, t.project_id, t.direction, t.month
