-- Which shares were granted, changed or withdrawn, and on which day was it seen?
-- Grain: one row per event of a share, and of a change one per field that changed. Events are granted (was not there
-- before), changed (content differs), withdrawn (proven gone). A share that several listings tell of is told by the one
-- that saw it first, of those the giver's; so what was told once stays told when another project is observed. If another
-- proved the share gone on a day after that listing was last proven, its withdrawal is told by that one.
-- not_before and not_after are the bounds of the version that began or ended (backup_share_versions tells how they are
-- found), as proved by the listing that tells of the event. Of a changed share there is a row for each changed_field,
-- and all have the event_id of the change: count events by it. For an export that goes on where the last one ended,
-- keep the greatest (seen_at, event_id, changed_field). Rows may come behind it, or be told by another listing, while
-- the sync of a day runs or when an observation is loaded late: begin a few days before, and put what is read in the
-- place of those days.
-- Columns as in backup_share_history, and:
--   change_date      day (UTC) of seen_at
--   change_type      granted, changed or withdrawn
--   seen_at          observed_at of the observation that saw it, UTC
--   is_baseline      seen in the very first proven observation of the listing, so it may be older than the day says
--   observation_id   observation that saw it
--   not_before       it happened after that, UTC; null: nobody knows
--   not_after        it happened by then, UTC
--   event_id         made of the observation that saw it, the share and the kind; the same on every engine and after a
--                    rebuild
--   changed_field    of a change: the column whose value differs; null for other events
--   before           its value before, as text; times in UTC
--   after            its value after, as text; times in UTC
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
        o.is_proven,
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

proofs as (
    select
        region,
        project_id,
        direction,
        min(case when is_proven then observed_at end) as first_observed_at,
        max(case when is_proven then cast(observed_at at time zone 'UTC' as date) end) as last_proven_day
    from looks
    group by region, project_id, direction
),

-- Numbers instead of texts, of which every row would have to be hashed. listing_rank: the giver's before others.
listings as (
    select
        *,
        dense_rank() over (order by region) as region_number,
        row_number() over (order by region, direction desc, project_id) as listing_rank
    from proofs
    where last_proven_day is not null
),

quarantined as (
    select distinct region, project_id, direction, share_id, observation_id
    from rejected_records
    where share_id is not null
),

-- The few of which some record could not be read: what each observation says of them is looked up one by one.
doubted as (
    select
        h.region,
        h.project_id,
        h.direction,
        h.share_id,
        h.valid_from,
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
    group by h.region, h.project_id, h.direction, h.share_id, h.valid_from
),

-- Keys and times only: what the versions say is fetched when it is known which are told.
versions as (
    select
        h.share_id,
        h.valid_from,
        h.valid_to,
        h.closed_by is not null as is_closed,
        l.region_number,
        l.listing_rank,
        cast(cast(h.valid_from at time zone 'UTC' as date) - date '0001-01-01' as bigint) * 1000000
        + l.listing_rank as sight,
        case when h.closed_by is null then l.last_proven_day else cast(h.valid_to at time zone 'UTC' as date) end
            as told_day,
        case when h.closed_by is null then l.last_proven_day end as open_day
    from backup_share_history as h
    inner join listings as l
        on h.region = l.region and h.project_id = l.project_id and h.direction = l.direction
),

-- The witness is the listing that saw it on the earliest day, of several the first: one number says both.
stories as materialized (
    select
        *,
        min(sight) over every_listing % 1000000 as witness_rank,
        max(told_day) over every_listing > max(open_day) over every_listing as is_gone_elsewhere,
        case
            when lag(listing_rank) over in_order = listing_rank and lag(valid_to) over in_order = valid_from
                then lag(valid_from) over in_order
        end as previous_valid_from,
        coalesce(
            lead(listing_rank) over in_order = listing_rank and lead(valid_from) over in_order = valid_to, false
        ) as is_continued
    from versions
    window
        in_order as (partition by region_number, share_id order by listing_rank, valid_from),
        every_listing as (
            partition by region_number, share_id order by listing_rank, valid_from
            rows between unbounded preceding and unbounded following
        )
),

-- Where the witness still tells it, but others that were proven later say that it is gone: they tell the end.
ended_elsewhere as (
    select distinct on (s.region_number, s.share_id) s.*
    from stories as s
    inner join stories as w
        on s.region_number = w.region_number and s.share_id = w.share_id
    where
        s.is_gone_elsewhere
        and s.listing_rank <> s.witness_rank
        and s.is_closed
        and w.is_gone_elsewhere
        and w.listing_rank = w.witness_rank
        and not w.is_closed
    order by s.region_number, s.share_id, s.valid_to desc, s.listing_rank
),

