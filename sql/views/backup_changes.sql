-- Which backups came into view of another project, changed or went out of view, and on which day was it seen?
-- Grain: one row per event of a backup, and of a change one per field that changed. Events are appeared (some share of
-- it is there, none was before), changed (content differs), disappeared (proven to be shared no more). A backup that
-- several listings tell of is told by the one that saw it first, of those the giver's, as in backup_share_changes.
-- not_before and not_after are the bounds of the version that began or ended (backup_versions tells how they are
-- found), as proved by the listing that tells of the event. Of a changed backup there is a row for each changed_field,
-- and all have the event_id of the change: count events by it. For an export that goes on where the last one ended,
-- keep the greatest (seen_at, event_id, changed_field). Rows may come behind it, or be told by another listing, while
-- the sync of a day runs or when an observation is loaded late: begin a few days before, and put what is read in the
-- place of those days.
-- Columns as in backup_history, backup_share_changes, and:
--   change_type   appeared, changed or disappeared
--   event_id      made of the observation that saw it, the backup and the kind; the same on every engine and after a
--                 rebuild
with unreadable as (
    select
        r.observation_id,
        count(distinct h.share_id) as open_count,
        bool_or(r.backup_id is null) as could_be_any_backup
    from rejected_records as r
    left join backup_share_history as h
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
        o.is_proven and o.may_close and not coalesce(u.could_be_any_backup, false) as proves_absence,
        -- It told of as many shares as were open after it, those aside whose record could not be read: so of each.
        o.is_proven
        and not coalesce(u.could_be_any_backup, false)
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
    select distinct region, project_id, direction, backup_id, observation_id
    from rejected_records
    where backup_id is not null
),

-- The few of which some record could not be read: what each observation says of them is looked up one by one.
doubted as (
    select
        h.region,
        h.project_id,
        h.direction,
        h.backup_id,
        h.valid_from,
        max(case when l.proves_absence and l.observed_at < h.valid_from then l.observed_at end) as absent_at,
        max(case when l.shows_all and l.observed_at < h.valid_from then l.observed_at end) as shown_before,
        max(case when l.shows_all then l.observed_at end) as shown_at
    from (select distinct region, project_id, direction, backup_id from quarantined) as k
    inner join backup_history as h
        on
            k.region = h.region
            and k.project_id = h.project_id
            and k.direction = h.direction
            and k.backup_id = h.backup_id
    left join looks as l
        on
            h.region = l.region
            and h.project_id = l.project_id
            and h.direction = l.direction
            and h.valid_to > l.observed_at
    left join quarantined as q
        on l.observation_id = q.observation_id and h.backup_id = q.backup_id
    where q.observation_id is null
    group by h.region, h.project_id, h.direction, h.backup_id, h.valid_from
),

stories as (
    select
        *,
        lag(valid_from) over story as previous_valid_from,
        lag(valid_to) over story as previous_valid_to
    from backup_history
    window story as (partition by region, project_id, direction, backup_id order by valid_from)
),

told as (
    select
        h.*,
        o.finished_at as appeared_before,
        c.finished_at as disappeared_before,
        coalesce(h.previous_valid_to = h.valid_from, false) as is_change,
        case when d.backup_id is null then o.absent_at else d.absent_at end as absent_at,
        case when d.backup_id is null then o.shown_at else d.shown_before end as shown_before,
        case when d.backup_id is not null then d.shown_at when h.closed_by is null then l.shown_at else c.shown_at end
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
            and h.backup_id = d.backup_id
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
        h.backup_id,
        h.project_id,
        h.direction,
        p.last_proven_day,
        bool_or(h.closed_by is null) as is_open,
        max(h.valid_from) as last_valid_from,
        row_number() over (
            partition by h.region, h.backup_id
            order by
                min(cast(h.valid_from at time zone 'UTC' as date)),
                h.direction desc, -- outgoing before incoming
                h.project_id
        ) as witness_rank
    from backup_history as h
    inner join last_proof as p
        on h.region = p.region and h.project_id = p.project_id and h.direction = p.direction
    group by h.region, h.backup_id, h.project_id, h.direction, p.last_proven_day
),

overtaken as (
    select
        region,
        backup_id,
        max(last_proven_day) as last_proven_day
    from witnesses
    group by region, backup_id
    having
        bool_or(witness_rank = 1 and is_open)
        and max(last_proven_day) > max(case when is_open then last_proven_day end)
),

ended_elsewhere as (
    select distinct on (h.region, h.backup_id) h.*
    from overtaken as o
    inner join witnesses as w
        on o.region = w.region and o.backup_id = w.backup_id and o.last_proven_day = w.last_proven_day
    inner join bounded as h
        on
            w.region = h.region
            and w.backup_id = h.backup_id
            and w.project_id = h.project_id
            and w.direction = h.direction
            and w.last_valid_from = h.valid_from
    order by h.region, h.backup_id, h.valid_to desc, h.direction desc
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
            and h.backup_id = w.backup_id
            and h.project_id = w.project_id
            and h.direction = w.direction
            and w.witness_rank = 1
    inner join baselines as b
        on h.region = b.region and h.project_id = b.project_id and h.direction = b.direction
    window story as (partition by h.region, h.backup_id order by h.valid_from)
),

