-- Which rules of the sharing policy are broken now, and since when?
-- Grain: one row per rule with findings that nobody has accepted. They stand one by one in the view.
select
    severity,
    rule,
    count(*) as finding_count,
    min(first_seen) as oldest
from findings
where state in ('open', 'reopened')
group by severity, rule
order by finding_count desc, rule
