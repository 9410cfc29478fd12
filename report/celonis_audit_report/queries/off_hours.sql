-- title: Privileged actions outside working hours
-- definition: What takes or grants the power of an administrator and was done outside working hours, in the period. The newest 300.
select
    occurred_at,
    actor_email as done_by,
    event,
    object_name as on_what,
    ip_address,
    risk,
    team
from privileged_actions
where
    is_outside_working_hours
    and occurred_at >= (select as_of - interval '{days} days' from report_window)
order by occurred_at desc, event_id
limit 300
