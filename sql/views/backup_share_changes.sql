-- Which shares were granted, changed or withdrawn, and on which day was it seen?
-- Grain: one row per event of a share: granted (was not there before), changed (content differs), withdrawn (proven
-- gone). A share between two observed projects is told by its giver's listing where that ever saw it.
-- is_baseline: seen in the very first proven observation of the listing, so it may be older than the day says.
with witnesses as (
    select
        region,
        share_id,
        project_id,
        direction,
        row_number() over (
            partition by region, share_id
            order by direction desc, project_id -- outgoing before incoming
        ) as witness_rank
    from backup_share_history
    group by region, share_id, project_id, direction
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
