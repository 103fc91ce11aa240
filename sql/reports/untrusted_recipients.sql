-- Who can see, or could see, our backups without being trusted, and who has accepted it?
-- Grain: one row per share whose recipient the policy did not trust at some moment of it, those that still stand first.
-- No row at all where there is no policy (see projects). untrusted_from, untrusted_until: the time without trust (null:
-- it lasts); recipient: its name in the policy, where it is or was named there.
with names as (
    select distinct on (project_id)
        project_id,
        project_name
    from policy_recipients
    order by project_id, valid_from desc
)

select
    f.state,
    f.to_project_id,
    n.project_name as recipient,
    f.from_project_id,
    b.backup_name,
    b.size_gb,
    f.first_seen as untrusted_from,
    f.resolved_at as untrusted_until,
    f.exception_id,
    f.exception_owner,
    f.exception_reason,
    f.exception_expires_on,
    f.region,
    f.backup_id,
    f.share_id
from findings as f
left join names as n
    on f.to_project_id = n.project_id
left join backups as b
    on f.region = b.region and f.backup_id = b.backup_id
where f.rule = 'untrusted_recipient'
order by f.resolved_at desc nulls first, f.first_seen, f.share_id
