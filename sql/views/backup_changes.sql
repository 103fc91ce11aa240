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
        o.is_proven,
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

-- Keys and times only: what the versions say is fetched when it is known which are told.
versions as (
    select
        h.backup_id,
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
    from backup_history as h
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
        in_order as (partition by region_number, backup_id order by listing_rank, valid_from),
        every_listing as (
            partition by region_number, backup_id order by listing_rank, valid_from
            rows between unbounded preceding and unbounded following
        )
),

-- Where the witness still tells it, but others that were proven later say that it is gone: they tell the end.
ended_elsewhere as (
    select distinct on (s.region_number, s.backup_id) s.*
    from stories as s
    inner join stories as w
        on s.region_number = w.region_number and s.backup_id = w.backup_id
    where
        s.is_gone_elsewhere
        and s.listing_rank <> s.witness_rank
        and s.is_closed
        and w.is_gone_elsewhere
        and w.listing_rank = w.witness_rank
        and not w.is_closed
    order by s.region_number, s.backup_id, s.valid_to desc, s.listing_rank
),

-- The day stands here, so that a question for some days is narrowed down before contents are fetched.
sightings as (
    select
        cast(valid_from at time zone 'UTC' as date) as change_date,
        valid_from as seen_at,
        case when previous_valid_from is null then 'appeared' else 'changed' end as change_type,
        stories.*
    from stories
    where listing_rank = witness_rank
    union all
    select
        cast(valid_to at time zone 'UTC' as date) as change_date,
        valid_to as seen_at,
        'disappeared' as change_type,
        stories.*
    from stories
    where listing_rank = witness_rank and is_closed and not is_continued
    union all
    select
        cast(valid_to at time zone 'UTC' as date) as change_date,
        valid_to as seen_at,
        'disappeared' as change_type,
        ended_elsewhere.*
    from ended_elsewhere
),

events as not materialized (
    select
        e.change_date,
        e.seen_at,
        e.change_type,
        case when e.change_type = 'disappeared' then h.closed_by else h.opened_by end as observation_id,
        case
            when e.change_type = 'disappeared'
                then greatest(
                    e.valid_from,
                    coalesce(case when d.backup_id is null then c.shown_at else d.shown_at end, e.valid_from)
                )
            when e.change_type = 'appeared'
                then case when d.backup_id is null then o.absent_at else d.absent_at end
            else greatest(
                e.previous_valid_from,
                coalesce(case when d.backup_id is null then o.absent_at else d.absent_at end, e.previous_valid_from),
                coalesce(case when d.backup_id is null then o.shown_at else d.shown_before end, e.previous_valid_from)
            )
        end as not_before,
        case when e.change_type = 'disappeared' then c.finished_at else o.finished_at end as not_after,
        e.valid_from = l.first_observed_at as is_baseline,
        h.*
    from sightings as e
    inner join listings as l
        on e.listing_rank = l.listing_rank
    inner join backup_history as h
        on
            l.region = h.region
            and l.project_id = h.project_id
            and l.direction = h.direction
            and e.backup_id = h.backup_id
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
            and e.backup_id = d.backup_id
            and e.valid_from = d.valid_from
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
