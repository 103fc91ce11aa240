-- Who could ever read a backup of one volume, and from when until when?
-- Grain: one row per listing, share and version of a backup of the volume. valid_to is null while it is current; a share
-- of one own project with another stands in the listings of both.
select distinct
    s.valid_from,
    s.valid_to,
    s.share_created_at,
    s.to_project_id,
    s.direction,
    b.backup_name,
    s.share_id
from backup_versions as b
inner join backup_share_versions as s
    on
        b.region = s.region
        and b.project_id = s.project_id
        and b.direction = s.direction
        and b.backup_id = s.backup_id
where b.volume_id = '02f4593e-bb01-4ea8-9232-275bb833b738'
order by s.share_created_at, s.share_id, s.direction, s.valid_from
