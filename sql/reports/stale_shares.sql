-- Which active shares are older than they should be?
-- Grain: one row per active share of at least that age, the oldest first.
-- Parameter: days integer = 90: age at least, in days
-- Parameter: as_of date = today: day (UTC) at which the age is told
-- Columns:
--   region             region of the listing
--   share_id           share
--   backup_id          backup
--   from_project_id    giver
--   to_project_id      recipient
--   share_created_at   when the service says that it was granted
--   age_days           days since then; where the service does not say, since it was seen, so it is at least that old
--   last_observed_at   when the listing that tells it was proven last
with aged as (
    select
        *,
        cast($as_of as date)
        - cast(coalesce(share_created_at, valid_from) at time zone 'UTC' as date) as age_days
    from backup_shares
)

select
    region,
    share_id,
    backup_id,
    from_project_id,
    to_project_id,
    share_created_at,
    age_days,
    last_observed_at
from aged
where age_days >= cast($days as integer)
order by age_days desc, region, share_id
