-- Which shares were granted or withdrawn on a day, and of which backups?
-- Grain: one row per share granted or withdrawn. Parameters: $day; $moment: the end of the day before, with zone.
-- What a listing's very first observation found is left out. Name and size of a backup are those told last.
select
    c.change_type,
    c.from_project_id,
    c.to_project_id,
    c.share_id,
    c.backup_id,
    coalesce(b.backup_name, p.backup_name) as backup_name,
    coalesce(b.size_gb, p.size_gb) as size_gb,
    c.not_before,
    c.not_after
from backup_share_changes as c
left join backups as b
    on c.region = b.region and c.backup_id = b.backup_id
left join backups_as_of($moment) as p
    on c.region = p.region and c.backup_id = p.backup_id
where
    c.change_date = cast($day as date)
    and c.change_type in ('granted', 'withdrawn')
    and not c.is_baseline
order by c.change_type, c.from_project_id, c.to_project_id, c.share_id
