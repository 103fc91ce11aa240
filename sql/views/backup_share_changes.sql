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
        max(case when is_proven then cast(observed_at at time zone 'UTC' as date) end) as last_proven_day,
        max(case when shows_all then observed_at end) as shown_at
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

-- Versions that the next one follows at once. The ledger says which observations may have ended such.
continued as (
    select
        l.listing_rank,
        h.share_id,
        h.valid_from,
        h.valid_to
    from backup_share_history as h
    inner join observations as o
        on h.closed_by = o.observation_id and o.shares_changed > 0
    inner join backup_share_history as n
        on h.closed_by = n.opened_by and h.share_id = n.share_id
    inner join listings as l
        on h.region = l.region and h.project_id = l.project_id and h.direction = l.direction
),

-- The witness is the listing that saw it on the earliest day, of several the first: one number says both.
sights as (
    select
        l.region_number,
        h.share_id,
        min(
            cast(cast(h.valid_from at time zone 'UTC' as date) - date '0001-01-01' as bigint) * 1000000
            + l.listing_rank
        ) % 1000000 as listing_rank,
        max(
            case when h.closed_by is null then l.last_proven_day else cast(h.valid_to at time zone 'UTC' as date) end
        ) as told_day,
        max(case when h.closed_by is null then l.last_proven_day end) as open_day
    from backup_share_history as h
    inner join listings as l
        on h.region = l.region and h.project_id = l.project_id and h.direction = l.direction
    group by l.region_number, h.share_id
),

-- And where the witness still tells it, but others that were proven later say that it is gone: they tell the end.
tellers as (
    select
        listing_rank,
        share_id,
        true as is_witness
    from sights
    union all
    select
        l.listing_rank,
        w.share_id,
        false as is_witness
    from sights as w
    inner join listings as g
        on w.listing_rank = g.listing_rank
    inner join backup_share_history as h
        on
            g.region = h.region
            and g.project_id = h.project_id
            and g.direction = h.direction
            and w.share_id = h.share_id
            and h.closed_by is null
    inner join listings as l
        on w.region_number = l.region_number and w.listing_rank <> l.listing_rank
    where w.told_day > w.open_day
),

told as (
    select
        h.*,
        o.finished_at as appeared_before,
        c.finished_at as disappeared_before,
        l.listing_rank,
        w.is_witness,
        n.valid_from is not null as is_continued,
        h.valid_from = l.first_observed_at as is_baseline,
        b.valid_from as previous_valid_from,
        b.valid_from is not null as is_change,
        case when d.share_id is null then o.absent_at else d.absent_at end as absent_at,
        case when d.share_id is null then o.shown_at else d.shown_before end as shown_before,
        case when d.share_id is not null then d.shown_at when h.closed_by is null then l.shown_at else c.shown_at end
            as shown_at
    from backup_share_history as h
    inner join listings as l
        on h.region = l.region and h.project_id = l.project_id and h.direction = l.direction
    inner join tellers as w
        on l.listing_rank = w.listing_rank and h.share_id = w.share_id
    inner join bounds as o
        on h.opened_by = o.observation_id
    left join bounds as c
        on h.closed_by = c.observation_id
    left join continued as b
        on l.listing_rank = b.listing_rank and h.share_id = b.share_id and h.valid_from = b.valid_to
    left join continued as n
        on l.listing_rank = n.listing_rank and h.share_id = n.share_id and h.valid_from = n.valid_from
    left join doubted as d
        on
            h.region = d.region
            and h.project_id = d.project_id
            and h.direction = d.direction
            and h.share_id = d.share_id
            and h.valid_from = d.valid_from
),

bounded as (
    select
        *,
        case
            when is_change
                then greatest(
                    previous_valid_from,
                    coalesce(absent_at, previous_valid_from),
                    coalesce(shown_before, previous_valid_from)
                )
            else absent_at
        end as appeared_after,
        greatest(valid_from, coalesce(shown_at, valid_from)) as last_seen_at
    from told
),

ended_elsewhere as (
    select distinct on (region, share_id) *
    from bounded
    where not is_witness and closed_by is not null
    order by region, share_id, valid_to desc, direction desc
),

events as not materialized (
    select
        valid_from as seen_at,
        case when is_change then 'changed' else 'granted' end as change_type,
        opened_by as observation_id,
        appeared_after as not_before,
        appeared_before as not_after,
        bounded.*
    from bounded
    where is_witness
    union all
    select
        valid_to as seen_at,
        'withdrawn' as change_type,
        closed_by as observation_id,
        last_seen_at as not_before,
        disappeared_before as not_after,
        bounded.*
    from bounded
    where is_witness and closed_by is not null and not is_continued
    union all
    select
        valid_to as seen_at,
        'withdrawn' as change_type,
        closed_by as observation_id,
        last_seen_at as not_before,
        disappeared_before as not_after,
        ended_elsewhere.*
    from ended_elsewhere
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
    cast(seen_at at time zone 'UTC' as date) as change_date,
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
