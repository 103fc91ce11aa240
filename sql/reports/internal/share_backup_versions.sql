-- What did each listing say of the backups that one share was of, while it was?
-- Grain: one row per listing, version of the share, and version of its backup. Parameter: $share_id.
-- share_valid_from names the version of the share; valid_to: null while current.
select
    s.valid_from as share_valid_from,
    b.*
from backup_share_versions as s
inner join backup_versions as b
    on
        s.region = b.region
        and s.project_id = b.project_id
        and s.direction = b.direction
        and s.backup_id = b.backup_id
        and (s.valid_to is null or s.valid_to > b.valid_from)
        and (b.valid_to is null or b.valid_to > s.valid_from)
where s.share_id = $share_id
order by s.region, s.project_id, s.direction, s.valid_from, b.valid_from
