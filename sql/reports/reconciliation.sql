-- Do the list, the count of the service and the distinct ids agree?
-- Grain: one row per observation, the latest first.
-- Parameter: since date = today-30: first day (UTC)
-- Columns:
--   observed_at      start of the walk
--   region           region of the listing
--   project_id       project
--   direction        outgoing or incoming
--   status           exact, covered, incomplete or failed
--   count_before     shares according to the service before the walk; null: it was not told
--   distinct_ids     distinct ids that the walk read
--   count_after      shares according to the service after the walk; null: it was not told
--   share_count      shares that were recorded
--   rejected_count   records that could not be read
--   unrecorded       distinct ids that are neither recorded nor rejected; of an unproven walk nothing is recorded
--   verdict          agrees; moved: the counts differ from each other; differs; not_told: there is no count
select
    observed_at,
    region,
    project_id,
    direction,
    status,
    count_before,
    distinct_ids,
    count_after,
    share_count,
    rejected_count,
    case when is_proven then distinct_ids - share_count - rejected_count end as unrecorded,
    case
        when count_before is null or count_after is null then 'not_told'
        when count_before <> count_after then 'moved'
        when count_after <> distinct_ids then 'differs'
        else 'agrees'
    end as verdict
from observation_log
where snapshot_date >= cast($since as date)
order by observed_at desc, region, project_id, direction
