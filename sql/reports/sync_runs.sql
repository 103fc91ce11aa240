-- How long did each sync take, how much did it ask, and how much of that twice?
-- Grain: one row per sync, the latest first.
-- Parameter: since date = today-30: first day (UTC)
-- Columns:
--   sync_id            sync (Dagster run)
--   started_at         start of its first walk
--   finished_at        end of its last walk
--   seconds            from one to the other, loading not counted
--   slowest_seconds    the longest walk of one listing
--   listing_count      listings that were observed
--   proven_count       of these, those that were proven
--   page_count         pages that were landed
--   request_count      requests that were sent, repeats included
--   other_requests     requests that gave no landed page: counts, questions for what is absent, repeats
--   repeated_walks     walks of a listing beyond the first
select
    sync_id,
    min(observed_at) as started_at,
    max(finished_at) as finished_at,
    cast(extract(epoch from max(finished_at) - min(observed_at)) as double precision) as seconds,
    cast(max(extract(epoch from finished_at - observed_at)) as double precision) as slowest_seconds,
    count(*) as listing_count,
    count(*) filter (where is_proven) as proven_count,
    cast(sum(page_count) as bigint) as page_count,
    cast(sum(request_count) as bigint) as request_count,
    cast(sum(request_count - page_count) as bigint) as other_requests,
    cast(sum(greatest(pass_count - 1, 0)) as bigint) as repeated_walks
from observation_log
where snapshot_date >= cast($since as date)
group by sync_id
order by started_at desc, sync_id
