-- Which backups came into view of another project, changed or went out of view, and on which day was it seen?
-- Grain: one row per event of a backup, and of a change one per field that changed. Events are appeared (some share of
-- it is there, none was before), changed (content differs), disappeared (proven to be shared no more). All listings
-- that ever told of a backup tell its events together, as in backup_share_changes: it is there or not as the view
-- backups says after each sync, appeared and disappeared take turns, and what was told once stays told.
-- not_before and not_after are the bounds of the version that began or ended (backup_versions tells how they are
-- found), as proved by the listing that tells of the event. If a listing that was not proven while another proved the
-- backup gone shows it afterwards, it appears in the midst of a version: that happened after the last proof that it
-- was gone. Of a changed backup there is a row for each changed_field, and all have the event_id of the change: count
-- events by it. For an export that goes on where the last one ended, keep the greatest (seen_at, event_id,
-- changed_field). Rows may come behind it, or be told by another listing, while a sync runs or when an observation is
-- loaded late: begin a few days before, and put what is read in the place of those days.
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
        max(o.observed_at) over (partition by o.region, o.sync_id) as sync_end,
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
        observation_id,
        observed_at,
        finished_at,
        is_proven,
        sync_end,
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

-- Both numbers are made of both tables, or some planner joins every backup with all observations of its listing first.
versions as not materialized (
    select
        h.*,
        case when h.valid_from < h.valid_to then o.region_number end as region_number,
        case when h.valid_from < h.valid_to then o.listing_rank end as listing_rank,
        o.sync_end as begin_moment,
        o.finished_at,
        o.absent_at,
        o.shown_at,
        o.is_first
    from dated as h
    inner join bounds as o
        on h.opened_by = o.observation_id
),

-- Who tells of a backup: of the listings that ever did the first, if the others told nothing that it did not in the
-- same sync. All others are disputed.
told as materialized (
    select
        region_number,
        backup_id,
        min(listing_rank) as witness_rank,
        min(listing_rank) < max(listing_rank) as is_disputed
    from (
        select
            v.region_number,
            v.backup_id,
            min(v.listing_rank) as listing_rank
        from versions as v
        left join bounds as c
            on v.closed_by = c.observation_id
        group by v.region_number, v.backup_id, v.begin_moment, c.sync_end
    ) as t
    group by region_number, backup_id
),

-- A rank is of one listing in one region. key_id tells the planner of PostgreSQL to join no other version before.
witnessed as not materialized (
    select
        v.*,
        coalesce(t.backup_id, '') as key_id
    from versions as v
    inner join told as t
        on v.backup_id = t.backup_id and v.listing_rank = t.witness_rank
    where not t.is_disputed
),

-- disputed: what all listings together say after each sync in which one of them says something new

-- The region is compared in a way that the planner of PostgreSQL does not take for one more rare coincidence.
disputed as materialized (
    select
        v.*,
        v.backup_id as key_id
    from told as t
    inner join versions as v
        on t.backup_id = v.backup_id
    where t.is_disputed and coalesce(t.region_number = v.region_number, false)
),

-- subject: region and share in one, as the planner of PostgreSQL takes two keys for much rarer than one. goes_on: one
-- observation ended the version before and began this one; is_followed: likewise its end.
chains as materialized (
    select
        d.region_number || ' ' || d.backup_id as subject,
        d.region_number,
        d.backup_id,
        d.listing_rank,
        d.opened_by,
        d.valid_from,
        d.valid_to,
        d.row_hash,
        d.begin_moment,
        c.sync_end as end_moment,
        coalesce(d.opened_by = lag(d.closed_by) over chain, false) as goes_on,
        coalesce(d.closed_by = lead(d.opened_by) over chain, false) as is_followed
    from disputed as d
    left join bounds as c
        on d.closed_by = c.observation_id
    window chain as (partition by d.region_number, d.backup_id, d.listing_rank order by d.valid_from)
),

-- After each sync: the sync in which a listing was proven last, the one before, and the next one.
proofs as materialized (
    select
        m.sync_end as moment,
        l.listing_rank,
        max(case when b.is_proven then m.sync_end end) over (
            partition by l.listing_rank order by m.sync_end
        ) as told_until,
        max(case when b.is_proven then m.sync_end end) over (
            partition by l.listing_rank order by m.sync_end
            rows between unbounded preceding and 1 preceding
        ) as told_before,
        min(case when b.is_proven then m.sync_end end) over (
            partition by l.listing_rank order by m.sync_end desc
            rows between unbounded preceding and 1 preceding
        ) as told_next
    from (select distinct region_number, sync_end from bounds) as m
    inner join (select distinct region_number, listing_rank from chains) as l
        on m.region_number = l.region_number
    left join bounds as b
        on m.sync_end = b.sync_end and l.listing_rank = b.listing_rank
),

