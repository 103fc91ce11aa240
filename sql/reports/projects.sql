-- Which projects take part in sharing or stand in the policy, and what does the policy say of each?
-- Grain: one row per project that ever shared, received, was observed, or that the policy in force names.
-- standing: own, trusted, not_trusted_now (named, but not for the day of the last proven observation), unknown (the
-- policy does not name it), no_policy (there is none, and every project is unknown). Shares are those of now.
with today as (
    select cast(max(observed_at) at time zone 'UTC' as date) as as_of_date
    from observations
    where is_proven
),

policy as (
    select
        min(valid_from) as first_from,
        max(valid_from) as policy_since
    from policy_versions
),

named as (
    select project_id, project_name, owner, 'own' as standing
    from policy_projects
    where valid_to = timestamptz '9999-12-31 00:00:00+00'
    union all
    select
        r.project_id,
        r.project_name,
        r.owner,
        case
            when t.as_of_date between coalesce(r.trusted_from, t.as_of_date) and coalesce(r.trusted_until, t.as_of_date)
                then 'trusted'
            else 'not_trusted_now'
        end as standing
    from policy_recipients as r
    cross join today as t
    where r.valid_to = timestamptz '9999-12-31 00:00:00+00'
),

involved as (
    select from_project_id as project_id from backup_share_history
    union
    select to_project_id as project_id from backup_share_history
    union
    select project_id from observations
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
        when p.first_from is null then 'no_policy'
        else coalesce(n.standing, 'unknown')
    end as standing,
    n.project_name,
    n.owner,
    coalesce(g.share_count, 0) as shares_given,
    coalesce(r.share_count, 0) as shares_received,
    i.project_id in (select project_id from observations) as is_observed,
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
