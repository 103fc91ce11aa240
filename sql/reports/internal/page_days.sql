-- Which day was observed last, which one was proven last before it, and which was observed first?
-- Grain: one row per warehouse in which something was observed.
-- last_day: last day (UTC) with an observation. day_before: last day before it with a proven one; null: there is none.
with last_observed as (
    select
        min(snapshot_date) as first_day,
        max(snapshot_date) as last_day,
        max(observed_at) as last_observed_at
    from observation_log
)

select
    l.first_day,
    l.last_day,
    l.last_observed_at,
    max(o.snapshot_date) as day_before
from last_observed as l
left join observation_log as o
    on o.is_proven and o.snapshot_date < l.last_day
where l.last_day is not null
group by l.first_day, l.last_day, l.last_observed_at
