-- title: Who gave what to whom
-- definition: Changes of access in the period, newest first, with what was added and removed where the log tells. The newest 500.
select
    occurred_at,
    coalesce(actor_email, 'Celonis') as done_by,
    direction,
    kind,
    subject_name as to_whom,
    object_name as on_what,
    added,
    removed,
    risk,
    is_outside_working_hours as off_hours,
    team
from permission_changes
where
    occurred_at >= (select as_of - interval '{days} days' from report_window)
    and direction <> 'none'
order by occurred_at desc, event_id
limit 500
