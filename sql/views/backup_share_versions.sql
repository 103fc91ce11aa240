-- What did a listing say of each share, from when until when, and how sure are both ends?
-- Grain: one row per listing, share and version. A version appeared after appeared_after and not after appeared_before,
-- and disappeared after last_seen_at and not after disappeared_before. A walk sees a share at some instant of its
-- window: so lower bounds are starts of walks (observed_at), upper bounds are their ends (finished_at). A walk that
-- kept some shares open although no page showed them (their withdrawal was held, or not confirmed) does not say here
-- which, and is no sight of any. One that is not proven proves nothing; one that met an unreadable record of a share
-- says nothing of that share.
-- Columns as in backup_share_history, and:
--   valid_to             observed_at of the observation that ended it; exclusive; UTC; null while current
--   appeared_after       the last walk that proves absence (may_close) before the version came, or that told other
--                        content of the share; null: no walk proves that it was not there, so it may be of any age
--   appeared_before      end of the walk that showed the version first, UTC
--   last_seen_at         the last walk that surely showed it: the one that opened it, or a later one that told of every
--                        share that was open after it
--   disappeared_before   end of the walk that ended it, UTC; null while current
with unreadable as (
    select
        r.observation_id,
        count(distinct h.share_id) as open_count
    from rejected_records as r
    inner join backup_share_history as h
        on
            r.region = h.region
            and r.project_id = h.project_id
            and r.direction = h.direction
            and r.share_id = h.share_id
            and r.observed_at >= h.valid_from
            and r.observed_at < h.valid_to
    group by r.observation_id
),

looks as (
    select
        o.region,
        o.project_id,
        o.direction,
        o.observation_id,
        o.observed_at,
        o.finished_at,
        o.is_proven and o.may_close as proves_absence,
        -- It told of as many shares as were open after it, those aside whose record could not be read: so of each.
        o.is_proven
        and o.share_count + coalesce(u.open_count, 0) = sum(o.shares_granted - o.shares_withdrawn) over (
            partition by o.region, o.project_id, o.direction
            order by o.observed_at
        ) as shows_all
    from observations as o
    left join unreadable as u
        on o.observation_id = u.observation_id
),

bounds as (
    select
        region,
        project_id,
        direction,
        observation_id,
        finished_at,
        max(case when proves_absence then observed_at end) over earlier as absent_at,
        max(case when shows_all then observed_at end) over earlier as shown_at
    from looks
    window earlier as (
        partition by region, project_id, direction
        order by observed_at
        rows between unbounded preceding and 1 preceding
    )
),

last_shows as (
    select region, project_id, direction, max(observed_at) as shown_at
    from looks
    where shows_all
    group by region, project_id, direction
),

quarantined as (
    select distinct region, project_id, direction, share_id, observation_id
    from rejected_records
    where share_id is not null
),

-- The few of which some record could not be read: what each observation says of them is looked up one by one.
doubted as (
    select
        h.share_id,
        h.opened_by,
        max(case when l.proves_absence and l.observed_at < h.valid_from then l.observed_at end) as absent_at,
        max(case when l.shows_all and l.observed_at < h.valid_from then l.observed_at end) as shown_before,
        max(case when l.shows_all then l.observed_at end) as shown_at
    from (select distinct region, project_id, direction, share_id from quarantined) as k
    inner join backup_share_history as h
        on
            k.region = h.region
            and k.project_id = h.project_id
            and k.direction = h.direction
            and k.share_id = h.share_id
    left join looks as l
        on
            h.region = l.region
            and h.project_id = l.project_id
            and h.direction = l.direction
            and h.valid_to > l.observed_at
    left join quarantined as q
        on l.observation_id = q.observation_id and h.share_id = q.share_id
    where q.observation_id is null
    group by h.share_id, h.opened_by
),

versions as (
    select
        h.*,
        o.finished_at as appeared_before,
        c.finished_at as disappeared_before,
        p.valid_from as previous_valid_from,
        case when d.share_id is null then o.absent_at else d.absent_at end as absent_at,
        case when d.share_id is null then o.shown_at else d.shown_before end as shown_before,
        case when d.share_id is not null then d.shown_at when h.closed_by is null then l.shown_at else c.shown_at end
            as shown_at
    from backup_share_history as h
    inner join bounds as o
        on h.opened_by = o.observation_id
    -- What it follows without a gap: one observation ended that and began this.
    left join backup_share_history as p
        on h.opened_by = p.closed_by and h.share_id = p.share_id
    left join bounds as c
        on h.closed_by = c.observation_id
    left join last_shows as l
        on h.region = l.region and h.project_id = l.project_id and h.direction = l.direction
    left join doubted as d
        on h.opened_by = d.opened_by and h.share_id = d.share_id
)

select
    share_id,
    backup_id,
    from_project_id,
    to_project_id,
    share_created_at,
    share_updated_at,
    region,
    project_id,
    direction,
    valid_from,
    case when closed_by is not null then valid_to end as valid_to,
    opened_by,
    closed_by,
    case
        when previous_valid_from is not null
            then greatest(
                previous_valid_from,
                coalesce(absent_at, previous_valid_from),
                coalesce(shown_before, previous_valid_from)
            )
        else absent_at
    end as appeared_after,
    appeared_before,
    greatest(valid_from, coalesce(shown_at, valid_from)) as last_seen_at,
    disappeared_before
from versions
