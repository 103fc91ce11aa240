-- What was wrong with what was observed, day by day?
-- Grain: one row per day (UTC) with an observation.
-- Parameter: since date = today-30: first day
-- Columns:
--   snapshot_date        day
--   observation_count    observations
--   unproven_count       of these, those that prove nothing
--   no_absence_count     of the proven ones, those by which nothing could be recorded as withdrawn
--   rejected_count       records that could not be read (report quarantine_reasons)
--   rejected_percent     of all records
--   conflict_count       shares and backups of which a listing told two things
--   held_count           withdrawals that waited for a person's word
--   most_skew_seconds    how far the service's clock was off at most, either way; null: it did not tell
select
    snapshot_date,
    count(*) as observation_count,
    count(*) filter (where not is_proven) as unproven_count,
    count(*) filter (where is_proven and not may_close) as no_absence_count,
    cast(sum(rejected_count) as bigint) as rejected_count,
    cast(
        round(
            cast(100.0 * sum(rejected_count) / nullif(sum(rejected_count + share_count), 0) as numeric(18, 6)), 2
        ) as double precision
    ) as rejected_percent,
    cast(sum(conflict_count) as bigint) as conflict_count,
    cast(sum(held_count) as bigint) as held_count,
    max(abs(clock_skew_seconds)) as most_skew_seconds
from observation_log
where snapshot_date >= cast($since as date)
group by snapshot_date
order by snapshot_date
