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

-- Numbers instead of texts, of which every row would have to be sorted.
listings as (
    select
        region,
        project_id,
        direction,
        row_number() over (order by region, project_id, direction) as listing_number
    from (
        select distinct region, project_id, direction
        from backup_share_history
        union
        select distinct region, project_id, direction
        from backup_history
        union
        select distinct region, project_id, direction
        from observations
    ) as told
),

-- Left joins where inner ones would do: PostgreSQL takes three equal texts for rarer than they are, and a few rows for
-- so few that it compares each with all others.
looks as not materialized (
    select
        o.*,
        l.listing_number,
        row_number() over (order by o.observation_id) as look_number
    from observations as o
    left join listings as l
        on o.region = l.region and o.project_id = l.project_id and o.direction = l.direction
),

-- may_be_gone: a backup also ends when the last share of it turns to another one: that is seen, not missed.
ends as (
    select
        v.relation = 'backup_share_history' as is_share,
        l.listing_number,
        v.key_id,
        v.row_hash,
        v.valid_from,
        v.valid_to,
        v.closed_by is not null as is_closed,
        o.look_number as opened_number,
        c.look_number as closed_number,
        coalesce(
            o.is_proven and o.observed_at = v.valid_from and o.listing_number = l.listing_number, false
        ) as is_opened_well,
        case
            when v.closed_by is null then v.valid_to = timestamptz '9999-12-31 00:00:00+00'
            else coalesce(c.is_proven and c.observed_at = v.valid_to and c.listing_number = l.listing_number, false)
        end as is_closed_well,
        coalesce(c.is_proven and (c.may_close or v.relation = 'backup_history'), false) as may_be_gone
    from versions as v
    left join listings as l
        on v.region = l.region and v.project_id = l.project_id and v.direction = l.direction
    left join looks as o
        on v.opened_by = o.observation_id
    left join looks as c
        on v.closed_by = c.observation_id
),

stories as (
    select
        *,
        lead(valid_from) over story as next_valid_from,
        lead(valid_to) over story as next_valid_to,
        lead(row_hash) over story as next_row_hash
    from ends
    window story as (partition by is_share, listing_number, key_id order by valid_from, valid_to)
),

opened as (
    select
        opened_number,
        count(case when is_share then 1 end) as shares,
        count(case when not is_share then 1 end) as backups
    from stories
    group by opened_number
),

closed as (
    select
        closed_number,
        -- Closed and opened anew by the same observation: changed.
        count(case when is_share and next_valid_from = valid_to then 1 end) as shares_changed,
        count(case when is_share then 1 end) as shares,
        count(case when not is_share then 1 end) as backups
    from stories
    where is_closed
    group by closed_number
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
    from looks as l
    left join opened as o
        on l.look_number = o.opened_number
    left join closed as c
        on l.look_number = c.closed_number
),

broken as (
    select
        'I1' as promise,
        'begins at or after its end' as what,
        stories.*
    from stories
    where valid_from >= valid_to
    union all
    select
        'I2' as promise,
        'another version of it is open as well' as what,
        stories.*
    from stories
    where
        valid_to = timestamptz '9999-12-31 00:00:00+00'
        and next_valid_to = valid_to
    union all
    select
        'I3' as promise,
        'overlaps the next version of it' as what,
        stories.*
    from stories
    where next_valid_from < valid_to
    union all
    select
        'I4' as promise,
        'is gone by an observation that does not prove absence' as what,
        stories.*
    from stories
    where
        is_closed
        and (next_valid_from is null or next_valid_from > valid_to)
        and not may_be_gone
    union all
    select
        'I5' as promise,
        'has the same content as the version that follows at once' as what,
        stories.*
    from stories
    where next_valid_from = valid_to and next_row_hash = row_hash
    union all
    select
        'I6' as promise,
        'was not opened by a proven observation of its listing at that instant' as what,
        stories.*
    from stories
    where not is_opened_well
    union all
    select
        'I6' as promise,
        'was not closed by a proven observation of its listing at that instant' as what,
        stories.*
    from stories
    where not is_closed_well
)

select
    b.promise,
    case when b.is_share then 'backup_share_history' else 'backup_history' end as relation,
    l.region,
    l.project_id,
    l.direction,
    b.key_id,
    concat('the version from ', b.valid_from, ' to ', b.valid_to, ' ', b.what) as detail
from broken as b
inner join listings as l
    on b.listing_number = l.listing_number
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
