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
    select distinct region, project_id, direction, backup_id, observation_id
    from rejected_records
    where backup_id is not null
),

-- The few of which some record could not be read: what each observation says of them is looked up one by one.
doubted as (
    select
        h.backup_id,
        h.opened_by,
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
    group by h.backup_id, h.opened_by
),

-- Days in UTC, in a way that is quicker than a time zone. They stand below every join, so that a question for some days
-- is narrowed down before them.
dated as not materialized (
    select
        *,
        date '1970-01-01' + cast(floor(floor(date_part('epoch', valid_from)) / 86400) as integer) as begin_date,
        date '1970-01-01' + cast(floor(floor(date_part('epoch', valid_to)) / 86400) as integer) as end_date
    from backup_history
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

-- Who tells of a backup: the listing that saw it on the earliest day, of several the first.
told as materialized (
    select
        region_number,
        backup_id,
        min(sight) % 1000000 as witness_rank,
        max(case when closed_by is null then last_proven_day else end_date end)
        > max(case when closed_by is null then last_proven_day end) as is_gone_elsewhere
    from versions
    group by region_number, backup_id
),

-- A rank is of one listing in one region. key_id tells the planner of PostgreSQL to join no other version before.
witnessed as not materialized (
    select
        v.*,
        coalesce(t.backup_id, '') as key_id
    from versions as v
    inner join told as t
        on v.backup_id = t.backup_id and v.sight % 1000000 = t.witness_rank
),

-- Where the witness still tells it, but others that were proven later say that it is gone: they tell the end.
gone_elsewhere as (
    select
        t.region_number,
        t.backup_id,
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
    inner join backup_history as h
        on
            l.region = h.region
            and l.project_id = h.project_id
            and l.direction = h.direction
            and t.backup_id = h.backup_id
    where t.is_gone_elsewhere
),

ended_elsewhere as (
    select distinct on (e.region_number, e.backup_id) e.*
    from gone_elsewhere as e
    inner join gone_elsewhere as w
        on e.region_number = w.region_number and e.backup_id = w.backup_id
    where e.is_closed and not e.is_witness and w.is_witness and not w.is_closed
    order by e.region_number, e.backup_id, e.valid_to desc, e.listing_rank
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
        e.begin_date as change_date,
        e.valid_from as seen_at,
        'changed' as change_type,
        e.opened_by as observation_id,
        greatest(
            b.valid_from,
            coalesce(case when d.backup_id is null then e.absent_at else d.absent_at end, b.valid_from),
            coalesce(case when d.backup_id is null then e.shown_at else d.shown_before end, b.valid_from)
        ) as not_before,
        e.finished_at as not_after,
        false as is_baseline,
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
    from witnessed as e
    -- One observation ended that and began this.
    inner join backup_history as b
        on
            e.region = b.region
            and e.project_id = b.project_id
            and e.direction = b.direction
            and e.key_id = b.backup_id
            and e.valid_from = b.valid_to
    left join doubted as d
        on e.opened_by = d.opened_by and e.backup_id = d.backup_id
    cross join fields as f
),

ended as not materialized (
    select w.*
    from witnessed as w
    left join backup_history as n
        on
            w.region = n.region
            and w.project_id = n.project_id
            and w.direction = n.direction
            and w.key_id = n.backup_id
            and w.valid_to = n.valid_from
    where w.closed_by is not null and n.backup_id is null
    union all
    select
        h.*,
        h.backup_id as key_id
    from ended_elsewhere as e
    inner join versions as h
        on
            e.region = h.region
            and e.project_id = h.project_id
            and e.direction = h.direction
            and e.backup_id = h.backup_id
            and e.valid_from = h.valid_from
),

events as not materialized (
    select
        w.*,
        w.begin_date as change_date,
        w.valid_from as seen_at,
        'appeared' as change_type,
        w.opened_by as observation_id,
        case when d.backup_id is null then w.absent_at else d.absent_at end as not_before,
        w.finished_at as not_after,
        w.is_first as is_baseline,
        null as changed_field,
        null as before,
        null as after
    from witnessed as w
    left join backup_history as b
        on
            w.region = b.region
            and w.project_id = b.project_id
            and w.direction = b.direction
            and w.key_id = b.backup_id
            and w.valid_from = b.valid_to
    left join doubted as d
        on w.opened_by = d.opened_by and w.backup_id = d.backup_id
    where b.backup_id is null
    union all
    select
        w.*,
        w.end_date as change_date,
        w.valid_to as seen_at,
        'disappeared' as change_type,
        w.closed_by as observation_id,
        greatest(
            w.valid_from, coalesce(case when d.backup_id is null then c.shown_at else d.shown_at end, w.valid_from)
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
        on w.opened_by = d.opened_by and w.backup_id = d.backup_id
    union all
    select *
    from compared
    where before is distinct from after
)

select
    change_date,
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
    is_baseline,
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
from events
