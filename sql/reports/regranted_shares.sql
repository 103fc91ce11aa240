-- Which backups were shared again with a recipient from whom they had been withdrawn?
-- Grain: one row per grant of a backup to a recipient after a withdrawal of the same from the same, the latest first.
-- Columns:
--   region              region of the listing
--   backup_id           backup
--   from_project_id     giver
--   to_project_id       recipient
--   withdrawn_at        when the last withdrawal before was seen
--   regranted_at        when the grant was seen
--   days_between        days (UTC) from one to the other
--   share_id            the new share
--   previous_share_id   the one that was withdrawn; the same id where the service used it again
with events as materialized (
    select
        *,
        change_type = 'granted' as is_grant
    from backup_share_changes
    where change_type in ('granted', 'withdrawn')
),

-- Most backups were never withdrawn from a recipient before they were granted to it.
granted_later as (
    select
        region,
        backup_id,
        to_project_id
    from events
    group by region, backup_id, to_project_id
    having
        min(case when not is_grant then seen_at end) <= max(case when is_grant and not is_baseline then seen_at end)
),

those as materialized (
    select e.*
    from events as e
    inner join granted_later as l
        on e.region = l.region and e.backup_id = l.backup_id and e.to_project_id = l.to_project_id
),

pairs as (
    select
        g.*,
        w.seen_at as withdrawn_at,
        w.change_date as withdrawn_date,
        w.share_id as previous_share_id,
        row_number() over (partition by g.region, g.share_id, g.seen_at order by w.seen_at desc, w.share_id) as age_rank
    from those as g
    inner join those as w
        on
            g.region = w.region
            and g.backup_id = w.backup_id
            and g.to_project_id = w.to_project_id
            and g.seen_at >= w.seen_at
    where g.is_grant and not g.is_baseline and not w.is_grant
)

select
    region,
    backup_id,
    from_project_id,
    to_project_id,
    withdrawn_at,
    seen_at as regranted_at,
    change_date - withdrawn_date as days_between,
    share_id,
    previous_share_id
from pairs
where age_rank = 1
order by regranted_at desc, region, share_id
