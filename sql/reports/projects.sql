-- Which projects take part in sharing or stand in the policy, and what does the policy say of each?
-- Grain: one row per project that ever shared, received, was observed, or that the policy in force names.
-- Columns:
--   project_id         project
--   standing           own, trusted, not_trusted_now (named, but not for the day of the last proven observation), unknown
--                      (the policy does not name it) or no_policy (there is none)
--   project_name       its name in the policy
--   owner              who answers for it, or for the trust in it
--   shares_given       active shares that it gives
--   shares_received    active shares that it receives
--   is_observed        whether its own listings were ever observed
--   policy_since       since when the policy in force is so
with today as (
    select cast(max(observed_at) at time zone 'UTC' as date) as as_of_date
    from observation_log
    where is_proven
),

named as (
    select
        n.project_id,
        n.project_name,
        n.owner,
        case
            when n.kind = 'own' then 'own'
            when t.as_of_date between coalesce(n.trusted_from, t.as_of_date) and coalesce(n.trusted_until, t.as_of_date)
                then 'trusted'
            else 'not_trusted_now'
        end as standing
    from policy_projects_in_force as n
    cross join today as t
),

policy as (
    select max(policy_since) as policy_since from policy_in_force
),

involved as (
    select from_project_id as project_id from backup_share_periods
    union
    select to_project_id as project_id from backup_share_periods
    union
    select project_id from observation_log
    union
    select project_id from named
),

given as (
    select from_project_id as project_id, count(*) as share_count
    from backup_shares
    group by from_project_id
),

received as (
    select to_project_id as project_id, count(*) as share_count
    from backup_shares
    group by to_project_id
)

select
    i.project_id,
    case
        when p.policy_since is null then 'no_policy'
        else coalesce(n.standing, 'unknown')
    end as standing,
    n.project_name,
    n.owner,
    coalesce(g.share_count, 0) as shares_given,
    coalesce(r.share_count, 0) as shares_received,
    i.project_id in (select project_id from observation_log) as is_observed,
    p.policy_since
from involved as i
cross join policy as p
left join named as n
    on i.project_id = n.project_id
left join given as g
    on i.project_id = g.project_id
left join received as r
    on i.project_id = r.project_id
where i.project_id is not null
order by standing, i.project_id
