-- title: Logins and failures, by day
-- definition: Successful logins and failed attempts on each day of the period, by days in UTC.
select
    cast(date_trunc('day', occurred_at) as date) as day,
    case kind when 'login' then 'Logins' else 'Failed attempts' end as outcome,
    count(*) as attempts
from logins
where
    occurred_at >= (select date_trunc('day', as_of - interval '{days} days') from report_window)
    and kind in ('login', 'failure')
group by cast(date_trunc('day', occurred_at) as date), kind
order by day, outcome
