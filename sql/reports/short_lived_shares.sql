-- Which shares were withdrawn soon after they were granted?
-- Grain: one row per withdrawn share that surely lived no longer than that, the latest first.
-- Parameter: days integer = 7: life at most, in days
-- Columns:
--   region            region of the listing
--   share_id          share
--   backup_id         backup
--   from_project_id   giver
--   to_project_id     recipient
--   began_at          when the service says that it was granted, else the last walk before that did not show it
--   last_seen_at      last walk that surely showed it
--   gone_before       end of the walk that proved it gone
--   hours_at_most     full hours from began_at to gone_before
with events as materialized (
    select
        *,
        change_type = 'granted' as is_grant
    from backup_share_changes
    where change_type in ('granted', 'withdrawn')
),

-- Where the service says when a share was granted, its grant need not be looked for to know that it lived longer.
ends as materialized (
    select *
    from events
    where
        not is_grant
        and coalesce(not_after - share_created_at <= cast($days as integer) * interval '1' day, true)
),

-- Of several grants before it the last one counts. No earlier one makes the life shorter: so first what is short.
lives as (
    select
        w.*,
        coalesce(w.share_created_at, g.not_before) as began_at,
        row_number() over (partition by w.region, w.share_id, w.seen_at order by g.seen_at desc) as age_rank
    from ends as w
    inner join events as g
        on w.region = g.region and w.share_id = g.share_id and w.seen_at > g.seen_at
    where
        g.is_grant
        and w.not_after - coalesce(w.share_created_at, g.not_before) <= cast($days as integer) * interval '1' day
)

select
    region,
    share_id,
    backup_id,
    from_project_id,
    to_project_id,
    began_at,
    not_before as last_seen_at,
    not_after as gone_before,
    cast(floor(extract(epoch from not_after - began_at) / 3600) as bigint) as hours_at_most
from lives
where age_rank = 1
order by gone_before desc, region, share_id