-- The day stands here, so that a question for some days is narrowed down before contents are fetched.
sightings as (
    select
        cast(valid_from at time zone 'UTC' as date) as change_date,
        valid_from as seen_at,
        case when previous_valid_from is null then 'granted' else 'changed' end as change_type,
        stories.*
    from stories
    where listing_rank = witness_rank
    union all
    select
        cast(valid_to at time zone 'UTC' as date) as change_date,
        valid_to as seen_at,
        'withdrawn' as change_type,
        stories.*
    from stories
    where listing_rank = witness_rank and is_closed and not is_continued
    union all
    select
        cast(valid_to at time zone 'UTC' as date) as change_date,
        valid_to as seen_at,
        'withdrawn' as change_type,
        ended_elsewhere.*
    from ended_elsewhere
),

events as not materialized (
    select
        e.change_date,
        e.seen_at,
        e.change_type,
        case when e.change_type = 'withdrawn' then h.closed_by else h.opened_by end as observation_id,
        case
            when e.change_type = 'withdrawn'
                then greatest(
                    e.valid_from,
                    coalesce(case when d.share_id is null then c.shown_at else d.shown_at end, e.valid_from)
                )
            when e.change_type = 'granted'
                then case when d.share_id is null then o.absent_at else d.absent_at end
            else greatest(
                e.previous_valid_from,
                coalesce(case when d.share_id is null then o.absent_at else d.absent_at end, e.previous_valid_from),
                coalesce(case when d.share_id is null then o.shown_at else d.shown_before end, e.previous_valid_from)
            )
        end as not_before,
        case when e.change_type = 'withdrawn' then c.finished_at else o.finished_at end as not_after,
        e.valid_from = l.first_observed_at as is_baseline,
        h.*
    from sightings as e
    inner join listings as l
        on e.listing_rank = l.listing_rank
    inner join backup_share_history as h
        on
            l.region = h.region
            and l.project_id = h.project_id
            and l.direction = h.direction
            and e.share_id = h.share_id
            and e.valid_from = h.valid_from
    inner join bounds as o
        on h.opened_by = o.observation_id
    left join bounds as c
        on h.closed_by = c.observation_id
    left join doubted as d
        on
            l.region = d.region
            and l.project_id = d.project_id
            and l.direction = d.direction
            and e.share_id = d.share_id
            and e.valid_from = d.valid_from
),

fields (changed_field) as (
    values
        ('backup_id'),
        ('from_project_id'),
        ('to_project_id'),
        ('share_created_at'),
        ('share_updated_at')
),

compared as (
    select
        e.*,
        f.changed_field,
        case f.changed_field
            when 'backup_id' then b.backup_id
            when 'from_project_id' then b.from_project_id
            when 'to_project_id' then b.to_project_id
            when 'share_created_at' then cast(b.share_created_at at time zone 'UTC' as text) || '+00'
            when 'share_updated_at' then cast(b.share_updated_at at time zone 'UTC' as text) || '+00'
        end as before,
        case f.changed_field
            when 'backup_id' then e.backup_id
            when 'from_project_id' then e.from_project_id
            when 'to_project_id' then e.to_project_id
            when 'share_created_at' then cast(e.share_created_at at time zone 'UTC' as text) || '+00'
            when 'share_updated_at' then cast(e.share_updated_at at time zone 'UTC' as text) || '+00'
        end as after
    from events as e
    inner join backup_share_history as b
        on
            e.region = b.region
            and e.project_id = b.project_id
            and e.direction = b.direction
            and e.share_id = b.share_id
            and e.seen_at = b.valid_to
    cross join fields as f
    where e.change_type = 'changed'
),

told_by_field as (
    select
        *,
        null as changed_field,
        null as before,
        null as after
    from events
    where change_type <> 'changed'
    union all
    select *
    from compared
    where before is distinct from after
)

select
    change_date,
    change_type,
    share_id,
    backup_id,
    from_project_id,
    to_project_id,
    share_created_at,
    share_updated_at,
    seen_at,
    is_baseline and change_type = 'granted' as is_baseline,
    region,
    project_id,
    direction,
    observation_id,
    not_before,
    not_after,
    observation_id || ' ' || share_id || ' ' || change_type as event_id,
    changed_field,
    before,
    after
from told_by_field
