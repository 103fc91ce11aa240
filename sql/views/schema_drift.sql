-- What does the API say that this program does not know?
-- Grain: one row per region, kind, path and value. The raw pages hold all of it.
-- Columns as in observed_drift, and:
--   first_seen_at   when it was met first, UTC
--   last_seen_at    when it was met last, UTC
--   is_current      whether the last proven observation of some listing met it
--   listing_count   listings that ever met it
--   record_count    of each of them, the records that held it when it was last met there
--   example         what an unknown field held in one record of the last observation that met it, as JSON, key material
--                   withheld
--   share_id        share of that record
with last_proven as (
    select
        region,
        project_id,
        direction,
        max(observed_at) as observed_at
    from observations
    where is_proven
    group by region, project_id, direction
),

met as (
    select
        d.*,
        d.observed_at = p.observed_at as is_current,
        row_number() over (
            partition by d.region, d.kind, d.path, d.value, d.project_id, d.direction
            order by d.observed_at desc
        ) as age_rank,
        row_number() over (
            partition by d.region, d.kind, d.path, d.value
            order by d.observed_at desc, d.observation_id
        ) as example_rank
    from observed_drift as d
    inner join last_proven as p
        on d.region = p.region and d.project_id = p.project_id and d.direction = p.direction
)

select
    region,
    kind,
    path,
    value,
    min(observed_at) as first_seen_at,
    max(observed_at) as last_seen_at,
    bool_or(is_current) as is_current,
    cast(count(case when age_rank = 1 then 1 end) as bigint) as listing_count,
    cast(sum(case when age_rank = 1 then record_count end) as bigint) as record_count,
    max(case when example_rank = 1 then example end) as example,
    max(case when example_rank = 1 then share_id end) as share_id
from met
group by region, kind, path, value
