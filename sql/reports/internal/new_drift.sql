-- Which unknown fields and values did a sync meet that its region had never shown before?
-- Grain: one row per region, kind, path and value that the sync was the first to meet. Parameter: $sync_id.
-- record_count: of all listings of the sync.
with met as (
    select
        d.*,
        o.sync_id,
        min(d.observed_at) over (partition by d.region, d.kind, d.path, d.value) as first_seen_at
    from observed_drift as d
    inner join observations as o
        on d.observation_id = o.observation_id
),

firsts as (
    select distinct
        region,
        kind,
        path,
        value
    from met
    where sync_id = $sync_id and observed_at = first_seen_at
)

select
    m.region,
    m.kind,
    m.path,
    m.value,
    cast(sum(m.record_count) as bigint) as record_count,
    min(m.example) as example,
    min(m.share_id) as share_id
from met as m
inner join firsts as f
    on m.region = f.region and m.kind = f.kind and m.path = f.path and m.value = f.value
where m.sync_id = $sync_id
group by m.region, m.kind, m.path, m.value
order by m.region, m.kind, m.path, m.value
