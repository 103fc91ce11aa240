-- Which promises of the history are broken?
-- Grain: one row per broken promise and version or observation; no row at all when every promise holds.
-- I1 a version begins before it ends; I2 at most one version of a key is open; I3 versions of a key do not overlap; I4
-- what is gone was proved absent; I5 neighbouring versions differ; I6 both ends of a version are proven observations of
-- its listing; I21 the ledger counts what the histories hold.
-- A version is compared with the next one of its key only: if any two overlap, two neighbours do.
with versions as (
    select
        'backup_share_history' as relation,
        region,
        project_id,
        direction,
        share_id as key_id,
        row_hash,
        valid_from,
        valid_to,
        opened_by,
        closed_by
    from backup_share_history
    union all
    select
        'backup_history' as relation,
        region,
        project_id,
        direction,
        backup_id as key_id,
        row_hash,
        valid_from,
        valid_to,
        opened_by,
        closed_by
    from backup_history
),

-- A number instead of three texts, of which every row would have to be sorted.
listings as (
    select
        region,
        project_id,
        direction,
        row_number() over (order by region, project_id, direction) as listing_number
    from (select distinct region, project_id, direction from versions) as told
),

stories as (
    select
        v.*,
        lead(v.valid_from) over story as next_valid_from,
        lead(v.valid_to) over story as next_valid_to,
        lead(v.row_hash) over story as next_row_hash
    from versions as v
    inner join listings as l
        on v.region = l.region and v.project_id = l.project_id and v.direction = l.direction
    window story as (
        partition by v.relation, l.listing_number, v.key_id
        order by v.valid_from, v.valid_to
    )
),

ends as (
    select
        s.*,
        o.is_proven
        and o.observed_at = s.valid_from
        and o.region = s.region
        and o.project_id = s.project_id
        and o.direction = s.direction as is_opened_well,
        case
            when s.closed_by is null then s.valid_to = timestamptz '9999-12-31 00:00:00+00'
            else
                c.is_proven
                and c.observed_at = s.valid_to
                and c.region = s.region
                and c.project_id = s.project_id
                and c.direction = s.direction
        end as is_closed_well,
        -- A backup also ends when the last share of it turns to another one: that is seen, not missed.
        c.is_proven and (c.may_close or s.relation = 'backup_history') as may_be_gone
    from stories as s
    left join observations as o
        on s.opened_by = o.observation_id
    left join observations as c
        on s.closed_by = c.observation_id
),

opened as (
    select
        opened_by as observation_id,
        count(case when relation = 'backup_share_history' then 1 end) as shares,
        count(case when relation = 'backup_history' then 1 end) as backups
    from versions
    group by opened_by
),

closed as (
    select
        closed_by as observation_id,
        -- Closed and opened anew by the same observation: changed.
        count(case when relation = 'backup_share_history' and next_valid_from = valid_to then 1 end) as shares_changed,
        count(case when relation = 'backup_share_history' then 1 end) as shares,
        count(case when relation = 'backup_history' then 1 end) as backups
    from stories
    where closed_by is not null
    group by closed_by
),

counted as (
    select
        l.region,
        l.project_id,
        l.direction,
        l.observation_id,
        l.shares_granted,
        l.shares_changed,
        l.shares_withdrawn,
        l.backups_opened,
        l.backups_closed,
        coalesce(o.shares, 0) - coalesce(c.shares_changed, 0) as found_granted,
        coalesce(c.shares_changed, 0) as found_changed,
        coalesce(c.shares, 0) - coalesce(c.shares_changed, 0) as found_withdrawn,
        coalesce(o.backups, 0) as found_opened,
        coalesce(c.backups, 0) as found_closed
    from observations as l
    left join opened as o
        on l.observation_id = o.observation_id
    left join closed as c
        on l.observation_id = c.observation_id
),

broken as (
    select
        'I1' as promise,
        'begins at or after its end' as what,
        ends.*
    from ends
    where valid_from >= valid_to
    union all
    select
        'I2' as promise,
        'another version of it is open as well' as what,
        ends.*
    from ends
    where
        valid_to = timestamptz '9999-12-31 00:00:00+00'
        and next_valid_to = valid_to
    union all
    select
        'I3' as promise,
        'overlaps the next version of it' as what,
        ends.*
    from ends
    where next_valid_from < valid_to
    union all
    select
        'I4' as promise,
        'is gone by an observation that does not prove absence' as what,
        ends.*
    from ends
    where
        closed_by is not null
        and (next_valid_from is null or next_valid_from > valid_to)
        and not coalesce(may_be_gone, false)
    union all
    select
        'I5' as promise,
        'has the same content as the version that follows at once' as what,
        ends.*
    from ends
    where next_valid_from = valid_to and next_row_hash = row_hash
    union all
    select
        'I6' as promise,
        'was not opened by a proven observation of its listing at that instant' as what,
        ends.*
    from ends
    where not coalesce(is_opened_well, false)
    union all
    select
        'I6' as promise,
        'was not closed by a proven observation of its listing at that instant' as what,
        ends.*
    from ends
    where not coalesce(is_closed_well, false)
)

select
    promise,
    relation,
    region,
    project_id,
    direction,
    key_id,
    concat('the version from ', valid_from, ' to ', valid_to, ' ', what) as detail
from broken
union all
select
    'I21' as promise,
    'observations' as relation,
    region,
    project_id,
    direction,
    observation_id as key_id,
    concat(
        'the ledger counts ', shares_granted, ' shares granted, ', shares_changed, ' changed, ', shares_withdrawn,
        ' withdrawn, ', backups_opened, ' backups opened, ', backups_closed, ' closed; the histories hold ',
        found_granted, ', ', found_changed, ', ', found_withdrawn, ', ', found_opened, ', ', found_closed
    ) as detail
from counted
where
    shares_granted <> found_granted
    or shares_changed <> found_changed
    or shares_withdrawn <> found_withdrawn
    or backups_opened <> found_opened
    or backups_closed <> found_closed
order by promise, relation, region, project_id, direction, key_id, detail
