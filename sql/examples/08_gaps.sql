-- What did we not see, and why?
-- Grain: one row per day and listing without proof.
select
    snapshot_date,
    project_id,
    direction,
    status,
    split_part(reason, ';', 1) as reason
from listing_coverage
where status <> 'proven'
order by snapshot_date, project_id, direction
