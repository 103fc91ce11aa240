-- How many shares were granted, changed and withdrawn on each day?
-- Grain: one row per day on which something was seen; shares of a listing's first observation are counted apart.
select
    change_date,
    count(*) filter (where is_baseline) as first_seen,
    count(*) filter (where change_type = 'granted' and not is_baseline) as granted,
    count(*) filter (where change_type = 'changed') as changed,
    count(*) filter (where change_type = 'withdrawn') as withdrawn
from backup_share_changes
group by change_date
order by change_date
