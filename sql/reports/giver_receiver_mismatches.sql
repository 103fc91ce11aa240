-- Which active shares do giver and recipient not tell alike, and which are of a backup that nobody knows?
-- Grain: one row per finding and share. Two listings are compared where both were proven last on the same day: else
-- the later one is right.
-- Columns:
--   finding           not_told_by_giver, not_told_by_receiver, told_differently or backup_unknown (an orphan)
--   region            region of the listings
--   share_id          share
--   backup_id         backup
--   from_project_id   giver
--   to_project_id     recipient
--   detail            columns that differ
--   given_at          when the giver's listing was proven last; null: it is not observed
--   received_at       when the recipient's listing was proven last; null: it is not observed
with last_proof as (
    select
        region,
        project_id,
        direction,
        max(observed_at) as proven_at
    from observation_log
    where is_proven
    group by region, project_id, direction
),

given as (
    select *
    from backup_share_periods
    where direction = 'outgoing' and valid_to = timestamptz '9999-12-31 00:00:00+00'
),

received as (
    select *
    from backup_share_periods
    where direction = 'incoming' and valid_to = timestamptz '9999-12-31 00:00:00+00'
),

pairs as (
    select
        coalesce(g.region, r.region) as region,
        coalesce(g.share_id, r.share_id) as share_id,
        coalesce(g.backup_id, r.backup_id) as backup_id,
        coalesce(g.from_project_id, r.from_project_id) as from_project_id,
        coalesce(g.to_project_id, r.to_project_id) as to_project_id,
        -- Whoever tells a share is its witness; of the other side the listing of the project that the share names.
        coalesce(g.project_id, r.from_project_id) as giver,
        coalesce(r.project_id, g.to_project_id) as receiver,
        case
            when g.share_id is null then 'not_told_by_giver'
            when r.share_id is null then 'not_told_by_receiver'
            else 'told_differently'
        end as finding,
        concat_ws(
            ', ',
            case when g.backup_id is distinct from r.backup_id then 'backup_id' end,
            case when g.from_project_id is distinct from r.from_project_id then 'from_project_id' end,
            case when g.to_project_id is distinct from r.to_project_id then 'to_project_id' end,
            case when g.share_created_at is distinct from r.share_created_at then 'share_created_at' end,
            case when g.share_updated_at is distinct from r.share_updated_at then 'share_updated_at' end
        ) as differing
    from given as g
    full outer join received as r
        on g.region = r.region and g.share_id = r.share_id
),

compared as (
    select
        p.finding,
        p.region,
        p.share_id,
        p.backup_id,
        p.from_project_id,
        p.to_project_id,
        case when p.finding = 'told_differently' then p.differing else '' end as detail,
        g.proven_at as given_at,
        r.proven_at as received_at
    from pairs as p
    inner join last_proof as g
        on p.region = g.region and p.giver = g.project_id and g.direction = 'outgoing'
    inner join last_proof as r
        on p.region = r.region and p.receiver = r.project_id and r.direction = 'incoming'
    where
        cast(g.proven_at at time zone 'UTC' as date) = cast(r.proven_at at time zone 'UTC' as date)
        and p.differing <> ''
),

orphans as (
    select
        'backup_unknown' as finding,
        s.region,
        s.share_id,
        s.backup_id,
        s.from_project_id,
        s.to_project_id,
        '' as detail,
        g.proven_at as given_at,
        r.proven_at as received_at
    from backup_shares as s
    left join backups as b
        on s.region = b.region and s.backup_id = b.backup_id
    left join last_proof as g
        on s.region = g.region and s.from_project_id = g.project_id and g.direction = 'outgoing'
    left join last_proof as r
        on s.region = r.region and s.to_project_id = r.project_id and r.direction = 'incoming'
    where b.backup_id is null
)

select * from compared
union all
select * from orphans
order by finding, region, share_id
