-- Which backups were visible to another project at a given moment, and in which state?
-- Grain: one row per backup. In DuckDB a text or a date is taken as the moment as well. What the ledger said at the
-- moment: of each listing the state after the last proven observation that had begun by then, and of several that tell
-- of a backup what the view backups would have shown then. In
-- a gap the listing is still told as it was proven before the gap, never more: whoever wants proof of the day itself
-- compares last_proven_at with the moment. Before the first proven observation of a listing nothing is told of it.
-- Parameter: $moment, a time with zone
-- Columns as in backups, and:
--   last_proven_at   when the listing that tells it was last proven by the moment, UTC
with looks as (
    select
        region,
        project_id,
        direction,
        observed_at,
        is_proven,
        max(observed_at) over (partition by region, sync_id) as sync_end
    from observation_log
    where observed_at <= cast($moment as timestamptz)
),

-- The listings of one sync speak at the same time, whichever was walked first: at the start of its last walk.
last_proof as (
    select
        region,
        project_id,
        direction,
        max(observed_at) as last_proven_at,
        max(sync_end) as told_until
    from looks
    where is_proven
    group by region, project_id, direction
),

-- Numbers instead of texts, of which every row would have to be hashed.
-- listing_rank: of the listings of a region that tell of a backup the first is believed, the giver's before others.
listings as (
    select
        *,
        min(told_until) over (partition by region) as oldest,
        dense_rank() over (order by region) as region_number,
        row_number() over (order by region, direction desc, project_id) as listing_rank
    from last_proof
),

-- However late the moment, what has no end is there: its valid_to is 9999-12-31.
-- Only where some listing was not proven as lately as others is it asked who told of a backup later.
told_later as materialized (
    select
        p.region_number,
        h.backup_id,
        max(
            case
                when h.valid_to > least(cast($moment as timestamptz), timestamptz '9999-12-30 00:00:00+00')
                    then p.told_until
                else h.valid_to
            end
        ) as freshest
    from backup_periods as h
    inner join listings as p
        on h.region = p.region and h.project_id = p.project_id and h.direction = p.direction
    where h.valid_from <= cast($moment as timestamptz) and p.told_until > p.oldest
    group by p.region_number, h.backup_id
),

-- Left joins where inner ones would do: PostgreSQL takes three equal texts for rarer than they are, and a few rows for
-- so few that it compares each with all others.
told as (
    select
        h.*,
        p.last_proven_at,
        p.region_number,
        p.listing_rank
    from backup_periods as h
    left join listings as p
        on h.region = p.region and h.project_id = p.project_id and h.direction = p.direction
    left join told_later as l
        on p.region_number = l.region_number and h.backup_id = l.backup_id
    where
        h.valid_from <= cast($moment as timestamptz)
        and h.valid_to > least(cast($moment as timestamptz), timestamptz '9999-12-30 00:00:00+00')
        and coalesce(p.told_until >= l.freshest, true)
),

told_twice as (
    select
        region_number,
        backup_id,
        min(listing_rank) as listing_rank
    from told
    group by region_number, backup_id
    having count(*) > 1
)

select
    t.backup_id,
    t.volume_id,
    t.volume_snapshot_id,
    t.backup_name,
    t.backup_status,
    t.availability_zone,
    t.container,
    t.description,
    t.description_text,
    t.fail_reason,
    t.size_gb,
    t.object_count,
    t.chain_size_mb,
    t.space_saving_percent,
    t.dedup_compression_code,
    t.backup_type_code,
    t.image_type_code,
    t.storage_type_code,
    t.is_incremental,
    t.is_incremental_requested,
    t.has_dependent_backups,
    t.is_bootable,
    t.backup_created_at,
    t.backup_updated_at,
    t.data_timestamp,
    t.region,
    t.project_id,
    t.direction,
    t.valid_from,
    t.last_proven_at
from told as t
left join told_twice as w
    on t.region_number = w.region_number and t.backup_id = w.backup_id
where coalesce(t.listing_rank = w.listing_rank, true)
