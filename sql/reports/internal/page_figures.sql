-- How much was shared at a given moment, by and with how many projects?
-- Grain: one row per moment at which anything was shared. Parameter: $moment, a time with zone.
-- Each share and each backup counts once, whichever listings tell of it. gb: size of the volumes of these backups;
-- unknown_size_count: backups whose size no listing told.
with shares as (
    select * from backup_shares_as_of($moment)
),

readable as (
    select distinct region, backup_id
    from shares
),

sizes as (
    select
        count(*) as backup_count,
        cast(coalesce(sum(b.size_gb), 0) as bigint) as gb,
        count(*) filter (where b.size_gb is null) as unknown_size_count
    from readable as r
    left join backups_as_of($moment) as b
        on r.region = b.region and r.backup_id = b.backup_id
)

select
    count(*) as share_count,
    z.backup_count,
    z.gb,
    z.unknown_size_count,
    count(distinct s.from_project_id) as giver_count,
    count(distinct s.to_project_id) as recipient_count
from shares as s
cross join sizes as z
group by z.backup_count, z.gb, z.unknown_size_count
