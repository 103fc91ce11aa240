-- Which exceptions does the policy hold, what do they accept, and when do they run out?
-- Grain: one row per exception of the policy in force, what runs out next first; no row where there is no policy.
-- Columns:
--   exception_id       name of the exception
--   standing           not_yet, in_force or expired, on the day of the last proven observation
--   accepted_from      first day, UTC; null: always
--   expires_on         last day, UTC
--   days_left          whole days after that day; negative: it has run out
--   accepted_count     findings that it accepts now; 0: nobody needs it
--   rule               rule whose findings it accepts
--   owner              who answers for it
--   reason             why it is accepted
--   share_id           of this share only; null: any
--   backup_id          of this backup only; null: any
--   from_project_id    of what this project shares only; null: any
--   to_project_id      of what is shared with this project only; null: any
--   project_id         about this project only; null: any
--   in_policy_since    when the policy that first says so was landed
with today as (
    select cast(max(observed_at) at time zone 'UTC' as date) as as_of_date
    from observation_log
    where is_proven
),

accepted as (
    select exception_id, count(*) as accepted_count
    from findings
    where state = 'accepted'
    group by exception_id
)

select
    e.exception_id,
    case
        when t.as_of_date < e.accepted_from then 'not_yet'
        when t.as_of_date > e.expires_on then 'expired'
        else 'in_force'
    end as standing,
    e.accepted_from,
    e.expires_on,
    e.expires_on - t.as_of_date as days_left,
    coalesce(a.accepted_count, 0) as accepted_count,
    e.rule,
    e.owner,
    e.reason,
    e.share_id,
    e.backup_id,
    e.from_project_id,
    e.to_project_id,
    e.project_id,
    e.in_policy_since
from policy_exceptions_in_force as e
cross join today as t
left join accepted as a
    on e.exception_id = a.exception_id
order by e.expires_on, e.exception_id
