-- title: Why logins failed
-- definition: Failed attempts in the period, by the reason that Celonis gives.
select failure_reason as reason, count(*) as attempts
from logins
where
    kind = 'failure'
    and occurred_at >= (select as_of - interval '{days} days' from report_window)
group by failure_reason
order by count(*) desc, failure_reason
