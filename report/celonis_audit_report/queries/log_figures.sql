-- title: The logs in figures
-- events: Events that are loaded of all logs together.
-- events_without_an_id_of_their_own: Rows that share their id with another one; anything but 0 means that something was loaded twice or lost its key.
-- deletions_by_hand: How often somebody deleted a log in all of its history.
-- silent_days: Days on which a log has no event though such days usually have.
select
    sum(events) as events,
    sum(events - distinct_events) as events_without_an_id_of_their_own,
    sum(deletions) as deletions_by_hand,
    sum(silent_days) as silent_days
from log_health
