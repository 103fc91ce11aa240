-- Which recipients had never got anything from a giver before?
-- Grain: one row per giver and recipient that were seen together first on or after the date, the latest first.
-- Parameter: since date = today-30: day (UTC) from which on the first sight counts
-- Columns:
--   region             region of the listing
--   from_project_id    giver
--   to_project_id      recipient
--   first_seen_at      first proven observation that told of a share between them
--   first_created_at   when the service says that their first share was granted
--   is_baseline        true: some listing knew it from its very first observation, so it may be older
--   share_count        shares between them ever
with first_looks as (
    select
        region,
        project_id,
        direction,
        min(observed_at) as first_observed_at
    from observation_log
    where is_proven
    group by region, project_id, direction
)

select
    s.region,
    s.from_project_id,
    s.to_project_id,
    min(s.valid_from) as first_seen_at,
    min(s.share_created_at) as first_created_at,
    bool_or(s.valid_from = f.first_observed_at) as is_baseline,
    count(distinct s.share_id) as share_count
from backup_share_periods as s
inner join first_looks as f
    on s.region = f.region and s.project_id = f.project_id and s.direction = f.direction
group by s.region, s.from_project_id, s.to_project_id
having cast(min(s.valid_from) at time zone 'UTC' as date) >= cast($since as date)
order by first_seen_at desc, s.region, s.from_project_id, s.to_project_id
