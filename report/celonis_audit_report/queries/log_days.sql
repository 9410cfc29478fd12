-- title: Events by day
-- definition: Events of each log on each of the last 120 days, in UTC. A day is silent if it has none, though such days usually have some.
select log, day, sum(events) as events, max(case when is_silent then 1 else 0 end) = 1 as is_silent
from log_days
where day >= (select cast(as_of - interval '120 days' as date) from report_window)
group by log, day
order by log, day
