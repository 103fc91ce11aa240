-- Which shares were granted, changed or withdrawn, and on which day was it seen?
-- Grain: one row per event of a share, and of a change one per field that changed. Events are granted (was not there
-- before), changed (content differs), withdrawn (proven gone). A share that several listings tell of is told by the one
-- that saw it first, of those the giver's; so what was told once stays told when another project is observed. If that
-- listing is not proven any more and those proven since say that the share is gone, its withdrawal is told by them.
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

stories as (
    select
        *,
        lag(valid_from) over story as previous_valid_from,
        lag(valid_to) over story as previous_valid_to
    from backup_share_history
    window story as (partition by region, project_id, direction, share_id order by valid_from)
),

told as (
    select
        h.*,
        o.finished_at as appeared_before,
        c.finished_at as disappeared_before,
        coalesce(h.previous_valid_to = h.valid_from, false) as is_change,
        case when d.share_id is null then o.absent_at else d.absent_at end as absent_at,
        case when d.share_id is null then o.shown_at else d.shown_before end as shown_before,
        case when d.share_id is not null then d.shown_at when h.closed_by is null then l.shown_at else c.shown_at end
            as shown_at
    from stories as h
    inner join bounds as o
        on h.opened_by = o.observation_id
    left join bounds as c
        on h.closed_by = c.observation_id
    left join last_shows as l
        on h.region = l.region and h.project_id = l.project_id and h.direction = l.direction
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

last_proof as (
    select
        region,
        project_id,
        direction,
        max(cast(observed_at at time zone 'UTC' as date)) as last_proven_day
    from observations
    where is_proven
    group by region, project_id, direction
),

witnesses as (
    select
        h.region,
        h.share_id,
        h.project_id,
        h.direction,
        p.last_proven_day,
        bool_or(h.closed_by is null) as is_open,
        max(h.valid_from) as last_valid_from,
        row_number() over (
            partition by h.region, h.share_id
            order by
                min(cast(h.valid_from at time zone 'UTC' as date)),
                h.direction desc, -- outgoing before incoming
                h.project_id
        ) as witness_rank
    from backup_share_history as h
    inner join last_proof as p
        on h.region = p.region and h.project_id = p.project_id and h.direction = p.direction
    group by h.region, h.share_id, h.project_id, h.direction, p.last_proven_day
),

overtaken as (
    select
        region,
        share_id,
        max(last_proven_day) as last_proven_day
    from witnesses
    group by region, share_id
    having
        bool_or(witness_rank = 1 and is_open)
        and max(last_proven_day) > max(case when is_open then last_proven_day end)
),

ended_elsewhere as (
    select distinct on (h.region, h.share_id) h.*
    from overtaken as o
    inner join witnesses as w
        on o.region = w.region and o.share_id = w.share_id and o.last_proven_day = w.last_proven_day
    inner join bounded as h
        on
            w.region = h.region
            and w.share_id = h.share_id
            and w.project_id = h.project_id
            and w.direction = h.direction
            and w.last_valid_from = h.valid_from
    order by h.region, h.share_id, h.valid_to desc, h.direction desc
),

baselines as (
    select region, project_id, direction, min(observed_at) as first_observed_at
    from observations
    where is_proven
    group by region, project_id, direction
),

versions as (
    select
        h.*,
        lead(h.valid_from) over story as next_valid_from,
        h.valid_from = b.first_observed_at as is_baseline
    from bounded as h
    inner join witnesses as w
        on
            h.region = w.region
            and h.share_id = w.share_id
            and h.project_id = w.project_id
            and h.direction = w.direction
            and w.witness_rank = 1
    inner join baselines as b
        on h.region = b.region and h.project_id = b.project_id and h.direction = b.direction
    window story as (partition by h.region, h.share_id order by h.valid_from)
),

events as (
    select
        valid_from as seen_at,
        case when is_change then 'changed' else 'granted' end as change_type,
        opened_by as observation_id,
        appeared_after as not_before,
        appeared_before as not_after,
        versions.*
    from versions
    union all
    select
        valid_to as seen_at,
        'withdrawn' as change_type,
        closed_by as observation_id,
        last_seen_at as not_before,
        disappeared_before as not_after,
        versions.*
    from versions
    where closed_by is not null and (next_valid_from is null or next_valid_from > valid_to)
    union all
    select
        valid_to as seen_at,
        'withdrawn' as change_type,
        closed_by as observation_id,
        last_seen_at as not_before,
        disappeared_before as not_after,
        ended_elsewhere.*,
        null as next_valid_from,
        false as is_baseline
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
