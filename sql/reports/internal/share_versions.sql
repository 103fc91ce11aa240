-- What did each listing say of one share, from when until when, and how sure are both ends?
-- Grain: one row per listing and version of the share. Parameter: $share_id.
-- The bounds are those of the view backup_share_versions; valid_to: null while current.
select *
from backup_share_versions
where share_id = $share_id
order by region, project_id, direction, valid_from
