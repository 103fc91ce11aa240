-- Who shared which backup with whom at a given moment?
-- Grain: one row per share. In DuckDB a text or a date is taken as the moment as well. What the ledger said at the
-- moment: of each listing the state after the last proven observation that had begun by then, and of the listings that
-- tell of a share the one proven on the latest day, the giver's first; as of now it is what the view backup_shares
-- shows. In a gap the listing is still told as it was proven before the gap, never more: whoever wants proof of the day
-- itself compares last_proven_at with the moment. Before the first proven observation of a listing nothing is told of
-- it.
-- Parameter: $moment, a time with zone
-- Columns as in backup_shares, and:
--   last_proven_at   when the listing that tells it was last proven by the moment, UTC
with last_proof as (
    select
        region,
        project_id,
        direction,
        max(observed_at) as last_proven_at,
        max(cast(observed_at at time zone 'UTC' as date)) as last_proven_day
    from observation_log
    where is_proven and observed_at <= cast($moment as timestamptz)
    group by region, project_id, direction
),

-- Only where some listing was not proven as lately as others is it asked who told of a share later: it costs most.
behind as (
    select
        region,
        min(last_proven_day) as oldest_day
    from last_proof
    group by region
    having min(last_proven_day) < max(last_proven_day)
),

fresher as (
    select p.*
    from last_proof as p
    inner join behind as b
        on p.region = b.region and p.last_proven_day > b.oldest_day
),

told_later as materialized (
    select
        h.region,
        h.share_id,
        max(p.last_proven_day) as freshest_day
    from backup_share_periods as h
    inner join fresher as p
        on h.region = p.region and h.project_id = p.project_id and h.direction = p.direction
    where h.valid_from <= cast($moment as timestamptz)
    group by h.region, h.share_id
),

told as (
    select
        h.*,
        p.last_proven_at
    from backup_share_periods as h
    inner join last_proof as p
        on h.region = p.region and h.project_id = p.project_id and h.direction = p.direction
    left join told_later as l
        on h.region = l.region and h.share_id = l.share_id
    where
        h.valid_from <= cast($moment as timestamptz)
        and h.valid_to > cast($moment as timestamptz)
        and (l.freshest_day is null or p.last_proven_day >= l.freshest_day)
),

witnesses as (
    select
        region,
        share_id,
        max(direction) as direction, -- outgoing before incoming
        coalesce(min(case when direction = 'outgoing' then project_id end), min(project_id)) as project_id
    from told
    group by region, share_id
)

select
    t.share_id,
    t.backup_id,
    t.from_project_id,
    t.to_project_id,
    t.share_created_at,
    t.share_updated_at,
    t.region,
    t.project_id,
    t.direction,
    t.valid_from,
    t.last_proven_at
from told as t
inner join witnesses as w
    on
        t.region = w.region
        and t.share_id = w.share_id
        and t.direction = w.direction
        and t.project_id = w.project_id
