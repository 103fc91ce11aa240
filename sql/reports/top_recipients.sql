-- Which recipients can read how many GB of other projects?
-- Grain: one row per recipient now, the most GB first.
-- Columns:
--   region           region of the listing
--   to_project_id    recipient
--   giver_count      projects that share with it
--   share_count      shares with it
--   backup_count     distinct backups that it may read
--   gb               size of the volumes that these backups are of, GB; each backup counts once
--   unknown_count    of these backups, those whose size nobody told
with readable as (
    select
        region,
        to_project_id,
        backup_id,
        count(*) as share_count
    from backup_shares
    where to_project_id is not null
    group by region, to_project_id, backup_id
),

givers as (
    select
        region,
        to_project_id,
        count(distinct from_project_id) as giver_count
    from backup_shares
    group by region, to_project_id
)

select
    r.region,
    r.to_project_id,
    g.giver_count,
    cast(sum(r.share_count) as bigint) as share_count,
    count(*) as backup_count,
    cast(coalesce(sum(b.size_gb), 0) as bigint) as gb,
    count(*) filter (where b.size_gb is null) as unknown_count
from readable as r
left join givers as g
    on r.region = g.region and r.to_project_id = g.to_project_id
left join backups as b
    on r.region = b.region and r.backup_id = b.backup_id
group by r.region, r.to_project_id, g.giver_count
order by gb desc, r.region, r.to_project_id
