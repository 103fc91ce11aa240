-- Since when, and until when, is something known of a project, of a volume, and of anything at all?
-- Grain: one row per thing that is known: project, volume, anything. known_until: of anything, its last proof.
with projects as (
    select observed_at as seen_at
    from observation_log
    where project_id = $project
    union all
    select valid_from as seen_at
    from backup_share_periods
    where from_project_id = $project or to_project_id = $project
),

things as (
    select
        'project' as thing,
        seen_at
    from projects
    union all
    select
        'volume' as thing,
        valid_from as seen_at
    from backup_periods
    where volume_id = $volume
    union all
    select
        'anything' as thing,
        observed_at as seen_at
    from observation_log
    where is_proven
)

select
    thing,
    min(seen_at) as known_since,
    max(seen_at) as known_until
from things
group by thing
