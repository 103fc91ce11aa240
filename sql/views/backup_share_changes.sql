-- Which shares were granted, changed or withdrawn, and on which day was it seen?
-- Grain: one row per event of a share: granted (was not there before), changed (content differs), withdrawn (proven
-- gone). A share that several listings tell of is told by the one that saw it first, of those the giver's; so what was
-- told once stays told when another project is observed. If that listing is not proven any more and those proven since
-- say that the share is gone, its withdrawal is told by them.
-- is_baseline: seen in the very first proven observation of the listing, so it may be older than the day says.
with last_proof as (
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
    inner join backup_share_history as h
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
        lag(h.valid_to) over story as previous_valid_to,
        lead(h.valid_from) over story as next_valid_from,
        h.valid_from = b.first_observed_at as is_baseline
    from backup_share_history as h
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
        case when previous_valid_to = valid_from then 'changed' else 'granted' end as change_type,
        opened_by as observation_id,
        versions.*
    from versions
    union all
    select
        valid_to as seen_at,
        'withdrawn' as change_type,
        closed_by as observation_id,
        versions.*
    from versions
    where closed_by is not null and (next_valid_from is null or next_valid_from > valid_to)
    union all
    select
        valid_to as seen_at,
        'withdrawn' as change_type,
        closed_by as observation_id,
        ended_elsewhere.*,
        null as previous_valid_to,
        null as next_valid_from,
        false as is_baseline
    from ended_elsewhere
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
    observation_id
from events
