-- What was granted and withdrawn between two dates?
-- Grain: one row per event, in the order in which it was seen. It happened after not_before and by not_after.
select
    change_date,
    change_type,
    share_id,
    to_project_id,
    not_before,
    not_after
from backup_share_changes
where
    change_date between date '2026-03-02' and date '2026-03-05'
    and change_type in ('granted', 'withdrawn')
    and not is_baseline
order by change_date, change_type, share_id
