-- What changed in the backups that others can read, and what was it before?
-- Grain: one row per change and field.
select
    change_date,
    backup_id,
    changed_field,
    before,
    after
from backup_changes
where change_type = 'changed' and changed_field in ('backup_status', 'fail_reason')
order by change_date, backup_id, changed_field
