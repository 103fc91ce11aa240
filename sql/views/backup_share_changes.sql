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

-- Numbers instead of texts, of which every row would have to be hashed. listing_rank: the giver's before others.
looks as (
    select
        o.region,
        o.project_id,
        o.direction,
        o.observation_id,
        o.observed_at,
        o.finished_at,
        o.is_proven,
        dense_rank() over (order by o.region) as region_number,
        dense_rank() over (order by o.region, o.direction desc, o.project_id) as listing_rank,
        max(case when o.is_proven then cast(o.observed_at at time zone 'UTC' as date) end) over (
            partition by o.region, o.project_id, o.direction
        ) as last_proven_day,
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
        region_number,
        listing_rank,
        last_proven_day,
        observation_id,
        finished_at,
        is_proven and max(case when is_proven then observed_at end) over earlier is null as is_first,
        max(case when proves_absence then observed_at end) over earlier as absent_at,
        max(case when shows_all then observed_at end) over earlier as shown_at
    from looks
    window earlier as (
        partition by listing_rank
        order by observed_at
        rows between unbounded preceding and 1 preceding
    )
),

listings as (
    select distinct region, project_id, direction, region_number, listing_rank
    from looks
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

-- Days in UTC, in a way that is quicker than a time zone. They stand below every join, so that a question for some days
-- is narrowed down before them.
dated as not materialized (
    select
        *,
        date '1970-01-01' + cast(floor(floor(date_part('epoch', valid_from)) / 86400) as integer) as begin_date,
        date '1970-01-01' + cast(floor(floor(date_part('epoch', valid_to)) / 86400) as integer) as end_date
    from backup_share_history
),

-- sight: day and listing in one number.
versions as not materialized (
    select
        h.*,
        o.region_number,
        o.last_proven_day,
        o.finished_at,
        o.absent_at,
        o.shown_at,
        o.is_first,
        cast(h.begin_date - date '0001-01-01' as bigint) * 1000000 + o.listing_rank as sight
    from dated as h
    inner join bounds as o
        on h.opened_by = o.observation_id
),

-- Who tells of a share: the listing that saw it on the earliest day, of several the first.
told as materialized (
    select
        region_number,
        share_id,
        min(sight) % 1000000 as witness_rank,
        max(case when closed_by is null then last_proven_day else end_date end)
        > max(case when closed_by is null then last_proven_day end) as is_gone_elsewhere
    from versions
    group by region_number, share_id
),

-- A rank is of one listing in one region. key_id tells the planner of PostgreSQL to join no other version before.
witnessed as not materialized (
    select
        v.*,
        coalesce(t.share_id, '') as key_id
    from versions as v
    inner join told as t
        on v.share_id = t.share_id and v.sight % 1000000 = t.witness_rank
),

-- Where the witness still tells it, but others that were proven later say that it is gone: they tell the end.
gone_elsewhere as (
    select
        t.region_number,
        t.share_id,
        l.listing_rank,
        h.region,
        h.project_id,
        h.direction,
        h.valid_from,
        h.valid_to,
        l.listing_rank = t.witness_rank as is_witness,
        h.closed_by is not null as is_closed
    from told as t
    inner join listings as l
        on t.region_number = l.region_number
    inner join backup_share_history as h
        on
            l.region = h.region
            and l.project_id = h.project_id
            and l.direction = h.direction
            and t.share_id = h.share_id
    where t.is_gone_elsewhere
),

ended_elsewhere as (
    select distinct on (e.region_number, e.share_id) e.*
    from gone_elsewhere as e
    inner join gone_elsewhere as w
        on e.region_number = w.region_number and e.share_id = w.share_id
    where e.is_closed and not e.is_witness and w.is_witness and not w.is_closed
    order by e.region_number, e.share_id, e.valid_to desc, e.listing_rank
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
        e.begin_date as change_date,
        e.valid_from as seen_at,
        'changed' as change_type,
        e.opened_by as observation_id,
        greatest(
            b.valid_from,
            coalesce(case when d.share_id is null then e.absent_at else d.absent_at end, b.valid_from),
            coalesce(case when d.share_id is null then e.shown_at else d.shown_before end, b.valid_from)
        ) as not_before,
        e.finished_at as not_after,
        false as is_baseline,
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
    from witnessed as e
    -- One observation ended that and began this.
    inner join backup_share_history as b
        on
            e.region = b.region
            and e.project_id = b.project_id
            and e.direction = b.direction
            and e.key_id = b.share_id
            and e.valid_from = b.valid_to
    left join doubted as d
        on e.opened_by = d.opened_by and e.share_id = d.share_id
    cross join fields as f
),

ended as not materialized (
    select w.*
    from witnessed as w
    left join backup_share_history as n
        on
            w.region = n.region
            and w.project_id = n.project_id
            and w.direction = n.direction
            and w.key_id = n.share_id
            and w.valid_to = n.valid_from
    where w.closed_by is not null and n.share_id is null
    union all
    select
        h.*,
        h.share_id as key_id
    from ended_elsewhere as e
    inner join versions as h
        on
            e.region = h.region
            and e.project_id = h.project_id
            and e.direction = h.direction
            and e.share_id = h.share_id
            and e.valid_from = h.valid_from
),

events as not materialized (
    select
        w.*,
        w.begin_date as change_date,
        w.valid_from as seen_at,
        'granted' as change_type,
        w.opened_by as observation_id,
        case when d.share_id is null then w.absent_at else d.absent_at end as not_before,
        w.finished_at as not_after,
        w.is_first as is_baseline,
        null as changed_field,
        null as before,
        null as after
    from witnessed as w
    left join backup_share_history as b
        on
            w.region = b.region
            and w.project_id = b.project_id
            and w.direction = b.direction
            and w.key_id = b.share_id
            and w.valid_from = b.valid_to
    left join doubted as d
        on w.opened_by = d.opened_by and w.share_id = d.share_id
    where b.share_id is null
    union all
    select
        w.*,
        w.end_date as change_date,
        w.valid_to as seen_at,
        'withdrawn' as change_type,
        w.closed_by as observation_id,
        greatest(
            w.valid_from, coalesce(case when d.share_id is null then c.shown_at else d.shown_at end, w.valid_from)
        ) as not_before,
        c.finished_at as not_after,
        false as is_baseline,
        null as changed_field,
        null as before,
        null as after
    from ended as w
    inner join bounds as c
        on w.closed_by = c.observation_id
    left join doubted as d
        on w.opened_by = d.opened_by and w.share_id = d.share_id
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
    is_baseline,
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
from events