-- Also where one that was not asked while another proved a backup gone is asked again, and shows it.
turning_points as (
    select subject, begin_moment as moment
    from chains
    union
    select subject, end_moment as moment
    from chains
    where end_moment is not null
    union
    select d.subject, p.told_next as moment
    from chains as d
    inner join chains as e
        on d.subject = e.subject and d.valid_from <= e.end_moment and d.valid_to > e.end_moment
    -- A left join that PostgreSQL cannot take for an inner one, or it begins with it.
    left join proofs as p
        on d.listing_rank = p.listing_rank and e.end_moment = p.moment
    where not e.is_followed and coalesce(d.valid_to > p.told_next, false)
),

-- What each version that had begun says after the sync, and when its listing was proven last.
says as (
    select
        p.moment,
        d.*,
        d.valid_to > p.moment as is_open,
        t.told_until,
        t.told_before,
        max(case when d.valid_to > p.moment then t.told_until end) over together as shown_at,
        max(case when d.valid_to <= p.moment and not d.is_followed then d.valid_to end) over together as gone_at
    from turning_points as p
    inner join chains as d
        on p.subject = d.subject and p.moment >= d.valid_from
    left join proofs as t
        on p.moment = t.moment and d.listing_rank = t.listing_rank
    window together as (partition by d.subject, p.moment)
),

-- As in backups: what is shown later counts more than what was gone before.
weighed as (
    select
        *,
        coalesce(shown_at >= coalesce(gone_at, shown_at), false) as is_there
    from says
),

turns as materialized (
    select
        *,
        coalesce(first_value(is_there) over one_earlier, false) as was_there,
        coalesce(first_value(moment) over one_earlier, timestamptz '1900-01-01 00:00:00+00') as moment_before
    from weighed
    window one_earlier as (partition by subject order by moment groups between 1 preceding and 1 preceding)
),

-- What is told of the disputed is materialized, or PostgreSQL looks for it anew for every version of the days asked for.

-- By the giver's of the listings that begin to tell of it, else of those that show it again.
begun as (
    select distinct on (t.subject, t.moment)
        t.backup_id,
        t.opened_by,
        o.observation_id,
        o.observed_at,
        o.finished_at,
        case when t.goes_on or t.valid_from <= t.moment_before then t.gone_at end as not_there_at
    from turns as t
    inner join bounds as o
        on t.told_until = o.sync_end and t.listing_rank = o.listing_rank
    where
        t.is_there
        and not t.was_there
        and t.is_open
        and t.told_until >= coalesce(t.gone_at, t.told_until)
        and o.is_proven
    order by t.subject, t.moment, t.goes_on or t.valid_from <= t.moment_before, t.listing_rank
),

begun_together as materialized (
    select
        w.*,
        date '1970-01-01' + cast(floor(floor(date_part('epoch', t.observed_at)) / 86400) as integer) as change_date,
        t.observed_at as seen_at,
        'appeared' as change_type,
        t.observation_id,
        case
            when t.not_there_at is not null then t.not_there_at
            when d.backup_id is null then w.absent_at
            else d.absent_at
        end as not_before,
        t.finished_at as not_after,
        w.is_first and w.opened_by = t.observation_id as is_baseline,
        null as changed_field,
        null as before,
        null as after
    from begun as t
    inner join disputed as w
        on t.opened_by = w.opened_by and t.backup_id = w.backup_id
    left join doubted as d
        on w.opened_by = d.opened_by and w.backup_id = d.backup_id
),

ended_together as materialized (
    select d.*
    from (
        select distinct on (subject, moment)
            backup_id,
            opened_by
        from turns
        where was_there and not is_there and not is_open and not is_followed and valid_to > moment_before
        order by subject, moment, listing_rank
    ) as t
    inner join disputed as d
        on t.opened_by = d.opened_by and t.backup_id = d.backup_id
),

-- Who would have seen a change: of those that were proven and knew it before the giver's.
watched as (
    select distinct on (subject, moment) *
    from turns
    where was_there and is_there and is_open and told_until = moment and (goes_on or begin_moment < moment)
    order by subject, moment, listing_rank
),

-- Unless another told it already, while this one was not proven.
changed_together as materialized (
    select d.*
    from watched as w
    inner join disputed as d
        on w.opened_by = d.opened_by and w.backup_id = d.backup_id
    left join chains as e
        on
            w.subject = e.subject
            and w.row_hash = e.row_hash
            and w.listing_rank <> e.listing_rank
            and e.goes_on
            and e.begin_moment > w.told_before
            and e.begin_moment < w.moment
    where w.goes_on and w.begin_moment = w.moment and e.opened_by is null
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
    from (
        select * from witnessed
        union all
        select * from changed_together
    ) as e
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
    select * from ended_together
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
    select * from begun_together
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
