-- Who shared how much with whom at a given moment?
-- Grain: one row per giver and recipient. Parameter: $moment, a time with zone.
-- gb: size of the volumes whose backups the recipient may read; each backup counts once.
with readable as (
    select
        region,
        from_project_id,
        to_project_id,
        backup_id,
        count(*) as share_count
    from backup_shares_as_of($moment)
    group by region, from_project_id, to_project_id, backup_id
)

select
    r.from_project_id,
    r.to_project_id,
    cast(sum(r.share_count) as bigint) as share_count,
    cast(coalesce(sum(b.size_gb), 0) as bigint) as gb
from readable as r
left join backups_as_of($moment) as b
    on r.region = b.region and r.backup_id = b.backup_id
group by r.from_project_id, r.to_project_id
order by share_count desc, r.from_project_id, r.to_project_id
