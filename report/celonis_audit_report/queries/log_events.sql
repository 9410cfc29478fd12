-- title: What was done to the logs
-- definition: Deletions, changes of settings and downloads of the logs, from the audit log itself. The newest 300.
select
    occurred_at,
    coalesce(actor_email, 'Celonis') as done_by,
    kind,
    log,
    event,
    is_by_retention as by_retention,
    details,
    risk,
    team
from log_integrity_events
order by occurred_at desc, event_id
limit 300
