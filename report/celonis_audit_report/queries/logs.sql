-- title: Each log
-- definition: From the oldest to the newest loaded event. Ids of their own are as many as events, unless something was loaded twice.
select
    log,
    team,
    events,
    distinct_events as ids,
    first_event_at,
    last_event_at,
    last_loaded_at,
    silent_days,
    longest_silence_hours,
    deletions,
    retention_deletions
from log_health
order by team, log
