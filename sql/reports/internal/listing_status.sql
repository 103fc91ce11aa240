-- What did a sync see of each listing, and with which proof?
-- Grain: one row per listing of the sync. Parameter: $sync_id.
select
    observed_at,
    project_id,
    direction,
    status,
    is_proven,
    share_count,
    shares_granted as granted,
    shares_changed as changed,
    shares_withdrawn as withdrawn,
    absent_count as absent,
    held_count as held,
    rejected_count as rejected,
    page_count as pages,
    request_count as requests,
    count_after as counted,
    reason
from observations
where sync_id = $sync_id
order by project_id, direction
