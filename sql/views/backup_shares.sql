-- Who shares which backup with whom now?
-- Grain: one row per share that a listing tells of, unless another proved it gone in a sync after the last one that
-- proved that listing: what is shown later counts more than what was gone before. Of several the one proven in the
-- latest sync tells it, the giver's first.
-- Columns as in backup_share_history, and:
--   last_observed_at   when that listing was last proven, UTC; far in the past means that nobody looks any more
with looks as (
    select
        region,
        project_id,
        direction,
        observed_at,
        is_proven,
        max(observed_at) over (partition by region, sync_id) as sync_end
    from observations
),

-- The listings of one sync speak at the same time, whichever was walked first: at the start of its last walk.
last_proof as (
    select
        region,
        project_id,
        direction,
        max(observed_at) as last_observed_at,
        max(sync_end) as told_until
    from looks
    where is_proven
    group by region, project_id, direction
),

-- Numbers instead of texts, of which every row would have to be hashed.
-- listing_rank: of the listings of a region that tell of a share the first is believed, the giver's before others.
listings as (
    select
        *,
        min(told_until) over (partition by region) as oldest,
        dense_rank() over (order by region) as region_number,
        row_number() over (order by region, direction desc, project_id) as listing_rank
    from last_proof
),

-- Only where some listing was not proven as lately as others is it asked who told of a share later.
told_later as materialized (
    select
        p.region_number,
        h.share_id,
        max(
            case when h.valid_to = timestamptz '9999-12-31 00:00:00+00' then p.told_until else h.valid_to end
        ) as freshest
    from backup_share_history as h
    inner join listings as p
        on h.region = p.region and h.project_id = p.project_id and h.direction = p.direction
    where p.told_until > p.oldest
    group by p.region_number, h.share_id
),

-- Left joins where inner ones would do: PostgreSQL takes three equal texts for rarer than they are, and a few rows for
-- so few that it compares each with all others.
told as (
    select
        h.*,
        p.last_observed_at,
        p.region_number,
        p.listing_rank
    from backup_share_history as h
    left join listings as p
        on h.region = p.region and h.project_id = p.project_id and h.direction = p.direction
    left join told_later as l
        on p.region_number = l.region_number and h.share_id = l.share_id
    where
        h.valid_to = timestamptz '9999-12-31 00:00:00+00'
        and coalesce(p.told_until >= l.freshest, true)
),

told_twice as (
    select
        region_number,
        share_id,
        min(listing_rank) as listing_rank
    from told
    group by region_number, share_id
    having count(*) > 1
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
    t.last_observed_at
from told as t
left join told_twice as w
    on t.region_number = w.region_number and t.share_id = w.share_id
where coalesce(t.listing_rank = w.listing_rank, true)
