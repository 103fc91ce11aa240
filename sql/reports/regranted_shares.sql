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
    select *
    from backup_share_changes
    where change_type in ('granted', 'withdrawn')
),

pairs as (
    select
        g.*,
        w.seen_at as withdrawn_at,
        w.change_date as withdrawn_date,
        w.share_id as previous_share_id,
        row_number() over (partition by g.region, g.share_id, g.seen_at order by w.seen_at desc, w.share_id) as age_rank
    from events as g
    inner join events as w
        on
            g.region = w.region
            and g.backup_id = w.backup_id
            and g.to_project_id = w.to_project_id
            and g.seen_at >= w.seen_at
    where g.change_type = 'granted' and not g.is_baseline and w.change_type = 'withdrawn'
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
