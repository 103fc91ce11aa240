-- How many shares were granted, changed and withdrawn on each day, and how many shared backups changed?
-- Grain: one row per day on which something was seen; shares of a listing's first observation are counted apart.
-- Parameter: since date = any: first day
-- Columns:
--   change_date       day (UTC) on which it was seen
--   first_seen        shares that a listing's first observation found
--   granted           shares that were not there before
--   changed           changes of shares
--   withdrawn         shares that are proven gone
--   backups_changed   shared backups that changed
with share_events as (
    select
        change_date,
        count(*) filter (where is_baseline) as first_seen,
        count(*) filter (where change_type = 'granted' and not is_baseline) as granted,
        count(distinct case when change_type = 'changed' then (observation_id, share_id) end) as changed,
        count(*) filter (where change_type = 'withdrawn') as withdrawn
    from backup_share_changes
    where cast($since as date) is null or change_date >= $since
    group by change_date
),

later_periods as (
    select
        *,
        cast(valid_from at time zone 'UTC' as date) as change_date
    from backup_periods
    where cast($since as date) is null or cast(valid_from at time zone 'UTC' as date) >= $since
),

backup_events as (
    select
        later.change_date,
        count(distinct later.backup_id) as backups_changed
    from later_periods as later
    inner join backup_periods as earlier
        -- One observation ended that and began this.
        on later.opened_by = earlier.closed_by and later.backup_id = earlier.backup_id
    group by later.change_date
)

select
    coalesce(s.change_date, b.change_date) as change_date,
    coalesce(s.first_seen, 0) as first_seen,
    coalesce(s.granted, 0) as granted,
    coalesce(s.changed, 0) as changed,
    coalesce(s.withdrawn, 0) as withdrawn,
    coalesce(b.backups_changed, 0) as backups_changed
from share_events as s
full outer join backup_events as b
    on s.change_date = b.change_date
order by change_date
