-- Who can see, or could see, our backups without being trusted, and who has accepted it?
-- Grain: one row per share whose recipient the policy did not trust at some moment of it, those that still stand first.
-- No row at all where there is no policy (see projects).
-- Columns:
--   state                  open, accepted, resolved or reopened
--   to_project_id          recipient
--   recipient              its name, where the policy in force names it
--   from_project_id        giver
--   backup_name            name of the backup, while it is shared
--   size_gb                size of its source volume, while it is shared, GB
--   untrusted_from         since when there was no trust
--   untrusted_until        until when; null: it lasts
--   exception_id           exception that accepts it, or did so last
--   exception_owner        who answers for it
--   exception_reason       why it is accepted
--   exception_expires_on   last day of the exception
--   region                 region
--   backup_id              backup
--   share_id               share
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
left join policy_projects_in_force as n
    on f.to_project_id = n.project_id
left join backups as b
    on f.region = b.region and f.backup_id = b.backup_id
where f.rule = 'untrusted_recipient'
order by f.resolved_at desc nulls first, f.first_seen, f.share_id