events as (
    select
        valid_from as seen_at,
        case when is_change then 'changed' else 'appeared' end as change_type,
        opened_by as observation_id,
        appeared_after as not_before,
        appeared_before as not_after,
        versions.*
    from versions
    union all
    select
        valid_to as seen_at,
        'disappeared' as change_type,
        closed_by as observation_id,
        last_seen_at as not_before,
        disappeared_before as not_after,
        versions.*
    from versions
    where closed_by is not null and (next_valid_from is null or next_valid_from > valid_to)
    union all
    select
        valid_to as seen_at,
        'disappeared' as change_type,
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
        ('volume_id'),
        ('volume_snapshot_id'),
        ('backup_name'),
        ('backup_status'),
        ('availability_zone'),
        ('container'),
        ('description'),
        ('fail_reason'),
        ('size_gb'),
        ('object_count'),
        ('chain_size_mb'),
        ('space_saving_percent'),
        ('dedup_compression_code'),
        ('backup_type_code'),
        ('image_type_code'),
        ('storage_type_code'),
        ('is_incremental'),
        ('has_dependent_backups'),
        ('is_bootable'),
        ('backup_created_at'),
        ('backup_updated_at'),
        ('data_timestamp')
),

compared as (
    select
        e.*,
        f.changed_field,
        case f.changed_field
            when 'volume_id' then b.volume_id
            when 'volume_snapshot_id' then b.volume_snapshot_id
            when 'backup_name' then b.backup_name
            when 'backup_status' then b.backup_status
            when 'availability_zone' then b.availability_zone
            when 'container' then b.container
            when 'description' then b.description
            when 'fail_reason' then b.fail_reason
            when 'size_gb' then cast(b.size_gb as text)
            when 'object_count' then cast(b.object_count as text)
            when 'chain_size_mb' then cast(b.chain_size_mb as text)
            when 'space_saving_percent' then cast(b.space_saving_percent as text)
            when 'dedup_compression_code' then cast(b.dedup_compression_code as text)
            when 'backup_type_code' then cast(b.backup_type_code as text)
            when 'image_type_code' then cast(b.image_type_code as text)
            when 'storage_type_code' then cast(b.storage_type_code as text)
            when 'is_incremental' then cast(b.is_incremental as text)
            when 'has_dependent_backups' then cast(b.has_dependent_backups as text)
            when 'is_bootable' then cast(b.is_bootable as text)
            when 'backup_created_at' then cast(b.backup_created_at at time zone 'UTC' as text) || '+00'
            when 'backup_updated_at' then cast(b.backup_updated_at at time zone 'UTC' as text) || '+00'
            when 'data_timestamp' then cast(b.data_timestamp at time zone 'UTC' as text) || '+00'
        end as before,
        case f.changed_field
            when 'volume_id' then e.volume_id
            when 'volume_snapshot_id' then e.volume_snapshot_id
            when 'backup_name' then e.backup_name
            when 'backup_status' then e.backup_status
            when 'availability_zone' then e.availability_zone
            when 'container' then e.container
            when 'description' then e.description
            when 'fail_reason' then e.fail_reason
            when 'size_gb' then cast(e.size_gb as text)
            when 'object_count' then cast(e.object_count as text)
            when 'chain_size_mb' then cast(e.chain_size_mb as text)
            when 'space_saving_percent' then cast(e.space_saving_percent as text)
            when 'dedup_compression_code' then cast(e.dedup_compression_code as text)
            when 'backup_type_code' then cast(e.backup_type_code as text)
            when 'image_type_code' then cast(e.image_type_code as text)
            when 'storage_type_code' then cast(e.storage_type_code as text)
            when 'is_incremental' then cast(e.is_incremental as text)
            when 'has_dependent_backups' then cast(e.has_dependent_backups as text)
            when 'is_bootable' then cast(e.is_bootable as text)
            when 'backup_created_at' then cast(e.backup_created_at at time zone 'UTC' as text) || '+00'
            when 'backup_updated_at' then cast(e.backup_updated_at at time zone 'UTC' as text) || '+00'
            when 'data_timestamp' then cast(e.data_timestamp at time zone 'UTC' as text) || '+00'
        end as after
    from events as e
    inner join backup_history as b
        on
            e.region = b.region
            and e.project_id = b.project_id
            and e.direction = b.direction
            and e.backup_id = b.backup_id
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
    backup_id,
    volume_id,
    volume_snapshot_id,
    backup_name,
    backup_status,
    availability_zone,
    container,
    description,
    description_text,
    fail_reason,
    size_gb,
    object_count,
    chain_size_mb,
    space_saving_percent,
    dedup_compression_code,
    backup_type_code,
    image_type_code,
    storage_type_code,
    is_incremental,
    is_incremental_requested,
    has_dependent_backups,
    is_bootable,
    backup_created_at,
    backup_updated_at,
    data_timestamp,
    seen_at,
    is_baseline and change_type = 'appeared' as is_baseline,
    region,
    project_id,
    direction,
    observation_id,
    not_before,
    not_after,
    observation_id || ' ' || backup_id || ' ' || change_type as event_id,
    changed_field,
    before,
    after
from told_by_field
