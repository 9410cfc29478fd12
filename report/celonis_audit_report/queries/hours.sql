-- title: When people act
-- definition: Events of the audit log by people in the period, by day of the week and hour on the clock of the team.
select
    cast(extract(isodow from local_time) as integer) as weekday,
    cast(extract(hour from local_time) as integer) as hour,
    count(*) as events
from audit_events
where
    actor_type = 'USER'
    and occurred_at >= (select as_of - interval '{days} days' from report_window)
group by extract(isodow from local_time), extract(hour from local_time)
order by weekday, hour
