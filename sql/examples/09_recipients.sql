-- Which projects can read how many GB of others?
-- Grain: one row per recipient now, the most GB first; each backup counts once.
select
    r.to_project_id,
    count(*) as backup_count,
    cast(sum(b.size_gb) as bigint) as size_gb
from (select distinct region, to_project_id, backup_id from backup_shares) as r
inner join backups as b
    on r.region = b.region and r.backup_id = b.backup_id
group by r.to_project_id
order by size_gb desc, r.to_project_id
limit 5
